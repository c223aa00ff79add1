//! The check against repositories that were written wrongly on purpose, each in one way.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that fails should fail loudly, also in its helpers"
)]

#[path = "support/checking.rs"]
mod checking;
#[path = "support/hand.rs"]
mod hand;

use std::fs;

use checking::{LOOK, READ, check, found, found_by, vault};
use hand::{Blob, Hand, file, folder, tree, wild_tree};
use lifeboat::{
    Severity,
    format::{BlobId, BlobType, FileType, Node, NodeType, PackId},
};

#[test]
fn a_size_that_is_not_that_of_the_content_is_found() {
    for (compressed, size) in [(true, 99), (true, 4), (false, 99), (false, 4), (true, 0)] {
        let (_dir, hand) = vault();
        let blob = if compressed {
            hand.blob(BlobType::Data, b"12345")
        } else {
            hand.raw_blob(BlobType::Data, b"12345")
        };
        let node = file("f", &[(blob.id, size)]);
        hand.store(&[blob], &tree(&[node]));
        found(
            &hand,
            Severity::Error,
            "/f",
            &format!("said to have {size} bytes"),
        );
    }
}

#[test]
fn a_wrong_plain_length_that_header_and_index_agree_on_is_found() {
    for (claimed, size) in [(4, 4), (6, 6), (6, 5)] {
        let (_dir, hand) = vault();
        let mut blob = hand.blob(BlobType::Data, b"12345");
        blob.uncompressed_length = Some(claimed);
        let node = file("f", &[(blob.id, size)]);
        hand.store(&[blob], &tree(&[node]));
        found_by(&hand, READ, Severity::Error, "data/", "blobs cannot be had");
    }
}

#[test]
fn what_no_restore_should_follow_is_found() {
    let (blob, none) = (BlobId::of(b"12345"), BlobId::from_bytes([0; 32]));
    let good = |name: &str| file(name, &[(blob, 5)]);
    let null = Node {
        content: None,
        ..good("f")
    };
    let zero = Node {
        content: Some(vec![none]),
        ..good("f")
    };
    let nowhere = file("f", &[(BlobId::of(b"nowhere"), 7)]);
    let treeless = Node {
        subtree: None,
        ..folder("f", none)
    };
    let cases = [
        (vec![good("b"), good("a")], "sorts before"),
        (vec![good("a"), good("a")], "is the one of the node before"),
        (vec![good("a/b")], "a slash"),
        (vec![good("..")], "lead elsewhere"),
        (vec![good(".")], "lead elsewhere"),
        (vec![good("")], "empty"),
        (vec![null], "no list of blobs"),
        (vec![zero], "id is zero"),
        (vec![nowhere], "in no index"),
        (vec![treeless], "no tree"),
        (vec![folder("f", none)], "id is zero"),
        (vec![folder("f", BlobId::of(b"nowhere"))], "in no index"),
        (vec![folder("f", blob)], "in no index"),
        (
            vec![Node::new("f", NodeType::Other("door".into()))],
            "the type is unknown",
        ),
    ];
    for (nodes, text) in cases {
        let (_dir, hand) = vault();
        let data = hand.blob(BlobType::Data, b"12345");
        let snapshot = hand.store(&[data], &wild_tree(&nodes));
        let subject = format!("snapshot {}, /", snapshot.short());
        found(&hand, Severity::Error, &subject, text);
    }
}

#[test]
fn trees_that_others_would_not_have_written_are_a_hint() {
    let plain = String::from_utf8(tree(&[file("f", &[])])).unwrap();
    let cases = [
        (
            plain.replacen("\"uid\"", "\"colour\":1,\"uid\"", 1),
            "fields that this version",
        ),
        (
            plain.replacen("\"nodes\"", "\"colour\":1,\"nodes\"", 1),
            "not written as",
        ),
        (plain.replacen(",\"uid\":0", "", 1), "not written as"),
        (plain.trim_end().to_owned(), "not written as"),
        (
            plain.replacen("\"mode\":420", "\"mode\":2147484141", 1),
            "not the one that the mode says",
        ),
    ];
    for (json, text) in cases {
        let (_dir, hand) = vault();
        hand.store(&[], json.as_bytes());
        found(&hand, Severity::Hint, "snapshot ", text);
    }
}

