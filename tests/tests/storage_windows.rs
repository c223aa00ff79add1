//! A short life in windows on servers: killed, stopped, frozen, and with a network that comes and goes. The long one is `soak_windows`. And backups
//! that are frozen while somebody at a desktop, who takes their lock for a stale one, forgets and prunes with a stock restic.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::{fs, path::Path};

use lifeboat_tests::{
    Lifeboat, Restic, Rng, Scene, assert_same, compare,
    lifeboat_cli::backup_args,
    scene::restored,
    seed,
    servers::AnyServer,
    soak::{Vault, count, soak},
};
use rustix::process::Signal;

const FILES: usize = 8;
const FILE_BYTES: usize = 1_500_000;

fn lives(server: AnyServer, own_seed: u64) {
    let tally = soak(Vault::Server(Box::new(server)), seed(own_seed), 3);
    // How many more there are than snapshots depends on the machine: a fast one does more in each.
    assert!(tally.windows >= 3, "{tally:?}");
}

#[test]
fn windows_to_a_rest_server_converge() {
    lives(AnyServer::rest(), 111);
}

#[test]
fn windows_to_an_s3_server_converge() {
    lives(AnyServer::s3(), 112);
}

fn fill(source: &Path, rng: &mut Rng) {
    fs::create_dir_all(source).unwrap();
    for number in 0..FILES {
        fs::write(source.join(number.to_string()), rng.bytes(FILE_BYTES)).unwrap();
    }
}

fn is_frozen_and_pruned(server: &AnyServer, own_seed: u64) {
    let (scene, mut rng) = (Scene::new(), Rng::new(seed(own_seed)));
    let (address, access) = (server.address(), server.access());
    let lifeboat = Lifeboat::new(Path::new(&address), &scene.path("state")).with_access(&access);
    let restic = Restic::current(Path::new(&address)).with_access(&access);
    lifeboat.init();
    for (round, kind) in ["data", "locks", "index"].into_iter().enumerate() {
        println!("frozen at the next of {kind}");
        // The next backup counts on what the last ones have stored.
        fill(&scene.source().join(round.to_string()), &mut rng);
        let before = count(&server.files(), kind);
        let source = scene.source();
        let mut running = lifeboat.start(backup_args(&source));
        assert!(running.reaches(|| count(&server.files(), kind) > before));
        running.signal(Signal::STOP);
        restic.run(["unlock", "--remove-all"]).ok();
        let ids = restic.snapshot_ids();
        if !ids.is_empty() {
            let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
            restic.run([&["forget"], &ids[..]].concat()).ok();
        }
        restic.run(["prune", "--max-unused", "0"]).ok();
        running.signal(Signal::CONT);
        running.wait().ok();
        restic.check_read_data();
        let target = scene.path("restored");
        restic.restore("latest", &target);
        let back = restored(&target, &source);
        assert_same(&source, &back, &compare::Options::default());
        fs::remove_dir_all(&target).unwrap();
    }
}

#[test]
fn a_prune_while_frozen_costs_a_rest_server_no_snapshot() {
    is_frozen_and_pruned(&AnyServer::rest(), 113);
}

#[test]
fn a_prune_while_frozen_costs_an_s3_server_no_snapshot() {
    is_frozen_and_pruned(&AnyServer::s3(), 114);
}
