//! What runs where.
//!
//! | thread | count | runs | ended by |
//! |---|---|---|---|
//! | `engine` | 1 | the only actix `System`: the actors, and asynchronous work with the vault | `Host::stop` joins it |
//! | `cpu-n` | one a core, at most four | hashing, compressing, sealing, opening; reading small files | `CpuPool::stop` joins them |
//! | `catalog` | 1, and 1 while a check runs | SQLite | `CatalogThread::join`; the check joins its own |
//! | `walk`, `assemble` | 1 each while a backup runs | reading the sources, writing packs and trees | joined when the run ends |
//! | `compare` | 1 while a database is held still | with the thread of the walk: reading and hashing its pages | joined before it is let go |
//! | `restore` | 1 while a restore runs | everything that touches the target, but for the writing of long blobs | joined when the restore ends |
//!
//! Nothing else is started. Short blocking calls of the local vault, and the writing of long blobs, go to tokio's blocking threads. A restore waits
//! for its own, and the engine thread for all when its runtime ends.
//!
//! `state_lock` keeps two of all this from working in one folder.

pub(crate) mod budget;
pub(crate) mod buffers;
pub(crate) mod cpu;
pub(crate) mod host;
pub(crate) mod state_lock;
