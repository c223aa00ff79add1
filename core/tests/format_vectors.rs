//! Reads repositories that real restic wrote, and compares all that is found with what restic said of them.

#![allow(clippy::unwrap_used, reason = "a test that fails shall fail loudly")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use lifeboat::format::*;
use serde_json::Value;

const VECTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/vectors");

struct Repository {
    root: PathBuf,
    expected: Value,
    master: MasterKey,
    decompressor: Decompressor,
}

fn repositories() -> impl Iterator<Item = Repository> {
    ["repo-basic", "repo-second"].into_iter().map(|name| {
        let folder = Path::new(VECTORS).join(name);
        let expected: Value =
            serde_json::from_slice(&fs::read(folder.join("expected.json")).unwrap()).unwrap();
        let raw: Vec<u8> = ["encrypt_hex", "mac_k_hex", "mac_r_hex"]
            .iter()
            .flat_map(|part| hex::decode(text(&expected["master_key"], part)).unwrap())
            .collect();
        let master = MasterKey::from_raw(&raw.try_into().unwrap()).unwrap();
        Repository {
            root: folder.join("repo"),
            expected,
            master,
            decompressor: Decompressor::new(),
        }
    })
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap()
}

fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value[field].as_array().unwrap()
}

impl Repository {
    /// All files of a kind that lie where they should and are what their names say.
    fn listed(&self, kind: FileType) -> Vec<FileId> {
        let mut folders = vec![self.root.join(kind.dir().unwrap())];
        let mut ids = Vec::new();
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten().map(Result::unwrap) {
                if entry.file_type().unwrap().is_dir() {
                    folders.push(entry.path());
                } else if let Some(id) = listed_id(entry.file_name().to_str().unwrap()) {
                    assert_eq!(entry.path(), self.root.join(kind.path(&id)));
                    ids.push(id);
                }
            }
        }
        ids.sort();
        ids
    }

    fn stored(&self, kind: FileType, id: &FileId) -> Vec<u8> {
        let bytes = fs::read(self.root.join(kind.path(id))).unwrap();
        assert!(kind == FileType::Config || FileId::of(&bytes) == *id);
        bytes
    }

    fn expected_ids(&self, what: &str) -> Vec<FileId> {
        let ids = list(&self.expected, what)
            .iter()
            .map(|file| text(file, "id").parse().unwrap());
        let mut ids: Vec<_> = ids.collect();
        ids.sort();
        ids
    }

    /// The header of a stored pack, found with as few bytes as it takes.
    fn header(&self, pack: &[u8]) -> Vec<PackEntry> {
        let reader = PackHeaderReader::new(pack.len() as u64).unwrap();
        let mut bytes = reader.first_tail();
        loop {
            match reader.read(&self.master, &pack[pack.len() - bytes..]).unwrap() {
                HeaderRead::Entries(entries) => return entries,
                HeaderRead::NeedsTail(more) => {
                    assert!(more > bytes);
                    bytes = more;
                }
            }
        }
    }
}

#[test]
fn every_password_opens_its_key_file_and_no_other() {
    for repository in repositories() {
        let keys = list(&repository.expected, "keys");
        assert_eq!(repository.listed(FileType::Key).len(), keys.len());
        for key in keys {
            let id = text(key, "file").parse().unwrap();
            let file = KeyFile::parse(&repository.stored(FileType::Key, &id)).unwrap();
            assert_eq!(serde_json::to_value(&file).unwrap(), key["json"]);
            assert_eq!(KeyFile::parse(&file.encode().unwrap()).unwrap(), file);
            let master = file.open(text(key, "password")).unwrap();
            assert_eq!(master.to_raw(), repository.master.to_raw());
            assert_eq!(
                master.to_json().as_slice(),
                text(key, "decrypted_data_json").as_bytes()
            );
            assert_eq!(file.open("another").unwrap_err(), FormatError::Unauthentic);
        }
    }
}

