//! Databases among the entries: two nodes each, the base and the synthesised log beside it.

use super::assemble::{Assembler, Content, decode_xattrs};
use crate::{
    catalog::{DatabaseState, FileRow},
    error::{Error, Result},
    events::Event,
    format::{BlobId, Node},
    limits,
    scan::{CapturePart, Captured, Metadata, ReadEnd},
    sqlite::synthesis::{LOG_SUFFIX, page_bytes_of},
};

/// What was seen of a database's file before it was captured.
pub(super) struct Seen {
    pub(super) metadata: Metadata,
    pub(super) fingerprint: Vec<u8>,
    pub(super) end: ReadEnd,
    pub(super) before: Option<FileRow>,
}

impl Assembler {
    pub(super) fn database(&mut self, name: Vec<u8>, seen: Seen, captured: Captured) -> Result<()> {
        let mut take = |part| self.captures.remove(&(captured.key, part));
        let (base, log) = (take(CapturePart::Base), take(CapturePart::Log));
        let log = log.ok_or_else(|| Error::bug("a captured database without a log"))?;
        for oddity in &captured.oddities {
            let path = self.path(&name);
            let reason = oddity.to_string();
            if self.result.odd_databases.len() < limits::REPORT_NAMES_MAX {
                self.result.odd_databases.push((path.clone(), reason.clone()));
            }
            self.context.events.tell(Event::OddDatabase { path, reason });
        }
        let state_before = captured.before.clone();
        let state = state_of(captured, seen.fingerprint, base, log)?;
        let row = self.row(&seen.metadata, Vec::new(), Some(state.bytes()), seen.end);
        let before = seen.before.as_ref();
        let same = before.is_some_and(|before| row.is_as(before)) && state_before.as_ref() == Some(&state);
        self.count_read_file(state.bytes(), before, same);
        self.push_database(&name, &seen.metadata, &state)?;
        let is_open = state.base.iter().chain(&state.log).any(|id| self.data.holds(id));
        let key = self.folder()?.key.clone();
        self.rows.save(key.clone(), name.clone(), row, is_open);
        self.rows.save_database(key, name, state, is_open);
        self.flush_rows()
    }

    pub(super) fn database_unchanged(
        &mut self,
        name: Vec<u8>,
        mut metadata: Metadata,
        row: FileRow,
        state: DatabaseState,
        refresh: bool,
    ) -> Result<()> {
        metadata.xattrs = row.xattrs.as_deref().map(decode_xattrs).unwrap_or_default();
        self.result.stats.files_unmodified += 1;
        self.count_file(state.bytes());
        self.context.meter.bytes_read(state.bytes());
        self.push_database(&name, &metadata, &state)?;
        if refresh {
            let epoch = self.context.epoch;
            let key = self.folder()?.key.clone();
            self.rows.save(key, name, FileRow { epoch, ..row }, false);
            self.flush_rows()?;
        }
        Ok(())
    }

    /// The node of the base now, that of the log when its name has its turn.
    fn push_database(&mut self, name: &[u8], metadata: &Metadata, state: &DatabaseState) -> Result<()> {
        let mut node = |name: &[u8], size: u64, content: &[BlobId]| Node {
            size,
            content: Some(content.to_vec()),
            ..metadata.node(name, &mut self.names)
        };
        let base = node(name, state.base_bytes, &state.base);
        let log_name = [name, LOG_SUFFIX].concat();
        let log = node(&log_name, state.end.bytes(), &state.log);
        self.push(&base)?;
        self.folder()?.logs.insert(log_name, log);
        Ok(())
    }

    /// The log of a database that came before. Where that could not be read and is kept as the last snapshot has it, so is its log.
    pub(super) fn database_log(&mut self, name: &[u8]) -> Result<()> {
        if let Some(log) = self.folder()?.logs.remove(name) {
            return self.push(&log);
        }
        let is_log = |node: &Node| node.content.as_deref().and_then(page_bytes_of).is_some();
        match self.previous(name).filter(is_log) {
            Some(log) => self.push(&log),
            None => Ok(()),
        }
    }
}

/// What is stored of a database from now on.
fn state_of(
    captured: Captured,
    fingerprint: Vec<u8>,
    base: Option<Content>,
    log: Content,
) -> Result<DatabaseState> {
    let (old_base, old_log) = captured
        .before
        .map_or_else(Default::default, |before| (before.base, before.log));
    let base = match base {
        Some(base) => base.ids,
        None if old_base.is_empty() => return Err(Error::bug("a captured database without a base")),
        None => old_base,
    };
    let log = if captured.log_anew {
        log.ids
    } else {
        [old_log, log.ids].concat()
    };
    Ok(DatabaseState {
        pages: captured.pages,
        chunk_bytes: captured.chunk_bytes,
        base_bytes: captured.base_bytes,
        base,
        log,
        end: captured.end,
        fingerprint,
    })
}
