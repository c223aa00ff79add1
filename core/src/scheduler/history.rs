//! What has happened, as far as decisions need it: a fold over the journal's entries, so that rows may be dropped and nothing is forgotten.

use serde::{Deserialize, Serialize};

use super::{
    calendar::Local,
    conditions::{Conditions, NetworkClass, Standing},
    ledger::Ledger,
    reason::Reason,
    work::{Grant, Task},
};
use crate::limits;

/// What has happened so far.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct History {
    /// Any number that is this install's own: it spreads a fleet.
    pub install: u64,
    /// When the engine first ran here.
    pub begun_ms: i64,
    /// When something was last written down.
    pub seen_ms: i64,
    /// The last start of the phone, in whatever numbers the host counts them.
    pub boot: Option<u64>,
    pub time_zone: Option<String>,
    pub standing: Standing,
    /// The newest complete snapshot.
    pub newest: Option<Complete>,
    /// A backup that was begun and is not published.
    pub run: Option<Run>,
    pub failures: Failures,
    /// When each upkeep was last done.
    pub forgot_ms: Option<i64>,
    pub verified_ms: Option<i64>,
    pub pruned_ms: Option<i64>,
    /// Snapshots since the last forget: without one there is nothing to forget.
    pub snapshots_since_forget: u32,
    pub ledger: Ledger,
    /// A window that has not ended, or whose end nobody could write down.
    pub open: Option<Open>,
    /// The earliest moment for which a wake was asked.
    pub wake_ms: Option<i64>,
    /// The newborn guard holds forgetting up.
    pub newborn_hold: bool,
    /// The host was alarmed about the age of the newest snapshot.
    pub alarmed: bool,
}

/// A complete snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Complete {
    /// When it was published, or a backup last found that nothing has changed since.
    pub at_ms: i64,
    pub files: u64,
    pub bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    pub begun_ms: i64,
    pub windows: u32,
}

/// Windows in a row that failed and confirmed nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failures {
    pub count: u32,
    pub last_ms: i64,
    pub reason: Option<Reason>,
}

/// A window whose bytes are reserved: should the process be killed, all of them are taken for spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    pub at_ms: i64,
    pub task: Task,
    pub grant: Grant,
}

