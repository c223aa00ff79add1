//! Backups in windows: what one may spend, how it ended, and packs that somebody else sends.

use std::{collections::HashMap, sync::Arc, time::Duration};

use lifeboat::{
    Allowances as EngineAllowances, Budget, HandOff, Kind, LockPolicy, MoreToDo, NetworkClass as Class,
    Outcome, Waiting, WakeHint as Hint, format::PackId,
};
use tokio_util::sync::CancellationToken;

use crate::{
    engine::{EngineHandle, Result},
    error::EngineError,
    host::DatabaseHolder,
    jobs::BackupRequest,
    reports::{self, BackupOutcome},
    stop::StopToken,
};

/// What a network costs, as the operating system says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum NetworkClass {
    Unmetered,
    Metered,
    /// A class of its own: never part of what `Metered` allows.
    Roaming,
    /// As iOS says it: cellular, or a personal hotspot.
    Expensive,
    /// As iOS says it: the user has turned Low Data Mode on.
    Constrained,
}

/// Bytes that may travel in a window, by the class of the network; nothing is no limit, zero is not at all.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct Allowances {
    #[uniffi(default = None)]
    pub unmetered: Option<u64>,
    #[uniffi(default = Some(0))]
    pub metered: Option<u64>,
    #[uniffi(default = Some(0))]
    pub roaming: Option<u64>,
    #[uniffi(default = Some(0))]
    pub expensive: Option<u64>,
    #[uniffi(default = Some(0))]
    pub constrained: Option<u64>,
}

/// One stretch of time in which the operating system lets the app work, and what may be spent in it.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct WindowBudget {
    /// From now on; the engine is quiet by then.
    pub deadline_ms: u64,
    /// What the device is connected to now. When that changes, stop this window and begin another one.
    pub network: NetworkClass,
    pub allowances: Allowances,
    /// Nobody else ever deletes from this vault: no lock is written there.
    #[uniffi(default = false)]
    pub sole_client: bool,
}

/// How a window ended that did not fail.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Enum)]
pub enum WindowOutcome {
    /// The backup is complete.
    Done { backup: BackupOutcome },
    /// The run goes on in the next window.
    MoreToDo {
        /// Sealed and not yet confirmed by the vault.
        packs: u64,
        bytes: u64,
        /// Whether that is all of it. If not, sources are still to be read, and how much is new in them nobody knows.
        all_sealed: bool,
        /// Of these, packs that were given to the operating system's own uploader.
        handed_off: u64,
        hint: WakeHint,
    },
    /// Nothing can be done before something else changes. Nothing is lost.
    Waiting { reason: WaitingReason, hint: WakeHint },
}

/// Why nothing can be done.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Enum)]
pub enum WaitingReason {
    /// Nothing may travel over this class of network.
    Network {
        network: NetworkClass,
    },
    /// The time was too short to begin anything.
    WindowTooShort,
    /// The vault refused access. Not tried again until the credentials change, or `unpark` says that something did.
    AccessDenied {
        detail: String,
        since_ms: i64,
    },
    /// The vault is full. Not tried again until `unpark` says that something changed.
    VaultFull {
        detail: String,
        since_ms: i64,
    },
    Unreachable {
        detail: String,
    },
    /// Another client holds the vault for itself.
    Locked {
        detail: String,
    },
    /// The disk of the state folder has no more room than its reserve.
    DiskFull {
        detail: String,
    },
    /// All that is left was given to the operating system's own uploader.
    HandedOff,
}

/// When and under which conditions the next window can do something.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct WakeHint {
    /// From now on.
    pub not_before_ms: u64,
    /// On which of these. With none, no network is needed.
    pub networks: Vec<NetworkClass>,
    /// A shorter window would achieve nothing, as far as the link is known.
    pub window_min_ms: Option<u64>,
}

/// A pack for the operating system's own uploader: the request, with the file as its body. Whoever has it can store it.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct PackUpload {
    pub pack: String,
    /// In the state folder. It goes away when the vault is seen to hold the pack.
    pub file: String,
    pub bytes: u64,
    pub method: String,
    pub url: String,
    /// To be sent as they are.
    pub headers: HashMap<String, String>,
}

#[uniffi::export]
impl EngineHandle {
    /// Goes on with the backup for as long as the budget allows, and says what is left. A run lives in the state folder between windows: engines and
    /// processes may come and go. Stopped in whatever way, nothing that was confirmed is sent again.
    pub async fn run_window(
        &self,
        request: BackupRequest,
        budget: WindowBudget,
        holder: Option<Arc<dyn DatabaseHolder>>,
        stop: Option<Arc<StopToken>>,
    ) -> Result<WindowOutcome> {
        let job = request.into_job(holder)?;
        self.inner
            .job(stop, async move |engine, cancel| {
                WindowOutcome::of(engine.run_window(job, budget.into_budget(cancel)).await)
            })
            .await
    }

    /// Something has changed for a run that waits since the vault refused access or was full: the next window tries again.
    pub async fn unpark(&self) -> Result<()> {
        self.inner.call(async |engine| Ok(engine.unpark().await?)).await
    }

    /// Gives sealed packs to the operating system's own uploader: requests that are good for `expires_ms`, for which time the engine does not send
    /// these packs itself. `Unsupported` where the vault has no such requests: only buckets have.
    pub async fn hand_off(&self, expires_ms: u64) -> Result<Vec<PackUpload>> {
        self.inner
            .call(async move |engine| {
                let given = engine.hand_off(Duration::from_millis(expires_ms)).await?;
                Ok(given.into_iter().map(Into::into).collect())
            })
            .await
    }

