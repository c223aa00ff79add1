//! The guards against losing good snapshots, with two engines on one vault, and restic as the judge.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use lifeboat::{
    BackupJob, DueJob, DueReport, Engine, EngineOptions, Event, LockPolicy, Source, StopSignal, Unlock,
    clock::{Clock, SystemClock},
    scheduler::{
        Conditions, Known, Network, Policy, Reason, Task, Thermal, Wish,
        guards::{INSTALL_TAG, UNCONFIRMED_TAG},
    },
    storage::Address,
};
use lifeboat_tests::{
    Rng, Scene,
    restic::text,
    scene::{PASSWORD, copy_exactly, restored},
    seed,
};
use serde_json::Value;

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

/// One time for all phones of a test.
#[derive(Debug, Default)]
struct Jumping {
    real: SystemClock,
    ahead_s: AtomicU64,
}

impl Jumping {
    fn jump(&self, seconds: u64) {
        self.ahead_s.fetch_add(seconds, Ordering::Relaxed);
    }
}

impl Clock for Jumping {
    fn wall(&self) -> SystemTime {
        self.real.wall() + Duration::from_secs(self.ahead_s.load(Ordering::Relaxed))
    }

    fn monotonic(&self) -> Duration {
        self.real.monotonic()
    }
}

/// A phone: its data, and the engine's own folder. Both have the same name in the vault, since both phones ran the same app.
struct Phone {
    data: PathBuf,
    state: PathBuf,
    vault: PathBuf,
    clock: Arc<Jumping>,
}

impl Phone {
    fn new(scene: &Scene, name: &str, clock: &Arc<Jumping>) -> Self {
        let data = scene.path(&format!("{name}-data"));
        fs::create_dir_all(&data).unwrap();
        Self {
            data,
            state: scene.path(&format!("{name}-state")),
            vault: scene.vault(),
            clock: clock.clone(),
        }
    }

    /// Another phone, restored from an image of this one.
    fn image(&self, scene: &Scene, name: &str) -> Self {
        let data = scene.path(&format!("{name}-data"));
        let state = scene.path(&format!("{name}-state"));
        copy_exactly(&self.data, &data);
        copy_exactly(&self.state, &state);
        Self {
            data,
            state,
            vault: self.vault.clone(),
            clock: self.clock.clone(),
        }
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.data.join(name), bytes).unwrap();
    }

    fn with<T>(&self, work: impl AsyncFnOnce(&Engine) -> T) -> T {
        let options = EngineOptions {
            vault: Address::Local(self.vault.clone()),
            state_dir: self.state.clone(),
            unlock: Unlock::Password(PASSWORD.to_owned().into()),
            storage: Default::default(),
        };
        let engine = Engine::open_with_clock(options, self.clock.clone()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let done = runtime.block_on(work(&engine));
        engine.stop(Duration::from_secs(10)).unwrap();
        done
    }

    /// A whole wake: everything that is due, as a host does it. Gives what was done, and what the engine had to tell.
    fn wakes_up(&self) -> (Vec<Task>, Vec<Reason>) {
        self.with(async |engine| {
            engine.diary().set_policy(policy()).await.unwrap();
            let mut heard = engine.listen();
            let mut done = Vec::new();
            loop {
                let report = engine.run_due(self.job()).await.unwrap();
                done.extend(task(&report));
                if !report.again {
                    break;
                }
            }
            let mut noticed = Vec::new();
            while let Ok(event) = heard.try_recv() {
                if let Event::Noticed { reason } = event {
                    noticed.push(reason);
                }
            }
            (done, noticed)
        })
    }

    fn job(&self) -> DueJob {
        DueJob {
            backup: BackupJob {
                sources: vec![Source::named(self.data.clone(), "app")],
                host: "phone".into(),
                ..BackupJob::default()
            },
            conditions: Conditions {
                network: Network::Unmetered,
                charging: Known::Yes,
                low_power_mode: Known::No,
                thermal: Some(Thermal::Nominal),
                free_bytes: Some(1 << 40),
                time_zone: Some("UTC".into()),
                ..Conditions::default()
            },
            lock: LockPolicy::WhenShared,
            stop: StopSignal::default(),
        }
    }
}

