//! The engine as a phone opens it, with the key from a key store, for `tests/benchmark`: does one thing, and prints what it cost as JSON.
//!
//!     lifeboat-measured KEY VAULT STATE init
//!     lifeboat-measured KEY VAULT STATE open
//!     lifeboat-measured KEY VAULT STATE backup FOLDER [no-lock]
//!     lifeboat-measured KEY VAULT STATE restore FOLDER
//!     lifeboat-measured KEY VAULT STATE fill BLOBS
//!     lifeboat-measured - - - floor FOLDER FILE
//!
//! KEY is a file with the master key in hexadecimal digits, which `init` writes. `fill` puts packs that hold nothing and indexes that name
//! so many blobs into a vault, so that an engine can be looked at that knows them. `floor` does what no backup in this format can do without
//! to the files of a folder, one thing after the other in one thread, and nothing else: read, cut, hash, compress what gets
//! smaller, seal, hash again, write.

mod floor;

use std::{
    error::Error,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use lifeboat::{
    BackupJob, Budget, Engine, EngineOptions, LockPolicy, Outcome, RestoreJob, Source, Unlock,
    clock::SystemClock,
    format::{
        BlobId, BlobType, Compressor, FileId, FileType, MasterKey, PackEntry, PackId, RAW_KEY_BYTES,
        encode_index, encode_unpacked, pack_size,
    },
    storage::{self, Address, Body, Storage, StorageOptions},
};
use lifeboat_tests::counting::{Counting, Requests};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

type Done<T> = Result<T, Box<dyn Error>>;

/// For an engine with nothing to do.
const STOP_GRACE: Duration = Duration::from_secs(30);
const HOST: &str = "lifeboat-measured";
const BLOBS_IN_A_PACK: u64 = 8000;
const PACKS_IN_AN_INDEX: u64 = 6;

fn main() -> Done<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let said = match args[..] {
        [key, vault, _, "init"] => init(Path::new(key), &vault.parse()?)?,
        [key, vault, state, "open"] => measured(key, vault, state, |_| Ok(json!({})))?,
        [key, vault, state, "backup", folder] => {
            measured(key, vault, state, |engine| backup(engine, folder))?
        }
        [key, vault, state, "backup", folder, "no-lock"] => {
            measured(key, vault, state, |engine| backup_without_lock(engine, folder))?
        }
        [key, vault, state, "restore", folder] => {
            measured(key, vault, state, |engine| restore(engine, folder))?
        }
        [_, _, _, "floor", folder, file] => floor::floor(Path::new(folder), Path::new(file))?,
        [key, vault, _, "fill", blobs] => fill(&read_key(Path::new(key))?, Path::new(vault), blobs.parse()?)?,
        _ => return Err("see the head of lifeboat-measured.rs for what can be asked".into()),
    };
    Ok(writeln!(io::stdout(), "{said}")?)
}

fn wait<T, E: Error + 'static>(work: impl Future<Output = Result<T, E>>) -> Done<T> {
    Ok(tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(work)?)
}

fn open_storage(vault: &Address) -> Done<Arc<dyn Storage>> {
    let clock = Arc::new(SystemClock::default());
    Ok(storage::open_with(vault, &StorageOptions::default(), clock)?)
}

fn init(key: &Path, vault: &Address) -> Done<Value> {
    let storage = open_storage(vault)?;
    // The password is one that nothing is opened with.
    let (_, master) = wait(lifeboat::init(
        &*storage,
        "measured",
        HOST,
        &SystemClock::default(),
    ))?;
    fs::write(key, hex::encode(*master.to_raw()))?;
    Ok(json!({}))
}

fn read_key(path: &Path) -> Done<MasterKey> {
    let mut raw = [0; RAW_KEY_BYTES];
    hex::decode_to_slice(fs::read_to_string(path)?.trim(), &mut raw)?;
    Ok(MasterKey::from_raw(&raw)?)
}

/// Opens the engine, does the work, ends the engine; with the costs of opening and of the work apart.
fn measured(key: &str, vault: &str, state: &str, work: impl FnOnce(&Engine) -> Done<Value>) -> Done<Value> {
    let vault: Address = vault.parse()?;
    let requests = Arc::new(Mutex::new(Requests::default()));
    let storage = Counting::new(open_storage(&vault)?, requests.clone());
    let unlock = Unlock::MasterKey(read_key(Path::new(key))?);
    let options = EngineOptions {
        vault,
        state_dir: PathBuf::from(state),
        unlock,
        storage: StorageOptions::default(),
    };
    let opening = Costs::begin()?;
    let engine = Engine::open_on(Arc::new(storage), options, Arc::new(SystemClock::default()))?;
    let opening = opening.end()?;
    let of_opening = std::mem::take(&mut *requests.lock().map_err(|_| "a panic")?);
    let begun = Costs::begin()?;
    let did = work(&engine)?;
    let work = begun.end()?;
    let of_work = std::mem::take(&mut *requests.lock().map_err(|_| "a panic")?);
    engine.stop(STOP_GRACE)?;
    Ok(json!({
        "opening": { "costs": opening, "requests": of_opening.to_json() },
        "work": { "costs": work, "requests": of_work.to_json() },
        "did": did,
    }))
}

