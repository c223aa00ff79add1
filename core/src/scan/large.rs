//! Large files: cut where they are read, sealed by the computing threads.

use std::{
    fs::File,
    io::{self, Read},
    time::SystemTime,
};

use super::{
    metadata::Metadata,
    reader::{ReadEnd, end_of_reading},
    step::Step,
    walk::Walker,
};
use crate::{error::Error, limits, repository::err_if_cancelled};

/// Room for two of the largest chunks: what is left of one reading is moved to the front at most once per chunk of that size.
const BUFFER_BYTES: usize = 2 * limits::CHUNK_MAX_BYTES;

/// Why a file could not be streamed.
pub(super) enum Failed {
    /// The file itself: it counts as unreadable.
    Read(io::Error),
    /// The engine, or a stop: the run ends.
    Engine(Error),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Engine(error)
    }
}

/// Sends the content of `file` as chunks. With its status from before, says how the reading ended.
pub(super) fn stream(
    walker: &mut Walker,
    mut file: File,
    before: Option<(&Metadata, SystemTime)>,
) -> Result<ReadEnd, Failed> {
    // Small files before it go first, or they would wait for all of it.
    walker.flush()?;
    let mut buffer = vec![0; BUFFER_BYTES];
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
        let permit = walker.admit(length as u64)?;
        let plain = buffer[start..start + length].to_vec();
        start += length;
        walker.context.meter.bytes_read(length as u64);
        let reader = walker.context.reader.clone();
        let pending = walker
            .context
            .cpu
            .submit_blocking(move |cpu| reader.seal_chunk(cpu, plain, permit))?;
        walker.emit(Step::Chunk(pending))?;
    }
    match before {
        Some((metadata, started)) => end_of_reading(&file, metadata, started).map_err(Failed::Read),
        None => Ok(ReadEnd::Settled),
    }
}

fn retry_interrupted(mut read: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match read() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
