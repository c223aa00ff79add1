//! `daemon`: a host for machines that are always on, and the example of one. It looks at the system, calls the engine when something has changed or when the
//! engine asked to be woken, and sleeps in between. It chooses nothing.

mod clock;
mod files;
mod machine;
mod signs;
mod told;

use std::{sync::Arc, time::Duration};

use lifeboat::{
    DueJob, DueReport, Event, LockPolicy, StopSignal,
    clock::Clock,
    scheduler::{Conditions, Reason, Started, Wake},
};
use tokio::{sync::broadcast, time::sleep};

use self::{clock::FastClock, files::Files, machine::Machine, signs::Signs};
use crate::{
    args::{Common, DaemonArgs},
    exit::{Code, Result},
    output::Output,
    run::{backup, journal},
    session::{Session, with_engine_by},
    vault,
};

/// How often is looked for what no event tells, such as a battery that empties, or a clock that was set.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// After a signal the engine is quiet within 250 ms; how the window ended is written down after that, on a disk that may be busy.
const END_WITHIN: Duration = Duration::from_secs(5);

pub(crate) fn run(common: &Common, args: DaemonArgs, out: &mut Output) -> Result<Code> {
    let clock = Arc::new(FastClock::new(args.speed));
    let machine = Machine::new(&vault::address(common)?);
    let with = clock.clone();
    with_engine_by(common, clock, END_WITHIN, out, async move |session| {
        let files = Files::read(args.policy.clone(), args.conditions.clone())?;
        let daemon = Daemon {
            job: backup::job(args.sources, session.state_dir),
            once: args.once,
            heard: session.engine.listen(),
            session,
            clock: with,
            machine,
            files,
        };
        daemon.run().await
    })
}

struct Daemon<'a> {
    session: Session<'a>,
    clock: Arc<FastClock>,
    machine: Machine,
    files: Files,
    job: lifeboat::BackupJob,
    heard: broadcast::Receiver<Event>,
    once: bool,
}

impl Daemon<'_> {
    async fn run(mut self) -> Result<Code> {
        let mut signs = Signs::listen(&self.files.folders());
        let mut conditions = self.look().await;
        self.begin(&conditions).await?;
        loop {
            let report = self.call(&conditions).await?;
            let goes_on = report.again && !self.session.stop.is_cancelled();
            if goes_on {
                conditions = self.look().await;
                continue;
            }
            if self.once || self.session.stop.is_cancelled() {
                break;
            }
            match self
                .until_something_happens(&mut signs, &conditions, &report.next.wakes)
                .await?
            {
                Some(changed) => conditions = changed,
                None => break,
            }
        }
        told::stopped(self.session.out)?;
        Ok(Code::Success)
    }

    /// Sets the policy, and ends in the diary what an earlier process left open.
    async fn begin(&mut self, conditions: &Conditions) -> Result<()> {
        let engine = self.session.engine;
        let started = Started {
            boot: machine::boot(),
            ..Started::default()
        };
        let install = journal::install(engine, &self.job.host);
        let ended = engine
            .diary()
            .started(self.clock.now_ms(), install, conditions.clone(), started)
            .await?;
        told::started(self.session.out, ended.as_ref())?;
        self.set_policy().await
    }

    async fn set_policy(&mut self) -> Result<()> {
        if let Some(policy) = self.files.policy() {
            self.session.engine.diary().set_policy(policy.clone()).await?;
            told::policy(self.session.out)?;
        }
        Ok(())
    }

    async fn look(&self) -> Conditions {
        self.files.over(self.machine.look(self.session.state_dir).await)
    }

    /// One wake: the engine decides, and does at most one thing.
    async fn call(&mut self, conditions: &Conditions) -> Result<DueReport> {
        let stop = StopSignal::default();
        let due = self.session.engine.run_due(DueJob {
            backup: self.job.clone(),
            conditions: conditions.clone(),
            lock: LockPolicy::WhenShared,
            stop: stop.clone(),
        });
        let asked_to_end = async {
            self.session.stop.cancelled().await;
            stop.stop(Reason::StopSystem);
            // The window ends by itself, and is written down.
            std::future::pending().await
        };
        let changed = async {
            self.until_the_network_changes(conditions).await;
            stop.stop(Reason::StopNetwork);
            std::future::pending().await
        };
        let report = tokio::select! {
            report = due => report?,
            never = asked_to_end => never,
            never = changed => never,
        };
        while let Ok(event) = self.heard.try_recv() {
            if let Event::Noticed { reason } = event {
                told::noticed(self.session.out, reason)?;
            }
        }
        told::report(self.session.out, &report)?;
        Ok(report)
    }

    /// A window is granted for one class of network, and ends with it.
    async fn until_the_network_changes(&self, conditions: &Conditions) {
        let mut signs = Signs::listen(&[]);
        loop {
            signs.next(LOOK_EVERY).await;
            if self.look().await.network != conditions.network {
                return;
            }
        }
    }

    /// Sleeps until the engine is to be called again. `None`: until the daemon is to end.
    async fn until_something_happens(
        &mut self,
        signs: &mut Signs,
        before: &Conditions,
        wakes: &[Wake],
    ) -> Result<Option<Conditions>> {
        let called_ms = self.clock.now_ms();
        // A wake that is due already waits for something else than time.
        let wake_ms = wakes
            .iter()
            .map(|wake| wake.earliest_ms)
            .filter(|at| *at > called_ms)
            .min();
        let is_due = |now_ms: i64| wake_ms.is_some_and(|at| at <= now_ms);
        loop {
            let (now_ms, started) = (self.clock.now_ms(), self.clock.monotonic());
            let wake = async {
                match wake_ms {
                    Some(at) => sleep(self.clock.until(at, now_ms)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.session.stop.cancelled() => return Ok(None),
                () = wake => {}
                () = signs.next(LOOK_EVERY) => {}
            }
            let read_anew = match self.files.read_anew(signs.take_asked()) {
                Ok(read_anew) => read_anew,
                Err(failure) => {
                    // What was read before goes on to count.
                    told::refused(self.session.out, &failure)?;
                    false
                }
            };
            if read_anew {
                self.set_policy().await?;
            }
            let conditions = self.look().await;
            let changed = read_anew || machine::differs(before, &conditions);
            if changed || is_due(self.clock.now_ms()) || self.clock.jumped(now_ms, started) {
                return Ok(Some(conditions));
            }
        }
    }
}
