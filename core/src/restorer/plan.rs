//! The choices of a restore. Pure: nothing here touches a disk or the vault.

use std::{
    ops::Range,
    os::unix::ffi::OsStrExt,
    path::{Component, Path, PathBuf},
};

use super::job::DatabaseFiles;
use crate::{
    error::{Error, Kind, Result},
    format::{PackId, SnapshotId, sha256},
    limits,
    repository::PlannedRead,
};

/// Every staging folder begins like this, so that one of another restore is known for what it is.
pub(super) const STAGING_PREFIX: &str = ".lifeboat-restore-";

/// A path in the snapshot, name by name.
type Names = Vec<Vec<u8>>;

/// What is wanted of a folder and all below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Scope {
    Everything,
    /// Only these, by the rest of the way to each; none is empty.
    Only(Vec<Names>),
}

impl Scope {
    /// The scope of the root. Paths that lead out of themselves make no sense in a snapshot.
    pub(super) fn of(include: &[PathBuf]) -> Result<Self> {
        let mut paths = Vec::new();
        for path in include {
            let names = names(path)?;
            if names.is_empty() {
                return Ok(Self::Everything);
            }
            paths.push(names);
        }
        if paths.is_empty() {
            return Ok(Self::Everything);
        }
        paths.sort_unstable();
        paths.dedup();
        Ok(Self::Only(paths))
    }

    /// What is wanted of the entry `name`, if anything.
    pub(super) fn child(&self, name: &[u8]) -> Option<Self> {
        let Self::Only(paths) = self else {
            return Some(Self::Everything);
        };
        let mut below = Vec::new();
        for path in paths {
            match path.split_first() {
                Some((first, rest)) if first == name && rest.is_empty() => return Some(Self::Everything),
                Some((first, rest)) if first == name => below.push(rest.to_vec()),
                _ => {}
            }
        }
        (!below.is_empty()).then_some(Self::Only(below))
    }

    /// The ways to what is wanted, where it is not everything.
    pub(super) fn paths(&self) -> &[Names] {
        match self {
            Self::Everything => &[],
            Self::Only(paths) => paths,
        }
    }
}

fn names(path: &Path) -> Result<Names> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => names.push(name.as_bytes().to_vec()),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                let text = format!(
                    "{}: give paths as they are shown in the snapshot, without '..'",
                    path.display()
                );
                return Err(Error::new(Kind::InvalidInput, text));
            }
        }
    }
    Ok(names)
}

/// The staging folder's name: the same for the same restore, and another for another choice of paths, whose
/// half-staged files are not these.
pub(super) fn staging_name(snapshot: &SnapshotId, scope: &Scope, databases: DatabaseFiles) -> String {
    let mut text = snapshot.to_string().into_bytes();
    if databases == DatabaseFiles::Both {
        text.push(b'+');
    }
    for path in scope.paths() {
        text.push(0);
        for name in path {
            text.push(b'/');
            text.extend_from_slice(name);
        }
    }
    let job = hex::encode(&sha256(&text)[..4]);
    format!("{STAGING_PREFIX}{}-{job}", snapshot.short())
}

/// One request for part of a pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PackRead {
    pub(super) pack: PackId,
    pub(super) read: PlannedRead,
}

impl PackRead {
    /// Bytes to be read.
    pub(super) fn read_bytes(&self) -> usize {
        usize::try_from(self.read.range.end - self.read.range.start).unwrap_or(0)
    }

    /// What it takes in memory: the bytes as stored, and what is decompressed; the rest is opened where it lies.
    pub(super) fn cost_bytes(&self) -> u64 {
        let entries = self.read.entries.iter();
        let plain: u64 = entries
            .filter(|entry| entry.uncompressed_length.is_some())
            .map(|entry| u64::from(entry.plaintext_length()))
            .sum();
        self.read.range.end - self.read.range.start + plain
    }
}

/// Cuts a read whose plaintexts would take more than one may: what is stored in 2 MiB may be any amount
/// in plain. Each part has one blob at least.
pub(super) fn split_read(read: PlannedRead) -> Vec<PlannedRead> {
    let mut parts: Vec<PlannedRead> = Vec::new();
    let mut plain_bytes = 0;
    for entry in read.entries {
        let plain = u64::from(entry.plaintext_length());
        match parts.last_mut() {
            Some(part) if plain_bytes + plain <= limits::RESTORE_PLAIN_BYTES_MAX => {
                part.range.end = part.range.end.max(entry.end());
                part.entries.push(entry);
                plain_bytes += plain;
            }
            _ => {
                parts.push(PlannedRead {
                    range: u64::from(entry.offset)..entry.end(),
                    entries: vec![entry],
                });
                plain_bytes = plain;
            }
        }
    }
    parts
}

