//! How a window ended, in the journal's words. Pure.

use super::DueDone;
use crate::{
    error::{Error, Kind},
    scheduler::{Closed, Grant, Published, Reason, Task},
    window::{Outcome, Traffic, Waiting},
};

/// What a window came to, before anyone put it into words.
#[derive(Debug, Clone)]
pub(super) enum Ended {
    Done(DueDone),
    /// It goes on in the next window.
    Unfinished,
    Waiting(Waiting),
    Failed(Error),
}

impl Ended {
    pub(super) fn of(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Done(report) => Self::Done(DueDone::BackedUp(report)),
            Outcome::MoreToDo(_) => Self::Unfinished,
            Outcome::Waiting { reason, .. } => Self::Waiting(reason),
            Outcome::Failed { error, .. } if error.kind() == Kind::Cancelled => Self::Unfinished,
            Outcome::Failed { error, .. } => Self::Failed(error),
        }
    }
}

/// What is known of a window that is over.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    pub(super) task: Task,
    pub(super) grant: Grant,
    pub(super) took_ms: u64,
    pub(super) traffic: Traffic,
    /// Why it was stopped from outside, if it was.
    pub(super) stopped: Option<Reason>,
}

/// The entry that ends the window.
pub(super) fn closed(window: &Window, ended: &Ended) -> Closed {
    let traffic = window.traffic;
    let spent = window
        .grant
        .class
        .filter(|_| traffic.bytes > 0)
        .map(|class| (class, traffic.bytes));
    Closed {
        end: end(window, ended),
        spent: spent.into_iter().collect(),
        confirmed: traffic.confirmed,
        requests: traffic.requests,
        finished: is_finished(window.task, ended),
        published: match ended {
            Ended::Done(DueDone::BackedUp(report)) => report.snapshot.map(|_| Published {
                files: report.stats.files_total,
                bytes: report.stats.bytes_total,
            }),
            _ => None,
        },
    }
}

fn end(window: &Window, ended: &Ended) -> Reason {
    match ended {
        Ended::Done(DueDone::Verified(report)) if !report.is_clean() => Reason::VaultDamaged,
        Ended::Done(_) => Reason::Done,
        Ended::Unfinished => window.stopped.unwrap_or_else(|| used_up(window)),
        Ended::Waiting(waiting) => match waiting {
            Waiting::Network(_) => Reason::BytesUp,
            Waiting::WindowTooShort | Waiting::HandedOff => Reason::TimeUp,
            Waiting::Parked { kind, .. } => Reason::of_error(*kind),
            Waiting::Unreachable(error) | Waiting::Locked(error) | Waiting::DiskFull(error) => {
                Reason::of_error(error.kind())
            }
        },
        Ended::Failed(error) => Reason::of_error(error.kind()),
    }
}

/// Of time and bytes, what was used up first.
fn used_up(window: &Window) -> Reason {
    let had_time = window.took_ms.saturating_mul(20) < window.grant.time_ms.saturating_mul(19);
    if window.grant.bytes.is_some() && had_time {
        Reason::BytesUp
    } else {
        Reason::TimeUp
    }
}

/// Whether the task is not to be tried again before it is next due. Upkeep that the vault refuses is not: an append-only vault stays one, and its refusals must
/// not hold backups up.
fn is_finished(task: Task, ended: &Ended) -> bool {
    match ended {
        Ended::Done(_) => true,
        Ended::Failed(error) => !task.is_backup() && error.kind() == Kind::AccessDenied,
        Ended::Unfinished | Ended::Waiting(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{check::SampleReport, scheduler::NetworkClass};

    fn window(task: Task, took_ms: u64, bytes: Option<u64>) -> Window {
        Window {
            task,
            grant: Grant {
                time_ms: 60_000,
                class: Some(NetworkClass::Metered),
                bytes,
            },
            took_ms,
            traffic: Traffic {
                bytes: 700,
                requests: 9,
                confirmed: 500,
            },
            stopped: None,
        }
    }

    #[test]
    fn what_ended_a_window_is_told_apart() {
        let end = |window: &Window, ended: &Ended| closed(window, ended).end;
        let unfinished = Ended::Unfinished;
        assert_eq!(
            end(&window(Task::Resume, 59_800, None), &unfinished),
            Reason::TimeUp
        );
        assert_eq!(
            end(&window(Task::Resume, 800, Some(900)), &unfinished),
            Reason::BytesUp
        );
        let stopped = Window {
            stopped: Some(Reason::StopNetwork),
            ..window(Task::Resume, 800, Some(900))
        };
        assert_eq!(end(&stopped, &unfinished), Reason::StopNetwork);
        let lost = Ended::Failed(Error::new(Kind::Unreachable, "gone"));
        assert_eq!(end(&stopped, &lost), Reason::VaultUnreachable);
        let damaged = SampleReport {
            missing: 1,
            ..SampleReport::default()
        };
        let found = Ended::Done(DueDone::Verified(damaged));
        assert_eq!(end(&window(Task::Verify, 9, None), &found), Reason::VaultDamaged);
    }

    #[test]
    fn bytes_and_requests_are_told_by_class_however_it_ended() {
        for ended in [
            Ended::Unfinished,
            Ended::Failed(Error::new(Kind::Io, "")),
            Ended::Waiting(Waiting::HandedOff),
        ] {
            let told = closed(&window(Task::Resume, 5, Some(900)), &ended);
            assert_eq!(told.spent, [(NetworkClass::Metered, 700)]);
            assert_eq!((told.requests, told.confirmed, told.finished), (9, 500, false));
        }
    }

    #[test]
    fn upkeep_that_is_refused_waits_for_its_next_turn_and_a_backup_does_not() {
        let refused = Ended::Failed(Error::new(Kind::AccessDenied, "append-only"));
        assert!(closed(&window(Task::Prune, 5, None), &refused).finished);
        assert!(closed(&window(Task::Forget, 5, None), &refused).finished);
        assert!(!closed(&window(Task::Increment, 5, None), &refused).finished);
    }
}
