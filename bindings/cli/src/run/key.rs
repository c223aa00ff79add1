//! `key list`, `key add` and `key remove`.

use serde_json::json;

use crate::{
    args::KeyCommand,
    exit::{Code, Failure, Result},
    json, password,
    session::{Session, host},
    text::{Table, visible},
};

pub(super) async fn run(session: Session<'_>, command: KeyCommand) -> Result<Code> {
    match command {
        KeyCommand::List => list(session).await?,
        KeyCommand::Add {
            new_password_file,
            host: given,
        } => {
            let read = move || password::read(password::ADDED, new_password_file.as_deref());
            let typed = session
                .stop
                .run_until_cancelled(tokio::task::spawn_blocking(read))
                .await;
            let typed = typed.ok_or(Failure::INTERRUPTED)?;
            let password = typed.map_err(|error| Failure::here(format!("a defect: {error}")))??;
            let adding = session.engine.add_key(password.to_string(), host(given.as_ref()));
            let id = session.ask(adding).await?;
            say(session, "added", &id.to_string())?;
        }
        KeyCommand::Remove { id } => {
            let id = session.ask(session.engine.remove_key(id)).await?;
            say(session, "removed", &id.to_string())?;
        }
    }
    Ok(Code::Success)
}

fn say(session: Session<'_>, what: &str, id: &str) -> Result<()> {
    if session.out.is_json() {
        let done = json!({"message_type": format!("key_{what}"), "id": id});
        return session.out.document(&done);
    }
    session.out.line(format_args!("key {} {what}", &id[..8]))
}

async fn list(session: Session<'_>) -> Result<()> {
    let keys = session.ask(session.engine.keys()).await?;
    if session.out.is_json() {
        let documents: Vec<_> = keys.iter().map(json::key).collect();
        return session.out.document(&documents);
    }
    let mut table = Table::new(&["", "ID", "User", "Host", "Created"], &[]);
    for key in &keys {
        table.row([
            if key.current { "*" } else { "" }.into(),
            key.id.short(),
            visible(key.username.as_ref()),
            visible(key.hostname.as_ref()),
            visible(json::key_time(key).as_ref()),
        ]);
    }
    session.out.line(&table)?;
    session.out.line("* opened the repository now")
}
