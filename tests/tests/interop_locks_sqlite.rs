//! The engine in a process whose databases are written by copies of SQLite that nobody here built, and written by other processes, too.

#![allow(clippy::print_stdout)]

use lifeboat_tests::{inprocess, seed};

/// In each mode. The soak test has a thousand in all.
const SNAPSHOTS: u64 = 12;
/// What a stop is given on a machine that has other things to do; the promise is 250.
const LEFT_MS_MAX: f64 = 2500.0;

#[test]
fn nobody_is_harmed_and_every_snapshot_is_one_moment_delete() {
    inprocess::assert_harmless("delete", SNAPSHOTS, seed(31));
}

#[test]
fn nobody_is_harmed_and_every_snapshot_is_one_moment_truncate() {
    inprocess::assert_harmless("truncate", SNAPSHOTS, seed(32));
}

#[test]
fn nobody_is_harmed_and_every_snapshot_is_one_moment_wal() {
    inprocess::assert_harmless("wal", SNAPSHOTS, seed(33));
}

/// The same look at a reader that opens, reads and closes: if that passed, the tests above would prove nothing.
#[test]
fn a_naive_reader_is_found_out() {
    for mode in ["delete", "truncate", "wal"] {
        let lost = inprocess::naive(mode, SNAPSHOTS, seed(34));
        assert!(lost.is_none_or(|lost| !lost.is_empty()), "{mode}");
    }
}

#[test]
fn no_lock_stays_after_a_stop() {
    for mode in ["delete", "wal"] {
        let left = inprocess::left_after_stop(mode, 5);
        println!("{mode}: locks were seen for {left:.1?} ms after the stop signal");
        assert!(left.iter().all(|ms| *ms < LEFT_MS_MAX), "{mode}: {left:?}");
    }
}
