//! `apply`, `confirm` and `rollback`: what a restore has staged. They need no vault.

use std::{path::Path, time::Instant};

use lifeboat::{Accepts, ApplyOutcome};
use serde_json::json;

use super::restore;
use crate::{
    args::ApplyArgs,
    exit::{Code, Result},
    output::Output,
    text::visible,
};

pub(super) fn run(args: &ApplyArgs, out: &mut Output) -> Result<Code> {
    let started = Instant::now();
    let target = &args.staged.target;
    let accepts = Accepts {
        databases: args.accept.clone(),
    };
    match lifeboat::apply_pending(target, &accepts)? {
        ApplyOutcome::Applied(report) => restore::tell(&report, target, started.elapsed(), out)?,
        ApplyOutcome::NothingPending => say(target, "nothing", "there is nothing to apply in", out)?,
        ApplyOutcome::Unconfirmed => say(
            target,
            "unconfirmed",
            "applied before, and not confirmed yet:",
            out,
        )?,
        ApplyOutcome::RolledBack => say(
            target,
            "rolled_back",
            "an interrupted roll back is now complete in",
            out,
        )?,
    }
    Ok(Code::Success)
}

pub(super) fn confirm(target: &Path, out: &mut Output) -> Result<Code> {
    if lifeboat::confirm(target)? {
        say(
            target,
            "confirmed",
            "confirmed; what was replaced is removed from",
            out,
        )?;
    } else {
        say(target, "nothing", "there is nothing to confirm in", out)?;
    }
    Ok(Code::Success)
}

pub(super) fn roll_back(target: &Path, out: &mut Output) -> Result<Code> {
    if lifeboat::roll_back(target)? {
        say(target, "rolled_back", "as it was before the restore:", out)?;
    } else {
        say(target, "nothing", "there is nothing to roll back in", out)?;
    }
    Ok(Code::Success)
}

fn say(target: &Path, state: &str, text: &str, out: &mut Output) -> Result<()> {
    if out.is_json() {
        let target = target.to_string_lossy();
        out.document(&json!({ "message_type": "summary", "state": state, "target": target }))
    } else {
        out.line(format_args!("{text} {}", visible(target)))
    }
}
