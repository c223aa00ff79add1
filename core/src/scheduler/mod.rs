//! The Scheduler: which work runs now. So far it is asked to run a job at once, and sees to it that jobs which must not meet do not.
//!
//! It holds nothing that a stop could lose.

mod actor;
mod decide;
mod messages;

pub(crate) use actor::SchedulerHandle;
pub(crate) use decide::Work;
