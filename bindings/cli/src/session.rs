//! One command with an engine: opened, stopped by signals, closed.
//!
//! The first SIGINT or SIGTERM cancels the command and stops the engine, which is safe at any time and soon
//! done. The second one does not wait for that: a kill is safe at any time, too.

use std::{
    path::{Path, PathBuf},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use lifeboat::{
    Engine, EngineOptions, Unlock,
    clock::{Clock, SystemClock},
};
use tokio::{
    runtime::Builder,
    signal::unix::{Signal, SignalKind, signal},
    task::spawn_blocking,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{
    args::Common,
    exit::{Code, Failure, Result},
    output::Output,
    password::{self, Terminal},
    vault,
};

/// What a command has to come to its end after a signal, and the engine after that.
const STOP_GRACE: Duration = Duration::from_millis(250);
/// For an engine with nothing to do.
const CLOSE_GRACE: Duration = Duration::from_secs(10);

/// What a command works with.
pub(crate) struct Session<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) stop: &'a CancellationToken,
    /// The engine's own folder.
    pub(crate) state_dir: &'a Path,
    pub(crate) out: &'a mut Output,
}

impl Session<'_> {
    /// Awaits a call of the engine that cannot be cancelled, or gives it up when a signal comes.
    pub(crate) async fn ask<T>(&self, call: impl Future<Output = lifeboat::Result<T>>) -> Result<T> {
        match self.stop.run_until_cancelled(call).await {
            Some(answer) => Ok(answer?),
            None => Err(Failure::INTERRUPTED),
        }
    }
}

/// Opens the engine, runs the command with it, and closes it.
pub(crate) fn with_engine(
    common: &Common,
    out: &mut Output,
    command: impl AsyncFnOnce(Session<'_>) -> Result<Code>,
) -> Result<Code> {
    with_engine_by(common, Arc::new(SystemClock::default()), STOP_GRACE, out, command)
}

/// The same by another clock, and with another time to end in after a signal.
pub(crate) fn with_engine_by(
    common: &Common,
    clock: Arc<dyn Clock>,
    grace: Duration,
    out: &mut Output,
    command: impl AsyncFnOnce(Session<'_>) -> Result<Code>,
) -> Result<Code> {
    let address = vault::address(common)?;
    let storage = vault::options(common, &address)?;
    let state_dir = state_dir(common)?;
    let password_file = common.password_file.clone();
    let engine_dir = state_dir.clone();
    let open = move || {
        let unlock = Unlock::Password(password::read(password::CURRENT, password_file.as_deref())?);
        let options = EngineOptions {
            vault: address,
            state_dir: engine_dir,
            unlock,
            storage,
        };
        Ok(Engine::open_with_clock(options, clock)?)
    };
    interruptible(async |signals: &mut Signals| {
        let engine = signals.or_blocking(open).await?;
        let stop = CancellationToken::new();
        let session = Session {
            engine: &engine,
            stop: &stop,
            state_dir: &state_dir,
            out,
        };
        let result = run(command(session), &stop, grace, signals).await;
        // Also where the command itself came to its end in time.
        let asked_to_end = stop.is_cancelled();
        let closing = if asked_to_end { STOP_GRACE } else { CLOSE_GRACE };
        let stopped = signals.or_blocking(move || Ok(engine.stop(closing)?)).await;
        match stopped {
            // What still runs ends with the process, which is as safe as a kill.
            Err(_) if asked_to_end => result,
            // How the command ended says more than how the engine did.
            stopped => result.and_then(|code| stopped.map(|()| code)),
        }
    })
}

/// Awaits a command, and asks it to end when a signal comes.
async fn run(
    command: impl Future<Output = Result<Code>>,
    stop: &CancellationToken,
    grace: Duration,
    signals: &mut Signals,
) -> Result<Code> {
    let mut command = pin!(command);
    tokio::select! {
        result = &mut command => return result,
        () = signals.next() => stop.cancel(),
    }
    tokio::select! {
        ended = timeout(grace, &mut command) => ended.unwrap_or(Err(Failure::INTERRUPTED)),
        () = signals.next() => Err(Failure::INTERRUPTED),
    }
}

/// Runs what may be ended by a signal.
pub(crate) fn interruptible<T>(work: impl AsyncFnOnce(&mut Signals) -> Result<T>) -> Result<T> {
    let starting = |error| Failure::io("starting", error);
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(starting)?;
    let terminal = Terminal::remember();
    let result = runtime.block_on(async {
        let mut signals = Signals::listen().map_err(starting)?;
        work(&mut signals).await
    });
    // A thread that is still opening a vault, or waits for someone to type, is not waited for.
    runtime.shutdown_background();
    terminal.restore();
    result
}

/// Those that ask a program to end.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    /// Runs blocking work on a thread of its own, which is left alone when a signal comes.
    pub(crate) async fn or_blocking<T: Send + 'static>(
        &mut self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let work = spawn_blocking(work);
        tokio::select! {
            done = work => done.unwrap_or_else(|error| Err(Failure::here(format!("a defect: {error}")))),
            () = self.next() => Err(Failure::INTERRUPTED),
        }
    }
}

/// The engine's own folder for the vault, whether it is there or not.
pub(crate) fn state_dir(common: &Common) -> Result<PathBuf> {
    match &common.state {
        Some(dir) => Ok(dir.clone()),
        None => vault::default_state_dir(&vault::address(common)?),
    }
}

/// This machine's name: what snapshots of the same things have in common.
pub(crate) fn host(given: Option<&String>) -> String {
    given.cloned().unwrap_or_else(|| {
        let names = rustix::system::uname();
        names.nodename().to_string_lossy().into_owned()
    })
}
