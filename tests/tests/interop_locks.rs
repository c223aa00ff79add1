//! Locks: we wait for nobody and step on nobody, and leave none behind.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use lifeboat_tests::{
    Forest, Scene,
    lifeboat_cli::{backup_args, exit},
    process::Running,
    scene::utf8,
    seed, vault,
};
use rustix::process::Signal;

fn vault_with_two_snapshots() -> Scene {
    let scene = Scene::new();
    let forest = Forest::small(seed(41));
    forest.plant(&scene.source());
    let lifeboat = scene.lifeboat();
    lifeboat.init();
    lifeboat.backup(&scene.source());
    forest.mutate(&scene.source(), 1);
    lifeboat.backup(&scene.source());
    scene
}

/// A restic that holds its lock and is stopped in its tracks. It waits after writing the lock, so there is time.
fn stopped_while_locked<'a>(scene: &Scene, args: impl IntoIterator<Item = &'a str>) -> Running {
    let mut running = scene.restic().start(args);
    assert!(
        running.reaches(|| !vault::locks(&scene.vault()).is_empty()),
        "it took no lock"
    );
    running.signal(Signal::STOP);
    running
}

#[test]
fn we_refuse_while_restic_holds_the_vault_alone() {
    let scene = vault_with_two_snapshots();
    let before = scene.restic().snapshot_ids();
    let holder = stopped_while_locked(&scene, ["check", "--read-data"]);
    let locked = vault::locks(&scene.vault());
    let lifeboat = scene.lifeboat();
    let source = scene.source();
    let commands: [&[&str]; 3] = [&["check"], &["forget", "--keep-last", "1"], &backup_args(&source)];
    for command in commands {
        lifeboat.run(command.iter().copied()).code(exit::LOCKED);
        assert_eq!(
            vault::locks(&scene.vault()),
            locked,
            "{command:?} touched the locks"
        );
    }
    holder.signal(Signal::CONT);
    holder.wait().ok();
    assert_eq!(scene.restic().snapshot_ids(), before);
    lifeboat.check();
}

/// A shared lock keeps out who wants to delete, and nobody else.
#[test]
fn we_delete_nothing_while_restic_reads() {
    let scene = vault_with_two_snapshots();
    let target = scene.path("restored");
    let holder = stopped_while_locked(&scene, ["restore", "latest", "--target", utf8(&target)]);
    let lifeboat = scene.lifeboat();
    lifeboat.forget(&["--keep-last", "1"]).code(exit::LOCKED);
    lifeboat.backup(&scene.source());
    holder.signal(Signal::CONT);
    holder.wait().ok();
    assert_eq!(scene.restic().snapshot_ids().len(), 3);
    lifeboat.forget(&["--keep-last", "1"]).ok();
}

/// What a killed program leaves behind is removed on demand, and only then.
#[test]
fn a_stale_lock_goes_when_asked() {
    let scene = vault_with_two_snapshots();
    stopped_while_locked(&scene, ["check"]).kill();
    let lifeboat = scene.lifeboat();
    lifeboat.forget(&["--keep-last", "1"]).code(exit::LOCKED);
    lifeboat.run(["unlock"]).ok();
    assert!(vault::locks(&scene.vault()).is_empty());
    lifeboat.forget(&["--keep-last", "1"]).ok();
    scene.restic().check_read_data();
}

/// The lock of a program that lives is not ours to remove.
#[test]
fn a_living_lock_stays() {
    let scene = vault_with_two_snapshots();
    let holder = stopped_while_locked(&scene, ["check"]);
    scene.lifeboat().run(["unlock"]).ok();
    assert_eq!(vault::locks(&scene.vault()).len(), 1);
    holder.signal(Signal::CONT);
    holder.wait().ok();
}

#[test]
fn we_leave_no_lock_behind() {
    let scene = vault_with_two_snapshots();
    let (lifeboat, target) = (scene.lifeboat(), scene.path("restored"));
    let (source, missing) = (scene.source(), scene.path("no such source"));
    let commands: [(&[&str], bool); 8] = [
        (&["snapshots"], true),
        (&["ls", "latest"], true),
        (&["restore", "latest", "--target", utf8(&target)], true),
        (&["check", "--read-data"], true),
        (&backup_args(&source), true),
        (&["forget", "--keep-last", "1"], true),
        // Those that fail clean up, too.
        (&backup_args(&missing), false),
        (&["restore", "0123456789abcdef", "--target", utf8(&target)], false),
    ];
    for (command, works) in commands {
        let finished = lifeboat.run(command.iter().copied());
        _ = if works { finished.ok() } else { finished.refused() };
        assert!(vault::locks(&scene.vault()).is_empty(), "{command:?} left a lock");
    }
    scene.restic().check_read_data();
}

/// What we left when killed, our own next run removes: nobody has to unlock anything.
#[test]
fn our_next_run_removes_the_lock_of_the_killed_one() {
    let scene = vault_with_two_snapshots();
    Forest {
        files: 200,
        ..Forest::small(seed(42))
    }
    .plant(&scene.source());
    let (lifeboat, source) = (scene.lifeboat(), scene.source());
    let killed = lifeboat
        .start(backup_args(&source))
        .kill_when(|| !vault::locks(&scene.vault()).is_empty());
    println!("killed: {}", killed.was_killed());
    lifeboat.backup(&source);
    assert!(vault::locks(&scene.vault()).is_empty());
    lifeboat.check();
    scene.restic().check_read_data();
}
