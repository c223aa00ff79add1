//! Which files are databases, and which belong to one.

use std::{
    ffi::{CStr, OsStr},
    io,
    os::{fd::BorrowedFd, unix::ffi::OsStrExt},
    path::Path,
    sync::Arc,
};

use rustix::fs::CWD;

use super::super::Metadata;
use crate::sqlite::{
    Access, DatabaseFile,
    descriptors::{self, Looked, open},
    header::{HEADER_BYTES, Header, PAGE_BYTES_MIN},
    synthesis::LOG_SUFFIX,
    wal::WAL_HEADER_BYTES,
};

/// Files beside a database that belong to it.
const COMPANIONS: [&[u8]; 3] = [LOG_SUFFIX, b"-shm", b"-journal"];

/// Whether it is worth looking into a file of this size.
pub(super) fn may_be_database(size: u64) -> bool {
    let least = u64::from(PAGE_BYTES_MIN);
    size >= least && size.is_multiple_of(least)
}

/// The file, where it is to be read as a database: it is then never closed while somebody may hold a lock on it.
pub(super) fn look(
    dir: BorrowedFd<'_>,
    name: &OsStr,
    access: &Access,
    in_use: bool,
) -> io::Result<Option<Arc<DatabaseFile>>> {
    if in_use || matches!(access, Access::Quiesced(_)) {
        return open(dir, name).map(Some);
    }
    Ok(match descriptors::look(dir, name)? {
        Looked::Database(file) => Some(file),
        Looked::Other => None,
    })
}

/// Whether a file has what SQLite leaves beside a database in use. `names` are sorted.
pub(super) fn has_companions(names: &[Box<CStr>], name: &OsStr) -> bool {
    COMPANIONS
        .iter()
        .any(|suffix| has_name(names, &[name.as_bytes(), suffix].concat()))
}

/// Whether the name is that of a file which belongs to another one here, if that is a database.
pub(super) fn is_companion(names: &[Box<CStr>], name: &CStr) -> bool {
    companion_of(name.to_bytes()).is_some_and(|base| has_name(names, base))
}

/// Whether a name is that of the shared memory beside another file. It means nothing to anybody later; and connections hold locks on it, which
/// fall when any descriptor of it is closed: it must not even be looked into.
pub(in crate::scan) fn is_shared_memory(names: &[Box<CStr>], name: &CStr) -> bool {
    let base = name.to_bytes().strip_suffix(b"-shm");
    base.is_some_and(|base| has_name(names, base))
}

fn has_name(names: &[Box<CStr>], wanted: &[u8]) -> bool {
    names.binary_search_by(|name| name.to_bytes().cmp(wanted)).is_ok()
}

/// By its header; where the host vouches for it, whatever the header says.
pub(super) fn is_database(file: &DatabaseFile, access: &Access) -> bool {
    let mut head = [0; HEADER_BYTES];
    let mut has_header = || file.read_at(&mut head, 0).is_ok() && Header::parse(&head).is_some();
    matches!(access, Access::Quiesced(_)) || has_header()
}

/// The name of the database that a file of this name would belong to.
pub(in crate::scan) fn companion_of(name: &[u8]) -> Option<&[u8]> {
    COMPANIONS
        .iter()
        .find_map(|suffix| name.strip_suffix(*suffix))
        .filter(|base| !base.is_empty())
}

/// Size and mtime of the write-ahead log beside a database, if there is one.
pub(super) fn log_of(path: &Path) -> Option<(u64, (i64, u32))> {
    let mut log = path.as_os_str().to_owned();
    log.push(OsStr::from_bytes(LOG_SUFFIX));
    let stat = rustix::fs::lstat(Path::new(&log)).ok()?;
    let stat = Metadata::of(&stat).stat;
    Some((stat.size, stat.mtime))
}

/// The headers of a database and of its log: whatever a transaction changes, it changes one of these, on file systems with coarse clocks, too.
pub(super) fn fingerprint(file: &DatabaseFile, path: &Path) -> Vec<u8> {
    let mut bytes = vec![0; HEADER_BYTES];
    let read = file.read_at(&mut bytes, 0).unwrap_or(0);
    bytes.truncate(read);
    let mut log = path.as_os_str().to_owned();
    log.push(OsStr::from_bytes(LOG_SUFFIX));
    // Logs carry no locks: they may be opened and closed.
    if let Ok(Some(log)) = descriptors::open_unlocked(CWD, &log) {
        let mut head = [0; WAL_HEADER_BYTES];
        let read = descriptors::read_full_at(&log, &mut head, 0).unwrap_or(0);
        bytes.extend_from_slice(&head[..read]);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn companions_are_known_by_their_names() {
        assert_eq!(companion_of(b"app.db-wal"), Some(&b"app.db"[..]));
        assert_eq!(companion_of(b"app.db-journal"), Some(&b"app.db"[..]));
        assert_eq!(companion_of(b"-wal"), None);
        assert_eq!(companion_of(b"app.db"), None);
        let names = [c"a.db", c"a.db-shm", c"b-shm", c"c.db-wal"].map(Box::from);
        assert!(is_shared_memory(&names, c"a.db-shm") && !is_shared_memory(&names, c"b-shm"));
        assert!(has_companions(&names, OsStr::new("a.db")) && has_companions(&names, OsStr::new("c.db")));
        assert!(!has_companions(&names, OsStr::new("d")));
        assert!(
            may_be_database(512) && !may_be_database(511) && !may_be_database(0) && !may_be_database(513)
        );
    }
}