#[test]
fn configs() {
    for repository in repositories() {
        let stored = repository.stored(FileType::Config, &FileId::of(b""));
        let plaintext = repository.master.open(&stored).unwrap();
        let config = Config::parse(&plaintext).unwrap();
        assert_eq!(
            plaintext,
            text(&repository.expected, "config_plaintext").as_bytes()
        );
        assert_eq!(config.encode().unwrap(), plaintext);
    }
}

#[test]
fn unpacked_files() {
    for mut repository in repositories() {
        for (kind, name) in [
            (FileType::Index, "index"),
            (FileType::Snapshot, "snapshots"),
            (FileType::Lock, "locks"),
        ] {
            assert_eq!(repository.listed(kind), repository.expected_ids(name));
            for file in list(&repository.expected, name) {
                let stored = repository.stored(kind, &text(file, "id").parse().unwrap());
                let plaintext = repository.master.open(&stored).unwrap();
                assert_eq!(
                    u64::from(plaintext[0]),
                    file["decrypted_first_byte"].as_u64().unwrap()
                );

                let mut streamed = String::new();
                let mut reader = UnpackedReader::new(&plaintext, UNPACKED_BYTES_MAX).unwrap();
                std::io::Read::read_to_string(&mut reader, &mut streamed).unwrap();
                assert_eq!(streamed, text(file, "plaintext"));
                let limit = streamed.len();
                let json = decode_unpacked(&mut repository.decompressor, plaintext, limit).unwrap();
                assert_eq!(json, streamed.as_bytes());

                let again = encode_unpacked(&mut Compressor::default(), &json).unwrap();
                assert_eq!(
                    decode_unpacked(&mut repository.decompressor, again, limit).unwrap(),
                    json
                );
                if kind == FileType::Lock {
                    assert_eq!(Lock::parse(&json).unwrap().encode().unwrap(), json);
                }
            }
        }
    }
}

#[test]
fn pack_headers() {
    for repository in repositories() {
        assert_eq!(
            repository.listed(FileType::Pack),
            repository.expected_ids("packs")
        );
        for expected in list(&repository.expected, "packs") {
            let pack = repository.stored(FileType::Pack, &text(expected, "id").parse().unwrap());
            assert_eq!(pack.len() as u64, expected["file_size"].as_u64().unwrap());
            let entries = repository.header(&pack);
            assert_eq!(pack_size(&entries), pack.len() as u64);
            let blobs: Vec<_> = list(expected, "blobs")
                .iter()
                .map(|blob| {
                    let number = |field: &str| blob[field].as_u64().map(|number| number as u32);
                    let kind = number("type_byte").unwrap();
                    PackEntry {
                        id: text(blob, "id").parse().unwrap(),
                        blob_type: if kind % 2 == 0 {
                            BlobType::Data
                        } else {
                            BlobType::Tree
                        },
                        length: number("length").unwrap(),
                        uncompressed_length: number("uncompressed_length").filter(|_| kind >= 2),
                        offset: number("offset").unwrap(),
                    }
                })
                .collect();
            assert_eq!(entries, blobs);

            // Ours has another vector in front and the same inside.
            let header = encode_header(&repository.master, &entries).unwrap();
            let length = header.len() - 4;
            assert_eq!(length as u64, expected["header_length_field"].as_u64().unwrap());
            assert_eq!(header[length..], pack[pack.len() - 4..]);
            let plaintext = repository.master.open(&header[..length]).unwrap();
            assert_eq!(hex::encode(plaintext), text(expected, "header_plaintext_hex"));
        }
    }
}

#[test]
fn every_blob() {
    for mut repository in repositories() {
        let mut trees = BTreeMap::new();
        for id in repository.listed(FileType::Pack) {
            let pack = repository.stored(FileType::Pack, &id);
            for entry in repository.header(&pack) {
                let mut sealed = pack[entry.offset as usize..entry.end() as usize].to_vec();
                let plaintext = open_blob(
                    &repository.master,
                    &entry,
                    &mut sealed,
                    &mut repository.decompressor,
                    BLOB_PLAINTEXT_MAX,
                )
                .unwrap();
                if entry.blob_type == BlobType::Tree {
                    trees.insert(
                        entry.id.to_string(),
                        String::from_utf8(plaintext.into_owned()).unwrap(),
                    );
                }
            }
        }
        let expected: BTreeMap<_, _> = list(&repository.expected, "trees")
            .iter()
            .map(|tree| (text(tree, "id").to_owned(), text(tree, "plaintext").to_owned()))
            .collect();
        assert_eq!(trees, expected);
    }
}

