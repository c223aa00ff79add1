//! Reading the sources: which files there are, which changed, and what is in them. It never writes, and follows no symbolic link.

mod capture;
mod databases;
mod decide;
mod exclude;
mod known_files;
mod large;
mod metadata;
mod reader;
mod step;
mod targets;
mod walk;

pub(crate) use capture::{CaptureContext, Captured};
pub(crate) use databases::DatabaseRules;
pub use databases::{DatabaseSource, Databases};
pub(crate) use decide::{Decision, decide};
pub(crate) use exclude::Excludes;
pub(crate) use metadata::{Metadata, Names};
pub(crate) use reader::{FileReader, ReadEnd, ReadFile};
pub(crate) use step::{CapturePart, DirKey, Step, StepSender, Unread};
pub use targets::Source;
pub(crate) use targets::Target;
pub(crate) use walk::{WalkContext, walk};
