//! The one error of the engine: what kind it is decides what a host does, the rest is for people and logs.

use std::{fmt, io, path::Path, sync::Arc, time::Duration};

use crate::format::FormatError;

/// Why an operation ended. A kind exists only where a host would act differently on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The host or the user stopped it; the same call goes on where it ended.
    Cancelled,
    /// The engine is stopped, suspended or was never able to start.
    NotRunning,
    /// Another engine holds the state folder, or another job of the same sort is running.
    Busy,
    /// No key file opens with this password.
    WrongPassword,
    /// The vault or a folder refused access.
    AccessDenied,
    /// There is no repository in this vault.
    NoRepository,
    /// There is a repository already, or the remains of one.
    RepositoryExists,
    /// The repository needs a version or an algorithm that this engine lacks.
    Unsupported,
    /// Bytes in the vault are not what was stored, or are missing.
    Damaged,
    /// A disk is full.
    OutOfSpace(Place),
    /// The vault cannot be reached now.
    Unreachable,
    /// What answers at the vault's address is not the vault, or cannot be told from an impostor: a network's login page, a redirect, a
    /// certificate that nobody vouches for. On another network it may be the vault again.
    WrongServer,
    /// Another client holds a lock that excludes this operation.
    Locked,
    /// What the caller asked for makes no sense as asked.
    InvalidInput,
    /// The snapshot, path or key that was named does not exist.
    NotFound,
    /// The catalog cannot be used; it is rebuilt at the next start.
    Catalog,
    /// The operating system failed in some other way.
    Io,
    /// A defect in the engine.
    Bug,
}

/// Which disk an error is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// The engine's own folder: catalog and spool.
    State,
    /// The folder that a restore writes to.
    Target,
    /// The vault.
    Vault,
}

/// When doing the same again can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    Never,
    Later,
    AfterUserActs,
}

impl Kind {
    pub fn retry(self) -> Retry {
        match self {
            Self::Cancelled
            | Self::NotRunning
            | Self::Busy
            | Self::Unreachable
            | Self::WrongServer
            | Self::Locked
            | Self::Catalog
            | Self::Io => Retry::Later,
            Self::WrongPassword | Self::AccessDenied | Self::NoRepository | Self::OutOfSpace(_) => {
                Retry::AfterUserActs
            }
            Self::RepositoryExists
            | Self::Unsupported
            | Self::Damaged
            | Self::InvalidInput
            | Self::NotFound
            | Self::Bug => Retry::Never,
        }
    }

    /// What an error of the operating system means when it happened at `place`.
    pub fn of_io(error: &io::Error, place: Place) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Self::OutOfSpace(place)
            }
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Self::AccessDenied,
            _ if place == Place::Vault => Self::Unreachable,
            _ => Self::Io,
        }
    }
}

/// An error with its kind, a sentence for people, and the cause beneath it. Cheap to clone.
#[derive(Clone)]
pub struct Error(Arc<Inner>);

struct Inner {
    kind: Kind,
    context: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
    retry_after: Option<Duration>,
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

const GIVEN_UP: &str = "stopped; the same call goes on where this one ended";

impl Error {
    pub fn new(kind: Kind, context: impl Into<String>) -> Self {
        Self(Arc::new(Inner {
            kind,
            context: context.into(),
            source: None,
            retry_after: None,
        }))
    }

    pub fn with_source(
        kind: Kind,
        context: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self(Arc::new(Inner {
            kind,
            context: context.into(),
            source: Some(source.into()),
            retry_after: None,
        }))
    }

    pub fn cancelled() -> Self {
        Self::new(Kind::Cancelled, GIVEN_UP)
    }

    /// Whether this is `cancelled`, and not something else that ended because of it.
    pub(crate) fn is_given_up(&self) -> bool {
        self.0.kind == Kind::Cancelled && self.0.context == GIVEN_UP
    }

    pub fn stopped() -> Self {
        Self::new(Kind::NotRunning, "the engine is stopped or suspended")
    }

    pub(crate) fn bug(context: impl Into<String>) -> Self {
        Self::new(Kind::Bug, context)
    }

    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// How long the vault asks to be left alone, where it said so. Trying earlier makes it worse for everyone.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// The same, with what the vault asked for.
    pub fn with_retry_after(self, retry_after: Option<Duration>) -> Self {
        Self(Arc::new(Inner {
            kind: self.kind(),
            context: self.to_string(),
            source: None,
            retry_after,
        }))
    }

    /// `what` was being done to `path` when the operating system failed.
    pub(crate) fn io(place: Place, what: &str, path: &Path, error: io::Error) -> Self {
        let kind = Kind::of_io(&error, place);
        let hint = match kind {
            Kind::OutOfSpace(_) => " (make room there, then do the same again: what was done is kept)",
            _ => "",
        };
        Self::with_source(kind, format!("{what} {}{hint}", path.display()), error)
    }

    /// A stored file that is not what it should be.
    pub(crate) fn format(name: impl fmt::Display, error: FormatError) -> Self {
        Self::from(error).within(name)
    }

    /// The same kind, with `context` said first.
    pub(crate) fn within(self, context: impl fmt::Display) -> Self {
        let (kind, retry_after) = (self.kind(), self.retry_after());
        Self(Arc::new(Inner {
            kind,
            context: context.to_string(),
            source: Some(self.into()),
            retry_after,
        }))
    }
}

impl fmt::Display for Error {
    /// The whole chain in one line: people and logs want the cause at once.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.context)?;
        match &self.0.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.0.kind)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|source| &**source as _)
    }
}

impl From<FormatError> for Error {
    /// Whoever knows which file it was says so with `within`, or uses `Error::format` at once.
    fn from(error: FormatError) -> Self {
        let kind = match error {
            FormatError::Unsupported(_) => Kind::Unsupported,
            FormatError::NoRandomness | FormatError::NoMemory => Kind::Io,
            _ => Kind::Damaged,
        };
        Self::new(kind, error.to_string())
    }
}

/// Names what was being done when something failed.
pub(crate) trait Context<T> {
    fn context(self, context: impl FnOnce() -> String) -> Result<T>;
}

impl<T> Context<T> for Result<T> {
    fn context(self, context: impl FnOnce() -> String) -> Self {
        self.map_err(|error| error.within(context()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_keeps_its_place_and_says_what_to_do() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let error = Error::io(Place::Target, "writing", Path::new("/x"), full).within("restoring a.txt");
        assert_eq!(error.kind(), Kind::OutOfSpace(Place::Target));
        assert_eq!(error.kind().retry(), Retry::AfterUserActs);
        let text = error.to_string();
        assert!(
            text.starts_with("restoring a.txt: writing /x (make room"),
            "{text}"
        );
    }

    #[test]
    fn what_the_vault_asked_for_stays_known() {
        let wait = Some(Duration::from_secs(7));
        let error = Error::new(Kind::Unreachable, "busy").with_retry_after(wait);
        assert_eq!(error.to_string(), "busy");
        assert_eq!(error.within("sending").retry_after(), wait);
        assert_eq!(Error::new(Kind::Unreachable, "busy").retry_after(), None);
    }
}
