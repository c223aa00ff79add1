//! `backup`.

use std::{
    fs,
    path::{Component, Path},
    time::Instant,
};

use lifeboat::{BackupJob, BackupReport, DatabaseAccess, Databases, Source};
use serde_json::json;

use super::{journal, window};
use crate::{
    args::{BackupArgs, SourceArgs},
    exit::{Code, Result},
    output::Output,
    progress::{self, Told},
    session::{Session, host},
    text::{Size, Span, count},
};

pub(super) async fn run(session: Session<'_>, args: BackupArgs) -> Result<Code> {
    let started = Instant::now();
    let job = BackupJob {
        skip_if_unchanged: args.skip_if_unchanged,
        ..job(args.sources, session.state_dir)
    };
    let Session {
        engine, stop, out, ..
    } = session;
    journal::backup_begins(engine, &job.host).await?;
    if let Some(deadline) = args.window {
        let terms = window::Terms {
            deadline,
            limit_bytes: args.limit_bytes,
            no_lock: args.no_lock,
        };
        let outcome = engine.run_window(job, terms.budget(stop.clone()));
        let outcome = progress::watch(engine, out, Told::Events, outcome).await?;
        journal::window_ended(engine, &outcome).await?;
        return window::tell(outcome, started, out);
    }
    let ended = progress::watch(engine, out, Told::Events, engine.backup(job, stop.clone())).await?;
    journal::backup_ended(engine, &ended).await?;
    done(&ended?, started, out)
}

/// What is to be backed up, as it stands on the command line.
pub(crate) fn job(args: SourceArgs, state_dir: &Path) -> BackupJob {
    let sources: Vec<Source> = args.paths.iter().map(|path| source(path)).collect();
    let mut excludes = args.exclude;
    excludes.extend(own_folder(&sources, state_dir));
    BackupJob {
        sources,
        excludes,
        tags: args.tags,
        host: host(args.host.as_ref()),
        databases: Databases {
            // Whatever is open here belongs to another process.
            found: (!args.no_databases).then_some(DatabaseAccess::OtherProcess),
            declared: Vec::new(),
        },
        ..BackupJob::default()
    }
}

/// Says what a backup did.
pub(super) fn done(report: &BackupReport, started: Instant, out: &mut Output) -> Result<Code> {
    warn(report, out)?;
    let took = started.elapsed();
    if out.is_json() {
        out.document(&summary(report, took.as_secs_f64()))?;
    } else {
        print(report, Span(took), out)?;
    }
    Ok(if report.unreadable_total > 0 {
        Code::Incomplete
    } else {
        Code::Success
    })
}

/// Stands in the snapshot where restic would put it, and is read by its absolute path, which patterns are
/// meant for.
fn source(path: &Path) -> Source {
    let goes_up = path
        .components()
        .any(|component| component == Component::ParentDir);
    let absolute = if goes_up {
        // Only the operating system knows what is above a link.
        fs::canonicalize(path)
    } else {
        std::path::absolute(path)
    };
    Source {
        path: absolute.unwrap_or_else(|_| path.to_owned()),
        ..Source::at_path(path)
    }
}

/// The engine's own folder, where it is among what is backed up: it changes all the time, and nobody needs it
/// back.
fn own_folder(sources: &[Source], state_dir: &Path) -> Option<String> {
    let state_dir = fs::canonicalize(state_dir).ok()?;
    let inside =
        |source: &Source| fs::canonicalize(&source.path).is_ok_and(|path| state_dir.starts_with(path));
    let path = state_dir.to_str().filter(|_| sources.iter().any(inside))?;
    let mut pattern = String::new();
    for letter in path.chars() {
        if "*?[]{}!\\".contains(letter) {
            pattern.extend(['[', letter, ']']);
        } else {
            pattern.push(letter);
        }
    }
    Some(pattern)
}