/// One fact for the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
pub enum Entry {
    /// A process of the app has begun to use the engine.
    Started(Started),
    /// Work waits, and why.
    Waited(Waited),
    Opened {
        task: Task,
        grant: Grant,
    },
    Closed(Closed),
    /// Something that decisions do not depend on, or that `History` knows by its reason.
    Noticed {
        reason: Reason,
    },
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Started {
    /// A number that changes when the phone starts anew.
    pub boot: Option<u64>,
    /// How the process before this one ended, if the operating system says so.
    pub last_exit: Option<Exit>,
    /// The user had force-stopped the app since, as `ApplicationStartInfo.wasForceStopped` tells it.
    pub force_stopped: bool,
    pub standing: Standing,
    /// The lowest standing since the process before, as Android's `UsageEvents` tell it.
    pub lowest_standing: Standing,
}

/// How a process ended, as Android's `ApplicationExitInfo` and `ApplicationStartInfo` or MetricKit tell it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Exit {
    Memory,
    /// The user force-stopped the app, or swiped it away where that means the same.
    ForceStop,
    Crash,
    Update,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waited {
    /// The work that is due, the most urgent first.
    pub due: Vec<Task>,
    /// What holds the most urgent up.
    pub reasons: Vec<Reason>,
    /// When a wake was asked for.
    pub wake_ms: Option<i64>,
    pub standing: Standing,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closed {
    pub end: Reason,
    /// Both directions, by class; zero is left out.
    pub spent: Vec<(NetworkClass, u64)>,
    /// Bytes that the vault confirmed in this window.
    pub confirmed: u64,
    pub requests: u64,
    /// The task came to its end.
    pub finished: bool,
    /// What a backup published, if it did.
    pub published: Option<Published>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    pub files: u64,
    pub bytes: u64,
}

impl Entry {
    /// The codes under which this is counted once its row is dropped, each with the bytes that belong to it.
    pub(crate) fn counted(&self) -> Vec<(&'static str, u64)> {
        match self {
            Self::Started(_) => vec![("started", 0)],
            Self::Waited(waited) => waited.reasons.iter().map(|reason| (reason.code(), 0)).collect(),
            Self::Opened { task, .. } => vec![(task.name(), 0)],
            Self::Closed(closed) => {
                let bytes = closed
                    .spent
                    .iter()
                    .fold(0, |sum: u64, (_, bytes)| sum.saturating_add(*bytes));
                vec![(closed.end.code(), bytes)]
            }
            Self::Noticed { reason } => vec![(reason.code(), 0)],
        }
    }
}

impl History {
    /// A history that begins now.
    pub fn begin(install: u64, now_ms: i64) -> Self {
        Self {
            install,
            begun_ms: now_ms,
            seen_ms: now_ms,
            ..Self::default()
        }
    }

    /// Whether anything lies in the future, which only a clock that went back can do.
    pub fn is_ahead(&self, now_ms: i64) -> bool {
        let times = [
            Some(self.begun_ms),
            Some(self.seen_ms),
            self.newest.map(|newest| newest.at_ms),
            self.run.map(|run| run.begun_ms),
            (self.failures.count > 0).then_some(self.failures.last_ms),
            self.forgot_ms,
            self.verified_ms,
            self.pruned_ms,
            self.open.map(|open| open.at_ms),
        ];
        times.into_iter().flatten().any(|at| at > now_ms)
    }

    /// What lies in the future has happened now: its age is not known, and counts from here.
    pub fn bring_back(&mut self, now_ms: i64) {
        let back = |at: &mut i64| *at = (*at).min(now_ms);
        back(&mut self.begun_ms);
        back(&mut self.seen_ms);
        back(&mut self.failures.last_ms);
        for at in [&mut self.forgot_ms, &mut self.verified_ms, &mut self.pruned_ms] {
            at.as_mut().map(back);
        }
        if let Some(newest) = self.newest.as_mut() {
            back(&mut newest.at_ms)
        }
        if let Some(run) = self.run.as_mut() {
            back(&mut run.begun_ms)
        }
        if let Some(open) = self.open.as_mut() {
            back(&mut open.at_ms)
        }
    }

    /// The age of the newest complete snapshot, or of the engine's stay here where there is none.
    pub fn age_ms(&self, now_ms: i64) -> i64 {
        let from = self.newest.map_or(self.begun_ms, |newest| newest.at_ms);
        now_ms.saturating_sub(from).max(0)
    }

    /// What clock and zone have done since the last entry: to be written down before the next one.
    pub fn notices(&self, now_ms: i64, conditions: &Conditions) -> Vec<Entry> {
        let mut found = Vec::new();
        if now_ms < self.seen_ms - limits::CLOCK_TOLERANCE_MS {
            found.push(Reason::ClockBack);
        }
        if let (Some(now), Some(before)) = (&conditions.time_zone, &self.time_zone)
            && now != before
        {
            found.push(Reason::TimeZoneChanged);
        }
        found
            .into_iter()
            .map(|reason| Entry::Noticed { reason })
            .collect()
    }

    /// What a new process must write down before anything else: that the phone was started anew, and how the window ended that was open.
    pub fn on_start(&self, started: &Started) -> Vec<Entry> {
        let rebooted = matches!((self.boot, started.boot), (Some(before), Some(now)) if before != now);
        let mut found = Vec::new();
        if let Some(open) = self.open {
            let end = match started.last_exit {
                Some(Exit::Memory) => Reason::KilledMemory,
                Some(Exit::ForceStop) => Reason::KilledForceStop,
                Some(Exit::Crash) => Reason::KilledCrash,
                Some(Exit::Update) => Reason::KilledUpdate,
                None if started.force_stopped => Reason::KilledForceStop,
                None if rebooted => Reason::KilledReboot,
                None => Reason::Killed,
            };
            found.push(Entry::Closed(Closed {
                end,
                // Nobody knows how much of it was sent: all of it, then.
                spent: open.grant.reserved().into_iter().collect(),
                confirmed: 0,
                requests: 0,
                finished: false,
                published: None,
            }));
        }
        if rebooted {
            let reason = Reason::Rebooted;
            found.push(Entry::Noticed { reason });
        }
        found
    }

    /// Takes one more entry in. `conditions` are those of the moment: they say which local day it is.
    pub fn apply(&mut self, now_ms: i64, conditions: &Conditions, entry: &Entry) {
        self.bring_back(now_ms);
        let local = Local::known(conditions, self.time_zone.as_deref()).unwrap_or_else(Local::utc);
        let today = local.day(now_ms);
        self.ledger.settle(today);
        self.seen_ms = now_ms;
        if conditions.time_zone.is_some() {
            self.time_zone.clone_from(&conditions.time_zone);
        }
        if conditions.standing != Standing::Unknown {
            self.standing = conditions.standing;
        }
        match entry {
            Entry::Started(started) => {
                self.boot = started.boot.or(self.boot);
                if started.standing != Standing::Unknown {
                    self.standing = started.standing;
                }
            }
            Entry::Waited(waited) => self.wake_ms = waited.wake_ms,
            Entry::Opened { task, grant } => self.opened(now_ms, *task, *grant),
            Entry::Closed(closed) => {
                for (class, bytes) in &closed.spent {
                    self.ledger.charge(today, *class, *bytes);
                }
                self.closed(now_ms, closed);
            }
            Entry::Noticed { reason } => self.noticed(*reason),
        }
    }

    fn opened(&mut self, now_ms: i64, task: Task, grant: Grant) {
        let at_ms = now_ms;
        self.open = Some(Open { at_ms, task, grant });
        if task.is_backup() {
            let run = self.run.get_or_insert(Run {
                begun_ms: now_ms,
                windows: 0,
            });
            run.windows = run.windows.saturating_add(1);
        }
    }

    fn closed(&mut self, now_ms: i64, closed: &Closed) {
        let task = self.open.take().map(|open| open.task);
        if let Some(published) = closed.published {
            self.newest = Some(Complete {
                at_ms: now_ms,
                files: published.files,
                bytes: published.bytes,
            });
            self.run = None;
            self.snapshots_since_forget = self.snapshots_since_forget.saturating_add(1);
        }
        if closed.finished {
            match task {
                Some(Task::Forget) => {
                    self.forgot_ms = Some(now_ms);
                    self.snapshots_since_forget = 0;
                }
                Some(Task::Verify) => self.verified_ms = Some(now_ms),
                Some(Task::Prune) => self.pruned_ms = Some(now_ms),
                Some(Task::FirstBackup | Task::Increment | Task::Resume) => {
                    self.run = None;
                    // Nothing to publish: the newest snapshot is what the phone holds.
                    if let Some(newest) = &mut self.newest {
                        newest.at_ms = now_ms;
                    }
                }
                None => {}
            }
        }
        if closed.finished || closed.confirmed > 0 {
            self.failures = Failures::default();
        } else if is_failure(closed.end) {
            self.failures = Failures {
                count: self.failures.count.saturating_add(1),
                last_ms: now_ms,
                reason: Some(closed.end),
            };
        }
    }

    fn noticed(&mut self, reason: Reason) {
        match reason {
            Reason::Stale => self.alarmed = true,
            Reason::FreshAgain => self.alarmed = false,
            Reason::NewbornSuspected => self.newborn_hold = true,
            Reason::NewbornConfirmed | Reason::NewbornOver => self.newborn_hold = false,
            _ => {}
        }
    }
}

/// Whether a window that ended so and confirmed nothing is a reason to wait longer. Being stopped is not: the system says itself when it goes on.
fn is_failure(end: Reason) -> bool {
    use Reason::{
        AccessDenied, BadRequest, Busy, CatalogFailed, Defect, DiskFull, IoFailed, Killed, KilledCrash,
        KilledForceStop, KilledMemory, NetworkLost, NoRepository, StopUser, Unsupported, VaultDamaged,
        VaultFull, VaultLocked, VaultUnreachable, WrongKey, WrongServer,
    };
    matches!(
        end,
        AccessDenied
            | BadRequest
            | Busy
            | CatalogFailed
            | Defect
            | DiskFull
            | IoFailed
            | Killed
            | KilledCrash
            | KilledForceStop
            | KilledMemory
            | NetworkLost
            | NoRepository
            | StopUser
            | Unsupported
            | VaultDamaged
            | VaultFull
            | VaultLocked
            | VaultUnreachable
            | WrongKey
            | WrongServer
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn closed(end: Reason) -> Closed {
        Closed {
            end,
            spent: Vec::new(),
            confirmed: 0,
            requests: 0,
            finished: false,
            published: None,
        }
    }

    fn open(history: &mut History, now_ms: i64, task: Task, bytes: u64) {
        let class = NetworkClass::Metered;
        let grant = Grant {
            time_ms: 1000,
            class: Some(class),
            bytes: Some(bytes),
        };
        history.apply(now_ms, &Conditions::default(), &Entry::Opened { task, grant });
    }

    #[test]
    fn a_kill_is_recognised_at_the_next_start_and_costs_what_was_granted() {
        let conditions = Conditions::default();
        for (exit, boot, expected) in [
            (None, 1, Reason::Killed),
            (None, 2, Reason::KilledReboot),
            (Some(Exit::Memory), 1, Reason::KilledMemory),
            (Some(Exit::ForceStop), 1, Reason::KilledForceStop),
            (Some(Exit::Crash), 2, Reason::KilledCrash),
            (Some(Exit::Update), 1, Reason::KilledUpdate),
        ] {
            let mut history = History::begin(1, 0);
            history.boot = Some(1);
            open(&mut history, 5, Task::FirstBackup, 4096);
            let started = Started {
                boot: Some(boot),
                last_exit: exit,
                ..Started::default()
            };
            for entry in history.on_start(&started) {
                if let Entry::Closed(closed) = &entry {
                    assert_eq!(closed.end, expected);
                }
                history.apply(10, &conditions, &entry);
            }
            history.apply(10, &conditions, &Entry::Started(started.clone()));
            assert_eq!(history.open, None);
            assert_eq!(history.ledger.since(0, NetworkClass::Metered), 4096);
            assert!(history.run.is_some(), "it goes on");
            assert!(history.on_start(&started).is_empty(), "told once");
        }
    }

    #[test]
    fn failures_are_counted_until_something_is_confirmed() {
        let conditions = Conditions::default();
        let mut history = History::begin(1, 0);
        for count in 1..4 {
            open(&mut history, count, Task::FirstBackup, 0);
            history.apply(
                count,
                &conditions,
                &Entry::Closed(closed(Reason::VaultUnreachable)),
            );
            assert_eq!(i64::from(history.failures.count), count);
        }
        open(&mut history, 5, Task::FirstBackup, 0);
        history.apply(5, &conditions, &Entry::Closed(closed(Reason::StopQuota)));
        assert_eq!(
            history.failures.count, 3,
            "being stopped says nothing about the vault"
        );
        open(&mut history, 6, Task::FirstBackup, 0);
        let mut progress = closed(Reason::NetworkLost);
        progress.confirmed = 1;
        history.apply(6, &conditions, &Entry::Closed(progress));
        assert_eq!(history.failures.count, 0);
    }

    #[test]
    fn a_clock_that_went_back_leaves_nothing_in_the_future() {
        let conditions = Conditions::default();
        let mut history = History::begin(1, 1_000_000_000);
        open(&mut history, 1_000_000_000, Task::FirstBackup, 0);
        let mut done = closed(Reason::Done);
        (done.finished, done.published) = (true, Some(Published { files: 1, bytes: 1 }));
        history.apply(2_000_000_000, &conditions, &Entry::Closed(done));
        let noticed = history.notices(500, &conditions);
        assert_eq!(
            noticed,
            [Entry::Noticed {
                reason: Reason::ClockBack
            }]
        );
        assert!(history.is_ahead(500));
        history.apply(500, &conditions, &noticed[0]);
        assert!(!history.is_ahead(500));
        assert_eq!(history.newest.unwrap().at_ms, 500);
        assert_eq!(history.notices(501, &conditions), []);
    }
}
