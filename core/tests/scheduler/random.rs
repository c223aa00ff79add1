//! Random policies, phones and pasts.

use lifeboat::scheduler::{
    ClassRule, Closed, Conditions, Entry, Grant, History, Known, Network, NetworkClass, Policy, Published,
    QuietHours, Reason, Standing, Task, Thermal, Use, Wish,
};
use proptest::{option, prelude::*, sample::select};

pub const DAY_MS: i64 = 24 * 60 * 60 * 1000;
/// 2026-03-20: both clock changes of Europe are near.
pub const EPOCH_MS: i64 = 1_774_000_000_000;

const ZONES: [&str; 6] = [
    "Europe/Berlin",
    "America/New_York",
    "Pacific/Kiritimati",
    "Pacific/Pago_Pago",
    "Asia/Kathmandu",
    "UTC",
];

fn wish() -> impl Strategy<Value = Wish> {
    select(vec![Wish::Ignore, Wish::Prefer, Wish::Require])
}

fn known() -> impl Strategy<Value = Known> {
    select(vec![Known::Unknown, Known::No, Known::Yes])
}

fn class_rule() -> impl Strategy<Value = ClassRule> {
    let allowance = || option::of(select(vec![0, 1, 4096, 20 << 20]));
    (
        select(vec![Use::Never, Use::WhenLate, Use::Always]),
        allowance(),
        allowance(),
    )
        .prop_map(|(using, day_bytes, month_bytes)| ClassRule {
            using,
            day_bytes,
            month_bytes,
        })
}

fn quiet() -> impl Strategy<Value = Vec<QuietHours>> {
    let hours = (0_i8..24, 0_i8..24, select(vec![0_i8, 30])).prop_map(|(from, until, minute)| QuietHours {
        from: jiff::civil::time(from, minute, 0, 0),
        until: jiff::civil::time(until, 0, 0, 0),
    });
    prop::collection::vec(hours, 0..3)
}

/// Policies that say nothing impossible.
pub fn policy() -> impl Strategy<Value = Policy> {
    let power = (wish(), wish(), wish(), 0_u8..=100, wish());
    let network = (
        class_rule(),
        class_rule(),
        class_rule(),
        class_rule(),
        1_i8..=28,
        class_rule(),
    );
    let times = (20_u32..20_000, 0_u32..60_000, 0_u32..300);
    let upkeep = (0_u32..40, 0_u32..40, 0_u32..40);
    (
        power,
        network,
        quiet(),
        times,
        upkeep,
        select(vec![Thermal::Nominal, Thermal::Fair, Thermal::Critical]),
    )
        .prop_map(|(power, network, quiet, times, upkeep, hottest)| {
            let mut policy = Policy {
                quiet,
                ..Policy::default()
            };
            (
                policy.power.charging,
                policy.power.idle,
                policy.power.normal_power_mode,
            ) = (power.0, power.1, power.2);
            (
                policy.power.battery_floor_percent,
                policy.when_locked,
                policy.power.hottest,
            ) = (power.3, power.4, hottest);
            (policy.network.unmetered, policy.network.metered) = (network.0, network.1);
            (policy.network.constrained, policy.network.roaming) = (network.2, network.3);
            (policy.network.month_begins_on, policy.network.expensive) = (network.4, network.5);
            (policy.fresh_minutes, policy.jitter_minutes) = (times.0, times.2);
            policy.stale_minutes = times.0 + times.1;
            (policy.forget_days, policy.verify_days, policy.prune_days) = upkeep;
            policy
        })
        .prop_filter("the policy can never run", |policy| policy.problems().is_empty())
}

/// Phones that say much, little or nothing.
pub fn conditions() -> impl Strategy<Value = Conditions> {
    let networks = vec![
        Network::Unknown,
        Network::Offline,
        Network::Unclassified,
        Network::Unmetered,
        Network::Metered,
        Network::Expensive,
        Network::Constrained,
        Network::Roaming,
    ];
    let power = (known(), option::of(0_u8..=100), known(), known());
    let thermal = option::of(select(vec![
        Thermal::Nominal,
        Thermal::Fair,
        Thermal::Serious,
        Thermal::Critical,
    ]));
    let phone = (
        option::of(select(vec![0_u64, 200 << 20, 1 << 40])),
        known(),
        prop::bool::weighted(0.1),
    );
    let window = option::of(select(vec![0_u64, 4_000, 30_000, 600_000]));
    (
        select(networks),
        power,
        thermal,
        phone,
        window,
        option::of(select(ZONES.to_vec())),
    )
        .prop_map(
            |(network, power, thermal, phone, window_left_ms, zone)| Conditions {
                network,
                charging: power.0,
                battery_percent: power.1,
                low_power_mode: power.2,
                idle: power.3,
                thermal,
                free_bytes: phone.0,
                locked: phone.1,
                asked: phone.2,
                window_left_ms,
                time_zone: zone.map(str::to_owned),
                ..Conditions::default()
            },
        )
}

/// A phone with which nothing is wrong, on a network of this class.
pub fn at_rest(class: NetworkClass) -> Conditions {
    Conditions {
        network: class.into(),
        charging: Known::Yes,
        battery_percent: Some(100),
        low_power_mode: Known::No,
        idle: Known::Yes,
        thermal: Some(Thermal::Nominal),
        free_bytes: Some(1 << 40),
        locked: Known::No,
        time_zone: Some("Europe/Berlin".into()),
        standing: Standing::Active,
        ..Conditions::default()
    }
}

/// One step of a past: how long after the last, what was done, how it ended, bytes.
pub type Step = (i64, usize, usize, u64);

pub fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Now and then the clock jumps, either way.
    let gap = prop_oneof![8 => 0..2 * DAY_MS, 1 => -400 * DAY_MS..0, 1 => 0..400 * DAY_MS];
    prop::collection::vec((gap, 0_usize..8, 0_usize..6, 0_u64..(30 << 20)), 0..20)
}

/// What the steps leave behind, and when the last of them was.
pub fn history(install: u64, steps: &[Step]) -> (History, i64) {
    let tasks = [
        Task::FirstBackup,
        Task::Increment,
        Task::Resume,
        Task::Forget,
        Task::Verify,
        Task::Prune,
    ];
    let ends = [
        Reason::Done,
        Reason::VaultUnreachable,
        Reason::StopQuota,
        Reason::Killed,
        Reason::WrongKey,
        Reason::TimeUp,
    ];
    let mut now = EPOCH_MS;
    let mut history = History::begin(install, now);
    for (gap, what, end, bytes) in steps {
        now = (now + gap).max(0);
        let class = NetworkClass::ALL[what % 5];
        let conditions = Conditions {
            network: class.into(),
            ..at_rest(class)
        };
        if let Some(task) = tasks.get(*what) {
            let grant = Grant {
                time_ms: 1,
                class: Some(class),
                bytes: Some(*bytes),
            };
            history.apply(now, &conditions, &Entry::Opened { task: *task, grant });
            let finished = ends[*end] == Reason::Done;
            let published = Published {
                files: 10,
                bytes: 10_000,
            };
            let closed = Closed {
                end: ends[*end],
                spent: vec![(class, *bytes)],
                confirmed: u64::from(*end == 5),
                requests: 3,
                finished,
                published: (finished && task.is_backup()).then_some(published),
            };
            history.apply(now, &conditions, &Entry::Closed(closed));
        } else {
            let reason = if *what == 6 {
                Reason::NewbornSuspected
            } else {
                Reason::NewbornConfirmed
            };
            history.apply(now, &conditions, &Entry::Noticed { reason });
        }
    }
    (history, now)
}
