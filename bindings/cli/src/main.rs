//! `lifeboat`: the engine on a command line, with the words, options and exit codes of restic where restic
//! has them.

mod args;
mod daemon;
mod demo;
mod exit;
mod json;
mod output;
mod password;
mod progress;
mod run;
mod session;
mod text;
mod vault;

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(run::run())
}
