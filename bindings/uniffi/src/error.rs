//! The one error that crosses. Texts for people are the app's business, in the user's language; `detail` is for logs, and may name paths.

use lifeboat::{Error, Kind, Place};

/// Why a call ended without a result. Each variant is something else for the app to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, uniffi::Error)]
pub enum EngineError {
    /// It was stopped. The same call goes on where this one ended: do it again when there is time.
    #[error("stopped")]
    Cancelled,
    /// The engine is stopped or suspended: resume it, or open another.
    #[error("{detail}")]
    NotRunning { detail: String },
    /// Another job runs, or another engine works with the state folder: wait for its end.
    #[error("{detail}")]
    Busy { detail: String },
    /// The key store holds no key for this vault, or none that can be used: ask the user for the password.
    #[error("{detail}")]
    KeyMissing { detail: String },
    /// The key store cannot be read now, as while the phone is locked: try again once it is unlocked.
    #[error("{detail}")]
    KeyUnavailable { detail: String },
    /// Ask for the password again.
    #[error("{detail}")]
    WrongPassword { detail: String },
    /// The vault or a folder refused access: the app or the user must grant it, or sign in again.
    #[error("{detail}")]
    AccessDenied { detail: String },
    /// There is no repository in this vault: create one, or correct the address.
    #[error("{detail}")]
    NoRepository { detail: String },
    /// There is a repository in this vault already: open it, or take another place.
    #[error("{detail}")]
    RepositoryExists { detail: String },
    /// The repository is of a newer or another sort: update the app.
    #[error("{detail}")]
    Unsupported { detail: String },
    /// Bytes in the vault are not what was stored: tell the user, verify, and back up to another vault.
    #[error("{detail}")]
    Damaged { detail: String },
    /// A disk is full: make room there. What was done is kept.
    #[error("{detail}")]
    OutOfSpace { place: FullPlace, detail: String },
    /// The vault cannot be reached now: try again later.
    #[error("{detail}")]
    Unreachable { detail: String },
    /// What answers at the vault's address is not the vault, as behind a network's login page: try again on another network, or sign in to this one.
    #[error("{detail}")]
    WrongServer { detail: String },
    /// Another client holds a lock in the vault: try again later, or remove a lock that is known to be left over.
    #[error("{detail}")]
    Locked { detail: String },
    /// What was asked for makes no sense: correct the call.
    #[error("{detail}")]
    InvalidInput { detail: String },
    /// The snapshot, path or key that was named does not exist: show what there is.
    #[error("{detail}")]
    NotFound { detail: String },
    /// The engine's own database cannot be used: stop the engine and open it again, which makes it anew.
    #[error("{detail}")]
    Catalog { detail: String },
    /// The operating system failed in some other way: try again later, and report it if it stays.
    #[error("{detail}")]
    Io { detail: String },
    /// A defect in the engine: report it. Open the engine again to go on.
    #[error("{report}")]
    Bug { report: String },
}

/// Which disk is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum FullPlace {
    /// The one with the engine's own folder.
    State,
    /// The one that a restore writes to.
    Target,
    /// The vault.
    Vault,
}

impl From<Place> for FullPlace {
    fn from(place: Place) -> Self {
        match place {
            Place::State => Self::State,
            Place::Target => Self::Target,
            Place::Vault => Self::Vault,
        }
    }
}

impl From<Error> for EngineError {
    fn from(error: Error) -> Self {
        let detail = error.to_string();
        // No wildcard: a new kind needs a decision here.
        match error.kind() {
            Kind::Cancelled => Self::Cancelled,
            Kind::NotRunning => Self::NotRunning { detail },
            Kind::Busy => Self::Busy { detail },
            Kind::WrongPassword => Self::WrongPassword { detail },
            Kind::AccessDenied => Self::AccessDenied { detail },
            Kind::NoRepository => Self::NoRepository { detail },
            Kind::RepositoryExists => Self::RepositoryExists { detail },
            Kind::Unsupported => Self::Unsupported { detail },
            Kind::Damaged => Self::Damaged { detail },
            Kind::OutOfSpace(place) => Self::OutOfSpace {
                place: place.into(),
                detail,
            },
            Kind::Unreachable => Self::Unreachable { detail },
            Kind::WrongServer => Self::WrongServer { detail },
            Kind::Locked => Self::Locked { detail },
            Kind::InvalidInput => Self::InvalidInput { detail },
            Kind::NotFound => Self::NotFound { detail },
            Kind::Catalog => Self::Catalog { detail },
            Kind::Io => Self::Io { detail },
            Kind::Bug => Self::Bug { report: detail },
        }
    }
}

impl EngineError {
    pub(crate) fn not_running() -> Self {
        Error::stopped().into()
    }

    pub(crate) fn invalid(detail: impl Into<String>) -> Self {
        Self::InvalidInput {
            detail: detail.into(),
        }
    }

    pub(crate) fn bug(report: impl Into<String>) -> Self {
        Self::Bug {
            report: report.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_full_disk_and_the_text_survive_the_trip() {
        let error = Error::new(Kind::OutOfSpace(Place::Vault), "writing a pack");
        let crossed = EngineError::from(error);
        let expected = EngineError::OutOfSpace {
            place: FullPlace::Vault,
            detail: "writing a pack".into(),
        };
        assert_eq!(crossed, expected);
        assert_eq!(crossed.to_string(), "writing a pack");
    }
}
