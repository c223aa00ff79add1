//! `confirm-loss`: what the newborn guard asks about is as it should be.

use serde_json::json;

use crate::{
    exit::{Code, Result},
    session::Session,
    text::count,
};

pub(super) async fn run(session: Session<'_>) -> Result<Code> {
    let number = session.ask(session.engine.confirm_newborn()).await?;
    if session.out.is_json() {
        session
            .out
            .document(&json!({"message_type": "confirmed", "snapshots": number}))?;
    } else if number == 0 {
        session.out.line("there was nothing to confirm")?;
    } else {
        let snapshots = count(number as u64, "snapshot counts", "snapshots count");
        session.out.line(format_args!("{snapshots} like any other now"))?;
    }
    Ok(Code::Success)
}
