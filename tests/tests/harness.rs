//! The harness proves itself on real restic alone: what it plants can be backed up and comes back the same, and the
//! comparison sees every kind of difference. Only then do its verdicts on our own program mean anything.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{MetadataExt, lchown, symlink},
    path::Path,
};

use lifeboat_tests::{
    Forest, Rng, Scene, assert_same, compare,
    compare::Kind,
    compare_trees,
    scene::{copy_exactly, restored},
    seed,
    tree_gen::{Planter, set_mode, set_mtime},
    vault,
};

/// A zero chunk of restic's is the smallest hole it makes again, and each file may lose one at each end.
const RESTIC_HOLE_SLACK_BYTES: u64 = 1 << 20;

#[test]
fn restic_brings_a_forest_back_as_it_was() {
    let scene = Scene::new();
    Forest {
        sockets: true,
        ..Forest::of_everything(seed(1))
    }
    .plant(&scene.source());
    let restic = scene.restic();
    restic.init();
    let summary = restic.backup(&scene.source());
    restic.check_read_data();

    let plain = scene.path("plain");
    restic.restore("latest", &plain);
    assert_same(
        &scene.source(),
        &restored(&plain, &scene.source()),
        &compare::Options::default(),
    );

    let sparse = scene.path("sparse");
    restic.restore_with("latest", &sparse, &["--sparse"]);
    let with_holes = compare::Options {
        allocation_slack_bytes: Some(RESTIC_HOLE_SLACK_BYTES),
        ..compare::Options::default()
    };
    assert_same(&scene.source(), &restored(&sparse, &scene.source()), &with_holes);

    // What restic says it read is what is there: each regular file once, and no socket.
    let count = |kind: &str| {
        restic
            .ls("latest")
            .iter()
            .filter(|node| node["type"] == kind)
            .count()
    };
    assert_eq!(
        summary["files_new"].as_u64().unwrap() as usize,
        regular_files(&scene.source())
    );
    assert!(count("fifo") == 1 && count("symlink") > 8 && count("socket") == 0);
}

#[test]
fn restic_follows_a_forest_through_its_changes() {
    let scene = Scene::new();
    let forest = Forest::of_everything(seed(2));
    forest.plant(&scene.source());
    let restic = scene.restic();
    restic.init();
    for round in 0..3 {
        let done = forest.mutate(&scene.source(), forest.seed + round);
        println!("round {round}:\n{}", done.join("\n"));
        let copy = scene.copy(&scene.source(), &format!("copy-{round}"));
        assert_same(&scene.source(), &copy, &compare::Options::default());
        let snapshot = restic.backup(&scene.source())["snapshot_id"]
            .as_str()
            .unwrap()
            .to_owned();
        let target = scene.path(&format!("restored-{round}"));
        restic.restore(&snapshot, &target);
        assert_same(
            &copy,
            &restored(&target, &scene.source()),
            &compare::Options::default(),
        );
    }
    restic.check_read_data();
    assert_eq!(restic.snapshot_ids().len(), 3);
    assert!(vault::bytes(&vault::packs(&scene.vault())) > 0);
    assert!(vault::locks(&scene.vault()).is_empty());
}

#[test]
fn the_same_seed_is_the_same_forest() {
    let scene = Scene::new();
    let forest = Forest {
        sockets: true,
        ..Forest::of_everything(seed(3))
    };
    let planted = ["one", "two"].map(|name| {
        let root = scene.path(name);
        forest.plant(&root);
        root
    });
    let strict = compare::Options {
        ignore_sockets: false,
        ..compare::Options::default()
    };
    assert_same(&planted[0], &planted[1], &strict);
    Forest {
        seed: forest.seed + 1,
        ..forest
    }
    .plant(&scene.path("other"));
    assert!(!compare_trees(&planted[0], &scene.path("other"), &strict).is_empty());
}

#[test]
fn a_forest_holds_what_its_specimens_promise() {
    let scene = Scene::new();
    let root = scene.source();
    Forest {
        sockets: true,
        ..Forest::of_everything(seed(4))
    }
    .plant(&root);
    let meta = |name: &str| fs::symlink_metadata(root.join(name)).unwrap();
    let hole = meta("holes/between");
    assert_eq!(hole.len(), 8 << 20);
    assert!(
        hole.blocks() * 512 < 1 << 20,
        "the file system of the tests makes no holes"
    );
    assert_eq!(meta("hard links/one").ino(), meta("hard links/below/three").ino());
    assert_eq!(meta("modes/7777").mode() & 0o7777, 0o7777);
    let mut times = BTreeSet::new();
    visit(&root, &mut |path| {
        _ = times.insert(fs::symlink_metadata(path).unwrap().mtime())
    });
    assert!(times.first().is_some_and(|time| *time < 0), "no time before 1970");
    assert!(
        times.last().is_some_and(|time| *time > 4_000_000_000),
        "no time in 2100"
    );
}

