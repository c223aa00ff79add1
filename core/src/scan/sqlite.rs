//! Databases among the files: a copy of one moment, made by SQLite's own online backup.
//!
//! Only for databases that other processes use. Inside the process that has one open, closing a descriptor of its file drops the locks of every
//! connection to it.

use std::{fs::File, io, os::unix::fs::FileExt, path::Path};

use rusqlite::{
    Connection, ErrorCode, OpenFlags,
    backup::{Backup, StepResult},
    ffi,
};

/// Every SQLite database begins so.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// The smallest page: a database is a whole number of pages.
const PAGE_BYTES_MIN: u64 = 512;
/// Files beside a database that belong to it.
const COMPANIONS: [&[u8]; 3] = [b"-wal", b"-shm", b"-journal"];
/// How long a writer may hold the database before it counts as unreadable for now.
const BUSY_TIMEOUT: std::time::Duration = std::time::Duration::from_millis(2000);

/// Whether it is worth looking into a file of this size.
pub(super) fn may_be_database(size: u64) -> bool {
    size >= PAGE_BYTES_MIN && size.is_multiple_of(PAGE_BYTES_MIN)
}

pub(super) fn is_database(file: &File) -> bool {
    let mut head = [0; 16];
    file.read_exact_at(&mut head, 0).is_ok() && head == *MAGIC
}

/// The name of the database that a file of this name would belong to.
pub(super) fn companion_of(name: &[u8]) -> Option<&[u8]> {
    COMPANIONS
        .iter()
        .find_map(|suffix| name.strip_suffix(*suffix))
        .filter(|base| !base.is_empty())
}

/// Copies the database as it is at one moment. `Ok(false)` where SQLite says that it is none.
pub(super) fn copy(path: &Path, copy: &Path) -> io::Result<bool> {
    match std::fs::remove_file(copy) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    match copy_with_sqlite(path, copy) {
        Ok(()) => Ok(true),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::NotADatabase) => Ok(false),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::DiskFull) => {
            Err(io::Error::new(io::ErrorKind::StorageFull, error))
        }
        Err(error) => Err(io::Error::other(error)),
    }
}

fn copy_with_sqlite(path: &Path, copy: &Path) -> rusqlite::Result<()> {
    // Read only: closing the last connection must not fold the log into the app's file.
    let source = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    source.busy_timeout(BUSY_TIMEOUT)?;
    let mut target = Connection::open(copy)?;
    // The copy is read back at once and removed: nothing about it needs to be durable.
    target.pragma_update(None, "synchronous", "off")?;
    let backup = Backup::new(&source, &mut target)?;
    // All pages in one step, hence in one read transaction: in several, each commit of the app would begin the copy anew.
    let step = backup.step(-1)?;
    drop(backup);
    if step != StepResult::Done {
        // What there is of the copy is not the database.
        return Err(rusqlite::Error::SqliteFailure(
            ffi::Error::new(ffi::SQLITE_BUSY),
            None,
        ));
    }
    target.close().map_err(|(_, error)| error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_in_use_is_copied_whole_with_what_is_only_in_its_log() {
        let dir = tempfile::tempdir().unwrap();
        let (path, target) = (dir.path().join("app.db"), dir.path().join("copy"));
        let app = Connection::open(&path).unwrap();
        app.execute_batch("PRAGMA journal_mode=wal; CREATE TABLE t (x); INSERT INTO t VALUES (1), (2)")
            .unwrap();
        assert!(copy(&path, &target).unwrap());
        assert!(dir.path().join("app.db-wal").exists(), "the app's log stays");
        let copied = Connection::open(&target).unwrap();
        let sum: i64 = copied
            .query_row("SELECT sum(x) FROM t", [], |row| row.get(0))
            .unwrap();
        assert_eq!(sum, 3);
        // Beside a log the pages of the log would count.
        let other = dir.path().join("other");
        std::fs::write(&other, [0x11; 4096]).unwrap();
        assert!(!copy(&other, &target).unwrap(), "not a database");
    }

    #[test]
    fn a_database_that_stays_locked_is_no_empty_one() {
        let dir = tempfile::tempdir().unwrap();
        let (path, target) = (dir.path().join("app.db"), dir.path().join("copy"));
        let app = Connection::open(&path).unwrap();
        app.execute_batch("CREATE TABLE t (x); INSERT INTO t VALUES (1); BEGIN EXCLUSIVE")
            .unwrap();
        assert!(copy(&path, &target).is_err());
        app.execute_batch("COMMIT").unwrap();
        assert!(copy(&path, &target).unwrap());
    }

    #[test]
    fn companions_are_known_by_their_names() {
        assert_eq!(companion_of(b"app.db-wal"), Some(&b"app.db"[..]));
        assert_eq!(companion_of(b"app.db-journal"), Some(&b"app.db"[..]));
        assert_eq!(companion_of(b"-wal"), None);
        assert_eq!(companion_of(b"app.db"), None);
        assert!(
            may_be_database(512) && !may_be_database(511) && !may_be_database(0) && !may_be_database(513)
        );
    }
}
