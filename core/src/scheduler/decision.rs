//! What to do now: a pure function of the time, the policy, the conditions and the history.
//!
//! Every wait that is named is in the way by itself, and no other is: with those removed, the work runs.

use super::{
    calendar::{Local, mix, spread},
    conditions::{Conditions, Known, Network, NetworkClass},
    history::History,
    policy::{Policy, Thermal, Use, Wish},
    reason::Reason,
    wakes,
    work::{Decision, Grant, Task, Verdict, Wait},
};
use crate::limits;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Decides. The same arguments give the same decision.
pub fn decide(now_ms: i64, policy: &Policy, conditions: &Conditions, history: &History) -> Decision {
    let moved;
    let history = if history.is_ahead(now_ms) {
        moved = {
            let mut history = history.clone();
            history.bring_back(now_ms);
            history
        };
        &moved
    } else {
        history
    };
    View::new(now_ms, policy, conditions, history).decide()
}

/// One moment, with what several steps of a decision need to know of it.
pub(super) struct View<'a> {
    pub now_ms: i64,
    pub policy: &'a Policy,
    pub conditions: &'a Conditions,
    pub history: &'a History,
    pub local: Local,
    zone_known: bool,
    pub today: i32,
    /// The objective is missed: wishes are given up.
    pub late: bool,
    /// When they will be.
    pub late_ms: i64,
}

impl<'a> View<'a> {
    fn new(now_ms: i64, policy: &'a Policy, conditions: &'a Conditions, history: &'a History) -> Self {
        let known = Local::known(conditions, history.time_zone.as_deref());
        let zone_known = known.is_some();
        let local = known.unwrap_or_else(Local::utc);
        let late_ms = history.newest.map_or(history.begun_ms, |newest| newest.at_ms);
        let late_ms = late_ms.saturating_add(policy.fresh_ms());
        Self {
            now_ms,
            policy,
            conditions,
            history,
            today: local.day(now_ms),
            local,
            zone_known,
            // Whoever asks does not want to wait for a better moment.
            late: now_ms >= late_ms || conditions.asked,
            late_ms,
        }
    }

    fn decide(self) -> Decision {
        let due = self.due();
        let mut verdict = Verdict::Wait;
        for task in &due {
            if self.waits(*task).is_empty() {
                verdict = Verdict::Run {
                    task: *task,
                    grant: self.grant(*task),
                };
                break;
            }
        }
        let waits = match due.first() {
            Some(task) => self.waits(*task),
            None => vec![Wait {
                reason: Reason::NotDue,
                until_ms: Some(self.due_ms()),
            }],
        };
        Decision {
            verdict,
            waits,
            cautions: self.cautions(),
            wakes: wakes::wakes(&self, due.first().copied(), verdict != Verdict::Wait),
            due,
        }
    }

    /// What is due, the most urgent first.
    fn due(&self) -> Vec<Task> {
        let mut due = Vec::new();
        if self.history.run.is_some() {
            due.push(Task::Resume);
        } else if self.history.newest.is_none() {
            due.push(Task::FirstBackup);
        } else if self.now_ms >= self.backup_due_ms() || self.conditions.asked {
            due.push(Task::Increment);
        }
        for task in [Task::Forget, Task::Verify, Task::Prune] {
            if self.upkeep_due_ms(task).is_some_and(|at| self.now_ms >= at) {
                due.push(task);
            }
        }
        due
    }

    fn backup_due_ms(&self) -> i64 {
        match self.history.newest {
            Some(newest) => newest.at_ms.saturating_add(self.policy.due_ms()),
            None => self.history.begun_ms,
        }
    }

    /// When the upkeep is next due: `None` if there is nothing it could do.
    fn upkeep_due_ms(&self, task: Task) -> Option<i64> {
        let history = self.history;
        let (days, last) = match task {
            Task::Forget if history.snapshots_since_forget == 0 => return None,
            Task::Forget => (self.policy.forget_days, history.forgot_ms),
            Task::Verify => (self.policy.verify_days, history.verified_ms),
            Task::Prune => {
                // What was not forgotten is not to be pruned.
                history.forgot_ms?;
                (self.policy.prune_days, history.pruned_ms)
            }
            _ => return None,
        };
        history.newest?;
        let from = last.unwrap_or(history.begun_ms);
        (days > 0).then(|| from.saturating_add(i64::from(days) * DAY_MS))
    }

    /// When the next work is due, if none is now.
    pub(super) fn due_ms(&self) -> i64 {
        let upkeep = [Task::Forget, Task::Verify, Task::Prune];
        let upkeep = upkeep.into_iter().filter_map(|task| self.upkeep_due_ms(task));
        upkeep.fold(self.backup_due_ms(), i64::min)
    }

