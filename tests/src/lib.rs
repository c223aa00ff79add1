//! What the tests of the whole program stand on: seeded folders to back up, a strict comparison of two folders, and
//! runners for the real restic and for the `lifeboat` binary.
//!
//! Everything here panics when something is wrong, with the path or the command in the text: a test that goes on
//! after a failed preparation reports the wrong thing.
//!
//! A missing tool is a failure here, never a silent pass. Leaving tests out is the business of `tests/run`, which
//! says so, and chooses them by file name: `harness*` and `interop*` need restic, `*_old` an old one, `kill*` restic
//! and the binary, `storage*` all of these and the servers.
//!
//! | variable | what it names |
//! |---|---|
//! | `LIFEBOAT_BIN` | the `lifeboat` binary under test |
//! | `LIFEBOAT_RESTIC` | a current restic |
//! | `LIFEBOAT_RESTIC_OLD` | the oldest restic that reads format 2 well, 0.14 |
//! | `LIFEBOAT_INPROCESS` | the shared library of `tests/inprocess` |
//! | `LIFEBOAT_REST_SERVER` | restic's rest-server |
//! | `LIFEBOAT_VERSITYGW` | an S3 server over a folder |
//! | `LIFEBOAT_MOTO_SERVER` | an S3 server in memory |
//! | `LIFEBOAT_MINIO` | an S3 server with keys for sessions |
//! | `LIFEBOAT_TOXIPROXY` | a proxy that makes a network bad |
//! | `LIFEBOAT_SEED` | another seed for the random tests |
//! | `LIFEBOAT_KILLS` | how many kills the kill tests do |

// Test code from here down: a failed expectation is meant to end the test, and the test runner captures what is printed.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr
)]

pub mod compare;
pub mod contract;
pub mod counting;
pub mod faulty;
pub mod inprocess;
pub mod lifeboat_cli;
pub mod process;
pub mod pruning;
pub mod restic;
pub mod rng;
pub mod scene;
pub mod servers;
pub mod shell;
pub mod soak;
pub mod tree_gen;
pub mod vault;

pub use compare::{assert_same, compare_trees};
pub use lifeboat_cli::Lifeboat;
pub use restic::Restic;
pub use rng::Rng;
pub use scene::Scene;
pub use shell::Shell;
pub use tree_gen::Forest;

/// The seed of this run: `LIFEBOAT_SEED`, or the test's own. Printed, so that a failure can be repeated.
pub fn seed(own: u64) -> u64 {
    let seed = number_from_env("LIFEBOAT_SEED").unwrap_or(own);
    println!("repeat with LIFEBOAT_SEED={seed}");
    seed
}

/// A number in an environment variable; none if the variable is not set.
pub fn number_from_env(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name}={text}: not a number")),
    )
}
