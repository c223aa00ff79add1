//! How far a staging folder is that waits for calls of its own, and how it is found.

use std::{
    ffi::OsString,
    io::{self, Read},
    path::Path,
};

use serde::{Deserialize, Serialize};

use super::super::staging::{STATE, Staging, Target, names, snapshot_of};
use crate::error::{Error, Kind, Place, Result};

const VERSION: u32 = 1;
/// Longer than any state is in writing.
const STATE_BYTES_MAX: u64 = 4096;

/// How far what waits is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PendingState {
    /// Nothing in the target has changed.
    Staged,
    /// Applying began, and the next call finishes it.
    Applying,
    /// In place, with the old files kept.
    Applied,
    /// Rolling back began, and the next call finishes it.
    RollingBack,
    /// Confirmed or rolled back: what is left is being removed.
    Served,
}

#[derive(Serialize, Deserialize)]
struct Written {
    version: u32,
    state: PendingState,
}

/// A staging folder that waits, locked.
pub(super) struct Work {
    pub(super) target: Target,
    pub(super) staging: Staging,
    pub(super) state: PendingState,
    /// The beginning of the snapshot's id.
    pub(super) snapshot: String,
}

/// Durable when it returns.
pub(in super::super) fn write_state(staging: &Staging, state: PendingState) -> Result<()> {
    let written = Written {
        version: VERSION,
        state,
    };
    let json = serde_json::to_vec(&written)
        .map_err(|error| Error::with_source(Kind::Bug, "describing a state", error))?;
    staging.write_whole(STATE, &json)
}

/// `None`: this folder waits for nothing.
fn read_state(staging: &Staging) -> Result<Option<PendingState>> {
    let Some(file) = staging.file(STATE)? else {
        return Ok(None);
    };
    let mut json = Vec::new();
    let read = file.take(STATE_BYTES_MAX).read_to_end(&mut json);
    read.map_err(|error| Error::io(Place::Target, "reading", &staging.path().join(STATE), error))?;
    match serde_json::from_slice::<Written>(&json) {
        Ok(written) if written.version == VERSION => Ok(Some(written.state)),
        _ => {
            let text = format!(
                "{} was changed, or is of another version: what it says cannot be read",
                staging.path().join(STATE).display()
            );
            Err(Error::new(Kind::Damaged, text))
        }
    }
}

/// What waits in a target and is not merely left over.
pub(super) fn find(path: &Path) -> Result<Option<Work>> {
    let Some(target) = Target::find(path)? else {
        return Ok(None);
    };
    for name in names(&target)? {
        let Some((staging, state)) = waiting(&target, &name)? else {
            continue;
        };
        // Before that its content is not complete; after that it has served.
        if staging.journal()?.is_some() && state != PendingState::Served {
            let snapshot = snapshot_of(&name);
            return Ok(Some(Work {
                target,
                staging,
                state,
                snapshot,
            }));
        }
    }
    Ok(None)
}

/// A staging folder with a state. Others are left alone: they may be in use, or somebody else's.
fn waiting(target: &Target, name: &OsString) -> Result<Option<(Staging, PendingState)>> {
    let state = target.path.join(name).join(STATE);
    match std::fs::symlink_metadata(&state) {
        Ok(_) => {}
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(Error::io(Place::Target, "looking at", &state, error)),
    }
    let Some(staging) = Staging::find(target, name)? else {
        return Ok(None);
    };
    Ok(read_state(&staging)?.map(|state| (staging, state)))
}

/// Removes what is left of restores that were confirmed or rolled back.
pub(in super::super) fn clear_served(path: &Path) -> Result<()> {
    let Some(target) = Target::find(path)? else {
        return Ok(());
    };
    for name in names(&target)? {
        if let Some((staging, PendingState::Served)) = waiting(&target, &name)? {
            staging.discard(&target)?;
        }
    }
    Ok(())
}

/// Refuses another restore while one waits.
pub(in super::super) fn refuse_if_any(path: &Path) -> Result<()> {
    let Some(work) = find(path)? else {
        return clear_served(path);
    };
    let what = match work.state {
        PendingState::Staged => "is staged and waits to be applied: apply it, or roll it back to give it up",
        PendingState::Applying => {
            "was interrupted while it was being applied: apply it again to finish it, or roll it back"
        }
        PendingState::Applied => "is applied and not confirmed: confirm it, or roll it back",
        PendingState::RollingBack | PendingState::Served => {
            "was interrupted while it was being rolled back: roll it back again to finish that"
        }
    };
    let text = format!(
        "a restore of snapshot {} into {} {what}; then restore again",
        work.snapshot,
        path.display()
    );
    Err(Error::new(Kind::InvalidInput, text))
}
