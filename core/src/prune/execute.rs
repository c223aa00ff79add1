//! The part of a prune that takes away: one stretch under the exclusive lock.
//!
//! The order makes every interruption harmless. Packs that no index has named for the grace go first: nobody counts on them. Then come
//! the new index files and the new marks, then, when the vault has confirmed them and the lock is still ours, the old ones go. A pack that
//! the indexes have just stopped naming stays, unless there is no grace.

use std::collections::HashSet;

use super::{
    Pruner,
    indexes::{self, IndexChange},
    job::{PackAction, PrunePlan},
    plan,
    survey::Survey,
};
use crate::{
    error::{Error, Kind, Result},
    format::{FileId, FileType, IndexId, MarkKind, PackEntry, PackId, PackMark, Timestamp, encode_marks},
    limits,
    repository::{HeldLock, err_if_cancelled},
};

/// Deletions between two looks at the lock.
const DELETIONS_AT_ONCE: usize = 16;

/// A mark that is to be in the vault, and the pack's number, from which its blobs are told.
struct Wanted {
    no: i64,
    pack: PackId,
    kind: MarkKind,
    since: Timestamp,
}

impl Pruner {
    /// Does what both the plan and a fresh look allow.
    pub(super) async fn commit(&mut self, plan: &PrunePlan, survey: &Survey, held: &HeldLock) -> Result<()> {
        let now = self.now();
        let fresh = plan::decide(&survey.packs, &plan.job, now).map_err(super::refused)?;
        let actions = plan::narrow(&survey.packs, &fresh.actions, &plan.actions, now);
        let with = |wanted: PackAction| {
            let matches = move |(number, action): (usize, &Option<PackAction>)| {
                (*action == Some(wanted)).then_some(number)
            };
            actions
                .iter()
                .enumerate()
                .filter_map(matches)
                .collect::<Vec<usize>>()
        };
        let due = with(PackAction::Delete);
        self.delete_packs(survey, &due, held).await?;
        let (retired, forgotten) = (with(PackAction::Retire), with(PackAction::Forget));
        let recovered = with(PackAction::Recover);
        let no_grace = plan.job.grace.is_zero();
        let wanted = wanted_marks(survey, &actions, no_grace, now);
        let change = {
            let numbers =
                |places: &[usize]| -> Vec<i64> { places.iter().map(|&at| survey.numbers[at]).collect() };
            let dropped: HashSet<i64> = numbers(&[retired.as_slice(), &forgotten].concat())
                .into_iter()
                .collect();
            let recovered = numbers(&recovered);
            let marks_change = self.marks_differ(survey, &wanted).await?;
            self.store
                .read(move |db| indexes::change(db, &dropped, &recovered, marks_change))
                .await?
        };
        self.change_indexes(&change, &wanted, held).await?;
        for (places, count) in [
            (&retired, &mut self.report.retired),
            (&recovered, &mut self.report.recovered),
        ] {
            for &at in places {
                count.add(survey.packs[at].file.unwrap_or(0));
            }
        }
        for mark in &wanted {
            let at = survey.numbers.binary_search(&mark.no);
            let bytes = at.ok().and_then(|at| survey.packs[at].file);
            self.report.marked.add(bytes.unwrap_or(0));
        }
        if no_grace {
            self.delete_packs(survey, &retired, held).await?;
        }
        Ok(())
    }

    /// Whether the marks in the vault are not exactly these.
    async fn marks_differ(&self, survey: &Survey, wanted: &[Wanted]) -> Result<bool> {
        let same = |mark: &Wanted| {
            let at = survey.numbers.binary_search(&mark.no).ok();
            at.and_then(|at| survey.packs.get(at))
                .is_some_and(|pack| match mark.kind {
                    MarkKind::Unused => pack.unused_since == Some(mark.since),
                    MarkKind::Unindexed => pack.unindexed_since == Some(mark.since) && pack.indexed.is_none(),
                })
        };
        let held = self.store.read(indexes::marks_held).await?;
        Ok(held != wanted.len() as u64 || !wanted.iter().all(same))
    }

