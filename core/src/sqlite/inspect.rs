//! What can be said of a database file that nobody has open: what its header says, and whether SQLite finds it sound.

use std::{
    fs::File,
    io,
    os::unix::{ffi::OsStrExt, fs::FileExt},
    path::Path,
};

use rusqlite::{Connection, ErrorCode, OpenFlags};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::header::{HEADER_BYTES, Header};
use crate::limits;

/// Whether SQLite finds a database sound.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Integrity {
    /// `PRAGMA integrity_check` has nothing to say.
    Sound,
    /// What it says, up to `DATABASE_FINDINGS_MAX` lines.
    Damaged { findings: Vec<String> },
    /// Encrypted pages, a log of the app's own that is not folded in, a collation or a module that only the app has, or not asked for.
    NotChecked { reason: String },
}

/// What a check found.
pub(crate) struct Checked {
    pub(crate) integrity: Integrity,
    /// Rows that refer to rows which are not there.
    pub(crate) foreign_key_violations: u64,
}

/// The header of a database file. `None`: it is too short, or does not begin as one, as when its pages are encrypted.
pub(crate) fn read_header(file: &File) -> io::Result<Option<Header>> {
    let mut head = [0; HEADER_BYTES];
    match file.read_exact_at(&mut head, 0) {
        Ok(()) => Ok(Header::parse(&head)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

/// Checks the database at `path`, which must not change and has no log beside it that counts. Writes nothing, takes no lock. Cancelled, it
/// ends soon and is not checked.
pub(crate) fn check(path: &Path, cancel: &CancellationToken) -> Checked {
    check_with_sqlite(path, cancel).unwrap_or_else(|error| {
        let text = error.to_string();
        let integrity = match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Integrity::Damaged { findings: vec![text] }
            }
            _ => Integrity::NotChecked { reason: text },
        };
        Checked {
            integrity,
            foreign_key_violations: 0,
        }
    })
}

fn check_with_sqlite(path: &Path, cancel: &CancellationToken) -> rusqlite::Result<Checked> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut database = Connection::open_with_flags(uri(path), flags)?;
    // The schema comes from a repository: nothing in it may do more than compute.
    database.pragma_update(None, "trusted_schema", false)?;
    database.pragma_update(None, "cache_size", -limits::DATABASE_CHECK_CACHE_KIB)?;
    let cancel = cancel.clone();
    database.progress_handler(limits::DATABASE_CHECK_STEPS, Some(move || cancel.is_cancelled()))?;
    let findings: Vec<String> = {
        let mut check = database.prepare(&format!(
            "PRAGMA integrity_check({})",
            limits::DATABASE_FINDINGS_MAX
        ))?;
        let rows = check.query_map([], |row| row.get(0))?;
        rows.collect::<rusqlite::Result<_>>()?
    };
    if findings != ["ok"] {
        return Ok(Checked {
            integrity: Integrity::Damaged { findings },
            foreign_key_violations: 0,
        });
    }
    let count = "SELECT count(*) FROM pragma_foreign_key_check";
    // Tables that only the app can read do not make the rest unsound.
    let violations: i64 = database.query_row(count, [], |row| row.get(0)).unwrap_or(0);
    Ok(Checked {
        integrity: Integrity::Sound,
        foreign_key_violations: u64::try_from(violations).unwrap_or(0),
    })
}

/// The file as one that cannot change: SQLite then takes no lock, and looks for no log.
fn uri(path: &Path) -> String {
    let mut uri = String::from("file:");
    for &byte in path.as_os_str().as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => uri.push(char::from(byte)),
            other => uri.push_str(&format!("%{other:02x}")),
        }
    }
    uri + "?immutable=1"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database(dir: &Path, name: &str, sql: &str) -> std::path::PathBuf {
        let path = dir.join(name);
        let app = Connection::open(&path).unwrap();
        app.execute_batch(sql).unwrap();
        app.close().unwrap();
        path
    }

    #[test]
    fn sound_damaged_and_unknown_are_told_apart_and_nothing_is_left_behind() {
        let dir = tempfile::tempdir().unwrap();
        let cancel = CancellationToken::new();
        let many = "CREATE TABLE t (x); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)
                    INSERT INTO t SELECT hex(randomblob(40)) FROM n; CREATE INDEX i ON t (x);";
        let path = database(
            dir.path(),
            "a ?#%é.db",
            &format!("PRAGMA journal_mode=wal; {many}"),
        );
        let before = std::fs::read(&path).unwrap();
        assert_eq!(check(&path, &cancel).integrity, Integrity::Sound);
        assert_eq!(std::fs::read(&path).unwrap(), before);
        let names: Vec<_> = std::fs::read_dir(dir.path()).unwrap().collect();
        assert_eq!(names.len(), 1, "{names:?}");

        let mut torn = before.clone();
        let middle = torn.len() / 2 / 4096 * 4096;
        torn[middle..middle + 4096].fill(0x5a);
        let torn_path = dir.path().join("torn.db");
        std::fs::write(&torn_path, &torn).unwrap();
        assert!(
            matches!(check(&torn_path, &cancel).integrity, Integrity::Damaged { findings } if !findings.is_empty())
        );

        let orphans = "PRAGMA foreign_keys=off; CREATE TABLE p (id INTEGER PRIMARY KEY); CREATE TABLE c (p REFERENCES p); INSERT INTO c VALUES (1), (2)";
        let path = database(dir.path(), "orphans.db", orphans);
        let checked = check(&path, &cancel);
        assert_eq!(
            (checked.integrity, checked.foreign_key_violations),
            (Integrity::Sound, 2)
        );

        // As a database looks whose app brings a collation of its own.
        let ours = "CREATE TABLE t (x COLLATE NOCASE); CREATE INDEX i ON t (x); INSERT INTO t VALUES ('a');
                    PRAGMA writable_schema=on; UPDATE sqlite_schema SET sql = replace(sql, 'NOCASE', 'LOCALIZED')";
        let path = database(dir.path(), "app.db", ours);
        assert!(matches!(
            check(&path, &cancel).integrity,
            Integrity::NotChecked { .. }
        ));
        cancel.cancel();
        let path = database(dir.path(), "large.db", many);
        assert!(matches!(
            check(&path, &cancel).integrity,
            Integrity::NotChecked { .. }
        ));
    }
}
