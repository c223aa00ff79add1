//! The engine as a host holds it: opened, asked, suspended, stopped. Everything else is the engine's own business.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use lifeboat::{
    Engine, EngineOptions, ForgetJob, Unlock,
    storage::{Address, StorageOptions},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use crate::{
    calls::{Answer, Calls, lock},
    entries::EntryReader,
    error::EngineError,
    host::{self, CredentialProvider, DatabaseHolder, KeyStore, Observer, ServerTrust},
    jobs::{BackupRequest, ForgetRequest, PruneRequest, RestoreRequest, VerifyRequest},
    limits,
    observer::{Observers, Subscription},
    reports::{
        BackupOutcome, ForgetSummary, KeyFileInfo, PruneSummary, RestoreSummary, RunProgress, SnapshotInfo,
        VaultLock, VerifySummary,
    },
    stop::StopToken,
    threads::{self, on_thread, on_thread_blocking},
    vault::{self, NetworkOptions},
};

pub(crate) type Result<T> = std::result::Result<T, EngineError>;

/// What an engine is opened with, but for its key.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct EngineConfig {
    /// The vault's address as restic writes it: a folder, `rest:https://host/name/`, or `s3:https://host/bucket/prefix`.
    pub vault: String,
    /// The engine's own folder on this device, made if it is not there. One engine at a time works with it, and it serves one vault. It must not be
    /// part of another backup, such as the platform's: a copy of it on another phone would be taken for the truth.
    pub state_dir: String,
    /// How a vault on the network is reached, beside its address.
    #[uniffi(default = None)]
    pub network: Option<NetworkOptions>,
}

/// A running engine: one vault, one job at a time. Calls may come from any thread.
///
/// Dropping it stops it without waiting for that; [`EngineHandle::stop`] waits.
#[derive(uniffi::Object)]
pub struct EngineHandle {
    pub(crate) inner: Arc<Inner>,
}

/// What calls and observers share. No call that runs, and no observer, owns the engine.
pub(crate) struct Inner {
    calls: Calls,
    life: Mutex<Life>,
    /// How many jobs run.
    jobs: watch::Sender<u32>,
    observers: Observers,
    /// One of suspend, resume and stop at a time.
    transition: tokio::sync::Mutex<()>,
}

enum Life {
    Running {
        engine: Arc<Engine>,
        /// Parent of every job's token.
        stop_jobs: CancellationToken,
    },
    Suspended {
        engine: Arc<Engine>,
    },
    Stopped,
}

#[uniffi::export]
impl EngineHandle {
    /// Opens a vault with the key that the key store holds, as in every start but the first. Where it holds none, the error is `KeyMissing`.
    #[uniffi::constructor(default(credentials = None, trust = None))]
    pub async fn open_with_key_store(
        config: EngineConfig,
        key_store: Arc<dyn KeyStore>,
        credentials: Option<Arc<dyn CredentialProvider>>,
        trust: Option<Arc<dyn ServerTrust>>,
    ) -> Result<Arc<Self>> {
        let vault = vault::reach(&config.vault, config.network, credentials, trust)?;
        on_thread("opening", move || {
            let key = host::load_key(&*key_store)?;
            Self::open(vault, config.state_dir, Unlock::MasterKey(key))
        })
        .await
    }

    /// Opens a vault with a password, as on a new phone, and gives its key to the key store, if there is one.
    #[uniffi::constructor(default(credentials = None, trust = None))]
    pub async fn open_with_password(
        config: EngineConfig,
        password: String,
        key_store: Option<Arc<dyn KeyStore>>,
        credentials: Option<Arc<dyn CredentialProvider>>,
        trust: Option<Arc<dyn ServerTrust>>,
    ) -> Result<Arc<Self>> {
        let password = Zeroizing::new(password);
        let vault = vault::reach(&config.vault, config.network, credentials, trust)?;
        on_thread("opening", move || {
            let handle = Self::open(vault, config.state_dir, Unlock::Password(password))?;
            if let Some(store) = key_store {
                let saved = handle.inner.with_engine(|engine| Ok(engine.master_key()?));
                let saved = saved.and_then(|key| host::save_key(&*store, &key));
                if let Err(error) = saved {
                    handle.inner.stop(Duration::from_millis(limits::GRACE_MAX_MS))?;
                    return Err(error);
                }
            }
            Ok(handle)
        })
        .await
    }

