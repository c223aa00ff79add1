//! The repository format of restic, version 2: bytes to values and back.
//!
//! Nothing here does I/O, asks the time or knows of actors. Randomness is drawn in two places only: initialisation vectors and new keys.
//! The source of the format is restic's design document and its code; what real restic does was measured where they are silent.

mod id;

pub use id::*;

/// What is wrong with bytes that should have been part of a repository.
///
/// It says nothing of where the bytes came from: whoever read them adds that.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// The authentication code does not fit: another key, or changed bytes.
    #[error("the authentication code does not match: the bytes were changed, or sealed with another key")]
    Unauthentic,
    /// The bytes are authentic or need not be, and are still not what they should be.
    #[error("{0}")]
    Malformed(String),
    /// A version or an algorithm that this engine does not know.
    #[error("{0}")]
    Unsupported(String),
    /// More than a reader is willing to hold in memory.
    #[error("{what} claims {claimed} bytes, more than the {limit} that are allowed")]
    TooLarge {
        what: &'static str,
        claimed: u64,
        limit: u64,
    },
}

impl FormatError {
    pub(crate) fn malformed(detail: impl Into<String>) -> Self {
        Self::Malformed(detail.into())
    }
}
