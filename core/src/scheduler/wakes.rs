//! What is asked of the operating system: at most two requests, one for the good moment that the policy wishes, and one for when wishes are given up.
//!
//! A request may be answered too early, and the decision is made anew then; it must never be such that its moment cannot come while the work could
//! run.

use super::{
    conditions::{Known, Network, NetworkClass},
    decision::View,
    policy::{Use, Wish},
    work::{NetworkNeed, Task, Wake},
};
use crate::limits;

/// What Android calls a low battery.
const SYSTEM_LOW_PERCENT: u8 = 15;

/// `task` is the most urgent of what is due; `runs` says that something runs now, and is to go on should it be killed.
pub(super) fn wakes(view: &View<'_>, task: Option<Task>, runs: bool) -> Vec<Wake> {
    let from = match task {
        Some(_) if runs => view.now_ms.saturating_add(limits::GO_ON_AFTER_MS),
        Some(_) => view.now_ms,
        None => view.due_ms(),
    };
    let earliest = after_gates(view, from);
    let late = view.late || earliest >= view.late_ms;
    let upkeep = task.is_some_and(|task| !task.is_backup());
    let lanes = Lanes { view, upkeep: false };
    let mut wakes = Vec::new();
    wakes.extend(Lanes { view, upkeep }.lane(earliest, late, Renewed::Already));
    if !late || upkeep {
        // Also while upkeep waits for its network: the backup does not need the same.
        let late_from = after_gates(view, view.late_ms.max(from));
        wakes.extend(lanes.lane(late_from, true, Renewed::Already));
    }
    // Where nothing has bytes left, or more will have, there is a later moment.
    if wakes.len() < 2
        && let Some(renewed) = lanes.renewal(late)
    {
        wakes.extend(lanes.lane(after_gates(view, renewed.max(from)), late, Renewed::Then));
    }
    if wakes.is_empty() {
        // The policy closes every class: somebody may open one.
        let earliest = after_gates(view, view.now_ms.saturating_add(limits::WAKE_AHEAD_MAX_MS));
        wakes.push(lanes.wake(earliest, late, NetworkNeed::Any));
    }
    for wake in &mut wakes {
        // It would be answered at once, and what is in the way would still be there.
        if wake.earliest_ms <= view.now_ms && !lacks_something(view, wake) {
            let again = view.now_ms.saturating_add(limits::RECHECK_MS);
            wake.earliest_ms = after_gates(view, again);
        }
    }
    wakes.dedup();
    wakes
}

/// Whether allowances that are used up are taken to be renewed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Renewed {
    Already,
    Then,
}

struct Lanes<'a> {
    view: &'a View<'a>,
    /// The work is not a backup, and waits for an unmetered network.
    upkeep: bool,
}

impl Lanes<'_> {
    /// A request for `earliest`, if a class of network will do.
    fn lane(&self, earliest_ms: i64, late: bool, renewed: Renewed) -> Option<Wake> {
        let has_bytes = |class: &NetworkClass| {
            let renewal = self.view.renewed_ms(*class);
            renewed == Renewed::Then || renewal.is_none_or(|at| at <= earliest_ms)
        };
        let need = NetworkNeed::of(self.open_classes(late).filter(has_bytes))?;
        Some(self.wake(earliest_ms, late, need))
    }

    fn wake(&self, earliest_ms: i64, late: bool, network: NetworkNeed) -> Wake {
        let (view, power) = (self.view, &self.view.policy.power);
        let wanted = |wish: Wish| wish == Wish::Require || (wish == Wish::Prefer && !late);
        let charging = wanted(power.charging);
        let latest = view.now_ms.saturating_add(limits::WAKE_AHEAD_MAX_MS);
        Wake {
            earliest_ms: earliest_ms.clamp(view.now_ms, latest),
            network,
            charging,
            idle: wanted(power.idle),
            battery_not_low: power.battery_floor_percent > 0 && !charging && !view.conditions.asked,
            storage_not_low: view.policy.free_space_reserve_bytes > 0,
            urgent: view.conditions.asked,
            long: view.history.run.is_some() || view.history.newest.is_none(),
        }
    }

    /// Classes that the policy uses at such a time, whatever is left of their allowances.
    fn open_classes(&self, late: bool) -> impl Iterator<Item = NetworkClass> + '_ {
        NetworkClass::ALL.into_iter().filter(move |class| {
            let rule = self.view.policy.network.class(*class);
            let used = match rule.using {
                Use::Never => false,
                Use::WhenLate => late,
                Use::Always => true,
            };
            let for_this = !self.upkeep || *class == NetworkClass::Unmetered;
            used && for_this && rule.day_bytes != Some(0) && rule.month_bytes != Some(0)
        })
    }

    /// When the first of the classes whose allowance is used up has bytes again.
    fn renewal(&self, late: bool) -> Option<i64> {
        let used_up = self
            .open_classes(late)
            .filter_map(|class| self.view.renewed_ms(class));
        used_up.min()
    }
}

/// The first moment from `from_ms` on that no gate of time is in the way of.
fn after_gates(view: &View<'_>, from_ms: i64) -> i64 {
    let mut at = from_ms;
    let asked = view.conditions.asked;
    if let Some(until) = view.backoff_until_ms()
        && !asked
    {
        at = at.max(until);
    }
    let mut moment = if at > view.now_ms { view.jittered(at) } else { at };
    if !asked && let Some(until) = view.local.quiet_until_ms(view.policy, moment) {
        // Spread after the quiet hours, unless that leads into others.
        moment = view.jittered(until);
        if view.local.quiet_until_ms(view.policy, moment).is_some() {
            moment = until;
        }
    }
    moment
}

/// Whether the operating system waits for something before it answers this request. What is not known may well be there.
fn lacks_something(view: &View<'_>, wake: &Wake) -> bool {
    let conditions = view.conditions;
    let no_network = match conditions.network.class() {
        Some(class) => !wake.network.includes(class),
        None => conditions.network == Network::Offline,
    };
    let battery = conditions
        .battery_percent
        .is_some_and(|percent| percent <= SYSTEM_LOW_PERCENT);
    no_network
        || (wake.charging && conditions.charging == Known::No)
        || (wake.idle && conditions.idle == Known::No)
        || (wake.battery_not_low && battery && conditions.charging != Known::Yes)
}
