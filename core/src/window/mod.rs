//! Windows: a backup in stretches of a few seconds, each with a deadline and an allowance of bytes.
//!
//! Between windows a run lives in the catalog (`catalog/run.rs`) and its sealed packs in the spool; no lock is held and no file is open. What was
//! not yet full when a window ended is a small pack in the spool that is not sent: the next window that seals goes on filling it. So a
//! thousand windows store hardly more than one. What is confirmed needs no index to be found again by this engine: one is published when it
//! names enough to be worth a file, and with the snapshot.
//!
//! `decide.rs` and `link.rs` choose, `run.rs` performs, `gate.rs` stands between the engine and the vault, counts, and lets nothing past an
//! allowance. At a stop, what is under way is given up, and what was confirmed is in the catalog.

pub(crate) mod decide;
mod divide;
mod gate;
mod hand_off;
pub(crate) mod link;
mod outcome;
mod run;

pub(crate) use gate::Gate;
pub use gate::Traffic;
pub use hand_off::HandOff;
pub(crate) use hand_off::{give_out, note};
pub use outcome::{Allowances, Budget, LockPolicy, MoreToDo, Outcome, Waiting, WakeHint};
pub(crate) use run::{WindowParts, begin_unbounded, end_unbounded, run_window};
