//! Snapshots: what was backed up when, and the tree that holds it.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{self, IgnoredAny, MapAccess},
};

use super::{
    BlobId, FormatError, ID_BYTES, SnapshotId, ZonedTimestamp,
    go_json::ObjectWriter,
    go_json_read::{GoString, KnownKey, read_into, read_string},
};

/// A snapshot as it is stored. Its id is the hash of the stored file and stands beside this.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// When the backup began, by the clocks where it ran: retention counts days as they were there.
    pub time: ZonedTimestamp,
    /// The snapshot that unchanged files were taken from. It may be gone.
    pub parent: Option<SnapshotId>,
    /// The root: the entries of "/", or those of the directory that was backed up.
    pub tree: BlobId,
    /// What was asked to be backed up. Part of what tells the snapshots of one source from those of another.
    pub paths: Vec<String>,
    pub hostname: String,
    pub username: String,
    pub uid: u32,
    pub gid: u32,
    pub excludes: Vec<String>,
    pub tags: Vec<String>,
    /// The first version of a snapshot that was written anew.
    pub original: Option<SnapshotId>,
    pub program_version: String,
    /// Missing in snapshots of restic before 0.17.
    pub summary: Option<SnapshotSummary>,
    /// The stored form has fields that this record does not know: encoding it again loses them.
    pub unknown_fields: bool,
}

/// What a backup did. For people: nothing is decided by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotSummary {
    pub backup_start: ZonedTimestamp,
    pub backup_end: ZonedTimestamp,
    pub files_new: u64,
    pub files_changed: u64,
    pub files_unmodified: u64,
    pub dirs_new: u64,
    pub dirs_changed: u64,
    pub dirs_unmodified: u64,
    pub data_blobs: u64,
    pub tree_blobs: u64,
    /// Bytes of new blobs before compression.
    pub data_added: u64,
    /// Bytes of new blobs as stored.
    pub data_added_packed: u64,
    pub total_files_processed: u64,
    pub total_bytes_processed: u64,
}

impl Snapshot {
    /// A snapshot of `tree` that says nothing else but when it was made.
    pub fn new(time: ZonedTimestamp, tree: BlobId) -> Self {
        Self {
            time,
            parent: None,
            tree,
            paths: Vec::new(),
            hostname: String::new(),
            username: String::new(),
            uid: 0,
            gid: 0,
            excludes: Vec::new(),
            tags: Vec::new(),
            original: None,
            program_version: String::new(),
            summary: None,
            unknown_fields: false,
        }
    }

    /// The stored form before compression and sealing.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut object = ObjectWriter::begin(&mut out);
        object.string("time", self.time.to_string().as_bytes());
        if let Some(parent) = &self.parent {
            object.hex("parent", parent.as_bytes());
        }
        object.hex("tree", self.tree.as_bytes());
        object.strings("paths", &self.paths);
        object.string_unless_empty("hostname", self.hostname.as_bytes());
        object.string_unless_empty("username", self.username.as_bytes());
        object.number_unless_zero("uid", self.uid.into());
        object.number_unless_zero("gid", self.gid.into());
        if !self.excludes.is_empty() {
            object.strings("excludes", &self.excludes);
        }
        if !self.tags.is_empty() {
            object.strings("tags", &self.tags);
        }
        if let Some(original) = &self.original {
            object.hex("original", original.as_bytes());
        }
        object.string_unless_empty("program_version", self.program_version.as_bytes());
        if let Some(summary) = &self.summary {
            summary.write(object.key("summary"));
        }
        object.end();
        out
    }

    /// Reads what restic reads, except for a snapshot without a tree, on which restic crashes.
    pub fn decode(plaintext: &[u8]) -> Result<Self, FormatError> {
        let read: Read = serde_json::from_slice(plaintext)
            .map_err(|error| FormatError::malformed(format!("a snapshot cannot be read: {error}")))?;
        let null = BlobId::from_bytes([0; ID_BYTES]);
        let tree = read.tree.filter(|tree| *tree != null);
        let tree =
            tree.ok_or_else(|| FormatError::malformed("a snapshot cannot be read: it names no tree"))?;
        Ok(Self {
            tree,
            ..read.snapshot
        })
    }
}

/// A snapshot whose tree may be missing.
struct Read {
    snapshot: Snapshot,
    tree: Option<BlobId>,
}

#[rustfmt::skip]
const FIELDS: &[&str] = &[
    "time", "parent", "tree", "paths", "hostname", "username", "uid", "gid", "excludes", "tags", "original",
    "program_version", "summary",
];

