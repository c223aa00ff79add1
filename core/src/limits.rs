//! Every bound of the engine, with its unit in its name and its reason above it.
//!
//! Together they bound what the engine holds in memory at a time, whatever the amount of data: the README says what was measured.

use std::time::Duration;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// Chunks of files are at least this long, but for the last of a file: each costs some 150 bytes of names in index, pack and tree.
pub const CHUNK_MIN_BYTES: usize = 256 * KIB;
/// Half of a typical photo: an edit in the middle of a large file sends about this much.
pub const CHUNK_AVG_BYTES: usize = 512 * KIB;
/// A chunk is held in memory whole, and once more while it is compressed.
pub const CHUNK_MAX_BYTES: usize = 2 * MIB;

/// A pack is closed when it has reached this size, while nothing is known of the link. It is also what is resent after a broken request.
pub const PACK_TARGET_BYTES: u64 = 4 * MIB as u64;
/// The same in a window on an unknown link: a first pack that is small is soon confirmed, and tells how large the next may be.
pub const PACK_PROBE_BYTES: u64 = MIB as u64;
/// No link makes packs smaller: each costs a request, an entry in an index, and in the end a rewrite by whoever prunes.
pub const PACK_MIN_BYTES: u64 = 512 * KIB as u64;
/// No link makes packs larger: it is what a kill or a broken request costs.
pub const PACK_MAX_BYTES: u64 = 16 * MIB as u64;
/// A pack is as large as the link confirms in this time.
pub const PACK_CONFIRM_MS: u64 = 3000;
/// A pack that is being written goes to the disk this often, so that closing it, which no stop can interrupt, is short.
pub const PACK_SYNC_BYTES: u64 = 2 * MIB as u64;
/// A pack is closed at this many blobs, so that its directory stays small against restic's limit of 16 MiB.
pub const PACK_BLOBS_MAX: usize = 8192;
/// The largest index, snapshot or lock that is opened, as stored. restic writes an index at 50,000 blobs, about 2 MiB.
pub const UNPACKED_STORED_BYTES_MAX: u64 = 64 * MIB as u64;
/// The largest snapshot or lock as plain JSON.
pub const DOCUMENT_PLAIN_BYTES_MAX: usize = 16 * MIB;
/// The largest index as plain JSON; it is read as a stream.
pub const INDEX_PLAIN_BYTES_MAX: usize = 512 * MIB;

/// Plain bytes that are between reading a source and being written into a pack: on average four chunks, one for each
/// computing thread and some that wait.
pub const SEALING_BYTES_MAX: u64 = 5 * MIB as u64 / 2;
/// Buffers for them, count and bytes: as many as are in use at most times, with room for a seal and for what zstd may need beyond the
/// content. Short and long ones, since each keeps the memory of the longest chunk that it ever held.
pub const SEALING_BUFFERS: [(usize, usize); 2] = [
    (
        SEALING_BYTES_MAX as usize / CHUNK_AVG_BYTES + 2,
        2 * CHUNK_AVG_BYTES + 16 * KIB,
    ),
    (2, CHUNK_MAX_BYTES + 16 * KIB),
];
/// The tree of a folder with some hundreds of entries. Few are longer.
pub const TREE_BYTES_USUAL_MAX: usize = 256 * KIB;
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
/// Pages of a database are compared in pieces of this many bytes, which a core finds in its own cache when it hashes what it just read. A stop
/// is noticed between two of them.
pub const DATABASE_READ_BYTES: usize = 128 * KIB;
/// Segments of page hashes, of some 33 KiB, that are written to the catalog in one transaction, and wait for it in memory.
pub const DATABASE_SEGMENTS_PER_WRITE: usize = 32;
/// Times the base of a database that keeps changing is stored again before its changes are kept in the log, however many they are.
pub const DATABASE_BASE_ROUNDS_MAX: u32 = 3;
/// Times a comparison lets a waiting writer go first and begins anew. Then the writer waits for the rest of one comparison.
pub const DATABASE_YIELDS_MAX: u32 = 8;

