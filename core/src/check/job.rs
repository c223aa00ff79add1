//! What a check is asked to do, and what it found.

/// One check.
#[derive(Debug, Clone, Copy, Default)]
pub struct CheckJob {
    /// Also reads every pack whole, and opens every blob.
    pub read_data: bool,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Harmless: room that is not used, or a form that another client would not have written.
    Hint,
    /// Something cannot be restored as it was, or will not be.
    Error,
}

/// One thing that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub severity: Severity,
    /// The stored file, or the path in a snapshot, that it is about.
    pub subject: String,
    pub text: String,
}

/// What a check looked at and found.
#[derive(Debug, Clone, Default)]
pub struct CheckReport {
    /// Up to `REPORT_NAMES_MAX` of each severity.
    pub findings: Vec<Finding>,
    pub errors: u64,
    pub hints: u64,
    /// Snapshots that could be read.
    pub snapshots: u64,
    /// Folders that snapshots reach and that could be read, equal ones counted once.
    pub trees: u64,
    /// Blobs that the indexes name, copies counted once.
    pub blobs: u64,
    /// Packs that the indexes name.
    pub packs: u64,
    /// Packs that were read whole, and their bytes.
    pub packs_read: u64,
    pub bytes_read: u64,
}

impl CheckReport {
    /// Whether everything can be restored as it was backed up, as far as the check looked.
    pub fn is_clean(&self) -> bool {
        self.errors == 0
    }
}
