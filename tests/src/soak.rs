//! A long life in windows: random lengths and allowances, kills, stops, freezes, a stock prune in the middle, an app that writes, and, where the vault
//! is a server's, a network that breaks and comes back. Whatever comes: it converges, what is in the vault is whole, and hardly a byte is sent twice.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use lifeboat::limits;
use rustix::process::Signal;

use crate::{
    Forest, Lifeboat, Restic, Rng, Scene, assert_same, compare,
    lifeboat_cli::exit,
    process::{Finished, Running},
    scene::{HOST, restored, utf8},
    servers::{AnyServer, Direction, Proxy, Toxic},
    tree_gen::Mutation,
    vault::{self, Stored},
};

/// New data for each run: several windows' worth.
const FRESH_FILES: u64 = 12;
const FRESH_BYTES: usize = 700_000;
/// A run that needs more windows than that does not converge.
const WINDOWS_MAX: u64 = 300;
/// What a pack adds to the blobs in it: an entry of at most 41 bytes each, and the seal of the header.
const PACK_ENTRY_BYTES: u64 = 41;
const PACK_SEAL_BYTES: u64 = 36;
/// What trees and small files of a changed source may take that no snapshot needs.
const CHANGED_BYTES: u64 = 1 << 20;

/// What befell the windows.
#[derive(Debug, Default)]
pub struct Tally {
    pub windows: u64,
    pub kills: u64,
    pub stops: u64,
    pub freezes: u64,
    pub prunes: u64,
    pub writes: u64,
    pub networks: u64,
}

/// What happens to a window.
#[derive(Debug, Clone, Copy)]
enum Fate {
    LeftAlone,
    Killed,
    Stopped,
    Frozen {
        prune: bool,
    },
    AppWrites,
    /// The network breaks, and is well again after so long.
    Network {
        toxic: Option<Toxic>,
        direction: Direction,
        for_ms: u64,
    },
}

impl Fate {
    fn some(rng: &mut Rng, is_far: bool) -> Self {
        match rng.below(if is_far { 15 } else { 10 }) {
            0..=2 => Self::LeftAlone,
            3 | 4 => Self::Killed,
            5 | 6 => Self::Stopped,
            7 => Self::Frozen { prune: false },
            8 => Self::Frozen { prune: true },
            9 => Self::AppWrites,
            _ => Self::Network {
                toxic: some_toxic(rng),
                direction: [Direction::Up, Direction::Down][rng.index(2)],
                for_ms: rng.below(3000),
            },
        }
    }
}

/// `None`: nobody listens.
fn some_toxic(rng: &mut Rng) -> Option<Toxic> {
    Some(match rng.below(7) {
        0 => return None,
        1 => Toxic::Silence,
        2 => Toxic::Reset {
            after_ms: rng.below(500),
        },
        3 => Toxic::Limit {
            bytes: rng.below(1_000_000),
        },
        4 => Toxic::Bandwidth {
            bytes_per_s: rng.within(8000..=500_000),
        },
        5 => Toxic::Crumbs {
            bytes: 1000,
            pause_us: 500,
        },
        _ => Toxic::Latency {
            ms: rng.below(500),
            jitter_ms: 100,
        },
    })
}

/// Where the backups go.
pub enum Vault {
    Folder,
    /// With a network between us and it. restic has a wire of its own.
    Server(Box<AnyServer>),
}

struct Soak {
    scene: Scene,
    lifeboat: Lifeboat,
    restic: Restic,
    /// The vault's files, seen from outside.
    vault: PathBuf,
    far: Option<(AnyServer, Proxy)>,
    rng: Rng,
    tally: Tally,
    /// What kills and changed minds explain of the bytes that no snapshot needs.
    excess_max: u64,
    /// Packs that may have arrived before a network went away with the answers, so that they are sent again when it is back.
    unanswered: usize,
}