impl<'de> Deserialize<'de> for Read {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(SnapshotVisitor)
    }
}

struct SnapshotVisitor;

impl<'de> de::Visitor<'de> for SnapshotVisitor {
    type Value = Read;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a snapshot")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Read, A::Error> {
        let mut read = Read {
            snapshot: Snapshot::new(ZonedTimestamp::YEAR_ONE, BlobId::from_bytes([0; ID_BYTES])),
            tree: None,
        };
        let snapshot = &mut read.snapshot;
        while let Some(key) = map.next_key_seed(KnownKey(FIELDS))? {
            match key {
                Some("time") => read_into(&mut map, &mut snapshot.time)?,
                Some("parent") => snapshot.parent = map.next_value()?,
                Some("tree") => read.tree = map.next_value()?,
                Some("paths") => snapshot.paths = read_strings(&mut map)?,
                Some("hostname") => read_string(&mut map, &mut snapshot.hostname)?,
                Some("username") => read_string(&mut map, &mut snapshot.username)?,
                Some("uid") => read_into(&mut map, &mut snapshot.uid)?,
                Some("gid") => read_into(&mut map, &mut snapshot.gid)?,
                Some("excludes") => snapshot.excludes = read_strings(&mut map)?,
                Some("tags") => snapshot.tags = read_strings(&mut map)?,
                Some("original") => snapshot.original = map.next_value()?,
                Some("program_version") => read_string(&mut map, &mut snapshot.program_version)?,
                Some(_) => {
                    let summary: Option<ReadSummary> = map.next_value()?;
                    snapshot.unknown_fields |= summary.as_ref().is_some_and(|read| read.unknown_fields);
                    snapshot.summary = summary.map(|read| read.summary);
                }
                None => {
                    map.next_value::<IgnoredAny>()?;
                    snapshot.unknown_fields = true;
                }
            }
        }
        Ok(read)
    }
}

/// A `null` in the list is an empty string, and for the list itself an empty list.
fn read_strings<'de, A: MapAccess<'de>>(map: &mut A) -> Result<Vec<String>, A::Error> {
    let strings: Option<Vec<Option<GoString>>> = map.next_value()?;
    Ok(strings
        .into_iter()
        .flatten()
        .map(|text| text.unwrap_or_default().0)
        .collect())
}

#[rustfmt::skip]
const SUMMARY_FIELDS: &[&str] = &[
    "backup_start", "backup_end", "files_new", "files_changed", "files_unmodified", "dirs_new", "dirs_changed",
    "dirs_unmodified", "data_blobs", "tree_blobs", "data_added", "data_added_packed", "total_files_processed",
    "total_bytes_processed",
];

impl Default for SnapshotSummary {
    fn default() -> Self {
        Self {
            backup_start: ZonedTimestamp::YEAR_ONE,
            backup_end: ZonedTimestamp::YEAR_ONE,
            files_new: 0,
            files_changed: 0,
            files_unmodified: 0,
            dirs_new: 0,
            dirs_changed: 0,
            dirs_unmodified: 0,
            data_blobs: 0,
            tree_blobs: 0,
            data_added: 0,
            data_added_packed: 0,
            total_files_processed: 0,
            total_bytes_processed: 0,
        }
    }
}

impl SnapshotSummary {
    fn write(&self, out: &mut Vec<u8>) {
        let mut object = ObjectWriter::begin(out);
        object.string("backup_start", self.backup_start.to_string().as_bytes());
        object.string("backup_end", self.backup_end.to_string().as_bytes());
        let mut copy = *self;
        for field in &SUMMARY_FIELDS[2..] {
            if let Some(number) = copy.number(field) {
                object.number(field, *number);
            }
        }
        object.end();
    }

    fn number(&mut self, field: &str) -> Option<&mut u64> {
        Some(match field {
            "files_new" => &mut self.files_new,
            "files_changed" => &mut self.files_changed,
            "files_unmodified" => &mut self.files_unmodified,
            "dirs_new" => &mut self.dirs_new,
            "dirs_changed" => &mut self.dirs_changed,
            "dirs_unmodified" => &mut self.dirs_unmodified,
            "data_blobs" => &mut self.data_blobs,
            "tree_blobs" => &mut self.tree_blobs,
            "data_added" => &mut self.data_added,
            "data_added_packed" => &mut self.data_added_packed,
            "total_files_processed" => &mut self.total_files_processed,
            "total_bytes_processed" => &mut self.total_bytes_processed,
            _ => return None,
        })
    }
}

#[derive(Default)]
struct ReadSummary {
    summary: SnapshotSummary,
    unknown_fields: bool,
}