    /// What became of a pack that was handed off, as far as its sender knows: in any order, twice, or never. The next window looks for itself.
    pub async fn hand_off_ended(&self, pack: String, stored: bool) -> Result<()> {
        let id: PackId = pack
            .parse()
            .map_err(|_| EngineError::invalid(format!("{pack} is no pack's id")))?;
        self.inner
            .call(async move |engine| Ok(engine.hand_off_ended(id, stored).await?))
            .await
    }
}

impl From<NetworkClass> for Class {
    fn from(class: NetworkClass) -> Self {
        match class {
            NetworkClass::Unmetered => Self::Unmetered,
            NetworkClass::Metered => Self::Metered,
            NetworkClass::Roaming => Self::Roaming,
            NetworkClass::Expensive => Self::Expensive,
            NetworkClass::Constrained => Self::Constrained,
        }
    }
}

impl From<Class> for NetworkClass {
    fn from(class: Class) -> Self {
        match class {
            Class::Unmetered => Self::Unmetered,
            Class::Metered => Self::Metered,
            Class::Roaming => Self::Roaming,
            Class::Expensive => Self::Expensive,
            Class::Constrained => Self::Constrained,
        }
    }
}

impl WindowBudget {
    /// What the engine is given; `stop` ends the window early.
    pub(crate) fn into_budget(self, stop: CancellationToken) -> Budget {
        Budget {
            deadline: Duration::from_millis(self.deadline_ms),
            stop,
            allowances: EngineAllowances {
                unmetered: self.allowances.unmetered,
                metered: self.allowances.metered,
                roaming: self.allowances.roaming,
                expensive: self.allowances.expensive,
                constrained: self.allowances.constrained,
            },
            network: self.network.into(),
            lock: if self.sole_client {
                LockPolicy::Never
            } else {
                LockPolicy::WhenShared
            },
        }
    }
}

impl WindowOutcome {
    /// A failure is an error here, as everywhere.
    pub(crate) fn of(outcome: Outcome) -> Result<Self> {
        Ok(match outcome {
            Outcome::Done(report) => Self::Done {
                backup: (*report).into(),
            },
            Outcome::MoreToDo(MoreToDo {
                packs,
                bytes,
                all_sealed,
                handed_off,
                hint,
            }) => Self::MoreToDo {
                packs,
                bytes,
                all_sealed,
                handed_off,
                hint: hint.into(),
            },
            Outcome::Waiting { reason, hint } => Self::Waiting {
                reason: reason.into(),
                hint: hint.into(),
            },
            Outcome::Failed { error, .. } => return Err(error.into()),
        })
    }
}

impl From<Waiting> for WaitingReason {
    fn from(reason: Waiting) -> Self {
        match reason {
            Waiting::Network(class) => Self::Network {
                network: class.into(),
            },
            Waiting::WindowTooShort => Self::WindowTooShort,
            Waiting::Parked { kind, text, since } => {
                let (detail, since_ms) = (text, since.saturating_mul(1000));
                match kind {
                    Kind::OutOfSpace(_) => Self::VaultFull { detail, since_ms },
                    _ => Self::AccessDenied { detail, since_ms },
                }
            }
            Waiting::Unreachable(error) => Self::Unreachable {
                detail: error.to_string(),
            },
            Waiting::Locked(error) => Self::Locked {
                detail: error.to_string(),
            },
            Waiting::DiskFull(error) => Self::DiskFull {
                detail: error.to_string(),
            },
            Waiting::HandedOff => Self::HandedOff,
        }
    }
}

impl From<Hint> for WakeHint {
    fn from(hint: Hint) -> Self {
        Self {
            not_before_ms: milliseconds(hint.not_before),
            networks: hint.networks.into_iter().map(Into::into).collect(),
            window_min_ms: hint.window_min.map(milliseconds),
        }
    }
}

impl From<HandOff> for PackUpload {
    fn from(given: HandOff) -> Self {
        Self {
            pack: given.pack.to_string(),
            file: reports::text(&given.file),
            bytes: given.size,
            method: given.request.method.to_owned(),
            url: given.request.url,
            headers: given.request.headers.into_iter().collect(),
        }
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use lifeboat::{Error, Place};

    use super::*;

    #[test]
    fn what_a_run_is_parked_for_is_something_to_do_each() {
        let parked = |kind| {
            WaitingReason::from(Waiting::Parked {
                kind,
                text: "why".into(),
                since: 7,
            })
        };
        let (detail, since_ms) = ("why".to_owned(), 7000);
        let full = WaitingReason::VaultFull {
            detail: detail.clone(),
            since_ms,
        };
        assert_eq!(parked(Kind::OutOfSpace(Place::Vault)), full);
        let denied = WaitingReason::AccessDenied { detail, since_ms };
        assert_eq!(parked(Kind::AccessDenied), denied);
    }

    #[test]
    fn a_failure_is_an_error() {
        let error = Error::new(Kind::Damaged, "a tree");
        let retry = error.kind().retry();
        let failed = WindowOutcome::of(Outcome::Failed { error, retry });
        assert!(matches!(failed, Err(EngineError::Damaged { .. })));
    }
}
