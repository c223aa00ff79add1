//! What the file system says of a file, as restic's nodes want it.

use std::{
    collections::HashMap,
    ffi::{CStr, CString},
    os::{fd::BorrowedFd, unix::ffi::OsStrExt},
    path::Path,
};

use nix::unistd::{Gid, Group, Uid, User};
use rustix::{fs, io::Errno};

use crate::{
    catalog,
    format::{ExtendedAttribute, FileMode, Node, NodeType, Timestamp},
};

/// An extended attribute's value is at most this long on Linux and iOS.
const XATTR_BYTES_MAX: usize = 64 << 10;

/// `st_mode` of a folder that only its owner may enter.
const DIR_PRIVATE_ST_MODE: u32 = 0o040_700;

/// A file's status and extended attributes.
#[derive(Debug, Clone)]
pub(crate) struct Metadata {
    pub(crate) mode: u32,
    uid: u32,
    gid: u32,
    device: u64,
    rdev: u64,
    links: u64,
    pub(crate) stat: catalog::Stat,
    pub(crate) xattrs: Vec<ExtendedAttribute>,
}

impl Metadata {
    // The widths of these fields differ between platforms; none of the casts loses anything that was there.
    #[allow(clippy::unnecessary_cast)]
    pub(crate) fn of(stat: &fs::Stat) -> Self {
        let time = |seconds: i64, nanos: i64| (seconds, u32::try_from(nanos).unwrap_or(0));
        Self {
            mode: stat.st_mode as u32,
            uid: stat.st_uid,
            gid: stat.st_gid,
            device: stat.st_dev as u64,
            rdev: stat.st_rdev as u64,
            links: stat.st_nlink as u64,
            stat: catalog::Stat {
                size: u64::try_from(stat.st_size).unwrap_or(0),
                mtime: time(stat.st_mtime as i64, stat.st_mtime_nsec as i64),
                ctime: time(stat.st_ctime as i64, stat.st_ctime_nsec as i64),
                inode: stat.st_ino as u64,
                log: None,
            },
            xattrs: Vec::new(),
        }
    }

    /// A folder that exists only in a snapshot, the owner's alone. Its times are those of 1970, so that it is the same each time.
    pub(crate) fn synthetic_dir() -> Self {
        let epoch = (0, 0);
        Self {
            mode: DIR_PRIVATE_ST_MODE,
            uid: rustix::process::getuid().as_raw(),
            gid: rustix::process::getgid().as_raw(),
            device: 0,
            rdev: 0,
            links: 0,
            stat: catalog::Stat {
                size: 0,
                mtime: epoch,
                ctime: epoch,
                inode: 0,
                log: None,
            },
            xattrs: Vec::new(),
        }
    }

    pub(crate) fn kind(&self) -> NodeType {
        FileMode::from_st_mode(self.mode)
            .node_type()
            .unwrap_or(NodeType::Other("irregular".into()))
    }

    /// A node without content, subtree or link target. Its size is that of the status, for files only.
    pub(crate) fn node(&self, name: &[u8], names: &mut Names) -> Node {
        let kind = self.kind();
        let has_links = matches!(
            kind,
            NodeType::File | NodeType::Symlink | NodeType::Dev | NodeType::CharDev
        );
        let is_device = matches!(kind, NodeType::Dev | NodeType::CharDev);
        let mtime = timestamp(self.stat.mtime);
        Node {
            size: if kind == NodeType::File { self.stat.size } else { 0 },
            mode: FileMode::from_st_mode(self.mode),
            mtime,
            // As restic without `--with-atime`: reading alone must not make a new tree.
            atime: mtime,
            ctime: timestamp(self.stat.ctime),
            uid: self.uid,
            gid: self.gid,
            user: names.user(self.uid),
            group: names.group(self.gid),
            inode: self.stat.inode,
            device_id: self.device,
            links: if has_links { self.links } else { 0 },
            device: if is_device { self.rdev } else { 0 },
            extended_attributes: self.xattrs.clone(),
            ..Node::new(name, kind)
        }
    }
}

fn timestamp((seconds, nanos): (i64, u32)) -> Timestamp {
    Timestamp::new(seconds, nanos).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Names of users and groups, asked for once each.
#[derive(Debug, Default)]
pub(crate) struct Names {
    users: HashMap<u32, String>,
    groups: HashMap<u32, String>,
}

impl Names {
    fn user(&mut self, uid: u32) -> String {
        let find = || {
            User::from_uid(Uid::from_raw(uid))
                .ok()
                .flatten()
                .map(|user| user.name)
        };
        self.users
            .entry(uid)
            .or_insert_with(|| find().unwrap_or_default())
            .clone()
    }

    fn group(&mut self, gid: u32) -> String {
        let find = || {
            Group::from_gid(Gid::from_raw(gid))
                .ok()
                .flatten()
                .map(|group| group.name)
        };
        self.groups
            .entry(gid)
            .or_insert_with(|| find().unwrap_or_default())
            .clone()
    }
}

/// Extended attributes of an open file, in the order the system lists them. A file system without them has none.
pub(crate) fn xattrs_of_fd(fd: BorrowedFd<'_>) -> Vec<ExtendedAttribute> {
    read_xattrs(
        |buffer| fs::flistxattr(fd, buffer),
        |name, buffer| fs::fgetxattr(fd, name, buffer),
    )
}

/// The same for what cannot be opened, such as a symbolic link itself.
pub(crate) fn xattrs_of_path(path: &Path) -> Vec<ExtendedAttribute> {
    let Ok(path) = CString::new(path.as_os_str().as_bytes()) else {
        return Vec::new();
    };
    read_xattrs(
        |buffer| fs::llistxattr(&*path, buffer),
        |name, buffer| fs::lgetxattr(&*path, name, buffer),
    )
}

fn read_xattrs(
    list: impl Fn(&mut [u8]) -> Result<usize, Errno>,
    get: impl Fn(&CStr, &mut [u8]) -> Result<usize, Errno>,
) -> Vec<ExtendedAttribute> {
    // Nearly every file has none, or few short ones.
    let mut names = vec![0; 256];
    let length = match list(&mut names) {
        Ok(0) => return Vec::new(),
        Err(Errno::RANGE) => {
            names.resize(XATTR_BYTES_MAX, 0);
            list(&mut names)
        }
        other => other,
    };
    let Ok(length) = length else { return Vec::new() };
    let mut value = vec![0; XATTR_BYTES_MAX];
    let mut found = Vec::new();
    for name in names[..length].split_inclusive(|&byte| byte == 0) {
        let Ok(name) = CStr::from_bytes_with_nul(name) else {
            continue;
        };
        // One that vanished or may not be read is left out, as restic does.
        if let Ok(length) = get(name, &mut value) {
            let name = String::from_utf8_lossy(name.to_bytes()).into_owned();
            found.push(ExtendedAttribute {
                name,
                value: value[..length].to_vec(),
            });
        }
    }
    found
}
