//! A decision is the same for the same arguments, and its reasons are all there are: with those removed the work runs, with one left it does not.

use lifeboat::scheduler::{
    Conditions, Decision, History, Known, Ledger, Network, NetworkClass, Policy, Reason, Task, Use, Verdict,
    decide, wake_android, wake_apple,
};
use proptest::prelude::*;

use crate::random::{conditions, history, policy, steps};

type World = (i64, Policy, Conditions, History);

fn decided(world: &World) -> Decision {
    decide(world.0, &world.1, &world.2, &world.3)
}

/// A class that the policy uses at any time, and that is good enough for the task.
fn usable(policy: &Policy, task: Task) -> Option<NetworkClass> {
    let open = |class: &NetworkClass| {
        let rule = policy.network.class(*class);
        rule.using == Use::Always && rule.day_bytes != Some(0) && rule.month_bytes != Some(0)
    };
    let good = |class: &NetworkClass| task.is_backup() || *class == NetworkClass::Unmetered;
    NetworkClass::ALL.into_iter().filter(good).find(open)
}

/// Removes what the reason says is in the way, and nothing else.
fn remove(reason: Reason, task: Task, (_, policy, conditions, history): &mut World) {
    match reason {
        Reason::Backoff => history.failures.count = 0,
        Reason::QuietHours => policy.quiet.clear(),
        Reason::Offline
        | Reason::NetworkUnknown
        | Reason::NetworkUnclassified
        | Reason::NetworkNotAllowed
        | Reason::NetworkOnlyWhenLate => {
            let class = usable(policy, task).unwrap_or_else(|| {
                policy.network.unmetered.using = Use::Always;
                NetworkClass::Unmetered
            });
            conditions.network = class.into();
            // Which class it becomes is this test's choice: what was spent of it is not in the question.
            history.ledger = Ledger::default();
            let rule = match class {
                NetworkClass::Unmetered => &mut policy.network.unmetered,
                NetworkClass::Metered => &mut policy.network.metered,
                NetworkClass::Expensive => &mut policy.network.expensive,
                NetworkClass::Constrained => &mut policy.network.constrained,
                NetworkClass::Roaming => &mut policy.network.roaming,
            };
            (rule.day_bytes, rule.month_bytes) = (None, None);
        }
        Reason::DayAllowanceUsed | Reason::MonthAllowanceUsed => {
            for rule in [
                &mut policy.network.unmetered,
                &mut policy.network.metered,
                &mut policy.network.expensive,
                &mut policy.network.constrained,
                &mut policy.network.roaming,
            ] {
                let bytes = if reason == Reason::DayAllowanceUsed {
                    &mut rule.day_bytes
                } else {
                    &mut rule.month_bytes
                };
                *bytes = None;
            }
        }
        Reason::UpkeepNeedsUnmetered => {
            conditions.network = Network::Unmetered;
            policy.network.unmetered = lifeboat::scheduler::ClassRule::UNLIMITED;
        }
        Reason::NotCharging | Reason::ChargingUnknown => conditions.charging = Known::Yes,
        Reason::NotIdle | Reason::IdleUnknown => conditions.idle = Known::Yes,
        Reason::BatteryLow | Reason::BatteryUnknown => conditions.battery_percent = Some(100),
        Reason::LowPowerMode => conditions.low_power_mode = Known::No,
        Reason::TooHot => conditions.thermal = Some(lifeboat::scheduler::Thermal::Nominal),
        Reason::StorageLow => conditions.free_bytes = Some(u64::MAX),
        Reason::Locked | Reason::LockUnknown => conditions.locked = Known::No,
        Reason::WindowTooShort => conditions.window_left_ms = None,
        Reason::NewbornHold => history.newborn_hold = false,
        other => panic!("{other} is no reason to wait for something that is due"),
    }
}

