//! Real servers behind a network that fails: whatever befalls a window, it ends in time and says why, and once the network is good again the backup
//! is whole.
//!
//! Packets that are lost are not among the faults: dropping them takes a kernel with netem or a packet filter, and root. What a program sees of them,
//! pauses and small pieces, is `Toxic::Crumbs` with a latency that varies.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use lifeboat::{
    Allowances, BackupJob, Budget, Engine, EngineOptions, Event, Kind, Outcome, Retry, Source, Unlock,
    Waiting, WakeHint,
    clock::SystemClock,
    storage::{Address, Credentials, StorageOptions, open_with},
};
use lifeboat_tests::{
    Restic, Rng, Scene, assert_same, compare,
    scene::{HOST, PASSWORD, restored},
    seed,
    servers::{AnyServer, Direction::*, Proxy, Toxic},
};

/// What is done to the network, and to a server behind it.
type Act<'a> = &'a dyn Fn(&Proxy);
type Harm<'a> = &'a dyn Fn(&Proxy, &mut AnyServer);

const STOP: Duration = Duration::from_secs(20);
/// Of a window that suffers.
const WINDOW: Duration = Duration::from_secs(4);
/// Of one on a good network.
const GOOD_WINDOW: Duration = Duration::from_secs(30);
/// What a busy machine may take beyond a deadline.
const SLACK: Duration = Duration::from_secs(6);
/// Far less than a phone's, so that several silences fit into a window.
const STALL: Duration = Duration::from_secs(1);
/// A run that needs more windows does not converge.
const WINDOWS_MAX: usize = 12;
/// The shortest that a run waits for a vault that is away.
const AWAY_MIN: Duration = Duration::from_secs(15);

/// New data for each run: some packs.
const FILES: usize = 5;
const FILE_BYTES: usize = 500_000;
/// Makes packs a quarter of it: several to a run.
const ALLOWANCE: u64 = 4_000_000;
/// Slow enough that a fault which begins with the first confirmed pack meets others on their way.
const LINK: Toxic = Toxic::Bandwidth {
    bytes_per_s: 1_000_000,
};
/// More than one of our requests, less than a pack.
const PART_OF_A_PACK: u64 = 200_000;
/// Less than any answer.
const PART_OF_A_HEAD: u64 = 20;

/// A phone, its vault, and the network between them.
struct Place {
    server: AnyServer,
    proxy: Proxy,
    scene: Scene,
    engine: Engine,
    restic: Restic,
    rng: Rng,
    runs: usize,
}

impl Place {
    fn new(server: AnyServer, own_seed: u64) -> Self {
        let (scene, proxy) = (Scene::new(), Proxy::before(server.port()));
        let address = server.address();
        let restic = Restic::current(Path::new(&address)).with_access(&server.access());
        let vault: Address = server.address_by(&proxy).parse().unwrap();
        let options = StorageOptions {
            stall_timeout: STALL,
            ..server.options()
        };
        let clock = Arc::new(SystemClock::default());
        let storage = open_with(&vault, &options, clock.clone()).unwrap();
        let (_, key) = wait(lifeboat::init(&*storage, PASSWORD, HOST, &*clock)).unwrap();
        let engine = Engine::open(EngineOptions {
            vault,
            state_dir: scene.path("state"),
            unlock: Unlock::MasterKey(key),
            storage: options,
        });
        Self {
            engine: engine.unwrap(),
            rng: Rng::new(seed(own_seed)),
            server,
            proxy,
            scene,
            restic,
            runs: 0,
        }
    }

    fn job(&self) -> BackupJob {
        BackupJob {
            sources: vec![Source::at_path(self.scene.source())],
            host: HOST.into(),
            ..BackupJob::default()
        }
    }

    fn grow(&mut self, files: usize, bytes: usize) {
        self.runs += 1;
        let fresh: PathBuf = self.scene.source().join(self.runs.to_string());
        fs::create_dir_all(&fresh).unwrap();
        for number in 0..files {
            fs::write(fresh.join(number.to_string()), self.rng.bytes(bytes)).unwrap();
        }
    }

    /// One window that must not outlast its deadline.
    fn window(&self, length: Duration) -> Outcome {
        let opened = Instant::now();
        let outcome = wait(self.engine.run_window(self.job(), Budget::of(length)));
        in_time(opened, length, &outcome);
        outcome
    }

