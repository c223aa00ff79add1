//! Under which name this engine publishes, and which snapshots it knows to be its own.

use rusqlite::{Connection, Transaction};

use super::run::{load, save};
use crate::{error::Result, format::SnapshotId, limits, scheduler::guards::Lineage};

const LINEAGE: &str = "lineage";

/// `None` until somebody asked for one with [`ensure`].
pub(crate) fn lineage(connection: &Connection) -> Result<Option<Lineage>> {
    load(connection, LINEAGE)
}

/// The line of this engine, begun under `install` if there is none yet.
pub(crate) fn ensure(tx: &Transaction<'_>, install: String) -> Result<Lineage> {
    if let Some(lineage) = lineage(tx)? {
        return Ok(lineage);
    }
    let lineage = Lineage {
        install,
        last: None,
        intended: Vec::new(),
    };
    save(tx, LINEAGE, &lineage)?;
    Ok(lineage)
}

/// Goes on under another name, from the same snapshot.
pub(crate) fn rename(tx: &Transaction<'_>, install: String) -> Result<Option<Lineage>> {
    change(tx, |lineage| lineage.install = install)?;
    lineage(tx)
}

/// To be written before a snapshot is stored: a kill in between must not make it look like somebody else's.
pub(crate) fn intend(tx: &Transaction<'_>, id: SnapshotId) -> Result<()> {
    change(tx, |lineage| {
        lineage.intended.push(id);
        let old = lineage
            .intended
            .len()
            .saturating_sub(limits::INTENDED_SNAPSHOTS_MAX);
        lineage.intended.drain(..old);
    })
}

/// The snapshot is stored: this line goes on from it.
pub(crate) fn published(tx: &Transaction<'_>, id: SnapshotId) -> Result<()> {
    change(tx, |lineage| {
        lineage.last = Some(id);
        lineage.intended.clear();
    })
}

fn change(tx: &Transaction<'_>, change: impl FnOnce(&mut Lineage)) -> Result<()> {
    match lineage(tx)? {
        Some(mut lineage) => {
            change(&mut lineage);
            save(tx, LINEAGE, &lineage)
        }
        None => Ok(()),
    }
}
