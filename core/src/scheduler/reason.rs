//! Every reason the engine can give for what it does or leaves undone: a code for programs, a sentence for people, and what helps.
//!
//! `docs/reasons.md` holds the same table, and a test compares the two.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What sort of statement a reason is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sort {
    /// Why work waits.
    Wait,
    /// How a window ended.
    End,
    /// Why there was no window.
    Gap,
    /// Something that happened.
    Notice,
    /// Something that nobody said, and that was taken for the safe side.
    Caution,
}

impl fmt::Display for Sort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Wait => "wait",
            Self::End => "end",
            Self::Gap => "gap",
            Self::Notice => "notice",
            Self::Caution => "caution",
        })
    }
}

macro_rules! reasons {
    ($($name:ident, $sort:ident, $code:literal, $text:literal, $advice:literal;)+) => {
        /// A reason. Its code never changes its meaning.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Reason {$(
            #[doc = $text]
            #[serde(rename = $code)]
            $name,
        )+}

        impl Reason {
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// For programs: stable, lower case, with hyphens.
            pub fn code(self) -> &'static str {
                match self {$(Self::$name => $code),+}
            }

            pub fn sort(self) -> Sort {
                match self {$(Self::$name => Sort::$sort),+}
            }

            /// For people, in English: apps have their own words for the codes.
            pub fn text(self) -> &'static str {
                match self {$(Self::$name => $text),+}
            }

            /// What the host or its user can do; empty where waiting is right.
            pub fn advice(self) -> &'static str {
                match self {$(Self::$name => $advice),+}
            }
        }
    };
}

