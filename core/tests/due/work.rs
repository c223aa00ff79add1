//! From a decision to a window, and into the diary.

use lifeboat::{
    DueDone, StopSignal,
    scheduler::{
        Conditions, Entry, Network, NetworkClass, Reason, Standing, Task, Use, Verdict, wake_android,
        wake_apple::{self, Identifiers},
    },
};

use super::{DAY, HOUR, Phone, good, policy};
use crate::scene::{Scene, noise, wait};

#[test]
fn a_backup_is_made_when_it_is_due_and_not_before() {
    let scene = Scene::new();
    scene.write("a", noise(1, 300_000));
    let phone = Phone::new(&scene, &scene.state());
    phone.policy(|_| {});
    let first = phone.does(Task::FirstBackup);
    let window = first.window.unwrap();
    let Some(DueDone::BackedUp(report)) = &window.done else {
        panic!("{window:?}")
    };
    assert!(report.snapshot.is_some());
    // What the diary says was sent is what the vault holds, and what was read of it at the start.
    let [(NetworkClass::Unmetered, spent)] = window.closed.spent[..] else {
        panic!("{window:?}")
    };
    assert!(spent > 300_000 && window.closed.requests > 5, "{window:?}");
    assert!((300_000..spent).contains(&window.closed.confirmed), "{window:?}");
    let journal = phone.journal();
    let entries: Vec<_> = journal.rows.iter().map(|row| &row.entry).collect();
    assert!(
        matches!(
            entries[..],
            [
                Entry::Started(_),
                Entry::Opened { .. },
                Entry::Closed(_),
                Entry::Waited(_)
            ]
        ),
        "{entries:?}"
    );
    assert!(!first.again && first.next.verdict == Verdict::Wait);
    assert_eq!(phone.waits(good()), [Reason::NotDue]);
    // The wake that was asked for is when it is due, and both systems take it.
    let wake = first.next.wakes[0];
    let due_in = wake.earliest_ms - journal.history.newest.unwrap().at_ms;
    assert_eq!(due_in, policy().due_ms());
    let now = journal.history.seen_ms;
    for work in wake_android::one_time_work(now, &first.next.wakes) {
        assert_eq!(wake_android::refusal(&work), None);
    }
    let ids = Identifiers {
        processing: "backup".into(),
        refresh: "refresh".into(),
    };
    let requests = wake_apple::task_requests(now, &first.next.wakes, Standing::Unknown, &ids).unwrap();
    assert_eq!(wake_apple::refusal(now, &requests, &ids), None);

    phone.clock.jump(13 * HOUR);
    scene.write("b", noise(2, 50_000));
    let second = phone.does(Task::Increment).window.unwrap();
    assert!(second.closed.confirmed < 100_000, "{second:?}");
    assert_eq!(phone.tags().len(), 2);
    phone.is_sound();
}

#[test]
fn a_run_goes_on_over_windows_and_never_over_the_allowance() {
    let scene = Scene::new();
    for file in 0..8 {
        scene.write(&format!("f{file}"), noise(2 * file + 1, 400_000));
    }
    let mut phone = Phone::new(&scene, &scene.state());
    let day = 1_000_000;
    phone.policy(|policy| {
        policy.network.metered.using = Use::Always;
        (
            policy.network.metered.day_bytes,
            policy.network.metered.month_bytes,
        ) = (Some(day), None);
    });
    let mobile = Conditions {
        network: Network::Metered,
        ..good()
    };
    let mut windows = 0;
    for _ in 0..30 {
        let report = phone.due(mobile.clone());
        if let Some(window) = &report.window {
            windows += 1;
            assert!(window.error.is_none(), "{window:?}");
            if window.closed.finished {
                break;
            }
            assert_eq!(window.closed.end, Reason::BytesUp, "{window:?}");
        }
        let journal = phone.journal();
        let spent: u64 = (journal.rows.iter())
            .filter_map(|row| match &row.entry {
                Entry::Closed(closed) => Some(closed.spent.iter().map(|(_, bytes)| bytes).sum::<u64>()),
                _ => None,
            })
            .sum();
        // Every process between begins with an opening, which counts, too.
        assert!(spent <= day * windows, "{spent} in {windows} days");
        phone.clock.jump(DAY);
        phone = phone.restart();
    }
    assert!(windows > 3, "{windows}");
    let journal = phone.journal();
    assert!(journal.history.run.is_none() && journal.history.newest.is_some());
    phone.is_sound();
}

#[test]
fn no_network_that_the_policy_does_not_name_is_ever_used() {
    let scene = Scene::new();
    scene.write("a", noise(1, 100_000));
    let phone = Phone::new(&scene, &scene.state());
    phone.policy(|_| {});
    for (network, reason) in [
        (Network::Roaming, Reason::NetworkNotAllowed),
        (Network::Constrained, Reason::NetworkNotAllowed),
        (Network::Unclassified, Reason::NetworkUnclassified),
        (Network::Expensive, Reason::NetworkOnlyWhenLate),
        (Network::Unknown, Reason::NetworkUnknown),
        (Network::Offline, Reason::Offline),
    ] {
        let reasons = phone.waits(Conditions { network, ..good() });
        assert_eq!(reasons, [reason], "{network:?}");
    }
    assert!(phone.tags().is_empty());
}

