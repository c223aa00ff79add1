//! Backups through the public API, against a folder.

mod scene;

use std::{fs, path::Path, time::Duration};

use lifeboat::{
    Engine, EngineOptions, Kind, Unlock,
    clock::SystemClock,
    storage::{Address, LocalStorage},
};
use scene::{PASSWORD, Scene, files, noise, wait};
use tokio_util::sync::CancellationToken;

#[test]
fn what_did_not_change_is_neither_read_nor_sent() {
    let scene = Scene::new();
    for n in 0..300 {
        scene.write(
            &format!("small/{n}.json"),
            format!("{{\"number\": {n}}}").repeat(10),
        );
    }
    scene.write("photo.jpg", noise(1, 5 << 20));
    scene.write("empty", b"");
    let first = scene.backup();
    assert_eq!((first.stats.files_new, first.stats.files_total), (302, 302));
    assert!(first.stats.data_added >= 5 << 20);
    let packs = files(&scene.vault().join("data"));
    let second = scene.backup();
    assert_eq!(second.stats.data_blobs, 0);
    assert_eq!(second.stats.tree_blobs, 0);
    assert_eq!(second.parent, first.snapshot);
    assert_eq!(files(&scene.vault().join("data")), packs);
    assert!(
        files(&scene.vault().join("locks")).is_empty(),
        "no lock is left behind"
    );
    assert!(
        files(&scene.state().join("spool")).is_empty(),
        "everything is confirmed"
    );
    let listing = scene.listing();
    assert_eq!(listing.len(), 304);
    assert_eq!(listing[Path::new("/app/photo.jpg")], 5 << 20);
}

#[test]
fn what_is_read_again_only_to_be_sure_counts_as_what_it_is() {
    let scene = Scene::new();
    scene.write("photo.jpg", noise(1, 5 << 20));
    for n in 0..3 {
        scene.write(&format!("{n}.json"), format!("{{\"number\": {n}}}"));
    }
    let database = rusqlite::Connection::open(scene.source().join("notes.db")).unwrap();
    let notes = "CREATE TABLE notes (text); INSERT INTO notes VALUES ('milk')";
    database.execute_batch(notes).unwrap();
    let counts = |report: lifeboat::BackupReport| {
        let stats = report.stats;
        (stats.files_new, stats.files_changed, stats.files_unmodified)
    };
    assert_eq!(counts(scene.backup_at_once()), (5, 0, 0));
    let again = scene.backup_at_once();
    assert_eq!((again.stats.data_blobs, again.stats.tree_blobs), (0, 0));
    assert_eq!(counts(again), (0, 0, 5));
    scene.write("1.json", "{}");
    scene.write("3.json", "{}");
    database
        .execute("INSERT INTO notes VALUES ('bread')", [])
        .unwrap();
    assert_eq!(counts(scene.backup_at_once()), (1, 2, 3));
    assert_eq!(
        counts(scene.backup()),
        (0, 0, 6),
        "read once more, and trusted then"
    );
    assert_eq!(counts(scene.backup()), (0, 0, 6));
}

#[test]
fn a_lost_catalog_is_rebuilt_and_nothing_is_sent_twice() {
    let scene = Scene::new();
    scene.write("photo.jpg", noise(2, 6 << 20));
    scene.backup();
    let packs = files(&scene.vault().join("data"));
    fs::remove_dir_all(scene.state()).unwrap();
    let again = scene.backup();
    assert_eq!((again.stats.data_blobs, again.stats.tree_blobs), (0, 0));
    assert_eq!(files(&scene.vault().join("data")), packs);
    fs::write(
        scene.state().join("catalog.db"),
        b"garbage of more than a hundred bytes, in the place of SQLite's header: it must be rebuilt as well",
    )
    .unwrap();
    assert_eq!(scene.backup().stats.data_blobs, 0);
}

#[test]
fn packs_that_vanish_from_the_vault_are_sealed_again() {
    let scene = Scene::new();
    scene.write("a.bin", noise(3, 3 << 20));
    scene.write("b.bin", noise(4, 3 << 20));
    scene.backup();
    for path in files(&scene.vault().join("data")) {
        fs::remove_file(path).unwrap();
    }
    let report = scene.backup();
    assert!(report.stats.data_added >= 6 << 20, "{:?}", report.stats);
    assert!(scene.listing().contains_key(Path::new("/app/b.bin")));
}

#[test]
fn a_second_engine_on_the_same_state_is_refused() {
    let scene = Scene::new();
    let first = scene.open();
    let second = Engine::open(scene.options());
    assert_eq!(second.err().unwrap().kind(), Kind::Busy);
    first.stop(Duration::from_secs(10)).unwrap();
    scene.open().stop(Duration::from_secs(10)).unwrap();
}

#[test]
fn wrong_passwords_and_empty_places_are_told_apart() {
    let scene = Scene::new();
    let options = EngineOptions {
        unlock: Unlock::Password("wrong".to_owned().into()),
        ..scene.options()
    };
    assert_eq!(Engine::open(options).err().unwrap().kind(), Kind::WrongPassword);
    let options = EngineOptions {
        vault: Address::Local(scene.dir.path().join("nowhere")),
        ..scene.options()
    };
    assert_eq!(Engine::open(options).err().unwrap().kind(), Kind::NoRepository);
    let storage = LocalStorage::new(scene.vault());
    let again = wait(lifeboat::init(
        &storage,
        PASSWORD,
        "test",
        &SystemClock::default(),
    ));
    assert_eq!(again.err().unwrap().kind(), Kind::RepositoryExists);
}

#[test]
fn a_stopped_backup_ends_soon_and_goes_on_where_it_stopped() {
    let scene = Scene::new();
    for n in 0..24 {
        scene.write(&format!("{n}.bin"), noise(n + 10, 2 << 20));
    }
    let engine = scene.open();
    let stop = CancellationToken::new();
    let mut facts = engine.listen();
    let (result, took) = wait(async {
        let backup = engine.backup(scene.job(), stop.clone());
        let stopper = async {
            // After a few packs are confirmed.
            for _ in 0..3 {
                while !matches!(facts.recv().await.unwrap(), lifeboat::Event::PackConfirmed { .. }) {}
            }
            stop.cancel();
            std::time::Instant::now()
        };
        let (result, stopped_at) = tokio::join!(backup, stopper);
        (result, stopped_at.elapsed())
    });
    assert_eq!(result.unwrap_err().kind(), Kind::Cancelled);
    assert!(took < Duration::from_secs(2), "{took:?}");
    engine.stop(Duration::from_secs(10)).unwrap();
    let before = files(&scene.vault().join("data"));
    assert!(before.len() >= 3);
    let report = scene.backup();
    assert!(report.snapshot.is_some());
    let after = files(&scene.vault().join("data"));
    assert!(
        before.iter().all(|pack| after.contains(pack)),
        "what was confirmed is used"
    );
    let stored: u64 = after.iter().map(|path| fs::metadata(path).unwrap().len()).sum();
    assert!(
        stored < (48 << 20) + (3 << 20),
        "{stored} bytes for 48 MiB: something was stored twice"
    );
}
