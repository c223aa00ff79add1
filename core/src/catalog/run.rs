//! What a run is between its windows, and what else windows must remember. All of it is small, and kept as JSON in the table of facts.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, Transaction};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::sql_error;
use crate::{
    error::{Error, Result},
    format::{BlobId, PackId, SnapshotId},
    snapshotter::BackupStats,
    window::link::Estimate,
};

const RUN: &str = "run";
const UNFILLED: &str = "unfilled_packs";
const HANDED_OFF: &str = "handed_off";

/// One backup on its way through windows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct RunRow {
    /// What identifies the job: another job is another run.
    pub(crate) job: String,
    /// Seconds since 1970, by the wall clock.
    pub(crate) started_s: i64,
    pub(crate) windows: u64,
    /// Bytes of bodies that went to the vault.
    pub(crate) sent: u64,
    /// When the vault was last looked at.
    pub(crate) looked_s: i64,
    /// What earlier windows sealed.
    pub(crate) sealed: BackupStats,
    /// The tree, when it is complete: then only sending and publishing are left.
    pub(crate) tree: Option<TreeRow>,
    pub(crate) parked: Option<ParkedRow>,
    /// Windows in a row that could not reach the vault.
    pub(crate) unreachable: u32,
    /// The longest piece of a file or database, in bytes, that the smallest window so far could send; only ever less within a run, so that what was cut is cut like that again.
    pub(crate) piece_bytes: Option<usize>,
}

/// A complete tree, and what the report will say of it. Names are as well as text can hold them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct TreeRow {
    pub(crate) root: BlobId,
    /// The loss epoch in which all that it names was known to be stored.
    pub(crate) epoch: i64,
    /// The snapshot that it was compared with, and that one's tree.
    pub(crate) parent: Option<(SnapshotId, BlobId)>,
    pub(crate) walk_started: (i64, u32),
    pub(crate) stats: BackupStats,
    /// Path, reason, and whether the last version was kept.
    pub(crate) unreadable: Vec<(String, String, bool)>,
    pub(crate) unreadable_total: u64,
    pub(crate) changing: Vec<String>,
    pub(crate) odd_databases: Vec<(String, String)>,
}

/// Why a run is not tried again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ParkedRow {
    pub(crate) is_full: bool,
    pub(crate) text: String,
    pub(crate) since_s: i64,
    /// Of the credentials that were refused.
    pub(crate) credentials: u64,
}

/// What was measured of a link, and when.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct LinkRow {
    pub(crate) estimate: Estimate,
    pub(crate) at_s: i64,
}

/// A pack that somebody else was asked to send.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct HandedOff {
    /// After that it is ours to send again.
    pub(crate) until_s: i64,
    /// Somebody said that it was stored; that is believed when it is seen.
    pub(crate) said_stored: bool,
}

pub(crate) fn run(connection: &Connection) -> Result<Option<RunRow>> {
    load(connection, RUN)
}

pub(crate) fn save_run(tx: &Transaction<'_>, row: &RunRow) -> Result<()> {
    save(tx, RUN, row)
}

/// Changes what is remembered of the run, if there is one.
pub(crate) fn change_run(tx: &Transaction<'_>, change: impl FnOnce(&mut RunRow)) -> Result<()> {
    match run(tx)? {
        Some(mut row) => {
            change(&mut row);
            save_run(tx, &row)
        }
        None => Ok(()),
    }
}

pub(crate) fn end_run(tx: &Transaction<'_>) -> Result<()> {
    tx.execute("DELETE FROM meta WHERE key = ?1", [RUN])
        .map_err(sql_error)?;
    Ok(())
}

pub(crate) fn link(connection: &Connection, network: &str) -> Result<Option<LinkRow>> {
    load(connection, &format!("link_{network}"))
}

pub(crate) fn save_link(tx: &Transaction<'_>, network: &str, row: &LinkRow) -> Result<()> {
    save(tx, &format!("link_{network}"), row)
}

/// Packs that were closed before they were full, because their window ended: the next one that seals fills them.
pub(crate) fn unfilled(connection: &Connection) -> Result<Vec<PackId>> {
    let ids: Option<Vec<PackId>> = load(connection, UNFILLED)?;
    Ok(ids.unwrap_or_default())
}

pub(crate) fn save_unfilled(tx: &Transaction<'_>, packs: &[PackId]) -> Result<()> {
    save(tx, UNFILLED, &packs)
}

pub(crate) fn handed_off(connection: &Connection) -> Result<HashMap<PackId, HandedOff>> {
    let all: Option<Vec<(PackId, HandedOff)>> = load(connection, HANDED_OFF)?;
    Ok(all.unwrap_or_default().into_iter().collect())
}

pub(crate) fn save_handed_off(tx: &Transaction<'_>, packs: &HashMap<PackId, HandedOff>) -> Result<()> {
    let all: Vec<_> = packs.iter().collect();
    save(tx, HANDED_OFF, &all)
}

/// What cannot be understood was written by another version, and is worth nothing.
pub(super) fn load<T: DeserializeOwned>(connection: &Connection, key: &str) -> Result<Option<T>> {
    let value: Option<Vec<u8>> = connection
        .prepare_cached("SELECT value FROM meta WHERE key = ?1")
        .and_then(|mut statement| statement.query_row([key], |row| row.get(0)).optional())
        .map_err(sql_error)?;
    Ok(value.and_then(|json| serde_json::from_slice(&json).ok()))
}

pub(super) fn save<T: Serialize>(tx: &Transaction<'_>, key: &str, value: &T) -> Result<()> {
    let json = serde_json::to_vec(value).map_err(|error| Error::bug(format!("a fact as JSON: {error}")))?;
    tx.prepare_cached("INSERT OR REPLACE INTO meta VALUES (?1, ?2)")
        .and_then(|mut statement| statement.execute((key, json)))
        .map_err(sql_error)?;
    Ok(())
}
