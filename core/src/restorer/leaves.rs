//! What has no content of its own: symbolic links, pipes, devices, and further names of a file.

use std::{
    cell::Cell,
    ffi::{OsStr, OsString},
    os::{fd::BorrowedFd, unix::ffi::OsStrExt},
    sync::Arc,
};

use rustix::{
    fs::{AtFlags, linkat, symlinkat},
    io::Errno,
};

use super::{attributes, content::FileWork, folder::Folder, run::in_snapshot, stage::Stager, staging::Made};
use crate::{
    error::Result,
    format::{ID_BYTES, Node, NodeType, sha256},
};

/// Inode and device: what restic knows the names of one file by. Files of the same pair but another content
/// are not one.
pub(super) type LinkKey = (u64, u64);

/// The first name of a file that has several.
pub(super) struct Linked {
    folder: Arc<Folder>,
    name: OsString,
    content: [u8; ID_BYTES],
}

/// A further name.
pub(super) struct LinkWork {
    file: FileWork,
    key: LinkKey,
}

impl Stager<'_> {
    /// Takes a file that is a further name of an earlier one; gives others back.
    pub(super) fn as_link(&mut self, file: FileWork) -> Result<Option<FileWork>> {
        if file.node.links < 2 {
            return Ok(Some(file));
        }
        let key = (file.node.inode, file.node.device_id);
        let content = content_hash(&file.node);
        match self.linked.get(&key) {
            Some(first) if first.content == content => {
                self.links.push(LinkWork { file, key });
                Ok(None)
            }
            Some(_) => Ok(Some(file)),
            None => {
                let (folder, name) = (file.folder.clone(), file.name.clone());
                self.linked.insert(
                    key,
                    Linked {
                        folder,
                        name,
                        content,
                    },
                );
                Ok(Some(file))
            }
        }
    }

    /// Makes the names whose files are in place. Where the system does not allow that, each is to become a
    /// file of its own.
    pub(super) fn make_links(&mut self) -> Result<()> {
        for LinkWork { file, key } in std::mem::take(&mut self.links) {
            let Some(first) = self.linked.get(&key) else {
                continue;
            };
            let (first_folder, first_name) = (first.folder.clone(), first.name.clone());
            // A descriptor of its own: the other folder is opened next.
            let from = self.dir(&first_folder)?.try_clone_to_owned();
            let from = from.map_err(|error| self.io_error("opening", &first_folder, &first_name, error))?;
            let refused = Cell::new(false);
            let made = self.make(&file.folder, &file.name, file.made, |dir| {
                let result = linkat(&from, &first_name, dir, &file.name, AtFlags::empty());
                refused.set(result.is_err_and(is_refusal));
                result
            });
            match made {
                Ok(Made::Now) => self.file_done(file.node.size),
                Ok(Made::Before) => {
                    return Err(self.io_error("creating", &file.folder, &file.name, Errno::ISDIR));
                }
                Err(_) if refused.get() => {
                    let reason = "a file of its own: its other names could not be linked to it".to_owned();
                    self.tally
                        .warn(&in_snapshot(file.folder.path().join(&file.name)), reason);
                    self.unlinked.push(file);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    pub(super) fn leaf(&mut self, node: &Node, name: &OsStr, folder: &Arc<Folder>, made: Made) -> Result<()> {
        let path = || in_snapshot(folder.path().join(name));
        let refused = Cell::new(false);
        let result = self.make(folder, name, made, |dir| {
            if node.node_type == NodeType::Symlink {
                return symlinkat(OsStr::from_bytes(&node.link_target), dir, name);
            }
            let result = make_special(dir, name, node);
            refused.set(result.is_err_and(is_refusal));
            result
        });
        match result {
            Ok(Made::Now) => {}
            Ok(Made::Before) => return Err(self.io_error("creating", folder, name, Errno::ISDIR)),
            Err(error) if refused.get() => {
                self.tally.warn(&path(), format!("it was not restored: {error}"));
                return Ok(());
            }
            Err(error) => return Err(error),
        }
        let mut reasons = Vec::new();
        attributes::set_at(self.dir(folder)?, name, node, &mut |reason| reasons.push(reason));
        for reason in reasons {
            self.tally.warn(&path(), reason);
        }
        self.staged.others += 1;
        Ok(())
    }
}

/// The size of a file and its blobs in their order, in 32 bytes.
fn content_hash(node: &Node) -> [u8; ID_BYTES] {
    let mut ids: Vec<u8> = node
        .content
        .iter()
        .flatten()
        .flat_map(|id| *id.as_bytes())
        .collect();
    ids.extend_from_slice(&node.size.to_le_bytes());
    sha256(&ids)
}

/// Whether the system, or this file system, does not do such a thing, or not for us.
fn is_refusal(error: Errno) -> bool {
    matches!(
        error,
        Errno::PERM | Errno::ACCESS | Errno::NOTSUP | Errno::NOSYS | Errno::MLINK | Errno::INVAL
    )
}

/// A pipe or a device.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn make_special(dir: BorrowedFd<'_>, name: &OsStr, node: &Node) -> Result<(), Errno> {
    use rustix::fs::{FileType, Mode, mknodat};
    let (kind, device) = match node.node_type {
        NodeType::Dev => (FileType::BlockDevice, node.device),
        NodeType::CharDev => (FileType::CharacterDevice, node.device),
        _ => (FileType::Fifo, 0),
    };
    mknodat(dir, name, kind, Mode::RUSR | Mode::WUSR, device)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn make_special(_: BorrowedFd<'_>, _: &OsStr, _: &Node) -> Result<(), Errno> {
    Err(Errno::NOTSUP)
}
