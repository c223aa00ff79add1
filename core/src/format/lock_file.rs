//! Locks: a note for the other users of a repository that somebody is at work.

use serde::{Deserialize, Serialize};

use super::FormatError;

/// A lock, whose JSON is stored as an unpacked file.
///
/// `restic unlock` sends a signal to `pid` if the host name is its own, which ends most programs: take a host name
/// that no restic shares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// When it was written, as restic writes times; not checked here.
    pub time: String,
    /// Whether nobody else may hold any lock meanwhile.
    #[serde(default)]
    pub exclusive: bool,
    #[serde(default)]
    pub hostname: String,
    #[serde(default)]
    pub username: String,
    #[serde(default)]
    pub pid: i64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub uid: u32,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub gid: u32,
}

impl Lock {
    /// Reads the JSON of a lock. Only the time must be there: without one this is some other file.
    pub fn parse(json: &[u8]) -> Result<Self, FormatError> {
        serde_json::from_slice(json).map_err(|error| FormatError::malformed(format!("not a lock: {error}")))
    }

    /// The JSON, with the fields in restic's order.
    pub fn encode(&self) -> Result<Vec<u8>, FormatError> {
        serde_json::to_vec(self).map_err(|error| FormatError::malformed(error.to_string()))
    }
}

/// The user and group 0 are left out, as restic does.
fn is_zero(id: &u32) -> bool {
    *id == 0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lock() -> Lock {
        Lock {
            time: "2026-11-22T10:50:26.050634907Z".into(),
            exclusive: false,
            hostname: "app-1".into(),
            username: "u".into(),
            pid: 13_607,
            uid: 1000,
            gid: 0,
        }
    }

    #[test]
    fn the_spelling_is_that_of_restic() {
        let json = r#"{"time":"2026-11-22T10:50:26.050634907Z","exclusive":false,"hostname":"app-1","username":"u","pid":13607,"uid":1000}"#;
        assert_eq!(String::from_utf8(lock().encode().unwrap()).unwrap(), json);
        assert_eq!(Lock::parse(json.as_bytes()), Ok(lock()));
    }

    #[test]
    fn foreign_fields_are_ignored_and_other_files_refused() {
        let json = br#"{"future":[1],"exclusive":true,"time":"2024-01-01T00:00:00Z"}"#;
        let lock = Lock::parse(json).unwrap();
        assert!(lock.exclusive);
        assert_eq!((lock.pid, lock.uid, lock.hostname.as_str()), (0, 0, ""));
        for json in [
            &b""[..],
            b"{}",
            br#"{"packs":[]}"#,
            br#"{"time":0}"#,
            br#"{"time":"","uid":-1}"#,
        ] {
            assert!(matches!(Lock::parse(json), Err(FormatError::Malformed(_))));
        }
    }

    proptest! {
        #[test]
        fn foreign_and_mutated_bytes_never_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..100),
            place in any::<prop::sample::Index>(),
            byte in any::<u8>(),
        ) {
            let _ = Lock::parse(&bytes);
            let mut json = lock().encode().unwrap();
            let place = place.index(json.len());
            json[place] = byte;
            let _ = Lock::parse(&json);
        }
    }
}