/// Runs so many backups to their ends, each through as many windows as it takes.
pub fn soak(vault: Vault, seed: u64, backups: u64) -> Tally {
    let scene = Scene::new();
    let mut soak = Soak {
        lifeboat: scene.lifeboat(),
        restic: scene.restic(),
        vault: scene.vault(),
        far: None,
        scene,
        rng: Rng::new(seed),
        tally: Tally::default(),
        excess_max: 0,
        unanswered: 0,
    };
    if let Vault::Server(server) = vault {
        let proxy = Proxy::before(server.port());
        let (near, far) = (server.address(), server.address_by(&proxy));
        soak.lifeboat =
            Lifeboat::new(Path::new(&far), &soak.scene.path("state")).with_access(&server.access());
        soak.restic = Restic::current(Path::new(&near)).with_access(&server.access());
        soak.vault = server.files();
        soak.far = Some((*server, proxy));
    }
    Forest::small(soak.rng.number()).plant(&soak.scene.source());
    soak.lifeboat.init();
    for backup in 0..backups {
        println!("backup {backup}");
        soak.grow();
        soak.back_up();
        soak.verify();
    }
    println!("{:?}", soak.tally);
    soak.tally
}

impl Soak {
    fn back_up(&mut self) {
        for _ in 0..WINDOWS_MAX {
            self.tally.windows += 1;
            let fate = Fate::some(&mut self.rng, self.far.is_some());
            let before = vault::packs(&self.vault);
            let finished = self.window(fate);
            let after = vault::packs(&self.vault);
            let is_pruned = matches!(fate, Fate::Frozen { prune: true });
            let is_cut_off = matches!(fate, Fate::Network { .. });
            if is_cut_off {
                // An answer that was lost: what arrived may be sent again, and what was sent again need not be needed.
                self.excess_max += CHANGED_BYTES;
                self.unanswered += limits::UPLOADS_IN_FLIGHT_MAX;
            } else if !is_pruned {
                assert_untouched(&before, &after, 1 + self.unanswered, &finished);
            }
            if finished.was_killed() {
                self.tally.kills += 1;
                self.excess_max += largest_new_pack(&before, &after);
                continue;
            }
            let locks = vault::locks(&self.vault);
            // It takes a network to remove one: then the next window does.
            assert!(locks.is_empty() || is_cut_off, "a lock is left\n{finished}");
            if !is_cut_off {
                self.unanswered = 0;
            }
            match finished.status.code() {
                Some(0) => return,
                Some(exit::MORE_TO_DO | exit::WAITING | exit::INTERRUPTED) => {}
                // A prune that was at work.
                Some(exit::LOCKED) if is_pruned => {}
                // Before it listened to signals, and so before it did anything.
                None if matches!(fate, Fate::Stopped) && finished.stderr.is_empty() => {}
                // Not even opened.
                Some(exit::FAILED) if is_cut_off => {}
                _ => panic!("{fate:?}\n{finished}"),
            }
        }
        panic!("no end after {WINDOWS_MAX} windows");
    }

    fn window(&mut self, fate: Fate) -> Finished {
        let seconds = self.rng.within(1..=60).to_string();
        let limit = match self.rng.below(4) {
            0 => self.rng.within(20_000..=600_000),
            1 => u64::MAX >> 1,
            _ => self.rng.within(700_000..=6_000_000),
        }
        .to_string();
        println!("window of {seconds} s and {limit} bytes: {fate:?}");
        let source = self.scene.source();
        let args = [
            "--json",
            "backup",
            "--host",
            HOST,
            "--window",
            &seconds,
            "--limit-bytes",
            &limit,
            "--",
        ];
        let running = self.lifeboat.start([&args[..], &[utf8(&source)]].concat());
        let moment = Duration::from_millis(self.rng.below(600));
        match fate {
            Fate::LeftAlone => running.wait(),
            Fate::Killed => running.kill_after(moment),
            Fate::Stopped => {
                self.tally.stops += 1;
                signal_after(running, moment, Signal::TERM).wait()
            }
            Fate::Frozen { prune } => {
                self.tally.freezes += 1;
                let frozen = signal_after(running, moment, Signal::STOP);
                if prune {
                    self.prune();
                }
                frozen.signal(Signal::CONT);
                frozen.wait()
            }
            Fate::Network {
                toxic,
                direction,
                for_ms,
            } => {
                self.tally.networks += 1;
                let Some((_, proxy)) = &mut self.far else {
                    unreachable!("there is no network to a folder")
                };
                let running = at(running, moment, |_| match toxic {
                    Some(toxic) => proxy.add(direction, toxic),
                    None => proxy.close(),
                });
                let running = at(running, Duration::from_millis(for_ms), |_| {});
                proxy.heal();
                running.wait()
            }
            Fate::AppWrites => {
                self.tally.writes += 1;
                let steps = Mutation {
                    seed: self.rng.number(),
                    steps: 3,
                    removals: true,
                };
                steps.apply(&source);
                self.excess_max += CHANGED_BYTES;
                running.wait()
            }
        }
    }

