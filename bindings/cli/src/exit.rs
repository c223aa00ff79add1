//! How the program ends: restic's exit codes, one sentence for people, and what they can do.

use std::{fmt, io};

use lifeboat::{Kind, Place};

/// restic's exit codes, and the one of a program whose reader went away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Code {
    Success = 0,
    Error = 1,
    /// A snapshot was made, and something could not be read.
    Incomplete = 3,
    NoRepository = 10,
    Locked = 11,
    WrongPassword = 12,
    /// A window ended before its backup.
    MoreToDo = 20,
    /// A window could do nothing before something else changes.
    Waiting = 21,
    Interrupted = 130,
    /// As if SIGPIPE had ended it.
    ClosedPipe = 141,
}

/// Why a command ended before its end.
#[derive(Debug)]
pub(crate) enum Failure {
    Engine(lifeboat::Error),
    /// Something outside the engine: a missing option, a file that is not there.
    Here(String),
    /// A signal asked for it.
    Interrupted {
        /// Whether the same command would not begin anew.
        goes_on: bool,
    },
    /// Nobody reads the output any more: nothing to say, and nobody to say it to.
    ClosedPipe,
}

pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

impl Failure {
    pub(crate) const INTERRUPTED: Self = Self::Interrupted { goes_on: false };

    /// Of a command that keeps what it has done for the next try.
    pub(crate) fn that_goes_on(self) -> Self {
        match self {
            Self::Interrupted { .. } => Self::Interrupted { goes_on: true },
            other => other,
        }
    }

    pub(crate) fn here(text: impl Into<String>) -> Self {
        Self::Here(text.into())
    }

    /// What was being done when the operating system failed.
    pub(crate) fn io(doing: impl fmt::Display, error: io::Error) -> Self {
        Self::Here(format!("{doing}: {error}"))
    }

    pub(crate) fn code(&self) -> Code {
        match self {
            Self::Engine(error) => match error.kind() {
                Kind::NoRepository => Code::NoRepository,
                Kind::Locked => Code::Locked,
                Kind::WrongPassword => Code::WrongPassword,
                Kind::Cancelled => Code::Interrupted,
                _ => Code::Error,
            },
            Self::Here(_) => Code::Error,
            Self::Interrupted { .. } => Code::Interrupted,
            Self::ClosedPipe => Code::ClosedPipe,
        }
    }

    /// What helps, where the error itself does not say it.
    pub(crate) fn advice(&self) -> Option<&'static str> {
        let Self::Engine(error) = self else { return None };
        Some(match error.kind() {
            Kind::WrongPassword => {
                "give the right one with --password-file, LIFEBOAT_PASSWORD or at the prompt; any of the \
                 repository's passwords will do"
            }
            Kind::Locked => {
                "if that client is gone for good, `lifeboat unlock` removes its lock: half an hour after its last \
                 sign of life, or at once with --remove-all"
            }
            Kind::AccessDenied => {
                "see who may write there: the folder's owner and mode, or the credentials (RESTIC_REST_USERNAME \
                 and RESTIC_REST_PASSWORD, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY)"
            }
            Kind::WrongServer => "--cacert names a private authority's certificate",
            Kind::OutOfSpace(Place::State) => "--state puts the engine's folder on another disk",
            Kind::Damaged => "`lifeboat check --read-data` says what is hurt",
            Kind::Catalog => "the same command again makes a new catalog from the vault",
            Kind::Bug => "this is a defect of lifeboat: please report it",
            _ => return None,
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Engine(error) => error.fmt(f),
            Self::Here(text) => f.write_str(text),
            Self::Interrupted { goes_on: true } => {
                f.write_str("stopped; the same command goes on where this one ended")
            }
            Self::Interrupted { goes_on: false } => f.write_str("stopped"),
            Self::ClosedPipe => f.write_str("nobody reads the output"),
        }
    }
}

impl From<lifeboat::Error> for Failure {
    fn from(error: lifeboat::Error) -> Self {
        if error.kind() == Kind::Cancelled {
            Self::INTERRUPTED
        } else {
            Self::Engine(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_restic() {
        let code = |kind| Failure::from(lifeboat::Error::new(kind, "x")).code() as u8;
        let codes = [
            (Kind::NoRepository, 10),
            (Kind::Locked, 11),
            (Kind::WrongPassword, 12),
            (Kind::Cancelled, 130),
            (Kind::Busy, 1),
            (Kind::Damaged, 1),
        ];
        for (kind, expected) in codes {
            assert_eq!(code(kind), expected, "{kind:?}");
        }
    }
}
