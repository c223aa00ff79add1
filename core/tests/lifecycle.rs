//! Engines come and go. Alone in its file, since it counts the threads of the process.

mod scene;

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use lifeboat::{Engine, EngineOptions, Unlock};
use scene::Scene;

const STOP: Duration = Duration::from_secs(10);

#[test]
fn engines_start_and_stop_many_times_and_leave_no_thread_behind() {
    let scene = Scene::new();
    let threads = || fs::read_dir("/proc/self/task").unwrap().count();
    let before = threads();
    let first = scene.open();
    let key = || first.master_key().unwrap();
    let keys: Vec<_> = (0..20).map(|_| key()).collect();
    first.stop(STOP).unwrap();
    for key in keys {
        let options = EngineOptions {
            unlock: Unlock::MasterKey(key),
            storage: Default::default(),
            ..scene.options()
        };
        Engine::open(options).unwrap().stop(STOP).unwrap();
    }
    // A thread that was joined can be listed for a moment longer, and one of the scene's may have been before.
    let deadline = Instant::now() + STOP;
    while threads() > before && Instant::now() < deadline {
        thread::yield_now();
    }
    assert!(threads() <= before, "{} threads after {before}", threads());
}
