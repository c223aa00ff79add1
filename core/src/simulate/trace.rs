//! A trace: what happens to one phone, minute by minute. Only changes are written down.

use serde::{Deserialize, Serialize};

use crate::scheduler::{Exit, Network, Standing, Thermal};

/// The life of one phone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trace {
    /// The version of this format: 1.
    pub format: u32,
    /// What sort of life this is.
    pub life: String,
    pub platform: Platform,
    /// The IANA name of the zone at the start.
    pub zone: String,
    /// Unix milliseconds.
    pub start_ms: i64,
    pub days: u32,
    pub data: Data,
    /// By their minutes, the earliest first.
    pub moments: Vec<Moment>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Platform {
    Android,
    Ios,
}

/// What the app holds, and how fast the networks are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// Bytes of the first backup, as stored.
    pub first_bytes: u64,
    /// Bytes a second, on an unmetered network and on any other.
    pub fast: u64,
    pub slow: u64,
}

/// Changes at one minute since the start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Moment {
    pub minute: u32,
    pub changes: Vec<Change>,
}

/// One change of the phone's world.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    Network(Network),
    Charging(bool),
    Battery(u8),
    LowPower(bool),
    Idle(bool),
    Locked(bool),
    Thermal(Thermal),
    FreeBytes(u64),
    /// The user opens or leaves the app.
    InFront(bool),
    Zone(String),
    Standing(Standing),
    /// The app has so much new to back up.
    NewBytes(u64),
    /// The vault answers, or does not.
    Vault(bool),
    /// The user force-stops the app: nothing runs until it is opened.
    ForceStop,
    /// A maker's battery saver keeps the app from being woken.
    Asleep(bool),
    /// The process ends in the middle of the next window.
    Kill(Option<Exit>),
    /// The phone is switched off or on.
    Power(bool),
    /// The clock is set wrong by so many minutes, in all.
    ClockWrong(i64),
}

impl Trace {
    /// What is wrong with a trace that somebody gave us; nothing if it can be played.
    pub fn problem(&self) -> Option<String> {
        if self.format != 1 {
            return Some(format!("format {} is not one of this version's", self.format));
        }
        if !(0..4_102_444_800_000).contains(&self.start_ms) {
            return Some("start_ms is not between 1970 and 2100".to_owned());
        }
        if self.days == 0 || self.days > 3660 {
            return Some("days must be 1 to 3660".to_owned());
        }
        if self.data.fast == 0 || self.data.slow == 0 {
            return Some("fast and slow must be more than 0 bytes a second".to_owned());
        }
        if jiff::tz::TimeZone::get(&self.zone).is_err() {
            return Some(format!("{:?} is not a time zone known here", self.zone));
        }
        let disordered = self
            .moments
            .windows(2)
            .any(|pair| pair[0].minute > pair[1].minute);
        disordered.then(|| "moments must be in the order of their minutes".to_owned())
    }
}
