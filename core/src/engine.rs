//! The front door: opens a vault, wires the actors, and hands jobs to them. It decides nothing.

mod due;

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use tokio::sync::broadcast;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    browse::{self, Entries},
    catalog::{Catalog, CatalogThread, run},
    check::{self, CheckJob, CheckReport},
    clock::{Clock, SystemClock},
    error::{Error, Kind, Result},
    events::{Event, Events, Meter, Progress},
    forget::{ForgetJob, ForgetReport, forget},
    format::{KeyId, MasterKey, PackId, RepositoryId, Snapshot, SnapshotId},
    limits,
    prune::{self, PruneJob, PruneParts, PrunePlan, PruneReport},
    repository::{
        self, KeyInfo, LockInfo, Repository, Spool, Unlock, list_snapshots, recover, remove_own_locks,
    },
    restorer::{RestoreJob, RestoreReport, RestorerHandle, RestorerParts},
    runtime::{
        cpu::{CpuPool, CpuThreads},
        host::Host,
        state_lock::StateLock,
    },
    scheduler::{Diary, NetworkClass, SchedulerHandle, Work},
    snapshotter::{BackupJob, BackupReport, SnapshotterHandle, SnapshotterParts, SpoolRoom, Terms},
    storage::{self, Address, Storage, StorageOptions},
    uploader::{UploaderHandle, UploaderParts},
    window::{self, Budget, Gate, HandOff, LockPolicy, Outcome, WindowParts},
};

/// What an engine is opened with.
pub struct EngineOptions {
    pub vault: Address,
    /// The engine's own folder on this device: catalog and spool. One engine at a time; a folder serves one vault.
    pub state_dir: PathBuf,
    pub unlock: Unlock,
    /// How the vault is reached; the default where its address says it all.
    pub storage: StorageOptions,
}

/// A running engine: a few threads, one vault, one job at a time. Its calls may be awaited on any executor.
///
/// Dropping it without [`Engine::stop`] cancels what runs and does not wait for it.
pub struct Engine {
    shared: Arc<Shared>,
    host: Host,
    cpu_threads: CpuThreads,
    catalog_thread: CatalogThread,
    /// Cancels everything when the engine is dropped.
    cancel: DropGuard,
}

/// What jobs work with.
struct Shared {
    repository: Repository,
    catalog: Catalog,
    meter: Arc<Meter>,
    events: Events,
    handles: Handles,
    window: WindowParts,
    state_dir: PathBuf,
}

impl Shared {
    fn prune_parts<'a>(&'a self, cancel: &'a CancellationToken) -> PruneParts<'a> {
        PruneParts {
            repository: &self.repository,
            catalog: &self.catalog,
            state_dir: &self.state_dir,
            meter: &self.meter,
            cancel,
        }
    }
}

#[derive(Clone)]
struct Handles {
    scheduler: SchedulerHandle,
    restorer: RestorerHandle,
}

impl Engine {
    /// Opens the vault. Blocks for as long as that takes: reading a key file, and whatever an earlier process was killed at.
    pub fn open(options: EngineOptions) -> Result<Self> {
        Self::open_with_clock(options, Arc::new(SystemClock::default()))
    }

    /// The same, with another idea of what time it is.
    pub fn open_with_clock(options: EngineOptions, clock: Arc<dyn Clock>) -> Result<Self> {
        let storage = storage::open_with(&options.vault, &options.storage, clock.clone())?;
        Self::open_on(storage, options, clock)
    }

    /// The same, on a vault of another kind: the address in `options` is not asked.
    pub fn open_on(storage: Arc<dyn Storage>, options: EngineOptions, clock: Arc<dyn Clock>) -> Result<Self> {
        let EngineOptions {
            state_dir, unlock, ..
        } = options;
        let state_lock = StateLock::take(&state_dir)?;
        let (cpu, cpu_threads) = CpuPool::start()?;
        let cancel = CancellationToken::new();
        let (host, ()) = Host::start(|| ())?;
        let gate = Arc::new(Gate::new(storage, clock.clone()));
        let opening = repository::open(gate.clone(), unlock, cpu, clock);
        let repository = block_on(host.run(opening))?;
        let (catalog, catalog_thread, is_new) = Catalog::start(&state_dir.join("catalog.db"), state_lock)?;
        let spool = Spool::open(state_dir.join("spool"))?;
        let database_staging = state_dir.join("databases");
        // What a process left that was killed; where there is nothing, there is nothing to do.
        let _ = fs::remove_dir_all(&database_staging);
        let (meter, events) = (Arc::new(Meter::default()), Events::new());
        let (handles, window) = {
            let parts = Wiring {
                repository: repository.clone(),
                gate,
                catalog: catalog.clone(),
                spool,
                meter: meter.clone(),
                events: events.clone(),
                database_staging,
                cancel: cancel.clone(),
                is_new,
            };
            block_on(host.run(wire(parts)))?
        };
        let shared = Arc::new(Shared {
            repository,
            catalog,
            meter,
            events,
            handles,
            window,
            state_dir,
        });
        Ok(Self {
            shared,
            host,
            cpu_threads,
            catalog_thread,
            cancel: cancel.drop_guard(),
        })
    }