    /// Backs up. Stopped in whatever way, the same request goes on from there. `holder` is asked about the databases that the app holds.
    pub async fn backup(
        &self,
        request: BackupRequest,
        holder: Option<Arc<dyn DatabaseHolder>>,
        stop: Option<Arc<StopToken>>,
    ) -> Result<BackupOutcome> {
        let job = request.into_job(holder)?;
        self.inner
            .job(stop, async move |engine, cancel| {
                Ok(engine.backup(job, cancel).await?.into())
            })
            .await
    }

    /// Brings a snapshot back. Stopped in whatever way, the same request goes on from there.
    pub async fn restore(
        &self,
        request: RestoreRequest,
        stop: Option<Arc<StopToken>>,
    ) -> Result<RestoreSummary> {
        self.inner
            .job(stop, async move |engine, cancel| {
                Ok(engine.restore(request.into(), cancel).await?.into())
            })
            .await
    }

    /// Verifies what the vault holds. What is wrong with it is in the summary; an error says why it could not be looked at.
    pub async fn verify(
        &self,
        request: VerifyRequest,
        stop: Option<Arc<StopToken>>,
    ) -> Result<VerifySummary> {
        self.inner
            .job(stop, async move |engine, cancel| {
                Ok(engine.check(request.into(), cancel).await?.into())
            })
            .await
    }

    /// Lets go of snapshots. Cannot be stopped on the way, and is short.
    pub async fn forget(&self, request: ForgetRequest) -> Result<ForgetSummary> {
        let job = ForgetJob::try_from(request)?;
        self.inner
            .call(async move |engine| Ok(engine.forget(job).await?.into()))
            .await
    }

    /// Gives back the room of what no snapshot needs, as far as other clients that sleep allow it. Stopped in whatever way, what was done stays done.
    pub async fn prune(&self, request: PruneRequest, stop: Option<Arc<StopToken>>) -> Result<PruneSummary> {
        self.inner
            .job(stop, async move |engine, cancel| {
                let dry_run = request.dry_run;
                let plan = engine.plan_prune(request.into(), cancel.clone()).await?;
                if dry_run {
                    return Ok(PruneSummary::of(&plan, None));
                }
                let report = engine.prune(plan.clone(), cancel).await?;
                Ok(PruneSummary::of(&plan, Some(report)))
            })
            .await
    }

    /// All snapshots in the vault, oldest first.
    pub async fn snapshots(&self) -> Result<Vec<SnapshotInfo>> {
        self.inner
            .call(async |engine| Ok(engine.snapshots().await?.into_iter().map(Into::into).collect()))
            .await
    }

    /// What is in a snapshot at `below` and below it; all of it at `/`. The snapshot is `latest`, or the beginning of an id.
    pub async fn entries(&self, snapshot: String, below: String) -> Result<Arc<EntryReader>> {
        self.inner
            .call(async move |engine| Ok(EntryReader::new(engine.entries(snapshot, below.into()).await?)))
            .await
    }

    /// The key files: each is another password that opens the vault.
    pub async fn keys(&self) -> Result<Vec<KeyFileInfo>> {
        self.inner
            .call(async |engine| Ok(engine.keys().await?.into_iter().map(Into::into).collect()))
            .await
    }

    /// Adds a key file that opens with `password`, such as a recovery code, and answers its id.
    pub async fn add_key(&self, password: String, label: String) -> Result<String> {
        self.inner
            .call(async move |engine| Ok(engine.add_key(password, label).await?.to_string()))
            .await
    }

    /// Removes the key file whose id begins with `id`, unless it is the one in use, and answers its id.
    pub async fn remove_key(&self, id: String) -> Result<String> {
        self.inner
            .call(async move |engine| Ok(engine.remove_key(id).await?.to_string()))
            .await
    }

    /// Locks in the vault, of this and other clients.
    pub async fn locks(&self) -> Result<Vec<VaultLock>> {
        self.inner
            .call(async |engine| Ok(engine.locks().await?.into_iter().map(Into::into).collect()))
            .await
    }

    /// Removes locks that nobody refreshed for half an hour, or all of them. Answers how many.
    pub async fn remove_locks(&self, all: bool) -> Result<u64> {
        self.inner
            .call(async move |engine| Ok(engine.unlock(all).await? as u64))
            .await
    }

    /// The repository's id: the same on every device that opens this vault.
    pub fn repository_id(&self) -> Result<String> {
        self.inner
            .with_engine(|engine| Ok(engine.repository_id().to_string()))
    }

    /// How far the current job is. Never blocks.
    pub fn progress(&self) -> Result<RunProgress> {
        self.inner.progress()
    }

