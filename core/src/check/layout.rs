//! What the indexes say of one pack, judged against itself and against the size of its file. Pure.

use super::findings::Findings;
use crate::format::{BlobType, PackEntry, PackId, SEAL_OVERHEAD, pack_size};

/// What all index files together say of a pack.
#[derive(Debug, Default)]
pub(crate) struct Listed {
    /// By offset, none twice.
    pub(crate) entries: Vec<PackEntry>,
    /// Index files that name the pack.
    files: u64,
    /// Not all of them say the same.
    split: bool,
    /// One of them says the same twice.
    repeated: bool,
}

impl Listed {
    /// Adds all that one index file says of the pack.
    pub(super) fn add(&mut self, mut entries: Vec<PackEntry>) {
        entries.sort_unstable_by_key(key);
        let said = entries.len();
        entries.dedup();
        self.repeated |= entries.len() < said;
        self.files += 1;
        if self.files == 1 {
            self.entries = entries;
        } else if self.entries != entries {
            self.split = true;
            self.entries.append(&mut entries);
            self.entries.sort_unstable_by_key(key);
            self.entries.dedup();
        }
    }

    pub(crate) fn is_named(&self) -> bool {
        self.files > 0
    }

    /// Judges a pack whose file has `size` bytes, or is missing. Returns the blobs that are certainly lost
    /// with it.
    pub(super) fn judge(&self, id: &PackId, size: Option<u64>, found: &mut Findings) -> Vec<PackEntry> {
        let subject = format!("data/{id}");
        if self.split {
            let text = "index files list different blobs of this pack, and restic wants all of a pack's \
                        blobs in one: `restic repair index` makes the indexes anew from the packs";
            found.error(&subject, text);
        } else if self.files > 1 {
            let text = format!(
                "{} index files list this pack; `restic prune` leaves one",
                self.files
            );
            found.hint(&subject, text);
        }
        if self.repeated {
            let text = "an index file lists blobs of this pack twice; `restic prune` leaves one";
            found.hint(&subject, text);
        }
        self.judge_kinds(&subject, found);
        if let Some(problem) = self.misfit() {
            let advice = "`restic repair index` makes the indexes anew from the packs";
            found.error(&subject, format!("{problem} according to the indexes; {advice}"));
        }
        let expected = pack_size(&self.entries);
        match size {
            Some(size) if size == expected => Vec::new(),
            Some(size) => {
                let text = format!(
                    "the file has {size} bytes where the indexes make it {expected}; `restic repair packs \
                     {id}` saves what is whole in it, and a backup from the same source then stores again \
                     what is still there"
                );
                found.error(&subject, text);
                let beyond = |entry: &&PackEntry| entry.end() > size;
                self.entries.iter().filter(beyond).copied().collect()
            }
            None => {
                let text = format!(
                    "the file is missing, and with it {} blobs; `restic repair index` takes it out of the \
                     indexes, and a backup from the same source then stores again what is still there",
                    self.entries.len()
                );
                found.error(&subject, text);
                self.entries.clone()
            }
        }
    }

    fn judge_kinds(&self, subject: &str, found: &mut Findings) {
        let trees = || {
            self.entries
                .iter()
                .filter(|entry| entry.blob_type == BlobType::Tree)
        };
        let count = trees().count();
        if count > 0 && count < self.entries.len() {
            let text = "the pack holds both folders and pieces of files; `restic prune` sorts them";
            found.hint(subject, text);
        }
        if trees().any(|entry| entry.uncompressed_length.is_none()) {
            found.hint(
                subject,
                "the pack holds folders that are not compressed; `restic prune` compresses them",
            );
        }
    }

    /// The first place where the blobs do not lie one directly behind the other.
    fn misfit(&self) -> Option<String> {
        let mut end = 0;
        for entry in &self.entries {
            let offset = u64::from(entry.offset);
            if (entry.length as usize) < SEAL_OVERHEAD {
                return Some(format!(
                    "the blob {} has an impossible length of {} bytes",
                    entry.id, entry.length
                ));
            }
            if offset > end {
                return Some(format!("no blob has the bytes {end} to {offset}"));
            }
            if offset < end {
                return Some(format!("the blob {} overlaps the one before it", entry.id));
            }
            end = entry.end();
        }
        None
    }
}

