//! What a start does before anything else: spool, catalog and vault are made to agree again, whatever the last process was killed at.

use std::collections::HashSet;

use super::{Repository, Spool, sync_indexes};
use crate::{
    catalog::{Catalog, SealedPack, packs, vault},
    error::{Error, Kind, Result},
    format::{FileId, FileType, HeaderRead, PackHeaderReader, PackId},
};
use tokio_util::sync::CancellationToken;

/// Makes a catalog that belongs to this repository, and knows what the spool holds.
///
/// `is_new` says that the catalog was just made: then packs in the vault that no index names are looked at as well, since some of them may
/// be ours, confirmed and not yet indexed.
pub(crate) async fn recover(
    repository: &Repository,
    catalog: &Catalog,
    spool: &Spool,
    is_new: bool,
    cancel: &CancellationToken,
) -> Result<()> {
    let id = repository.config.id;
    let belongs = catalog.read(vault::repository).await? == Some(id);
    if !belongs {
        catalog.write(move |tx| vault::adopt_repository(tx, &id)).await?;
    }
    recover_spool(repository, catalog, spool).await?;
    if is_new || !belongs {
        match adopt_packs(repository, catalog, cancel).await {
            // A damaged index stops whoever needs it, with a word on what to do. It must not keep a check from finding it.
            Err(error) if matches!(error.kind(), Kind::Damaged | Kind::Unsupported) => {}
            result => result?,
        }
    }
    Ok(())
}

async fn recover_spool(repository: &Repository, catalog: &Catalog, spool: &Spool) -> Result<()> {
    let here = spool.list()?;
    let known: HashSet<PackId> = catalog
        .read(packs::spooled)
        .await?
        .iter()
        .map(|pack| pack.id)
        .collect();
    for id in &here {
        if known.contains(id) {
            continue;
        }
        let (spool, key, id) = (spool.clone(), repository.key.clone(), *id);
        let found = repository
            .cpu
            .run(move |_| spool.inspect(&id, &key).map(|pack| (spool, pack)))
            .await?;
        match found {
            (spool, Some(pack)) => {
                // A kill between writing a pack that stands for others and telling the catalog leaves both.
                let id = pack.id;
                let redundant = catalog.write(move |tx| {
                    let redundant = packs::is_redundant(tx, &pack)?;
                    if !redundant {
                        packs::add_spooled(tx, &pack)?;
                    }
                    Ok(redundant)
                });
                if redundant.await? {
                    spool.remove(&id);
                }
            }
            // Of another repository, or damaged: of no use to anyone, and its content is sealed again from the source.
            (spool, None) => spool.remove(&id),
        }
    }
    let here: HashSet<PackId> = here.into_iter().collect();
    let missing: Vec<PackId> = known.difference(&here).copied().collect();
    if !missing.is_empty() {
        catalog.write(move |tx| vault::lose_packs(tx, &missing)).await?;
    }
    Ok(())
}

/// Learns of packs that are in the vault and in no index. They are whole, since storing one is atomic; one that cannot be read is left alone.
async fn adopt_packs(repository: &Repository, catalog: &Catalog, cancel: &CancellationToken) -> Result<()> {
    sync_indexes(repository, catalog, cancel).await?;
    let indexed: HashSet<PackId> = catalog
        .read(vault::stored_packs)
        .await?
        .into_iter()
        .map(|(id, _)| id)
        .collect();
    for (id, size) in repository.storage.list(FileType::Pack).await? {
        super::err_if_cancelled(cancel)?;
        if indexed.contains(&id.into()) {
            continue;
        }
        match read_pack(repository, id, size).await {
            Ok(pack) => catalog.write(move |tx| packs::add_confirmed(tx, &pack)).await?,
            Err(error) if matches!(error.kind(), Kind::Damaged | Kind::NotFound) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Reads a pack's directory from the vault.
async fn read_pack(repository: &Repository, id: FileId, size: u64) -> Result<SealedPack> {
    let damaged = |error| Error::format(format!("data/{id}"), error);
    let reader = PackHeaderReader::new(size).map_err(damaged)?;
    let mut length = reader.first_tail();
    // Once for the length of the directory, once more where it is a long one.
    for _ in 0..2 {
        let range = size - length as u64..size;
        let tail = repository.storage.get_range(FileType::Pack, &id, range).await?;
        match reader.read(&repository.key, &tail).map_err(damaged)? {
            HeaderRead::Entries(entries) => {
                return Ok(SealedPack {
                    id: id.into(),
                    size,
                    entries,
                });
            }
            HeaderRead::NeedsTail(needed) => length = needed,
        }
    }
    Err(Error::new(
        Kind::Damaged,
        format!("data/{id}: its directory cannot be read"),
    ))
}