/// Sealed bytes on the phone's disk that the vault has not confirmed. Sealing waits when it is full.
pub const SPOOL_BYTES_MAX: u64 = 64 * MIB as u64;
/// What the disk of the state folder keeps free for the app, in bytes and as a share of the disk, whichever is less: the spool does not grow
/// into it.
pub const DISK_RESERVE_BYTES: u64 = 256 * MIB as u64;
pub const DISK_RESERVE_SHARE: u64 = 20;
/// Packs on their way to the vault at a time: two hide the latency of confirming, more help where packs are small against it.
pub const UPLOADS_IN_FLIGHT_MIN: usize = 2;
pub const UPLOADS_IN_FLIGHT_MAX: usize = 4;
/// Their bytes: a storage may have to hold what it sends.
pub const UPLOADS_IN_FLIGHT_BYTES_MAX: u64 = 32 * MIB as u64;
/// Times a pack is tried within one run or window before that ends; the next one tries again.
pub const UPLOAD_ATTEMPTS_MAX: u32 = 6;
/// The longest wait before the second attempt; doubled each time, up to the cap. The wait itself is drawn between none and that.
pub const UPLOAD_RETRY_DELAY_MS: u64 = 500;
pub const UPLOAD_RETRY_DELAY_MAX_MS: u64 = 30_000;
/// A vault that asks to be left alone for longer than this ends the run or window, which says so.
pub const RETRY_AFTER_MAX_MS: u64 = 10 * 60 * 1000;
/// An index of what was confirmed is published at least this often, so that nothing confirmed is unknown to other clients for long.
pub const CHECKPOINT_INTERVAL_MS: u64 = 3 * 60 * 1000;
/// In windows, which may be a few seconds each, an index is published when it names at least so much, or this many blobs: each is a request
/// and a file that every client reads. Nothing is lost without one: the catalog knows what was confirmed, and a new one learns it from the packs.
pub const CHECKPOINT_BYTES_MIN: u64 = 64 * MIB as u64;
pub const CHECKPOINT_BLOBS_MIN: u64 = 20_000;
/// Blobs in one index file; the number at which restic also begins a new one.
pub const INDEX_BLOBS_MAX: usize = 50_000;
/// Times a run walks again because the vault lost blobs while it was running, before it gives up for now.
pub const PUBLISH_ATTEMPTS_MAX: u32 = 4;

/// A window's work ends this long before its deadline: what is under way then is given up, and the engine is quiet in time.
pub const WINDOW_MARGIN_MS: u64 = 250;
/// A shorter window is not begun: looking at the vault alone would outlast it.
pub const WINDOW_MIN_MS: u64 = 1000;
/// Sealing ends this long before the window does, or at seven eighths of a short one: closing a pack takes a sync of the disk.
pub const SEAL_MARGIN_MS: u64 = 1000;
/// Sealed bytes that a window has ready beyond what the link can take in it, so that no estimate makes it run dry.
pub const SEAL_AHEAD_BYTES: u64 = 8 * MIB as u64;
/// How often a window looks at the clock, and with it learns that it was frozen.
pub const WINDOW_TICK_MS: u64 = 200;
/// A clock that went on this long between two looks: the process was frozen, its sockets are dead, and its lock may be gone.
pub const FREEZE_GAP_MS: u64 = 10_000;
/// A vault that was looked at this recently is not looked at again before a window goes on; the publication looks in any case.
pub const LOOK_AGE_MAX_S: i64 = 600;
/// What was measured of a link counts for this long: a phone moves.
pub const LINK_AGE_MAX_S: i64 = 3600;
/// Where this long passes between the last look at the vault and the end of writing the snapshot, a prune may have run in between: the vault is
/// looked at once more.
pub const PUBLISH_GAP_MS: u64 = 5000;
/// As restic: a lock is written anew this often.
pub const LOCK_REFRESH_MS: u64 = 5 * 60 * 1000;
/// What removing a lock may take after a stop; then it is left to the next start or window.
pub const LOCK_RELEASE_MS: u64 = 150;
/// A run that found the vault full tries again after this time though nobody said that anything changed.
pub const PARKED_FULL_S: i64 = 6 * 3600;
/// What was refused is tried again this much later, although the credentials are the same: one request tells whether the user acted elsewhere.
pub const PARKED_REFUSED_S: i64 = 60 * 60;
/// The longest that a run waits for a vault that cannot be reached, between two tries.
pub const UNREACHABLE_WAIT_MAX_S: u64 = 3600;
/// Packs given out to the operating system's own uploader at a time.
pub const HAND_OFFS_MAX: usize = 64;