    async fn change_indexes(
        &mut self,
        change: &IndexChange,
        wanted: &[Wanted],
        held: &HeldLock,
    ) -> Result<()> {
        let mut written = self.write_indexes(change).await?;
        if change.marks {
            written.append(&mut self.write_marks(wanted).await?);
        }
        if change.obsolete.is_empty() {
            return Ok(());
        }
        for id in &written {
            let there = self
                .repository
                .storage
                .size(FileType::Index, &FileId::from(*id))
                .await?;
            if there.is_none() {
                let text = format!(
                    "the vault confirmed the index file {id} and does not hold it; the old ones stay"
                );
                return Err(Error::new(Kind::Damaged, text));
            }
        }
        for ids in change.obsolete.chunks(DELETIONS_AT_ONCE) {
            self.still_alone(held).await?;
            for id in ids {
                let id = FileId::from(*id);
                self.repository.storage.delete(FileType::Index, &id).await?;
                self.report.index_files_removed += 1;
            }
        }
        Ok(())
    }

    async fn write_indexes(&mut self, change: &IndexChange) -> Result<Vec<IndexId>> {
        let (mut written, mut packs, mut blobs) = (Vec::new(), Vec::new(), 0);
        for &no in &change.packs {
            err_if_cancelled(&self.cancel)?;
            let (id, entries) = self.store.read(move |db| indexes::entries(db, no)).await?;
            if blobs + entries.len() > limits::INDEX_BLOBS_MAX && !packs.is_empty() {
                written.push(self.write_index(std::mem::take(&mut packs)).await?);
                blobs = 0;
            }
            blobs += entries.len();
            packs.push((id, entries));
        }
        if !packs.is_empty() {
            written.push(self.write_index(packs).await?);
        }
        Ok(written)
    }

    async fn write_marks(&mut self, wanted: &[Wanted]) -> Result<Vec<IndexId>> {
        let (mut written, mut marks, mut blobs) = (Vec::new(), Vec::new(), 0);
        for mark in wanted {
            err_if_cancelled(&self.cancel)?;
            let entries: Vec<PackEntry> = match mark.kind {
                MarkKind::Unused => Vec::new(),
                MarkKind::Unindexed => {
                    let no = mark.no;
                    self.store.read(move |db| indexes::entries(db, no)).await?.1
                }
            };
            let weight = entries.len().max(1);
            if blobs + weight > limits::INDEX_BLOBS_MAX && !marks.is_empty() {
                written.push(self.write_mark_file(std::mem::take(&mut marks)).await?);
                blobs = 0;
            }
            blobs += weight;
            marks.push(PackMark {
                pack: mark.pack,
                kind: mark.kind,
                since: Some(mark.since),
                entries,
            });
        }
        if !marks.is_empty() {
            written.push(self.write_mark_file(marks).await?);
        }
        Ok(written)
    }

    async fn write_mark_file(&mut self, marks: Vec<PackMark>) -> Result<IndexId> {
        let encode = move |_: &mut _| {
            let mut document = Vec::new();
            encode_marks(&mut document, &marks)
                .map_err(|error| Error::with_source(Kind::Bug, "writing marks", error))?;
            Ok(document)
        };
        let document = self.repository.cpu.run(encode).await?;
        let id = self.repository.save_unpacked(FileType::Index, document).await?;
        self.report.index_files_written += 1;
        Ok(id.into())
    }

    async fn delete_packs(&mut self, survey: &Survey, places: &[usize], held: &HeldLock) -> Result<()> {
        for some in places.chunks(DELETIONS_AT_ONCE) {
            self.still_alone(held).await?;
            for &at in some {
                err_if_cancelled(&self.cancel)?;
                let pack = &survey.packs[at];
                let id = FileId::from(pack.id);
                self.repository.storage.delete(FileType::Pack, &id).await?;
                self.report.deleted.add(pack.file.unwrap_or(0));
                self.meter.files_done(1);
            }
        }
        Ok(())
    }

    /// The process may have been frozen, and someone may have removed our lock meanwhile. Then what was looked at says nothing any more.
    async fn still_alone(&self, held: &HeldLock) -> Result<()> {
        if held.is_held(&self.repository).await? {
            return Ok(());
        }
        Err(super::lock_lost())
    }
}

fn wanted_marks(
    survey: &Survey,
    actions: &[Option<PackAction>],
    no_grace: bool,
    now: Timestamp,
) -> Vec<Wanted> {
    let mut wanted = Vec::new();
    for ((pack, &no), action) in survey.packs.iter().zip(&survey.numbers).zip(actions) {
        let (kind, since) = match action {
            Some(PackAction::WaitUnused { since }) => (MarkKind::Unused, *since),
            Some(PackAction::WaitUnindexed { since }) => (MarkKind::Unindexed, *since),
            Some(PackAction::Retire) if !no_grace => (MarkKind::Unindexed, now),
            _ => continue,
        };
        wanted.push(Wanted {
            no,
            pack: pack.id,
            kind,
            since,
        });
    }
    wanted
}
