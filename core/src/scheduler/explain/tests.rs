use super::*;
use crate::scheduler::{
    Known, Network,
    history::{Published, Waited},
};

const HOUR: i64 = 60 * 60 * 1000;
const DAY: i64 = 24 * HOUR;

/// A journal as the catalog would keep it.
#[derive(Default)]
struct Book {
    rows: Vec<Row>,
    history: History,
}

impl Book {
    fn write(&mut self, at_ms: i64, entry: Entry) {
        self.history.apply(at_ms, &Conditions::default(), &entry);
        self.rows.push(Row {
            no: self.rows.len() as i64,
            at_ms,
            until_ms: at_ms,
            entry,
        });
    }

    fn start(&mut self, at_ms: i64, started: Started) {
        for entry in self.history.on_start(&started) {
            self.write(at_ms, entry);
        }
        self.write(at_ms, Entry::Started(started));
    }

    fn wait(&mut self, at_ms: i64, reasons: &[Reason], wake_ms: i64) {
        let waited = Waited {
            due: vec![Task::Increment],
            reasons: reasons.to_vec(),
            wake_ms: Some(wake_ms),
            standing: Standing::Unknown,
        };
        self.write(at_ms, Entry::Waited(waited));
    }

    fn open(&mut self, at_ms: i64) {
        let grant = Grant {
            time_ms: 60_000,
            class: None,
            bytes: None,
        };
        self.write(
            at_ms,
            Entry::Opened {
                task: Task::Increment,
                grant,
            },
        );
    }

    fn close(&mut self, at_ms: i64, end: Reason) {
        let closed = Closed {
            end,
            spent: Vec::new(),
            confirmed: 0,
            requests: 1,
            finished: end == Reason::Done,
            published: (end == Reason::Done).then_some(Published { files: 5, bytes: 500 }),
        };
        self.write(at_ms, Entry::Closed(closed));
    }

    fn at(&self, at_ms: i64) -> Explanation {
        explain_at(at_ms, &Policy::default(), &self.rows)
    }
}

fn boot(boot: u64) -> Started {
    Started {
        boot: Some(boot),
        ..Started::default()
    }
}

#[test]
fn each_reason_says_since_when_without_a_break() {
    let mut book = Book::default();
    book.wait(HOUR, &[Reason::Offline], 0);
    book.wait(2 * HOUR, &[Reason::Offline, Reason::NotCharging], 0);
    book.wait(3 * HOUR, &[Reason::NotCharging], 0);
    book.wait(4 * HOUR, &[Reason::NotCharging, Reason::Offline], 0);
    let told = book.at(5 * HOUR);
    let since: Vec<_> = told
        .blocks
        .iter()
        .map(|block| (block.reason, block.since_ms))
        .collect();
    assert_eq!(
        since,
        [(Reason::NotCharging, 2 * HOUR), (Reason::Offline, 4 * HOUR)]
    );
    assert_eq!(told.due, [Task::Increment]);
    assert_eq!(book.at(HOUR + 1).blocks[0].since_ms, HOUR, "as it was then");
    book.open(6 * HOUR);
    book.close(7 * HOUR, Reason::TimeUp);
    book.wait(8 * HOUR, &[Reason::NotCharging], 0);
    assert_eq!(
        book.at(9 * HOUR).blocks[0].since_ms,
        8 * HOUR,
        "a window ran in between"
    );
}

#[test]
fn a_moment_inside_a_window_that_was_killed_says_so_afterwards() {
    let mut book = Book::default();
    book.start(0, boot(1));
    book.open(HOUR);
    assert_eq!(book.at(HOUR + 1).runs, Some(Task::Increment));
    assert_eq!(book.at(HOUR + 1).windows[0].ended, None);
    book.start(
        9 * HOUR,
        Started {
            last_exit: Some(Exit::Memory),
            ..boot(1)
        },
    );
    for at in [HOUR + 1, 9 * HOUR, 10 * HOUR] {
        let (end, closed) = book.at(at).windows[0].ended.clone().unwrap();
        assert_eq!((end, closed.end), (9 * HOUR, Reason::KilledMemory));
    }
    let later = book.at(10 * HOUR);
    assert_eq!((later.runs, later.backed_off), (None, Some(Reason::KilledMemory)));
    assert!(later.reasons().contains(&Reason::KilledMemory));
}

