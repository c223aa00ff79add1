//! A vault that lost or changed bytes, and targets that do not fit: an error that says so, and nothing
//! changed.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use lifeboat::Kind;

use crate::support::{Bench, noise, write};

fn packs(bench: &Bench) -> Vec<PathBuf> {
    let mut packs = Vec::new();
    for dir in fs::read_dir(bench.path("vault/data")).unwrap() {
        packs.extend(
            fs::read_dir(dir.unwrap().path())
                .unwrap()
                .map(|file| file.unwrap().path()),
        );
    }
    packs.sort();
    packs
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(path, bytes).unwrap();
}

fn bench() -> Bench {
    let bench = Bench::new();
    for n in 0..4 {
        write(
            &bench.path("source").join(format!("dir/f{n}")),
            &noise(n, 700_000),
        );
    }
    bench.backup();
    write(&bench.path("target/dir/f1"), b"old");
    bench
}

#[test]
fn a_bit_that_flipped_in_any_pack_is_found_before_anything_is_changed() {
    let bench = bench();
    let before = bench.target();
    for (n, pack) in packs(&bench).into_iter().enumerate() {
        let whole = fs::read(&pack).unwrap();
        change(&pack, |bytes| bytes[100 + n] ^= 4);
        let error = bench.restore(&[]).unwrap_err();
        assert_eq!(error.kind(), Kind::Damaged);
        let name = pack.file_name().unwrap().to_str().unwrap();
        assert!(error.to_string().contains(name), "{error}");
        assert!(error.to_string().contains('/'), "{error}");
        assert!(bench.target() == before);
        change(&pack, |bytes| *bytes = whole);
    }
    bench.restore(&[]).unwrap();
    assert!(bench.target() == crate::support::tree(&bench.path("source")));
}

#[test]
fn a_pack_that_is_gone_or_cut_short_is_named_with_the_file() {
    let bench = bench();
    let before = bench.target();
    for pack in packs(&bench) {
        let whole = fs::read(&pack).unwrap();
        let name = pack.file_name().unwrap().to_str().unwrap().to_owned();
        for cut in [false, true] {
            if cut {
                change(&pack, |bytes| bytes.truncate(50));
            } else {
                fs::remove_file(&pack).unwrap();
            }
            let error = bench.restore(&[]).unwrap_err();
            assert_eq!(error.kind(), Kind::Damaged, "{error}");
            assert!(error.to_string().contains(&name), "{error}");
            assert!(bench.target() == before);
            let _ = fs::remove_file(&pack);
            fs::write(&pack, &whole).unwrap();
        }
    }
    bench.restore(&[]).unwrap();
}

#[test]
fn an_index_that_is_gone_makes_its_blobs_missing() {
    let bench = bench();
    for index in fs::read_dir(bench.path("vault/index")).unwrap() {
        fs::remove_file(index.unwrap().path()).unwrap();
    }
    let error = bench.restore(&[]).unwrap_err();
    assert_eq!(error.kind(), Kind::Damaged, "{error}");
}

#[track_caller]
fn refused(bench: &Bench, name: &str) {
    let before = bench.target();
    let error = bench.restore(&[]).unwrap_err();
    assert_eq!(error.kind(), Kind::InvalidInput, "{error}");
    assert!(error.to_string().contains(name), "{error}");
    assert!(bench.target() == before);
}

#[test]
fn a_target_that_does_not_fit_is_refused_before_anything_is_changed() {
    let bench = Bench::new();
    write(&bench.path("source/a/b/c"), b"new");
    write(&bench.path("source/first"), b"new");
    bench.backup();
    let target = bench.path("target");
    write(&target.join("first"), b"old");
    fs::create_dir(bench.path("elsewhere")).unwrap();
    fs::create_dir(target.join("a")).unwrap();

    symlink(bench.path("elsewhere"), target.join("a/b")).unwrap();
    refused(&bench, "target/a/b");
    assert_eq!(fs::read_dir(bench.path("elsewhere")).unwrap().count(), 0);
    fs::remove_file(target.join("a/b")).unwrap();

    fs::remove_dir(target.join("a")).unwrap();
    symlink(bench.path("elsewhere"), target.join("a")).unwrap();
    refused(&bench, "target/a");
    assert_eq!(fs::read_dir(bench.path("elsewhere")).unwrap().count(), 0);
    fs::remove_file(target.join("a")).unwrap();

    write(&target.join("a/b"), b"a file where a folder goes");
    refused(&bench, "target/a/b");
    fs::remove_file(target.join("a/b")).unwrap();

    write(&target.join("a/b/c/something"), b"in a folder where a file goes");
    refused(&bench, "target/a/b/c");
    fs::remove_file(target.join("a/b/c/something")).unwrap();

    let report = bench.restore(&[]).unwrap();
    assert_eq!(report.fetched_bytes, 0, "all of it was staged already");
    assert!(bench.target() == crate::support::tree(&bench.path("source")));
}