/// Bytes that a restore has in memory at a time, as stored and as decompressed, unless one blob alone is longer.
pub const RESTORE_BATCH_BYTES: u64 = 5 * MIB as u64;
/// Plain bytes of one read at most, unless one blob alone is longer.
pub const RESTORE_PLAIN_BYTES_MAX: u64 = 2 * MIB as u64;
/// Blobs that a restore fetches at a time: empty and tiny files cost memory by their number.
pub const RESTORE_BATCH_BLOBS: usize = 4096;
/// Buffers for reads, and for what is decompressed: count and bytes.
pub const RESTORE_BUFFERS: [(usize, usize); 2] = [
    (
        RESTORE_PLAIN_BYTES_MAX as usize / CHUNK_AVG_BYTES,
        2 * CHUNK_AVG_BYTES + 16 * KIB,
    ),
    (RESTORE_READS_MAX, CHUNK_MAX_BYTES + 16 * KIB),
];
/// Reads of packs under way at a time, within `RESTORE_BATCH_BYTES`: while one is opened and one is written, the next is on its way.
pub const RESTORE_READS_MAX: usize = 3;
/// Blobs from this size on are written by other threads than the one that says where they go: copying into fresh memory of the system's
/// is the most expensive step of a restore.
pub const RESTORE_WRITE_APART_BYTES: usize = 128 * KIB;
/// Such blobs for each read, since each may have a file open.
pub const RESTORE_WRITES_APART_MAX: usize = 16;
/// A restore has what it wrote go to the disk this often, so that the wait at the end, which no stop can interrupt, is short.
pub const RESTORE_SYNC_BYTES: u64 = 64 * MIB as u64;
/// Zeros of at least this many bytes, at a multiple of it, take no room in a restored file.
pub const RESTORE_HOLE_BYTES: usize = 32 * KIB;
/// Pages of a database whose place in its log is in memory at a time while the log is folded in: 4 bytes each, 4 GiB of pages of the usual
/// size. A larger database takes another look through the log for each such window.
pub const FOLD_WINDOW_PAGES: usize = 1 << 20;
/// SQLite's page cache while a restored database is checked.
pub const DATABASE_CHECK_CACHE_KIB: i32 = 4096;
/// Steps of SQLite's machine between two looks at the stop signal while a database is checked: far less than a millisecond.
pub const DATABASE_CHECK_STEPS: i32 = 1000;
/// Lines that are kept of what SQLite says of a damaged database: the first ones tell.
pub const DATABASE_FINDINGS_MAX: usize = 20;
/// One read of a pack is at most this long.
pub const READ_BYTES_MAX: u64 = 2 * MIB as u64;
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
/// How long a pack stays after it was seen to be of no use, and again after no index names it any more: longer than any client may sleep in the
/// middle of its work. Just short of a week, so that a weekly prune ends what the one before began.
pub const PRUNE_GRACE: Duration = Duration::from_secs((7 * 24 - 1) * 60 * 60);
/// Packs in a vault that is pruned: some 200 bytes each are held while it is decided what becomes of them. A terabyte in packs of 4 MiB.
pub const PRUNE_PACKS_MAX: usize = 1 << 18;
/// Bytes of new packs after which an index names them: what a stop or a kill can cost.
pub const PRUNE_CHECKPOINT_BYTES: u64 = 16 * MIB as u64;
/// Index files with fewer blobs than this are put together, where there are so many of them or where indexes are written anew anyway.
pub const PRUNE_SMALL_INDEX_BLOBS: usize = INDEX_BLOBS_MAX / 5;
pub const PRUNE_SMALL_INDEXES: usize = 8;
/// A lock that is held for longer is written anew this often, as restic does; after half an hour others may remove it.
pub const LOCK_REFRESH: Duration = Duration::from_secs(5 * 60);
/// Folders inside folders that are followed. Each level holds a descriptor, of which a phone allows a process some hundreds.
pub const TREE_DEPTH_MAX: usize = 200;

