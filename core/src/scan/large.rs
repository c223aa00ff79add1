//! Large files: cut where they are read, sealed by the computing threads.

use std::io::{self, Read};

use super::walk::Walker;
use crate::{
    error::Error,
    limits,
    repository::err_if_cancelled,
    seal::Plain,
    sqlite::{ReadError, moment},
};

/// Room for the largest chunk, and for as much again as makes it cheap to move to the front what is left of one reading.
const BUFFER_BYTES: usize = limits::CHUNK_MAX_BYTES + limits::CHUNK_AVG_BYTES;

/// Why a file could not be streamed.
pub(super) enum Failed {
    /// The file itself: it counts as unreadable.
    Read(io::Error),
    /// A database was opened or written to in a way that ended the look at it; another look may do.
    Busy(io::Error),
    /// The engine, or a stop: the run ends.
    Engine(Error),
}

impl Failed {
    /// Another look would not do.
    pub(super) fn for_good(self) -> Self {
        match self {
            Self::Busy(error) => Self::Read(error),
            failed => failed,
        }
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Engine(error)
    }
}

impl From<ReadError> for Failed {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Cancelled => Self::Engine(Error::cancelled()),
            error @ ReadError::Busy(_) => Self::Busy(io::Error::other(error)),
            error => Self::Read(io::Error::other(error)),
        }
    }
}

impl From<moment::Failed> for Failed {
    fn from(failed: moment::Failed) -> Self {
        failed.error.into()
    }
}

/// Sends all that there is to read as chunks.
pub(super) fn stream(walker: &mut Walker, mut file: impl Read) -> Result<(), Failed> {
    // Small files before it go first, or they would wait for all of it.
    walker.flush()?;
    let mut buffer = std::mem::take(&mut walker.buffer);
    buffer.resize(BUFFER_BYTES, 0);
    let (mut start, mut end, mut at_end) = (0, 0, false);
    loop {
        err_if_cancelled(&walker.context.cancel)?;
        if end - start < limits::CHUNK_MAX_BYTES && !at_end {
            buffer.copy_within(start..end, 0);
            (start, end) = (0, end - start);
            while end < BUFFER_BYTES && !at_end {
                let read = retry_interrupted(|| file.read(&mut buffer[end..])).map_err(Failed::Read)?;
                at_end = read == 0;
                end += read;
            }
        }
        if start == end {
            break;
        }
        let length = walker.context.reader.chunker.cut(&buffer[start..end]);
        let reader = &walker.context.reader;
        let pieces = reader.pieces(&buffer[start..start + length], walker.context.piece_bytes_max)?;
        for length in pieces {
            let permit = walker.admit(length as u64)?;
            let buffers = &walker.context.reader.sealer.buffers;
            let plain = Plain::copy(buffers, &buffer[start..start + length]);
            start += length;
            walker.context.meter.bytes_read(length as u64);
            walker.seal_piece(plain, permit)?;
        }
    }
    walker.buffer = buffer;
    Ok(())
}

pub(super) fn retry_interrupted(mut read: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match read() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