    /// Backs the job's sources up. Cancelling `stop` ends it soon; the same job goes on from there.
    pub async fn backup(&self, job: BackupJob, stop: CancellationToken) -> Result<BackupReport> {
        let backup = |shared: Arc<Shared>, cancel| async move {
            let terms = Terms {
                guarded: false,
                lock: LockPolicy::WhenShared,
                pack_target_bytes: window::begin_unbounded(&shared.window, NetworkClass::Unmetered).await?,
                piece_bytes_max: limits::CHUNK_MAX_BYTES,
                window: None,
            };
            let report = shared.window.snapshotter.backup(job, terms, cancel).await;
            let noted = window::end_unbounded(&shared.window, NetworkClass::Unmetered).await;
            report.and_then(|report| noted.map(|()| report))
        };
        self.run(Work::Backup, stop, backup).await
    }

    /// Goes on with the job for as long as the budget allows, and says what is left. A run lives in the catalog between windows, so engines may
    /// come and go: the same job goes on, another one begins anew with what is sealed.
    pub async fn run_window(&self, job: BackupJob, budget: Budget) -> Outcome {
        let stop = budget.stop.clone();
        let run = |shared: Arc<Shared>, cancel| async move {
            window::run_window(&shared.window, job, budget, false, cancel).await
        };
        let ended = self.run(Work::Backup, stop, run).await;
        ended.unwrap_or_else(Outcome::failed)
    }

    /// Something has changed: a run that was parked, since the vault refused access or was full, is tried again by the next window.
    pub async fn unpark(&self) -> Result<()> {
        let change = |tx: &rusqlite::Transaction<'_>| run::change_run(tx, |row| row.parked = None);
        self.shared.catalog.write(change).await
    }

    /// Gives sealed packs to the operating system's own uploader: files with the requests that store them, good for `expires`. For that long the
    /// engine does not send them itself. `Kind::Unsupported` where the vault has no such requests.
    pub async fn hand_off(&self, expires: Duration) -> Result<Vec<HandOff>> {
        let give_out =
            move |shared: Arc<Shared>, _| async move { window::give_out(&shared.window, expires).await };
        self.run(Work::Backup, CancellationToken::new(), give_out).await
    }

    /// What became of a pack that was handed off, as far as its sender knows. In any order, twice or never: the next window looks for itself.
    pub async fn hand_off_ended(&self, pack: PackId, stored: bool) -> Result<()> {
        let shared = self.shared.clone();
        self.host
            .run(async move { window::note(&shared.window, pack, stored).await })
            .await
    }

    /// Verifies what the vault holds, from nothing but the vault. What is wrong with it is in the report; an error is why the check could not be
    /// done, `Kind::Locked` among them while another client may be deleting.
    pub async fn check(&self, job: CheckJob, stop: CancellationToken) -> Result<CheckReport> {
        let check = move |shared: Arc<Shared>, cancel: CancellationToken| async move {
            check::check(&shared.repository, &shared.state_dir, job, &shared.meter, &cancel).await
        };
        self.run(Work::Check, stop, check).await
    }

    /// Brings a snapshot back, all or nothing, or stages it for [`crate::apply_pending`]. Cancelling `stop` ends it soon; the same job goes on from there.
    pub async fn restore(&self, job: RestoreJob, stop: CancellationToken) -> Result<RestoreReport> {
        let restore =
            |shared: Arc<Shared>, cancel| async move { shared.handles.restorer.restore(job, cancel).await };
        self.run(Work::Restore, stop, restore).await
    }

