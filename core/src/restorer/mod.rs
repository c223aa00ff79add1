//! The Restorer: from a snapshot in the vault to files in a folder, all or nothing.
//!
//! A restore stages before it touches anything: the whole tree is built, verified and made durable in a
//! folder of its own inside the target, and only then moved into place, file by file, each by one rename.
//! What in the staging folder says how far it came is the folder itself: a file named `staged` appears when
//! staging is complete. Killed at any moment, the same restore goes on: before that file is there, what is
//! staged is verified against the ids of its blobs and only the rest is fetched; after, the moving goes on,
//! without the vault.
//!
//! A database that a snapshot holds as a base and a log is folded into one file while it is staged (`databases.rs`); what SQLite keeps beside
//! a database in the target leaves before the restored one comes (`companions.rs`). A restore may end when all is staged: `pending` has the calls
//! that then apply it beside a running app.
//!
//! It takes no lock and writes nothing to the vault. Names from a repository become part of a path by
//! `Node::safe_name` only, and every step below the target is one descriptor and one name, following no link.
//! At a stop it is quiet within the time of one system call, and the staging folder stays.

mod actor;
mod apply;
mod attributes;
mod companions;
mod content;
mod databases;
mod fetch;
mod folder;
mod job;
mod journal;
mod leaves;
mod messages;
mod pending;
mod plan;
mod run;
mod stage;
mod staging;
#[cfg(test)]
mod tests;
mod worker;

pub(crate) use actor::{RestorerHandle, RestorerParts};
pub use job::{DatabaseFiles, RestoreJob, RestoreReport, RestoreWarning, RestoredDatabase};
pub use pending::{
    AcceptedDatabase, Accepts, ApplyOutcome, Pending, PendingState, apply_pending, confirm, pending,
    roll_back,
};