    /// Tells the observer what happens from now on, and how far the current job is every `interval_ms`, from 50 to 60,000.
    pub fn observe(&self, observer: Arc<dyn Observer>, interval_ms: u64) -> Result<Arc<Subscription>> {
        let events = self.inner.with_engine(|engine| Ok(engine.listen()))?;
        let interval = interval_ms.clamp(limits::PROGRESS_INTERVAL_MIN_MS, limits::PROGRESS_INTERVAL_MAX_MS);
        let inner = Arc::downgrade(&self.inner);
        let jobs = self.inner.jobs.subscribe();
        (self.inner.observers).start(observer, inner, events, jobs, Duration::from_millis(interval))
    }

    /// Stops what runs, waits for that, and closes every file that could be locked: for an app that is about to be suspended. Until `resume`, calls
    /// fail with `NotRunning`. Within 250 ms, unless a disk stalls; `Busy` after `grace_ms`, and then the engine accepts no calls either.
    pub async fn suspend(&self, grace_ms: u64) -> Result<()> {
        let inner = self.inner.clone();
        on_thread("stopping", move || inner.suspend(grace(grace_ms))).await
    }

    /// The same for those who wait by blocking, such as an expiration handler.
    pub fn suspend_blocking(&self, grace_ms: u64) -> Result<()> {
        let inner = self.inner.clone();
        on_thread_blocking("stopping", move || inner.suspend(grace(grace_ms)))
    }

    /// Undoes `suspend`. Without effect on an engine that is not suspended.
    pub async fn resume(&self) -> Result<()> {
        let inner = self.inner.clone();
        on_thread("opening", move || inner.resume()).await
    }

    /// Stops what runs and ends the engine with all its threads. `Busy` if that takes longer than `grace_ms`: what still runs then ends by itself,
    /// and holds the state folder until it has. A second time it does nothing.
    pub async fn stop(&self, grace_ms: u64) -> Result<()> {
        let inner = self.inner.clone();
        on_thread("stopping", move || inner.stop(grace(grace_ms))).await
    }

    /// The same for those who wait by blocking. May be called by an observer.
    pub fn stop_blocking(&self, grace_ms: u64) -> Result<()> {
        let inner = self.inner.clone();
        on_thread_blocking("stopping", move || inner.stop(grace(grace_ms)))
    }
}

fn grace(grace_ms: u64) -> Duration {
    Duration::from_millis(grace_ms.min(limits::GRACE_MAX_MS))
}

impl EngineHandle {
    /// Blocks.
    fn open(
        (vault, storage): (Address, StorageOptions),
        state_dir: String,
        unlock: Unlock,
    ) -> Result<Arc<Self>> {
        // First, since it can be undone: an engine that is open wants to be stopped.
        let calls = Calls::start()?;
        let opened = Engine::open(EngineOptions {
            vault,
            state_dir: state_dir.into(),
            unlock,
            storage,
        });
        let engine = opened.inspect_err(|_| calls.close())?;
        Ok(Arc::new(Self {
            inner: Arc::new(Inner {
                calls,
                life: Mutex::new(Life::Running {
                    engine: Arc::new(engine),
                    stop_jobs: CancellationToken::new(),
                }),
                jobs: watch::Sender::new(0),
                observers: Observers::default(),
                transition: tokio::sync::Mutex::new(()),
            }),
        }))
    }
}

impl Drop for EngineHandle {
    /// A host that forgot to stop: the same, but nobody waits. The state folder is held until everything has ended.
    fn drop(&mut self) {
        let life = lock(&self.inner.life);
        if let Life::Stopped = *life {
            return;
        }
        life.stop_jobs();
        drop(life);
        let inner = self.inner.clone();
        // Without a thread to be had, dropping what is here cancels, too.
        let _ = threads::start("stopping", move || {
            inner.stop(Duration::from_millis(limits::GRACE_MAX_MS))
        });
    }
}

impl Life {
    fn stop_jobs(&self) {
        if let Self::Running { stop_jobs, .. } = self {
            stop_jobs.cancel();
        }
    }
}

impl Inner {
    /// What can be had without waiting. The engine is not cloned out of the lock: only calls that are counted may own it.
    pub(crate) fn with_engine<T>(&self, ask: impl FnOnce(&Engine) -> Result<T>) -> Result<T> {
        match &*lock(&self.life) {
            Life::Running { engine, .. } | Life::Suspended { engine } => ask(engine),
            Life::Stopped => Err(EngineError::not_running()),
        }
    }

    pub(crate) fn progress(&self) -> Result<RunProgress> {
        self.with_engine(|engine| Ok(engine.progress().into()))
    }

