//! `check`.

use std::time::Instant;

use lifeboat::{CheckJob, CheckReport, Severity};
use serde_json::{Value, json};

use crate::{
    exit::{Code, Result},
    output::Output,
    progress::{self, Told},
    session::Session,
    text::{Size, Span, count, visible},
};

pub(super) async fn run(session: Session<'_>, read_data: bool) -> Result<Code> {
    let started = Instant::now();
    let Session {
        engine, stop, out, ..
    } = session;
    let job = CheckJob { read_data };
    let report = progress::watch(engine, out, Told::End, engine.check(job, stop.clone())).await??;
    if out.is_json() {
        out.document(&document(&report))?;
    } else {
        print(&report, Span(started.elapsed()), out)?;
    }
    Ok(if report.is_clean() {
        Code::Success
    } else {
        Code::Error
    })
}

fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Hint => "hint",
        Severity::Error => "error",
    }
}

fn document(report: &CheckReport) -> Value {
    let findings: Vec<Value> = report
        .findings
        .iter()
        .map(|finding| {
            json!({
                "severity": severity(finding.severity),
                "subject": finding.subject,
                "text": finding.text,
            })
        })
        .collect();
    json!({
        "message_type": "summary",
        "num_errors": report.errors,
        "num_hints": report.hints,
        "snapshots": report.snapshots,
        "trees": report.trees,
        "blobs": report.blobs,
        "packs": report.packs,
        "packs_read": report.packs_read,
        "bytes_read": report.bytes_read,
        "findings": findings,
    })
}

fn print(report: &CheckReport, took: Span, out: &mut Output) -> Result<()> {
    for finding in &report.findings {
        out.line(format_args!(
            "{}: {}: {}",
            severity(finding.severity),
            visible(finding.subject.as_ref()),
            visible(finding.text.as_ref())
        ))?;
    }
    let more = (report.errors + report.hints).saturating_sub(report.findings.len() as u64);
    if more > 0 {
        out.line(format_args!("and {more} more"))?;
    }
    out.line(format_args!(
        "looked at: {}, {}, {}, {} in {took}",
        count(report.snapshots, "snapshot", "snapshots"),
        count(report.trees, "tree", "trees"),
        count(report.blobs, "blob", "blobs"),
        count(report.packs, "pack", "packs"),
    ))?;
    if report.packs_read > 0 {
        out.line(format_args!(
            "read and opened: {}, {}",
            count(report.packs_read, "pack", "packs"),
            Size(report.bytes_read)
        ))?;
    }
    match report.errors {
        0 => out.line("no errors were found"),
        errors => out.line(format_args!(
            "{} found",
            count(errors, "error was", "errors were")
        )),
    }
}