    /// All snapshots, oldest first.
    pub async fn snapshots(&self) -> Result<Vec<(SnapshotId, Snapshot)>> {
        let shared = self.shared.clone();
        self.host
            .run(async move { list_snapshots(&shared.repository, &shared.catalog).await })
            .await
    }

    /// What is in a snapshot, at `below` and below it. A database is one entry. The snapshot is `latest`, or the beginning of an id.
    pub async fn entries(&self, snapshot: String, below: PathBuf) -> Result<Entries> {
        let shared = self.shared.clone();
        let (entries, listing) = self
            .host
            .run(async move { browse::entries(&shared.repository, &shared.catalog, &snapshot, &below).await })
            .await?;
        self.host.spawn(listing)?;
        Ok(entries)
    }

    /// Forgets snapshots by the job's policy.
    pub async fn forget(&self, job: ForgetJob) -> Result<ForgetReport> {
        let run =
            |shared: Arc<Shared>, _| async move { forget(&shared.repository, &shared.catalog, job).await };
        self.run(Work::Forget, CancellationToken::new(), run).await
    }

    /// Says what a prune would do, and does nothing. It reads the folders that it has not read before; cancelled, or with a bound on their
    /// bytes, it goes on there next time.
    pub async fn plan_prune(&self, job: PruneJob, stop: CancellationToken) -> Result<PrunePlan> {
        let plan = move |shared: Arc<Shared>, cancel: CancellationToken| async move {
            prune::plan(shared.prune_parts(&cancel), job).await
        };
        self.run(Work::Forget, stop, plan).await
    }

    /// Does what the plan says, as far as a fresh look at the vault allows it. Cancelling `stop` ends it soon, and what was done stays done:
    /// plan anew to go on. `Kind::AccessDenied` where the vault does not let anything be deleted; then nothing was done.
    pub async fn prune(&self, plan: PrunePlan, stop: CancellationToken) -> Result<PruneReport> {
        let run = move |shared: Arc<Shared>, cancel: CancellationToken| async move {
            prune::prune(shared.prune_parts(&cancel), plan).await
        };
        self.run(Work::Forget, stop, run).await
    }

    pub async fn keys(&self) -> Result<Vec<KeyInfo>> {
        let shared = self.shared.clone();
        self.host
            .run(async move { repository::list_keys(&shared.repository).await })
            .await
    }

    /// Adds a key file that opens with `password`.
    pub async fn add_key(&self, password: String, host: String) -> Result<KeyId> {
        let (shared, password) = (self.shared.clone(), zeroize::Zeroizing::new(password));
        self.host
            .run(async move { repository::add_key(&shared.repository, &password, &host).await })
            .await
    }

    /// Removes the key file whose id begins with `prefix`, unless it is the one in use.
    pub async fn remove_key(&self, prefix: String) -> Result<KeyId> {
        let shared = self.shared.clone();
        self.host
            .run(async move { repository::remove_key(&shared.repository, &prefix).await })
            .await
    }

    pub async fn locks(&self) -> Result<Vec<LockInfo>> {
        let shared = self.shared.clone();
        self.host
            .run(async move { repository::list_locks(&shared.repository).await })
            .await
    }

    /// Removes locks that nobody refreshed for half an hour, or all. Returns how many.
    pub async fn unlock(&self, all: bool) -> Result<usize> {
        let shared = self.shared.clone();
        self.host
            .run(async move { repository::unlock(&shared.repository, all).await })
            .await
    }

    pub fn repository_id(&self) -> RepositoryId {
        self.shared.repository.config.id
    }

    /// A copy of the master key, for the key store of the device: it opens the repository without a password.
    pub fn master_key(&self) -> Result<MasterKey> {
        let raw = self.shared.repository.key.to_raw();
        MasterKey::from_raw(&raw).map_err(|error| Error::bug(format!("the key in use is not one: {error}")))
    }

