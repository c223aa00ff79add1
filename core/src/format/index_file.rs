//! Index files: which blob lies where in which pack.
//!
//! An index of 50 000 blobs is 7 MiB of JSON, and repositories have many: one pack at a time is in memory, in
//! either direction. What an index says is only believed as far as the packs bear it out; offsets and lengths
//! are passed on unjudged, as restic does, so that one bad entry does not take the rest from the reader.

use std::io::{self, BufReader, Read, Write};

use serde::Deserializer;

use super::{BlobType, FormatError, PackEntry, PackId, index_visitor::Index};

/// Writes the JSON of an index that lists these packs, spelled as restic does.
///
/// All blobs of a pack have to stand in one index, and each pack has to be stored durably before it is named.
pub fn encode_index<'a, W: Write>(
    mut out: W,
    packs: impl IntoIterator<Item = (PackId, &'a [PackEntry])>,
) -> io::Result<()> {
    out.write_all(b"{\"packs\":[")?;
    for (number, (id, entries)) in packs.into_iter().enumerate() {
        let comma = if number == 0 { "" } else { "," };
        write!(out, "{comma}{{\"id\":\"{id}\",\"blobs\":[")?;
        write_entries(&mut out, entries)?;
        out.write_all(b"]}")?;
    }
    out.write_all(b"]}\n")
}

/// Writes the blobs of one pack, without the brackets around them.
pub(super) fn write_entries(out: &mut impl Write, entries: &[PackEntry]) -> io::Result<()> {
    for (number, entry) in entries.iter().enumerate() {
        let comma = if number == 0 { "" } else { "," };
        let blob_type = match entry.blob_type {
            BlobType::Data => "data",
            BlobType::Tree => "tree",
        };
        let PackEntry {
            id, length, offset, ..
        } = entry;
        write!(
            out,
            "{comma}{{\"id\":\"{id}\",\"type\":\"{blob_type}\",\"offset\":{offset},\"length\":{length}"
        )?;
        if let Some(length) = entry.uncompressed_length {
            write!(out, ",\"uncompressed_length\":{length}")?;
        }
        out.write_all(b"}")?;
    }
    Ok(())
}

