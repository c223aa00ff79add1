//! The engine's own SQLite file: what it saw, sealed and sent. A cache plus a journal, and never the only place of anything: it can be
//! rebuilt from the vault and the spool.
//!
//! One thread owns the connection; every change is one transaction, and the answer comes after its commit. At a stop, committed work
//! stays and the rest never happened.

pub(crate) mod blobs;
pub(crate) mod databases;
pub(crate) mod files;
pub(crate) mod identity;
pub(crate) mod journal;
pub(crate) mod packs;
pub(crate) mod run;
mod schema;
pub(crate) mod vault;
mod worker;

pub(crate) use blobs::Location;
pub(crate) use databases::DatabaseState;
pub(crate) use files::{FileRow, Stat};
pub(crate) use packs::{SealedPack, SpooledPack};
pub(crate) use schema::{open_for_reading, remove as remove_database};
pub(crate) use worker::{Catalog, CatalogThread};

use crate::error::{Error, Kind, Place};

/// The engine's error for one of SQLite. Corruption is told apart because it is mended by starting anew.
pub(crate) fn sql_error(error: rusqlite::Error) -> Error {
    use rusqlite::ErrorCode;
    let kind = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Kind::Catalog,
        Some(ErrorCode::DiskFull) => Kind::OutOfSpace(Place::State),
        Some(ErrorCode::OperationInterrupted) => Kind::Cancelled,
        Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied | ErrorCode::ReadOnly) => Kind::AccessDenied,
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Kind::Busy,
        _ => Kind::Catalog,
    };
    let text = match kind {
        Kind::OutOfSpace(_) => {
            "the catalog cannot grow: make room in the state folder, then do the same again"
        }
        Kind::Catalog => "the catalog cannot be read; it is rebuilt from the vault at the next start",
        _ => "the catalog",
    };
    Error::with_source(kind, text, error)
}
