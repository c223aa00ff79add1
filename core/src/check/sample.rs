//! A look at a few stored packs, drawn at random: whether all are there, and whether these are what their names say. It needs nothing but the catalog to know
//! what should be there, so it fits into a window.

use std::{collections::HashMap, time::Duration};

use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use crate::{
    catalog::{Catalog, vault},
    error::{Error, Kind, Result},
    format::{FileId, FileType, PackId},
    limits,
    repository::{Repository, or_cancelled},
    scheduler::mix,
};

/// What a sample found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SampleReport {
    /// That should be in the vault, and how many of those are not, or have another size.
    pub packs: u64,
    pub missing: u64,
    /// Read whole.
    pub read: u64,
    pub read_bytes: u64,
    /// Read, and not what their names say.
    pub damaged: Vec<PackId>,
}

impl SampleReport {
    pub fn is_clean(&self) -> bool {
        self.missing == 0 && self.damaged.is_empty()
    }
}

/// What a sample may cost. It is a smaller sample then, and not none: one that is too large for every window would never end, and nothing that comes after it
/// would ever begin.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SampleBounds {
    /// Bytes of packs.
    pub(crate) bytes: Option<u64>,
    /// After this no pack is begun, by the clock that goes on in sleep.
    pub(crate) until: Duration,
}

pub(crate) async fn sample(
    repository: &Repository,
    catalog: &Catalog,
    bounds: SampleBounds,
    cancel: &CancellationToken,
) -> Result<SampleReport> {
    or_cancelled(cancel, look(repository, catalog, bounds)).await
}

async fn look(repository: &Repository, catalog: &Catalog, bounds: SampleBounds) -> Result<SampleReport> {
    // In this order: what is confirmed while the vault is being listed is not held against the list.
    let wanted = catalog.read(vault::stored_packs).await?;
    let listed = repository.storage.list(FileType::Pack).await?;
    let there: HashMap<PackId, u64> = listed.into_iter().map(|(id, size)| (id.into(), size)).collect();
    let mut report = SampleReport {
        packs: wanted.len() as u64,
        ..SampleReport::default()
    };
    let (present, missing): (Vec<_>, Vec<_>) = wanted
        .into_iter()
        .partition(|(id, size)| there.get(id) == Some(size));
    report.missing = missing.len() as u64;
    for (id, size) in draw(present, random()?, bounds.bytes) {
        if repository.clock.awake_or_asleep() >= bounds.until {
            break;
        }
        match read(repository, id, size).await {
            Ok(true) => {}
            Ok(false) => report.damaged.push(id),
            // Pruned by another client since it was listed.
            Err(error) if error.kind() == Kind::NotFound => continue,
            Err(error) => return Err(error),
        }
        report.read += 1;
        report.read_bytes += size;
    }
    Ok(report)
}

fn random() -> Result<u64> {
    let mut random = [0; 8];
    getrandom::fill(&mut random)
        .map_err(|error| Error::with_source(Kind::Io, "drawing packs at random", error))?;
    Ok(u64::from_le_bytes(random))
}

/// Some packs, each as likely as any other, within the bounds; at least one, if one is no larger than `allowed`.
fn draw(mut packs: Vec<(PackId, u64)>, random: u64, allowed: Option<u64>) -> Vec<(PackId, u64)> {
    let allowed = allowed.unwrap_or(u64::MAX);
    packs.retain(|(_, size)| *size <= allowed);
    packs.sort_by_cached_key(|(id, _)| {
        let (start, _) = id.as_bytes().split_at(8);
        start
            .iter()
            .fold(random, |state, byte| mix(state ^ u64::from(*byte)))
    });
    let mut bytes = 0_u64;
    let fits = |(index, (_, size)): &(usize, &(PackId, u64))| {
        bytes = bytes.saturating_add(*size);
        *index == 0 || bytes <= limits::VERIFY_BYTES.min(allowed)
    };
    let number = packs
        .iter()
        .enumerate()
        .take(limits::VERIFY_PACKS)
        .take_while(fits)
        .count();
    packs.truncate(number);
    packs
}

/// Whether a pack is what its name says, read piece by piece.
async fn read(repository: &Repository, id: PackId, size: u64) -> Result<bool> {
    let file = FileId::from(id);
    let mut hasher = Sha256::new();
    let mut at = 0;
    while at < size {
        let end = size.min(at + limits::READ_BYTES_MAX);
        let piece = repository
            .storage
            .get_range(FileType::Pack, &file, at..end)
            .await?;
        let hash = move |_: &mut _| {
            hasher.update(&piece);
            Ok(hasher)
        };
        hasher = repository.cpu.run(hash).await?;
        at = end;
    }
    Ok(hasher.finalize().as_slice() == id.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pack_is_drawn_sooner_or_later_and_never_too_many() {
        let pack = |number: u64| (PackId::from(FileId::of(&number.to_le_bytes())), 4 << 20);
        let all: Vec<_> = (0..200).map(pack).collect();
        let mut seen = std::collections::HashSet::new();
        for random in 0..1000 {
            let drawn = draw(all.clone(), random, None);
            assert_eq!(drawn.len() as u64, limits::VERIFY_BYTES / (4 << 20));
            seen.extend(drawn);
        }
        assert_eq!(seen.len(), all.len());
        let large = (pack(1).0, 10 * limits::VERIFY_BYTES);
        assert_eq!(draw(vec![large], 7, None), [large], "one is always read");
        assert_eq!(draw(vec![(large.0, 1); 100], 7, None).len(), limits::VERIFY_PACKS);
        assert_eq!(draw(all.clone(), 7, Some(9 << 20)).len(), 2);
        assert!(draw(all, 7, Some(1 << 20)).is_empty(), "none fits");
    }
}
