//! Every bound of the engine, with its unit in its name and its reason above it.
//!
//! Together they bound what the engine holds in memory at a time, whatever the amount of data: the README says what was measured.

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// Chunks of files are at least this long, but for the last of a file: each costs some 150 bytes of names in index, pack and tree.
pub const CHUNK_MIN_BYTES: usize = 256 * KIB;
/// Half of a typical photo: an edit in the middle of a large file sends about this much.
pub const CHUNK_AVG_BYTES: usize = 512 * KIB;
/// A chunk is held in memory whole, in plain and sealed form, once on each worker.
pub const CHUNK_MAX_BYTES: usize = 2 * MIB;

/// A pack is closed when it has reached this size. It is also the most that a kill can cost, and what is resent after a broken request.
pub const PACK_TARGET_BYTES: u64 = 4 * MIB as u64;
/// A pack is closed at this many blobs, so that its directory stays small against restic's limit of 16 MiB.
pub const PACK_BLOBS_MAX: usize = 8192;
/// The largest index, snapshot or lock that is opened, as stored. restic writes an index at 50,000 blobs, about 2 MiB.
pub const UNPACKED_STORED_BYTES_MAX: u64 = 64 * MIB as u64;
/// The largest snapshot or lock as plain JSON.
pub const DOCUMENT_PLAIN_BYTES_MAX: usize = 16 * MIB;
/// The largest index as plain JSON; it is read as a stream.
pub const INDEX_PLAIN_BYTES_MAX: usize = 512 * MIB;

/// Plain bytes that are between reading a source and being written into a pack.
pub const SEALING_BYTES_MAX: u64 = 8 * MIB as u64;
/// Files up to this size are read by a worker, several to a job; larger ones are cut by the thread that walks.
pub const SMALL_FILE_BYTES_MAX: u64 = 256 * KIB as u64;
/// A job of small files ends at this many files or bytes: enough to make the hand-over cheap, few enough to keep every core busy.
pub const SMALL_BATCH_FILES: usize = 64;
pub const SMALL_BATCH_BYTES: u64 = 512 * KIB as u64;
/// Steps of the walk that may wait for the thread that assembles: a bound for what small files cost beside their bytes.
pub const ASSEMBLE_QUEUE_STEPS: usize = 256;

/// The base of a database is cut into about this many chunks: their ids, some 35 bytes each, stand in the tree of every snapshot in which the
/// database changed.
pub const DATABASE_CHUNKS: u64 = 512;
/// Shorter chunks than this would cost more by their names than they save.
pub const DATABASE_CHUNK_BYTES_MIN: u32 = 64 * KIB as u32;
/// A log is not written anew for the sake of fewer superseded pages than this.
pub const DATABASE_DEAD_FRAMES_MIN: u32 = 32;
/// Pages of a database are compared in pieces of this many bytes: a stop is noticed between two of them.
pub const DATABASE_READ_BYTES: usize = MIB;
/// Times the base of a database that keeps changing is stored again before its changes are kept in the log, however many they are.
pub const DATABASE_BASE_ROUNDS_MAX: u32 = 3;
/// Times a comparison lets a waiting writer go first and begins anew. Then the writer waits for the rest of one comparison.
pub const DATABASE_YIELDS_MAX: u32 = 8;

/// Sealed bytes on the phone's disk that the vault has not confirmed. Sealing waits when it is full.
pub const SPOOL_BYTES_MAX: u64 = 64 * MIB as u64;
/// Packs on their way to the vault at a time: two hide the latency of confirming, more only share the same link.
pub const UPLOADS_IN_FLIGHT_MAX: usize = 2;
/// Times a pack is tried within one run before the run ends; the next run tries again.
pub const UPLOAD_ATTEMPTS_MAX: u32 = 4;
/// The wait before the second attempt; doubled each time.
pub const UPLOAD_RETRY_DELAY_MS: u64 = 250;
/// An index of what was confirmed is published at least this often, so that nothing confirmed is unknown to other clients for long.
pub const CHECKPOINT_INTERVAL_MS: u64 = 3 * 60 * 1000;
/// Blobs in one index file; the number at which restic also begins a new one.
pub const INDEX_BLOBS_MAX: usize = 50_000;
/// Times a run walks again because the vault lost blobs while it was running, before it gives up for now.
pub const PUBLISH_ATTEMPTS_MAX: u32 = 4;

