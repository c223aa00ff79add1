//! `unlock`.

use serde_json::json;

use crate::{
    exit::{Code, Result},
    session::Session,
    text::count,
};

pub(super) async fn run(session: Session<'_>, remove_all: bool) -> Result<Code> {
    let removed = session.ask(session.engine.unlock(remove_all)).await? as u64;
    let left = session.ask(session.engine.locks()).await?.len() as u64;
    let out = session.out;
    if out.is_json() {
        out.document(&json!({"message_type": "unlocked", "removed": removed, "left": left}))?;
        return Ok(Code::Success);
    }
    out.line(format_args!("{} removed", count(removed, "lock", "locks")))?;
    if left > 0 {
        let are = if left == 1 { "is" } else { "are" };
        out.line(format_args!(
            "{} {are} in use, as far as can be told: --remove-all removes them, too",
            count(left, "lock", "locks")
        ))?;
    }
    Ok(Code::Success)
}
