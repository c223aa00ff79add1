//! Running checks, and saying what they should find.

#![allow(dead_code, reason = "each test program uses a part of it")]
#![allow(
    clippy::unwrap_used,
    reason = "a test that fails should fail loudly, also in its helpers"
)]

use std::{path::Path, time::Duration};

use lifeboat::{
    CheckJob, CheckReport, Engine, EngineOptions, Severity, Unlock, format::MasterKey, storage::Address,
};
use tokio_util::sync::CancellationToken;

use crate::hand::Hand;

pub const READ: CheckJob = CheckJob { read_data: true };
pub const LOOK: CheckJob = CheckJob { read_data: false };

pub fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap()
        .block_on(work)
}

pub fn open(root: &Path, key: &MasterKey, state: &Path) -> lifeboat::Result<Engine> {
    Engine::open(EngineOptions {
        vault: Address::Local(root.to_owned()),
        state_dir: state.to_owned(),
        unlock: Unlock::MasterKey(MasterKey::from_raw(&key.to_raw()).unwrap()),
        storage: Default::default(),
    })
}

pub fn try_check(root: &Path, key: &MasterKey, job: CheckJob) -> lifeboat::Result<CheckReport> {
    let state = tempfile::tempdir().unwrap();
    let engine = open(root, key, state.path())?;
    let report = block_on(engine.check(job, CancellationToken::new()));
    assert!(
        !state.path().join("check.db").exists(),
        "the check leaves nothing behind"
    );
    engine.stop(Duration::from_secs(10)).unwrap();
    report
}

pub fn check(hand: &Hand, job: CheckJob) -> CheckReport {
    try_check(&hand.root, &hand.key, job).unwrap()
}

/// Both ways of checking find this, about something whose name holds `subject`.
#[track_caller]
pub fn found(hand: &Hand, severity: Severity, subject: &str, text: &str) {
    for job in [LOOK, READ] {
        found_by(hand, job, severity, subject, text);
    }
}

#[track_caller]
pub fn found_by(hand: &Hand, job: CheckJob, severity: Severity, subject: &str, text: &str) {
    let report = check(hand, job);
    let matches = |f: &&lifeboat::Finding| {
        f.severity == severity && f.subject.contains(subject) && f.text.contains(text)
    };
    assert!(report.findings.iter().any(|f| matches(&f)), "{report:#?}");
    assert_eq!(
        report.is_clean(),
        severity == Severity::Hint,
        "only what was planted: {report:#?}"
    );
}

pub fn vault() -> (tempfile::TempDir, Hand) {
    let dir = tempfile::tempdir().unwrap();
    let hand = Hand::new(dir.path());
    (dir, hand)
}

/// xorshift64*: the same damage on every run.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % limit
    }
}
