//! The Scheduler: which work runs when, and why it does not.
//!
//! [`decide`] is a pure function of the time, a [`Policy`], the [`Conditions`] that the host reports and the [`History`]; what it says is turned into
//! requests to the operating system by [`wake_android`] and [`wake_apple`]. [`explain`] answers for any moment what was due, what was in the way, and how
//! windows ended. [`guards`] keep good snapshots from being pushed out. The actor itself is asked to run a job at once, and sees to it that jobs which must
//! not meet do not; it holds nothing that a stop could lose.

mod actor;
mod calendar;
mod conditions;
mod decide;
mod decision;
mod diary;
mod ends;
pub mod explain;
pub mod guards;
mod history;
mod keep;
mod ledger;
mod messages;
mod policy;
pub mod reason;
pub mod wake_android;
pub mod wake_apple;
mod wakes;
mod work;

pub(crate) use actor::SchedulerHandle;
pub(crate) use calendar::mix;
pub(crate) use decide::Work;

pub use conditions::{Conditions, Known, Network, NetworkClass, Standing};
pub use decision::decide;
pub use diary::{Diary, Journal};
pub use history::{Closed, Complete, Entry, Exit, Failures, History, Open, Published, Run, Started, Waited};
pub use keep::Keep;
pub use ledger::Ledger;
pub use policy::{ClassRule, NetworkRules, Policy, PowerRules, QuietHours, Thermal, Use, WindowRules, Wish};
pub use reason::{Reason, Sort};
pub use work::{Decision, Grant, NetworkNeed, Task, Verdict, Wait, Wake};
