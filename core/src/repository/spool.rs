//! The spool: sealed packs on the phone's disk that the vault has not confirmed. It is bounded, and leaves the app its reserve of the disk.
//!
//! A pack is written under a temporary name, made durable, and renamed to its id; then the catalog is told. A kill between the two leaves a
//! pack that the next start finds, checks and tells the catalog of.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use crate::{
    catalog::SealedPack,
    error::{Error, Place, Result},
    format::{HeaderRead, MasterKey, PackEntry, PackHeaderReader, PackId, listed_id},
    limits,
};

const TEMPORARY_PREFIX: &str = "tmp-";

#[derive(Debug, Clone)]
pub(crate) struct Spool {
    dir: PathBuf,
}

impl Spool {
    pub(crate) fn open(dir: PathBuf) -> Result<Self> {
        fs::create_dir_all(&dir).map_err(|error| Error::io(Place::State, "creating", &dir, error))?;
        Ok(Self { dir })
    }

    /// Whether the disk has less room than what is kept free for the app, even if `of_spool` bytes were gone from the spool.
    pub(crate) fn is_disk_full(&self, of_spool: u64) -> Result<bool> {
        let stat = rustix::fs::statvfs(&self.dir)
            .map_err(|error| Error::io(Place::State, "looking at", &self.dir, error.into()))?;
        let share = stat.f_blocks.saturating_mul(stat.f_frsize) / limits::DISK_RESERVE_SHARE;
        let free = stat
            .f_bavail
            .saturating_mul(stat.f_frsize)
            .saturating_add(of_spool);
        Ok(free < share.min(limits::DISK_RESERVE_BYTES))
    }

    pub(crate) fn path(&self, id: &PackId) -> PathBuf {
        self.dir.join(id.to_string())
    }

    /// A name for a pack that is being written; `kind` keeps two open packs apart.
    pub(crate) fn temporary(&self, kind: &str) -> PathBuf {
        self.dir.join(format!("{TEMPORARY_PREFIX}{kind}"))
    }

    /// Gives a written and synced file its name, durably.
    pub(crate) fn publish(&self, temporary: &Path, id: &PackId) -> Result<()> {
        let path = self.path(id);
        fs::rename(temporary, &path)
            .and_then(|()| File::open(&self.dir)?.sync_all())
            .map_err(|error| Error::io(Place::State, "writing", &path, error))
    }

    /// Removes a pack that the vault has confirmed. One that stays behind is removed at the next start.
    pub(crate) fn remove(&self, id: &PackId) {
        let _ = fs::remove_file(self.path(id));
    }

    /// The packs that are here, after removing what was never finished.
    pub(crate) fn list(&self) -> Result<Vec<PackId>> {
        let failed = |error| Error::io(Place::State, "listing", &self.dir, error);
        let mut packs = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            match entry.file_name().to_str().and_then(listed_id) {
                Some(id) => packs.push(id.into()),
                None => {
                    let _ = fs::remove_file(entry.path());
                }
            }
        }
        Ok(packs)
    }

    /// Reads a pack whole and checks it: its hash, and its directory. `None` where it is not what its name says.
    pub(crate) fn inspect(&self, id: &PackId, key: &MasterKey) -> Result<Option<SealedPack>> {
        let path = self.path(id);
        inspect(&path, id, key).map_err(|error| Error::io(Place::State, "reading", &path, error))
    }
}

fn inspect(path: &Path, id: &PackId, key: &MasterKey) -> io::Result<Option<SealedPack>> {
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            n => hasher.update(&buffer[..n]),
        }
    }
    if hasher.finalize().as_slice() != id.as_bytes() {
        return Ok(None);
    }
    let entries = read_header(size, key, |start, length| {
        file.seek(SeekFrom::Start(start))?;
        let mut tail = vec![0; length];
        file.read_exact(&mut tail)?;
        Ok(tail)
    })?;
    Ok(entries.map(|entries| SealedPack {
        id: *id,
        size,
        entries,
    }))
}

/// Reads a pack's directory through `read(start, length)`. `None` where there is none that could be understood.
fn read_header(
    size: u64,
    key: &MasterKey,
    mut read: impl FnMut(u64, usize) -> io::Result<Vec<u8>>,
) -> io::Result<Option<Vec<PackEntry>>> {
    let Ok(reader) = PackHeaderReader::new(size) else {
        return Ok(None);
    };
    let mut length = reader.first_tail();
    // Once for the length of the directory, once more where it is a long one.
    for _ in 0..2 {
        let tail = read(size - length as u64, length)?;
        match reader.read(key, &tail) {
            Ok(HeaderRead::Entries(entries)) => return Ok(Some(entries)),
            Ok(HeaderRead::NeedsTail(needed)) => length = needed,
            Err(_) => return Ok(None),
        }
    }
    Ok(None)
}
