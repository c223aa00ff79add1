//! Opening files and reading them whole, or piece by piece, and noticing when they change meanwhile.

use std::{
    ffi::CStr,
    fs::File,
    io::{self, Read},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
    time::SystemTime,
};

use rustix::fs::{Mode, OFlags, fstat, openat};

use super::{
    decide::is_racy,
    metadata::{Metadata, xattrs_of_fd},
};
use crate::{
    catalog::{Catalog, blobs},
    error::Result,
    format::{BlobId, BlobType, NodeType},
    limits,
    runtime::{budget::Permit, cpu::CpuContext},
    seal::{Chunk, Chunker, Plain, SealedChunk, Sealer},
};

/// A file's content in sealed pieces, and its metadata as of just before the reading.
pub(crate) struct ReadFile {
    pub(crate) metadata: Metadata,
    pub(crate) chunks: Vec<SealedChunk>,
    pub(crate) end: ReadEnd,
}

/// How a reading went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReadEnd {
    /// The file stayed as it was: next time its status tells whether it changed.
    Settled,
    /// It stayed as it was, but so shortly after a change that its status would not show the next one.
    Racy,
    /// It changed each time it was read. What was read last stands.
    Changing,
}

/// A small file for a worker to read.
pub(crate) struct SmallFile {
    pub(crate) dir: Arc<OwnedFd>,
    pub(crate) name: Box<CStr>,
    pub(crate) started: SystemTime,
}

/// Opens a regular file of a folder; whatever else has taken its place since it was listed is an error.
pub(crate) fn open_file(dir: BorrowedFd<'_>, name: &CStr) -> io::Result<(File, Metadata)> {
    // Not blocking: a pipe that took the file's place would hold the thread for ever.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = openat(dir, name, flags, Mode::empty())?;
    let mut metadata = Metadata::of(&fstat(&fd)?);
    if metadata.kind() != NodeType::File {
        return Err(io::Error::other("it is not a regular file any more"));
    }
    metadata.xattrs = xattrs_of_fd(fd.as_fd());
    Ok((File::from(fd), metadata))
}

/// What the status after a reading says of it.
pub(crate) fn end_of_reading(file: &File, before: &Metadata, started: SystemTime) -> io::Result<ReadEnd> {
    let after = Metadata::of(&fstat(file)?);
    let same = catalog_stat(&after) == catalog_stat(before);
    Ok(match (same, is_racy(&before.stat, started)) {
        (false, _) => ReadEnd::Changing,
        (true, true) => ReadEnd::Racy,
        (true, false) => ReadEnd::Settled,
    })
}

fn catalog_stat(metadata: &Metadata) -> crate::catalog::Stat {
    crate::catalog::Stat {
        log: None,
        ..metadata.stat
    }
}

/// As few parts as possible of at most `most` bytes, all of about the same length.
fn evenly(length: usize, most: usize) -> Vec<usize> {
    let count = length.div_ceil(most.max(1)).max(1);
    (0..count)
        .map(|part| length * (part + 1) / count - length * part / count)
        .collect()
}

/// What sealing small files needs.
#[derive(Clone)]
pub(crate) struct FileReader {
    pub(crate) catalog: Catalog,
    pub(crate) sealer: Sealer,
    pub(crate) chunker: Arc<Chunker>,
}

struct PlainFile {
    metadata: Metadata,
    chunks: Vec<Chunk>,
    end: ReadEnd,
}

impl FileReader {
    /// Reads, cuts and seals several files, with one question to the catalog for all of them. A file that cannot be read fails alone.
    pub(crate) fn read_batch(
        &self,
        context: &mut CpuContext,
        files: Vec<SmallFile>,
        permit: Permit,
    ) -> Result<Vec<io::Result<ReadFile>>> {
        let permit = Arc::new(permit);
        let plain: Vec<io::Result<PlainFile>> = files.iter().map(|file| self.read(file)).collect();
        let ids = |file: &PlainFile| file.chunks.iter().map(|chunk| chunk.id).collect::<Vec<_>>();
        let ids: Vec<BlobId> = plain.iter().flatten().flat_map(ids).collect();
        let mut known = self.known(ids)?.into_iter();
        let mut sealed_here = std::collections::HashSet::new();
        let mut sealed_files = Vec::with_capacity(plain.len());
        for file in plain {
            sealed_files.push(match file {
                Err(error) => Err(error),
                Ok(PlainFile {
                    metadata,
                    chunks,
                    end,
                }) => {
                    let mut sealed = Vec::with_capacity(chunks.len());
                    for chunk in chunks {
                        // The order of `known` is that of the chunks.
                        let skip = known.next().unwrap_or(false) || !sealed_here.insert(chunk.id);
                        sealed.push(self.seal(context, chunk, skip, permit.clone())?);
                    }
                    Ok(ReadFile {
                        metadata,
                        chunks: sealed,
                        end,
                    })
                }
            });
        }
        Ok(sealed_files)
    }

