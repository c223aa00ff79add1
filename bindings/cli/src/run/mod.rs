//! From a command line to an exit code. One file for each command.

mod apply;
pub(crate) mod backup;
mod check;
mod confirm_loss;
mod explain;
mod forget;
mod init;
pub(crate) mod journal;
mod key;
mod ls;
mod prune;
mod restore;
mod simulate;
mod snapshots;
pub(crate) mod status;
mod unlock;
mod window;

use clap::Parser;

use crate::{
    args::{Cli, Command},
    daemon, demo,
    exit::{Code, Failure, Result},
    output::Output,
    session::with_engine,
};

/// Runs what the command line says. Returns the exit code.
pub(crate) fn run() -> u8 {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(answer) => {
            let is_error = answer.use_stderr();
            // Where even that cannot be printed, the code says it.
            let _ = answer.print();
            return if is_error { Code::Error } else { Code::Success } as u8;
        }
    };
    let mut out = Output::new(cli.common.json);
    let code = command(cli, &mut out).and_then(|code| out.flush().map(|()| code));
    code.unwrap_or_else(|failure| {
        out.fail(&failure);
        failure.code()
    }) as u8
}

fn command(cli: Cli, out: &mut Output) -> Result<Code> {
    let common = &cli.common;
    match cli.command {
        Command::Init { host } => init::run(common, host, out),
        Command::Backup(args) => with_engine(common, out, async |session| backup::run(session, args).await)
            .map_err(Failure::that_goes_on),
        Command::Daemon(args) => daemon::run(common, args, out),
        Command::ConfirmLoss => with_engine(common, out, async |session| confirm_loss::run(session).await),
        Command::Snapshots { filter } => with_engine(common, out, async |session| {
            snapshots::run(session, &filter.filter()).await
        }),
        Command::Ls(args) => with_engine(common, out, async |session| ls::run(session, args).await),
        Command::Restore(args) => with_engine(common, out, async |session| restore::run(session, args).await)
            .map_err(Failure::that_goes_on),
        Command::Apply(args) => apply::run(&args, out),
        Command::Confirm(args) => apply::confirm(&args.target, out),
        Command::Rollback(args) => apply::roll_back(&args.target, out),
        Command::Check { read_data } => {
            with_engine(common, out, async |session| check::run(session, read_data).await)
        }
        Command::Forget(args) => with_engine(common, out, async |session| forget::run(session, &args).await),
        Command::Prune(args) => with_engine(common, out, async |session| {
            prune::run(session, args.job(), args.plan).await
        })
        .map_err(Failure::that_goes_on),
        Command::Key(args) => with_engine(common, out, async |session| key::run(session, args).await),
        Command::Unlock { remove_all } => with_engine(common, out, async |session| {
            unlock::run(session, remove_all).await
        }),
        Command::Status(args) => status::run(common, &args, out),
        Command::Explain(args) => explain::run(common, &args, out),
        Command::Simulate(args) => simulate::run(&args, out),
        Command::Demo(args) => demo::run(&args, out),
        Command::DemoWriter { database } => demo::writer::run(&database, out),
    }
}
