//! Snapshots: listed with a cache, found by a prefix, saved.

use std::collections::HashSet;

use super::Repository;
use crate::{
    catalog::{Catalog, identity, vault},
    error::{Error, Kind, Result},
    format::{FileId, FileType, Snapshot, SnapshotId, decode_unpacked},
    limits,
    storage::{Body, file_name},
};

/// All snapshots, oldest first. Those seen before come from the catalog: a snapshot never changes.
pub(crate) async fn list_snapshots(
    repository: &Repository,
    catalog: &Catalog,
) -> Result<Vec<(SnapshotId, Snapshot)>> {
    let listed = repository.storage.list(FileType::Snapshot).await?;
    let listed: HashSet<SnapshotId> = listed.into_iter().map(|(id, _)| id.into()).collect();
    let cached = catalog.read(vault::snapshots).await?;
    let known: HashSet<SnapshotId> = cached.iter().map(|(id, _)| *id).collect();
    let mut snapshots = Vec::with_capacity(listed.len());
    for (id, json) in &cached {
        if listed.contains(id) {
            snapshots.push((*id, parse(id, json)?));
        }
    }
    for id in listed.difference(&known) {
        let json = match load_document(repository, id).await {
            // Forgotten by another client since it was listed.
            Err(error) if error.kind() == Kind::NotFound => continue,
            other => other?,
        };
        let snapshot = parse(id, &json)?;
        let id = *id;
        catalog
            .write(move |tx| vault::add_snapshot(tx, &id, &json))
            .await?;
        snapshots.push((id, snapshot));
    }
    let gone: Vec<SnapshotId> = known.difference(&listed).copied().collect();
    if !gone.is_empty() {
        catalog
            .write(move |tx| vault::forget_snapshots(tx, &gone))
            .await?;
    }
    snapshots.sort_by_key(|(id, snapshot)| (snapshot.time.timestamp, *id));
    Ok(snapshots)
}

/// Those that were there when somebody last looked.
pub(crate) async fn known_snapshots(catalog: &Catalog) -> Result<Vec<(SnapshotId, Snapshot)>> {
    let cached = catalog.read(vault::snapshots).await?;
    let parsed = cached
        .iter()
        .map(|(id, json)| parse(id, json).map(|snapshot| (*id, snapshot)));
    let mut snapshots = parsed.collect::<Result<Vec<_>>>()?;
    snapshots.sort_by_key(|(id, snapshot)| (snapshot.time.timestamp, *id));
    Ok(snapshots)
}

async fn load_document(repository: &Repository, id: &SnapshotId) -> Result<Vec<u8>> {
    let framed = repository
        .load_unpacked(FileType::Snapshot, &FileId::from(*id))
        .await?;
    let id = *id;
    repository
        .cpu
        .run(move |context| {
            let limit = limits::DOCUMENT_PLAIN_BYTES_MAX;
            let read = decode_unpacked(&mut context.decompressor, framed, limit);
            read.map_err(|error| Error::format(file_name(FileType::Snapshot, &id.into()), error))
        })
        .await
}

fn parse(id: &SnapshotId, json: &[u8]) -> Result<Snapshot> {
    Snapshot::decode(json).map_err(|error| Error::format(file_name(FileType::Snapshot, &(*id).into()), error))
}

/// Stores a snapshot. Everything it names must be in the vault.
pub(crate) async fn save_snapshot(
    repository: &Repository,
    catalog: &Catalog,
    snapshot: &Snapshot,
) -> Result<SnapshotId> {
    let json = snapshot.encode();
    let (file, sealed) = repository.seal_unpacked(json.clone()).await?;
    let id = SnapshotId::from(file);
    catalog.write(move |tx| identity::intend(tx, id)).await?;
    repository
        .storage
        .put(FileType::Snapshot, &file, Body::Bytes(sealed))
        .await?;
    catalog
        .write(move |tx| {
            vault::add_snapshot(tx, &id, &json)?;
            identity::published(tx, id)
        })
        .await?;
    Ok(id)
}

/// The snapshot that `name` means: `latest`, or the beginning of one id.
pub(crate) fn find_snapshot<'a>(
    snapshots: &'a [(SnapshotId, Snapshot)],
    name: &str,
) -> Result<&'a (SnapshotId, Snapshot)> {
    if name == "latest" {
        return snapshots
            .last()
            .ok_or_else(|| Error::new(Kind::NotFound, "the repository has no snapshots"));
    }
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let text = format!("'{name}' is neither `latest` nor the beginning of a snapshot's id");
        return Err(Error::new(Kind::InvalidInput, text));
    }
    let prefix = name.to_ascii_lowercase();
    let mut matching = snapshots
        .iter()
        .filter(|(id, _)| id.to_string().starts_with(&prefix));
    match (matching.next(), matching.next()) {
        (Some(found), None) => Ok(found),
        (None, _) => Err(Error::new(
            Kind::NotFound,
            format!("no snapshot's id begins with '{name}'"),
        )),
        (Some(_), Some(_)) => Err(Error::new(
            Kind::InvalidInput,
            format!("several snapshots' ids begin with '{name}': give more of it"),
        )),
    }
}