    /// Everything that is in the task's way.
    fn waits(&self, task: Task) -> Vec<Wait> {
        let mut waits = Vec::new();
        self.wait_for_time(&mut waits);
        self.wait_for_network(task, &mut waits);
        self.wait_for_power(&mut waits);
        self.wait_for_phone(&mut waits);
        if matches!(task, Task::Forget | Task::Prune) && self.history.newborn_hold {
            waits.push(by_others(Reason::NewbornHold));
        }
        if task == Task::Forget && self.policy.keep.policy().is_err() {
            waits.push(by_others(Reason::RetentionRefused));
        }
        waits
    }

    fn wait_for_time(&self, waits: &mut Vec<Wait>) {
        if self.conditions.asked {
            return;
        }
        if let Some(until) = self.backoff_until_ms() {
            waits.push(by_time(Reason::Backoff, until));
        }
        if let Some(until) = self.local.quiet_until_ms(self.policy, self.now_ms) {
            waits.push(by_time(Reason::QuietHours, until));
        }
    }

    /// Doubled with each failure, up to half the objective, so that failures alone never cost more than that.
    pub(super) fn backoff_until_ms(&self) -> Option<i64> {
        let failures = self.history.failures;
        let about_network = matches!(
            failures.reason,
            Some(Reason::NetworkLost | Reason::VaultUnreachable)
        );
        let other_network = (self.conditions.network_since_ms)
            .is_some_and(|since| (failures.last_ms..=self.now_ms).contains(&since));
        if failures.count == 0 || (about_network && other_network) {
            return None;
        }
        let longest = self
            .policy
            .due_ms()
            .clamp(limits::BACKOFF_FIRST_MS, limits::BACKOFF_MAX_MS);
        let doubled = limits::BACKOFF_FIRST_MS << (failures.count - 1).min(10);
        let delay = doubled.min(longest);
        // After an outage of the vault, a fleet comes back over a quarter of the wait.
        let early = spread(self.history.install, u64::from(failures.count), delay / 4);
        let until = failures.last_ms.saturating_add(delay - early);
        (until > self.now_ms).then_some(until)
    }

    fn wait_for_network(&self, task: Task, waits: &mut Vec<Wait>) {
        let network = self.conditions.network;
        let Some(class) = network.class() else {
            let reason = if network == Network::Offline {
                Reason::Offline
            } else {
                Reason::NetworkUnknown
            };
            waits.push(by_others(reason));
            return;
        };
        if !task.is_backup() && class != NetworkClass::Unmetered {
            waits.push(by_others(Reason::UpkeepNeedsUnmetered));
            return;
        }
        let rule = self.policy.network.class(class);
        let unclassified = network == Network::Unclassified;
        match rule.using {
            Use::Never if unclassified => waits.push(by_others(Reason::NetworkUnclassified)),
            Use::Never => waits.push(by_others(Reason::NetworkNotAllowed)),
            Use::WhenLate if !self.late => waits.push(by_time(Reason::NetworkOnlyWhenLate, self.late_ms)),
            Use::WhenLate | Use::Always => {}
        }
        if self.day_left(class) == Some(0) {
            waits.push(by_time(
                Reason::DayAllowanceUsed,
                self.local.next_day_ms(self.today),
            ));
        }
        if self.month_left(class) == Some(0) {
            waits.push(by_time(Reason::MonthAllowanceUsed, self.next_month_ms()));
        }
    }

    fn next_month_ms(&self) -> i64 {
        self.local
            .next_month_ms(self.today, self.policy.network.month_begins_on)
    }

    fn day_left(&self, class: NetworkClass) -> Option<u64> {
        let allowed = self.policy.network.class(class).day_bytes?;
        Some(allowed.saturating_sub(self.history.ledger.since(self.today, class)))
    }

    fn month_left(&self, class: NetworkClass) -> Option<u64> {
        let allowed = self.policy.network.class(class).month_bytes?;
        let start = Local::month_start(self.today, self.policy.network.month_begins_on);
        Some(allowed.saturating_sub(self.history.ledger.since(start, class)))
    }

    /// What is left of a class's allowances today; `None` if it has none.
    pub(super) fn left(&self, class: NetworkClass) -> Option<u64> {
        match (self.day_left(class), self.month_left(class)) {
            (Some(day), Some(month)) => Some(day.min(month)),
            (day, month) => day.or(month),
        }
    }

    /// When a class has bytes again; `None` if it has some now.
    pub(super) fn renewed_ms(&self, class: NetworkClass) -> Option<i64> {
        if self.month_left(class) == Some(0) {
            Some(self.next_month_ms())
        } else if self.day_left(class) == Some(0) {
            Some(self.local.next_day_ms(self.today))
        } else {
            None
        }
    }

