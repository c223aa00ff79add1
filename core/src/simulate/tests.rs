use super::*;
use crate::scheduler::{NetworkClass, Policy, Use};

#[test]
fn a_life_can_be_written_down_and_played_again() {
    for life in Life::ALL {
        let trace = live(life, 5, 20);
        assert_eq!(trace.problem(), None, "{}", life.name());
        let text = serde_json::to_string(&trace).unwrap();
        let read: Trace = serde_json::from_str(&text).unwrap();
        assert_eq!(read, trace);
        let (first, second) = (
            play(&trace, &Policy::default(), 9),
            play(&read, &Policy::default(), 9),
        );
        assert_eq!(
            serde_json::to_string(&first).unwrap(),
            serde_json::to_string(&second).unwrap()
        );
        assert!(first.snapshots > 0, "{}: {:?}", life.name(), first.waited);
        assert_eq!(Life::named(life.name()), Some(life));
    }
}

#[test]
fn more_days_begin_with_the_same_days() {
    let (short, long) = (live(Life::Student, 3, 10), live(Life::Student, 3, 30));
    let beginning = |trace: &Trace| -> Vec<Moment> {
        trace
            .moments
            .iter()
            .filter(|moment| moment.minute < 9 * 24 * 60)
            .cloned()
            .collect()
    };
    assert_eq!(beginning(&short), beginning(&long));
    assert_eq!(short.data, long.data);
}

/// Every byte within its allowance, every cause named. The command line plays a thousand phones for a year.
#[test]
fn a_fleet_keeps_its_budget_and_knows_why_it_did_not_run() {
    let mut policy = Policy::default();
    policy.network.roaming.using = Use::WhenLate;
    (
        policy.network.roaming.day_bytes,
        policy.network.roaming.month_bytes,
    ) = (Some(1 << 20), Some(5 << 20));
    let fleet = fleet(&policy, 28, 90, 20_260_101, |_| {});
    assert_eq!(fleet.over_budget_bytes, 0);
    let (mut happened, mut named) = (0, 0);
    for count in fleet.causes.values() {
        happened += count.happened;
        named += count.named;
    }
    assert_eq!(
        happened,
        named,
        "{:?}\n{}",
        fleet.causes,
        fleet.unnamed.join("\n")
    );
    for cause in [
        "killed-memory",
        "killed-crash",
        "force-stopped",
        "not-woken",
        "low-standing",
        "powered-off",
    ] {
        assert!(
            fleet.causes.contains_key(cause),
            "{cause} never happened: {:?}",
            fleet.causes
        );
    }
    let metered = NetworkClass::Metered as usize;
    assert!(
        fleet.lives["mobile"].bytes[metered] > 0,
        "the allowance was there to be used"
    );
}

#[test]
fn a_trace_from_outside_is_looked_at_first() {
    let good = live(Life::Commuter, 1, 2);
    let broken = [
        Trace {
            format: 2,
            ..good.clone()
        },
        Trace {
            days: 0,
            ..good.clone()
        },
        Trace {
            zone: "Mars/Olympus".into(),
            ..good.clone()
        },
        Trace {
            start_ms: -1,
            ..good.clone()
        },
        Trace {
            moments: good.moments.iter().rev().cloned().collect(),
            ..good.clone()
        },
        Trace {
            data: Data { fast: 0, ..good.data },
            ..good.clone()
        },
    ];
    for trace in broken {
        assert!(trace.problem().is_some(), "{trace:?}");
    }
}
