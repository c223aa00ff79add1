//! What trees say against what the indexes say, and the queue of those to come.

use std::collections::VecDeque;

use rusqlite::{Connection, OptionalExtension, Transaction, params};
use tokio_util::sync::CancellationToken;

use super::{
    findings::Findings,
    scratch::{self, Indexed},
    tree::{FileFacts, TreeFacts},
    trees::{Outcome, Queued, Seen},
};
use crate::{
    catalog::sql_error,
    error::Result,
    format::{BlobId, BlobType, quote},
    limits,
    repository::err_if_cancelled,
};

/// Folders of a path that a finding names, from the innermost up. A hostile tree may be deeper than anyone
/// can read.
const PATH_FOLDERS_MAX: usize = 2 * limits::TREE_DEPTH_MAX;
/// Blobs of files that are looked up between two looks at whether the check was stopped.
const LOOKUPS_AT_ONCE: usize = 1024;
const REPAIR: &str = "a backup from the same source stores again what is still there, and `restic repair \
                      snapshots --forget` then takes what is lost out of old snapshots";

/// Queues a tree unless it was reached before. `name` is that of the folder, or of the snapshot where there
/// is no parent.
pub(crate) fn queue(
    tx: &Transaction<'_>,
    id: &BlobId,
    parent: Option<i64>,
    name: &[u8],
    depth: i64,
) -> Result<()> {
    tx.prepare_cached("INSERT OR IGNORE INTO trees (id, parent, name, depth) VALUES (?1, ?2, ?3, ?4)")
        .and_then(|mut statement| statement.execute(params![id.as_bytes(), parent, name, depth]))
        .map_err(sql_error)?;
    Ok(())
}

/// Holds what the trees say against the indexes, and queues the folders in them.
pub(super) fn judge(tx: &Transaction<'_>, seen: Vec<Seen>, cancel: &CancellationToken) -> Result<Findings> {
    let mut found = Findings::default();
    for Seen {
        tree,
        outcome,
        broken,
    } in seen
    {
        err_if_cancelled(cancel)?;
        let path = path(tx, tree.no)?;
        for (copy, error) in broken {
            scratch::mark_bad(tx, copy.pack_no, [&copy.entry])?;
            let text = format!(
                "the tree {} in it cannot be had: {error}; `restic repair packs {}` saves what is whole in \
                 it",
                tree.id, copy.pack
            );
            found.error(format!("data/{}", copy.pack), text);
        }
        match outcome {
            Outcome::Lost => {
                let text = format!(
                    "the folder's tree {} lies only in packs that are damaged or missing: nothing in it can \
                     be restored; {REPAIR}",
                    tree.id
                );
                found.error(path, text);
            }
            Outcome::Malformed(error) => {
                let text = format!("the folder's tree {} cannot be read: {error}; {REPAIR}", tree.id);
                found.error(path, text);
            }
            Outcome::Tree(facts) => judge_tree(tx, &tree, &path, facts, cancel, &mut found)?,
        }
    }
    Ok(found)
}

fn judge_tree(
    tx: &Transaction<'_>,
    tree: &Queued,
    path: &str,
    facts: TreeFacts,
    cancel: &CancellationToken,
    found: &mut Findings,
) -> Result<()> {
    found.merge(facts.found, |name| {
        if name.is_empty() {
            path.to_owned()
        } else {
            join(path, &name)
        }
    });
    for file in &facts.files {
        if let Some(problem) = judge_file(tx, file, cancel)? {
            found.error(join(path, &quote(&file.name)), problem);
        }
    }
    let depth = tree.depth + 1;
    for (name, subtree) in &facts.folders {
        err_if_cancelled(cancel)?;
        let problem = match scratch::copies(tx, BlobType::Tree, subtree)?.first() {
            Some(copy) if !copy.bad => {
                queue(tx, subtree, Some(tree.no), name, depth)?;
                // Told once, and not for every folder below.
                if depth == i64::try_from(limits::TREE_DEPTH_MAX).unwrap_or(200) + 1 {
                    let text = format!(
                        "the folder lies {depth} folders deep, more than this engine follows; restic \
                         restores it"
                    );
                    found.hint(join(path, &quote(name)), text);
                }
                continue;
            }
            Some(_) => format!(
                "the folder's tree {subtree} lies only in packs that are damaged or missing: nothing in it \
                 can be restored; {REPAIR}"
            ),
            None => format!(
                "the folder's tree {subtree} is in no index: nothing in it can be restored; `restic repair \
                 index` finds it if it is still there; else {REPAIR}"
            ),
        };
        found.error(join(path, &quote(name)), problem);
    }
    Ok(())
}

/// What is wrong with the content of a file, going by the indexes.
fn judge_file(tx: &Transaction<'_>, file: &FileFacts, cancel: &CancellationToken) -> Result<Option<String>> {
    let (mut nowhere, mut bad, mut length) = (0_u64, 0_u64, 0_u64);
    let mut first = None;
    for ids in file.content.chunks(LOOKUPS_AT_ONCE) {
        err_if_cancelled(cancel)?;
        for id in ids {
            match scratch::indexed(tx, id)? {
                Indexed::Good(bytes) => length = length.saturating_add(bytes),
                Indexed::Bad(bytes) => {
                    length = length.saturating_add(bytes);
                    bad += 1;
                    first.get_or_insert(id);
                }
                Indexed::Nowhere => {
                    nowhere += 1;
                    first.get_or_insert(id);
                }
            }
        }
    }
    let of = file.content.len();
    Ok(match first {
        Some(first) if nowhere > 0 => Some(format!(
            "{nowhere} of the file's {of} blobs are in no index, {first} among those that cannot be had; \
             `restic repair index` finds them if they are still there; else {REPAIR}"
        )),
        Some(first) => Some(format!(
            "{bad} of the file's {of} blobs lie only in packs that are damaged or missing, the first is \
             {first}; {REPAIR}"
        )),
        None if length != file.size => Some(format!(
            "the file is said to have {} bytes, and its blobs have {length}: it is restored with a wrong \
             length; back up again from the same source",
            file.size
        )),
        None => None,
    })
}

/// Where a tree was first reached: the snapshot, and the folders down to it.
fn path(connection: &Connection, no: i64) -> Result<String> {
    let mut statement = connection
        .prepare_cached("SELECT parent, name FROM trees WHERE no = ?1")
        .map_err(sql_error)?;
    let mut folders = VecDeque::new();
    let mut next = Some(no);
    let mut snapshot = "…".to_owned();
    while let Some(no) = next
        && folders.len() < PATH_FOLDERS_MAX
    {
        let row = statement
            .query_row([no], |row| {
                Ok((row.get::<_, Option<i64>>(0)?, row.get::<_, Vec<u8>>(1)?))
            })
            .optional()
            .map_err(sql_error)?;
        let (parent, name) = row.ok_or_else(scratch::broken)?;
        match parent {
            Some(_) => folders.push_front(quote(&name)),
            None => snapshot = String::from_utf8_lossy(&name).into_owned(),
        }
        next = parent;
    }
    let folders: Vec<String> = folders.into();
    Ok(format!("snapshot {snapshot}, /{}", folders.join("/")))
}

/// `name` is quoted already.
fn join(path: &str, name: &str) -> String {
    let slash = if path.ends_with('/') { "" } else { "/" };
    format!("{path}{slash}{name}")
}
