//! Packs that are too large for a window: sealed when the link was faster, or before only metered networks were left.

use tokio_util::sync::CancellationToken;

use super::{decide::View, run::WindowParts};
use crate::{
    catalog::{SealedPack, SpooledPack, packs, vault},
    error::Result,
    format::{BlobType, MasterKey, PackId},
    repository::{Spool, err_if_cancelled},
    seal::PackWriter,
};

/// In one window; the others wait for theirs.
const PACKS_MAX: usize = 2;

/// Divides packs that no window like this one could send into smaller ones. One that holds a single piece of a file is given up if it is longer than
/// `piece_bytes_max`: the file is read again, and cut into shorter ones. To be awaited to its end, which after a
/// stop comes soon: the thread that writes would go on without being waited for.
pub(super) async fn divide(
    parts: &WindowParts,
    view: &View,
    target_bytes: u64,
    piece_bytes_max: usize,
    waiting: &[SpooledPack],
    cancel: &CancellationToken,
) -> Result<()> {
    let pieces = parts
        .catalog
        .read(move |db| packs::single_pieces(db, piece_bytes_max as u64))
        .await?;
    let is_hopeless = |pack: &&SpooledPack| view.is_too_large(pack.size) && pieces.contains(&pack.id);
    let given_up: Vec<PackId> = waiting.iter().filter(is_hopeless).map(|pack| pack.id).collect();
    if !given_up.is_empty() {
        let gone = given_up.clone();
        parts
            .catalog
            .write(move |tx| vault::lose_packs(tx, &gone))
            .await?;
        for id in &given_up {
            parts.spool.remove(id);
        }
    }
    let too_large =
        (waiting.iter()).filter(|pack| view.is_too_large(pack.size) && !given_up.contains(&pack.id));
    for pack in too_large.take(PACKS_MAX) {
        err_if_cancelled(cancel)?;
        let (spool, key, id) = (parts.spool.clone(), parts.repository.key.clone(), pack.id);
        let cancel = cancel.clone();
        let divided = parts
            .repository
            .cpu
            .run(move |_| divide_one(&spool, &key, id, target_bytes, &cancel))
            .await?;
        let Some(pieces) = divided else { continue };
        parts
            .catalog
            .write(move |tx| packs::replace_spooled(tx, &pieces, &[id]))
            .await?;
        parts.spool.remove(&id);
    }
    Ok(())
}

/// Writes the same blobs as smaller packs. `None` where that makes none smaller, or was stopped.
fn divide_one(
    spool: &Spool,
    key: &MasterKey,
    id: PackId,
    target_bytes: u64,
    cancel: &CancellationToken,
) -> Result<Option<Vec<SealedPack>>> {
    let Some(pack) = spool.inspect(&id, key)? else {
        return Ok(None);
    };
    if pack.entries.len() < 2 || pack.size <= target_bytes {
        return Ok(None);
    }
    let blob_type = pack
        .entries
        .first()
        .map_or(BlobType::Data, |entry| entry.blob_type);
    let mut writer = PackWriter::beside(blob_type, target_bytes);
    let mut pieces = Vec::new();
    for entry in &pack.entries {
        if cancel.is_cancelled() {
            break;
        }
        // A long blob gets a pack of its own, whatever stood before it.
        if writer.overflows_with(entry.length.into()) {
            pieces.extend(writer.close(spool, key)?);
        }
        writer.copy(spool, &pack, entry)?;
        if writer.is_full() {
            pieces.extend(writer.close(spool, key)?);
        }
    }
    let is_stopped = cancel.is_cancelled();
    if !is_stopped {
        pieces.extend(writer.close(spool, key)?);
    }
    if pieces.len() > 1 && !is_stopped {
        return Ok(Some(pieces));
    }
    for piece in pieces {
        spool.remove(&piece.id);
    }
    Ok(None)
}
