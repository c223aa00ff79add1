//! The inner loops, for the micro-benchmarks in `benches/`, which measure them one by one. Hidden, since it is no part of what an app uses: it
//! may change with every release. What is public anyway (hashes, seals, trees) is measured as it is.

use std::path::Path;

use crate::{
    catalog::{Catalog, CatalogThread, SealedPack, blobs, packs},
    error::Result,
    format::{BlobId, BlobType, Config, PackEntry, PackId},
    seal::Chunker,
    sqlite::{
        page_hash::{PageHash, PageHasher},
        synthesis::LogEnd,
    },
};

/// Finds where to cut the content of files.
pub fn cutter(config: &Config) -> impl Fn(&[u8]) -> usize + use<> {
    let chunker = Chunker::new(config);
    move |bytes| chunker.cut(bytes)
}

/// Hashes pages of databases.
pub fn page_hasher(config: &Config) -> impl Fn(&[u8]) -> PageHash + use<> {
    let hasher = PageHasher::new(config);
    move |page| hasher.hash(page)
}

/// Makes the headers of a log that holds these pages, and gives the last one.
pub fn synthesise_log(page_bytes: u32, pages: &[u8]) -> [u8; 24] {
    let (mut end, mut last) = (LogEnd::empty(page_bytes), [0; 24]);
    for (page, number) in pages.chunks_exact(page_bytes as usize).zip(1..) {
        last = end.append(number, 0, page);
    }
    last
}

/// What the catalog knows of blobs, with the thread in front of it that it has in an engine.
pub struct KnownBlobs {
    catalog: Catalog,
    thread: CatalogThread,
}

impl KnownBlobs {
    /// A new catalog, or the one that is in this file.
    pub fn open(path: &Path) -> Result<Self> {
        let (catalog, thread, _) = Catalog::start_unlocked(path)?;
        Ok(Self { catalog, thread })
    }

    /// Records a pack of data blobs, as a backup does that has just sealed it.
    pub fn add(&self, pack: PackId, ids: impl Iterator<Item = BlobId>) -> Result<()> {
        let entry = |(id, at): (BlobId, u32)| PackEntry {
            id,
            blob_type: BlobType::Data,
            offset: at * 512,
            length: 512,
            uncompressed_length: Some(1024),
        };
        let entries: Vec<_> = ids.zip(0..).map(entry).collect();
        let size = 512 * entries.len() as u64;
        let pack = SealedPack {
            id: pack,
            size,
            entries,
        };
        self.catalog
            .write_blocking(move |tx| packs::add_confirmed(tx, &pack))
    }

    /// How many of these the catalog knows, in one question.
    pub fn known(&self, ids: &[BlobId]) -> Result<usize> {
        let wanted: Vec<_> = ids.iter().map(|id| (BlobType::Data, *id)).collect();
        let known = self.catalog.read_blocking(move |db| blobs::known(db, &wanted))?;
        Ok(known.into_iter().filter(|known| *known).count())
    }

    pub fn close(self) {
        drop(self.catalog);
        self.thread.join();
    }
}