    fn wait_for_power(&self, waits: &mut Vec<Wait>) {
        let (rules, conditions) = (&self.policy.power, self.conditions);
        self.wish(
            rules.charging,
            conditions.charging,
            [Reason::NotCharging, Reason::ChargingUnknown],
            waits,
        );
        self.wish(
            rules.idle,
            conditions.idle,
            [Reason::NotIdle, Reason::IdleUnknown],
            waits,
        );
        let low_power = conditions.low_power_mode == Known::Yes;
        self.wish(
            rules.normal_power_mode,
            Known::from(!low_power),
            [Reason::LowPowerMode; 2],
            waits,
        );
        let floor = rules.battery_floor_percent;
        if conditions.charging != Known::Yes && !conditions.asked && floor > 0 {
            match conditions.battery_percent {
                Some(percent) if percent < floor => waits.push(by_others(Reason::BatteryLow)),
                None if !self.late => waits.push(by_time(Reason::BatteryUnknown, self.late_ms)),
                Some(_) | None => {}
            }
        }
        let hottest = if conditions.asked {
            rules.hottest.max(Thermal::Serious)
        } else {
            rules.hottest
        };
        if conditions.thermal.is_some_and(|thermal| thermal > hottest) {
            waits.push(by_others(Reason::TooHot));
        }
    }

    fn wait_for_phone(&self, waits: &mut Vec<Wait>) {
        let conditions = self.conditions;
        if conditions
            .free_bytes
            .is_some_and(|free| free < self.policy.free_space_reserve_bytes)
        {
            waits.push(by_others(Reason::StorageLow));
        }
        let unlocked = match conditions.locked {
            Known::Unknown => Known::Unknown,
            locked => Known::from(locked == Known::No),
        };
        self.wish(
            self.policy.when_locked,
            unlocked,
            [Reason::Locked, Reason::LockUnknown],
            waits,
        );
        let least_ms = u64::from(self.policy.window.least_seconds) * 1000 + limits::GRANT_MARGIN_MS;
        if conditions.window_left_ms.is_some_and(|left| left < least_ms) {
            waits.push(by_others(Reason::WindowTooShort));
        }
    }

    /// Waits for a condition as much as the policy wishes it. `reasons` are for no and for unknown.
    fn wish(&self, wish: Wish, holds: Known, reasons: [Reason; 2], waits: &mut Vec<Wait>) {
        let reason = match holds {
            Known::Yes => return,
            Known::No => reasons[0],
            Known::Unknown => reasons[1],
        };
        match wish {
            Wish::Ignore => {}
            Wish::Prefer if self.late => {}
            Wish::Prefer => waits.push(by_time(reason, self.late_ms)),
            Wish::Require => waits.push(by_others(reason)),
        }
    }

    fn cautions(&self) -> Vec<Reason> {
        let conditions = self.conditions;
        let unknown = [
            (conditions.thermal.is_none(), Reason::ThermalUnknown),
            (conditions.free_bytes.is_none(), Reason::StorageUnknown),
            (
                conditions.low_power_mode == Known::Unknown,
                Reason::LowPowerUnknown,
            ),
            (!self.zone_known, Reason::TimeZoneUnknown),
        ];
        unknown
            .into_iter()
            .filter(|(unknown, _)| *unknown)
            .map(|(_, reason)| reason)
            .collect()
    }

    /// What a window may spend on a task that nothing is in the way of.
    fn grant(&self, task: Task) -> Grant {
        let careful = self
            .cautions()
            .iter()
            .any(|caution| *caution != Reason::TimeZoneUnknown);
        let mut time_ms = u64::from(self.policy.window.most_seconds) * 1000;
        if careful && !self.conditions.asked {
            time_ms = time_ms.min(limits::CAUTIOUS_WINDOW_MS);
        }
        if let Some(left) = self.conditions.window_left_ms {
            time_ms = time_ms.min(left.saturating_sub(limits::GRANT_MARGIN_MS));
        }
        let class = self.conditions.network.class();
        Grant {
            time_ms,
            class: if task.is_backup() {
                class
            } else {
                Some(NetworkClass::Unmetered)
            },
            bytes: class.and_then(|class| self.left(class)),
        }
    }

    /// A moment that no other phone of a fleet has in common with this one, within the policy's jitter after `at_ms`.
    pub(super) fn jittered(&self, at_ms: i64) -> i64 {
        let moment = mix(at_ms.cast_unsigned());
        at_ms.saturating_add(spread(self.history.install, moment, self.policy.jitter_ms()))
    }
}

fn by_time(reason: Reason, until_ms: i64) -> Wait {
    Wait {
        reason,
        until_ms: Some(until_ms),
    }
}

fn by_others(reason: Reason) -> Wait {
    Wait {
        reason,
        until_ms: None,
    }
}
