//! Stop means stop: at any moment, and before the deadline.

use std::time::{Duration, Instant};

use lifeboat::{Budget, Outcome};
use tokio_util::sync::CancellationToken;

use super::{
    STOP, assert_clean,
    faulty::Faulty,
    open,
    scene::{Scene, files, noise, wait},
    window,
};

fn random(state: &mut u64, below: u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    (*state >> 16) % below
}

/// Stops windows at random moments of sealing, sending and publishing over a slow link; returns how long each took to end.
fn stop_many(stops: usize, seed: u64) -> Vec<Duration> {
    println!("seed {seed}");
    let mut state = seed;
    let scene = Scene::new();
    let vault = Faulty::new(scene.vault());
    vault.link(Duration::from_millis(30), 20 << 20);
    let engine = open(&scene, &vault);
    let mut took = Vec::new();
    let mut number = 0;
    while took.len() < stops {
        // New content whenever the last run was done.
        number += 1;
        for n in 0..40 {
            scene.write(
                &format!("{n}.bin"),
                noise(number * 200 + 2 * n + 1, 1 + random(&mut state, 900_000) as usize),
            );
        }
        scene.write("large.bin", noise(number, 20 << 20));
        loop {
            let stop = CancellationToken::new();
            let budget = Budget {
                stop: stop.clone(),
                ..Budget::of(Duration::from_secs(60))
            };
            let after = Duration::from_millis(random(&mut state, 2500));
            let (outcome, stopped_at) = wait(async {
                let stopping = async {
                    tokio::time::sleep(after).await;
                    stop.cancel();
                    Instant::now()
                };
                tokio::join!(engine.run_window(scene.job(), budget), stopping)
            });
            let is_done = matches!(outcome, Outcome::Done(_));
            if !is_done {
                // Since the signal, of which the engine heard at once.
                took.push(stopped_at.elapsed());
                assert!(matches!(outcome, Outcome::MoreToDo(_)), "{outcome:?}");
                assert!(files(&scene.vault().join("locks")).is_empty(), "a lock is held");
            }
            if is_done || took.len() >= stops {
                break;
            }
        }
    }
    assert_clean(&engine, &scene);
    engine.stop(STOP).unwrap();
    took.sort_unstable();
    took
}

/// With `LIFEBOAT_STOPS=200`, on an idle machine, this measures: the slowest must take less than a quarter of a second. Without, a loaded machine
/// must not make it fail.
#[test]
fn stops_at_random_moments_are_soon_obeyed() {
    let wanted = std::env::var("LIFEBOAT_STOPS").ok();
    let count = wanted.as_ref().map_or(10, |text| text.parse().unwrap());
    let took = stop_many(count, 2);
    let (half, slowest) = (took[count / 2], took[count - 1]);
    println!("of {count} stops: half within {half:?}, the slowest {slowest:?}");
    let most = if wanted.is_some() {
        Duration::from_millis(250)
    } else {
        Duration::from_secs(30)
    };
    assert!(slowest < most, "{took:?}");
}

#[test]
fn a_window_ends_by_its_deadline_and_the_next_ones_finish() {
    let scene = Scene::new();
    for n in 0..60 {
        scene.write(&format!("{n:02}.bin"), noise(2 * n + 1, 300_000));
    }
    let vault = Faulty::new(scene.vault());
    vault.link(Duration::from_millis(20), 4 << 20);
    let engine = open(&scene, &vault);
    let mut windows = 0;
    loop {
        windows += 1;
        assert!(windows < 100, "does not converge");
        let opened = Instant::now();
        let outcome = window(&engine, &scene, Budget::of(Duration::from_secs(2)));
        // Two seconds on a machine that does nothing else.
        assert!(
            opened.elapsed() < Duration::from_secs(7),
            "{:?}",
            opened.elapsed()
        );
        match outcome {
            Outcome::Done(_) => break,
            Outcome::MoreToDo(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(windows > 2, "18 MB do not fit into {windows} windows of 2 s");
    println!("{windows} windows of 2 s, {} bytes", vault.sent());
    assert_clean(&engine, &scene);
    engine.stop(STOP).unwrap();
}
