//! What the catalog remembers of a folder's files, page by page beside the walk, so that a folder of any size costs bounded memory.

use std::collections::VecDeque;

use super::{DirKey, WalkContext};
use crate::{
    catalog::{FileRow, files},
    error::Result,
};

/// Rows fetched at a time.
const PAGE_ROWS: usize = 512;

pub(super) struct KnownFiles {
    key: DirKey,
    page: VecDeque<(Vec<u8>, FileRow)>,
    /// The last name that was fetched: the next page begins after it.
    last: Vec<u8>,
    more: bool,
    gone: Vec<Vec<u8>>,
    /// Whether the folder was never walked before.
    is_new: bool,
}

/// What the catalog remembers of a folder that is not there any more.
pub(super) struct Rest {
    pub(super) gone: Vec<Vec<u8>>,
    pub(super) is_new: bool,
}

impl KnownFiles {
    pub(super) fn in_dir(key: DirKey) -> Self {
        Self {
            key,
            page: VecDeque::new(),
            last: Vec::new(),
            more: true,
            gone: Vec::new(),
            is_new: false,
        }
    }

    /// What is known of one file, for a source that is one.
    pub(super) fn only(context: &WalkContext, key: DirKey, name: &[u8]) -> Result<Self> {
        let (dir, wanted) = (key.clone(), name.to_vec());
        let row = context
            .reader
            .catalog
            .read_blocking(move |db| files::one(db, &dir, &wanted))?;
        let page = row.map(|row| (name.to_vec(), row)).into_iter().collect();
        Ok(Self {
            page,
            more: false,
            ..Self::in_dir(key)
        })
    }

    /// What is remembered of `name`. Names must be asked for in ascending order.
    pub(super) fn take(&mut self, context: &WalkContext, name: &[u8]) -> Result<Option<FileRow>> {
        loop {
            match self.page.front() {
                Some((front, _)) if front.as_slice() < name => {
                    self.gone.extend(self.page.pop_front().map(|(name, _)| name));
                }
                Some((front, _)) if front == name => return Ok(self.page.pop_front().map(|(_, row)| row)),
                Some(_) => return Ok(None),
                None if self.more => self.fetch(context)?,
                None => return Ok(None),
            }
        }
    }

    /// The names that were remembered and not asked for.
    pub(super) fn finish(mut self, context: &WalkContext) -> Result<Rest> {
        loop {
            self.gone.extend(self.page.drain(..).map(|(name, _)| name));
            if !self.more {
                return Ok(Rest {
                    gone: self.gone,
                    is_new: self.is_new,
                });
            }
            self.fetch(context)?;
        }
    }

    fn fetch(&mut self, context: &WalkContext) -> Result<()> {
        let (key, after) = (self.key.clone(), self.last.clone());
        let page = context
            .reader
            .catalog
            .read_blocking(move |db| files::in_dir_after(db, &key, &after, PAGE_ROWS))?;
        self.is_new |= page.is_none();
        let page = page.unwrap_or_default();
        self.more = page.len() == PAGE_ROWS;
        if let Some((name, _)) = page.last() {
            self.last.clone_from(name);
        }
        self.page = page.into();
        Ok(())
    }
}