reasons! {
    NotDue, Wait, "not-due", "nothing is due yet", "";
    Backoff, Wait, "backoff", "the last try failed, and the next is a while away", "";
    QuietHours, Wait, "quiet-hours", "it is one of the policy's quiet hours", "";
    NetworkUnknown, Wait, "network-unknown", "nobody has said whether there is a network", "report the network to the engine";
    Offline, Wait, "offline", "there is no network", "";
    NetworkUnclassified, Wait, "network-unclassified", "there is a network, but nobody has said what it costs: it is taken for roaming", "report whether the network is metered";
    NetworkNotAllowed, Wait, "network-not-allowed", "the policy never uses this class of network", "";
    NetworkOnlyWhenLate, Wait, "network-only-when-late", "the policy uses this class of network only once the objective is missed", "";
    DayAllowanceUsed, Wait, "day-allowance-used", "today's bytes for this class of network are used up", "";
    MonthAllowanceUsed, Wait, "month-allowance-used", "this month's bytes for this class of network are used up", "";
    UpkeepNeedsUnmetered, Wait, "upkeep-needs-unmetered", "verifying, forgetting and pruning wait for an unmetered network", "";
    NotCharging, Wait, "not-charging", "the phone is not charging", "";
    ChargingUnknown, Wait, "charging-unknown", "nobody has said whether the phone is charging", "report the power to the engine";
    NotIdle, Wait, "not-idle", "the phone is in use", "";
    IdleUnknown, Wait, "idle-unknown", "nobody has said whether the phone is in use", "report whether the phone is idle";
    BatteryLow, Wait, "battery-low", "the battery is below the policy's floor", "";
    BatteryUnknown, Wait, "battery-unknown", "nobody has said how full the battery is", "report the battery to the engine";
    LowPowerMode, Wait, "low-power-mode", "the phone is in its low-power mode", "";
    TooHot, Wait, "too-hot", "the phone is too hot", "";
    StorageLow, Wait, "storage-low", "the phone has less free space than the policy reserves", "make room on the phone";
    Locked, Wait, "locked", "the phone is locked, and some files cannot be read", "";
    LockUnknown, Wait, "lock-unknown", "nobody has said whether the phone is locked", "report whether the phone is locked";
    WindowTooShort, Wait, "window-too-short", "too little is left of this window to confirm anything", "";
    NewbornHold, Wait, "newborn-hold", "the app suddenly holds a fraction of what its last snapshot held: until somebody confirms it, nothing is forgotten", "ask the user whether the data is gone on purpose, then confirm or restore";
    RetentionRefused, Wait, "retention-refused", "the policy's retention would keep nothing", "correct the policy's `keep`";

    Done, End, "done", "everything that was due is done", "";
    TimeUp, End, "time-up", "the window's time was up", "";
    BytesUp, End, "bytes-up", "the window's bytes were used up", "";
    StopTimeout, End, "stop-timeout", "the system's time for a job was up", "";
    StopExpired, End, "stop-expired", "the system called the background task back", "";
    StopForegroundCap, End, "stop-foreground-cap", "the system's daily time for a data-sync service was up", "do not start such a service again before the user opens the app";
    StopQuota, End, "stop-quota", "the app's quota of background work was used up", "";
    StopStandby, End, "stop-standby", "the system moved the app to a lower standby bucket", "";
    StopBackgroundRestricted, End, "stop-background-restricted", "the user has restricted the app in the background", "ask the user to allow background work for the app";
    StopNetwork, End, "stop-network", "the network that the work needs went away", "";
    StopCharging, End, "stop-charging", "the phone was unplugged", "";
    StopBattery, End, "stop-battery", "the battery became low", "";
    StopIdle, End, "stop-idle", "somebody picked the phone up", "";
    StopStorage, End, "stop-storage", "the phone's storage became low", "make room on the phone";
    StopPreempted, End, "stop-preempted", "the system had more urgent work", "";
    StopDeviceState, End, "stop-device-state", "the system stopped work because of the phone's state, such as heat or power saving", "";
    StopSystem, End, "stop-system", "the system stopped the work for reasons of its own", "";
    StopUser, End, "stop-user", "the user stopped it", "";
    StopApp, End, "stop-app", "the app stopped it", "";
    StopUnknown, End, "stop-unknown", "the system stopped it and did not say why", "";
    NetworkLost, End, "network-lost", "the network went away in the middle", "";
    VaultUnreachable, End, "vault-unreachable", "the vault did not answer", "";
    WrongServer, End, "wrong-server", "something else answered in the place of the vault, such as a network's login page", "sign in to the network, or look at the vault's address and certificate";
    VaultFull, End, "vault-full", "the vault is full", "make room in the vault";
    AccessDenied, End, "access-denied", "the vault refused the credentials, or a folder its access", "renew the credentials";
    VaultLocked, End, "vault-locked", "another client held the vault", "";
    NoRepository, End, "no-repository", "there is no repository in the vault", "look whether the vault's address is right";
    WrongKey, End, "wrong-key", "the key does not open the repository", "ask for the password or the recovery code";
    VaultDamaged, End, "vault-damaged", "something in the vault is damaged or missing", "run a check";
    Unsupported, End, "unsupported", "the repository needs a newer engine", "update the app";
    DiskFull, End, "disk-full", "the phone's disk was full", "make room on the phone";
    IoFailed, End, "io-failed", "the operating system failed to read or write", "";
    CatalogFailed, End, "catalog-failed", "the catalog could not be used; it is rebuilt", "";
    Busy, End, "busy", "another job was running", "";
    BadRequest, End, "bad-request", "what was asked for makes no sense as asked", "look at the job's sources and options";
    Defect, End, "defect", "a defect of the engine", "report it";
    Killed, End, "killed", "the process ended in the middle of the window, and nobody has said why", "";
    KilledMemory, End, "killed-memory", "the system ended the process for its memory", "";
    KilledForceStop, End, "killed-force-stop", "the user force-stopped the app in the middle of the window", "";
    KilledCrash, End, "killed-crash", "the app crashed in the middle of the window", "see the app's crash report";
    KilledUpdate, End, "killed-update", "the app was updated in the middle of the window", "";
    KilledReboot, End, "killed-reboot", "the phone went down in the middle of the window", "";

    NotWoken, Gap, "not-woken", "a wake was asked for, and the system did not honour it", "exempt the app from battery optimisation; some makers have a switch of their own";
    LowStanding, Gap, "low-standing", "the system gives the app few windows because it is seldom used", "back up while the app is open";
    ForceStopped, Gap, "force-stopped", "the user had force-stopped the app: nothing runs until it is opened", "";
    BackgroundOff, Gap, "background-off", "background work is switched off for the app", "ask the user to switch it on in the settings";
    PoweredOff, Gap, "powered-off", "the phone was off", "";

    Rebooted, Notice, "rebooted", "the phone has started anew", "";
    ClockBack, Notice, "clock-back", "the clock went back", "";
    ClockForward, Notice, "clock-forward", "the clock jumped forward", "";
    TimeZoneChanged, Notice, "time-zone-changed", "the time zone has changed", "";
    Stale, Notice, "stale", "the newest complete snapshot is older than it may be", "tell the user, and back up while the app is open";
    FreshAgain, Notice, "fresh-again", "the alarm is over: there is a new complete snapshot", "";
    IdentityRenewed, Notice, "identity-renewed", "another phone goes on under the same identity: this one has taken a new one", "";
    NewbornSuspected, Notice, "newborn-suspected", "a backup holds a fraction of what the last one held: it is kept under a tag", "ask the user whether the data is gone on purpose";
    NewbornOver, Notice, "newborn-over", "the data that was missing is back", "";
    NewbornConfirmed, Notice, "newborn-confirmed", "somebody confirmed that the data is gone on purpose", "";

    ThermalUnknown, Caution, "thermal-unknown", "nobody has said how hot the phone is: windows are kept short", "report the thermal state";
    StorageUnknown, Caution, "storage-unknown", "nobody has said how much space is free: windows are kept short", "report the free space";
    LowPowerUnknown, Caution, "low-power-unknown", "nobody has said whether the phone saves power: windows are kept short", "report the low-power mode";
    TimeZoneUnknown, Caution, "time-zone-unknown", "nobody has said the time zone: UTC is used", "report the time zone";
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.code())
    }
}

