//! `demo`: a phone app's data is backed up while the app writes, lost, and brought back; and every byte is
//! compared.
//!
//! Nothing is staged but the app: the engine, the vault and the numbers are real. The app is another process,
//! as it would be for a command line; it has its database open and commits into it all the time.

mod app;
mod compare;
mod place;
mod story;
pub(crate) mod writer;

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use lifeboat::{
    BackupJob, BackupReport, CheckJob, CheckReport, Databases, Engine, EngineOptions, RestoreJob,
    RestoreReport, Severity, Source, Unlock, clock::SystemClock, format::MasterKey, storage,
};
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use self::{
    app::App,
    compare::{Files, Messages},
    place::Place,
    story::Story,
    writer::{Writer, Written},
};
use crate::{
    args::DemoArgs,
    exit::{Code, Failure, Result},
    output::Output,
    session::interruptible,
};

const PASSWORD: &str = "lifeboat-demo";
/// The name of the app's folder in the snapshots: a phone's path to it changes when the app is installed
/// anew.
const NAME: &str = "app";

pub(crate) fn run(args: &DemoArgs, out: &mut Output) -> Result<Code> {
    let place = Place::prepare(args)?;
    let result = interruptible(async |signals| {
        tokio::select! {
            result = tell(&place, out) => result,
            () = signals.next() => Err(Failure::INTERRUPTED),
        }
    });
    let end = place.leave(out, result.is_ok());
    let code = result?;
    end?;
    Ok(code)
}

/// A backup, and how much the app wrote meanwhile.
struct Backup {
    report: BackupReport,
    took: Duration,
    /// Of the app, when it began and ended.
    before: Written,
    after: Written,
}

/// A restore, and how what it brought back compares with what was there.
struct Restored {
    report: RestoreReport,
    took: Duration,
    compared: usize,
    differences: Vec<String>,
    messages: Messages,
}

async fn tell(place: &Place, out: &mut Output) -> Result<Code> {
    let started = Instant::now();
    let mut story = Story::new(out);
    let mut app = App::install(&place.app())?;
    let mut writer = Writer::start(&app.database())?;
    story.app(&app, writer.ask()?.rows, &place.app())?;

    let key = make_vault(&place.vault()).await?;
    let phone = open(place, "phone", Unlock::MasterKey(key)).await?;
    let first = backup(&phone, &app, &mut writer).await?;
    story.first_backup(&first)?;

    app.change()?;
    let before = Files::of(app.folder(), &app.database())?;
    let second = backup(&phone, &app, &mut writer).await?;
    story.second_backup(&second, &first)?;
    stop(phone).await?;

    let rows_at_loss = writer.stop()?.rows;
    let lost = app.folder().to_owned();
    fs::remove_dir_all(&lost).map_err(|error| Failure::io(format!("removing {}", lost.display()), error))?;
    story.loss()?;

    // Another phone: it has the address and the password, and nothing else.
    let phone = open(place, "new-phone", Unlock::Password(PASSWORD.to_owned().into())).await?;
    let restored = restore(&phone, &place.restored(), &app, &before).await?;
    let mut wrong = restored.differences.clone();
    wrong.extend(restored.messages.wrong(second.before.rows, second.after.rows));
    if wrong.is_empty() {
        story.restore(&restored, rows_at_loss)?;
    }

    let (checked, took) = check(&phone).await?;
    story.check(&checked, took)?;
    stop(phone).await?;

    let errors = checked
        .findings
        .iter()
        .filter(|finding| finding.severity == Severity::Error);
    wrong.extend(errors.map(|finding| format!("{}: {}", finding.subject, finding.text)));
    story.end(&wrong, started.elapsed())?;
    Ok(if wrong.is_empty() && checked.is_clean() {
        Code::Success
    } else {
        Code::Error
    })
}

async fn make_vault(vault: &Path) -> Result<MasterKey> {
    let storage = storage::open(&storage::Address::Local(vault.to_owned()))?;
    let (_, key) = lifeboat::init(&*storage, PASSWORD, "demo", &SystemClock::default()).await?;
    Ok(key)
}

/// An engine of its own for each phone. Opening blocks.
async fn open(place: &Place, phone: &str, unlock: Unlock) -> Result<Engine> {
    let options = EngineOptions {
        vault: storage::Address::Local(place.vault()),
        state_dir: place.state(phone),
        unlock,
        storage: storage::StorageOptions::default(),
    };
    let opened = spawn_blocking(|| Engine::open(options)).await;
    Ok(opened.map_err(|error| Failure::here(format!("a defect: {error}")))??)
}

async fn stop(engine: Engine) -> Result<()> {
    let stopped = spawn_blocking(|| engine.stop(Duration::from_secs(10))).await;
    Ok(stopped.map_err(|error| Failure::here(format!("a defect: {error}")))??)
}

async fn backup(engine: &Engine, app: &App, writer: &mut Writer) -> Result<Backup> {
    let job = BackupJob {
        sources: vec![Source::named(app.folder(), NAME)],
        host: "demo".into(),
        databases: Databases::default(),
        ..BackupJob::default()
    };
    let before = writer.ask()?;
    let started = Instant::now();
    let report = engine.backup(job, CancellationToken::new()).await?;
    let took = started.elapsed();
    Ok(Backup {
        report,
        took,
        before,
        after: writer.ask()?,
    })
}

async fn restore(engine: &Engine, target: &Path, app: &App, before: &Files) -> Result<Restored> {
    let started = Instant::now();
    let job = RestoreJob {
        snapshot: "latest".into(),
        target: target.to_owned(),
        ..RestoreJob::default()
    };
    let report = engine.restore(job, CancellationToken::new()).await?;
    let took = started.elapsed();
    let folder = target.join(NAME);
    let database = app.database_in(&folder);
    Ok(Restored {
        report,
        took,
        compared: before.len(),
        differences: before.differences(&Files::of(&folder, &database)?),
        messages: Messages::read(&database)?,
    })
}

async fn check(engine: &Engine) -> Result<(CheckReport, Duration)> {
    let started = Instant::now();
    let job = CheckJob { read_data: true };
    let report = engine.check(job, CancellationToken::new()).await?;
    Ok((report, started.elapsed()))
}
