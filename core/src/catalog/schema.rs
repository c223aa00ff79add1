//! Opening the catalog's file: pragmas, version, and starting anew where it cannot be used.

use std::{fs, io, path::Path};

use rusqlite::{Connection, OpenFlags};

use super::sql_error;
use crate::{
    error::{Error, Kind, Place, Result},
    limits,
};

/// "LBct", so that tools can tell whose file this is.
const APPLICATION_ID: i32 = 0x4c42_6374;
/// A catalog of another version is rebuilt rather than upgraded: nothing is lost by it but time.
const VERSION: i32 = 3;

const INIT: &str = include_str!("001_init.sql");

/// Opens or makes the catalog. `true` when it was made anew, so that what the vault and the spool hold must be learnt again.
pub(super) fn open(path: &Path) -> Result<(Connection, bool)> {
    if rebuild_mark(path).exists() {
        remove(path)?;
    }
    match open_existing(path) {
        Ok(Some(connection)) => return Ok((connection, false)),
        Ok(None) => {}
        Err(error) if error.kind() == Kind::Catalog => {}
        Err(error) => return Err(error),
    }
    remove(path)?;
    Ok((create(path)?, true))
}

/// Marks a catalog that turned out to be corrupt while in use, so that the next opening begins anew.
pub(super) fn mark_for_rebuild(path: &Path) {
    // Best effort: the corruption will be found again where the mark could not be left.
    let _ = fs::write(rebuild_mark(path), b"");
}

fn rebuild_mark(path: &Path) -> std::path::PathBuf {
    path.with_extension("rebuild")
}

fn open_existing(path: &Path) -> Result<Option<Connection>> {
    match fs::metadata(path) {
        Ok(meta) if meta.len() > 0 => {}
        Ok(_) => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io(Place::State, "looking at", path, error)),
    }
    let connection = Connection::open_with_flags(path, flags()).map_err(sql_error)?;
    set_pragmas(&connection)?;
    Ok(is_current(&connection)?.then_some(connection))
}

fn create(path: &Path) -> Result<Connection> {
    let mut connection = Connection::open_with_flags(path, flags()).map_err(sql_error)?;
    set_pragmas(&connection)?;
    let transaction = connection.transaction().map_err(sql_error)?;
    transaction.execute_batch(INIT).map_err(sql_error)?;
    transaction
        .pragma_update(None, "application_id", APPLICATION_ID)
        .map_err(sql_error)?;
    transaction
        .pragma_update(None, "user_version", VERSION)
        .map_err(sql_error)?;
    transaction.commit().map_err(sql_error)?;
    Ok(connection)
}

/// Opens a catalog that another process may be using, to read from it only. `None` if there is none, or one that this engine would make anew.
pub(crate) fn open_for_reading(path: &Path) -> Result<Option<Connection>> {
    if !path.exists() || rebuild_mark(path).exists() {
        return Ok(None);
    }
    let only_read = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, only_read).map_err(sql_error)?;
    Ok(is_current(&connection)?.then_some(connection))
}

fn is_current(connection: &Connection) -> Result<bool> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    let ours = pragma("application_id").map_err(sql_error)? == APPLICATION_ID;
    Ok(ours && pragma("user_version").map_err(sql_error)? == VERSION)
}

fn flags() -> OpenFlags {
    // One thread uses the connection, so SQLite needs no mutex of its own.
    OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX
}

fn set_pragmas(connection: &Connection) -> Result<()> {
    connection
        .pragma_update(None, "journal_mode", "wal")
        .map_err(sql_error)?;
    // A loss of power may take the last transactions, never consistency: what they said is learnt again from spool and vault.
    connection
        .pragma_update(None, "synchronous", "normal")
        .map_err(sql_error)?;
    connection
        .pragma_update(None, "cache_size", -limits::CATALOG_CACHE_KIB)
        .map_err(sql_error)?;
    connection
        .pragma_update(None, "mmap_size", 0)
        .map_err(sql_error)?;
    connection
        .pragma_update(None, "journal_size_limit", 16 << 20)
        .map_err(sql_error)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(())
}

/// Removes a database and whatever SQLite or the catalog's thread leave beside one.
pub(crate) fn remove(path: &Path) -> Result<()> {
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        remove_file(Path::new(&name))?;
    }
    remove_file(&rebuild_mark(path))
}

fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::io(Place::State, "removing", path, error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_not_our_catalog_is_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("catalog.db");
        assert!(open(&path).unwrap().1, "there was none");
        assert!(!open(&path).unwrap().1, "now there is");
        mark_for_rebuild(&path);
        assert!(open(&path).unwrap().1, "it was marked");
        assert!(!open(&path).unwrap().1, "the mark is gone");
        let alien: [&dyn Fn(); 4] = [
            &|| {
                fs::write(
                    &path,
                    b"not a database, but long enough to be read as a page header, surely",
                )
                .unwrap()
            },
            &|| fs::write(&path, b"").unwrap(),
            &|| fs::write(&path, vec![0xaa; 8192]).unwrap(),
            &|| {
                let other = Connection::open(&path).unwrap();
                other.pragma_update(None, "user_version", 99).unwrap();
            },
        ];
        for make in alien {
            make();
            assert!(open(&path).unwrap().1);
        }
    }
}
