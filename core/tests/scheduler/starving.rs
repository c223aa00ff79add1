//! Whatever has happened: when the phone is at rest, and the operating system honours what it is asked, work happens.

use lifeboat::scheduler::{Closed, Entry, History, NetworkClass, Policy, Reason, Use, Verdict, Wake, decide};
use proptest::prelude::*;

use crate::random::{DAY_MS, EPOCH_MS, at_rest, history, policy, steps};

/// The network that a phone at rest is on: one that the policy would use at some time.
fn home(policy: &Policy) -> NetworkClass {
    let open = |class: &NetworkClass| {
        let rule = policy.network.class(*class);
        rule.using != Use::Never && rule.day_bytes != Some(0) && rule.month_bytes != Some(0)
    };
    NetworkClass::ALL.into_iter().find(open).unwrap()
}

/// When a phone at rest answers these requests.
fn answered(wakes: &[Wake], class: NetworkClass) -> Option<i64> {
    let good = wakes.iter().filter(|wake| wake.network.includes(class));
    good.map(|wake| wake.earliest_ms).min()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn by_wake_requests_alone_a_backup_happens(policy in policy(), steps in steps(), install in any::<u64>()) {
        let (mut history, mut now) = history(install, &steps);
        let class = home(&policy);
        let conditions = at_rest(class);
        let begin = now;
        for step in 0.. {
            let decision = decide(now, &policy, &conditions, &history);
            if let Verdict::Run { task, .. } = decision.verdict {
                if task.is_backup() {
                    break;
                }
                // Upkeep is done, and no more in the way.
                let Verdict::Run { grant, .. } = decision.verdict else { unreachable!() };
                history.apply(now, &conditions, &Entry::Opened { task, grant });
                history.apply(now, &conditions, &Entry::Closed(closed(Reason::Done, true)));
                continue;
            }
            let at = answered(&decision.wakes, class);
            prop_assert!(at.is_some(), "{:?} is never answered on {:?}", decision.wakes, class);
            prop_assert!(at.unwrap() > now, "nothing would ever change: {:?}", decision.waits);
            now = at.unwrap();
            // What a host writes down at every wake.
            history.apply(now, &conditions, &Entry::Noticed { reason: Reason::Rebooted });
            // Once an hour, for as long as a month's allowance lasts on the network that is there while another would do.
            prop_assert!(step < 1000, "{:?}", decision.waits);
        }
        // A month's allowance may have to be waited for, and the objective itself.
        let longest = 35 * DAY_MS + policy.fresh_ms();
        prop_assert!(now - begin <= longest, "{} days", (now - begin) / DAY_MS);
    }
}

fn closed(end: Reason, finished: bool) -> Closed {
    Closed {
        end,
        spent: Vec::new(),
        confirmed: 0,
        requests: 1,
        finished,
        published: None,
    }
}

/// A vault that is away for a month is asked at least twice a day, and the wait never grows beyond that.
#[test]
fn backing_off_never_becomes_giving_up() {
    for end in [
        Reason::VaultUnreachable,
        Reason::WrongKey,
        Reason::Killed,
        Reason::Defect,
        Reason::StopUser,
    ] {
        let (policy, conditions) = (Policy::default(), at_rest(NetworkClass::Unmetered));
        let mut history = History::begin(7, EPOCH_MS);
        let (mut now, mut tries, mut longest) = (EPOCH_MS, 0, 0);
        let mut last = now;
        while now < EPOCH_MS + 30 * DAY_MS {
            let decision = decide(now, &policy, &conditions, &history);
            match decision.verdict {
                Verdict::Run { task, grant } => {
                    longest = longest.max(now - last);
                    (tries, last) = (tries + 1, now);
                    history.apply(now, &conditions, &Entry::Opened { task, grant });
                    history.apply(now, &conditions, &Entry::Closed(closed(end, false)));
                }
                Verdict::Wait => now = answered(&decision.wakes, NetworkClass::Unmetered).unwrap(),
            }
        }
        assert!(tries >= 60, "{end}: {tries} tries");
        assert!(tries <= 110, "{end}: {tries} tries are a burden");
        assert!(
            longest <= 13 * 60 * 60 * 1000,
            "{end}: {longest} ms without a try"
        );
    }
}

/// Upkeep that waits for Wi-Fi must not keep a phone without any from being woken for its backup.
#[test]
fn upkeep_that_waits_holds_no_backup_up() {
    let (policy, conditions) = (Policy::default(), at_rest(NetworkClass::Metered));
    let mut history = History::begin(7, EPOCH_MS);
    let now = EPOCH_MS + 40 * DAY_MS;
    history.newest = Some(lifeboat::scheduler::Complete {
        at_ms: now - 1,
        files: 1,
        bytes: 1,
    });
    history.snapshots_since_forget = 9;
    let decision = decide(now, &policy, &conditions, &history);
    assert_eq!(
        (decision.verdict, decision.due.len()),
        (Verdict::Wait, 2),
        "{decision:?}"
    );
    let at = answered(&decision.wakes, NetworkClass::Metered).expect("a wake on mobile data");
    assert!(at <= now + policy.fresh_ms() + policy.jitter_ms());
}

/// Nobody opened the app for a month, then somebody does.
#[test]
fn after_an_unused_month_the_first_window_backs_up() {
    let (policy, mut conditions) = (Policy::default(), at_rest(NetworkClass::Metered));
    conditions.charging = lifeboat::scheduler::Known::No;
    conditions.battery_percent = Some(50);
    let mut history = History::begin(7, EPOCH_MS);
    history.newest = Some(lifeboat::scheduler::Complete {
        at_ms: EPOCH_MS,
        files: 1,
        bytes: 1,
    });
    let now = EPOCH_MS + 31 * DAY_MS;
    let decision = decide(now, &policy, &conditions, &history);
    let Verdict::Run { task, grant } = decision.verdict else {
        panic!("{:?}", decision.waits)
    };
    assert!(task.is_backup());
    assert_eq!(grant.bytes, policy.network.metered.day_bytes);
}
