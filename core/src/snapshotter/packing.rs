//! How packs are filled: an earlier window's first, closed when they are full, kept back when a window ends before that.

use super::{assemble::Assembler, rows};
use crate::{
    catalog::{SealedPack, SpooledPack, packs, run},
    error::Result,
    format::{BlobType, PackId},
};

/// How packs are filled.
#[derive(Debug, Clone)]
pub(super) struct Packing {
    /// A pack is closed when it has so many bytes.
    pub(super) target_bytes: u64,
    /// Packs in the spool that an earlier window had to close before they were full: filled first.
    pub(super) unfilled: Vec<PackId>,
    /// Whether the run goes on after a stop: then the packs that are open by then are kept back, to be filled.
    pub(super) goes_on: bool,
}

impl Assembler {
    /// Goes on where packs were closed before they were full.
    pub(super) fn refill(&mut self) -> Result<()> {
        for id in std::mem::take(&mut self.context.packing.unfilled) {
            // One that cannot be read is left as it is: the next start looks at it.
            let Some(pack) = self.context.spool.inspect(&id, &self.context.repository.key)? else {
                continue;
            };
            let is_tree = pack
                .entries
                .first()
                .is_some_and(|entry| entry.blob_type == BlobType::Tree);
            let writer = if is_tree { &mut self.trees } else { &mut self.data };
            writer.refill(&self.context.spool, &pack)?;
            if writer.is_full() {
                if is_tree {
                    self.close_trees()?
                } else {
                    self.close_data()?
                }
            }
        }
        Ok(())
    }

    pub(super) fn close_packs(&mut self) -> Result<()> {
        self.close_data()?;
        self.close_trees()
    }

    /// Closes the data pack; with it, everything that waits for it becomes part of the catalog.
    pub(super) fn close_data(&mut self) -> Result<()> {
        let closed = self
            .data
            .close(&self.context.spool, &self.context.repository.key)?;
        let changes = self.rows.take_all();
        match closed {
            Some(pack) => {
                self.recent.rotate_right(1);
                self.recent[0] = pack.entries.iter().map(|entry| entry.id).collect();
                let replaced = self.data.take_replaced();
                self.record(pack, changes, replaced)
            }
            None if changes.is_empty() => Ok(()),
            None => self
                .context
                .catalog
                .write_blocking(move |tx| rows::write(tx, &changes)),
        }
    }

    pub(super) fn close_trees(&mut self) -> Result<()> {
        match self
            .trees
            .close(&self.context.spool, &self.context.repository.key)?
        {
            Some(pack) => {
                let replaced = self.trees.take_replaced();
                self.record(pack, Vec::new(), replaced)
            }
            None => Ok(()),
        }
    }

    /// Tells the catalog of a pack, then the Uploader, as soon as the spool has room for it.
    fn record(&mut self, pack: SealedPack, changes: Vec<rows::Change>, replaced: Vec<PackId>) -> Result<()> {
        let spooled = SpooledPack {
            id: pack.id,
            size: pack.size,
        };
        let (keep_back, gone) = (self.keep_back, replaced.clone());
        self.context.catalog.write_blocking(move |tx| {
            packs::replace_spooled(tx, std::slice::from_ref(&pack), &replaced)?;
            let mut unfilled = run::unfilled(tx)?;
            if keep_back || !replaced.is_empty() {
                unfilled.retain(|id| !replaced.contains(id));
                unfilled.extend(keep_back.then_some(pack.id));
                run::save_unfilled(tx, &unfilled)?;
            }
            rows::write(tx, &changes)
        })?;
        for id in gone.iter().filter(|id| **id != spooled.id) {
            self.context.spool.remove(id);
        }
        if keep_back {
            return Ok(());
        }
        let admit = self
            .context
            .cancel
            .run_until_cancelled(self.context.room.admit(spooled.size));
        match self.context.runtime.block_on(admit) {
            Some(permit) => {
                (self.context.on_pack)(spooled, permit?);
                Ok(())
            }
            // The next run finds it in the catalog.
            None => Ok(()),
        }
    }
}
