//! `prune`.

use lifeboat::{PackAction, PackCount, PruneJob, PrunePlan, PruneReport};
use serde_json::{Value, json};

use crate::{
    exit::{Code, Result},
    output::Output,
    progress::{self, Told},
    session::Session,
    text::{Size, Table, count, grouped},
};

pub(super) async fn run(session: Session<'_>, job: PruneJob, only_plan: bool) -> Result<Code> {
    let Session {
        engine, stop, out, ..
    } = session;
    let planning = engine.plan_prune(job, stop.clone());
    let plan = progress::watch(engine, out, Told::End, planning).await??;
    if !plan.is_whole {
        return unfinished(out);
    }
    if !out.is_json() {
        print_plan(&plan, out)?;
    }
    if only_plan {
        if out.is_json() {
            out.document(&json!({"message_type": "plan", "plan": plan_document(&plan)}))?;
        } else {
            out.line("nothing was done")?;
        }
        return Ok(Code::Success);
    }
    out.flush()?;
    let document = plan_document(&plan);
    let pruning = engine.prune(plan, stop.clone());
    let report = progress::watch(engine, out, Told::End, pruning).await??;
    if out.is_json() {
        out.document(&json!({
            "message_type": "summary", "plan": document, "done": report_document(&report),
        }))?;
    } else {
        print_report(&report, out)?;
    }
    Ok(Code::Success)
}

fn unfinished(out: &mut Output) -> Result<Code> {
    if out.is_json() {
        out.document(&json!({"message_type": "plan", "plan": Value::Null}))?;
    } else {
        out.line("not all folders were read within --max-plan-size; the same command goes on there")?;
    }
    Ok(Code::Success)
}

fn pack_count(count: PackCount) -> Value {
    json!({"packs": count.packs, "bytes": count.bytes})
}

fn plan_document(plan: &PrunePlan) -> Value {
    let totals = &plan.totals;
    json!({
        "snapshots": totals.snapshots,
        "index_files": totals.index_files,
        "blobs_used": totals.used.blobs, "bytes_used": totals.used.bytes,
        "blobs_duplicate": totals.duplicate.blobs, "bytes_duplicate": totals.duplicate.bytes,
        "blobs_unused": totals.unused.blobs, "bytes_unused": totals.unused.bytes,
        "keep": pack_count(totals.keep),
        "repack": pack_count(totals.repack),
        "postponed": pack_count(totals.postponed),
        "wait_unused": pack_count(totals.wait_unused),
        "retire": pack_count(totals.retire),
        "wait_unindexed": pack_count(totals.wait_unindexed),
        "delete": pack_count(totals.delete),
        "recover": pack_count(totals.recover),
        "forget": pack_count(totals.forget),
        "bytes_fetched": totals.repacked.bytes,
        "bytes_sent": totals.repacked.bytes,
        "bytes_freed_now": totals.freed_now_bytes(),
        "bytes_freed_later": totals.freed_later_bytes(),
        "bytes_unused_kept": totals.unused_kept_bytes,
    })
}

fn report_document(report: &PruneReport) -> Value {
    json!({
        "repacked": pack_count(report.repacked),
        "written": pack_count(report.written),
        "marked": pack_count(report.marked),
        "retired": pack_count(report.retired),
        "deleted": pack_count(report.deleted),
        "recovered": pack_count(report.recovered),
        "index_files_written": report.index_files_written,
        "index_files_removed": report.index_files_removed,
    })
}

fn print_plan(plan: &PrunePlan, out: &mut Output) -> Result<()> {
    let totals = &plan.totals;
    let mut blobs = Table::new(&["Blobs", "Number", "Size"], &[1, 2]);
    for (name, some) in [
        ("needed by snapshots", totals.used),
        ("further copies of these", totals.duplicate),
        ("needed by nobody", totals.unused),
    ] {
        blobs.row([name.into(), grouped(some.blobs), Size(some.bytes).to_string()]);
    }
    out.line(&blobs)?;
    out.line("")?;
    let mut packs = Table::new(&["Packs", "Number", "Size"], &[1, 2]);
    let rows = [
        ("keep", totals.keep),
        (
            "of these, pack anew another time: --max-repack-size",
            totals.postponed,
        ),
        ("pack anew, then take out of the indexes", totals.repack),
        ("mark: of no use, but not for long enough", totals.wait_unused),
        ("take out of the indexes", totals.retire),
        (
            "mark: in no index, but not for long enough",
            totals.wait_unindexed,
        ),
        ("delete", totals.delete),
        ("name in an index again: a late snapshot needs it", totals.recover),
        ("missing and of no use: take out of the indexes", totals.forget),
    ];
    for (name, some) in rows {
        if some.packs > 0 || name == "keep" {
            packs.row([name.into(), grouped(some.packs), Size(some.bytes).to_string()]);
        }
    }
    out.line(&packs)?;
    out.line("")?;
    let mut bytes = Table::new(&["Bytes", "Size"], &[1]);
    let freed_now = if plan.job.grace.is_zero() {
        totals.freed_now_bytes() + totals.freed_later_bytes()
    } else {
        totals.freed_now_bytes()
    };
    for (name, size) in [
        ("to fetch", totals.repacked.bytes),
        ("to send", totals.repacked.bytes),
        ("given back now", freed_now),
        (
            "given back by later prunes",
            totals.freed_now_bytes() + totals.freed_later_bytes() - freed_now,
        ),
        ("of no use, and kept", totals.unused_kept_bytes),
    ] {
        bytes.row([name.into(), Size(size).to_string()]);
    }
    out.line(&bytes)?;
    if let Some(line) = next_step(plan) {
        out.line(line)?;
    }
    Ok(())
}

/// When waiting pays off.
fn next_step(plan: &PrunePlan) -> Option<String> {
    let since = plan.actions.values().filter_map(|action| match action {
        PackAction::WaitUnused { since } | PackAction::WaitUnindexed { since } => Some(*since),
        _ => None,
    });
    let oldest = since.min()?;
    let grace = i64::try_from(plan.job.grace.as_secs()).unwrap_or(i64::MAX);
    let then = lifeboat::format::Timestamp::new(oldest.seconds().saturating_add(grace), 0)?;
    Some(format!(
        "the first of the marked packs have waited long enough at {}",
        crate::text::local_time(then)
    ))
}

fn print_report(report: &PruneReport, out: &mut Output) -> Result<()> {
    let packs = |some: PackCount| format!("{} ({})", count(some.packs, "pack", "packs"), Size(some.bytes));
    let mut said = 0;
    for (what, some) in [
        ("packed anew", report.repacked),
        ("written", report.written),
        ("taken out of the indexes", report.retired),
        ("named in an index again", report.recovered),
        ("deleted", report.deleted),
        ("waiting", report.marked),
    ] {
        if some.packs > 0 {
            out.line(format_args!("{what}: {}", packs(some)))?;
            said += 1;
        }
    }
    if report.index_files_written + report.index_files_removed > 0 {
        out.line(format_args!(
            "index files: {} written, {} removed",
            report.index_files_written, report.index_files_removed
        ))?;
        said += 1;
    }
    if said == 0 {
        out.line("there was nothing to do")?;
    }
    Ok(())
}