fn warn(report: &BackupReport, out: &mut Output) -> Result<()> {
    for unreadable in &report.unreadable {
        let kept = if unreadable.kept {
            " (the snapshot has it as it was in the last one)"
        } else {
            ""
        };
        let text = format!("{}{kept}", unreadable.reason);
        out.warn("archival", &unreadable.path.to_string_lossy(), &text)?;
    }
    let more = report
        .unreadable_total
        .saturating_sub(report.unreadable.len() as u64);
    if more > 0 {
        out.warn("archival", "", &format!("{more} more could not be read"))?;
    }
    for path in &report.changing {
        let text = "it changed each time it was read: the snapshot may have parts of several states of it";
        out.warn("archival", &path.to_string_lossy(), text)?;
    }
    for (path, oddity) in &report.odd_databases {
        let text = format!("{oddity}; it is in the snapshot as it is");
        out.warn("archival", &path.to_string_lossy(), &text)?;
    }
    Ok(())
}

fn summary(report: &BackupReport, seconds: f64) -> serde_json::Value {
    let stats = &report.stats;
    let mut summary = json!({
        "message_type": "summary",
        "files_new": stats.files_new,
        "files_changed": stats.files_changed,
        "files_unmodified": stats.files_unmodified,
        "dirs_new": stats.dirs_new,
        "dirs_changed": stats.dirs_changed,
        "dirs_unmodified": stats.dirs_unmodified,
        "data_blobs": stats.data_blobs,
        "tree_blobs": stats.tree_blobs,
        "data_added": stats.data_added,
        "data_added_packed": stats.data_added_packed,
        "total_files_processed": stats.files_total,
        "total_bytes_processed": stats.bytes_total,
        "total_duration": seconds,
        "unreadable": report.unreadable_total,
    });
    if let Some(id) = report.snapshot {
        summary["snapshot_id"] = json!(id);
    }
    summary
}

fn print(report: &BackupReport, took: Span, out: &mut Output) -> Result<()> {
    let stats = &report.stats;
    if let Some(parent) = report.parent {
        out.line(format_args!("compared with snapshot {}", parent.short()))?;
    }
    out.line(format_args!(
        "files:   {} new, {} changed, {} unmodified",
        stats.files_new, stats.files_changed, stats.files_unmodified
    ))?;
    out.line(format_args!(
        "folders: {} new, {} changed, {} unmodified",
        stats.dirs_new, stats.dirs_changed, stats.dirs_unmodified
    ))?;
    out.line(format_args!(
        "added:   {} of new content, stored as {}",
        Size(stats.data_added),
        Size(stats.data_added_packed)
    ))?;
    out.line(format_args!(
        "in all:  {}, {} in {took}",
        count(stats.files_total, "file", "files"),
        Size(stats.bytes_total)
    ))?;
    match report.snapshot {
        Some(id) => out.line(format_args!("snapshot {} saved", id.short())),
        None => out.line("nothing has changed: no snapshot made"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_absolute_and_stand_where_restic_puts_them() {
        let here = std::env::current_dir().unwrap();
        assert_eq!(source(Path::new("src")).path, here.join("src"));
        assert_eq!(source(Path::new("src")).place, ["src"]);
        let above = source(Path::new("../cli/src"));
        assert_eq!(above.path, fs::canonicalize("src").unwrap());
        assert_eq!(above.place, ["cli", "src"]);
        assert!(source(Path::new(".")).place.is_empty());
    }

    #[test]
    fn the_engines_folder_is_left_out_only_where_it_is_inside() {
        let dir = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(dir.path()).unwrap();
        let state = root.join("a[b]");
        fs::create_dir(&state).unwrap();
        let pattern = own_folder(&[source(&root)], &state).unwrap();
        assert!(pattern.ends_with("/a[[]b[]]"), "{pattern}");
        fs::create_dir(root.join("other")).unwrap();
        assert_eq!(own_folder(&[source(&root.join("other"))], &state), None);
    }
}
