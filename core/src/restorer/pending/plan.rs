//! What will move: written before anything does, so that it can be undone when nothing else says what the target had.
//!
//! One record for each staged file, and for each staged folder that the target does not have, which moves as a whole; and one for each
//! folder of the target that files move into, with the metadata that it had. A record is a letter, the length of a path and the path; for
//! such a folder, its mode and the time of its last change follow.

use std::{
    ffi::OsStr,
    fs::File,
    io::{self, BufReader, BufWriter, Read, Write},
    os::{fd::AsFd, unix::ffi::OsStrExt},
    path::Path,
    sync::Arc,
};

use super::{
    super::{
        apply::{Found, Pair},
        companions::{Companions, is_database},
        folder::Folder,
        journal::way,
        staging::Staging,
    },
    state::Work,
};
use crate::{
    error::{Error, Kind, Place, Result},
    sqlite::pairs::database_of,
};

const PLAN: &str = "plan";
/// No path below a folder is longer: each of its names has 255 bytes at most, and folders are no deeper than `TREE_DEPTH_MAX`.
const PATH_BYTES_MAX: u32 = 256 * (crate::limits::TREE_DEPTH_MAX as u32 + 2);

/// What a record is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Move {
    /// A file that is no database, or a whole folder.
    Plain,
    /// With what SQLite keeps beside the old one.
    Database,
    /// A log that is restored beside its database, and follows it.
    Companion,
    /// Nothing moves: a folder as it was.
    Folder {
        mode: u32,
        changed_seconds: i64,
        changed_nanos: u32,
    },
}

/// Writes the plan, durably.
pub(super) fn write(work: &Work) -> Result<()> {
    let writing = "plan.part";
    let file = work.staging.create(writing)?;
    let mut out = BufWriter::new(file);
    if let Some(pair) = Pair::root(&work.target, &work.staging)? {
        plan_pair(&work.target.path, &pair, &mut out)?;
    }
    let written = out.flush().and_then(|()| out.get_ref().sync_all());
    written.map_err(|error| failed(&work.staging, "writing", error))?;
    work.staging.rename(writing, PLAN)
}

#[allow(
    clippy::useless_conversion,
    reason = "the width of a mode differs between platforms"
)]
fn plan_pair(root: &Path, pair: &Pair, out: &mut BufWriter<File>) -> Result<()> {
    let listing = |error| pair.error("listing", OsStr::new(""), error);
    let companions = Companions::in_folder(pair.target.as_fd()).map_err(listing)?;
    let stat =
        rustix::fs::fstat(&pair.target).map_err(|error| pair.error("looking at", OsStr::new(""), error))?;
    let folder = Move::Folder {
        mode: u32::from(stat.st_mode),
        changed_seconds: stat.st_mtime,
        changed_nanos: u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
    };
    write_record(root, pair, OsStr::new(""), folder, out)?;
    let mut entries = pair.entries()?;
    // A log of its own follows its database.
    entries.sort_by_key(|(name, _)| database_of(name.as_bytes()).is_some());
    let mut databases = Vec::new();
    for (name, is_folder) in entries {
        if is_folder && pair.found(&name)? == Found::Folder {
            plan_pair(root, &pair.below(&name)?, out)?;
            continue;
        }
        let of_this = companions.of(&name, pair.staged.as_fd(), pair.target.as_fd());
        let has_companions = !of_this
            .map_err(|error| pair.error("looking at", &name, error))?
            .is_empty();
        let staged = is_database(pair.staged.as_fd(), &name)
            .map_err(|error| pair.error("looking at", &name, error))?;
        let follows =
            database_of(name.as_bytes()).is_some_and(|base| databases.iter().any(|name| *name == base));
        let what = match () {
            () if is_folder => Move::Plain,
            () if follows => Move::Companion,
            () if staged || has_companions => Move::Database,
            () => Move::Plain,
        };
        if what == Move::Database {
            databases.push(name.as_bytes().to_vec());
        }
        write_record(root, pair, &name, what, out)?;
    }
    Ok(())
}

fn write_record(root: &Path, pair: &Pair, name: &OsStr, what: Move, out: &mut BufWriter<File>) -> Result<()> {
    let path = pair.path.strip_prefix(root).unwrap_or(&pair.path).join(name);
    // Joining nothing leaves a slash at the end.
    let path: std::path::PathBuf = path.components().collect();
    encode(path.as_os_str().as_bytes(), what, out)
        .map_err(|error| pair.error("planning to replace", name, error))
}

fn encode(path: &[u8], what: Move, out: &mut impl Write) -> io::Result<()> {
    let letter = match what {
        Move::Plain => b'f',
        Move::Database => b'd',
        Move::Companion => b'c',
        Move::Folder { .. } => b'o',
    };
    let length = u32::try_from(path.len()).map_err(io::Error::other)?;
    out.write_all(&[letter])?;
    out.write_all(&length.to_le_bytes())?;
    out.write_all(path)?;
    if let Move::Folder {
        mode,
        changed_seconds,
        changed_nanos,
    } = what
    {
        out.write_all(&mode.to_le_bytes())?;
        out.write_all(&changed_seconds.to_le_bytes())?;
        out.write_all(&changed_nanos.to_le_bytes())?;
    }
    Ok(())
}

/// A plan, read record by record.
pub(super) struct Plan<'a> {
    staging: &'a Staging,
    file: BufReader<File>,
}

impl<'a> Plan<'a> {
    pub(super) fn open(staging: &'a Staging) -> Result<Self> {
        let missing = || failed(staging, "reading", io::ErrorKind::NotFound.into());
        let file = BufReader::new(staging.file(PLAN)?.ok_or_else(missing)?);
        Ok(Self { staging, file })
    }

    /// The next record: the way to what moves, in the target as in what is staged.
    pub(super) fn next(&mut self) -> Result<Option<(Arc<Folder>, Move)>> {
        let record = self.decode();
        let record = record.map_err(|error| failed(self.staging, "reading", error))?;
        let Some((path, what)) = record else {
            return Ok(None);
        };
        if path.is_empty() {
            return Ok(Some((Folder::root(), what)));
        }
        let way = way(&path).ok_or_else(|| {
            let text = format!("{}: the plan was changed", self.staging.path().display());
            Error::new(Kind::Damaged, text)
        })?;
        Ok(Some((way, what)))
    }

    fn decode(&mut self) -> io::Result<Option<(Vec<u8>, Move)>> {
        let mut letter = [0];
        if self.file.read(&mut letter)? == 0 {
            return Ok(None);
        }
        let length = u32::from_le_bytes(self.bytes()?);
        if length > PATH_BYTES_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut path = vec![0; length as usize];
        self.file.read_exact(&mut path)?;
        let what = match letter[0] {
            b'f' => Move::Plain,
            b'd' => Move::Database,
            b'c' => Move::Companion,
            b'o' => Move::Folder {
                mode: u32::from_le_bytes(self.bytes()?),
                changed_seconds: i64::from_le_bytes(self.bytes()?),
                changed_nanos: u32::from_le_bytes(self.bytes()?),
            },
            _ => return Err(io::ErrorKind::InvalidData.into()),
        };
        Ok(Some((path, what)))
    }

    fn bytes<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.file.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}

fn failed(staging: &Staging, what: &str, error: io::Error) -> Error {
    Error::io(Place::Target, what, &staging.path().join(PLAN), error)
}
