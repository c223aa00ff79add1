//! Folders below a root, reached name by name through descriptors, following no link.

use std::{
    ffi::{OsStr, OsString},
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::PathBuf,
    sync::Arc,
};

use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, chmodat, openat, statat},
    io::Errno,
};

/// A folder as the way to it from the root. It is no path for system calls, which allow only some 4,000
/// bytes.
#[derive(Debug)]
pub(super) struct Folder {
    parent: Option<Arc<Folder>>,
    name: OsString,
}

impl Folder {
    pub(super) fn root() -> Arc<Self> {
        Arc::new(Self {
            parent: None,
            name: OsString::new(),
        })
    }

    pub(super) fn child(self: &Arc<Self>, name: &OsStr) -> Arc<Self> {
        Arc::new(Self {
            parent: Some(self.clone()),
            name: name.to_owned(),
        })
    }

    /// The folder that this is in, and its name there. `None` for the root.
    pub(super) fn split(&self) -> Option<(&Arc<Self>, &OsStr)> {
        self.parent.as_ref().map(|parent| (parent, &*self.name))
    }

    pub(super) fn is_root(&self) -> bool {
        self.parent.is_none()
    }

    /// Without a leading slash; empty for the root.
    pub(super) fn path(self: &Arc<Self>) -> PathBuf {
        self.way().iter().map(|folder| &folder.name).collect()
    }

    /// From below the root down to this.
    fn way(self: &Arc<Self>) -> Vec<Arc<Self>> {
        let mut way = Vec::new();
        let mut folder = self;
        while let Some(parent) = &folder.parent {
            way.push(folder.clone());
            folder = parent;
        }
        way.reverse();
        way
    }
}

/// Whether a folder of ours that lets nobody in may be opened for its owner to get in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Closed {
    Refuse,
    /// Only where the folder's permissions are set afterwards.
    MakeWritable,
}

/// Opens folders below a root, and keeps those on the way to the last one open: what comes next is mostly
/// close by.
pub(super) struct Descriptors {
    root: OwnedFd,
    open: Vec<(Arc<Folder>, OwnedFd)>,
    closed: Closed,
}

impl Descriptors {
    pub(super) fn new(root: OwnedFd, closed: Closed) -> Self {
        Self {
            root,
            open: Vec::new(),
            closed,
        }
    }

    pub(super) fn of(&mut self, folder: &Arc<Folder>) -> io::Result<BorrowedFd<'_>> {
        let is_last = self
            .open
            .last()
            .is_some_and(|(last, _)| Arc::ptr_eq(last, folder));
        if !is_last {
            let way = folder.way();
            let same = self
                .open
                .iter()
                .zip(&way)
                .take_while(|((open, _), wanted)| open.name == wanted.name);
            self.open.truncate(same.count());
            for next in &way[self.open.len()..] {
                let parent = self.open.last().map_or(self.root.as_fd(), |(_, fd)| fd.as_fd());
                let fd = open_dir(parent, &next.name, self.closed)?;
                self.open.push((next.clone(), fd));
            }
        }
        Ok(self.open.last().map_or(self.root.as_fd(), |(_, fd)| fd.as_fd()))
    }
}

/// Opens the folder `name`; a link to one is none.
pub(super) fn open_dir(parent: BorrowedFd<'_>, name: &OsStr, closed: Closed) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(parent, name, flags, Mode::empty()) {
        Err(Errno::ACCESS) if closed == Closed::MakeWritable => {
            let stat = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
                return Err(Errno::NOTDIR.into());
            }
            chmodat(parent, name, Mode::RWXU, AtFlags::empty())?;
            Ok(openat(parent, name, flags, Mode::empty())?)
        }
        opened => Ok(opened?),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn folders_are_reached_by_name_and_links_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        for path in ["a/b/c", "a/d", "e"] {
            fs::create_dir_all(dir.path().join(path)).unwrap();
        }
        std::os::unix::fs::symlink("a", dir.path().join("link")).unwrap();
        let mut descriptors = Descriptors::new(fs::File::open(dir.path()).unwrap().into(), Closed::Refuse);
        let inode = |fd: BorrowedFd<'_>| rustix::fs::fstat(fd).unwrap().st_ino;
        let root = Folder::root();
        let a = root.child("a".as_ref());
        let wanted = [
            a.child("b".as_ref()).child("c".as_ref()),
            a.child("d".as_ref()),
            a.clone(),
            root.clone(),
            root.child("a".as_ref()).child("b".as_ref()),
            root.child("e".as_ref()),
        ];
        for folder in wanted {
            use std::os::unix::fs::MetadataExt;
            let path = dir.path().join(folder.path());
            assert_eq!(
                inode(descriptors.of(&folder).unwrap()),
                fs::metadata(&path).unwrap().ino(),
                "{path:?}"
            );
        }
        let linked = root.child("link".as_ref()).child("b".as_ref());
        assert!(descriptors.of(&linked).is_err());
    }
}