    /// Where decisions and windows are written down, and answers come from.
    pub fn diary(&self) -> Diary<'_> {
        Diary::new(&self.shared.catalog)
    }

    /// How far the current job is. Costs nothing, from any thread.
    pub fn progress(&self) -> Progress {
        self.shared.meter.progress()
    }

    /// Facts, from now on. A slow listener loses the oldest and learns that it did.
    pub fn listen(&self) -> broadcast::Receiver<Event> {
        self.shared.events.listen()
    }

    /// Closes every file of the engine's that could be locked, once what the catalog is doing is done. Jobs that run fail as not running: stop them
    /// before. For an app that is about to be suspended.
    pub async fn suspend(&self) -> Result<()> {
        self.shared.catalog.suspend().await
    }

    /// Undoes `suspend`.
    pub async fn resume(&self) -> Result<()> {
        self.shared.catalog.resume().await
    }

    /// Cancels what runs, and joins every thread. Blocks for about `grace` at most; what then still runs, ends by itself, and holds the state
    /// folder until it has.
    pub fn stop(self, grace: Duration) -> Result<()> {
        let Self {
            shared,
            mut host,
            cpu_threads,
            catalog_thread,
            cancel,
        } = self;
        drop(cancel);
        shared.catalog.interrupt();
        let scheduler = shared.handles.scheduler.clone();
        let quiet = async move {
            let quiet = tokio::time::timeout(grace, scheduler.when_idle()).await;
            quiet.map_err(|_| Error::new(Kind::Busy, format!("a job did not end within {grace:?}")))
        };
        block_on(host.run(quiet))?;
        host.stop(grace)?;
        // With the last handles to them, which the actors had and this has, these threads end.
        drop(shared);
        cpu_threads.join();
        catalog_thread.join();
        Ok(())
    }

    /// Runs a job on the engine thread if the Scheduler admits it. It is cancelled by `stop`, and with the engine.
    async fn run<T: Send + 'static, F: Future<Output = Result<T>> + Send + 'static>(
        &self,
        work: Work,
        stop: CancellationToken,
        job: impl FnOnce(Arc<Shared>, CancellationToken) -> F + Send + 'static,
    ) -> Result<T> {
        let shared = self.shared.clone();
        let cancel = self.cancel.token().child_token();
        self.host
            .run(async move {
                let scheduler = shared.handles.scheduler.clone();
                let job = job(shared, cancel.clone());
                let cancelled_by_host = async move {
                    stop.cancelled().await;
                    cancel.cancel();
                    // The job ends by itself, and says how.
                    std::future::pending().await
                };
                scheduler
                    .run_now(work, async move {
                        tokio::select! {
                            result = job => result,
                            never = cancelled_by_host => never,
                        }
                    })
                    .await
            })
            .await
    }
}

/// What `wire` works with.
struct Wiring {
    repository: Repository,
    gate: Arc<Gate>,
    catalog: Catalog,
    spool: Spool,
    meter: Arc<Meter>,
    events: Events,
    database_staging: PathBuf,
    cancel: CancellationToken,
    is_new: bool,
}

/// Makes spool, catalog and vault agree, and starts the actors. Runs on the engine thread.
async fn wire(wiring: Wiring) -> Result<(Handles, WindowParts)> {
    let Wiring {
        repository,
        gate,
        catalog,
        spool,
        meter,
        events,
        database_staging,
        cancel,
        is_new,
    } = wiring;
    recover(&repository, &catalog, &spool, is_new, &cancel).await?;
    remove_own_locks(&repository, &catalog).await?;
    let uploader = UploaderHandle::start(UploaderParts {
        repository: repository.clone(),
        gate: gate.clone(),
        catalog: catalog.clone(),
        spool: spool.clone(),
        meter: meter.clone(),
        events: events.clone(),
        cancel,
    });
    let room = SpoolRoom::new(spool.clone());
    let restorer = RestorerHandle::start(RestorerParts {
        repository: repository.clone(),
        catalog: catalog.clone(),
        meter: meter.clone(),
    });
    let snapshotter = SnapshotterHandle::start(SnapshotterParts {
        repository: repository.clone(),
        catalog: catalog.clone(),
        spool: spool.clone(),
        room: room.clone(),
        uploader: uploader.clone(),
        meter,
        events,
        database_staging,
    });
    let handles = Handles {
        scheduler: SchedulerHandle::start(),
        restorer,
    };
    let window = WindowParts {
        repository,
        gate,
        catalog,
        spool,
        room,
        uploader,
        snapshotter,
    };
    Ok((handles, window))
}

/// Waits for something that the engine thread does.
fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.map_err(|error| Error::with_source(Kind::Io, "starting a runtime", error))?;
    runtime.block_on(work)
}
