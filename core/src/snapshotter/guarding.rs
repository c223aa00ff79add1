//! Performs what the guards choose: a line of snapshots is kept apart from those of other phones, and what must not push good ones out is marked. What is
//! written down here is written before the snapshot it is about.

use super::{assemble::Assembled, job::BackupJob};
use crate::{
    catalog::{Catalog, identity, journal},
    clock::Clock,
    error::{Error, Kind, Result},
    events::{Event, Events},
    format::{Snapshot, SnapshotId, Timestamp},
    scheduler::{
        Entry, Reason,
        guards::{
            INCOMPLETE_TAG, INSTALL_TAG, Identity, Lineage, LineageFacts, Newborn, UNCONFIRMED_TAG,
            clone_guard, last_confirmed, newborn,
        },
    },
};

/// Another name for this install, that no other has.
pub(crate) fn new_install() -> Result<String> {
    let mut random = [0; 8];
    getrandom::fill(&mut random)
        .map_err(|error| Error::with_source(Kind::Io, "drawing an install's name", error))?;
    Ok(hex::encode(random))
}

/// The line to go on with, when the vault's snapshots have just been listed. Where another phone goes on under our name, this one takes a new one.
pub(super) async fn look(
    catalog: &Catalog,
    clock: &dyn Clock,
    events: &Events,
    snapshots: &[(SnapshotId, Snapshot)],
) -> Result<Lineage> {
    let install = new_install()?;
    let own = catalog.write(move |tx| identity::ensure(tx, install)).await?;
    let facts: Vec<LineageFacts> = snapshots
        .iter()
        .map(|(id, snapshot)| LineageFacts::of(*id, snapshot))
        .collect();
    match clone_guard(&own, &facts) {
        Identity::Ours => Ok(own),
        Identity::Shared { .. } => {
            let (install, now_ms) = (new_install()?, now_ms(clock));
            let renewed = catalog
                .write(move |tx| {
                    notice(tx, now_ms, Reason::IdentityRenewed)?;
                    identity::rename(tx, install)
                })
                .await?;
            events.tell(Event::Noticed {
                reason: Reason::IdentityRenewed,
            });
            Ok(renewed.unwrap_or(own))
        }
    }
}

/// The tags that a snapshot gets beside the job's.
pub(super) async fn tags(
    catalog: &Catalog,
    clock: &dyn Clock,
    events: &Events,
    job: &BackupJob,
    is_same: impl Fn(&Snapshot) -> bool,
    assembled: &Held,
) -> Result<Vec<String>> {
    let install = new_install()?;
    let own = catalog.write(move |tx| identity::ensure(tx, install)).await?;
    let known = crate::repository::known_snapshots(catalog).await?;
    let held = catalog
        .read(|db| Ok(journal::history(db)?.is_some_and(|history| history.newborn_hold)))
        .await?;
    let last = last_confirmed(&own, known.iter().filter(|(_, snapshot)| is_same(snapshot)));
    let mut tags = vec![format!("{INSTALL_TAG}{}", own.install)];
    let reason = match (newborn(last, assembled.files, assembled.bytes, held), held) {
        (Newborn::Suspected, held) => {
            tags.push(UNCONFIRMED_TAG.to_owned());
            (!held).then_some(Reason::NewbornSuspected)
        }
        (Newborn::Plain, true) => Some(Reason::NewbornOver),
        (Newborn::Plain, false) => None,
    };
    if assembled.lacks_something {
        tags.push(INCOMPLETE_TAG.to_owned());
    }
    if let Some(reason) = reason {
        let now_ms = now_ms(clock);
        catalog.write(move |tx| notice(tx, now_ms, reason)).await?;
        events.tell(Event::Noticed { reason });
    }
    tags.retain(|tag| !job.tags.contains(tag));
    Ok(tags)
}

/// What a complete tree holds, as far as the guards go.
pub(super) struct Held {
    files: u64,
    bytes: u64,
    lacks_something: bool,
}

impl Held {
    pub(super) fn of(assembled: &Assembled) -> Self {
        // Names that are not listed one by one may be of such.
        let unlisted = assembled.unreadable_total > assembled.unreadable.len() as u64;
        Self {
            files: assembled.stats.files_total,
            bytes: assembled.stats.bytes_total,
            lacks_something: unlisted || assembled.unreadable.iter().any(|unreadable| !unreadable.kept),
        }
    }
}

fn notice(tx: &rusqlite::Transaction<'_>, now_ms: i64, reason: Reason) -> Result<()> {
    let conditions = journal::conditions(tx)?.unwrap_or_default();
    journal::append(tx, now_ms, &conditions, &Entry::Noticed { reason })
}

pub(crate) fn now_ms(clock: &dyn Clock) -> i64 {
    let now = Timestamp::from(clock.wall());
    now.seconds().saturating_mul(1000) + i64::from(now.nanos() / 1_000_000)
}
