//! Packs that somebody else sends: the operating system's own uploader, which goes on when the app does not run.
//!
//! What it says of the outcome is noted, in any order, twice or never; it is believed when the pack is seen in the vault. A pack that is not seen in
//! time is the engine's to send again. Nothing names a pack before it was seen.

use std::{collections::HashMap, path::PathBuf, time::Duration};

use super::run::WindowParts;
use crate::{
    catalog::{
        SpooledPack, packs,
        run::{self, HandedOff},
    },
    error::Result,
    format::{FileType, PackId},
    limits,
    storage::{HandOffDirection, SignedRequest, Storage},
};

/// A pack to be sent as it is: the request with the file as its body.
#[derive(Debug, Clone)]
pub struct HandOff {
    pub pack: PackId,
    /// In the spool. It goes away when the vault is seen to hold the pack.
    pub file: PathBuf,
    /// Bytes of the file.
    pub size: u64,
    pub request: SignedRequest,
}

/// Gives packs out, oldest first, up to `HAND_OFFS_MAX` at a time. Until `expires` has passed they are not sent by the engine.
pub(crate) async fn give_out(parts: &WindowParts, expires: Duration) -> Result<Vec<HandOff>> {
    let until_s = parts
        .now_s()
        .saturating_add(i64::try_from(expires.as_secs()).unwrap_or(i64::MAX));
    let (spooled, unfilled, mut given, is_complete) = parts
        .catalog
        .read(|db| {
            let is_complete = run::run(db)?.is_some_and(|row| row.tree.is_some());
            let unfilled = run::unfilled(db)?;
            Ok((packs::spooled(db)?, unfilled, run::handed_off(db)?, is_complete))
        })
        .await?;
    let may_go = |pack: &SpooledPack, given: &HashMap<PackId, HandedOff>| {
        // A pack that is not full is filled first, unless nothing more is to come.
        !given.contains_key(&pack.id) && (is_complete || !unfilled.contains(&pack.id))
    };
    let mut out = Vec::new();
    for pack in spooled {
        if given.len() >= limits::HAND_OFFS_MAX {
            break;
        }
        if !may_go(&pack, &given) {
            continue;
        }
        let request = parts
            .gate
            .hand_off(HandOffDirection::Put, FileType::Pack, &pack.id.into(), expires)
            .await?;
        given.insert(
            pack.id,
            HandedOff {
                until_s,
                said_stored: false,
            },
        );
        out.push(HandOff {
            pack: pack.id,
            file: parts.spool.path(&pack.id),
            size: pack.size,
            request,
        });
    }
    // Known before anybody has the requests: a kill in between only delays these packs.
    parts
        .catalog
        .write(move |tx| run::save_handed_off(tx, &given))
        .await?;
    Ok(out)
}

/// Notes what somebody said of a pack. One that is not out, any more or at all, is none of anybody's business.
pub(crate) async fn note(parts: &WindowParts, pack: PackId, stored: bool) -> Result<()> {
    parts
        .catalog
        .write(move |tx| {
            let mut given = run::handed_off(tx)?;
            match given.get_mut(&pack) {
                Some(entry) if stored => entry.said_stored = true,
                Some(_) => drop(given.remove(&pack)),
                None => return Ok(()),
            }
            run::save_handed_off(tx, &given)
        })
        .await
}

/// Looks for packs that are out: those of which somebody said that they are stored, those whose time is over, and with `all` every one. What the
/// vault holds is confirmed; what it does not hold and should, is sent by the engine again. Returns what is still out.
pub(crate) async fn settle(parts: &WindowParts, all: bool) -> Result<HashMap<PackId, HandedOff>> {
    let (mut given, spooled) = parts
        .catalog
        .read(|db| Ok((run::handed_off(db)?, packs::spooled(db)?)))
        .await?;
    if given.is_empty() {
        return Ok(given);
    }
    let now_s = parts.now_s();
    let mut seen = Vec::new();
    let here: HashMap<PackId, u64> = spooled.iter().map(|pack| (pack.id, pack.size)).collect();
    given.retain(|id, _| here.contains_key(id));
    for (id, entry) in given.clone() {
        let is_over = entry.said_stored || entry.until_s < now_s;
        if !is_over && !all {
            continue;
        }
        let size = parts.gate.size(FileType::Pack, &id.into()).await?;
        if size.is_some() && size == here.get(&id).copied() {
            seen.push(id);
            given.remove(&id);
        } else if is_over {
            given.remove(&id);
        }
    }
    let (left, confirmed) = (given.clone(), seen.clone());
    parts
        .catalog
        .write(move |tx| {
            for id in &confirmed {
                packs::confirm(tx, id)?;
            }
            run::save_handed_off(tx, &left)
        })
        .await?;
    for id in seen {
        parts.spool.remove(&id);
    }
    Ok(given)
}
