//! The kinds of stored files, and where each stands in a repository.

use std::fmt;

use super::{FileId, ID_BYTES};

/// A kind of stored file. All but the config are named by the SHA-256 of their bytes and never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileType {
    Config,
    Key,
    Lock,
    Snapshot,
    Index,
    Pack,
}

impl FileType {
    pub const ALL: [Self; 6] = [
        Self::Config,
        Self::Key,
        Self::Lock,
        Self::Snapshot,
        Self::Index,
        Self::Pack,
    ];

    /// The directory that is listed to find all files of this kind. The config, of which there is one, has
    /// none: it stands at the root under the same name on every storage.
    pub const fn dir(self) -> Option<&'static str> {
        match self {
            Self::Config => None,
            Self::Key => Some("keys"),
            Self::Lock => Some("locks"),
            Self::Snapshot => Some("snapshots"),
            Self::Index => Some("index"),
            Self::Pack => Some("data"),
        }
    }

    /// The path from the root of a repository, on file systems and in object stores. Packs are spread over 256
    /// directories by the start of their names. A config has no id, and whichever is given is ignored.
    pub fn path(self, id: &FileId) -> String {
        match self.dir() {
            None => "config".into(),
            Some(dir) if self == Self::Pack => {
                let id = id.to_string();
                format!("{dir}/{}/{id}", &id[..2])
            }
            Some(dir) => format!("{dir}/{id}"),
        }
    }

    /// The path under REST, where the server alone knows how packs are spread.
    pub fn rest_path(self, id: &FileId) -> String {
        match self.dir() {
            None => "config".into(),
            Some(dir) => format!("{dir}/{id}"),
        }
    }
}

/// As in messages to people.
impl fmt::Display for FileType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Config => "config",
            Self::Key => "key",
            Self::Lock => "lock",
            Self::Snapshot => "snapshot",
            Self::Index => "index",
            Self::Pack => "pack",
        })
    }
}

/// The id in a listed file name, without directories.
///
/// `None` for all but 64 lower-case hexadecimal digits: whatever else lies around in a repository (temporary files,
/// what editors leave) is to be ignored, as restic does.
pub fn listed_id(name: &str) -> Option<FileId> {
    let lower = name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if !lower || name.len() != 2 * ID_BYTES {
        return None;
    }
    name.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_are_those_of_restic() {
        let id = FileId::of(b"abc");
        let paths = FileType::ALL.map(|kind| kind.path(&id));
        assert_eq!(
            paths,
            [
                "config".to_owned(),
                format!("keys/{id}"),
                format!("locks/{id}"),
                format!("snapshots/{id}"),
                format!("index/{id}"),
                format!("data/ba/{id}"),
            ]
        );
        assert_eq!(FileType::Pack.rest_path(&id), format!("data/{id}"));
        assert_eq!(FileType::Key.rest_path(&id), format!("keys/{id}"));
        assert_eq!(FileType::Config.rest_path(&id), "config");
        assert_eq!(FileType::Config.dir(), None);
    }

    #[test]
    fn only_names_of_restic_are_listed() {
        let id = FileId::of(b"abc");
        let name = id.to_string();
        assert_eq!(listed_id(&name), Some(id));
        for other in [
            "",
            "config",
            &name[1..],
            &format!("{name}-tmp"),
            &format!("{name}0"),
            &name.to_uppercase(),
        ] {
            assert_eq!(listed_id(other), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn foreign_names_never_panic(name in ".{0,70}", hex in "[0-9a-f]{64}") {
            prop_assert_eq!(listed_id(&name).map(|id| id.to_string()).unwrap_or(name.clone()), name);
            prop_assert_eq!(listed_id(&hex).unwrap().to_string(), hex);
        }
    }
}
