//! Writes a command's work into the engine's journal, so that `status` and `explain` know of it, also after a kill.

use std::time::{SystemTime, UNIX_EPOCH};

use lifeboat::{
    BackupReport, Engine, NetworkClass, Outcome, Waiting,
    scheduler::{Closed, Conditions, Entry, Grant, Journal, Published, Reason, Started, Task},
};
use sha2::{Digest, Sha256};

use crate::exit::Result;

/// Unix milliseconds, by the clock of this machine.
pub(super) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// What is known of this machine: somebody asked, and where it is. The rest nobody has said.
fn conditions() -> Conditions {
    let zone = jiff::tz::TimeZone::system();
    Conditions {
        asked: true,
        time_zone: zone.iana_name().map(str::to_owned),
        ..Conditions::default()
    }
}

/// A number that spreads what several machines do.
pub(crate) fn install(engine: &Engine, host: &str) -> u64 {
    let hash = Sha256::digest([engine.repository_id().as_bytes().as_slice(), host.as_bytes()].concat());
    hash.iter()
        .take(8)
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// A backup begins. Ends in the journal what an earlier process left open.
pub(super) async fn backup_begins(engine: &Engine, host: &str) -> Result<()> {
    let diary = engine.diary();
    diary
        .started(now_ms(), install(engine, host), conditions(), Started::default())
        .await?;
    let Journal { history, .. } = diary.journal().await?;
    let task = match (history.run, history.newest) {
        (Some(_), _) => Task::Resume,
        (None, None) => Task::FirstBackup,
        (None, Some(_)) => Task::Increment,
    };
    // Nobody sets a bound on a command line.
    let grant = Grant {
        time_ms: u64::MAX,
        class: None,
        bytes: None,
    };
    diary
        .notice(now_ms(), conditions(), Entry::Opened { task, grant })
        .await?;
    Ok(())
}

/// It has ended, so or so.
pub(super) async fn backup_ended(engine: &Engine, ended: &lifeboat::Result<BackupReport>) -> Result<()> {
    match ended {
        Ok(report) => close(engine, Reason::Done, Some(report)).await,
        Err(error) => close(engine, Reason::of_error(error.kind()), None).await,
    }
}

/// The same for one window of it.
pub(super) async fn window_ended(engine: &Engine, outcome: &Outcome) -> Result<()> {
    let end = match outcome {
        Outcome::Done(report) => return close(engine, Reason::Done, Some(report)).await,
        Outcome::MoreToDo(_) => Reason::TimeUp,
        Outcome::Waiting { reason, .. } => match reason {
            Waiting::Network(_) => Reason::BytesUp,
            Waiting::WindowTooShort | Waiting::HandedOff => Reason::TimeUp,
            Waiting::Parked { kind, .. } => Reason::of_error(*kind),
            Waiting::Unreachable(error) | Waiting::Locked(error) | Waiting::DiskFull(error) => {
                Reason::of_error(error.kind())
            }
        },
        Outcome::Failed { error, .. } => Reason::of_error(error.kind()),
    };
    close(engine, end, None).await
}

async fn close(engine: &Engine, end: Reason, report: Option<&BackupReport>) -> Result<()> {
    let published = |report: &BackupReport| {
        report.snapshot.map(|_| Published {
            files: report.stats.files_total,
            bytes: report.stats.bytes_total,
        })
    };
    let traffic = engine.take_traffic();
    // Nobody has said what this network costs, and whoever types a command has chosen it.
    let spent = (traffic.bytes > 0).then_some((NetworkClass::Unmetered, traffic.bytes));
    let closed = Closed {
        end,
        spent: spent.into_iter().collect(),
        confirmed: traffic.confirmed,
        requests: traffic.requests,
        finished: report.is_some(),
        published: report.and_then(published),
    };
    engine.diary().closed(now_ms(), conditions(), closed).await?;
    Ok(())
}