    /// The same with small packs, and `strike` when the first of them is confirmed.
    fn struck_window(&mut self, strike: &dyn Fn(&Proxy, &mut AnyServer)) -> Outcome {
        let budget = Budget {
            allowances: Allowances {
                unmetered: Some(ALLOWANCE),
                ..Allowances::UNLIMITED
            },
            ..Budget::of(WINDOW)
        };
        let mut events = self.engine.listen();
        let job = self.job();
        let mut running = Box::pin(self.engine.run_window(job, budget));
        let (proxy, server) = (&self.proxy, &mut self.server);
        let opened = Instant::now();
        let outcome = wait(async {
            loop {
                tokio::select! {
                    biased;
                    event = events.recv() => if matches!(event, Ok(Event::PackConfirmed { .. })) {
                        strike(proxy, server);
                        break;
                    },
                    outcome = &mut running => panic!("no pack was confirmed: {outcome:?}"),
                }
            }
            running.await
        });
        in_time(opened, WINDOW, &outcome);
        outcome
    }

    /// On a good network: windows until it is done, and then it is whole.
    fn converges(&mut self) {
        self.proxy.heal();
        let done = (0..WINDOWS_MAX).any(|_| matches!(self.window(GOOD_WINDOW), Outcome::Done(_)));
        assert!(done, "does not converge");
    }

    fn is_whole(&self) {
        self.restic.check_read_data();
        assert_eq!(self.restic.snapshots().len(), self.runs);
        let target = self.scene.path("restored");
        self.restic.restore("latest", &target);
        let source = self.scene.source();
        assert_same(&source, &restored(&target, &source), &compare::Options::default());
        fs::remove_dir_all(&target).unwrap();
    }

