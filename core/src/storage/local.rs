//! A vault in a folder: temporary file, fsync, rename, fsync of the folder, as restic does it.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Read, Seek, SeekFrom, Write},
    ops::Range,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use async_trait::async_trait;

use super::{Body, Storage, file_name, not_found};
use crate::{
    error::{Error, Kind, Place, Result},
    format::{FileId, FileType, listed_id},
};

/// Files and folders of a vault are their owner's only.
const DIR_MODE: u32 = 0o700;
const FILE_MODE_WRITING: u32 = 0o600;
/// Stored files never change.
const FILE_MODE: u32 = 0o400;

#[derive(Debug, Clone)]
pub struct LocalStorage {
    root: PathBuf,
}

impl LocalStorage {
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// Where the files of a kind are listed. The config is beside the folders.
    fn dir(&self, kind: FileType) -> PathBuf {
        kind.dir()
            .map_or_else(|| self.root.clone(), |dir| self.root.join(dir))
    }

    fn path(&self, kind: FileType, id: &FileId) -> PathBuf {
        self.root.join(kind.path(id))
    }

    fn error(&self, what: &str, path: &Path, error: io::Error) -> Error {
        // A missing folder above the file means that the vault itself went away: a card, a share, a mount.
        if error.kind() == io::ErrorKind::NotFound && !self.root.is_dir() {
            let hint = "the vault's folder is not there; mount or create it, then do the same again";
            return Error::with_source(
                Kind::Unreachable,
                format!("{}: {hint}", self.root.display()),
                error,
            );
        }
        Error::io(Place::Vault, what, path, error)
    }

    /// Runs blocking file work on a thread that may block.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let this = self.clone();
        let done = tokio::task::spawn_blocking(move || work(&this)).await;
        done.unwrap_or_else(|error| {
            Err(if error.is_panic() {
                Error::bug("a file operation panicked")
            } else {
                Error::stopped()
            })
        })
    }

    fn list_dir(&self, dir: &Path, found: &mut Vec<(FileId, u64)>) -> Result<()> {
        let entries = match fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.root.is_dir() => return Ok(()),
            Err(error) => return Err(self.error("listing", dir, error)),
        };
        for entry in entries {
            let entry = entry.map_err(|error| self.error("listing", dir, error))?;
            let Some(id) = entry.file_name().to_str().and_then(listed_id) else {
                continue;
            };
            match entry.metadata() {
                Ok(metadata) if metadata.is_file() => found.push((id, metadata.len())),
                Ok(_) => {}
                // Deleted by another client since the folder was read.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(self.error("looking at", &entry.path(), error)),
            }
        }
        Ok(())
    }

    fn list_now(&self, kind: FileType) -> Result<Vec<(FileId, u64)>> {
        let mut found = Vec::new();
        let dir = self.dir(kind);
        if kind != FileType::Pack {
            self.list_dir(&dir, &mut found)?;
            return Ok(found);
        }
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.root.is_dir() => return Ok(found),
            Err(error) => return Err(self.error("listing", &dir, error)),
        };
        for entry in entries {
            let entry = entry.map_err(|error| self.error("listing", &dir, error))?;
            let name = entry.file_name();
            if name.len() == 2 && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                self.list_dir(&entry.path(), &mut found)?;
            }
        }
        Ok(found)
    }

    fn open(&self, kind: FileType, id: &FileId) -> Result<(File, u64, PathBuf)> {
        let path = self.path(kind, id);
        let opened = File::open(&path).and_then(|file| file.metadata().map(|meta| (file, meta.len())));
        match opened {
            Ok((file, size)) => Ok((file, size, path)),
            // Without its folder there is no repository either; a vault that was open and went away is another matter.
            Err(error)
                if error.kind() == io::ErrorKind::NotFound
                    && (self.root.is_dir() || kind == FileType::Config) =>
            {
                Err(not_found(kind, id))
            }
            Err(error) => Err(self.error("reading", &path, error)),
        }
    }

    fn get_now(&self, kind: FileType, id: &FileId, limit: u64) -> Result<Vec<u8>> {
        let (file, size, path) = self.open(kind, id)?;
        if size > limit {
            let text = format!(
                "{} has {size} bytes, more than the {limit} allowed",
                file_name(kind, id)
            );
            return Err(Error::new(Kind::Damaged, text));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
        // One byte more than the limit tells a file that grows meanwhile.
        file.take(limit + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| self.error("reading", &path, error))?;
        Ok(bytes)
    }

    fn get_range_now(
        &self,
        kind: FileType,
        id: &FileId,
        range: Range<u64>,
        mut bytes: Vec<u8>,
    ) -> Result<Vec<u8>> {
        let (mut file, size, path) = self.open(kind, id)?;
        if range.end > size || range.start > range.end {
            let text = format!(
                "{} has {size} bytes, and bytes {} to {} are needed",
                file_name(kind, id),
                range.start,
                range.end
            );
            return Err(Error::new(Kind::Damaged, text));
        }
        let length = usize::try_from(range.end - range.start)
            .map_err(|_| Error::new(Kind::InvalidInput, "a range larger than the address space"))?;
        bytes.clear();
        bytes.reserve(length);
        file.seek(SeekFrom::Start(range.start))
            .and_then(|_| file.take(length as u64).read_to_end(&mut bytes))
            .and_then(|read| {
                if read == length {
                    Ok(())
                } else {
                    Err(io::ErrorKind::UnexpectedEof.into())
                }
            })
            .map_err(|error| self.error("reading", &path, error))?;
        Ok(bytes)
    }

    /// Makes the folder of a file, which must not be lost with the file in it.
    fn make_dir(&self, dir: &Path) -> Result<()> {
        if dir.is_dir() {
            return Ok(());
        }
        let mut builder = fs::DirBuilder::new();
        let made = builder.recursive(true).mode(DIR_MODE).create(dir);
        let synced = made.and_then(|()| dir.parent().map_or(Ok(()), sync_dir));
        synced.map_err(|error| self.error("creating", dir, error))
    }

    fn put_now(&self, kind: FileType, id: &FileId, body: &Body) -> Result<()> {
        let path = self.path(kind, id);
        // The name is the hash of the content: what is there whole need not be written again.
        let there = fs::metadata(&path).is_ok_and(|meta| meta.len() == body.size());
        if there && kind != FileType::Config {
            return Ok(());
        }
        let dir = path.parent().unwrap_or(&self.root);
        if !self.root.is_dir() {
            let gone = io::Error::from(io::ErrorKind::NotFound);
            return Err(self.error("writing", &path, gone));
        }
        self.make_dir(dir)?;
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let temporary = dir.join(format!("{name}-tmp-{}", random_suffix()?));
        let written = write_durably(&temporary, &path, body).and_then(|()| sync_dir(dir));
        written.map_err(|error| {
            // Best effort: a name that is not an id is ignored by every client.
            let _ = fs::remove_file(&temporary);
            self.error("writing", &path, error)
        })
    }
}