#[test]
fn a_tree_that_is_no_tree_is_found() {
    for json in [
        "{}",
        "null",
        "{\"nodes\":[7]}",
        "{\"nodes\":[{\"name\":\"\\\\q\"}]}",
    ] {
        let (_dir, hand) = vault();
        hand.store(&[], json.as_bytes());
        found(&hand, Severity::Error, "snapshot ", "cannot be read");
    }
}

#[test]
fn snapshots_must_name_a_tree_that_is_there() {
    let (_dir, hand) = vault();
    let treeless = br#"{"time":"2024-01-01T00:00:00Z","paths":["/p"],"hostname":"h"}"#;
    let id = hand.put_json(FileType::Snapshot, treeless);
    found(
        &hand,
        Severity::Error,
        &format!("snapshots/{id}"),
        "names no tree",
    );

    let (_dir, hand) = vault();
    let id = hand.snapshot(BlobId::of(b"nowhere"));
    found(&hand, Severity::Error, &format!("snapshots/{id}"), "in no index");

    let (_dir, hand) = vault();
    let index = hand.index(&[]);
    let framed = fs::read(hand.path(FileType::Index, &index.into())).unwrap();
    let id = hand.put(FileType::Snapshot, &framed);
    found(
        &hand,
        Severity::Error,
        &format!("snapshots/{id}"),
        "names no tree",
    );
}

#[test]
fn a_claimed_cycle_is_a_wrong_hash_and_no_loop() {
    let (_dir, hand) = vault();
    // A tree that holds itself would need to know its own hash. An index can only claim that it has that one.
    let claimed = BlobId::of(b"whatever the tree will claim to be");
    let mut root = hand.blob(BlobType::Tree, &tree(&[folder("again", claimed)]));
    root.id = claimed;
    hand.index(&[hand.pack(&[root])]);
    hand.snapshot(claimed);
    found_by(
        &hand,
        LOOK,
        Severity::Error,
        "snapshot ",
        "lies only in packs that are damaged",
    );
    found_by(
        &hand,
        READ,
        Severity::Error,
        "snapshots/",
        "lies only in packs that are damaged",
    );
    found(&hand, Severity::Error, "data/", "not the one that its id names");
}

#[test]
fn a_damaged_copy_is_found_and_the_good_one_used() {
    let (_dir, hand) = vault();
    let json = tree(&[file("f", &[])]);
    let mut broken = hand.blob(BlobType::Tree, &json);
    broken.sealed[40] ^= 1;
    let (good, bad) = (
        hand.pack(&[hand.blob(BlobType::Tree, &json)]),
        hand.pack(&[broken]),
    );
    let names = [good.0, bad.0];
    hand.index(&[bad, good]);
    hand.snapshot(BlobId::of(&json));
    let report = check(&hand, READ);
    assert_eq!((report.errors, report.trees), (1, 1), "{report:#?}");
    assert_eq!(report.findings[0].subject, format!("data/{}", names[1]));
}

/// Both ways of checking find this about the pack that `plant` returns.
#[track_caller]
fn found_in_pack(severity: Severity, text: &str, plant: impl Fn(&Hand, [Blob; 2]) -> PackId) {
    let (_dir, hand) = vault();
    let blobs = [
        hand.blob(BlobType::Data, b"one"),
        hand.blob(BlobType::Data, b"two"),
    ];
    let pack = plant(&hand, blobs);
    found(&hand, severity, &format!("data/{pack}"), text);
}

#[test]
fn what_does_not_fit_into_a_pack_is_found() {
    found_in_pack(Severity::Error, "where the indexes make it", |hand, blobs| {
        let (id, entries) = hand.pack_with_gap(&blobs, 7);
        hand.index(&[(id, entries)]);
        id
    });
    found_in_pack(Severity::Error, "no blob has the bytes", |hand, blobs| {
        let (id, mut entries) = hand.pack(&blobs);
        entries[1].offset += 1;
        hand.index(&[(id, entries)]);
        id
    });
    found_in_pack(Severity::Error, "overlaps", |hand, blobs| {
        let (id, mut entries) = hand.pack(&blobs);
        entries[1].offset -= 1;
        hand.index(&[(id, entries)]);
        id
    });
    found_in_pack(Severity::Error, "the file is missing", |hand, blobs| {
        let (_, entries) = hand.pack(&blobs);
        let id = PackId::of(b"nowhere");
        hand.index(&[(id, entries)]);
        id
    });
}

