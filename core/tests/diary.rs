//! Decisions and windows as an engine writes them down: what the next process, and a reader without an engine, find of them.

// A story, told in its order.
#![allow(clippy::unwrap_used, clippy::too_many_lines)]

mod scene;

use std::time::Duration;

use lifeboat::{
    Kind,
    scheduler::{
        Closed, Conditions, Exit, Journal, Known, Network, NetworkClass, Policy, Published, Reason, Started,
        Task, Thermal, Verdict, explain::Freshness,
    },
};
use scene::{Scene, wait};

const STOP: Duration = Duration::from_secs(10);
const HOUR: i64 = 60 * 60 * 1000;
const DAY: i64 = 24 * HOUR;
/// Some moment: the diary takes the time as an argument.
const BEGIN: i64 = 1_774_000_000_000;

fn good() -> Conditions {
    Conditions {
        network: Network::Metered,
        charging: Known::Yes,
        low_power_mode: Known::No,
        thermal: Some(Thermal::Nominal),
        free_bytes: Some(1 << 40),
        time_zone: Some("Europe/Berlin".into()),
        ..Conditions::default()
    }
}

#[test]
fn a_window_outlives_its_process_in_the_diary() {
    let scene = Scene::new();
    let engine = scene.open();
    let diary = engine.diary();
    let refused = wait(diary.set_policy(Policy {
        fresh_minutes: 0,
        ..Policy::default()
    }))
    .unwrap_err();
    assert_eq!(refused.kind(), Kind::InvalidInput);
    wait(diary.set_policy(Policy {
        stale_minutes: 2 * 24 * 60,
        ..Policy::default()
    }))
    .unwrap();
    assert_eq!(
        wait(diary.started(BEGIN, 7, good(), Started::default())).unwrap(),
        None
    );

    // Mobile data waits until the objective is missed.
    let (decision, alarm) = wait(diary.decide(BEGIN + HOUR, good())).unwrap();
    assert_eq!((decision.verdict, alarm), (Verdict::Wait, None));
    assert_eq!(decision.waits[0].reason, Reason::NetworkOnlyWhenLate);
    // Two days later that is an alarm, and it runs.
    let (decision, alarm) = wait(diary.decide(BEGIN + 2 * DAY + HOUR, good())).unwrap();
    assert_eq!(alarm, Some(Reason::Stale));
    let Verdict::Run { task, grant } = decision.verdict else {
        unreachable!("{decision:?}")
    };
    assert_eq!((task, grant.bytes), (Task::FirstBackup, Some(20 << 20)));
    engine.stop(STOP).unwrap();

    // The process was killed there. Whoever only reads sees an open window.
    let journal = Journal::read(&scene.state()).unwrap().unwrap();
    assert!(journal.history.open.is_some());
    let engine = scene.open();
    let diary = engine.diary();
    let started = Started {
        last_exit: Some(Exit::Memory),
        ..Started::default()
    };
    let now = BEGIN + 2 * DAY + 2 * HOUR;
    let ended = wait(diary.started(now, 7, good(), started)).unwrap().unwrap();
    assert_eq!(
        (ended.end, ended.spent),
        (Reason::KilledMemory, vec![(NetworkClass::Metered, 20 << 20)])
    );
    let (decision, alarm) = wait(diary.decide(now, good())).unwrap();
    assert_eq!(
        (decision.verdict, alarm),
        (Verdict::Wait, None),
        "the alarm was raised already"
    );
    let reasons: Vec<_> = decision.waits.iter().map(|wait| wait.reason).collect();
    assert_eq!(reasons, [Reason::Backoff, Reason::DayAllowanceUsed]);

    // On Wi-Fi it goes on, and is done.
    let wifi = Conditions {
        network: Network::Unmetered,
        ..good()
    };
    let later = now + HOUR;
    let (decision, _) = wait(diary.decide(later, wifi.clone())).unwrap();
    assert!(
        matches!(
            decision.verdict,
            Verdict::Run {
                task: Task::Resume,
                ..
            }
        ),
        "{decision:?}"
    );
    let closed = Closed {
        end: Reason::Done,
        spent: vec![(NetworkClass::Unmetered, 5)],
        confirmed: 5,
        requests: 9,
        finished: true,
        published: Some(Published { files: 3, bytes: 500 }),
    };
    wait(diary.closed(later + 1000, wifi.clone(), closed)).unwrap();
    let (_, alarm) = wait(diary.decide(later + 2000, wifi.clone())).unwrap();
    assert_eq!(alarm, Some(Reason::FreshAgain));
    engine.stop(STOP).unwrap();

    let journal = Journal::read(&scene.state()).unwrap().unwrap();
    assert_eq!(journal.conditions, wifi);
    let status = journal.status(later + 3000, &wifi);
    assert_eq!(
        (status.freshness, status.last_end),
        (Freshness::Fresh, Some(Reason::Done))
    );
    let then = journal.explain(later + 3000, &wifi, Some(BEGIN + 2 * DAY + HOUR + 1));
    assert_eq!(
        (then.runs, then.freshness),
        (Some(Task::FirstBackup), Freshness::Stale)
    );
    let (_, closed) = then.windows[0].ended.clone().unwrap();
    assert_eq!(closed.end, Reason::KilledMemory, "known since the next start");
    let before = journal.explain(later + 3000, &wifi, Some(BEGIN + 2 * HOUR));
    assert_eq!(
        (before.blocks[0].reason, before.blocks[0].since_ms),
        (Reason::NetworkOnlyWhenLate, BEGIN + HOUR)
    );
}

#[test]
fn where_nothing_was_written_there_is_nothing_to_read() {
    let scene = Scene::new();
    assert!(Journal::read(&scene.state()).unwrap().is_none());
    scene.open().stop(STOP).unwrap();
    assert!(Journal::read(&scene.state()).unwrap().is_none());
}