    /// Seals one piece of a large file.
    pub(crate) fn seal_chunk(
        &self,
        context: &mut CpuContext,
        plain: Plain,
        permit: Permit,
    ) -> Result<SealedChunk> {
        let chunk = Chunk::of(plain);
        let known = self.known(vec![chunk.id])?.first() == Some(&true);
        self.seal(context, chunk, known, Arc::new(permit))
    }

    /// Cuts a chunk once more that is longer than `most`, unless its parts, or all of it, are known from when there was more room. Returns their lengths.
    pub(crate) fn pieces(&self, chunk: &[u8], most: usize) -> Result<Vec<usize>> {
        if chunk.len() <= most {
            return Ok(vec![chunk.len()]);
        }
        // First whole, then in halves, and so on.
        let mut longest = chunk.len().next_power_of_two();
        while longest > most {
            let lengths = evenly(chunk.len(), longest);
            let mut rest = chunk;
            let ids = lengths.iter().map(|&length| {
                let (piece, tail) = rest.split_at(length);
                rest = tail;
                BlobId::of(piece)
            });
            if self.known(ids.collect())?.into_iter().all(|known| known) {
                return Ok(lengths);
            }
            longest /= 2;
        }
        Ok(evenly(chunk.len(), most))
    }

    fn known(&self, ids: Vec<BlobId>) -> Result<Vec<bool>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let blobs: Vec<_> = ids.into_iter().map(|id| (BlobType::Data, id)).collect();
        self.catalog.read_blocking(move |db| blobs::known(db, &blobs))
    }

    fn seal(
        &self,
        context: &mut CpuContext,
        chunk: Chunk,
        known: bool,
        permit: Arc<Permit>,
    ) -> Result<SealedChunk> {
        let plain_length = chunk.plain.len() as u64;
        let sealed = if known {
            self.sealer.buffers.give(chunk.plain.into_buffer());
            None
        } else {
            Some(self.sealer.seal(context, BlobType::Data, chunk.plain)?)
        };
        Ok(SealedChunk {
            id: chunk.id,
            plain_length,
            sealed,
            _permit: Some(permit),
        })
    }

    /// Reads a small file, again if it changed meanwhile.
    fn read(&self, file: &SmallFile) -> io::Result<PlainFile> {
        let mut attempt = 0;
        loop {
            let (mut open, metadata) = open_file(file.dir.as_fd(), &file.name)?;
            // A file that grew since it was listed must not be held whole in memory.
            let most = 2 * limits::SMALL_FILE_BYTES_MAX;
            // One more, so that the end is seen without the buffer growing.
            let room = usize::try_from(metadata.stat.size.min(most)).unwrap_or(0) + 1;
            let mut plain = Plain::take(&self.sealer.buffers, room);
            plain.read_to_end(open.by_ref().take(most + 1))?;
            if plain.len() as u64 > most {
                return Err(io::Error::other(
                    "it grew while it was read; the next backup will have it",
                ));
            }
            let end = end_of_reading(&open, &metadata, file.started)?;
            if end != ReadEnd::Changing || attempt == limits::CHANGED_WHILE_READ_RETRIES {
                return Ok(PlainFile {
                    metadata,
                    chunks: self.cut(plain),
                    end,
                });
            }
            attempt += 1;
        }
    }

    fn cut(&self, plain: Plain) -> Vec<Chunk> {
        let mut chunks = Vec::new();
        let mut rest = &*plain;
        while !rest.is_empty() {
            let length = self.chunker.cut(rest);
            if length == plain.len() {
                return vec![Chunk::of(plain)];
            }
            let (chunk, tail) = rest.split_at(length);
            chunks.push(Chunk::of(Plain::copy(&self.sealer.buffers, chunk)));
            rest = tail;
        }
        chunks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_even_and_together_the_whole() {
        for length in [1, 7, 256 << 10, (1 << 20) + 1, 2 << 20] {
            for most in [256 << 10, 512 << 10, 1 << 20] {
                let parts = evenly(length, most);
                assert_eq!(parts.iter().sum::<usize>(), length);
                let (least, longest) = (parts.iter().min().unwrap(), parts.iter().max().unwrap());
                assert!(
                    *longest <= most && longest - least <= 1,
                    "{length} {most}: {parts:?}"
                );
            }
        }
    }
}
