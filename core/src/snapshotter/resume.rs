//! A complete tree as the catalog remembers it between windows.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{assemble::Assembled, job::Unreadable};
use crate::{
    catalog::run::TreeRow,
    format::{BlobId, SnapshotId, Timestamp},
};

pub(super) fn tree_row(
    assembled: &Assembled,
    epoch: i64,
    parent: Option<(SnapshotId, BlobId)>,
    walk_started: SystemTime,
) -> TreeRow {
    let started = Timestamp::from(walk_started);
    let unreadable = assembled.unreadable.iter().map(|unreadable| {
        let path = unreadable.path.to_string_lossy().into_owned();
        (path, unreadable.reason.clone(), unreadable.kept)
    });
    let changing = assembled.changing.iter();
    let odd = assembled.odd_databases.iter();
    TreeRow {
        root: assembled.tree,
        epoch,
        parent,
        walk_started: (started.seconds(), started.nanos()),
        stats: assembled.stats,
        unreadable: unreadable.collect(),
        unreadable_total: assembled.unreadable_total,
        changing: changing.map(|path| path.to_string_lossy().into_owned()).collect(),
        odd_databases: odd
            .map(|(path, reason)| (path.to_string_lossy().into_owned(), reason.clone()))
            .collect(),
    }
}

pub(super) fn assembled(row: TreeRow) -> Assembled {
    let unreadable = row.unreadable.into_iter().map(|(path, reason, kept)| Unreadable {
        path: path.into(),
        reason,
        kept,
    });
    Assembled {
        tree: row.root,
        stats: row.stats,
        unreadable: unreadable.collect(),
        unreadable_total: row.unreadable_total,
        changing: row.changing.into_iter().map(Into::into).collect(),
        odd_databases: row
            .odd_databases
            .into_iter()
            .map(|(path, reason)| (path.into(), reason))
            .collect(),
    }
}

pub(super) fn walk_started(row: &TreeRow) -> SystemTime {
    let (seconds, nanos) = row.walk_started;
    let distance = Duration::from_secs(seconds.unsigned_abs());
    let whole = if seconds < 0 {
        UNIX_EPOCH.checked_sub(distance)
    } else {
        UNIX_EPOCH.checked_add(distance)
    };
    whole
        .and_then(|time| time.checked_add(Duration::from_nanos(nanos.into())))
        .unwrap_or(UNIX_EPOCH)
}