/// Each plants one difference of the kind it is named for, on a copy of a small tree.
type PlantedDifference = (Kind, fn(&Path));

const PLANTED: [PlantedDifference; 19] = [
    (Kind::Missing, |root| fs::remove_file(root.join("file")).unwrap()),
    (Kind::Missing, |root| {
        fs::remove_dir(root.join("folder/empty")).unwrap()
    }),
    (Kind::Unexpected, |root| {
        fs::write(root.join("folder/stray"), "").unwrap()
    }),
    (Kind::Type, |root| {
        fs::remove_file(root.join("file")).unwrap();
        fs::create_dir(root.join("file")).unwrap();
    }),
    (Kind::Type, |root| {
        fs::remove_file(root.join("fifo")).unwrap();
        fs::write(root.join("fifo"), "").unwrap();
    }),
    (Kind::Size, |root| {
        fs::write(root.join("file"), vec![7; 199_999]).unwrap()
    }),
    (Kind::Content, |root| change_byte(&root.join("file"), 199_999)),
    (Kind::Content, |root| change_byte(&root.join("file"), 0)),
    (Kind::Content, |root| change_byte(&root.join("hole"), 1 << 20)),
    (Kind::Target, |root| {
        fs::remove_file(root.join("link")).unwrap();
        symlink("elsewhere", root.join("link")).unwrap();
    }),
    (Kind::Mode, |root| set_mode(&root.join("file"), 0o645)),
    (Kind::Mode, |root| set_mode(&root.join("file"), 0o4644)),
    (Kind::Mode, |root| set_mode(root, 0o711)),
    (Kind::Mtime, |root| set_mtime(&root.join("file"), (1_000, 6))),
    (Kind::Mtime, |root| set_mtime(&root.join("link"), (1_001, 5))),
    (Kind::Mtime, |root| set_mtime(root, (999, 5))),
    (Kind::HardLinks, |root| {
        fs::remove_file(root.join("folder/linked")).unwrap();
        fs::write(root.join("folder/linked"), vec![7; 200_000]).unwrap();
    }),
    (Kind::HardLinks, |root| {
        fs::remove_file(root.join("twin")).unwrap();
        fs::hard_link(root.join("file"), root.join("twin")).unwrap();
    }),
    (Kind::Allocation, |root| {
        fs::write(root.join("hole"), vec![0; 4 << 20]).unwrap()
    }),
];

#[test]
fn the_comparison_sees_every_kind_of_difference() {
    let scene = Scene::new();
    let source = small_tree(&scene);
    let options = compare::Options {
        allocation_slack_bytes: Some(64 << 10),
        ..compare::Options::default()
    };
    for (number, (kind, plant)) in PLANTED.into_iter().enumerate() {
        let copy = scene.copy(&source, &format!("copy-{number}"));
        assert_same(&source, &copy, &options);
        plant(&copy);
        let found = compare_trees(&source, &copy, &options);
        assert!(
            found.iter().any(|difference| difference.kind == kind),
            "{number} {kind:?}: {found:?}"
        );
    }
}