/// Bytes of plain content that a restore fetches at a time.
pub const RESTORE_BATCH_BYTES: u64 = 8 * MIB as u64;
/// Blobs that a restore fetches at a time: empty and tiny files cost memory by their number.
pub const RESTORE_BATCH_BLOBS: usize = 4096;
/// Reads of packs under way at a time, within `RESTORE_BATCH_BYTES`: while one is opened and one is written, the next is on its way.
pub const RESTORE_READS_MAX: usize = 3;
/// A restore has what it wrote go to the disk this often, so that the wait at the end, which no stop can interrupt, is short.
pub const RESTORE_SYNC_BYTES: u64 = 64 * MIB as u64;
/// Zeros of at least this many bytes, at a multiple of it, take no room in a restored file.
pub const RESTORE_HOLE_BYTES: usize = 32 * KIB;
/// One read of a pack is at most this long.
pub const READ_BYTES_MAX: u64 = 4 * MIB as u64;
/// Wanted blobs that lie further apart than this are fetched by separate reads.
pub const READ_GAP_BYTES_MAX: u64 = 128 * KIB as u64;
/// Packs that a check reads at a time: while one piece is fetched, another is opened.
pub const CHECK_PACKS_IN_FLIGHT: usize = 3;
/// What the pieces of packs and the blobs in them may cost a check at a time, but for a pack that alone costs more.
pub const CHECK_BYTES_MAX: u64 = 32 * MIB as u64;
/// Trees that a check takes on together, in number and in plain bytes, but for one that alone is larger.
pub const CHECK_BATCH_TREES: usize = 256;
pub const CHECK_BATCH_BYTES: u64 = 4 * MIB as u64;
/// Small files, such as snapshots and indexes, that a check fetches at a time.
pub const CHECK_FILES_IN_FLIGHT: usize = 3;
/// SQLite's page cache for the check's own database.
pub const CHECK_CACHE_KIB: usize = 16 * 1024;
/// Folders inside folders that are followed. Each level holds a descriptor, of which a phone allows a process some hundreds.
pub const TREE_DEPTH_MAX: usize = 200;

/// A file whose status changed this shortly before it was read may change again within the same tick of its clock: it is read next time too.
pub const RACY_WINDOW_MS: u64 = 100;
/// Times a file is read again because it changed meanwhile; then the last reading stands, and is reported.
pub const CHANGED_WHILE_READ_RETRIES: u32 = 2;

/// How long a read waits for a writer of the app's to let go of its database, in all. Longer, and a window of a few seconds is gone.
pub const DATABASE_LOCK_WAIT_MS: u64 = 2000;
/// The first wait for a lock, doubled each time; a writer needs about this long.
pub const DATABASE_LOCK_RETRY_MS: u64 = 1;
/// The longest single wait for a lock: a stop is noticed this soon.
pub const DATABASE_LOCK_RETRY_MAX_MS: u64 = 25;
/// Files of databases, and `-shm` files, that stay open. Each costs a descriptor, of which a phone allows a process some hundreds.
pub const DATABASE_FILES_KEPT_MAX: usize = 128;
/// A file changed this shortly before it was looked at may change again and look the same, on the coarsest file systems there are.
pub const FILE_TIME_TICK_MS: u64 = 2000;
/// Pages that differ from the file in a write-ahead log or a rollback journal: eight bytes each are held, sixteen while reading.
pub const LOG_PAGES_MAX: usize = 2 * 1024 * 1024;
/// Bytes of a log that are read at a time to find its frames, but for a frame that alone is longer.
pub const LOG_READ_BYTES: usize = 256 * KIB;

/// Computing threads: more than two cores of a phone at full speed are a hot phone.
pub const CPU_THREADS_MAX: usize = 4;
/// Jobs that wait for a computing thread.
pub const CPU_QUEUE_JOBS: usize = 16;
/// Requests that wait for the catalog.
pub const CATALOG_QUEUE_REQUESTS: usize = 64;
/// SQLite's page cache for the catalog.
pub const CATALOG_CACHE_KIB: usize = 4096;
/// Facts that a slow observer may be behind before it loses the oldest.
pub const EVENT_BACKLOG: usize = 256;
/// Names listed one by one in a report; more are counted only.
pub const REPORT_NAMES_MAX: usize = 1000;

const _: () = {
    assert!(CHUNK_MIN_BYTES < CHUNK_AVG_BYTES && CHUNK_AVG_BYTES < CHUNK_MAX_BYTES);
    // One chunk must always be admitted, or a large file would wait for ever.
    assert!((CHUNK_MAX_BYTES as u64) <= SEALING_BYTES_MAX);
    assert!((CHUNK_MAX_BYTES as u64) < PACK_TARGET_BYTES);
    assert!(SMALL_BATCH_BYTES + SMALL_FILE_BYTES_MAX <= SEALING_BYTES_MAX);
    // Room for the pack being sealed while others are on their way.
    assert!(SPOOL_BYTES_MAX >= PACK_TARGET_BYTES * (UPLOADS_IN_FLIGHT_MAX as u64 + 2));
    assert!(PACK_BLOBS_MAX * 41 < 16 * MIB);
    // Our own packs are checked side by side: each costs two pieces, and a blob in both forms.
    assert!(2 * READ_BYTES_MAX + 2 * CHUNK_MAX_BYTES as u64 <= CHECK_BYTES_MAX / 2);
};
