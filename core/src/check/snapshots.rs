//! Snapshots: each must open and name a tree that is there.

use rusqlite::Transaction;

use super::{
    Checker,
    findings::text_of,
    reached, scratch,
    vault::{InFlight, attempt},
};
use crate::{
    error::{Error, Kind, Result},
    format::{BlobId, BlobType, FileId, FileType, Snapshot, SnapshotId, decode_unpacked},
    limits,
    repository::Repository,
    storage::file_name,
};

/// How the root of a snapshot stands.
enum Root {
    Queued,
    Nowhere,
    Bad,
}

impl Checker {
    pub(super) async fn check_snapshots(&mut self, ids: Vec<FileId>) -> Result<()> {
        let mut loads = InFlight::new(limits::CHECK_FILES_IN_FLIGHT);
        let repository = self.repository.clone();
        let mut tasks = ids.into_iter().map(|id| {
            let repository = repository.clone();
            async move {
                let loaded = attempt(&*repository.storage, || load(&repository, id)).await?;
                Ok((id, loaded))
            }
        });
        loop {
            loads.fill(&mut tasks);
            let Some(loaded) = loads.next().await else {
                return Ok(());
            };
            let (id, snapshot) = loaded?;
            let subject = file_name(FileType::Snapshot, &id);
            match snapshot {
                Ok(snapshot) => self.begin_snapshot(&id.into(), &snapshot, subject).await?,
                // Forgotten by another client since it was listed.
                Err(error) if error.kind() == Kind::NotFound => {}
                Err(error) => {
                    let text = text_of(&error, &subject);
                    let advice = "it cannot be restored, and `restic prune` does nothing while it is there: \
                                  delete the file";
                    self.found.error(subject, format!("{text}; {advice}"));
                }
            }
        }
    }

    async fn begin_snapshot(&mut self, id: &SnapshotId, snapshot: &Snapshot, subject: String) -> Result<()> {
        self.report.snapshots += 1;
        if snapshot.unknown_fields {
            let text =
                "there are fields that this version does not know: they are lost when it is written anew";
            self.found.hint(subject.clone(), text);
        }
        let (root, name) = (snapshot.tree, id.short());
        let lost = match self.scratch.write(move |tx| queue_root(tx, &root, &name)).await? {
            Root::Queued => return Ok(()),
            Root::Nowhere => "is in no index",
            Root::Bad => "lies only in packs that are damaged or missing",
        };
        let text = format!(
            "its root folder, the tree {}, {lost}: nothing of it can be restored. If the indexes are \
             damaged, `restic repair index` may find it; else `restic forget` removes the snapshot",
            snapshot.tree
        );
        self.found.error(subject, text);
        Ok(())
    }
}

fn queue_root(tx: &Transaction<'_>, root: &BlobId, name: &str) -> Result<Root> {
    let copies = scratch::copies(tx, BlobType::Tree, root)?;
    match copies.first() {
        None => Ok(Root::Nowhere),
        Some(copy) if copy.bad => Ok(Root::Bad),
        Some(_) => {
            reached::queue(tx, root, None, name.as_bytes(), 0)?;
            Ok(Root::Queued)
        }
    }
}

async fn load(repository: &Repository, id: FileId) -> Result<Snapshot> {
    let framed = repository.load_unpacked(FileType::Snapshot, &id).await?;
    repository
        .cpu
        .run(move |context| {
            decode_unpacked(
                &mut context.decompressor,
                framed,
                limits::DOCUMENT_PLAIN_BYTES_MAX,
            )
            .and_then(|json| Snapshot::decode(&json))
            .map_err(|error| Error::format(file_name(FileType::Snapshot, &id), error))
        })
        .await
}
