//! Index files, and what they say of packs against what packs there are.

use rusqlite::{Connection, Transaction};
use tokio_util::sync::CancellationToken;

use super::{
    Checker, changed_meanwhile,
    findings::{Findings, text_of},
    layout::Listed,
    scratch,
    vault::{InFlight, attempt},
};
use crate::{
    catalog::sql_error,
    error::{Error, Kind, Result},
    format::{FileId, FileType, IndexId, PackEntry, PackId, SEAL_OVERHEAD, UnpackedReader},
    limits,
    repository::err_if_cancelled,
    storage::file_name,
};

/// Rows of one transaction: some milliseconds, so that a check that is stopped ends soon.
const BATCH_PACKS: usize = 256;
const BATCH_FILES: usize = 4096;
const BATCH_BLOBS: u64 = 4096;

impl Checker {
    pub(super) async fn load_indexes(&mut self, ids: &[FileId]) -> Result<()> {
        let mut loads = InFlight::new(limits::CHECK_FILES_IN_FLIGHT);
        let repository = self.repository.clone();
        let mut tasks = ids.iter().map(|&id| {
            let repository = repository.clone();
            async move {
                let load = || repository.load_unpacked(FileType::Index, &id);
                Ok((id, attempt(&*repository.storage, load).await?))
            }
        });
        loop {
            loads.fill(&mut tasks);
            let Some(loaded) = loads.next().await else {
                return Ok(());
            };
            let (id, framed) = loaded?;
            let added = match framed {
                Ok(framed) => self.add_index(id.into(), framed).await,
                Err(error) => Err(error),
            };
            match added {
                Ok(()) => {}
                Err(error) if error.kind() == Kind::NotFound => return Err(changed_meanwhile()),
                Err(error) => self.unreadable_index(&id, error)?,
            }
        }
    }

    async fn add_index(&self, id: IndexId, framed: Vec<u8>) -> Result<()> {
        let cancel = self.cancel.clone();
        self.scratch
            .write(move |tx| {
                let document = UnpackedReader::new(&framed, limits::INDEX_PLAIN_BYTES_MAX)?;
                scratch::add_index(tx, &id, document, &cancel)
            })
            .await
    }

    fn unreadable_index(&mut self, id: &FileId, error: Error) -> Result<()> {
        match error.kind() {
            Kind::Damaged | Kind::Unsupported | Kind::Unreachable | Kind::AccessDenied => {
                let subject = file_name(FileType::Index, id);
                let text = text_of(&error, &subject);
                let advice = "`restic repair index` makes the indexes anew from the packs";
                self.found.error(subject, format!("{text}; {advice}"));
                Ok(())
            }
            _ => Err(error),
        }
    }

    pub(super) async fn list_packs(&mut self) -> Result<()> {
        let files = self.repository.storage.list(FileType::Pack).await?;
        for batch in files.chunks(BATCH_FILES) {
            let batch = batch.to_vec();
            self.scratch
                .write(move |tx| scratch::add_files(tx, &batch))
                .await?;
        }
        Ok(())
    }

    /// Compares what the indexes say of each pack with the file.
    pub(super) async fn judge_packs(&mut self, read_data: bool) -> Result<()> {
        let (packs, bytes) = self.scratch.read(totals).await?;
        self.meter.totals(packs, if read_data { bytes } else { 0 });
        let (mut unindexed, mut unindexed_bytes) = (0, 0);
        let mut after = 0;
        loop {
            let cancel = self.cancel.clone();
            let judged = self
                .scratch
                .write(move |tx| judge_batch(tx, after, &cancel))
                .await?;
            self.found.merge(judged.found, |subject| subject);
            self.report.packs += judged.named;
            unindexed += judged.unindexed;
            unindexed_bytes += judged.unindexed_bytes;
            if !read_data {
                self.meter.files_done(judged.named);
            }
            match judged.last {
                Some(last) => after = last,
                None => break,
            }
        }
        if unindexed > 0 {
            let text = format!(
                "{unindexed} packs of {unindexed_bytes} bytes are in no index: what an interrupted backup \
                 left, what a prune is letting go, or what a damaged index named. `restic repair index` \
                 finds what is in them, `prune` removes them"
            );
            self.found.hint("data", text);
        }
        Ok(())
    }

    /// Counts the blobs, and finds those that are said to have different lengths in different places.
    pub(super) async fn count_blobs(&mut self) -> Result<()> {
        let mut last = None;
        loop {
            let cancel = self.cancel.clone();
            let batch = self
                .scratch
                .read(move |db| compare_batch(db, last, &cancel))
                .await?;
            self.report.blobs += batch.blobs;
            self.found.merge(batch.found, |subject| subject);
            match batch.last {
                Some(blob) => last = Some(blob),
                None => return Ok(()),
            }
        }
    }
}