fn key(entry: &PackEntry) -> (u32, u32, crate::format::BlobId, BlobType, Option<u32>) {
    (
        entry.offset,
        entry.length,
        entry.id,
        entry.blob_type,
        entry.uncompressed_length,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        check::job::{CheckReport, Severity},
        format::BlobId,
    };

    fn entry(offset: u32, length: u32) -> PackEntry {
        PackEntry {
            id: BlobId::of(&offset.to_le_bytes()),
            blob_type: BlobType::Data,
            length,
            uncompressed_length: Some(10),
            offset,
        }
    }

    /// Severity and beginning of each finding, and how many blobs are lost.
    fn judge(listings: &[&[PackEntry]], size: Option<u64>) -> (Vec<(Severity, String)>, usize) {
        let mut listed = Listed::default();
        for entries in listings {
            listed.add(entries.to_vec());
        }
        let (mut found, mut report) = (Findings::default(), CheckReport::default());
        let lost = listed.judge(&PackId::of(b""), size, &mut found).len();
        found.report(&mut report);
        let findings = report.findings.into_iter().map(|f| (f.severity, f.text));
        (findings.collect(), lost)
    }

    #[test]
    fn one_whole_listing_in_any_order_is_fine() {
        let entries = [entry(100, 50), entry(0, 100)];
        assert_eq!(judge(&[&entries], Some(pack_size(&entries))), (vec![], 0));
    }

    #[test]
    fn what_other_index_files_say_must_be_the_same() {
        let entries = [entry(0, 100), entry(100, 50)];
        let size = Some(pack_size(&entries));
        let (twice, _) = judge(&[&entries, &entries], size);
        assert_eq!(twice[0].0, Severity::Hint, "{twice:?}");
        for second in [&entries[..1], &entries[1..]] {
            let (split, lost) = judge(&[&entries, second, &entries], size);
            assert_eq!((split.len(), lost), (1, 0));
            assert_eq!(split[0].0, Severity::Error);
        }
        let (split, _) = judge(&[&entries[..1], &entries[1..]], size);
        assert!(
            split.len() == 1 && split[0].1.contains("different blobs"),
            "{split:?}"
        );
    }

    #[test]
    fn an_index_file_may_repeat_itself() {
        let entries = [entry(0, 100), entry(100, 50)];
        let (found, _) = judge(&[&[entries, entries].concat()], Some(pack_size(&entries)));
        assert!(
            found.len() == 1 && found[0].0 == Severity::Hint,
            "a hint: {found:?}"
        );
    }

    #[test]
    fn gaps_and_overlaps_are_errors() {
        for (entries, text) in [
            ([entry(1, 100), entry(101, 50)], "bytes 0 to 1"),
            ([entry(0, 100), entry(101, 50)], "bytes 100 to 101"),
            ([entry(0, 100), entry(99, 50)], "overlaps"),
            ([entry(0, 100), entry(0, 101)], "overlaps"),
            ([entry(0, 100), entry(100, 31)], "impossible length"),
        ] {
            let (found, _) = judge(&[&entries], Some(pack_size(&entries)));
            assert!(found.len() == 1 && found[0].1.contains(text), "{found:?}");
        }
    }

    #[test]
    fn a_file_of_another_size_loses_what_would_lie_behind_its_end() {
        let entries = [entry(0, 100), entry(100, 50)];
        let size = pack_size(&entries);
        assert_eq!(
            judge(&[&entries], Some(size - 1)).1,
            0,
            "only the directory is cut"
        );
        assert_eq!(judge(&[&entries], Some(149)).1, 1);
        let (found, lost) = judge(&[&entries], None);
        assert!(found[0].1.contains("missing") && lost == 2, "{found:?}");
    }
}
