//! Which bytes SQLite's connections lock, as its sources of the Unix file layer and of the write-ahead log lay down, and how a reader
//! takes the ones it needs.
//!
//! Only shared locks are ever taken, so that a descriptor that may only read is enough.

use std::{io, sync::Arc};

use super::{
    descriptors::{DatabaseFile, Held},
    ofd::Range,
};

const fn byte(start: u64) -> Range {
    Range { start, bytes: 1 }
}

// Of the database file: 1 GiB from its start, in a page that SQLite never uses.
const PENDING_BYTE: u64 = 1 << 30;
/// Held exclusively by a writer that waits for the readers to leave; newcomers must take it, shared, for a moment.
pub(crate) const PENDING: Range = byte(PENDING_BYTE);
/// Held by the one connection that prepares to write. Never ours, not even shared: other connections would take that for a writer, and
/// a journal that waits to be rolled back for one in use.
pub(crate) const RESERVED: Range = byte(PENDING_BYTE + 1);
/// Held shared by readers, exclusively by whoever changes the file.
pub(crate) const SHARED: Range = Range {
    start: PENDING_BYTE + 2,
    bytes: 510,
};

// Of the `-shm` file.
/// Held exclusively by the one connection that writes to the log, or recovers the index of it.
pub(crate) const LOG_WRITE: Range = byte(120);
/// Held shared by readers that do without the log; exclusively by a checkpoint while it writes to the database file.
pub(crate) const READ_FILE: Range = byte(123);
/// Held shared, one of them, by readers of the log. Who begins the log anew needs all four exclusively.
const READ_LOG: [Range; 4] = [byte(127), byte(126), byte(125), byte(124)];
/// Held shared by everybody who has the index mapped. Nobody there: what is in it is left over, and the next to come clears it.
pub(crate) const INDEX_IN_USE: Range = byte(128);

/// Keeps the database file from being changed, in rollback mode; in either mode from changing its mode, and its log from being deleted.
pub(crate) fn try_read(file: &Arc<DatabaseFile>) -> io::Result<Option<Held>> {
    // First the byte that a waiting writer holds, so that readers who come one after the other do not keep it out for ever.
    let Some(_passing) = file.try_shared(PENDING)? else {
        return Ok(None);
    };
    file.try_shared(SHARED)
}

/// Keeps checkpoints from writing to the database file, and the log from beginning anew: its present frames stay what they are.
///
/// SQLite's readers also write into the index how far they read, which lets checkpoints go on up to there. That is left out: nothing of
/// the app's is written, and no checkpoint goes on. A mark of another reader, in the slot that is taken, stays as it was left.
pub(crate) fn try_freeze(index: &Arc<DatabaseFile>) -> io::Result<Option<[Held; 2]>> {
    let Some(file) = index.try_shared(READ_FILE)? else {
        return Ok(None);
    };
    for slot in READ_LOG {
        if let Some(log) = index.try_shared(slot)? {
            return Ok(Some([file, log]));
        }
    }
    Ok(None)
}
