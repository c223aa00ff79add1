//! The room that sealed packs take on the device until the vault has confirmed them.

use crate::{
    error::{Error, Kind, Place, Result},
    limits,
    repository::Spool,
    runtime::budget::{Budget, Permit},
};

/// Shared by whoever fills the spool and whoever empties it.
#[derive(Clone)]
pub(crate) struct SpoolRoom {
    spool: Spool,
    budget: Budget,
}

impl SpoolRoom {
    pub(crate) fn new(spool: Spool) -> Self {
        Self {
            spool,
            budget: Budget::new(limits::SPOOL_BYTES_MAX),
        }
    }

    /// What waits in the spool, and what is being written there.
    pub(crate) fn taken_bytes(&self) -> u64 {
        self.budget.taken_bytes()
    }

    /// The room that a pack takes which is in the spool already. `None` where others have taken it all: what is on the disk is sent all the same.
    pub(crate) fn of_spooled(&self, bytes: u64) -> Option<Permit> {
        self.budget.try_admit(bytes)
    }

    /// Waits until there is room for a pack more. Where the disk has only its reserve left, that is when everything else is confirmed and gone; if
    /// it has no more even then, the app comes first.
    pub(crate) async fn admit(&self, bytes: u64) -> Result<Permit> {
        let permit = self.budget.admit(bytes).await?;
        if !self.spool.is_disk_full(0)? {
            return Ok(permit);
        }
        drop(permit);
        let all = self.budget.admit(limits::SPOOL_BYTES_MAX).await?;
        drop(all);
        if self.spool.is_disk_full(bytes)? {
            let text = "the disk has only its reserve left: make room there, then do the same again; what was done is kept";
            return Err(Error::new(Kind::OutOfSpace(Place::State), text));
        }
        self.budget.admit(bytes).await
    }
}