/// A file whose status changed this shortly before it was read may change again within the same tick of its clock: it is read next time too.
pub const RACY_WINDOW_MS: u64 = 100;
/// Times a file is read again because it changed meanwhile; then the last reading stands, and is reported.
pub const CHANGED_WHILE_READ_RETRIES: u32 = 2;

/// A connection that is not made within this is given up: a phone on a bad network needs a few seconds, a dead address all of them.
pub const CONNECT_TIMEOUT_MS: u64 = 15 * 1000;
/// A request ends when no byte has moved for this long, however long it takes in total. A host may ask for another.
pub const STALL_TIMEOUT_MS: u64 = 30 * 1000;
/// What was handed to the operating system may be on its way at this pace: 64 kbit/s. A request that waits for its end is given so long.
pub const SLOWEST_LINK_BYTES_PER_S: u64 = 8 * KIB as u64;
/// Bytes that an operating system takes for a connection before it has sent them.
pub const SOCKET_BUFFER_BYTES_MAX: u64 = 4 * MIB as u64;
/// Connections without a request are closed after this: servers and routers forget them at about a minute.
pub const IDLE_CONNECTION_MS: u64 = 45 * 1000;
/// Idle connections kept: uploads and reads that are under way together find theirs again.
pub const IDLE_CONNECTIONS_MAX: usize = 4;
/// A spooled pack is handed to its request in pieces of this size.
pub const UPLOAD_CHUNK_BYTES: usize = 64 * KIB;
/// The longest listing of a REST server, which sends it in one piece: some 90 bytes a file, so 350,000 packs.
pub const LISTING_BYTES_MAX: u64 = 32 * MIB as u64;
/// The longest page of an S3 listing: 1000 keys with their properties are some 400 KiB.
pub const LISTING_PAGE_BYTES_MAX: u64 = 4 * MIB as u64;
/// What is read of an answer that says why something failed.
pub const REFUSAL_BYTES_MAX: u64 = 16 * KIB as u64;
/// Times a read of the vault is tried before its error is handed on.
pub const READ_ATTEMPTS_MAX: u32 = 5;
/// The longest wait before the second attempt of a read; doubled each time. The wait itself is drawn between nothing and this.
pub const READ_RETRY_DELAY_MS: u64 = 300;
/// The longest that the doubling leads to.
pub const READ_RETRY_DELAY_MS_MAX: u64 = 10 * 1000;
/// A vault that asks for more patience than this gets it from the host, between two jobs: the error says how long.
pub const READ_RETRY_AFTER_MS_MAX: u64 = 30 * 1000;
/// A signed S3 request is valid for this long: longer than the slowest upload of a pack, short enough that a leaked one is soon worth nothing.
pub const SIGNATURE_VALID_MS: u64 = 15 * 60 * 1000;
/// Clocks that differ by more than this are held to be the reason of a refusal. S3 allows for a quarter of an hour.
pub const CLOCK_SKEW_MS_MIN: u64 = 2 * 60 * 1000;
/// Credentials that end within this are replaced before they are used: a request must not outlive them.
pub const CREDENTIALS_MARGIN_MS: u64 = 60 * 1000;

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
pub const CATALOG_CACHE_KIB: i64 = 2048;
/// Facts that a slow observer may be behind before it loses the oldest.
pub const EVENT_BACKLOG: usize = 256;
/// Names listed one by one in a report; more are counted only.
pub const REPORT_NAMES_MAX: usize = 1000;

