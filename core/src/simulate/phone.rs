//! A phone that lives a trace: its operating system, and when that honours a wake request. Modelled after what Android and Apple document, with the delays
//! that people report.

use super::{
    rng::Rng,
    trace::{Change, Platform, Trace},
};
use crate::scheduler::{
    Conditions, Exit, Known, Network, Standing, Thermal, Wake,
    wake_android::{self, NetworkType, OneTimeWork},
    wake_apple::{self, Identifiers, TaskRequest},
};

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
/// Free space below which Android calls the storage low.
const STORAGE_LOW_BYTES: u64 = 500 << 20;

/// What is true of the phone at a moment.
#[derive(Debug, Clone)]
pub(super) struct World {
    pub network: Network,
    pub network_since_ms: Option<i64>,
    pub charging: bool,
    pub battery: u8,
    pub low_power: bool,
    pub idle: bool,
    pub locked: bool,
    pub thermal: Thermal,
    pub free_bytes: u64,
    pub in_front: bool,
    pub zone: String,
    pub standing: Standing,
    pub vault: bool,
    pub asleep: bool,
    pub powered: bool,
    pub force_stopped: bool,
    /// The next window is killed so.
    pub kill: Option<Option<Exit>>,
    /// How many minutes the clock is wrong.
    pub wrong: i64,
    pub boot: u64,
}

impl World {
    pub(super) fn new(trace: &Trace) -> Self {
        Self {
            network: Network::Offline,
            network_since_ms: None,
            charging: false,
            battery: 50,
            low_power: false,
            idle: false,
            locked: true,
            thermal: Thermal::Nominal,
            free_bytes: 10 << 30,
            in_front: false,
            zone: trace.zone.clone(),
            standing: Standing::Unknown,
            vault: true,
            asleep: false,
            powered: true,
            force_stopped: false,
            kill: None,
            wrong: 0,
            boot: 1,
        }
    }

    pub(super) fn change(&mut self, change: &Change, wall_ms: i64) {
        match change {
            Change::Network(network) => {
                self.network = *network;
                self.network_since_ms = Some(wall_ms);
            }
            Change::Charging(charging) => self.charging = *charging,
            Change::Battery(percent) => self.battery = *percent,
            Change::LowPower(on) => self.low_power = *on,
            Change::Idle(idle) => self.idle = *idle,
            Change::Locked(locked) => self.locked = *locked,
            Change::Thermal(thermal) => self.thermal = *thermal,
            Change::FreeBytes(bytes) => self.free_bytes = *bytes,
            Change::InFront(_) if !self.powered => {}
            Change::InFront(open) => {
                self.in_front = *open;
                self.force_stopped &= !*open;
            }
            Change::Zone(zone) => self.zone.clone_from(zone),
            Change::Standing(standing) => self.standing = *standing,
            Change::Vault(answers) => self.vault = *answers,
            Change::ForceStop => {
                self.force_stopped = true;
                self.in_front = false;
            }
            Change::Asleep(asleep) => self.asleep = *asleep,
            Change::Kill(exit) => self.kill = Some(*exit),
            Change::Power(on) => {
                self.boot += u64::from(*on && !self.powered);
                self.powered = *on;
                self.in_front &= *on;
            }
            Change::ClockWrong(minutes) => self.wrong = *minutes,
            Change::NewBytes(_) => {}
        }
    }

    /// As a host would report it.
    pub(super) fn conditions(&self, left_ms: Option<u64>) -> Conditions {
        Conditions {
            network: self.network,
            network_since_ms: self.network_since_ms,
            charging: self.charging.into(),
            battery_percent: Some(self.battery),
            low_power_mode: self.low_power.into(),
            idle: self.idle.into(),
            thermal: Some(self.thermal),
            free_bytes: Some(self.free_bytes),
            app_in_front: self.in_front.into(),
            locked: Known::from(self.locked),
            asked: false,
            window_left_ms: left_ms,
            time_zone: Some(self.zone.clone()),
            standing: self.standing,
        }
    }

    /// Whether the system wakes the app at all.
    fn wakes_apps(&self) -> bool {
        self.powered && !self.force_stopped && !self.asleep && self.standing != Standing::Off
    }
}

/// What was asked of the system, and what it has given so far. Times are real ones.
pub(super) struct System {
    platform: Platform,
    works: Vec<(OneTimeWork, i64)>,
    tasks: Vec<(TaskRequest, i64)>,
    /// The periodic look, next due.
    watch_ms: i64,
    watch_every_ms: i64,
    /// Jobs that ran on battery: from, until.
    jobs: Vec<(i64, i64)>,
    refresh_after_ms: i64,
}

impl System {
    pub(super) fn new(platform: Platform, due_ms: i64, now_ms: i64) -> Self {
        let watch = wake_android::periodic_work(due_ms / 2);
        Self {
            platform,
            works: Vec::new(),
            tasks: Vec::new(),
            watch_ms: now_ms + watch.period_ms,
            watch_every_ms: watch.period_ms,
            jobs: Vec::new(),
            refresh_after_ms: now_ms,
        }
    }