fn backup_job(folder: &str) -> BackupJob {
    BackupJob {
        sources: vec![Source::at_path(folder)],
        host: HOST.to_owned(),
        ..BackupJob::default()
    }
}

fn backup(engine: &Engine, folder: &str) -> Done<Value> {
    let report = wait(engine.backup(backup_job(folder), CancellationToken::new()))?;
    if report.unreadable_total > 0 {
        return Err(format!("{} files could not be read", report.unreadable_total).into());
    }
    Ok(json!({ "data_added": report.stats.data_added, "files": report.stats.files_total }))
}

/// In one window, of a vault that nobody else deletes from.
fn backup_without_lock(engine: &Engine, folder: &str) -> Done<Value> {
    let budget = Budget {
        lock: LockPolicy::Never,
        ..Budget::of(Duration::from_secs(3600))
    };
    let run = async { Ok::<_, io::Error>(engine.run_window(backup_job(folder), budget).await) };
    match wait(run)? {
        Outcome::Done(report) => Ok(json!({ "data_added": report.stats.data_added })),
        other => Err(format!("the window ended with {other:?}").into()),
    }
}

fn restore(engine: &Engine, folder: &str) -> Done<Value> {
    let job = RestoreJob {
        snapshot: "latest".into(),
        target: folder.into(),
        ..RestoreJob::default()
    };
    let report = wait(engine.restore(job, CancellationToken::new()))?;
    Ok(json!({ "files": report.files, "bytes": report.bytes, "warnings": report.warnings_total }))
}

/// What a stretch of work cost this process.
struct Costs {
    begun: Instant,
    cpu: Duration,
}

impl Costs {
    fn begin() -> io::Result<Self> {
        // From here on the peak is that of the work.
        fs::write("/proc/self/clear_refs", "5")?;
        Ok(Self {
            begun: Instant::now(),
            cpu: cpu_time(),
        })
    }

    fn end(self) -> io::Result<Value> {
        let seconds = self.begun.elapsed().as_secs_f64();
        let cpu_seconds = (cpu_time() - self.cpu).as_secs_f64();
        let status = fs::read_to_string("/proc/self/status")?;
        let kib = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| line.trim_end_matches("kB").trim().parse::<u64>().ok())
        };
        Ok(json!({
            "seconds": seconds,
            "cpu_seconds": cpu_seconds,
            "peak_kib": kib("VmHWM:"),
            "resident_kib": kib("VmRSS:"),
            "of_files_kib": kib("RssFile:"),
        }))
    }
}

/// Of all threads of this process.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(
        time.tv_sec.unsigned_abs(),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

fn fill(key: &MasterKey, vault: &Path, blobs: u64) -> Done<Value> {
    let storage = open_storage(&Address::Local(vault.to_owned()))?;
    let mut compressor = Compressor::default();
    let mut packs = Vec::new();
    let mut indexes = 0;
    for first in (0..blobs).step_by(usize::try_from(BLOBS_IN_A_PACK)?) {
        let numbers = first..blobs.min(first + BLOBS_IN_A_PACK);
        packs.push(hollow_pack(vault, numbers)?);
        if packs.len() as u64 == PACKS_IN_AN_INDEX || first + BLOBS_IN_A_PACK >= blobs {
            let mut document = Vec::new();
            encode_index(
                &mut document,
                packs.iter().map(|(id, entries)| (*id, &entries[..])),
            )?;
            let sealed = key.seal(&encode_unpacked(&mut compressor, &document)?)?;
            let id = FileId::of(&sealed);
            wait(storage.put(FileType::Index, &id, Body::Bytes(sealed.into())))?;
            packs.clear();
            indexes += 1;
        }
    }
    Ok(json!({ "indexes": indexes }))
}

/// A file of the right name and size, which takes no room, and what it would hold.
fn hollow_pack(vault: &Path, numbers: std::ops::Range<u64>) -> Done<(PackId, Vec<PackEntry>)> {
    const SEALED: u32 = 500;
    let id = PackId::of(&numbers.start.to_le_bytes());
    let entry = |(number, at): (u64, u32)| PackEntry {
        id: BlobId::of(&number.to_be_bytes()),
        blob_type: BlobType::Data,
        offset: at * SEALED,
        length: SEALED,
        uncompressed_length: Some(1024),
    };
    let entries: Vec<_> = numbers.zip(0..).map(entry).collect();
    let path = vault.join(FileType::Pack.path(&id.into()));
    fs::create_dir_all(path.parent().ok_or("a pack without a folder")?)?;
    fs::File::create(&path)?.set_len(pack_size(&entries))?;
    Ok((id, entries))
}
