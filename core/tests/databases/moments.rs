//! Databases that belong together, and files that belong to a database.

use std::{
    fs,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use lifeboat::{DatabaseAccess, Databases};
use tokio_util::sync::CancellationToken;

use crate::{
    app::{Ends, open, restore_to, restored_sum, transfer, two_accounts},
    scene::{Scene, noise, wait},
};

#[test]
fn a_group_is_captured_at_one_moment() {
    let scene = Scene::new();
    let path = |name: &str| scene.source().join(name);
    let app = two_accounts(&scene, "wal");
    let stop = AtomicBool::new(false);
    let declared = ["a.db", "b.db"].map(|name| lifeboat::DatabaseSource {
        path: path(name),
        access: DatabaseAccess::Own,
        group: Some("money".into()),
    });
    let engine = scene.open();
    std::thread::scope(|scope| {
        let stop = &stop;
        scope.spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                transfer(&app);
            }
        });
        let _ends = Ends(stop);
        for _ in 0..8 {
            let mut job = scene.job();
            job.databases = Databases {
                declared: declared.to_vec(),
                ..Databases::default()
            };
            let report = wait(engine.backup(job, CancellationToken::new())).unwrap();
            assert_eq!(report.unreadable, []);
            assert_eq!(restored_sum(&engine), 100);
        }
    });
    engine.stop(Duration::from_secs(10)).unwrap();
}

/// Written during one backup: an app that writes without end would have the test grow without end.
const PHOTOS_MAX: u64 = 200;

/// An app that stores a photo, then a row that speaks of it, all the time. Photos have names that come before and after the database's, so that no order of
/// the walk helps by chance.
#[test]
fn what_a_row_speaks_of_is_there() {
    let scene = Scene::new();
    let app = open(&scene);
    app.execute_batch("PRAGMA journal_mode=wal; PRAGMA synchronous=off; CREATE TABLE photos (name TEXT PRIMARY KEY, bytes INTEGER)")
        .unwrap();
    for folder in ["a", "z"] {
        fs::create_dir(scene.source().join(folder)).unwrap();
    }
    let mut number = 0_u64;
    let mut add = || {
        number += 1;
        let folder = if number.is_multiple_of(2) { "a" } else { "z" };
        let (name, bytes) = (format!("{folder}/{number}.jpg"), 1 + number % 30_000);
        scene.write(&name, noise(number, usize::try_from(bytes).unwrap()));
        app.execute("INSERT INTO photos VALUES (?1, ?2)", (&name, bytes.cast_signed()))
            .unwrap();
        number
    };
    for _ in 0..200 {
        add();
    }
    let engine = scene.open();
    for round in 0..4 {
        // Enough of new content that a backup takes a while.
        scene.write("m.bin", noise(1000 + round, 8 << 20));
        let over = AtomicBool::new(false);
        let (before, after) = std::thread::scope(|scope| {
            let over = &over;
            let before = add();
            let backup = scope.spawn(|| {
                let _ends = Ends(over);
                wait(engine.backup(scene.job(), CancellationToken::new())).unwrap()
            });
            let mut after = before;
            while !over.load(Ordering::Relaxed) && after < before + PHOTOS_MAX {
                after = add();
            }
            assert_eq!(backup.join().unwrap().unreadable, []);
            (before, after)
        });
        assert!(after > before + 1, "nothing happened during the backup");
        let target = scene.dir.path().join(format!("back-{round}"));
        restore_to(&engine, &target);
        let back = rusqlite::Connection::open(target.join("app/chat.db")).unwrap();
        let mut photos = back.prepare("SELECT name, bytes FROM photos").unwrap();
        let rows = photos.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)));
        let rows: Vec<_> = rows.unwrap().map(Result::unwrap).collect();
        assert!(rows.len() as u64 >= before, "{} of {before} rows", rows.len());
        for (name, bytes) in rows {
            let photo = fs::metadata(target.join("app").join(&name));
            assert_eq!(
                photo.unwrap().len(),
                bytes.cast_unsigned(),
                "round {round}: {name}"
            );
        }
    }
    engine.stop(Duration::from_secs(10)).unwrap();
}
