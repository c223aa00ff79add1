//! `restore`.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use lifeboat::{DatabaseFiles, Integrity, RestoreJob, RestoreReport, RestoredDatabase};
use serde_json::json;

use crate::{
    args::{DatabaseFilesArg, RestoreArgs},
    exit::{Code, Result},
    output::Output,
    progress::{self, Told},
    session::Session,
    text::{Size, Span, count, visible},
};

pub(super) async fn run(session: Session<'_>, args: RestoreArgs) -> Result<Code> {
    let started = Instant::now();
    let target = args.target.clone();
    let job = RestoreJob {
        snapshot: args.snapshot,
        target: args.target,
        include: args.include,
        database_files: match args.database_files {
            DatabaseFilesArg::Folded => DatabaseFiles::Folded,
            DatabaseFilesArg::Both => DatabaseFiles::Both,
        },
        stage_only: args.stage_only,
    };
    let Session {
        engine, stop, out, ..
    } = session;
    let report = progress::watch(engine, out, Told::Events, engine.restore(job, stop.clone())).await??;
    tell(&report, &target, started.elapsed(), out)?;
    Ok(Code::Success)
}

/// Says what was restored, or applied.
pub(super) fn tell(report: &RestoreReport, target: &Path, took: Duration, out: &mut Output) -> Result<()> {
    for warning in &report.warnings {
        out.warn("restore", &warning.path.to_string_lossy(), &warning.reason)?;
    }
    let more = report.warnings_total.saturating_sub(report.warnings.len() as u64);
    if more > 0 {
        out.warn("restore", "", &format!("{more} more warnings"))?;
    }
    if out.is_json() {
        out.document(&summary(report, took.as_secs()))
    } else {
        print(report, target, Span(took), out)
    }
}

fn summary(report: &RestoreReport, seconds: u64) -> serde_json::Value {
    let entries = report.files + report.dirs + report.others;
    json!({
        "message_type": "summary",
        "seconds_elapsed": seconds,
        "snapshot_id": report.snapshot,
        "total_files": entries,
        "files_restored": entries,
        "total_bytes": report.bytes,
        "bytes_restored": report.bytes,
        "bytes_fetched": report.fetched_bytes,
        "bytes_resumed": report.resumed_bytes,
        "warnings": report.warnings_total,
        "applied": report.is_applied,
        "databases": report.databases.iter().map(database).collect::<Vec<_>>(),
    })
}

fn database(database: &RestoredDatabase) -> serde_json::Value {
    let (integrity, findings) = match &database.integrity {
        Integrity::Sound => ("ok", &[][..]),
        Integrity::Damaged { findings } => ("damaged", &findings[..]),
        Integrity::NotChecked { reason } => ("not checked", std::slice::from_ref(reason)),
    };
    json!({
        "path": database.path.to_string_lossy(),
        "size": database.bytes,
        "user_version": database.user_version,
        "application_id": database.application_id,
        "integrity": integrity,
        "findings": findings,
        "foreign_key_violations": database.foreign_key_violations,
    })
}

fn print(report: &RestoreReport, target: &Path, took: Span, out: &mut Output) -> Result<()> {
    let mut what = format!(
        "{} and {}",
        count(report.files, "file", "files"),
        count(report.dirs, "folder", "folders")
    );
    if report.others > 0 {
        what += &format!(", {}", count(report.others, "other thing", "other things"));
    }
    if report.databases_total > 0 {
        let sound = |database: &&RestoredDatabase| database.integrity == Integrity::Sound;
        what += &format!(", {}", count(report.databases_total, "database", "databases"));
        what += &format!(
            " ({} checked and sound)",
            report.databases.iter().filter(sound).count()
        );
    }
    let done = if report.is_applied { "restored" } else { "staged" };
    out.line(format_args!(
        "{done}: {what}, {}, in {took}; {} fetched",
        Size(report.bytes),
        Size(report.fetched_bytes)
    ))?;
    if report.resumed_bytes > 0 {
        out.line(format_args!(
            "{} had been fetched before by a restore that was interrupted",
            Size(report.resumed_bytes)
        ))?;
    }
    let (id, target) = (report.snapshot.short(), visible(target));
    if report.is_applied {
        return out.line(format_args!("snapshot {id} is in {target}"));
    }
    out.line(format_args!(
        "snapshot {id} is staged in {target}, where nothing has changed: `lifeboat apply` puts it in place"
    ))
}
