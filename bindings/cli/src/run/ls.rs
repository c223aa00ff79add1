//! `ls`.

use lifeboat::{
    Entry,
    format::{NodeType, Snapshot, SnapshotId},
};

use crate::{
    args::LsArgs,
    exit::{Code, Failure, Result},
    json,
    session::Session,
    text::{Size, local_time, visible},
};

/// A log without changes is its header.
const EMPTY_LOG_BYTES: u64 = 32;

pub(super) async fn run(session: Session<'_>, args: LsArgs) -> Result<Code> {
    let snapshots = session.ask(session.engine.snapshots()).await?;
    let listing = session.engine.entries(args.snapshot, args.path);
    let mut entries = session.ask(listing).await?;
    let Session { stop, out, .. } = session;
    if let Some((id, snapshot)) = snapshots.iter().find(|(id, _)| *id == entries.snapshot) {
        if out.is_json() {
            out.document(&json::snapshot_line(id, snapshot))?;
        } else {
            out.line(heading(id, snapshot))?;
        }
    }
    loop {
        let next = stop.run_until_cancelled(entries.next()).await;
        let Some(entry) = next.ok_or(Failure::INTERRUPTED)? else {
            return Ok(Code::Success);
        };
        let entry = entry?;
        if out.is_json() {
            out.document(&json::node_line(&entry))?;
        } else if args.long {
            out.line(long(&entry))?;
        } else {
            out.line(visible(&entry.path))?;
        }
    }
}

fn heading(id: &SnapshotId, snapshot: &Snapshot) -> String {
    format!(
        "snapshot {} of {} at {} by {}@{}:",
        id.short(),
        visible(snapshot.paths.join(", ").as_ref()),
        local_time(snapshot.time.timestamp),
        visible(snapshot.username.as_ref()),
        visible(snapshot.hostname.as_ref()),
    )
}

/// What stands behind the path of a database: the size is that of its base.
fn database(entry: &Entry) -> String {
    match &entry.log {
        None => String::new(),
        Some(log) if log.size <= EMPTY_LOG_BYTES => " (database)".into(),
        Some(log) => format!(" (database, and {} of changes)", Size(log.size)),
    }
}

fn long(entry: &Entry) -> String {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};
    let node = &entry.node;
    let mut line = format!(
        "{} {:>5} {:>5} {:>10} {} {}",
        json::permissions(node),
        node.uid,
        node.gid,
        node.size,
        local_time(node.mtime),
        visible(&entry.path),
    );
    if node.node_type == NodeType::Symlink {
        line += " -> ";
        line += &visible(OsStr::from_bytes(&node.link_target).as_ref());
    }
    line + &database(entry)
}
