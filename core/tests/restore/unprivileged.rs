//! Restores by someone who is not root, as every app on a phone is: permissions that shut the restore itself
//! out.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
};

use lifeboat::{
    Kind,
    format::{FileMode, Node},
};

use crate::{
    nobody::again_as_nobody,
    planted::{Planter, dir, file},
    support::{Bench, write},
};

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

fn with_mode(mut node: Node, mode: u32) -> Node {
    node.mode = FileMode(node.mode.0 & !0o777 | mode);
    (node.uid, node.gid) = (1234, 1234);
    node
}

#[test]
fn permissions_that_shut_everyone_out_are_restored_and_gone_through() {
    if again_as_nobody("unprivileged::permissions_that_shut_everyone_out_are_restored_and_gone_through") {
        return;
    }
    let bench = Bench::new();
    let mut planter = Planter::new(&bench);
    let blob = planter.data(b"new");
    let files = [
        with_mode(file("closed", 3, &[blob]), 0),
        with_mode(file("f", 3, &[blob]), 0o444),
    ];
    let inner = planter.tree(&files);
    let closed = planter.tree(&[with_mode(dir("inner", inner), 0o555)]);
    let tree = planter.tree(&[
        with_mode(dir("merged", inner), 0o500),
        with_mode(dir("read-only", closed), 0o555),
        with_mode(dir("shut", closed), 0),
    ]);
    planter.snapshot(tree, |_| ());
    // What is in the target is read-only, too.
    write(&bench.path("target/merged/f"), b"old");
    write(&bench.path("target/merged/own"), b"own");
    for name in ["target/merged/f", "target/merged"] {
        fs::set_permissions(bench.path(name), fs::Permissions::from_mode(0o555)).unwrap();
    }
    let report = bench.restore(&[]).unwrap();
    assert_eq!(
        report.warnings,
        [],
        "an owner that cannot be had is nothing to tell of"
    );
    let target = bench.path("target");
    assert_eq!(mode(&target.join("shut")), 0);
    assert_eq!(mode(&target.join("read-only")), 0o555);
    assert_eq!(mode(&target.join("read-only/inner")), 0o555);
    assert_eq!(mode(&target.join("read-only/inner/closed")), 0);
    assert_eq!(mode(&target.join("merged")), 0o500);
    assert_eq!(fs::read(target.join("merged/f")).unwrap(), b"new");
    assert_eq!(fs::read(target.join("merged/own")).unwrap(), b"own");

    // What cannot be looked into cannot be merged with; the rest can, again and again.
    assert_eq!(bench.restore(&[]).unwrap_err().kind(), Kind::AccessDenied);
    fs::set_permissions(target.join("shut"), fs::Permissions::from_mode(0o700)).unwrap();
    let report = bench.restore(&[]).unwrap();
    assert_eq!(report.fetched_bytes, 0, "staged by the one that was refused");
    assert_eq!(mode(&target.join("shut")), 0);
    // For whoever clears up.
    fs::set_permissions(target.join("shut"), fs::Permissions::from_mode(0o700)).unwrap();
    for name in ["shut/inner", "read-only", "read-only/inner", "merged"] {
        fs::set_permissions(target.join(name), fs::Permissions::from_mode(0o700)).unwrap();
    }
}

#[test]
fn a_target_of_somebody_else_is_refused() {
    if again_as_nobody("unprivileged::a_target_of_somebody_else_is_refused") {
        return;
    }
    let bench = Bench::new();
    write(&bench.path("source/f"), b"x");
    bench.backup();
    fs::set_permissions(bench.path("target"), fs::Permissions::from_mode(0o555)).unwrap();
    let error = bench.restore(&[]).unwrap_err();
    assert_eq!(error.kind(), Kind::AccessDenied);
    assert!(error.to_string().contains("target"), "{error}");
    let engine = bench.engine();
    let mut job = bench.job(&[]);
    job.target = "/proc/1".into();
    let error = crate::support::block_on(engine.restore(job, Default::default())).unwrap_err();
    assert!(matches!(error.kind(), Kind::AccessDenied | Kind::Io), "{error}");
}
