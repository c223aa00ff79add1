//! The check against repositories that are well, damaged, locked or away.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that fails should fail loudly, also in its helpers"
)]

#[path = "support/checking.rs"]
mod checking;
#[path = "support/hand.rs"]
mod hand;

use std::{
    fs,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use checking::{LOOK, READ, Random, block_on, check, found, open, try_check, vault};
use hand::{Hand, copy, file, specimen, stored_files, tree};
use lifeboat::{
    BackupJob, Kind, Phase, Severity, Source,
    clock::SystemClock,
    format::{BlobType, FileId, FileType},
    storage::LocalStorage,
};
use tokio_util::sync::CancellationToken;

#[test]
fn a_repository_that_is_well_has_no_findings() {
    let dir = tempfile::tempdir().unwrap();
    let hand = specimen(dir.path());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    hand.lock(now as i64, false);
    fs::write(dir.path().join("index/note.txt"), "not an id").unwrap();
    fs::write(dir.path().join("locks/0123"), "not an id").unwrap();
    for job in [LOOK, READ] {
        let report = check(&hand, job);
        assert_eq!(report.findings, [], "{report:#?}");
        assert_eq!((report.snapshots, report.trees, report.blobs), (2, 3, 9));
        assert_eq!(
            (report.packs, report.packs_read),
            (4, if job.read_data { 4 } else { 0 })
        );
    }
}

#[test]
fn what_the_engine_writes_is_well() {
    let dir = tempfile::tempdir().unwrap();
    let (source, root) = (dir.path().join("source"), dir.path().join("vault"));
    fs::create_dir_all(source.join("deep/er")).unwrap();
    fs::write(source.join("empty"), "").unwrap();
    fs::write(
        source.join("deep/er/big"),
        (0..9_000_000_u32)
            .map(|n| (n.wrapping_mul(n) >> 13) as u8)
            .collect::<Vec<_>>(),
    )
    .unwrap();
    for n in 0..100 {
        fs::write(
            source.join(format!("deep/{n} é\n")),
            format!("content {n}").repeat(n),
        )
        .unwrap();
    }
    let storage = LocalStorage::new(root.clone());
    let (_, key) = block_on(lifeboat::init(
        &storage,
        "password",
        "host",
        &SystemClock::default(),
    ))
    .unwrap();
    let state = tempfile::tempdir().unwrap();
    let engine = open(&root, &key, state.path()).unwrap();
    let backup = || {
        let job = BackupJob {
            sources: vec![Source::at_path(&source)],
            host: "phone".into(),
            ..BackupJob::default()
        };
        block_on(engine.backup(job, CancellationToken::new())).unwrap()
    };
    backup();
    fs::write(source.join("deep/new"), "new").unwrap();
    backup();
    for job in [LOOK, READ] {
        let report = block_on(engine.check(job, CancellationToken::new())).unwrap();
        assert_eq!(report.findings, [], "{report:#?}");
        assert_eq!(report.snapshots, 2);
        let progress = engine.progress();
        assert_eq!(progress.phase, Phase::Idle);
        assert_eq!(
            (progress.files, progress.bytes),
            (progress.files_total, progress.bytes_total)
        );
        assert_eq!(progress.bytes, report.bytes_read);
    }
    // The catalog was not asked, and is not in the way: the engine goes on.
    backup();
    engine.stop(Duration::from_secs(10)).unwrap();
}

#[test]
fn every_damaged_file_is_named() {
    let good = tempfile::tempdir().unwrap();
    let hand = specimen(good.path());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    hand.lock(now as i64, false);
    let mut random = Random(0x5eed);
    for stored in stored_files(good.path()) {
        let bytes = fs::read(&stored.path).unwrap();
        let mut damages = vec![bytes[..bytes.len() - 1].to_vec(), [&bytes[..], b"x"].concat()];
        // A lock of no bytes is what a client leaves that died, and is ignored by all.
        if stored.kind != FileType::Lock {
            damages.push(Vec::new());
        }
        damages.push(bytes[..random.below(bytes.len() as u64 - 1) as usize + 1].to_vec());
        for _ in 0..6 {
            let mut flipped = bytes.clone();
            flipped[random.below(bytes.len() as u64) as usize] ^= 1 << random.below(8);
            damages.push(flipped);
        }
        for damaged in damages {
            damage(&hand, &stored.name, &damaged);
        }
    }
}

/// Puts these bytes in the place of a file, in a copy, and expects an error about just that file.
fn damage(hand: &Hand, name: &str, bytes: &[u8]) {
    let bad = tempfile::tempdir().unwrap();
    copy(&hand.root, bad.path());
    let stored = stored_files(bad.path());
    let stored = stored.iter().find(|stored| stored.name == name).unwrap();
    fs::write(&stored.path, bytes).unwrap();
    let report = match try_check(bad.path(), &hand.key, READ) {
        Ok(report) => report,
        // Without a config there is nothing to check.
        Err(error) if stored.kind == FileType::Config => {
            assert!(
                matches!(error.kind(), Kind::Damaged | Kind::WrongPassword),
                "{error:?}"
            );
            return;
        }
        Err(error) => panic!("{name}: {error:?}"),
    };
    assert!(
        report
            .findings
            .iter()
            .any(|f| f.severity == Severity::Error && f.subject == name),
        "{name}, {} bytes: {report:#?}",
        bytes.len()
    );
}

#[test]
fn files_that_took_each_others_places_are_both_named() {
    let good = tempfile::tempdir().unwrap();
    let hand = specimen(good.path());
    hand.lock(4_000_000_000, false);
    hand.lock(4_000_000_001, false);
    let files = stored_files(good.path());
    for pair in files.windows(2).filter(|pair| pair[0].kind == pair[1].kind) {
        let bad = tempfile::tempdir().unwrap();
        copy(good.path(), bad.path());
        let paths: Vec<_> = pair
            .iter()
            .map(|stored| bad.path().join(stored.path.strip_prefix(good.path()).unwrap()))
            .collect();
        let first = fs::read(&paths[0]).unwrap();
        fs::write(&paths[0], fs::read(&paths[1]).unwrap()).unwrap();
        fs::write(&paths[1], first).unwrap();
        let report = try_check(bad.path(), &hand.key, READ).unwrap();
        for stored in pair {
            assert!(
                report
                    .findings
                    .iter()
                    .any(|f| f.severity == Severity::Error && f.subject == stored.name),
                "{}: {report:#?}",
                stored.name
            );
        }
    }
}

#[test]
fn what_is_deleted_is_missed() {
    let good = tempfile::tempdir().unwrap();
    let hand = specimen(good.path());
    for stored in stored_files(good.path()) {
        if !matches!(stored.kind, FileType::Pack | FileType::Index) {
            continue;
        }
        let bad = tempfile::tempdir().unwrap();
        copy(good.path(), bad.path());
        fs::remove_file(bad.path().join(stored.path.strip_prefix(good.path()).unwrap())).unwrap();
        for job in [LOOK, READ] {
            let report = try_check(bad.path(), &hand.key, job).unwrap();
            let errors: Vec<_> = report
                .findings
                .iter()
                .filter(|f| f.severity == Severity::Error)
                .collect();
            if stored.kind == FileType::Pack {
                assert!(errors.iter().any(|f| f.subject == stored.name), "{report:#?}");
            }
            // Nobody knows which index there was; what it named is missed.
            assert!(
                errors.iter().any(|f| f.subject.starts_with("snapshot")),
                "{report:#?}"
            );
        }
    }
}

#[test]
fn nothing_but_packs_or_nothing_at_all_ends_well() {
    let (dir, hand) = vault();
    assert_eq!(check(&hand, READ).findings, []);
    hand.pack(&[hand.blob(BlobType::Data, b"content")]);
    found(&hand, Severity::Hint, "data", "in no index");
    for stored in stored_files(dir.path()) {
        if stored.kind == FileType::Key {
            fs::remove_file(stored.path).unwrap();
        }
    }
    found(&hand, Severity::Error, "keys", "no key file");
}

#[test]
fn a_damaged_pack_names_the_files_that_are_lost_with_it() {
    let (_dir, hand) = vault();
    let (lost, kept) = (
        hand.blob(BlobType::Data, b"lost"),
        hand.blob(BlobType::Data, b"kept"),
    );
    let nodes = [file("kept", &[(kept.id, 4)]), file("lost", &[(lost.id, 4)])];
    let root = hand.blob(BlobType::Tree, &tree(&nodes));
    let snapshot = hand.snapshot(root.id);
    let (pack, entries) = hand.pack(&[kept, lost]);
    hand.index(&[hand.pack(&[root]), (pack, entries.clone())]);
    let path = hand.path(FileType::Pack, &pack.into());
    let mut bytes = fs::read(&path).unwrap();
    bytes[entries[1].offset as usize + 20] ^= 1;
    fs::write(&path, bytes).unwrap();
    assert!(
        check(&hand, LOOK).is_clean(),
        "only reading everything shows a flipped bit"
    );
    let report = check(&hand, READ);
    let subjects: Vec<_> = report.findings.iter().map(|f| f.subject.clone()).collect();
    let lost = format!("snapshot {}, /lost", snapshot.short());
    assert!(subjects.contains(&lost), "{report:#?}");
    assert!(
        !subjects.iter().any(|subject| subject.contains("kept")),
        "{report:#?}"
    );
    let advice = format!("restic repair packs {pack}");
    assert!(
        report.findings.iter().any(|f| f.text.contains(&advice)),
        "{report:#?}"
    );
}

#[test]
fn locks_and_keys_that_stop_restic_are_found() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
    let (dir, hand) = vault();
    for exclusive in [false, true] {
        let id = hand.lock(now - 1900, exclusive);
        found(
            &hand,
            Severity::Hint,
            &format!("locks/{id}"),
            "nobody refreshed for half an hour",
        );
    }
    let empty = hand.put(FileType::Lock, b"");
    found(&hand, Severity::Hint, &format!("locks/{empty}"), "an empty lock");
    let key = hand.put(FileType::Key, br#"{"kdf":"argon2"}"#);
    found(
        &hand,
        Severity::Error,
        &format!("keys/{key}"),
        "key derivation \"argon2\"",
    );
    fs::remove_file(hand.path(FileType::Key, &key)).unwrap();
    for created in ["", "yesterday"] {
        let key = hand.key_file(created, "other");
        found(
            &hand,
            Severity::Error,
            &format!("keys/{key}"),
            "made cannot be read",
        );
        fs::remove_file(hand.path(FileType::Key, &key)).unwrap();
    }
    let timeless = fs::read(hand.path(FileType::Key, &hand.key_file("", "other"))).unwrap();
    fs::remove_file(hand.path(FileType::Key, &FileId::of(&timeless))).unwrap();
    let timeless = String::from_utf8(timeless)
        .unwrap()
        .replacen("\"created\":\"\",", "", 1);
    hand.put(FileType::Key, timeless.as_bytes());
    assert!(check(&hand, LOOK).is_clean());
    let lock = hand.put_json(FileType::Lock, b"{}");
    found(&hand, Severity::Error, &format!("locks/{lock}"), "not a lock");
    fs::remove_file(hand.path(FileType::Lock, &lock)).unwrap();
    let lock = hand.put_json(FileType::Lock, br#"{"time":"yesterday"}"#);
    found(
        &hand,
        Severity::Error,
        &format!("locks/{lock}"),
        "its time cannot be read",
    );

    hand.lock(now - 10, true);
    let refused = try_check(dir.path(), &hand.key, LOOK).unwrap_err();
    assert_eq!(refused.kind(), Kind::Locked);
}

#[test]
fn blobs_longer_than_a_read_are_opened() {
    let (_dir, hand) = vault();
    let noise = |length: usize, seed: u64| {
        let mut random = Random(seed);
        (0..length).map(|_| random.below(256) as u8).collect::<Vec<u8>>()
    };
    let plain: Vec<_> = [9 << 20, 0, 100, 5 << 20, 1]
        .into_iter()
        .zip(1..)
        .map(|(l, s)| noise(l, s))
        .collect();
    let blobs: Vec<_> = plain
        .iter()
        .map(|plain| hand.raw_blob(BlobType::Data, plain))
        .collect();
    let content: Vec<_> = blobs
        .iter()
        .zip(&plain)
        .map(|(blob, plain)| (blob.id, plain.len() as u64))
        .collect();
    hand.store(&blobs, &tree(&[file("f", &content)]));
    let report = check(&hand, READ);
    assert_eq!(report.findings, []);
    assert!(report.bytes_read > 14 << 20);
}

#[test]
fn a_vault_that_went_away_ends_the_check() {
    let (dir, hand) = vault();
    hand.index(&[hand.pack(&[hand.blob(BlobType::Data, b"one")])]);
    let state = tempfile::tempdir().unwrap();
    let engine = open(dir.path(), &hand.key, state.path()).unwrap();
    let check = || block_on(engine.check(READ, CancellationToken::new()));
    assert!(check().unwrap().is_clean());
    let away = dir.path().with_extension("away");
    fs::rename(dir.path(), &away).unwrap();
    assert_eq!(check().unwrap_err().kind(), Kind::Unreachable);
    fs::rename(&away, dir.path()).unwrap();
    assert!(check().unwrap().is_clean());
    engine.stop(Duration::from_secs(10)).unwrap();
}

#[test]
fn a_check_that_is_stopped_ends_at_once_and_leaves_nothing() {
    let (dir, hand) = vault();
    let plain = vec![7; 12 << 20];
    let packs: Vec<_> = (0..24)
        .map(|n| hand.pack(&[hand.raw_blob(BlobType::Data, &plain[n..])]))
        .collect();
    hand.index(&packs);
    let state = tempfile::tempdir().unwrap();
    let engine = open(dir.path(), &hand.key, state.path()).unwrap();
    for wait_ms in [0, 20, 100, 250] {
        let stop = CancellationToken::new();
        let (ended, late) = block_on(async {
            let asked = async {
                tokio::time::sleep(Duration::from_millis(wait_ms)).await;
                stop.cancel();
                Instant::now()
            };
            let (ended, asked) = tokio::join!(engine.check(READ, stop.clone()), asked);
            (ended, asked.elapsed())
        });
        assert_eq!(ended.unwrap_err().kind(), Kind::Cancelled, "after {wait_ms} ms");
        assert!(late < Duration::from_millis(250), "{late:?} after {wait_ms} ms");
        assert!(!state.path().join("check.db").exists());
    }
    assert!(
        block_on(engine.check(LOOK, CancellationToken::new()))
            .unwrap()
            .is_clean()
    );
    engine.stop(Duration::from_secs(10)).unwrap();
}
