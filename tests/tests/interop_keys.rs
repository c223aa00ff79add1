//! Passwords: each program opens with the keys that the other added, and not with those that were removed.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use std::path::PathBuf;

use lifeboat_tests::{Forest, Scene, lifeboat_cli::exit, restic::text, scene::PASSWORD, seed, vault};

/// No blanks at the ends: restic takes them off what it reads from password files.
const SECOND: &str = "another password: \u{e9}, \u{1f511} and spaces";

fn vault_with_a_snapshot() -> Scene {
    let scene = Scene::new();
    Forest {
        files: 10,
        ..Forest::small(seed(31))
    }
    .plant(&scene.source());
    let lifeboat = scene.lifeboat();
    lifeboat.init();
    lifeboat.backup(&scene.source());
    scene
}

fn password_file(scene: &Scene, password: &str) -> PathBuf {
    let path = scene.path("new-password");
    std::fs::write(&path, format!("{password}\n")).unwrap();
    path
}

#[test]
fn restic_opens_with_a_key_that_we_added() {
    let scene = vault_with_a_snapshot();
    scene.lifeboat().key_add(&password_file(&scene, SECOND));
    for password in [PASSWORD, SECOND] {
        assert_eq!(scene.restic().with_password(password).snapshots().len(), 1);
        scene.lifeboat().with_password(password).run(["snapshots"]).ok();
    }
    assert_eq!(scene.restic().keys().len(), 2);
}

#[test]
fn we_open_with_a_key_that_restic_added() {
    let scene = vault_with_a_snapshot();
    scene.restic().key_add(&password_file(&scene, SECOND));
    let second = scene
        .lifeboat()
        .with_password(SECOND)
        .with_state(&scene.path("another-phone"));
    second.backup(&scene.source());
    second.check();
    let listed = second.run(["key", "list"]).ok();
    for id in vault::files(&scene.vault(), "keys").keys() {
        assert!(listed.stdout.contains(&id[..8]), "no key {id}\n{listed}");
    }
}

#[test]
fn a_wrong_password_opens_nothing() {
    let scene = vault_with_a_snapshot();
    // Known to this installation or not: what is remembered must not open the vault.
    for state in ["state", "another-phone"] {
        let wrong = scene
            .lifeboat()
            .with_password("not it")
            .with_state(&scene.path(state));
        let source = scene.source();
        let commands: [&[&str]; 5] = [
            &["snapshots"],
            &["check"],
            &["backup", source.to_str().unwrap()],
            &["restore", "latest", "--target", "/nonexistent/target"],
            &["key", "list"],
        ];
        for command in commands {
            wrong.run(command.iter().copied()).code(exit::WRONG_PASSWORD);
        }
    }
    assert_eq!(scene.restic().snapshots().len(), 1);
}

#[test]
fn a_removed_key_opens_nothing() {
    let scene = vault_with_a_snapshot();
    let (lifeboat, restic) = (scene.lifeboat(), scene.restic());
    let first = text(&restic.keys()[0]["id"]);
    lifeboat.key_add(&password_file(&scene, SECOND));
    lifeboat.with_password(SECOND).key_remove(&first).ok();
    lifeboat.run(["snapshots"]).code(exit::WRONG_PASSWORD);
    restic.run(["snapshots"]).code(exit::WRONG_PASSWORD);
    assert_eq!(restic.with_password(SECOND).snapshots().len(), 1);

    // Restic removes one of ours, as well.
    restic
        .with_password(SECOND)
        .key_add(&password_file(&scene, PASSWORD));
    let (mine, others): (Vec<_>, Vec<_>) = restic.keys().into_iter().partition(|key| key["current"] == true);
    assert_eq!((mine.len(), others.len()), (1, 1));
    restic.run(["key", "remove", &text(&others[0]["id"])]).ok();
    lifeboat
        .with_password(SECOND)
        .run(["snapshots"])
        .code(exit::WRONG_PASSWORD);
}

/// Without any key the data is gone for good, so the last one stays.
#[test]
fn the_last_key_is_not_removed() {
    let scene = vault_with_a_snapshot();
    let only = text(&scene.restic().keys()[0]["id"]);
    scene.lifeboat().key_remove(&only).refused();
    assert_eq!(vault::files(&scene.vault(), "keys").len(), 1);
    scene.lifeboat().check();
}