/// The table of `docs/reasons.md`.
pub fn table() -> String {
    let mut table = String::from("| code | sort | what it means | what helps |\n|---|---|---|---|\n");
    for reason in Reason::ALL {
        let row = format!(
            "| `{}` | {} | {} | {} |\n",
            reason.code(),
            reason.sort(),
            reason.text(),
            reason.advice()
        );
        table.push_str(&row.replace("|  |", "| |"));
    }
    table
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn codes_are_unique_and_what_programs_read() {
        let codes: HashSet<_> = Reason::ALL.iter().map(|reason| reason.code()).collect();
        assert_eq!(codes.len(), Reason::ALL.len());
        for reason in Reason::ALL {
            let json = serde_json::to_string(reason).unwrap();
            assert_eq!(json, format!("{:?}", reason.code()));
            assert_eq!(serde_json::from_str::<Reason>(&json).unwrap(), *reason);
            assert!(
                reason
                    .code()
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte == b'-'),
                "{reason}"
            );
        }
    }

    /// With `LIFEBOAT_WRITE_DOCS` set, writes the table instead of comparing it.
    #[test]
    fn the_documentation_has_the_same_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reasons.md");
        let page = std::fs::read_to_string(path).unwrap();
        let start = page.find("| code |").expect("docs/reasons.md has a table");
        if std::env::var_os("LIFEBOAT_WRITE_DOCS").is_some() {
            std::fs::write(path, format!("{}{}", &page[..start], table())).unwrap();
            return;
        }
        assert_eq!(
            &page[start..],
            table(),
            "run this test once with LIFEBOAT_WRITE_DOCS=1"
        );
    }
}
