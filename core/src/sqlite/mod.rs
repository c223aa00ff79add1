//! SQLite databases, page by page: reading a live one without harming it, and keeping only what changed.
//!
//! **Reading** is done by a page reader of our own, not by a second SQLite. It follows the locking and wal-index protocol that SQLite
//! documents, with locks of *open file descriptions* ([`ofd`]), for three reasons. Such locks conflict with the POSIX locks of the
//! app's connections in every process, ours included, whichever copies of SQLite there are. They are not lost when somebody closes the
//! file. And a reader of pages needs no page cache, writes nothing of the app's (a second SQLite would create `-shm`, `-wal` and read
//! marks, roll journals back, checkpoint when it closes), and takes pages that are encrypted or damaged as they are.
//! It holds on Linux, Android and Apple's systems, for databases that SQLite's default `unix` file layer locks on a local file
//! system. Elsewhere, and for other file layers, the app brackets the read: [`Access::Quiesced`], which needs no lock.
//!
//! - [`descriptors`]: the one table of open databases, because closing one would drop the app's locks;
//! - [`locks`]: which bytes are locked, for what;
//! - [`moment`]: from requests to [`View`]s, all of one moment in time;
//! - [`view`]: pages out of the database file, overlaid by its log or by a journal that waits to be rolled back;
//! - [`log`], [`index`], [`journal`]: what stands beside the database file, as it is found;
//! - [`header`], [`wal`]: formats;
//!
//! **Keeping** is done as a base and a log of the pages that differ from it:
//!
//! - [`page_hash`], [`segment`]: which pages changed;
//! - [`plan`]: what is done about them;
//! - [`synthesis`]: the log that a snapshot keeps.
//!
//! **Restoring** works on files that nobody has open:
//!
//! - [`pairs`]: which files of a snapshot are a base and its log;
//! - [`fold`]: from both to one file;
//! - [`inspect`]: what that file says of itself, and whether SQLite finds it sound.

pub(crate) mod access;
pub(crate) mod descriptors;
pub(crate) mod fold;
pub(crate) mod header;
pub(crate) mod index;
pub(crate) mod inspect;
pub(crate) mod journal;
pub(crate) mod locks;
pub(crate) mod log;
pub(crate) mod moment;
pub(crate) mod ofd;
pub(crate) mod page_hash;
pub(crate) mod pairs;
pub(crate) mod plan;
pub(crate) mod segment;
pub(crate) mod synthesis;
pub(crate) mod view;
pub(crate) mod wal;

#[cfg(test)]
mod tests;

pub use access::{Access, HostError, Quiesce, Quiesced};
pub(crate) use access::{Oddity, ReadError, Request};
pub(crate) use descriptors::DatabaseFile;
pub(crate) use moment::views;
pub(crate) use view::View;