/// Reads the JSON of an index and hands over each pack as soon as it is complete.
///
/// The entries come in the order of the file, which need not be that of the pack; the same pack may come twice.
/// Unknown fields are ignored, and the known ones are found in any case and order, as restic does. It fails as
/// a whole, after some packs may have been handed over, on anything that is not an index, and with the first
/// error of `on_pack`. Memory: one pack's entries, which are fewer bytes than their JSON.
pub fn decode_index<R, F, E>(reader: R, mut on_pack: F) -> Result<(), E>
where
    R: Read,
    F: FnMut(PackId, Vec<PackEntry>) -> Result<(), E>,
    E: From<FormatError>,
{
    let mut refusal = None;
    let mut deliver = |id, entries| {
        on_pack(id, entries).map_err(|error| {
            refusal = Some(error);
            "the reader stopped"
        })
    };
    // serde_json asks for single bytes.
    let mut deserializer = serde_json::Deserializer::from_reader(BufReader::new(reader));
    let outcome = deserializer
        .deserialize_map(Index(&mut deliver))
        .and_then(|()| deserializer.end());
    match (outcome, refusal) {
        (_, Some(refusal)) => Err(refusal),
        (Ok(()), None) => Ok(()),
        (Err(error), None) if error.is_io() => Err(FormatError::from_io(error.into()).into()),
        (Err(error), None) => Err(FormatError::malformed(format!("not an index: {error}")).into()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::format::{BlobId, Compressor, UnpackedReader, encode_unpacked};

    type Packs = Vec<(PackId, Vec<PackEntry>)>;

    fn decode(json: &[u8]) -> Result<Packs, FormatError> {
        let mut packs = Vec::new();
        decode_index(json, |id, entries| {
            packs.push((id, entries));
            Ok(())
        })
        .map(|()| packs)
    }

    fn encode(packs: &Packs) -> Vec<u8> {
        let mut json = Vec::new();
        encode_index(
            &mut json,
            packs.iter().map(|(id, entries)| (*id, entries.as_slice())),
        )
        .unwrap();
        json
    }

    fn entry(number: u32) -> PackEntry {
        PackEntry {
            id: BlobId::of(&number.to_le_bytes()),
            blob_type: if number.is_multiple_of(2) {
                BlobType::Data
            } else {
                BlobType::Tree
            },
            length: number % 1000 + 32,
            uncompressed_length: (!number.is_multiple_of(3)).then_some(number),
            offset: number,
        }
    }

    const ID: &str = "3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a";

    fn with_blob(blob: &str) -> Result<Packs, FormatError> {
        let blob = blob.replace("ID", &format!("\"{ID}\""));
        decode(format!(r#"{{"packs":[{{"id":"{ID}","blobs":[{blob}]}}]}}"#).as_bytes())
    }

    #[test]
    fn the_spelling_is_that_of_restic() {
        let raw = PackEntry {
            uncompressed_length: None,
            ..entry(4)
        };
        let packs = vec![
            (PackId::of(b"a"), vec![raw, entry(7)]),
            (PackId::of(b"b"), vec![]),
        ];
        let expected = format!(
            concat!(
                r#"{{"packs":[{{"id":"{}","blobs":[{{"id":"{}","type":"data","offset":4,"length":36}},"#,
                r#"{{"id":"{}","type":"tree","offset":7,"length":39,"uncompressed_length":7}}]}},"#,
                r#"{{"id":"{}","blobs":[]}}]}}"#,
                "\n",
            ),
            PackId::of(b"a"),
            raw.id,
            entry(7).id,
            PackId::of(b"b"),
        );
        assert_eq!(String::from_utf8(encode(&packs)).unwrap(), expected);
        assert_eq!(decode(expected.as_bytes()).unwrap(), packs);
        assert_eq!(encode(&vec![]), b"{\"packs\":[]}\n");
    }

    #[test]
    fn empty_indexes_are_fine() {
        for json in [
            "{}",
            r#"{"packs":[]}"#,
            r#"{"packs":null}"#,
            " { \"supersedes\":[\"x\"] } \n",
        ] {
            assert_eq!(decode(json.as_bytes()), Ok(vec![]), "{json}");
        }
    }

    #[test]
    fn order_case_and_unknown_fields_do_not_matter() {
        let json = format!(
            r#"{{"time":{{"a":[1]}},"PACKS":[{{"Blobs":[{{"size":1e4,"OFFSET":5,"uncompressed_length":0,
            "x":null,"Type":"tree","Length":40,"length":41,"iD":"{upper}"}}],"size":3,"id":"{ID}"}}],"packs_to_delete":[{{}}]}}"#,
            upper = ID.to_uppercase(),
        );
        let id = BlobId::from_bytes([0x3a; 32]);
        let entry = PackEntry {
            id,
            blob_type: BlobType::Tree,
            length: 41,
            uncompressed_length: None,
            offset: 5,
        };
        assert_eq!(
            decode(json.as_bytes()),
            Ok(vec![(PackId::from_bytes([0x3a; 32]), vec![entry])])
        );
        assert_eq!(
            decode(format!(r#"{{"packs":[{{"blobs":null,"id":"{ID}"}}]}}"#).as_bytes()).unwrap()[0].1,
            []
        );
    }

    #[test]
    fn one_bad_blob_fails_the_whole() {
        let good = r#"{"id":ID,"type":"data","offset":0,"length":40,"uncompressed_length":null}"#;
        assert_eq!(with_blob(good).unwrap()[0].1.len(), 1);
        assert!(with_blob(&good.replace("40", "4294967295")).is_ok());
        for (from, to) in [
            ("data", "blob"),
            ("data", "Data"),
            ("40", "4294967296"),
            ("40", "-1"),
            ("40", "40.5"),
            ("40", "\"40\""),
            ("\"offset\":0,", ""),
            ("\"id\":ID,", ""),
            ("ID", "\"3a\""),
            (good, "null"),
            ("{", "{{"),
        ] {
            let result = with_blob(&good.replacen(from, to, 1));
            assert!(
                matches!(result, Err(FormatError::Malformed(_))),
                "{from} {to}: {result:?}"
            );
        }
        for json in [
            "",
            "[]",
            "null",
            "{",
            "{}x",
            r#"{"packs":{}}"#,
            r#"{"packs":[{}]}"#,
            r#"{"packs":[],"packs":[]}"#,
        ] {
            assert!(
                matches!(decode(json.as_bytes()), Err(FormatError::Malformed(_))),
                "{json}"
            );
        }
    }

    #[test]
    fn the_first_refusal_of_the_caller_ends_the_reading() {
        #[derive(Debug, PartialEq)]
        enum Mine {
            Stop,
            Format(FormatError),
        }
        impl From<FormatError> for Mine {
            fn from(error: FormatError) -> Self {
                Self::Format(error)
            }
        }
        let json = encode(&vec![(PackId::of(b"a"), vec![]); 3]);
        let mut calls = 0;
        let outcome = decode_index(&json[..], |_, _| {
            calls += 1;
            if calls == 2 { Err(Mine::Stop) } else { Ok(()) }
        });
        assert_eq!((outcome, calls), (Err(Mine::Stop), 2));
        let outcome = decode_index(&b"{"[..], |_, _| Err(Mine::Stop));
        assert!(matches!(outcome, Err(Mine::Format(FormatError::Malformed(_)))));
    }

    #[test]
    fn errors_of_the_stream_below_stay_what_they_are() {
        let json = encode(&vec![(PackId::of(b"a"), (0..2000).map(entry).collect()); 5]);
        let file = encode_unpacked(&mut Compressor::default(), &json).unwrap();
        let read = |limit| {
            let mut count = 0;
            decode_index(UnpackedReader::new(&file, limit)?, |_, entries| {
                count += entries.len();
                Ok::<_, FormatError>(())
            })
            .map(|()| count)
        };
        assert_eq!(read(json.len()), Ok(10_000));
        assert!(matches!(read(json.len() - 1), Err(FormatError::TooLarge { .. })));
    }

    proptest! {
        #[test]
        fn whatever_is_written_is_read(packs in prop::collection::vec(prop::collection::vec(any::<u32>(), 0..9), 0..9)) {
            let packs: Packs = packs
                .iter()
                .map(|numbers| (PackId::of(&[numbers.len() as u8]), numbers.iter().copied().map(entry).collect()))
                .collect();
            prop_assert_eq!(decode(&encode(&packs)), Ok(packs));
        }

        #[test]
        fn foreign_and_mutated_bytes_never_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..100),
            places in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        ) {
            let _ = decode(&bytes);
            let mut json = encode(&vec![(PackId::of(b"a"), vec![entry(1), entry(2)])]);
            for (place, byte) in places {
                let place = place.index(json.len());
                json[place] = byte;
            }
            let _ = decode(&json);
        }
    }

    #[test]
    fn deep_nesting_is_an_error_and_no_overflow_of_the_stack() {
        let json = format!("{{\"x\":{}", "[".repeat(1_000_000));
        assert!(decode(json.as_bytes()).is_err());
    }
}
