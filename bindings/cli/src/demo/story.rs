//! What the demonstration says, as it happens. Real numbers only.

use std::{path::Path, time::Duration};

use lifeboat::CheckReport;

use super::{Backup, Restored, app::App};
use crate::{
    exit::Result,
    output::Output,
    text::{Size, Span, count, grouped},
};

/// The column in which a headline's time ends.
const WIDTH: usize = 78;

pub(super) struct Story<'a> {
    out: &'a mut Output,
    act: u32,
}

impl<'a> Story<'a> {
    pub(super) fn new(out: &'a mut Output) -> Self {
        Self { out, act: 0 }
    }

    pub(super) fn app(&mut self, app: &App, rows: u64, folder: &Path) -> Result<()> {
        self.out.line("")?;
        self.headline("A phone app lives and writes", None)?;
        self.text(format_args!("{}", folder.display()))?;
        self.text(format_args!(
            "{} photos, {} · {} JSON files, {} · {} messages in SQLite",
            app.photos.files,
            Size(app.photos.bytes),
            app.documents.files,
            Size(app.documents.bytes),
            grouped(rows)
        ))?;
        self.text("Its own process has the database open, and keeps committing messages.")?;
        self.out.flush()
    }

    pub(super) fn first_backup(&mut self, backup: &Backup) -> Result<()> {
        let stats = &backup.report.stats;
        self.headline("First backup, sealed before it leaves", Some(backup.took))?;
        self.text(format_args!(
            "{}, {} read → {} stored",
            count(stats.files_total, "file", "files"),
            Size(stats.bytes_total),
            Size(stats.data_added_packed)
        ))?;
        self.meanwhile(backup)
    }

    pub(super) fn second_backup(&mut self, backup: &Backup, first: &Backup) -> Result<()> {
        let stats = &backup.report.stats;
        self.headline("An afternoon later, second backup", Some(backup.took))?;
        self.text(format_args!(
            "One new photo, one contact edited, one draft deleted, {} new messages.",
            grouped(backup.before.rows - first.before.rows)
        ))?;
        let share = 100.0 * stats.data_added_packed as f64 / stats.bytes_total.max(1) as f64;
        self.text(format_args!(
            "{}, {} looked at → {} stored: {share:.1} %",
            count(stats.files_total, "file", "files"),
            Size(stats.bytes_total),
            Size(stats.data_added_packed)
        ))?;
        self.meanwhile(backup)
    }

    pub(super) fn loss(&mut self) -> Result<()> {
        self.headline("The phone falls into the harbour", None)?;
        self.text("The app's folder is removed, with its photos, its documents and its database.")?;
        self.out.flush()
    }

    pub(super) fn restore(&mut self, restored: &Restored, rows_at_loss: u64) -> Result<()> {
        self.headline(
            "A new phone has the password and nothing else: restore",
            Some(restored.took),
        )?;
        self.text(format_args!(
            "{}, {}. {} of them compared: every byte, permission and time.",
            count(restored.report.files, "file", "files"),
            Size(restored.report.bytes),
            restored.compared
        ))?;
        let rows = restored.messages.rows;
        self.text(format_args!(
            "messages.db: {}, {} messages without a gap, as they were at one",
            restored.messages.integrity,
            grouped(rows)
        ))?;
        self.text(format_args!(
            "moment during the backup. {} came after that moment.",
            count(rows_at_loss.saturating_sub(rows), "message", "messages")
        ))?;
        self.out.flush()
    }

    pub(super) fn check(&mut self, report: &CheckReport, took: Duration) -> Result<()> {
        self.headline("Check, reading every stored byte", Some(took))?;
        self.text(format_args!(
            "{}, {}, {} in {}: {}",
            count(report.snapshots, "snapshot", "snapshots"),
            count(report.blobs, "blob", "blobs"),
            Size(report.bytes_read),
            count(report.packs_read, "pack", "packs"),
            count(report.errors, "error", "errors"),
        ))?;
        self.out.flush()
    }

    pub(super) fn end(&mut self, failures: &[String], took: Duration) -> Result<()> {
        self.out.line("")?;
        if failures.is_empty() {
            self.out.line(format_args!(
                "Everything is back as it was backed up. {} in all.\n",
                Span(took)
            ))?;
            return self.out.flush();
        }
        self.out.line("This is not as it was:\n")?;
        for failure in failures {
            self.text(failure)?;
        }
        self.out.line("")
    }

    fn meanwhile(&mut self, backup: &Backup) -> Result<()> {
        self.text(format_args!(
            "{} committed meanwhile; the longest commit took {:.1} ms.",
            count(backup.after.rows - backup.before.rows, "message", "messages"),
            backup.after.longest.as_secs_f64() * 1000.0
        ))?;
        self.out.flush()
    }

    /// `1  What happens ............ 0.5 s`
    fn headline(&mut self, what: &str, took: Option<Duration>) -> Result<()> {
        self.act += 1;
        let mut line = format!("{}  {what}", self.act);
        if let Some(took) = took {
            let took = Span(took).to_string();
            let dots = WIDTH.saturating_sub(line.chars().count() + took.len() + 2);
            line = format!("{line} {} {took}", ".".repeat(dots));
        }
        if self.act > 1 {
            self.out.line("")?;
        }
        self.out.line(line)
    }

    fn text(&mut self, text: impl std::fmt::Display) -> Result<()> {
        self.out.line(format_args!("   {text}"))
    }
}