impl<'de> Deserialize<'de> for ReadSummary {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(SummaryVisitor)
    }
}

struct SummaryVisitor;

impl<'de> de::Visitor<'de> for SummaryVisitor {
    type Value = ReadSummary;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the summary of a snapshot")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ReadSummary, A::Error> {
        let mut read = ReadSummary::default();
        while let Some(key) = map.next_key_seed(KnownKey(SUMMARY_FIELDS))? {
            match key {
                Some("backup_start") => read_into(&mut map, &mut read.summary.backup_start)?,
                Some("backup_end") => read_into(&mut map, &mut read.summary.backup_end)?,
                key => match key.and_then(|field| read.summary.number(field)) {
                    Some(number) => read_into(&mut map, number)?,
                    None => {
                        map.next_value::<IgnoredAny>()?;
                        read.unknown_fields = true;
                    }
                },
            }
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TREE: &str = "bd3bdb86476412c3885b3e1d951be1600bb1801168061ea9ed0223780e6aacb6";

    fn decode(json: &str) -> Result<Snapshot, FormatError> {
        Snapshot::decode(json.as_bytes())
    }

    fn full() -> String {
        let id = "0".repeat(63) + "1";
        format!(
            concat!(
                r#"{{"time":"2024-02-03T04:05:06.7+05:45","parent":"{id}","tree":"{tree}","paths":["/a b","/ü\u003c"],"#,
                r#""hostname":"h","username":"u","uid":1000,"gid":1001,"excludes":["*.tmp"],"tags":["a","b"],"#,
                r#""original":"{id}","program_version":"restic 0.19.1","summary":{{"#,
                r#""backup_start":"2024-02-03T04:05:06Z","backup_end":"2024-02-03T04:05:07Z","#,
                r#""files_new":1,"files_changed":2,"files_unmodified":3,"dirs_new":4,"dirs_changed":5,"#,
                r#""dirs_unmodified":6,"data_blobs":7,"tree_blobs":8,"data_added":9,"data_added_packed":10,"#,
                r#""total_files_processed":11,"total_bytes_processed":18446744073709551615}}}}"#,
            ),
            id = id,
            tree = TREE,
        )
    }

    #[test]
    fn every_field_survives_in_its_place() {
        let snapshot = decode(&full()).unwrap();
        assert_eq!(String::from_utf8(snapshot.encode()).unwrap(), full());
        assert_eq!(snapshot.time.offset_seconds, 20_700);
        assert_eq!(snapshot.summary.unwrap().total_bytes_processed, u64::MAX);
        assert!(!snapshot.unknown_fields);
    }

    #[test]
    fn empty_fields_are_left_out_but_paths_and_tree_are_not() {
        let snapshot = Snapshot::new(ZonedTimestamp::YEAR_ONE, TREE.parse().unwrap());
        let json = format!(r#"{{"time":"0001-01-01T00:00:00Z","tree":"{TREE}","paths":[]}}"#);
        assert_eq!(snapshot.encode(), json.as_bytes());
        for lenient in [
            format!(r#"{{"tree":"{TREE}"}}"#),
            format!(r#"{{"TREE":"{TREE}","time":null,"paths":null,"uid":null,"tags":null,"summary":null}}"#),
        ] {
            assert_eq!(decode(&lenient), Ok(snapshot.clone()), "{lenient}");
        }
    }

    #[test]
    fn unknown_fields_are_noticed() {
        for more in [r#""x":[]"#, r#""summary":{"x":1}"#] {
            assert!(
                decode(&format!(r#"{{"tree":"{TREE}",{more}}}"#))
                    .unwrap()
                    .unknown_fields,
                "{more}"
            );
        }
    }

    #[test]
    fn a_snapshot_without_a_tree_is_unreadable() {
        let null = "0".repeat(64);
        for json in [
            "{}",
            r#"{"tree":null}"#,
            &format!(r#"{{"tree":"{null}"}}"#),
            "null",
            "",
            "[]",
        ] {
            let Err(FormatError::Malformed(detail)) = decode(json) else {
                panic!("{json}")
            };
            assert!(detail.starts_with("a snapshot cannot be read: "), "{detail}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_reading_panic(bytes: Vec<u8>, at: prop::sample::Index, byte: u8) {
            let _ = Snapshot::decode(&bytes);
            let mut json = full().into_bytes();
            let at = at.index(json.len());
            json[at] = byte;
            if let Ok(snapshot) = Snapshot::decode(&json) {
                prop_assert_eq!(Snapshot::decode(&snapshot.encode()).map(|again| again.tree), Ok(snapshot.tree));
            }
        }
    }
}