#[test]
fn a_pack_whose_name_is_not_its_hash_is_found() {
    let (_dir, hand) = vault();
    let (id, entries) = hand.pack(&[hand.blob(BlobType::Data, b"one")]);
    let name = PackId::of(b"another name");
    let path = hand.path(FileType::Pack, &name.into());
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::rename(hand.path(FileType::Pack, &id.into()), path).unwrap();
    hand.index(&[(name, entries)]);
    let subject = format!("data/{name}");
    found_by(
        &hand,
        READ,
        Severity::Error,
        &subject,
        "does not hash to its name",
    );
}

#[test]
fn packs_that_several_indexes_name_are_told() {
    found_in_pack(Severity::Error, "list different blobs", |hand, blobs| {
        let (id, entries) = hand.pack(&blobs);
        hand.index(&[(id, entries[..1].to_vec())]);
        hand.index(&[(id, entries[1..].to_vec())]);
        id
    });
    found_in_pack(Severity::Hint, "2 index files", |hand, blobs| {
        let (id, entries) = hand.pack(&blobs);
        hand.index(&[(id, entries.clone())]);
        hand.index(&[(id, entries)]);
        id
    });
}

#[test]
fn packs_that_prune_would_write_anew_are_a_hint() {
    found_in_pack(Severity::Hint, "both folders and pieces", |hand, [data, _]| {
        let pack = hand.pack(&[data, hand.blob(BlobType::Tree, b"{}")]);
        let id = pack.0;
        hand.index(&[pack]);
        id
    });
    found_in_pack(Severity::Hint, "not compressed", |hand, _| {
        let pack = hand.pack(&[hand.raw_blob(BlobType::Tree, b"{}")]);
        let id = pack.0;
        hand.index(&[pack]);
        id
    });
}

#[test]
fn an_index_that_names_one_pack_twice_is_one_list() {
    let (_dir, hand) = vault();
    let (id, entries) = hand.pack(&[
        hand.blob(BlobType::Data, b"one"),
        hand.blob(BlobType::Data, b"two"),
    ]);
    hand.index(&[(id, entries[..1].to_vec()), (id, entries[1..].to_vec())]);
    assert_eq!(check(&hand, READ).findings, []);
}

#[test]
fn indexes_that_lie_about_a_pack_of_the_right_size_are_found_by_reading() {
    for change in 0..4 {
        let (_dir, hand) = vault();
        let blobs = [
            hand.blob(BlobType::Data, b"one"),
            hand.blob(BlobType::Data, b"two"),
        ];
        let (id, mut entries) = hand.pack(&blobs);
        match change {
            0 => entries[0].id = BlobId::of(b"other"),
            1 => entries[0].uncompressed_length = Some(4),
            2 => entries[0].blob_type = BlobType::Tree,
            _ => {
                entries[0].length += 1;
                entries[1].offset += 1;
                entries[1].length -= 1;
            }
        }
        hand.index(&[(id, entries)]);
        let subject = format!("data/{id}");
        found_by(&hand, READ, Severity::Error, &subject, "its directory says");
    }
}

#[test]
fn two_lengths_of_one_blob_are_found() {
    let (_dir, hand) = vault();
    let mut lying = hand.blob(BlobType::Data, b"12345");
    let honest = lying.clone();
    lying.uncompressed_length = Some(6);
    hand.index(&[hand.pack(&[honest]), hand.pack(&[lying])]);
    found(
        &hand,
        Severity::Error,
        "index",
        "5 bytes of plaintext, and also 6",
    );
}

#[test]
fn an_unknown_type_of_blob_makes_an_index_unreadable() {
    let (_dir, hand) = vault();
    let (pack, entries) = hand.pack(&[hand.blob(BlobType::Data, b"one")]);
    let (blob, length) = (entries[0].id, entries[0].length);
    let json = format!(r#"{{"id":"{blob}","type":"star","offset":0,"length":{length}}}"#);
    let json = format!(r#"{{"packs":[{{"id":"{pack}","blobs":[{json}]}}]}}"#);
    let id = hand.put_json(FileType::Index, json.as_bytes());
    found(&hand, Severity::Error, &format!("index/{id}"), "not an index");
}
