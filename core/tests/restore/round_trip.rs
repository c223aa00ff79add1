//! What was backed up is what is restored.

use std::{
    ffi::OsStr,
    fs::{self, File, Permissions},
    os::unix::{
        ffi::OsStrExt,
        fs::{MetadataExt, PermissionsExt, symlink},
    },
    path::Path,
    time::{Duration, SystemTime},
};

use rustix::fs::{CWD, FileType, Mode, Timespec, Timestamps, XattrFlags, mknodat, setxattr, utimensat};
use rustix::process::geteuid;

use crate::support::{Bench, noise, write};

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn mtime(path: &Path, seconds: i64, nanos: i64) {
    let time = Timespec {
        tv_sec: seconds,
        tv_nsec: nanos,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    utimensat(CWD, path, &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// One of everything that a tree can hold.
fn all_kinds(root: &Path) {
    write(&root.join("plain.txt"), b"plain");
    write(&root.join("empty"), b"");
    write(&root.join("large.bin"), &noise(1, 9 << 20));
    write(&root.join("dir/sub/deep.bin"), &noise(2, 300_000));
    let mut sparse = noise(3, 100_000);
    sparse.resize(3 << 20, 0);
    sparse.extend(noise(4, 5));
    write(&root.join("sparse.bin"), &sparse);
    write(&root.join("zeros.bin"), &vec![0; 2 << 20]);
    write(&root.join("closed"), b"nobody may read this");
    // Only root can back up what nobody may read.
    mode(&root.join("closed"), if geteuid().is_root() { 0 } else { 0o400 });
    write(&root.join("setuid"), b"#!/bin/sh\n");
    mode(&root.join("setuid"), 0o6755);
    write(&root.join(OsStr::from_bytes(b"not \xff unicode \n")), b"name");
    symlink("plain.txt", root.join("link")).unwrap();
    symlink(OsStr::from_bytes(b"\xfe/nowhere"), root.join("dangling")).unwrap();
    mtime(&root.join("link"), 1_000_000_000, 123_456_789);
    write(&root.join("dir/linked"), &noise(5, 70_000));
    fs::hard_link(root.join("dir/linked"), root.join("zz-linked")).unwrap();
    fs::hard_link(root.join("dir/linked"), root.join("dir/sub/linked")).unwrap();
    mknodat(
        CWD,
        root.join("pipe"),
        FileType::Fifo,
        Mode::from_raw_mode(0o640),
        0,
    )
    .unwrap();
    fs::create_dir_all(root.join("empty-dir")).unwrap();
    mode(&root.join("empty-dir"), 0o1777);
    write(&root.join("read-only/inside"), b"x");
    mode(&root.join("read-only"), 0o555);
    for name in ["plain.txt", "dir"] {
        // Not every file system has them.
        let _ = setxattr(root.join(name), "user.lifeboat", b"a\0b", XattrFlags::empty());
    }
    mtime(&root.join("plain.txt"), 1_600_000_000, 999_999_999);
    mtime(&root.join("dir/sub"), 1_500_000_000, 1);
    mtime(&root.join("dir"), -1, 500_000_000);
    mtime(&root.join("read-only"), 1_400_000_000, 7);
}

#[test]
fn everything_that_a_tree_can_hold_comes_back() {
    let bench = Bench::new();
    all_kinds(&bench.path("source"));
    bench.backup();
    let report = bench.restore(&[]).unwrap();
    assert_eq!(report.warnings, []);
    let source = crate::support::tree(&bench.path("source"));
    let target = bench.target();
    for (path, entry) in &source {
        assert!(target.get(path) == Some(entry), "{path:?}:\n{:?}", {
            let mut shown = target.get(path).cloned();
            if let Some(shown) = &mut shown {
                shown.content.truncate(20);
            }
            shown
        });
    }
    assert_eq!(target.len(), source.len());
    let files = source
        .values()
        .filter(|entry| entry.mode & 0o170_000 == 0o100_000)
        .count();
    let dirs = source
        .values()
        .filter(|entry| entry.mode & 0o170_000 == 0o040_000)
        .count();
    assert_eq!(
        (report.files, report.dirs, report.others),
        (files as u64, dirs as u64, 3)
    );
    let left: Vec<_> = fs::read_dir(bench.path("target"))
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert!(
        left.iter().all(|name| !name.as_bytes().starts_with(b".lifeboat")),
        "{left:?}"
    );
}

#[test]
fn zeros_take_no_room() {
    let bench = Bench::new();
    all_kinds(&bench.path("source"));
    bench.backup();
    bench.restore(&[]).unwrap();
    for (name, most) in [("zeros.bin", 0), ("sparse.bin", 200 << 10)] {
        let blocks = File::open(bench.path("target").join(name))
            .unwrap()
            .metadata()
            .unwrap()
            .blocks();
        assert!(blocks * 512 <= most, "{name} takes {} bytes", blocks * 512);
    }
}

#[test]
fn only_what_was_asked_for_comes_back_and_the_folders_on_the_way() {
    let bench = Bench::new();
    all_kinds(&bench.path("source"));
    bench.backup();
    let report = bench.restore(&["/dir/sub", "plain.txt"]).unwrap();
    let target = bench.target();
    let names: Vec<_> = target.keys().map(|path| path.to_str().unwrap()).collect();
    assert_eq!(
        names,
        [
            "dir",
            "dir/sub",
            "dir/sub/deep.bin",
            "dir/sub/linked",
            "plain.txt"
        ]
    );
    let source = crate::support::tree(&bench.path("source"));
    for name in ["dir", "dir/sub", "plain.txt"] {
        assert_eq!(
            target[Path::new(name)].mtime,
            source[Path::new(name)].mtime,
            "{name}"
        );
    }
    assert_eq!((report.files, report.dirs), (3, 2));

    for wanted in ["/dir/nothing", "/plain.txt/below", "/nothing/at/all"] {
        let error = bench.restore(&["/dir", wanted]).unwrap_err();
        assert_eq!(error.kind(), lifeboat::Kind::NotFound);
        assert!(error.to_string().contains(wanted), "{error}");
    }
}

#[test]
fn what_is_in_the_target_already_is_merged_or_replaced() {
    let bench = Bench::new();
    all_kinds(&bench.path("source"));
    bench.backup();
    let target = bench.path("target");
    write(&target.join("dir/own.txt"), b"stays");
    write(&target.join("dir/sub/deep.bin"), b"old");
    write(&target.join("link"), b"a file where a link goes");
    symlink("/etc/passwd", target.join("plain.txt")).unwrap();
    fs::create_dir(target.join("empty")).unwrap();
    write(&target.join("read-only/inside"), b"old");
    mode(&target.join("read-only"), 0o555);
    bench.restore(&[]).unwrap();
    let (source, mut restored) = (crate::support::tree(&bench.path("source")), bench.target());
    assert_eq!(
        restored.remove(Path::new("dir/own.txt")).unwrap().content,
        b"stays"
    );
    assert!(source == restored);
    // And once more over itself.
    let report = bench.restore(&[]).unwrap();
    restored = bench.target();
    restored.remove(Path::new("dir/own.txt"));
    assert!(source == restored);
    assert_eq!(report.resumed_bytes, 0);
}

#[test]
fn a_target_that_is_not_there_is_made() {
    let bench = Bench::new();
    write(&bench.path("source/a"), b"1");
    bench.backup();
    let mut job = bench.job(&[]);
    job.target = bench.path("new/one");
    let engine = bench.engine();
    crate::support::block_on(engine.restore(job, Default::default())).unwrap();
    assert_eq!(fs::read(bench.path("new/one/a")).unwrap(), b"1");
    let mut job = bench.job(&[]);
    job.target = bench.path("new/one/a");
    let error = crate::support::block_on(engine.restore(job, Default::default())).unwrap_err();
    assert_eq!(error.kind(), lifeboat::Kind::InvalidInput);
    engine.stop(Duration::from_secs(5)).unwrap();
}

#[test]
fn the_time_of_access_is_restored_too() {
    let bench = Bench::new();
    write(&bench.path("source/a"), b"1");
    mtime(&bench.path("source/a"), 1_300_000_000, 42);
    bench.backup();
    bench.restore(&[]).unwrap();
    let meta = fs::metadata(bench.path("target/a")).unwrap();
    assert_eq!(
        meta.accessed().unwrap(),
        SystemTime::UNIX_EPOCH + Duration::new(1_300_000_000, 42)
    );
}