fn task(report: &DueReport) -> Option<Task> {
    let window = report.window.as_ref()?;
    assert_eq!(window.closed.end, Reason::Done, "{report:?}");
    Some(window.task)
}

/// The strictest that there is: one snapshot, and forgetting every day.
fn policy() -> Policy {
    let mut policy = Policy {
        jitter_minutes: 0,
        free_space_reserve_bytes: 0,
        forget_days: 1,
        ..Policy::default()
    };
    policy.keep = serde_json::from_str(r#"{"last": "1", "daily": "", "weekly": "", "monthly": ""}"#).unwrap();
    policy.power.charging = Wish::Ignore;
    policy
}

fn tags(snapshot: &Value) -> BTreeSet<String> {
    let tags = snapshot["tags"].as_array().into_iter().flatten();
    tags.map(text).collect()
}

fn install(snapshot: &Value) -> String {
    let tags = tags(snapshot);
    let mut installs = tags.iter().filter_map(|tag| tag.strip_prefix(INSTALL_TAG));
    let install = installs.next().expect("a snapshot says who made it").to_owned();
    assert_eq!(installs.next(), None);
    install
}

/// What a snapshot brings back.
fn content(scene: &Scene, snapshot: &Value, name: &str) -> Vec<u8> {
    let id = text(&snapshot["id"]);
    let target = scene.path(&format!("restored-{id}"));
    if !target.exists() {
        scene.restic().restore(&id, &target);
    }
    fs::read(restored(&target, Path::new("/app")).join(name)).unwrap()
}

#[test]
fn two_phones_from_one_image_go_on_apart_and_nothing_is_lost() {
    let mut rng = Rng::new(seed(61));
    let scene = Scene::new();
    scene.restic().init();
    let clock = Arc::new(Jumping::default());
    let first = Phone::new(&scene, "first", &clock);
    let mut noise = |bytes| rng.bytes(bytes);
    first.write("shared", &noise(200_000));
    assert_eq!(first.wakes_up().0, [Task::FirstBackup]);

    let second = first.image(&scene, "second");
    let mut renewed = 0;
    for day in 0..4 {
        clock.jump(DAY + HOUR);
        for (phone, name) in [(&first, "of-the-first"), (&second, "of-the-second")] {
            phone.write(name, &noise(50_000));
            let (done, noticed) = phone.wakes_up();
            assert!(done.contains(&Task::Increment), "day {day}, {name}: {done:?}");
            renewed += noticed
                .iter()
                .filter(|reason| **reason == Reason::IdentityRenewed)
                .count();
            scene.restic().check_read_data();
            clock.jump(60);
        }
    }
    assert_eq!(renewed, 1, "the one that came second took another name, once");
    let snapshots = scene.restic().snapshots();
    let installs: BTreeSet<String> = snapshots.iter().map(install).collect();
    assert_eq!(installs.len(), 2, "{snapshots:?}");
    // Under the strictest retention, the newest of each phone is there, and is that phone's alone.
    for (phone, mine, other) in [
        (&first, "of-the-first", "of-the-second"),
        (&second, "of-the-second", "of-the-first"),
    ] {
        let latest = fs::read(phone.data.join(mine)).unwrap();
        let holds = |snapshot: &&Value| {
            let nodes = scene.restic().ls(&text(&snapshot["id"]));
            let has = |name: &str| nodes.iter().any(|node| node["name"] == name);
            has(mine) && !has(other) && content(&scene, snapshot, mine) == latest
        };
        let snapshot = snapshots
            .iter()
            .find(holds)
            .unwrap_or_else(|| panic!("{mine} is lost"));
        assert_eq!(content(&scene, snapshot, "shared").len(), 200_000);
    }
}

/// Both have published before either has looked.
#[test]
fn two_phones_that_publish_at_the_same_time_lose_nothing_to_each_other() {
    let mut rng = Rng::new(seed(61));
    let scene = Scene::new();
    scene.restic().init();
    let clock = Arc::new(Jumping::default());
    let first = Phone::new(&scene, "first", &clock);
    first.write("shared", &rng.bytes(200_000));
    first.wakes_up();
    let second = first.image(&scene, "second");
    clock.jump(DAY);
    first.write("a", &rng.bytes(50_000));
    second.write("b", &rng.bytes(50_000));
    // The second one listed the vault before the first one published: it sees the vault as it was then.
    let folder = scene.vault().join("snapshots");
    let before = scene.copy(&folder, "before");
    assert_eq!(first.wakes_up().0[0], Task::Increment);
    fs::rename(&folder, scene.path("after")).unwrap();
    fs::rename(&before, &folder).unwrap();
    assert_eq!(second.wakes_up().0[0], Task::Increment);
    for entry in fs::read_dir(scene.path("after")).unwrap() {
        let entry = entry.unwrap();
        fs::rename(entry.path(), folder.join(entry.file_name())).unwrap();
    }
    let of_both = scene.restic().snapshots();
    let name: BTreeSet<String> = of_both.iter().map(install).collect();
    assert_eq!(
        (of_both.len(), name.len()),
        (2, 1),
        "two under the same name: {of_both:?}"
    );
    clock.jump(DAY);
    // Whoever comes first forgets by the strictest policy, while the other's only new snapshot is the older one.
    second.write("more", &rng.bytes(1000));
    let (done, noticed) = second.wakes_up();
    assert!(
        done.contains(&Task::Forget) && noticed.contains(&Reason::IdentityRenewed),
        "{done:?} {noticed:?}"
    );
    let has = |name: &str| {
        let snapshots = scene.restic().snapshots();
        let holds = |snapshot: &Value| {
            scene
                .restic()
                .ls(&text(&snapshot["id"]))
                .iter()
                .any(|node| node["name"] == name)
        };
        snapshots.iter().any(holds)
    };
    assert!(has("a") && has("b") && has("more"));
    clock.jump(60);
    first.write("more-of-the-first", &rng.bytes(1000));
    first.wakes_up();
    assert!(has("a") && has("b") && has("more-of-the-first"));
    scene.restic().check_read_data();
    let installs: BTreeSet<String> = scene.restic().snapshots().iter().map(install).collect();
    assert!(installs.len() >= 2, "{installs:?}");
}

#[test]
fn an_empty_new_app_pushes_no_good_snapshot_out_until_somebody_confirms() {
    let mut rng = Rng::new(seed(61));
    let scene = Scene::new();
    scene.restic().init();
    let clock = Arc::new(Jumping::default());
    let old = Phone::new(&scene, "old", &clock);
    for file in 0..20 {
        old.write(&format!("photo{file}"), &rng.bytes(30_000));
    }
    old.wakes_up();
    // A new phone with the same app, and nothing of its data.
    let new = Phone::new(&scene, "new", &clock);
    new.write("settings", b"as they come");
    for day in 0..5 {
        clock.jump(DAY);
        new.write("settings", format!("day {day}").as_bytes());
        let (done, noticed) = new.wakes_up();
        assert!(!done.contains(&Task::Forget), "{done:?}");
        assert_eq!(noticed.contains(&Reason::NewbornSuspected), day == 0);
    }
    scene.restic().check_read_data();
    let unconfirmed = |snapshot: &&Value| tags(snapshot).contains(UNCONFIRMED_TAG);
    let snapshots = scene.restic().snapshots();
    assert_eq!(snapshots.len(), 6);
    assert_eq!(snapshots.iter().filter(unconfirmed).count(), 5);
    let good = snapshots.iter().find(|snapshot| !unconfirmed(snapshot)).unwrap();
    assert_eq!(content(&scene, good, "photo7").len(), 30_000);

    assert_eq!(
        new.with(async |engine| engine.confirm_newborn().await.unwrap()),
        5
    );
    scene.restic().check_read_data();
    assert_eq!(scene.restic().snapshots().iter().filter(unconfirmed).count(), 0);
    clock.jump(DAY);
    let (done, _) = new.wakes_up();
    assert!(done.contains(&Task::Forget), "{done:?}");
    // What the old phone left is another line, and keeps its own newest.
    let left = scene.restic().snapshots();
    assert_eq!(left.len(), 2, "{left:?}");
    assert_eq!(content(&scene, &left[0], "photo7").len(), 30_000);
    scene.restic().check_read_data();
}