fn random_suffix() -> Result<String> {
    let mut bytes = [0; 6];
    getrandom::fill(&mut bytes)
        .map_err(|error| Error::with_source(Kind::Io, "drawing random bytes", error))?;
    Ok(hex::encode(bytes))
}

fn write_durably(temporary: &Path, path: &Path, body: &Body) -> io::Result<()> {
    match body {
        Body::Bytes(bytes) => {
            let mut file = create(temporary)?;
            file.write_all(bytes)?;
            file.sync_all()?;
        }
        // On the same file system the spooled pack, already durable, becomes the stored one without being copied.
        Body::File { path: source, .. } if fs::hard_link(source, temporary).is_ok() => {}
        Body::File { path: source, size } => {
            let mut file = create(temporary)?;
            let copied = io::copy(&mut File::open(source)?, &mut file)?;
            if copied != *size {
                return Err(io::Error::other(format!("{copied} bytes read of {size}")));
            }
            file.sync_all()?;
        }
    }
    // Best effort: some file systems have no permissions.
    let _ = fs::set_permissions(temporary, Permissions::from_mode(FILE_MODE));
    fs::rename(temporary, path)?;
    // Renaming a link onto another name of the same file does nothing, and leaves the link.
    let _ = fs::remove_file(temporary);
    Ok(())
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(FILE_MODE_WRITING)
        .open(path)
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    match File::open(dir)?.sync_all() {
        // Some file systems cannot, and say so.
        Err(error)
            if error.kind() == io::ErrorKind::Unsupported || error.kind() == io::ErrorKind::InvalidInput =>
        {
            Ok(())
        }
        result => result,
    }
}