    /// Takes requests in place of those before. `wall_ms` is what the phone's clock shows at `now_ms`.
    pub(super) fn ask(&mut self, now_ms: i64, wall_ms: i64, wakes: &[Wake], world: &World, rng: &mut Rng) {
        self.works.clear();
        self.tasks.clear();
        match self.platform {
            Platform::Android => {
                for work in wake_android::one_time_work(wall_ms, wakes) {
                    // Jobs are batched; in deep sleep they wait for the next maintenance.
                    let doze = if world.idle && !world.charging {
                        rng.between(0, 2 * HOUR_MS)
                    } else {
                        0
                    };
                    let at = now_ms + work.initial_delay_ms + rng.between(5_000, 10 * MINUTE_MS) + doze;
                    self.works.push((work, at));
                }
            }
            Platform::Ios => {
                let identifiers = Identifiers {
                    refresh: "app.refresh".to_owned(),
                    processing: "app.processing".to_owned(),
                };
                // Refused as a whole while background refresh is off.
                let requests = wake_apple::task_requests(wall_ms, wakes, world.standing, &identifiers);
                for request in requests.unwrap_or_default() {
                    let begin = match &request {
                        TaskRequest::Refresh {
                            earliest_begin_ms, ..
                        }
                        | TaskRequest::Processing {
                            earliest_begin_ms, ..
                        } => earliest_begin_ms.unwrap_or(wall_ms),
                    };
                    self.tasks.push((
                        request,
                        now_ms + (begin - wall_ms) + rng.between(MINUTE_MS, 40 * MINUTE_MS),
                    ));
                }
            }
        }
    }

    /// When the system next wakes the app if nothing changes, and what time it then gives.
    pub(super) fn next(&self, now_ms: i64, world: &World) -> Option<(i64, u64)> {
        if !world.wakes_apps() {
            return None;
        }
        match self.platform {
            Platform::Android => self.next_job(now_ms, world),
            Platform::Ios => self.next_task(now_ms, world),
        }
    }

    fn next_job(&self, now_ms: i64, world: &World) -> Option<(i64, u64)> {
        let soon = now_ms + 5_000;
        let ready = self
            .works
            .iter()
            .filter(|(work, _)| job_is_ready(work, world))
            .map(|(_, at)| *at);
        let at = ready.chain([self.watch_ms]).min()?.max(soon);
        Some((self.within_quota(at, world), wake_android::JOB_MS))
    }

    /// The first moment from `at` on at which the bucket has time left.
    fn within_quota(&self, at: i64, world: &World) -> i64 {
        let Some(quota) = wake_android::job_quota(world.standing).filter(|_| !world.charging) else {
            return at;
        };
        let once_a_day = world.standing == Standing::Restricted;
        let mut used = 0;
        for (from, until) in self.jobs.iter().rev() {
            used += until - from;
            if from + quota.within_ms <= at {
                break;
            }
            if used >= quota.time_ms || once_a_day {
                return at.max(from + quota.within_ms);
            }
        }
        at
    }

    fn next_task(&self, now_ms: i64, world: &World) -> Option<(i64, u64)> {
        let soon = now_ms + 5_000;
        let given = self.tasks.iter().filter_map(|(request, at)| match request {
            TaskRequest::Refresh { .. } => {
                let spared = world.low_power || (world.battery < 20 && !world.charging);
                (!spared).then(|| ((*at).max(self.refresh_after_ms).max(soon), wake_apple::REFRESH_MS))
            }
            TaskRequest::Processing {
                requires_external_power,
                ..
            } => {
                let good = world.idle
                    && world.network.class().is_some()
                    && (world.charging || !requires_external_power);
                good.then(|| ((*at).max(soon), wake_apple::PROCESSING_MS))
            }
        });
        given.min()
    }

    /// The app was woken, and worked until `until_ms`.
    pub(super) fn gave(&mut self, from_ms: i64, until_ms: i64, world: &World, rng: &mut Rng) {
        if from_ms >= self.watch_ms {
            self.watch_ms = from_ms + self.watch_every_ms;
        }
        if !world.charging {
            self.jobs.push((from_ms, until_ms.max(from_ms + 1_000)));
            let keep = self.jobs.len().saturating_sub(100);
            self.jobs.drain(..keep);
        }
        self.refresh_after_ms = from_ms + rng.between(2 * HOUR_MS, 5 * HOUR_MS);
    }
}

fn job_is_ready(work: &OneTimeWork, world: &World) -> bool {
    let network = match work.network {
        NetworkType::Unmetered => world.network == Network::Unmetered,
        NetworkType::NotRoaming => matches!(
            world.network,
            Network::Unmetered | Network::Metered | Network::Expensive | Network::Constrained
        ),
        NetworkType::Connected => world.network.class().is_some(),
    };
    network
        && (!work.requires_charging || world.charging)
        && (!work.requires_device_idle || world.idle)
        && (!work.requires_battery_not_low || world.battery > 15 || world.charging)
        && (!work.requires_storage_not_low || world.free_bytes > STORAGE_LOW_BYTES)
}
