//! Databases that the app holds still while they are read.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use lifeboat::{DatabaseAccess, DatabaseSource, Databases, HostError, Quiesce, Quiesced};
use tokio_util::sync::CancellationToken;

use crate::{
    app::{Ends, restored_sum, transfer, two_accounts},
    scene::{Scene, wait},
};

/// Lets nobody write from the first `begin` to the last `end`, and remembers what it was asked.
#[derive(Debug, Default)]
struct Holder {
    held: Mutex<BTreeSet<String>>,
    asked: Mutex<Vec<String>>,
    changed: Condvar,
}

impl Holder {
    fn said(&self, what: &str, path: &Path) -> String {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        self.asked.lock().unwrap().push(format!("{what} {name}"));
        name
    }

    fn write(&self, write: impl FnOnce()) {
        let held = self.held.lock().unwrap();
        let _nothing_held = self.changed.wait_while(held, |held| !held.is_empty()).unwrap();
        write();
    }
}

impl Quiesce for Holder {
    fn begin(&self, path: &Path) -> Result<Quiesced, HostError> {
        let mut held = self.held.lock().unwrap();
        assert!(held.insert(self.said("begin", path)), "held twice");
        Ok(Quiesced::default())
    }

    fn end(&self, path: &Path) {
        let mut held = self.held.lock().unwrap();
        assert!(held.remove(&self.said("end", path)), "let go of, but not held");
        self.changed.notify_all();
    }
}

#[test]
fn a_group_that_the_app_holds_still_is_held_as_one() {
    let scene = Scene::new();
    let path = |name: &str| scene.source().join(name);
    let app = two_accounts(&scene, "truncate");
    let (holder, stop) = (Arc::new(Holder::default()), AtomicBool::new(false));
    let declared = ["a.db", "b.db"].map(|name| DatabaseSource {
        path: path(name),
        access: DatabaseAccess::Quiesced(holder.clone()),
        group: Some("money".into()),
    });
    let engine = scene.open();
    thread::scope(|scope| {
        let (stop, writer) = (&stop, holder.clone());
        scope.spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                writer.write(|| transfer(&app));
            }
        });
        let _ends = Ends(stop);
        for _ in 0..6 {
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
    assert!(holder.held.lock().unwrap().is_empty(), "something stayed held");
    // The bases of both are stored one after the other, and nobody minds of which moment. What is compared with them is held as one.
    let asked = holder.asked.lock().unwrap().clone();
    let together = asked
        .windows(2)
        .filter(|two| two[0] == "begin a.db" && two[1] == "begin b.db");
    assert!(together.count() >= 6, "{asked:?}");
}
