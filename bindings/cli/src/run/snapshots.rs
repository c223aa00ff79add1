//! `snapshots`.

use lifeboat::{
    format::{Snapshot, SnapshotId},
    retention::{SnapshotFacts, SnapshotFilter},
};

use crate::{
    exit::{Code, Result},
    json,
    session::Session,
    text::{Size, Table, count, local_time, visible},
};

pub(super) async fn run(session: Session<'_>, filter: &SnapshotFilter) -> Result<Code> {
    let snapshots = session.ask(session.engine.snapshots()).await?;
    let out = session.out;
    let wanted = snapshots
        .iter()
        .filter(|(id, snapshot)| filter.matches(&SnapshotFacts::of(*id, snapshot)));
    if out.is_json() {
        let documents: Vec<_> = wanted
            .map(|(id, snapshot)| json::snapshot(id, snapshot))
            .collect();
        out.document(&documents)?;
        return Ok(Code::Success);
    }
    let mut table = Table::new(&["ID", "Time", "Host", "Tags", "Files", "Size", "Paths"], &[4, 5]);
    let mut number = 0;
    for (id, snapshot) in wanted {
        number += 1;
        let [files, size] = totals(snapshot);
        let [id, time, host, tags, paths] = cells(id, snapshot);
        table.row([id, time, host, tags, files, size, paths]);
    }
    if number > 0 {
        out.line(&table)?;
    }
    out.line(count(number, "snapshot", "snapshots"))?;
    Ok(Code::Success)
}

/// Id, time, host, tags and paths, as people read them.
pub(super) fn cells(id: &SnapshotId, snapshot: &Snapshot) -> [String; 5] {
    let lines = |texts: &[String]| {
        let texts: Vec<String> = texts.iter().map(|text| visible(text.as_ref())).collect();
        texts.join("\n")
    };
    [
        id.short(),
        local_time(snapshot.time.timestamp),
        visible(snapshot.hostname.as_ref()),
        visible(snapshot.tags.join(",").as_ref()),
        lines(&snapshot.paths),
    ]
}

/// Files and bytes; snapshots of old versions of restic do not say them.
fn totals(snapshot: &Snapshot) -> [String; 2] {
    snapshot.summary.map_or_else(Default::default, |summary| {
        [
            summary.total_files_processed.to_string(),
            Size(summary.total_bytes_processed).to_string(),
        ]
    })
}