#[test]
fn an_index_rebuilt_from_headers_is_the_stored_one() {
    for repository in repositories() {
        let mut indexed = BTreeSet::new();
        for index in list(&repository.expected, "index") {
            let stored = repository.stored(FileType::Index, &text(index, "id").parse().unwrap());
            let plaintext = repository.master.open(&stored).unwrap();
            let mut packs = Vec::new();
            decode_index(
                UnpackedReader::new(&plaintext, UNPACKED_BYTES_MAX).unwrap(),
                |id, entries| {
                    packs.push((id, entries));
                    Ok::<_, FormatError>(())
                },
            )
            .unwrap();
            for (id, entries) in &mut packs {
                let pack = repository.stored(FileType::Pack, &(*id).into());
                let header = repository.header(&pack);
                assert_eq!(*entries, header);
                *entries = header;
                indexed.insert(*id);
            }
            let mut json = Vec::new();
            encode_index(
                &mut json,
                packs.iter().map(|(id, entries)| (*id, entries.as_slice())),
            )
            .unwrap();
            assert_eq!(String::from_utf8(json).unwrap(), text(index, "plaintext"));
        }
        let packs: BTreeSet<PackId> = repository
            .listed(FileType::Pack)
            .into_iter()
            .map(Into::into)
            .collect();
        assert_eq!(indexed, packs);
    }
}

/// One changed bit in each region of each kind of sealed text: vector, ciphertext, code.
#[test]
fn changed_files_are_unauthentic() {
    for repository in repositories() {
        let mut sealed = vec![repository.stored(FileType::Config, &FileId::of(b""))];
        for kind in [FileType::Index, FileType::Snapshot, FileType::Lock] {
            sealed.extend(
                repository
                    .listed(kind)
                    .iter()
                    .map(|id| repository.stored(kind, id)),
            );
        }
        for id in repository.listed(FileType::Pack) {
            let pack = repository.stored(FileType::Pack, &id);
            let entries = repository.header(&pack);
            sealed.extend(
                entries
                    .iter()
                    .map(|e| pack[e.offset as usize..e.end() as usize].to_vec()),
            );
            let header = entries.last().unwrap().end() as usize;
            sealed.push(pack[header..pack.len() - 4].to_vec());
        }
        for original in sealed {
            let length = original.len();
            for place in [0, 15, 16, length / 2, length - 17, length - 16, length - 1] {
                let mut changed = original.clone();
                changed[place] ^= 0x80;
                assert_eq!(
                    repository.master.open(&changed),
                    Err(FormatError::Unauthentic),
                    "{place} of {length}"
                );
            }
            assert_eq!(
                repository.master.open(&original[..length - 1]),
                Err(FormatError::Unauthentic)
            );
            assert_eq!(
                MasterKey::generate().unwrap().open(&original),
                Err(FormatError::Unauthentic)
            );
        }
    }
}

/// A store may hand out any file under any name, all of them authentic.
#[test]
fn files_of_one_kind_are_not_taken_for_another() {
    for repository in repositories() {
        let json = |name: &str| -> Vec<Vec<u8>> {
            list(&repository.expected, name)
                .iter()
                .map(|file| text(file, "plaintext").into())
                .collect()
        };
        for index in json("index") {
            assert!(Lock::parse(&index).is_err());
            assert!(Config::parse(&index).is_err());
        }
        for lock in json("locks") {
            assert!(Config::parse(&lock).is_err());
        }
        let id = repository.listed(FileType::Index)[0];
        let index = repository.stored(FileType::Index, &id);
        assert!(KeyFile::parse(&index).is_err());
    }
}
