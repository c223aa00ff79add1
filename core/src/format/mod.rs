//! The repository format of restic, version 2: bytes to values and back.
//!
//! Nothing here does I/O, asks the time or knows of actors. Randomness is drawn for initialisation vectors and for
//! what is made once: keys, salts, configs.
//! The source of the format is restic's design document and its code; what real restic does was measured where they are silent.

mod compress;
mod compressibility;
mod config_file;
mod crypto;
mod file_type;
mod go_json;
mod go_json_read;
mod id;
mod index_file;
mod index_marks;
mod index_visitor;
mod key_file;
mod lock_file;
mod mode;
mod name;
mod node;
mod node_decode;
mod pack;
mod pack_header;
mod polynomial;
mod printable_ranges;
mod scrypt_key;
mod snapshot;
mod timestamp;
mod tree;
mod tree_check;
mod unpacked;

pub use compress::*;
pub use compressibility::*;
pub use config_file::*;
pub use crypto::*;
pub use file_type::*;
pub use id::*;
pub use index_file::*;
pub use index_marks::*;
pub use key_file::*;
pub use lock_file::*;
pub use mode::*;
pub use name::*;
pub use node::*;
pub use pack::*;
pub use pack_header::*;
pub use polynomial::*;
pub use scrypt_key::*;
pub use snapshot::*;
pub use timestamp::*;
pub use tree::*;
pub use tree_check::*;
pub use unpacked::*;

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
    /// The operating system gave no random bytes: nothing can be sealed.
    #[error("the operating system gives no random bytes")]
    NoRandomness,
    /// Memory within the limits could not be had.
    #[error("there is not enough memory")]
    NoMemory,
}

impl FormatError {
    pub(crate) fn malformed(detail: impl Into<String>) -> Self {
        Self::Malformed(detail.into())
    }
}
