//! Names of stored things: SHA-256 hashes, each kind of thing with a type of its own so that they cannot be swapped.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest, Sha256};

/// Bytes in a SHA-256 hash.
pub const ID_BYTES: usize = 32;

/// A text that is not 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an id has 64 hexadecimal digits")]
pub struct InvalidId;

/// SHA-256 of `bytes`.
pub fn sha256(bytes: &[u8]) -> [u8; ID_BYTES] {
    Sha256::digest(bytes).into()
}

macro_rules! id_types {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; ID_BYTES]);

        impl $name {
            /// The id of something whose content (as it is named, see the type) is `bytes`.
            pub fn of(bytes: &[u8]) -> Self {
                Self(sha256(bytes))
            }

            pub const fn from_bytes(bytes: [u8; ID_BYTES]) -> Self {
                Self(bytes)
            }

            /// `None` unless there are exactly 32 bytes.
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self)
            }

            pub const fn as_bytes(&self) -> &[u8; ID_BYTES] {
                &self.0
            }

            /// The first eight hexadecimal digits, as restic shows ids to people.
            pub fn short(&self) -> String {
                hex::encode(&self.0[..4])
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.short())
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            /// Upper case is tolerated, as restic does inside documents.
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let mut bytes = [0; ID_BYTES];
                hex::decode_to_slice(text, &mut bytes).map_err(|_| InvalidId)?;
                Ok(Self(bytes))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Hex;
                impl de::Visitor<'_> for Hex {
                    type Value = $name;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("an id of 64 hexadecimal digits")
                    }
                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$name, E> {
                        text.parse().map_err(E::custom)
                    }
                }
                deserializer.deserialize_str(Hex)
            }
        }
    )+};
}

id_types! {
    /// A blob: SHA-256 of its plaintext. The same id may exist as data and as tree.
    BlobId,
    /// A pack: SHA-256 of the stored file.
    PackId,
    /// An index file: SHA-256 of the stored file.
    IndexId,
    /// A snapshot: SHA-256 of the stored file.
    SnapshotId,
    /// A key file: SHA-256 of the stored file.
    KeyId,
    /// A lock: SHA-256 of the stored file.
    LockId,
    /// A stored file of whatever kind, where the kind stands beside it.
    FileId,
    /// A repository: 32 random bytes in its config.
    RepositoryId,
}

macro_rules! file_ids {
    ($($name:ident),+) => {$(
        impl From<$name> for FileId {
            fn from(id: $name) -> Self {
                Self(id.0)
            }
        }
        impl From<FileId> for $name {
            fn from(id: FileId) -> Self {
                Self(id.0)
            }
        }
    )+};
}
file_ids!(PackId, IndexId, SnapshotId, KeyId, LockId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_bytes_round_trip() {
        let id = BlobId::of(b"abc");
        let text = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(id.to_string(), text);
        assert_eq!(text.parse(), Ok(id));
        assert_eq!(text.to_uppercase().parse(), Ok(id));
        assert_eq!(
            serde_json::from_str::<BlobId>(&format!("\"{text}\"")).unwrap(),
            id
        );
        for bad in [
            "",
            "ba78",
            &text[1..],
            &format!("{text}00"),
            &text.replace('b', "g"),
        ] {
            assert_eq!(bad.parse::<BlobId>(), Err(InvalidId), "{bad}");
        }
    }
}
