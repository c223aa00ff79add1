//! The engine inside a process that nobody here wrote: a handful of C functions, for Python's `ctypes`.
//!
//! Every function may be called from any thread. Texts are UTF-8 and end with a zero byte. Where something can fail, the answer is a JSON
//! document in a buffer of the caller's: what happened, or `{"error": …}`.

use std::{
    ffi::{CStr, c_char},
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use lifeboat::{
    BackupJob, BackupReport, Databases, Engine, EngineOptions, Event, Source, Unlock,
    clock::SystemClock,
    storage::{Address, LocalStorage, StorageOptions},
};
use serde_json::{Value, json};
use tokio::sync::broadcast::Receiver;
use tokio_util::sync::CancellationToken;

/// The host in every snapshot made here: the one that the tests look for.
const HOST: &str = "lifeboat-tests";
/// For an engine with nothing to do.
const CLOSE_GRACE: Duration = Duration::from_secs(30);

/// An open engine, and what ends its present backup.
pub struct Handle {
    engine: Engine,
    stop: Mutex<CancellationToken>,
}

/// Makes a vault where there is none, and opens an engine on it. Null if that failed; `answer` says why.
///
/// # Safety
/// The texts end with a zero byte; `answer` has room for `room` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lifeboat_open(
    vault: *const c_char,
    state: *const c_char,
    password: *const c_char,
    answer: *mut c_char,
    room: usize,
) -> *mut Handle {
    // SAFETY: as the caller promised.
    let (vault, state, password) = unsafe { (text(vault), text(state), text(password)) };
    let opened = guarded(|| open(vault, state, password));
    let (handle, said) = match opened {
        Ok(handle) => (Box::into_raw(Box::new(handle)), json!({})),
        Err(error) => (std::ptr::null_mut(), json!({ "error": error })),
    };
    // SAFETY: as the caller promised.
    unsafe { say(&said, answer, room) };
    handle
}

/// Backs a folder up, with every database found in it read as one that this process has open. Blocks until that is done or stopped.
///
/// # Safety
/// `handle` is from [`lifeboat_open`], and not closed; the rest as there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lifeboat_backup(
    handle: *const Handle,
    folder: *const c_char,
    answer: *mut c_char,
    room: usize,
) {
    // SAFETY: as the caller promised.
    let (handle, folder) = unsafe { (&*handle, text(folder)) };
    let said = match guarded(|| backup(handle, folder)) {
        Ok(report) => report,
        Err(error) => json!({ "error": error }),
    };
    // SAFETY: as the caller promised.
    unsafe { say(&said, answer, room) };
}

/// Tells the backup that runs to stop. Does not wait for it.
///
/// # Safety
/// `handle` is from [`lifeboat_open`], and not closed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lifeboat_stop(handle: *const Handle) {
    // SAFETY: as the caller promised.
    let handle = unsafe { &*handle };
    handle
        .stop
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .cancel();
}

/// Ends the engine, and all its threads.
///
/// # Safety
/// `handle` is from [`lifeboat_open`]; nobody uses it any more, and never again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lifeboat_close(handle: *mut Handle, answer: *mut c_char, room: usize) {
    // SAFETY: as the caller promised, it is the one that was made by `Box::into_raw`.
    let handle = unsafe { Box::from_raw(handle) };
    let closed = guarded(|| handle.engine.stop(CLOSE_GRACE).map_err(|error| error.to_string()));
    let said = closed.map_or_else(|error| json!({ "error": error }), |()| json!({}));
    // SAFETY: as the caller promised.
    unsafe { say(&said, answer, room) };
}

fn open(vault: &str, state: &str, password: &str) -> Result<Handle, String> {
    let vault = PathBuf::from(vault);
    if !vault.join("config").exists() {
        let storage = LocalStorage::new(vault.clone());
        wait(lifeboat::init(&storage, password, HOST, &SystemClock::default()))?;
    }
    let options = EngineOptions {
        vault: Address::Local(vault),
        state_dir: state.into(),
        unlock: Unlock::Password(password.to_owned().into()),
        storage: StorageOptions::default(),
    };
    Ok(Handle {
        engine: Engine::open(options).map_err(|error| error.to_string())?,
        stop: Mutex::default(),
    })
}

fn backup(handle: &Handle, folder: &str) -> Result<Value, String> {
    let stop = CancellationToken::new();
    *handle.stop.lock().unwrap_or_else(PoisonError::into_inner) = stop.clone();
    let mut events = handle.engine.listen();
    let job = BackupJob {
        sources: vec![Source::at_path(folder)],
        host: HOST.to_owned(),
        databases: Databases::default(),
        ..BackupJob::default()
    };
    let report = wait(handle.engine.backup(job, stop))?;
    Ok(told(&report, &mut events))
}

fn told(report: &BackupReport, events: &mut Receiver<Event>) -> Value {
    let mut odd = Vec::new();
    while let Ok(event) = events.try_recv() {
        if let Event::OddDatabase { path, reason } = event {
            odd.push(json!({ "path": path, "reason": reason }));
        }
    }
    let unreadable = report.unreadable.iter();
    json!({
        "snapshot": report.snapshot,
        "data_added": report.stats.data_added,
        "unreadable": unreadable.map(|one| json!({ "path": one.path, "reason": one.reason, "kept": one.kept })).collect::<Vec<_>>(),
        "changing": report.changing,
        "odd": odd,
    })
}

fn wait<T>(work: impl Future<Output = lifeboat::Result<T>>) -> Result<T, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    runtime.block_on(work).map_err(|error| error.to_string())
}

/// A panic must not cross into C.
fn guarded<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err("panicked".to_owned()))
}

/// # Safety
/// The text ends with a zero byte, and stays what it is while it is used.
unsafe fn text<'a>(text: *const c_char) -> &'a str {
    // SAFETY: as the caller promised.
    unsafe { CStr::from_ptr(text) }.to_str().unwrap_or_default()
}

/// Cuts off what there is no room for: the caller sees that by the JSON, which is none then.
///
/// # Safety
/// `answer` has room for `room` bytes.
unsafe fn say(said: &Value, answer: *mut c_char, room: usize) {
    let said = said.to_string();
    let length = said.len().min(room.saturating_sub(1));
    if room > 0 {
        // SAFETY: as the caller promised; the text and the zero fit.
        unsafe {
            std::ptr::copy_nonoverlapping(said.as_ptr(), answer.cast(), length);
            answer.add(length).write(0);
        }
    }
}
