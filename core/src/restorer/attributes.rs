//! Owner, permissions, times and extended attributes. What cannot be set is a warning: the content is right
//! without it.

use std::{ffi::OsStr, os::fd::BorrowedFd};

use rustix::{
    fs::{
        AtFlags, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags, chmodat, chownat, fchmod, fchown,
        fgetxattr, fsetxattr, futimens, utimensat,
    },
    io::Errno,
};

use crate::format::{Node, NodeType};

/// Sets what a node says of a file or folder that is open. `warn` gets a reason for each thing that could not
/// be set.
///
/// The order matters: changing the owner clears setuid and capabilities, an attribute may need the owner's
/// right to write, and both touch no time that is set last.
pub(super) fn set(fd: BorrowedFd<'_>, node: &Node, warn: &mut dyn FnMut(String)) {
    if may_give_away() {
        tell(
            warn,
            "the owner",
            fchown(fd, Some(Uid::from_raw(node.uid)), Some(Gid::from_raw(node.gid))),
        );
    }
    for attribute in &node.extended_attributes {
        let result = fsetxattr(fd, &*attribute.name, &attribute.value, XattrFlags::empty());
        // Labels of a security module may not be set, and are often right already.
        if result.is_err() && !has_xattr(fd, &attribute.name, &attribute.value) {
            tell_xattr(warn, &attribute.name, result);
        }
    }
    tell(warn, "the permissions", fchmod(fd, mode(node)));
    tell(warn, "the times", futimens(fd, &times(node)));
}

/// The same for what cannot be opened: a link, a pipe, a device.
pub(super) fn set_at(dir: BorrowedFd<'_>, name: &OsStr, node: &Node, warn: &mut dyn FnMut(String)) {
    if may_give_away() {
        let (uid, gid) = (Uid::from_raw(node.uid), Gid::from_raw(node.gid));
        tell(
            warn,
            "the owner",
            chownat(dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW),
        );
    }
    for attribute in &node.extended_attributes {
        let result = set_xattr_at(dir, name, &attribute.name, &attribute.value);
        tell_xattr(warn, &attribute.name, result);
    }
    // The permissions of a link mean nothing, and `chmod` would follow it.
    if node.node_type != NodeType::Symlink {
        tell(
            warn,
            "the permissions",
            chmodat(dir, name, mode(node), AtFlags::empty()),
        );
    }
    tell(
        warn,
        "the times",
        utimensat(dir, name, &times(node), AtFlags::SYMLINK_NOFOLLOW),
    );
}

fn has_xattr(fd: BorrowedFd<'_>, name: &str, value: &[u8]) -> bool {
    let mut found = vec![0; value.len() + 1];
    fgetxattr(fd, name, &mut found).is_ok_and(|length| &found[..length] == value)
}

/// Only root may give files away; everyone else restores what is then theirs.
fn may_give_away() -> bool {
    rustix::process::geteuid().is_root()
}

/// There is no call for an attribute of a name in an open folder, but a path through its descriptor.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn set_xattr_at(dir: BorrowedFd<'_>, name: &OsStr, attribute: &str, value: &[u8]) -> Result<(), Errno> {
    use std::os::fd::AsRawFd;

    let mut path = std::path::PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd()));
    path.push(name);
    rustix::fs::lsetxattr(&path, attribute, value, XattrFlags::empty())
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn set_xattr_at(_: BorrowedFd<'_>, _: &OsStr, _: &str, _: &[u8]) -> Result<(), Errno> {
    Err(Errno::NOTSUP)
}

fn mode(node: &Node) -> Mode {
    // `mode_t` has 16 bits on some systems; these are 12.
    Mode::from_bits_truncate(node.mode.chmod_bits() as _)
}

#[allow(
    clippy::useless_conversion,
    reason = "the width of nanoseconds differs between platforms"
)]
fn times(node: &Node) -> Timestamps {
    let time = |time: crate::format::Timestamp| Timespec {
        tv_sec: time.seconds(),
        tv_nsec: time.nanos().into(),
    };
    Timestamps {
        last_access: time(node.atime),
        last_modification: time(node.mtime),
    }
}

fn tell(warn: &mut dyn FnMut(String), what: &str, result: Result<(), Errno>) {
    if let Err(error) = result {
        warn(format!(
            "{what} could not be set: {}",
            std::io::Error::from(error)
        ));
    }
}

fn tell_xattr(warn: &mut dyn FnMut(String), name: &str, result: Result<(), Errno>) {
    tell(warn, &format!("the attribute {name}"), result);
}