    /// Faults that nothing gets through.
    fn cut_off(&mut self) {
        let faults: [(&str, Act<'_>); 6] = [
            ("nobody listens", &Proxy::close),
            ("requests get lost", &|proxy| proxy.add(Up, Toxic::Silence)),
            ("answers get lost", &|proxy| proxy.add(Down, Toxic::Silence)),
            ("half open", &|proxy| {
                proxy.add(Up, Toxic::Silence);
                proxy.add(Down, Toxic::Silence);
            }),
            ("reset at once", &|proxy| {
                proxy.add(Down, Toxic::Reset { after_ms: 0 })
            }),
            ("answers are cut", &|proxy| {
                let bytes = PART_OF_A_HEAD;
                proxy.add(Down, Toxic::Limit { bytes });
            }),
        ];
        self.grow(FILES, FILE_BYTES);
        for (name, strike) in faults {
            println!("{name}");
            strike(&self.proxy);
            match self.window(WINDOW) {
                Outcome::Waiting {
                    reason: Waiting::Unreachable(error),
                    hint,
                } => {
                    assert_eq!(error.kind(), Kind::Unreachable, "{error}");
                    assert_eq!(error.kind().retry(), Retry::Later, "{error}");
                    assert!(hint.not_before >= AWAY_MIN, "{hint:?}");
                }
                other => panic!("{name}: {other:?}"),
            }
            self.proxy.heal();
        }
        self.converges();
        self.is_whole();
    }

    /// Faults that begin in the middle.
    fn broken_off(&mut self) {
        let faults: [(&str, Harm<'_>); 7] = [
            ("nobody listens any more", &|proxy, _| proxy.close()),
            ("silence in requests", &|proxy, _| proxy.add(Up, Toxic::Silence)),
            ("silence in answers", &|proxy, _| proxy.add(Down, Toxic::Silence)),
            ("reset after a while", &|proxy, _| {
                proxy.add(Up, Toxic::Reset { after_ms: 300 });
            }),
            ("hangs up within each pack", &|proxy, _| {
                let bytes = PART_OF_A_PACK;
                proxy.add(Up, Toxic::Limit { bytes });
            }),
            ("the server dies", &|_, server| server.process().kill()),
            ("the server dies and comes back", &|_, server| {
                server.process().kill();
                server.process().start_again();
            }),
        ];
        for (name, strike) in faults {
            println!("{name}");
            self.grow(FILES, FILE_BYTES);
            self.proxy.add(Up, LINK);
            let outcome = self.struck_window(strike);
            goes_on(name, &outcome);
            if name == "the server dies" {
                self.server.process().start_again();
            }
            if !matches!(outcome, Outcome::Done(_)) {
                self.converges();
            }
            self.proxy.heal();
        }
        self.is_whole();
    }

    /// Networks that are no more than slow: windows as long as the last one asked for, until it is done.
    fn slow(&mut self) {
        let networks: [(&str, usize, Act<'_>); 4] = [
            ("far away", FILE_BYTES, &|proxy| {
                for direction in [Up, Down] {
                    let (ms, jitter_ms) = (150, 100);
                    proxy.add(direction, Toxic::Latency { ms, jitter_ms });
                }
            }),
            ("in crumbs", 100_000, &|proxy| {
                let (bytes, pause_us) = (1000, 2000);
                proxy.add(Up, Toxic::Crumbs { bytes, pause_us });
                let (ms, jitter_ms) = (50, 50);
                proxy.add(Down, Toxic::Latency { ms, jitter_ms });
            }),
            ("1 Mbit/s", 300_000, &|proxy| {
                let bytes_per_s = 125_000;
                proxy.add(Up, Toxic::Bandwidth { bytes_per_s });
                proxy.add(Down, Toxic::Bandwidth { bytes_per_s });
            }),
            ("64 kbit/s", 40_000, &|proxy| {
                let bytes_per_s = 8000;
                proxy.add(Up, Toxic::Bandwidth { bytes_per_s });
                proxy.add(Down, Toxic::Bandwidth { bytes_per_s });
            }),
        ];
        for (name, bytes, strike) in networks {
            println!("{name}");
            self.grow(1, bytes);
            strike(&self.proxy);
            let mut length = WINDOW;
            for number in 0.. {
                assert!(number < WINDOWS_MAX, "{name}: does not converge");
                let outcome = self.window(length);
                goes_on(name, &outcome);
                match outcome {
                    Outcome::Done(_) => break,
                    Outcome::MoreToDo(more) => length = next_length(&more.hint),
                    Outcome::Waiting { hint, .. } => length = next_length(&hint),
                    Outcome::Failed { .. } => unreachable!("looked for above"),
                }
            }
            self.proxy.heal();
        }
        self.is_whole();
    }

    fn end(self) {
        self.engine.stop(STOP).unwrap();
    }
}

fn in_time(opened: Instant, length: Duration, outcome: &Outcome) {
    let took = opened.elapsed();
    println!("  {took:.1?} of {length:?}: {}", told(outcome));
    assert!(took < length + SLACK, "overrun: {took:?} of {length:?}");
}

fn next_length(hint: &WakeHint) -> Duration {
    hint.window_min.unwrap_or_default().max(WINDOW)
}

/// What a bad network may lead to, and nothing else: in the end, the same again helps.
fn goes_on(name: &str, outcome: &Outcome) {
    match outcome {
        Outcome::Done(_) | Outcome::MoreToDo(_) => {}
        Outcome::Waiting {
            reason: Waiting::Unreachable(error),
            ..
        } => assert_eq!(error.kind().retry(), Retry::Later, "{name}: {error}"),
        other => panic!("{name}: {other:?}"),
    }
}

fn told(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Done(report) => format!("done, {:?}", report.snapshot),
        Outcome::MoreToDo(more) => format!("{} packs, {} bytes more", more.packs, more.bytes),
        Outcome::Waiting { reason, hint } => format!("{reason:?}, in {:?}", hint.not_before),
        Outcome::Failed { error, .. } => error.to_string(),
    }
}

fn wait<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(work)
}

fn suffers_and_converges(server: AnyServer, own_seed: u64) {
    let mut place = Place::new(server, own_seed);
    place.cut_off();
    place.broken_off();
    place.end();
}

fn crawls_and_converges(server: AnyServer, own_seed: u64) {
    let mut place = Place::new(server, own_seed);
    place.slow();
    place.end();
}

#[test]
fn a_network_that_breaks_costs_a_rest_server_nothing_but_time() {
    suffers_and_converges(AnyServer::rest(), 101);
}

#[test]
fn a_network_that_breaks_costs_an_s3_server_nothing_but_time() {
    suffers_and_converges(AnyServer::s3(), 102);
}

#[test]
fn a_slow_network_to_a_rest_server_is_enough() {
    crawls_and_converges(AnyServer::rest(), 103);
}

#[test]
fn a_slow_network_to_an_s3_server_is_enough() {
    crawls_and_converges(AnyServer::s3(), 104);
}

#[test]
fn a_name_that_nobody_knows_is_a_vault_that_is_away() {
    let scene = Scene::new();
    for vault in [
        "rest:http://vault.invalid/phone/",
        "s3:http://vault.invalid/vaults",
    ] {
        let refused = Engine::open(EngineOptions {
            vault: vault.parse().unwrap(),
            state_dir: scene.path("state"),
            unlock: Unlock::Password(PASSWORD.to_owned().into()),
            storage: StorageOptions {
                credentials: Some(Arc::new(Credentials::new("id", "secret"))),
                ..StorageOptions::default()
            },
        });
        let error = refused.err().unwrap();
        assert_eq!(error.kind(), Kind::Unreachable, "{error}");
        assert_eq!(error.kind().retry(), Retry::Later);
    }
}