    /// Starts a call, which then is counted, if the engine accepts calls.
    fn start<T: Send + 'static, F: Future<Output = Result<T>> + Send + 'static>(
        &self,
        call: impl FnOnce(Arc<Engine>, CancellationToken) -> F,
    ) -> Result<Answer<T>> {
        let life = lock(&self.life);
        let Life::Running { engine, stop_jobs } = &*life else {
            return Err(EngineError::not_running());
        };
        Ok(self
            .calls
            .start_call(call(engine.clone(), stop_jobs.child_token())))
    }

    /// A question that is answered soon.
    pub(crate) async fn call<T: Send + 'static, F: Future<Output = Result<T>> + Send + 'static>(
        &self,
        ask: impl FnOnce(Arc<Engine>) -> F + Send + 'static,
    ) -> Result<T> {
        self.start(|engine, _| ask(engine))?.get().await
    }

    /// Work that is cancelled by its stop token, by dropping the future, and with the engine.
    pub(crate) async fn job<T: Send + 'static, F: Future<Output = Result<T>> + Send + 'static>(
        &self,
        stop: Option<Arc<StopToken>>,
        work: impl FnOnce(Arc<Engine>, CancellationToken) -> F + Send + 'static,
    ) -> Result<T> {
        let dropped = CancellationToken::new();
        let given_up = dropped.clone();
        let stop = stop.map_or_else(CancellationToken::new, |stop| stop.token());
        let jobs = self.jobs.clone();
        let running = self.start(move |engine, cancel| async move {
            let _running = Running::new(jobs);
            let work = work(engine, cancel.clone());
            let asked_to_stop = async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = given_up.cancelled() => {}
                }
                cancel.cancel();
                // The work ends by itself, and says how.
                std::future::pending().await
            };
            tokio::select! {
                result = work => result,
                never = asked_to_stop => never,
            }
        })?;
        let _cancels_when_dropped = dropped.drop_guard();
        running.get().await
    }

    fn suspend(&self, grace: Duration) -> Result<()> {
        let _one_at_a_time = self.transition.blocking_lock();
        let engine = {
            let mut life = lock(&self.life);
            match &*life {
                Life::Running { engine, stop_jobs } => {
                    stop_jobs.cancel();
                    let engine = engine.clone();
                    *life = Life::Suspended {
                        engine: engine.clone(),
                    };
                    engine
                }
                // Again, for the one that did not get everything quiet.
                Life::Suspended { engine } => engine.clone(),
                Life::Stopped => return Err(EngineError::not_running()),
            }
        };
        self.calls.block_on(self.calls.quiet(grace))?;
        Ok(self.calls.block_on(engine.suspend())?)
    }

    fn resume(&self) -> Result<()> {
        let _one_at_a_time = self.transition.blocking_lock();
        let engine = match &*lock(&self.life) {
            Life::Running { .. } => return Ok(()),
            Life::Suspended { engine } => engine.clone(),
            Life::Stopped => return Err(EngineError::not_running()),
        };
        self.calls.block_on(engine.resume())?;
        *lock(&self.life) = Life::Running {
            engine,
            stop_jobs: CancellationToken::new(),
        };
        Ok(())
    }

    /// Blocks for about `grace` at most.
    fn stop(&self, grace: Duration) -> Result<()> {
        let deadline = Instant::now() + grace;
        let left = || deadline.saturating_duration_since(Instant::now());
        // At once, whoever else is at it.
        lock(&self.life).stop_jobs();
        let _one_at_a_time = self.transition.blocking_lock();
        let life = std::mem::replace(&mut *lock(&self.life), Life::Stopped);
        life.stop_jobs();
        let engine = match life {
            Life::Running { engine, .. } | Life::Suspended { engine } => engine,
            Life::Stopped => return Ok(()),
        };
        let quiet = self.calls.end(left());
        // Nobody else suspends or resumes, and calls that ended own nothing any more.
        let stopped = match (quiet, Arc::try_unwrap(engine)) {
            (Ok(()), Ok(engine)) => {
                self.observers.set_last(engine.progress().into());
                engine.stop(left()).map_err(EngineError::from)
            }
            (quiet, _) => {
                self.observers.cancel();
                return quiet.and(Err(EngineError::bug("an engine at rest is still owned")));
            }
        };
        if stopped.is_err() {
            // Something of it is left, and observers would wait for its last word.
            self.observers.cancel();
        }
        self.observers
            .end(Duration::from_millis(limits::OBSERVER_GRACE_MS));
        stopped.and(self.calls.join())
    }
}

/// Counts a job while it runs.
struct Running(watch::Sender<u32>);

impl Running {
    fn new(jobs: watch::Sender<u32>) -> Self {
        jobs.send_modify(|count| *count += 1);
        Self(jobs)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}