    /// As somebody at a desktop might, who takes the frozen phone's lock for a stale one.
    fn prune(&mut self) {
        self.tally.prunes += 1;
        let restic = &self.restic;
        restic.run(["unlock", "--remove-all"]).ok();
        restic.run(["prune", "--max-unused", "0"]).ok();
        self.excess_max += CHANGED_BYTES;
    }

    /// The last word is restic's: clean, the source comes back, and hardly a blob is stored that nobody needs.
    fn verify(&mut self) {
        let restic = &self.restic;
        restic.check_read_data();
        // What was written while the last window walked is in the next snapshot.
        self.lifeboat.backup(&self.scene.source());
        let target = self.scene.path("restored");
        restic.restore("latest", &target);
        let back = restored(&target, &self.scene.source());
        assert_same(&self.scene.source(), &back, &compare::Options::default());
        fs::remove_dir_all(&target).unwrap();

        let packs = vault::packs(&self.vault);
        let stats = restic.stats("raw-data");
        let blobs = stats["total_blob_count"].as_u64().unwrap();
        let needed = stats["total_size"].as_u64().unwrap()
            + blobs * PACK_ENTRY_BYTES
            + packs.len() as u64 * PACK_SEAL_BYTES;
        let stored = vault::bytes(&packs);
        let excess = stored.saturating_sub(needed);
        println!(
            "{stored} bytes stored, {needed} needed, {excess} too many of at most {}",
            self.excess_max
        );
        assert!(excess <= self.excess_max, "{excess} bytes too many");
    }

    fn grow(&mut self) {
        let source = self.scene.source();
        let fresh = source.join("fresh");
        let _ = fs::remove_dir_all(&fresh);
        fs::create_dir(&fresh).unwrap();
        for number in 0..FRESH_FILES {
            fs::write(fresh.join(number.to_string()), self.rng.bytes(FRESH_BYTES)).unwrap();
        }
    }
}

/// Every pack that was there is there, and at most so many were written again: the one whose arrival the run before did not live to note, and
/// those whose arrival it was not told of.
fn assert_untouched(
    before: &BTreeMap<String, Stored>,
    after: &BTreeMap<String, Stored>,
    again_max: usize,
    run: &Finished,
) {
    let lost: Vec<&String> = before.keys().filter(|name| !after.contains_key(*name)).collect();
    assert!(lost.is_empty(), "packs gone: {lost:?}\n{run}");
    let again = before
        .iter()
        .filter(|(name, pack)| after[*name] != **pack)
        .count();
    assert!(again <= again_max, "{again} packs written again\n{run}");
}

fn largest_new_pack(before: &BTreeMap<String, Stored>, after: &BTreeMap<String, Stored>) -> u64 {
    let new = after.iter().filter(|(name, _)| !before.contains_key(*name));
    new.map(|(_, pack)| pack.size).max().unwrap_or(0)
}

/// Sends a signal once `moment` has passed since now, if the program has not ended by itself before.
pub fn signal_after(running: Running, moment: Duration, signal: Signal) -> Running {
    at(running, moment, |running| running.signal(signal))
}

/// The same for anything else.
fn at(mut running: Running, moment: Duration, act: impl FnOnce(&Running)) -> Running {
    let started = std::time::Instant::now();
    if running.reaches(|| started.elapsed() >= moment) {
        act(&running);
    }
    running
}

/// The folders of a vault, for a look from outside.
pub fn count(vault: &Path, kind: &str) -> usize {
    vault::files(vault, kind).len()
}