/// The parts of `bytes`, which begin at `offset` of a file, that must be written into a file that has nothing
/// there yet: blocks of zeros are left out, so that they take no room on the disk.
pub(super) fn data_ranges(offset: u64, bytes: &[u8]) -> Vec<Range<usize>> {
    const BLOCK: usize = limits::RESTORE_HOLE_BYTES;
    static ZEROS: [u8; BLOCK] = [0; BLOCK];
    let mut ranges: Vec<Range<usize>> = Vec::new();
    let into_block = (offset % BLOCK as u64) as usize;
    let mut start = 0;
    while start < bytes.len() {
        let length = if start == 0 { BLOCK - into_block } else { BLOCK };
        let end = (start + length).min(bytes.len());
        let block = &bytes[start..end];
        if block != &ZEROS[..block.len()] || block.len() < BLOCK {
            match ranges.last_mut() {
                Some(last) if last.end == start => last.end = end,
                _ => ranges.push(start..end),
            }
        }
        start = end;
    }
    ranges
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::format::{BlobId, BlobType, PackEntry};

    fn scope(paths: &[&str]) -> Scope {
        Scope::of(&paths.iter().map(PathBuf::from).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn a_scope_follows_the_ways_to_what_is_wanted() {
        let wanted = scope(&["/a/b", "a/c/d/", "./e"]);
        assert_eq!(wanted.child(b"e"), Some(Scope::Everything));
        assert_eq!(wanted.child(b"x"), None);
        let a = wanted.child(b"a").unwrap();
        assert_eq!(a.child(b"b"), Some(Scope::Everything));
        assert_eq!(a.child(b"c").unwrap().child(b"e"), None);
        assert_eq!(a.child(b"c").unwrap().child(b"d"), Some(Scope::Everything));
        assert_eq!(scope(&["/a", "/a/b"]).child(b"a"), Some(Scope::Everything));
        assert_eq!(scope(&["/"]), Scope::Everything);
        assert_eq!(scope(&[]), Scope::Everything);
        assert!(Scope::of(&["/a/../b".into()]).is_err());
    }

    #[test]
    fn a_staging_folder_belongs_to_one_snapshot_and_one_choice() {
        let staging_name = |snapshot: &SnapshotId, scope: &Scope| {
            super::staging_name(snapshot, scope, DatabaseFiles::Folded)
        };
        let (first, second) = (SnapshotId::of(b"1"), SnapshotId::of(b"2"));
        let all = staging_name(&first, &Scope::Everything);
        assert!(all.starts_with(&format!("{STAGING_PREFIX}{}", first.short())));
        assert_ne!(all, staging_name(&second, &Scope::Everything));
        assert_ne!(all, staging_name(&first, &scope(&["/a"])));
        assert_ne!(
            all,
            super::staging_name(&first, &Scope::Everything, DatabaseFiles::Both)
        );
        assert_ne!(
            staging_name(&first, &scope(&["/a", "/b"])),
            staging_name(&first, &scope(&["/a/b"]))
        );
        assert_eq!(
            staging_name(&first, &scope(&["/a", "/b"])),
            staging_name(&first, &scope(&["b", "a/"]))
        );
    }

    fn entry(offset: u32, plain: u32) -> PackEntry {
        PackEntry {
            id: BlobId::of(&offset.to_le_bytes()),
            blob_type: BlobType::Data,
            offset,
            length: 100,
            uncompressed_length: Some(plain),
        }
    }

    #[test]
    fn a_read_of_much_in_little_is_cut_to_what_memory_allows() {
        let half = u32::try_from(limits::RESTORE_PLAIN_BYTES_MAX / 2).unwrap();
        let entries: Vec<_> = [half, half, 1, u32::MAX, 1, 1]
            .iter()
            .enumerate()
            .map(|(n, plain)| entry(u32::try_from(n).unwrap() * 200, *plain))
            .collect();
        let whole = PlannedRead {
            range: 0..1100,
            entries: entries.clone(),
        };
        let parts = split_read(whole);
        let counts: Vec<_> = parts.iter().map(|part| part.entries.len()).collect();
        assert_eq!(counts, [2, 1, 1, 2]);
        assert_eq!(parts[0].range, 0..300);
        assert_eq!(parts[3].range, 800..1100);
        let again: Vec<_> = parts.into_iter().flat_map(|part| part.entries).collect();
        assert_eq!(again, entries);
    }

    proptest! {
        #[test]
        fn what_is_left_out_is_zero_and_a_block_or_more(
            offset in 0_u64..200_000,
            runs in prop::collection::vec((any::<bool>(), 1_usize..100_000), 0..6)
        ) {
            let mut bytes = Vec::new();
            for (zero, length) in runs {
                bytes.resize(bytes.len() + length, u8::from(!zero));
            }
            let mut written = vec![0; bytes.len()];
            let mut last_end = 0;
            for range in data_ranges(offset, &bytes) {
                let hole = range.start - last_end;
                prop_assert!(hole == 0 || hole >= limits::RESTORE_HOLE_BYTES, "a hole of {hole}");
                written[range.clone()].copy_from_slice(&bytes[range.clone()]);
                last_end = range.end;
            }
            prop_assert_eq!(written, bytes);
        }
    }
}