/// These need a file system with attributes, or root's rights, so they are planted only where it is possible.
#[test]
fn the_comparison_sees_attributes_owners_and_devices() {
    let scene = Scene::new();
    let source = small_tree(&scene);
    let mut kinds = vec![];
    let mut planter = Planter::new(&source, 0);
    planter.xattr("twin", "user.one", b"1");
    planter.xattr("twin", "user.empty", b"");
    if planter.is_root {
        planter.device("device", rustix::fs::FileType::CharacterDevice, 1, 3);
    }
    let differing = |name: &str, change: &dyn Fn(&Path)| {
        let copy = scene.path(name);
        copy_exactly(&source, &copy);
        change(&copy);
        compare_trees(&source, &copy, &compare::Options::default())
            .into_iter()
            .map(|found| found.kind)
            .collect()
    };
    if rustix::fs::llistxattr_query(source.join("twin")).is_ok_and(|len| len > 0) {
        let remove =
            |name: &'static str| move |root: &Path| _ = rustix::fs::removexattr(root.join("twin"), name);
        let set = |key: &'static str, value: &'static [u8]| {
            move |root: &Path| Planter::new(root, 0).xattr("twin", key, value)
        };
        let found: [Vec<Kind>; 4] = [
            differing("removed", &remove("user.one")),
            differing("removed-empty", &remove("user.empty")),
            differing("changed", &set("user.one", b"2")),
            differing("added", &set("user.two", b"")),
        ];
        assert_eq!(found, [const { [Kind::Xattr] }; 4]);
        kinds.push(Kind::Xattr);
    }
    if planter.is_root {
        let found: Vec<Kind> = differing("given", &|root| {
            lchown(root.join("link"), Some(1), Some(2)).unwrap()
        });
        assert_eq!(found, [Kind::Owner]);
        kinds.push(Kind::Owner);
    }
    if source.join("device").exists() {
        let found: Vec<Kind> = differing("device", &|root| {
            fs::remove_file(root.join("device")).unwrap();
            Planter::new(root, 0).device("device", rustix::fs::FileType::CharacterDevice, 1, 5);
        });
        assert!(found.contains(&Kind::Device), "{found:?}");
        kinds.push(Kind::Device);
    }
    println!("seen: {kinds:?}");
}

#[test]
fn the_comparison_stops_at_what_a_person_reads() {
    let scene = Scene::new();
    let (full, empty) = (scene.path("full"), scene.path("empty"));
    fs::create_dir_all(&empty).unwrap();
    Forest::of_many_files(seed(5), 100).plant(&full);
    assert_eq!(
        compare_trees(&full, &empty, &compare::Options::default()).len(),
        20
    );
}

/// Killing and stopping a program are part of the harness, too.
#[test]
fn a_killed_restic_leaves_its_lock_and_a_clean_repository() {
    let scene = Scene::new();
    Forest {
        files: 400,
        ..Forest::small(seed(6))
    }
    .plant(&scene.source());
    let restic = scene.restic();
    restic.init();
    let killed = restic
        .start(["backup", scene.source().to_str().unwrap()])
        .kill_when(|| !vault::locks(&scene.vault()).is_empty());
    assert!(killed.was_killed(), "{killed}");
    assert_eq!(vault::locks(&scene.vault()).len(), 1);
    restic.run(["check"]).code(11);
    restic.unlock();
    restic.check_read_data();
    let mut rng = Rng::new(seed(7));
    assert_ne!(rng.bytes(32), rng.bytes(32));
}

/// A few entries of different kinds, all with the same known time.
fn small_tree(scene: &Scene) -> std::path::PathBuf {
    let root = scene.source();
    let mut planter = Planter::new(&root, 0);
    planter.dir("folder/empty");
    for name in ["file", "twin"] {
        planter.file(name, &[7; 200_000]);
        planter.mode(name, 0o644);
    }
    planter.hard_link("file", "folder/linked");
    planter.sparse("hole", 4 << 20, &[(0, b"start")]);
    planter.symlink("link", "file");
    planter.fifo("fifo");
    let mut entries = vec![];
    visit(&root, &mut |path| entries.push(path.to_owned()));
    // Folders last: what happens below a folder changes its time.
    entries.iter().rev().for_each(|path| set_mtime(path, (1_000, 5)));
    root
}

/// Calls `look` with every path, folders before what is in them.
fn visit(path: &Path, look: &mut dyn FnMut(&Path)) {
    look(path);
    if fs::symlink_metadata(path).unwrap().is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            visit(&entry.unwrap().path(), look);
        }
    }
}

fn regular_files(root: &Path) -> usize {
    let mut count = 0;
    visit(root, &mut |path| {
        count += usize::from(fs::symlink_metadata(path).unwrap().is_file())
    });
    count
}

fn change_byte(path: &Path, at: u64) {
    use std::io::{Read, Seek, SeekFrom, Write};
    let before = fs::metadata(path).unwrap();
    let mut file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.seek(SeekFrom::Start(at)).unwrap();
    file.read_exact(&mut byte).unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(&[byte[0] ^ 1]).unwrap();
    // So that the content is the only difference.
    set_mtime(path, (before.mtime(), before.mtime_nsec()));
}
