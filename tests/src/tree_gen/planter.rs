//! Makes single files, links and nodes below one root, and gives everything its metadata at the end.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File, Permissions},
    io::{ErrorKind, Seek, SeekFrom, Write},
    os::unix::{
        ffi::OsStrExt,
        fs::{PermissionsExt, lchown, symlink},
    },
    path::{Path, PathBuf},
};

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags, lsetxattr, mknodat, utimensat,
};

use crate::Rng;

/// Times that a program may get wrong: before 1970, far away, at the edges of a second.
const ODD_TIMES: [(i64, i64); 7] = [
    (0, 0),
    (0, 1),
    (-1, 999_999_999),
    (-1_000_000_000, 123_456_789),
    // 1935, and the year 2100.
    (-1_100_000_000, 1),
    (4_102_444_800, 999_999_999),
    (1_700_000_000, 0),
];

/// Plants below one root. Every method panics when the file system refuses, with the path.
pub struct Planter {
    root: PathBuf,
    pub rng: Rng,
    /// Whether this process may give files away, and read what nobody may read.
    pub is_root: bool,
}

impl Planter {
    /// Makes the root folder.
    pub fn new(root: &Path, seed: u64) -> Self {
        fs::create_dir_all(root).unwrap_or_else(|error| panic!("{root:?}: {error}"));
        Self {
            root: root.to_owned(),
            rng: Rng::new(seed),
            is_root: rustix::process::geteuid().is_root(),
        }
    }

    pub fn path(&self, name: impl AsRef<OsStr>) -> PathBuf {
        self.root.join(Path::new(name.as_ref()))
    }

    pub fn dir(&mut self, name: impl AsRef<OsStr>) {
        let path = self.path(name);
        fs::create_dir_all(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    }

    /// A file with a usual mode.
    pub fn file(&mut self, name: impl AsRef<OsStr>, content: &[u8]) {
        let mode = *self
            .rng
            .pick(&[0o644, 0o644, 0o644, 0o600, 0o640, 0o755, 0o444, 0o400]);
        let path = self.path(name);
        fs::write(&path, content).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        set_mode(&path, mode);
    }

    pub fn mode(&mut self, name: impl AsRef<OsStr>, mode: u32) {
        set_mode(&self.path(name), mode);
    }

    /// A file of `len` bytes that holds `parts`, each at its offset, and holes elsewhere.
    pub fn sparse(&mut self, name: impl AsRef<OsStr>, len: u64, parts: &[(u64, &[u8])]) {
        let path = self.path(name);
        let write = || -> std::io::Result<()> {
            let mut file = File::create(&path)?;
            for (offset, bytes) in parts {
                file.seek(SeekFrom::Start(*offset))?;
                file.write_all(bytes)?;
            }
            file.set_len(len)
        };
        write().unwrap_or_else(|error| panic!("{path:?}: {error}"));
    }

    pub fn symlink(&mut self, name: impl AsRef<OsStr>, target: impl AsRef<OsStr>) {
        let path = self.path(name);
        symlink(Path::new(target.as_ref()), &path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    }

    pub fn hard_link(&mut self, existing: impl AsRef<OsStr>, name: impl AsRef<OsStr>) {
        let path = self.path(name);
        fs::hard_link(self.path(existing), &path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    }

    pub fn fifo(&mut self, name: impl AsRef<OsStr>) {
        self.node(name, FileType::Fifo, 0);
    }

    pub fn socket(&mut self, name: impl AsRef<OsStr>) {
        self.node(name, FileType::Socket, 0);
    }

    /// A device file, where this process may make one: containers often forbid it to root, too.
    pub fn device(&mut self, name: impl AsRef<OsStr>, kind: FileType, major: u32, minor: u32) {
        let path = self.path(&name);
        match mknodat(
            CWD,
            &path,
            kind,
            Mode::from_raw_mode(0o640),
            rustix::fs::makedev(major, minor),
        ) {
            Ok(()) | Err(rustix::io::Errno::PERM) => {}
            Err(error) => panic!("{path:?}: {error}"),
        }
    }

    fn node(&mut self, name: impl AsRef<OsStr>, kind: FileType, device: u64) {
        let path = self.path(name);
        let made = mknodat(CWD, &path, kind, Mode::from_raw_mode(0o640), device);
        made.unwrap_or_else(|error| panic!("{path:?}: {error}"));
    }

    /// Gives a file away. Changing the owner clears setuid and setgid, so set the mode after it.
    pub fn owner(&mut self, name: impl AsRef<OsStr>, uid: u32, gid: u32) {
        let path = self.path(name);
        match lchown(&path, Some(uid), Some(gid)) {
            Ok(()) => {}
            // In a user namespace most owners do not exist.
            Err(error) if error.kind() == ErrorKind::InvalidInput => {}
            Err(error) => panic!("{path:?}: {error}"),
        }
    }

    /// An extended attribute, where the file system has them.
    pub fn xattr(&mut self, name: impl AsRef<OsStr>, key: &str, value: &[u8]) {
        let path = self.path(name);
        match lsetxattr(&path, key, value, XattrFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::OPNOTSUPP) => {}
            Err(error) => panic!("{path:?} {key}: {error}"),
        }
    }

    /// Gives every entry its modification time, folders after what is in them. To be called once, last.
    pub fn finish(mut self) {
        let mut folders = vec![self.root.clone()];
        let mut entries = vec![self.root.clone()];
        while let Some(folder) = folders.pop() {
            for name in sorted_names(&folder) {
                let path = folder.join(name);
                if fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_dir()) {
                    folders.push(path.clone());
                }
                entries.push(path);
            }
        }
        // Parents come before their children in the list. Setting a time needs ownership, not permission bits.
        for path in entries.iter().rev() {
            let time = self.some_time();
            set_mtime(path, time);
        }
    }

    fn some_time(&mut self) -> (i64, i64) {
        if self.rng.chance(10) {
            return *self.rng.pick(&ODD_TIMES);
        }
        let day = i64::try_from(self.rng.below(9_000)).expect("small") * 86_400;
        let nanos = i64::try_from(self.rng.below(1_000_000_000)).expect("small");
        (946_684_800 + day + nanos % 86_400, nanos)
    }
}

/// The order of a directory listing differs from file system to file system; the same seed must not.
pub fn sorted_names(folder: &Path) -> Vec<OsString> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let mut names: Vec<OsString> = entries
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    names.sort_by(|a, b| a.as_bytes().cmp(b.as_bytes()));
    names
}

pub fn set_mode(path: &Path, mode: u32) {
    let set = fs::set_permissions(path, Permissions::from_mode(mode));
    set.unwrap_or_else(|error| panic!("{path:?}: {error}"));
}

/// Seconds since 1970 and nanoseconds above them; of the link itself when it is one.
pub fn set_mtime(path: &Path, (tv_sec, tv_nsec): (i64, i64)) {
    let time = Timespec { tv_sec, tv_nsec };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    let set = utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW);
    set.unwrap_or_else(|error| panic!("{path:?}: {error}"));
}