/// Days and classes of network that the ledger of spent bytes tells apart: a month of all classes, and some days beyond.
pub const LEDGER_ENTRIES_MAX: usize = 5 * 36;
/// The wait after a first failure; doubled with each further one. As long as the shortest period that Android honours.
pub const BACKOFF_FIRST_MS: i64 = 15 * 60 * 1000;
/// The longest wait after failures: whatever has happened, something is tried twice a day.
pub const BACKOFF_MAX_MS: i64 = 12 * 60 * 60 * 1000;
/// When something is in the way that no wake request can express, such as heat, we look again after this long.
pub const RECHECK_MS: i64 = 60 * 60 * 1000;
/// A wake is asked for this long after a window has begun, so that a kill does not end it all.
pub const GO_ON_AFTER_MS: i64 = 15 * 60 * 1000;
/// Windows are kept this short while the host has not said what careful work needs to know.
pub const CAUTIOUS_WINDOW_MS: u64 = 60 * 1000;
/// What is kept of a window's time to come to an end in.
pub const GRANT_MARGIN_MS: u64 = 1500;
/// Wake requests lie at most this far ahead: Apple advises a week, and a phone that is not heard of for longer should say so.
pub const WAKE_AHEAD_MAX_MS: i64 = 7 * 24 * 60 * 60 * 1000;
/// A clock that goes back by less than this has been corrected, not changed.
pub const CLOCK_TOLERANCE_MS: i64 = 2 * 60 * 1000;
/// Rows of the journal, about 300 bytes each; the oldest are folded into counts.
pub const JOURNAL_ROWS_MAX: usize = 2000;
/// Months of counts that are kept of folded rows.
pub const JOURNAL_MONTHS_MAX: usize = 36;
/// Snapshots that an engine was about to publish when it was killed, and has not published one since: the newest are remembered.
pub const INTENDED_SNAPSHOTS_MAX: usize = 16;
/// Packs that one verification reads whole, drawn at random; in the course of a year of fortnights, each of a few hundred.
pub const VERIFY_PACKS: usize = 16;
/// Bytes that one verification reads, but for a pack that alone is larger.
pub const VERIFY_BYTES: u64 = 32 * MIB as u64;
/// Bytes that one window of a prune packs anew, and that it fetches of folders to plan: what takes a minute on a good network.
pub const PRUNE_WINDOW_REPACK_BYTES: u64 = 64 * MIB as u64;
pub const PRUNE_WINDOW_PLAN_BYTES: u64 = 32 * MIB as u64;
/// Windows that an explanation tells of.
pub const EXPLAIN_WINDOWS: usize = 8;

const _: () = {
    assert!(CHUNK_MIN_BYTES < CHUNK_AVG_BYTES && CHUNK_AVG_BYTES < CHUNK_MAX_BYTES);
    // One chunk must always be admitted, or a large file would wait for ever.
    assert!((CHUNK_MAX_BYTES as u64) <= SEALING_BYTES_MAX);
    assert!((CHUNK_MAX_BYTES as u64) < PACK_TARGET_BYTES && PACK_TARGET_BYTES <= PACK_MAX_BYTES);
    assert!(PACK_MIN_BYTES <= PACK_PROBE_BYTES && PACK_PROBE_BYTES <= PACK_TARGET_BYTES);
    assert!(WINDOW_MARGIN_MS * 2 < WINDOW_MIN_MS && LOCK_RELEASE_MS < WINDOW_MARGIN_MS);
    assert!(SMALL_BATCH_BYTES + SMALL_FILE_BYTES_MAX <= SEALING_BYTES_MAX);
    // Room for the pack being sealed while others are on their way.
    assert!(SPOOL_BYTES_MAX >= UPLOADS_IN_FLIGHT_BYTES_MAX + 2 * PACK_MAX_BYTES);
    assert!(PACK_BLOBS_MAX * 41 < 16 * MIB);
    // Every class on every day of the longest month, and of the two days that zones may differ by.
    assert!(LEDGER_ENTRIES_MAX >= 5 * 33);
    // Our own packs are checked side by side: each costs two pieces, and a blob in both forms.
    assert!(2 * READ_BYTES_MAX + 2 * CHUNK_MAX_BYTES as u64 <= CHECK_BYTES_MAX / 2);
};