/// Whether a folder is on a file system of one machine, which has no two ideas of what is in it. Those that come over a network, and those in
/// user space, of which nobody knows, keep what they saw for a while.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn is_of_one_machine(path: &Path) -> bool {
    /// ext2 to ext4, XFS, Btrfs, F2FS, tmpfs: the numbers of <linux/magic.h>.
    const KINDS: [i64; 5] = [0xef53, 0x5846_5342, 0x9123_683e, 0xf2f5_2010, 0x0102_1994];
    // The type of the field is another on each architecture; none of these numbers is cut.
    #[allow(clippy::unnecessary_cast)]
    let kind = rustix::fs::statfs(path).map(|found| found.f_type as i64 & 0xffff_ffff);
    kind.is_ok_and(|kind| KINDS.contains(&kind))
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn is_of_one_machine(_: &Path) -> bool {
    false
}

#[async_trait]
impl Storage for LocalStorage {
    fn name(&self) -> String {
        self.root.display().to_string()
    }

    async fn create(&self) -> Result<()> {
        self.blocking(|this| {
            let mut builder = fs::DirBuilder::new();
            builder.recursive(true).mode(DIR_MODE);
            for kind in [
                FileType::Key,
                FileType::Lock,
                FileType::Snapshot,
                FileType::Index,
                FileType::Pack,
            ] {
                let dir = this.dir(kind);
                builder
                    .create(&dir)
                    .map_err(|error| Error::io(Place::Vault, "creating", &dir, error))?;
            }
            Ok(())
        })
        .await
    }

    async fn list(&self, kind: FileType) -> Result<Vec<(FileId, u64)>> {
        self.blocking(move |this| this.list_now(kind)).await
    }

    async fn size(&self, kind: FileType, id: &FileId) -> Result<Option<u64>> {
        let id = *id;
        self.blocking(move |this| {
            let path = this.path(kind, &id);
            match fs::metadata(&path) {
                Ok(meta) => Ok(Some(meta.len())),
                Err(error) if error.kind() == io::ErrorKind::NotFound && this.root.is_dir() => Ok(None),
                Err(error) => Err(this.error("looking at", &path, error)),
            }
        })
        .await
    }

    async fn get(&self, kind: FileType, id: &FileId, limit: u64) -> Result<Vec<u8>> {
        let id = *id;
        self.blocking(move |this| this.get_now(kind, &id, limit)).await
    }

    async fn get_range_into(
        &self,
        kind: FileType,
        id: &FileId,
        range: Range<u64>,
        buffer: Vec<u8>,
    ) -> Result<Vec<u8>> {
        let id = *id;
        self.blocking(move |this| this.get_range_now(kind, &id, range, buffer))
            .await
    }

    async fn put(&self, kind: FileType, id: &FileId, body: Body) -> Result<()> {
        let id = *id;
        self.blocking(move |this| this.put_now(kind, &id, &body)).await
    }

    async fn delete(&self, kind: FileType, id: &FileId) -> Result<()> {
        let id = *id;
        self.blocking(move |this| {
            let path = this.path(kind, &id);
            match fs::remove_file(&path) {
                Ok(()) => Ok(()),
                Err(error) if error.kind() == io::ErrorKind::NotFound && this.root.is_dir() => Ok(()),
                Err(error) => Err(this.error("deleting", &path, error)),
            }
        })
        .await
    }

    fn lists_at_once(&self) -> bool {
        is_of_one_machine(&self.root)
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn only_file_systems_that_are_known_show_at_once_what_is_put() {
        let dir = tempfile::tempdir().unwrap();
        // `stat` of coreutils knows the names of more file systems than we do.
        let said = std::process::Command::new("stat")
            .args(["--file-system", "--format=%T"])
            .arg(dir.path())
            .output()
            .unwrap();
        let kind = String::from_utf8(said.stdout).unwrap();
        let known = ["ext2/ext3", "xfs", "btrfs", "f2fs", "tmpfs"].contains(&kind.trim());
        let storage = |path: &Path| LocalStorage::new(path.to_owned());
        assert_eq!(storage(dir.path()).lists_at_once(), known, "{kind}");
        assert!(!storage(Path::new("/proc")).lists_at_once());
        assert!(!storage(&dir.path().join("away")).lists_at_once());
    }
}
