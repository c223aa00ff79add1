//! What an index file says besides where blobs lie: which packs are on their way out, and since when.
//!
//! Packs that no index names any more stand under `packs_to_delete`, with the fields that rustic gives them: rustic
//! minds our marks, and we mind its. Packs that are still named, but that no snapshot needs, stand under
//! `packs_unused`, which is our own. restic reads neither and loses both when it writes an index anew; then the
//! time begins once more.

use std::io::{self, BufReader, Read, Write};

use serde::Deserialize;

use super::{BlobId, BlobType, FormatError, PackEntry, PackId, ZonedTimestamp};
use crate::format::Timestamp;

/// Why a pack is on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MarkKind {
    /// An index names it, and no snapshot needs anything in it.
    Unused,
    /// No index names it.
    Unindexed,
}

/// A pack on its way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackMark {
    pub pack: PackId,
    pub kind: MarkKind,
    /// Since when it is so; `None` where that cannot be read.
    pub since: Option<Timestamp>,
    /// What is in it, as far as that was known when no index named it any more.
    pub entries: Vec<PackEntry>,
}

/// Writes the JSON of an index file that names no pack and carries these marks.
pub fn encode_marks<W: Write>(mut out: W, marks: &[PackMark]) -> io::Result<()> {
    let time = |mark: &PackMark| mark.since.map(|since| ZonedTimestamp::utc(since).to_string());
    out.write_all(b"{\"packs\":[],\"packs_to_delete\":[")?;
    let mut comma = "";
    for mark in marks.iter().filter(|mark| mark.kind == MarkKind::Unindexed) {
        write!(out, "{comma}{{\"id\":\"{}\"", mark.pack)?;
        if let Some(time) = time(mark) {
            write!(out, ",\"time\":\"{time}\"")?;
        }
        out.write_all(b",\"blobs\":[")?;
        super::index_file::write_entries(&mut out, &mark.entries)?;
        out.write_all(b"]}")?;
        comma = ",";
    }
    out.write_all(b"],\"packs_unused\":[")?;
    comma = "";
    for mark in marks.iter().filter(|mark| mark.kind == MarkKind::Unused) {
        write!(out, "{comma}{{\"id\":\"{}\"", mark.pack)?;
        if let Some(time) = time(mark) {
            write!(out, ",\"time\":\"{time}\"")?;
        }
        out.write_all(b"}")?;
        comma = ",";
    }
    out.write_all(b"]}\n")
}

/// Reads the marks in the JSON of an index file; most have none. All of one file are in memory at a time.
pub fn decode_marks(reader: impl Read) -> Result<Vec<PackMark>, FormatError> {
    let document: Document = serde_json::from_reader(BufReader::new(reader)).map_err(|error| {
        if error.is_io() {
            FormatError::from_io(error.into())
        } else {
            FormatError::malformed(format!("not the marks of an index: {error}"))
        }
    })?;
    let unindexed = document.packs_to_delete.unwrap_or_default().into_iter();
    let unused = document.packs_unused.unwrap_or_default().into_iter();
    let marks = unindexed.map(|mark| mark.read(MarkKind::Unindexed));
    Ok(marks
        .chain(unused.map(|mark| mark.read(MarkKind::Unused)))
        .collect())
}

#[derive(Deserialize)]
struct Document {
    packs_to_delete: Option<Vec<Mark>>,
    packs_unused: Option<Vec<Mark>>,
}

#[derive(Deserialize)]
struct Mark {
    id: PackId,
    time: Option<String>,
    blobs: Option<Vec<Blob>>,
}

#[derive(Deserialize)]
struct Blob {
    id: BlobId,
    #[serde(rename = "type")]
    blob_type: BlobType,
    offset: u32,
    length: u32,
    uncompressed_length: Option<u32>,
}

impl Mark {
    fn read(self, kind: MarkKind) -> PackMark {
        let time = self.time.and_then(|time| ZonedTimestamp::parse(&time).ok());
        let entry = |blob: Blob| PackEntry {
            id: blob.id,
            blob_type: blob.blob_type,
            length: blob.length,
            uncompressed_length: blob.uncompressed_length.filter(|&length| length != 0),
            offset: blob.offset,
        };
        PackMark {
            pack: self.id,
            kind,
            since: time.map(|time| time.timestamp),
            entries: self.blobs.unwrap_or_default().into_iter().map(entry).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::decode_index;

    fn marks() -> Vec<PackMark> {
        let entry = |number: u8, uncompressed_length| PackEntry {
            id: BlobId::of(&[number]),
            blob_type: BlobType::Tree,
            length: 40,
            uncompressed_length,
            offset: u32::from(number) * 40,
        };
        let mark = |name: &[u8], kind, seconds, entries| PackMark {
            pack: PackId::of(name),
            kind,
            since: Timestamp::new(seconds, 0),
            entries,
        };
        vec![
            mark(
                b"a",
                MarkKind::Unindexed,
                1_700_000_000,
                vec![entry(0, Some(90)), entry(1, None)],
            ),
            mark(b"b", MarkKind::Unindexed, 5, vec![]),
            mark(b"c", MarkKind::Unused, 7, vec![]),
        ]
    }

    #[test]
    fn marks_are_read_as_written_and_name_no_pack_for_others() {
        let mut json = Vec::new();
        encode_marks(&mut json, &marks()).unwrap();
        assert_eq!(decode_marks(&json[..]).unwrap(), marks());
        let mut named = 0;
        decode_index(&json[..], |_, _| {
            named += 1;
            Ok::<_, FormatError>(())
        })
        .unwrap();
        assert_eq!(named, 0);
    }

    #[test]
    fn what_rustic_writes_is_read_and_what_is_none_is_no_error() {
        let id = PackId::of(b"a");
        let json = format!(
            r#"{{"packs":[{{"id":"{id}","blobs":[],"time":"2024-05-01T10:00:00.5+02:00"}}],
            "packs_to_delete":[{{"id":"{id}","blobs":[{{"id":"{id}","type":"data","offset":0,"length":99}}],
            "time":"2024-05-01T10:00:00.5+02:00","size":200}},{{"id":"{id}","blobs":[],"time":"soon"}}]}}"#
        );
        let read = decode_marks(json.as_bytes()).unwrap();
        assert_eq!(read.len(), 2);
        assert_eq!(read[0].since.map(Timestamp::seconds), Some(1_714_550_400));
        assert_eq!((read[0].entries[0].length, read[1].since), (99, None));
        for json in ["{}", r#"{"packs":null,"packs_to_delete":null}"#] {
            assert_eq!(decode_marks(json.as_bytes()).unwrap(), []);
        }
        for json in ["", "[", r#"{"packs_to_delete":[{}]}"#, r#"{"packs_unused":3}"#] {
            assert!(decode_marks(json.as_bytes()).is_err(), "{json}");
        }
    }
}