fn world() -> impl Strategy<Value = World> {
    (
        policy(),
        conditions(),
        steps(),
        any::<u64>(),
        0..20 * crate::random::DAY_MS,
    )
        .prop_map(|(policy, conditions, steps, install, later)| {
            let (history, last) = history(install, &steps);
            (last + later, policy, conditions, history)
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn reasons_are_complete_and_none_is_idle(world in world()) {
        let decision = decided(&world);
        prop_assert_eq!(&decision, &decided(&world));
        let Some(first) = decision.due.first() else {
            prop_assert_eq!(decision.waits.len(), 1);
            prop_assert_eq!(decision.waits[0].reason, Reason::NotDue);
            // At the moment it names, something is due.
            let then = (decision.waits[0].until_ms.unwrap(), world.1, world.2, world.3);
            prop_assert!(!decided(&then).due.is_empty());
            return Ok(());
        };
        let reasons: Vec<Reason> = decision.waits.iter().map(|wait| wait.reason).collect();
        let mut free = world.clone();
        reasons.iter().for_each(|reason| remove(*reason, *first, &mut free));
        let after = decided(&free);
        let runs = matches!(after.verdict, Verdict::Run { task, .. } if task == *first);
        prop_assert!(runs, "{:?} removed, and still: {:?}", reasons, after.waits);
        for kept in &reasons {
            let mut almost = world.clone();
            let others = reasons.iter().filter(|reason| *reason != kept);
            others.for_each(|reason| remove(*reason, *first, &mut almost));
            let after = decided(&almost);
            let runs = matches!(after.verdict, Verdict::Run { task, .. } if task == *first);
            // Another network than the one that was metered is another answer to the same question.
            let network = |reason: &Reason| matches!(
                reason,
                Reason::Offline | Reason::NetworkUnknown | Reason::NetworkUnclassified | Reason::NetworkNotAllowed
                    | Reason::NetworkOnlyWhenLate | Reason::UpkeepNeedsUnmetered | Reason::DayAllowanceUsed
                    | Reason::MonthAllowanceUsed
            );
            let moved = network(kept) && reasons.iter().filter(|reason| network(reason)).count() > 1;
            // A phone that charges is not asked how full it is.
            let battery = matches!(kept, Reason::BatteryLow | Reason::BatteryUnknown)
                && reasons.iter().any(|reason| matches!(reason, Reason::NotCharging | Reason::ChargingUnknown));
            prop_assert!(!runs || moved || battery, "{:?} was named, but is not in the way", kept);
        }
    }

    #[test]
    fn no_request_is_one_that_the_platform_refuses(world in world()) {
        let decision = decided(&world);
        prop_assert!((1..=2).contains(&decision.wakes.len()), "{:?}", decision.wakes);
        for wake in &decision.wakes {
            prop_assert!(wake.earliest_ms >= world.0);
        }
        for work in wake_android::one_time_work(world.0, &decision.wakes) {
            prop_assert_eq!(wake_android::refusal(&work), None, "{:?}", work);
        }
        let watch = wake_android::periodic_work(world.1.due_ms());
        prop_assert_eq!(wake_android::periodic_refusal(&watch), None);
        let identifiers =
            wake_apple::Identifiers { refresh: "a.refresh".into(), processing: "a.processing".into() };
        let requests =
            wake_apple::task_requests(world.0, &decision.wakes, world.2.standing, &identifiers).unwrap();
        prop_assert_eq!(wake_apple::refusal(world.0, &requests, &identifiers), None);
        prop_assert!(!requests.is_empty());
    }

    /// A request that is answered at once although nothing has changed would be asked again, and again.
    #[test]
    fn no_request_spins(world in world()) {
        let decision = decided(&world);
        if decision.verdict != Verdict::Wait {
            prop_assert!(decision.wakes.iter().all(|wake| wake.earliest_ms > world.0));
            return Ok(());
        }
        let conditions = &world.2;
        for wake in decision.wakes.iter().filter(|wake| wake.earliest_ms <= world.0) {
            let offline = conditions.network == Network::Offline;
            let other = conditions.network.class().is_some_and(|class| !wake.network.includes(class));
            let power = wake.charging && conditions.charging == Known::No;
            let used = wake.idle && conditions.idle == Known::No;
            let low = wake.battery_not_low && conditions.battery_percent.is_some_and(|percent| percent <= 15);
            prop_assert!(offline || other || power || used || low, "{:?} for {:?}", wake, decision.waits);
        }
    }

    #[test]
    fn roaming_and_other_closed_classes_are_never_granted(world in world()) {
        if let Verdict::Run { grant, task } = decided(&world).verdict {
            let class = grant.class.unwrap();
            prop_assert_eq!(Some(class), world.2.network.class());
            let rule = world.1.network.class(class);
            prop_assert!(rule.using != Use::Never);
            prop_assert!(task.is_backup() || class == NetworkClass::Unmetered);
            for allowed in [rule.day_bytes, rule.month_bytes].into_iter().flatten() {
                prop_assert!(grant.bytes.unwrap() <= allowed);
            }
            prop_assert!(grant.time_ms > 0 && grant.bytes != Some(0));
        }
    }
}