#[test]
fn a_stop_is_named_and_the_run_goes_on() {
    let scene = Scene::new();
    scene.write("a", noise(1, 100_000));
    let phone = Phone::new(&scene, &scene.state());
    phone.policy(|_| {});
    let stop = StopSignal::default();
    stop.stop(Reason::StopNetwork);
    let report = phone.due_until(good(), stop);
    let window = report.window.unwrap();
    assert_eq!(window.closed.end, Reason::StopNetwork, "{window:?}");
    assert!(!report.again && !window.closed.finished);
    phone.does(Task::Resume);
    phone.is_sound();
}

#[test]
fn a_window_that_its_process_did_not_survive_is_named_by_the_next() {
    let scene = Scene::new();
    scene.write("a", noise(1, 100_000));
    let phone = Phone::new(&scene, &scene.state());
    phone.policy(|_| {});
    phone.does(Task::FirstBackup);
    phone.clock.jump(13 * HOUR);
    // Opened in the diary, as a window is before it begins; and then the process is gone.
    let now = phone.journal().history.seen_ms + 13 * 3_600_000;
    let (decision, _) = wait(phone.engine.diary().decide(now, good())).unwrap();
    assert!(matches!(
        decision.verdict,
        Verdict::Run {
            task: Task::Increment,
            ..
        }
    ));
    let phone = phone.restart();
    phone.clock.jump(HOUR);
    let report = phone.due(good());
    assert_eq!(report.killed.unwrap().end, Reason::Killed);
    phone.clock.jump(HOUR);
    phone.does(Task::Resume);
    let told = phone.journal().explain(now + DAY as i64 * 1000, &good(), None);
    assert!(
        told.windows.iter().any(|window| window
            .ended
            .as_ref()
            .is_some_and(|(_, closed)| closed.end == Reason::Killed)),
        "{told:?}"
    );
}

#[test]
fn upkeep_follows_in_its_time_and_the_alarm_comes_whatever_the_app_was_woken_for() {
    let scene = Scene::new();
    scene.write("a", noise(1, 100_000));
    let phone = Phone::new(&scene, &scene.state());
    phone.policy(|policy| policy.keep.last = "1".into());
    let mut heard = phone.engine.listen();
    phone.does(Task::FirstBackup);
    let mut done = Vec::new();
    for day in 0..40_u64 {
        phone.clock.jump(DAY);
        scene.write("a", noise(day + 2, 100_000));
        let mut again = true;
        while again {
            let report = phone.due(good());
            again = report.again;
            if let Some(window) = report.window {
                assert_eq!(window.closed.end, Reason::Done, "{window:?}");
                done.push(window.task);
            }
        }
    }
    for task in [Task::Increment, Task::Forget, Task::Verify, Task::Prune] {
        assert!(done.contains(&task), "{task:?} of {done:?}");
    }
    assert!(phone.tags().len() < 40, "{}", phone.tags().len());
    phone.is_sound();
    // A month in which nothing could run: whoever wakes the app, even for nothing, hears of it once.
    phone.clock.jump(30 * DAY);
    let offline = Conditions {
        network: Network::Offline,
        ..good()
    };
    assert_eq!(phone.due(offline.clone()).alarms, [Reason::Stale]);
    assert!(phone.due(offline).alarms.is_empty());
    assert_eq!(phone.does(Task::Increment).alarms, [Reason::FreshAgain]);
    let mut noticed = Vec::new();
    loop {
        match heard.try_recv() {
            Ok(lifeboat::Event::Noticed { reason }) => noticed.push(reason),
            Ok(_) | Err(tokio::sync::broadcast::error::TryRecvError::Lagged(_)) => {}
            Err(_) => break,
        }
    }
    assert_eq!(noticed, [Reason::Stale, Reason::FreshAgain]);
}

#[test]
fn a_prune_goes_on_over_windows_within_the_allowance() {
    let scene = Scene::new();
    // Every other file goes, so that half of every pack is left, and all of them are to be packed anew.
    for file in 0..40 {
        scene.write(&format!("{file:02}-stays"), noise(2 * file + 1, 60_000));
        scene.write(&format!("{file:02}-goes"), noise(1000 + file, 60_000));
    }
    let mut phone = Phone::new(&scene, &scene.state());
    phone.policy(|_| {});
    phone.does(Task::FirstBackup);
    for file in 0..40 {
        std::fs::remove_file(scene.source().join(format!("{file:02}-goes"))).unwrap();
    }
    phone.clock.jump(DAY);
    phone.does(Task::Increment);
    let day_bytes = 6_000_000;
    phone.policy(|policy| {
        policy.keep.last = "1".into();
        for rule in [
            &mut policy.keep.daily,
            &mut policy.keep.weekly,
            &mut policy.keep.monthly,
        ] {
            rule.clear();
        }
        policy.network.unmetered.day_bytes = Some(day_bytes);
    });
    let (mut parts, mut pruned) = (0, None);
    for _ in 0..120 {
        let report = phone.due(good());
        let again = report.again;
        if let Some(window) = report.window {
            assert!(window.error.is_none(), "{window:?}");
            let spent: u64 = window.closed.spent.iter().map(|(_, bytes)| bytes).sum();
            assert!(spent <= day_bytes, "{window:?}");
            parts += usize::from(window.task == Task::Prune && !window.closed.finished);
            if let Some(DueDone::Pruned(report)) = window.done {
                pruned = Some(report);
                break;
            }
        }
        if !again {
            phone.clock.jump(DAY);
            phone = phone.restart();
        }
    }
    assert!(pruned.is_some() && parts > 0, "{parts} parts, then {pruned:?}");
    phone.is_sound();
}
