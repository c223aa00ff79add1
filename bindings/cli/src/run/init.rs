//! `init`: a new repository. It needs no engine, hence no folder for one.

use std::sync::Arc;

use lifeboat::{clock::SystemClock, storage};
use serde_json::json;

use crate::{
    args::Common,
    exit::{Code, Result},
    output::Output,
    password,
    session::{host, interruptible},
    vault,
};

pub(super) fn run(common: &Common, given_host: Option<String>, out: &mut Output) -> Result<Code> {
    let address = vault::address(common)?;
    let file = common.password_file.clone();
    let options = vault::options(common, &address)?;
    let storage = storage::open_with(&address, &options, Arc::new(SystemClock::default()))?;
    let host = host(given_host.as_ref());
    let id = interruptible(async |signals| {
        let read = move || password::read(password::FIRST, file.as_deref());
        let password = signals.or_blocking(read).await?;
        let (id, _) = lifeboat::init(&*storage, &password, &host, &SystemClock::default()).await?;
        Ok(id)
    })?;
    if out.is_json() {
        out.document(&json!({
            "message_type": "initialized", "id": id.to_string(), "repository": address.to_string(),
        }))?;
        return Ok(Code::Success);
    }
    out.line(format_args!(
        "repository {} made in {address}",
        &id.to_string()[..10]
    ))?;
    out.line("Nobody can open it without its password: keep that in another place, too.")?;
    Ok(Code::Success)
}
