//! Kinds of nodes, and their mode bits as Go numbers them.

use std::fmt;

/// What a node is. restic trusts this, not the type bits of the mode.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum NodeType {
    File,
    Dir,
    Symlink,
    /// A block device.
    Dev,
    CharDev,
    Fifo,
    Socket,
    /// A word that is none of the above, or none at all: damage, or the future.
    Other(Box<str>),
}

impl NodeType {
    pub fn as_str(&self) -> &str {
        match self {
            Self::File => "file",
            Self::Dir => "dir",
            Self::Symlink => "symlink",
            Self::Dev => "dev",
            Self::CharDev => "chardev",
            Self::Fifo => "fifo",
            Self::Socket => "socket",
            Self::Other(word) => word,
        }
    }
}

impl From<&str> for NodeType {
    fn from(word: &str) -> Self {
        match word {
            "file" => Self::File,
            "dir" => Self::Dir,
            "symlink" => Self::Symlink,
            "dev" => Self::Dev,
            "chardev" => Self::CharDev,
            "fifo" => Self::Fifo,
            "socket" => Self::Socket,
            _ => Self::Other(word.into()),
        }
    }
}

impl fmt::Display for NodeType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Mode bits as Go's `fs.FileMode` numbers them: permissions as in `st_mode`, everything else differently.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct FileMode(pub u32);

const GO_DIR: u32 = 1 << 31;
const GO_SYMLINK: u32 = 1 << 27;
const GO_DEVICE: u32 = 1 << 26;
const GO_FIFO: u32 = 1 << 25;
const GO_SOCKET: u32 = 1 << 24;
const GO_SETUID: u32 = 1 << 23;
const GO_SETGID: u32 = 1 << 22;
const GO_CHAR_DEVICE: u32 = 1 << 21;
const GO_STICKY: u32 = 1 << 20;
const GO_IRREGULAR: u32 = 1 << 19;
const GO_TYPE: u32 = GO_DIR | GO_SYMLINK | GO_DEVICE | GO_FIFO | GO_SOCKET | GO_CHAR_DEVICE | GO_IRREGULAR;

const PERMISSIONS: u32 = 0o777;

/// Type bits of `st_mode`, which Linux, Android, macOS and iOS agree on, and what Go makes of them.
const ST_TYPE: u32 = 0o170_000;
static TYPES: [(u32, u32, NodeType); 7] = [
    (0o100_000, 0, NodeType::File),
    (0o040_000, GO_DIR, NodeType::Dir),
    (0o120_000, GO_SYMLINK, NodeType::Symlink),
    (0o060_000, GO_DEVICE, NodeType::Dev),
    (0o020_000, GO_DEVICE | GO_CHAR_DEVICE, NodeType::CharDev),
    (0o010_000, GO_FIFO, NodeType::Fifo),
    (0o140_000, GO_SOCKET, NodeType::Socket),
];

const SPECIAL: [(u32, u32); 3] = [(0o4_000, GO_SETUID), (0o2_000, GO_SETGID), (0o1_000, GO_STICKY)];

impl FileMode {
    /// From the `st_mode` of `stat`. Type bits of no known type become Go's "irregular".
    pub fn from_st_mode(st_mode: u32) -> Self {
        let kind = TYPES.iter().find(|(st, ..)| *st == st_mode & ST_TYPE);
        let mut mode = st_mode & PERMISSIONS | kind.map_or(GO_IRREGULAR, |(_, go, _)| *go);
        for (st, go) in SPECIAL {
            if st_mode & st != 0 {
                mode |= go;
            }
        }
        Self(mode)
    }

    /// The bits that `chmod` takes: permissions, setuid, setgid, sticky.
    pub fn chmod_bits(self) -> u32 {
        SPECIAL.iter().fold(self.0 & PERMISSIONS, |bits, (st, go)| {
            if self.0 & go == 0 { bits } else { bits | st }
        })
    }

    /// The `st_mode` that this came from; `None` if the type bits are of no type that `stat` reports.
    pub fn to_st_mode(self) -> Option<u32> {
        let (st, ..) = TYPES.iter().find(|(_, go, _)| *go == self.0 & GO_TYPE)?;
        Some(st | self.chmod_bits())
    }

    /// The type that the type bits say; `None` if they are of no type that restic stores.
    pub fn node_type(self) -> Option<NodeType> {
        let (.., kind) = TYPES.iter().find(|(_, go, _)| *go == self.0 & GO_TYPE)?;
        Some(kind.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_what_go_makes_of_them() {
        let examples = [
            (0o100_644, 420, NodeType::File),
            (0o040_755, 2_147_484_141, NodeType::Dir),
            (0o120_777, 134_218_239, NodeType::Symlink),
            (0o060_640, 67_109_280, NodeType::Dev),
            (0o020_644, 69_206_436, NodeType::CharDev),
            (0o010_644, 33_554_852, NodeType::Fifo),
            (0o140_755, 16_777_709, NodeType::Socket),
            (0o104_755, 8_389_101, NodeType::File),
            (0o041_777, 2_148_532_735, NodeType::Dir),
        ];
        for (st_mode, mode, kind) in examples {
            assert_eq!(FileMode::from_st_mode(st_mode), FileMode(mode), "{st_mode:o}");
            assert_eq!(FileMode(mode).to_st_mode(), Some(st_mode), "{st_mode:o}");
            assert_eq!(FileMode(mode).node_type(), Some(kind), "{st_mode:o}");
        }
    }

    #[test]
    fn every_mode_of_a_known_type_survives() {
        for st_mode in 0..=u32::from(u16::MAX) {
            let mode = FileMode::from_st_mode(st_mode);
            let known = TYPES.iter().any(|(st, ..)| *st == st_mode & ST_TYPE);
            assert_eq!(mode.to_st_mode(), known.then_some(st_mode), "{st_mode:o}");
            assert_eq!(mode.chmod_bits(), st_mode & 0o7_777, "{st_mode:o}");
        }
    }

    #[test]
    fn words_survive() {
        for word in [
            "file",
            "dir",
            "symlink",
            "dev",
            "chardev",
            "fifo",
            "socket",
            "irregular",
            "",
        ] {
            assert_eq!(NodeType::from(word).as_str(), word);
        }
    }
}
