//! Not one byte over an allowance, whatever clocks, zones and kills do.

use std::collections::HashMap;

use lifeboat::scheduler::{
    ClassRule, Closed, Conditions, Entry, History, Known, NetworkClass, Policy, Reason, Started, Use,
    Verdict, decide,
};
use proptest::prelude::*;

use crate::random::{DAY_MS, EPOCH_MS, at_rest};

const DAY_BYTES: u64 = 1000;
const MONTH_BYTES: u64 = 3500;

fn policy() -> Policy {
    let mut policy = Policy {
        fresh_minutes: 1,
        stale_minutes: 1,
        ..Policy::default()
    };
    let rule = ClassRule {
        using: Use::Always,
        day_bytes: Some(DAY_BYTES),
        month_bytes: Some(MONTH_BYTES),
    };
    (policy.network.metered, policy.network.roaming) = (rule, rule);
    policy
}

fn date(now: i64, zone: &str) -> jiff::civil::Date {
    let zone = jiff::tz::TimeZone::get(zone).unwrap();
    jiff::Timestamp::from_millisecond(now)
        .unwrap()
        .to_zoned(zone)
        .date()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn no_date_and_no_month_sees_a_byte_too_many(
        steps in prop::collection::vec(
            (0..DAY_MS, -DAY_MS / 2..DAY_MS / 2, 0_usize..5, any::<bool>(), 0_u64..=100, any::<bool>()), 1..120)
    ) {
        let zones =
            ["Europe/Berlin", "Pacific/Kiritimati", "Pacific/Pago_Pago", "America/New_York", "Asia/Kathmandu"];
        let policy = policy();
        let mut history = History::begin(3, EPOCH_MS);
        let mut real = EPOCH_MS;
        let mut by_date = HashMap::<_, u64>::new();
        for (gap, wrong, zone, roaming, percent, killed) in steps {
            real += gap;
            // The clock is set wrong, and anew at every step.
            let now = real + wrong;
            let class = if roaming { NetworkClass::Roaming } else { NetworkClass::Metered };
            let conditions = Conditions {
                time_zone: Some(zones[zone].into()),
                charging: Known::Yes,
                asked: true,
                ..at_rest(class)
            };
            let Verdict::Run { task, grant } = decide(now, &policy, &conditions, &history).verdict else { continue };
            history.apply(now, &conditions, &Entry::Opened { task, grant });
            // All of it, most often: that is where a mistake would show.
            let granted = grant.bytes.unwrap();
            let spent = if percent > 30 { granted } else { granted * percent / 30 };
            *by_date.entry((class, date(now, zones[zone]))).or_default() += spent;
            let entries = if killed {
                history.on_start(&Started::default())
            } else {
                vec![Entry::Closed(Closed {
                    end: Reason::BytesUp,
                    spent: vec![(class, spent)],
                    confirmed: spent,
                    requests: 1,
                    finished: false,
                    published: None,
                })]
            };
            for entry in entries {
                history.apply(now, &conditions, &entry);
            }
        }
        let mut by_month = HashMap::<_, u64>::new();
        for ((class, date), bytes) in by_date {
            prop_assert!(bytes <= DAY_BYTES, "{:?} {}: {}", class, date, bytes);
            *by_month.entry((class, date.year(), date.month())).or_default() += bytes;
        }
        for (month, bytes) in by_month {
            prop_assert!(bytes <= MONTH_BYTES, "{:?}: {}", month, bytes);
        }
    }
}
