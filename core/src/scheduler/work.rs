//! What can be done, with how much, and what is asked of the operating system meanwhile.

use serde::{Deserialize, Serialize};

use super::{conditions::NetworkClass, reason::Reason};

/// Work that the scheduler begins by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// A backup that was begun goes on.
    Resume,
    FirstBackup,
    Increment,
    /// Delete the snapshots that the policy lets go.
    Forget,
    /// Look whether what was stored is still there, by samples.
    Verify,
    /// Give back the room of what no snapshot needs.
    Prune,
}

impl Task {
    pub fn is_backup(self) -> bool {
        matches!(self, Self::Resume | Self::FirstBackup | Self::Increment)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Resume => "resume",
            Self::FirstBackup => "first-backup",
            Self::Increment => "increment",
            Self::Forget => "forget",
            Self::Verify => "verify",
            Self::Prune => "prune",
        }
    }
}

/// What one window may spend. When the class of the network changes, the window ends, and the next decision grants anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    pub time_ms: u64,
    /// The only class that may be used.
    pub class: Option<NetworkClass>,
    /// Bytes in both directions; nothing where the class has no allowance.
    pub bytes: Option<u64>,
}

impl Grant {
    /// What is taken for spent if nobody can say what was.
    pub fn reserved(&self) -> Option<(NetworkClass, u64)> {
        Some((self.class?, self.bytes?))
    }
}

/// What follows from policy, conditions and history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    pub verdict: Verdict,
    /// Everything that is due, the most urgent first.
    pub due: Vec<Task>,
    /// What holds the most urgent of it up, or the next if nothing is due. Empty if that is what runs.
    pub waits: Vec<Wait>,
    /// What nobody has said, and was taken for the safe side.
    pub cautions: Vec<Reason>,
    /// To be asked of the operating system in place of what was asked before. Never empty, and at most two: whatever comes first.
    pub wakes: Vec<Wake>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum Verdict {
    Run { task: Task, grant: Grant },
    Wait,
}

/// One thing that is in the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wait {
    pub reason: Reason,
    /// When it ends by itself; nothing if only the phone or its user can end it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<i64>,
}

/// Wake the app at the earliest then, and as soon as all of this holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wake {
    pub earliest_ms: i64,
    pub network: NetworkNeed,
    pub charging: bool,
    pub idle: bool,
    pub battery_not_low: bool,
    pub storage_not_low: bool,
    /// Somebody waits for it.
    pub urgent: bool,
    /// There is work for minutes, not seconds.
    pub long: bool,
}

/// The networks that are good enough. Each includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NetworkNeed {
    Unmetered,
    NotRoaming,
    Any,
}

impl NetworkNeed {
    pub fn includes(self, class: NetworkClass) -> bool {
        match class {
            NetworkClass::Unmetered => true,
            NetworkClass::Metered | NetworkClass::Expensive | NetworkClass::Constrained => {
                self >= Self::NotRoaming
            }
            NetworkClass::Roaming => self == Self::Any,
        }
    }

    /// The narrowest need that includes all these classes.
    pub fn of(classes: impl IntoIterator<Item = NetworkClass>) -> Option<Self> {
        let needs = classes.into_iter().map(|class| match class {
            NetworkClass::Unmetered => Self::Unmetered,
            NetworkClass::Metered | NetworkClass::Expensive | NetworkClass::Constrained => Self::NotRoaming,
            NetworkClass::Roaming => Self::Any,
        });
        needs.max()
    }
}
