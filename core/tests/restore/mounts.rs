//! Targets on small and on several file systems. Mounting needs root and a namespace of its own; without them
//! there is nothing to see here.

use lifeboat::{Kind, Place};

use crate::{
    mounted::{again_with_mounts, grow, mount},
    support::{Bench, noise, write},
};

#[test]
fn a_full_disk_says_what_to_do_and_the_restore_goes_on_when_there_is_room() {
    if again_with_mounts("mounts::a_full_disk_says_what_to_do_and_the_restore_goes_on_when_there_is_room") {
        return;
    }
    let bench = Bench::new();
    for n in 0..6 {
        write(&bench.path("source").join(format!("f{n}")), &noise(n, 1 << 20));
    }
    bench.backup();
    let target = bench.path("target");
    mount(&target, "4m");
    write(&target.join("f1"), b"old");
    let before = bench.target();
    let error = bench.restore(&[]).unwrap_err();
    assert_eq!(error.kind(), Kind::OutOfSpace(Place::Target));
    assert!(error.to_string().contains("make room"), "{error}");
    assert!(bench.target() == before);
    grow(&target, "20m");
    let report = bench.restore(&[]).unwrap();
    assert!(report.resumed_bytes > 0);
    assert!(bench.target() == crate::support::tree(&bench.path("source")));
}

#[test]
fn another_file_system_inside_the_target_is_refused_before_anything_is_changed() {
    if again_with_mounts(
        "mounts::another_file_system_inside_the_target_is_refused_before_anything_is_changed",
    ) {
        return;
    }
    let bench = Bench::new();
    write(&bench.path("source/a/b/f"), b"new");
    write(&bench.path("source/a/g"), b"new");
    bench.backup();
    write(&bench.path("target/a/g"), b"old");
    mount(&bench.path("target/a/b"), "1m");
    let before = bench.target();
    let error = bench.restore(&[]).unwrap_err();
    assert_eq!(error.kind(), Kind::InvalidInput);
    assert!(error.to_string().contains("target/a/b"), "{error}");
    assert!(bench.target() == before);
}