#[test]
fn a_silence_has_a_reason_once_somebody_is_there_to_say_it() {
    let standing = |standing| Started { standing, ..boot(1) };
    for (started, reason) in [
        (boot(1), Reason::NotWoken),
        (boot(2), Reason::PoweredOff),
        (
            Started {
                last_exit: Some(Exit::ForceStop),
                ..boot(1)
            },
            Reason::ForceStopped,
        ),
        (standing(Standing::Restricted), Reason::LowStanding),
        (standing(Standing::Off), Reason::BackgroundOff),
    ] {
        let mut book = Book::default();
        book.start(0, boot(1));
        book.wait(HOUR, &[Reason::NotDue], 12 * HOUR);
        assert_eq!(book.at(11 * HOUR).gap, None);
        book.start(9 * DAY, started);
        for at in [2 * DAY, 9 * DAY] {
            let gap = book.at(at).gap.expect("nothing was heard for days");
            let expected = Gap {
                from_ms: HOUR,
                until_ms: Some(9 * DAY),
                asked_ms: 12 * HOUR,
                reason,
            };
            assert_eq!(gap, expected);
        }
        book.wait(9 * DAY, &[Reason::Offline], 10 * DAY);
        assert_eq!(book.at(9 * DAY + HOUR).gap, None, "it is over");
    }
}

#[test]
fn now_is_explained_from_policy_and_conditions() {
    let mut book = Book::default();
    book.open(0);
    book.close(1, Reason::Done);
    book.wait(DAY, &[Reason::NotCharging, Reason::Offline], 2 * DAY);
    let conditions = Conditions {
        network: Network::Offline,
        charging: Known::No,
        battery_percent: Some(80),
        locked: Known::No,
        ..Conditions::default()
    };
    let policy = Policy::default();
    let told = explain_now(DAY + HOUR, &policy, &conditions, &book.history, &book.rows);
    assert_eq!(told.freshness, Freshness::Late);
    assert_eq!(told.age_ms, DAY + HOUR - 1);
    let since: Vec<_> = told
        .blocks
        .iter()
        .map(|block| (block.reason, block.since_ms))
        .collect();
    assert_eq!(
        since,
        [(Reason::Offline, DAY)],
        "the wish to charge is given up by now"
    );
    assert!(told.cautions.contains(&Reason::ThermalUnknown) && told.advice.contains(&Reason::ThermalUnknown));
    assert!(!told.wakes.is_empty());
    let short = status(DAY + HOUR, &policy, &conditions, &book.history, &book.rows);
    assert_eq!(
        (short.waits, short.last_end),
        (Some(Reason::Offline), Some(Reason::Done))
    );
    assert_eq!(
        short.next_ms,
        told.wakes.iter().map(|wake| wake.earliest_ms).min()
    );
}

#[test]
fn the_alarm_is_raised_once_and_taken_back_once() {
    let (policy, mut book) = (Policy::default(), Book::default());
    book.open(0);
    book.close(1, Reason::Done);
    assert_eq!(alarm(3 * DAY, &policy, &book.history), None);
    assert_eq!(alarm(3 * DAY + 2, &policy, &book.history), Some(Reason::Stale));
    book.write(
        4 * DAY,
        Entry::Noticed {
            reason: Reason::Stale,
        },
    );
    assert_eq!(alarm(5 * DAY, &policy, &book.history), None);
    book.open(6 * DAY);
    book.close(6 * DAY, Reason::Done);
    assert_eq!(alarm(6 * DAY, &policy, &book.history), Some(Reason::FreshAgain));
    book.write(
        6 * DAY,
        Entry::Noticed {
            reason: Reason::FreshAgain,
        },
    );
    assert_eq!(alarm(6 * DAY, &policy, &book.history), None);
    let never = History::begin(1, 0);
    assert_eq!(staleness(HOUR, &policy, &never), Freshness::None);
    assert_eq!(
        alarm(3 * DAY + 1, &policy, &never),
        Some(Reason::Stale),
        "a first backup that never came"
    );
}