/// Packs that an index names and that are there, and their bytes.
fn totals(connection: &Connection) -> Result<(u64, u64)> {
    let sql = "SELECT count(*), coalesce(sum(size), 0) FROM packs
               WHERE EXISTS (SELECT 1 FROM listings WHERE pack_no = packs.no)";
    let row = connection.query_row(sql, [], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)));
    let (packs, bytes) = row.map_err(sql_error)?;
    Ok((packs.unsigned_abs(), bytes.unsigned_abs()))
}

#[derive(Default)]
struct Judged {
    found: Findings,
    named: u64,
    unindexed: u64,
    unindexed_bytes: u64,
    /// The last pack that was looked at; `None` when there was none.
    last: Option<i64>,
}

fn judge_batch(tx: &Transaction<'_>, after: i64, cancel: &CancellationToken) -> Result<Judged> {
    let mut judged = Judged::default();
    for (no, id, size) in packs_after(tx, after)? {
        err_if_cancelled(cancel)?;
        judged.last = Some(no);
        let listed = listed(tx, no)?;
        if !listed.is_named() {
            judged.unindexed += 1;
            judged.unindexed_bytes += size.unwrap_or(0);
            continue;
        }
        judged.named += 1;
        let lost = listed.judge(&id, size, &mut judged.found);
        scratch::mark_bad(tx, no, &lost)?;
    }
    Ok(judged)
}

/// The next packs: number, id, and the size of the file if there is one.
pub(crate) fn packs_after(connection: &Connection, after: i64) -> Result<Vec<(i64, PackId, Option<u64>)>> {
    let mut statement = connection
        .prepare_cached("SELECT no, id, size FROM packs WHERE no > ?1 ORDER BY no LIMIT ?2")
        .map_err(sql_error)?;
    let limit = i64::try_from(BATCH_PACKS).unwrap_or(256);
    let rows = statement
        .query_map([after, limit], |row| {
            let size: Option<i64> = row.get(2)?;
            Ok((
                row.get(0)?,
                PackId::from_bytes(row.get(1)?),
                size.map(i64::unsigned_abs),
            ))
        })
        .map_err(sql_error)?;
    rows.collect::<Result<_, _>>().map_err(sql_error)
}

/// What all index files say of a pack.
pub(crate) fn listed(connection: &Connection, pack_no: i64) -> Result<Listed> {
    let mut listed = Listed::default();
    let mut one: Option<(i64, Vec<PackEntry>)> = None;
    scratch::listings(connection, pack_no, |index_no, mut entries| match &mut one {
        // An index file may name a pack several times: that counts as one list.
        Some((same, sofar)) if *same == index_no => sofar.append(&mut entries),
        _ => {
            if let Some((_, whole)) = one.replace((index_no, entries)) {
                listed.add(whole);
            }
        }
    })?;
    if let Some((_, whole)) = one {
        listed.add(whole);
    }
    Ok(listed)
}

struct Compared {
    found: Findings,
    blobs: u64,
    /// The last blob that was looked at; `None` when there was none.
    last: Option<([u8; 32], bool)>,
}

/// Walks over some more blobs, all copies of each.
fn compare_batch(
    connection: &Connection,
    after: Option<([u8; 32], bool)>,
    cancel: &CancellationToken,
) -> Result<Compared> {
    let mut compared = Compared {
        found: Findings::default(),
        blobs: 0,
        last: None,
    };
    let mut statement = connection
        .prepare_cached(
            "SELECT id, tree, coalesce(plain, length - ?3) FROM blobs WHERE (id, tree) > (?1, ?2)",
        )
        .map_err(sql_error)?;
    // No id is shorter than none, so the first batch begins at the first blob.
    let (id, tree) = after
        .as_ref()
        .map_or((&[][..], false), |(id, tree)| (id.as_slice(), *tree));
    let overhead = i64::try_from(SEAL_OVERHEAD).unwrap_or(32);
    let mut rows = statement
        .query(rusqlite::params![id, tree, overhead])
        .map_err(sql_error)?;
    let mut length = 0;
    let mut told = false;
    while let Some(row) = rows.next().map_err(sql_error)? {
        let read = || Ok(((row.get(0)?, row.get(1)?), row.get::<_, i64>(2)?));
        let (blob, this_length) = read().map_err(sql_error)?;
        if compared.last == Some(blob) {
            if length != this_length && !told {
                told = true;
                let text = format!(
                    "indexes say that the blob {} has {length} bytes of plaintext, and also {this_length}: \
                     files with it are restored wrongly. `restic repair index`, then a backup from the same \
                     source",
                    hex::encode(blob.0)
                );
                compared.found.error("index", text);
            }
            continue;
        }
        err_if_cancelled(cancel)?;
        if compared.blobs == BATCH_BLOBS {
            break;
        }
        compared.blobs += 1;
        compared.last = Some(blob);
        (length, told) = (this_length, false);
    }
    Ok(compared)
}
