//! What the catalog is to remember of files, held back until their content is in recorded packs.

use crate::{
    catalog::{DatabaseState, FileRow, databases, files},
    error::Result,
    scan::DirKey,
};

/// More than this is written at once, to bound what is held.
const FLUSH_ROWS: usize = 2048;

/// One change of the catalog's files.
pub(super) enum Change {
    Save {
        dir: DirKey,
        name: Vec<u8>,
        row: Box<FileRow>,
    },
    SaveDatabase {
        dir: DirKey,
        name: Vec<u8>,
        state: Box<DatabaseState>,
    },
    /// The folder was walked.
    Walked {
        dir: DirKey,
    },
    Forget {
        dir: DirKey,
        names: Vec<Vec<u8>>,
    },
}

#[derive(Default)]
pub(super) struct Rows {
    /// All their content is in recorded packs.
    ready: Vec<Change>,
    /// Some of it is in the open pack.
    waiting: Vec<Change>,
}

impl Rows {
    /// `in_open_pack`: whether some of the file's content is not in a recorded pack yet.
    pub(super) fn save(&mut self, dir: DirKey, name: Vec<u8>, row: FileRow, in_open_pack: bool) {
        let row = Box::new(row);
        self.add(Change::Save { dir, name, row }, in_open_pack);
    }

    pub(super) fn save_database(
        &mut self,
        dir: DirKey,
        name: Vec<u8>,
        state: DatabaseState,
        in_open_pack: bool,
    ) {
        let state = Box::new(state);
        self.add(Change::SaveDatabase { dir, name, state }, in_open_pack);
    }

    fn add(&mut self, change: Change, in_open_pack: bool) {
        if in_open_pack {
            self.waiting.push(change);
        } else {
            self.ready.push(change);
        }
    }

    pub(super) fn walked(&mut self, dir: DirKey) {
        self.ready.push(Change::Walked { dir });
    }

    pub(super) fn forget(&mut self, dir: DirKey, names: Vec<Vec<u8>>) {
        if !names.is_empty() {
            self.ready.push(Change::Forget { dir, names });
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.ready.len() >= FLUSH_ROWS
    }

    /// Everything, to be written together with the pack that was just closed.
    pub(super) fn take_all(&mut self) -> Vec<Change> {
        let mut all = std::mem::take(&mut self.ready);
        all.append(&mut self.waiting);
        all
    }

    pub(super) fn take_ready(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.ready)
    }
}

pub(super) fn write(tx: &rusqlite::Transaction<'_>, changes: &[Change]) -> Result<()> {
    for change in changes {
        match change {
            Change::Save { dir, name, row } => files::save(tx, dir, name, row)?,
            Change::SaveDatabase { dir, name, state } => databases::save(tx, dir, name, state)?,
            Change::Walked { dir } => files::save_dir(tx, dir).map(|_| ())?,
            Change::Forget { dir, names } => files::forget(tx, dir, names)?,
        }
    }
    Ok(())
}
