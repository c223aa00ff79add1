//! What a window may spend, and how it ended.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::{
    error::{Error, Kind, Retry},
    scheduler::NetworkClass,
    snapshotter::BackupReport,
};

/// Bytes that may travel, by the class of the network; `None` is no limit, zero is not at all.
///
/// What counts are the bodies of stored files, in both directions, each try in full. Headers, listings and the like do not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowances {
    pub unmetered: Option<u64>,
    pub metered: Option<u64>,
    pub roaming: Option<u64>,
    pub expensive: Option<u64>,
    pub constrained: Option<u64>,
}

impl Allowances {
    pub const UNLIMITED: Self = Self {
        unmetered: None,
        metered: None,
        roaming: None,
        expensive: None,
        constrained: None,
    };

    /// Without limit where nothing is metered, and nothing elsewhere.
    pub const UNMETERED_ONLY: Self = Self {
        unmetered: None,
        metered: Some(0),
        roaming: Some(0),
        expensive: Some(0),
        constrained: Some(0),
    };

    pub const NOTHING: Self = Self {
        unmetered: Some(0),
        ..Self::UNMETERED_ONLY
    };

    /// The same, with another bound for this class.
    pub fn with(mut self, class: NetworkClass, bytes: Option<u64>) -> Self {
        let bound = match class {
            NetworkClass::Unmetered => &mut self.unmetered,
            NetworkClass::Metered => &mut self.metered,
            NetworkClass::Roaming => &mut self.roaming,
            NetworkClass::Expensive => &mut self.expensive,
            NetworkClass::Constrained => &mut self.constrained,
        };
        *bound = bytes;
        self
    }

    pub fn of(&self, class: NetworkClass) -> Option<u64> {
        match class {
            NetworkClass::Unmetered => self.unmetered,
            NetworkClass::Metered => self.metered,
            NetworkClass::Roaming => self.roaming,
            NetworkClass::Expensive => self.expensive,
            NetworkClass::Constrained => self.constrained,
        }
    }

    /// The classes on which anything may travel.
    pub fn usable(&self) -> Vec<NetworkClass> {
        let usable = |class: &NetworkClass| self.of(*class) != Some(0);
        NetworkClass::ALL.into_iter().filter(usable).collect()
    }
}

/// Whether a publication takes a lock in the vault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LockPolicy {
    /// One short, shared lock: another client may prune this vault.
    #[default]
    WhenShared,
    /// Nobody else deletes from this vault. Everything is looked at again before a snapshot is published, all the same.
    Never,
}

/// One stretch of time in which the operating system lets the app work, and what may be spent in it.
#[derive(Debug, Clone)]
pub struct Budget {
    /// From now on; the engine is quiet by then.
    pub deadline: Duration,
    /// Cancelled when the operating system takes the window back early: the engine is quiet within 250 ms.
    pub stop: CancellationToken,
    pub allowances: Allowances,
    /// What the device is connected to now. When that changes, this window should be stopped and another one begun.
    pub network: NetworkClass,
    pub lock: LockPolicy,
}

impl Budget {
    /// So much time on an unmetered network, and as many bytes as it takes.
    pub fn of(deadline: Duration) -> Self {
        Self {
            deadline,
            stop: CancellationToken::new(),
            allowances: Allowances::UNLIMITED,
            network: NetworkClass::Unmetered,
            lock: LockPolicy::default(),
        }
    }
}

/// How a window ended.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// The snapshot is published, or nothing had changed and the job said to skip then.
    Done(Box<BackupReport>),
    /// The run goes on in the next window.
    MoreToDo(MoreToDo),
    /// Nothing can be done before something else changes. Nothing is lost.
    Waiting { reason: Waiting, hint: WakeHint },
    Failed {
        error: Error,
        /// When doing the same again can help.
        retry: Retry,
    },
}

impl Outcome {
    pub(crate) fn failed(error: Error) -> Self {
        let retry = error.kind().retry();
        Self::Failed { error, retry }
    }
}

/// What a run that goes on has before it.
#[derive(Debug, Clone)]
pub struct MoreToDo {
    /// Sealed and not yet confirmed by the vault.
    pub packs: u64,
    pub bytes: u64,
    /// Whether that is all of it. If not, sources are still to be read, and how much is new in them nobody knows.
    pub all_sealed: bool,
    /// Of these, packs that were given to the operating system's own uploader.
    pub handed_off: u64,
    pub hint: WakeHint,
}

/// Why nothing can be done.
#[derive(Debug, Clone)]
pub enum Waiting {
    /// Nothing may travel over this class of network.
    Network(NetworkClass),
    /// The time was too short to begin anything.
    WindowTooShort,
    /// An earlier window found that the vault refuses access, or is full. Not tried again until something changes: see [`crate::Engine::unpark`].
    Parked {
        kind: Kind,
        text: String,
        /// Seconds since 1970.
        since: i64,
    },
    Unreachable(Error),
    /// Another client holds the vault for itself.
    Locked(Error),
    /// The disk of the state folder has no more room than its reserve.
    DiskFull(Error),
    /// All that is left was given to the operating system's own uploader.
    HandedOff,
}

/// When and under which conditions the next window can do something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WakeHint {
    /// From now on.
    pub not_before: Duration,
    /// On which of these. With none, no network is needed.
    pub networks: Vec<NetworkClass>,
    /// A shorter window would achieve nothing, as far as the link is known.
    pub window_min: Option<Duration>,
}
