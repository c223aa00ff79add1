//! From plain bytes to sealed packs: cut, hash, look up, compress, encrypt, append. Steps for the computing threads and for the thread that
//! assembles; nothing here knows of actors or of the vault.

mod blob;
mod chunker;
mod pack_writer;
mod plain;

pub(crate) use blob::{Chunk, SealedBytes, SealedChunk, Sealer};
pub(crate) use chunker::Chunker;
pub(crate) use pack_writer::PackWriter;
pub(crate) use plain::Plain;
