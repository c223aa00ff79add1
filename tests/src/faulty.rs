//! A vault in a folder that goes away at a chosen change, or that lets nobody delete.

use std::{
    ops::Range,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use lifeboat::{
    Error, Kind, Result,
    format::{FileId, FileType},
    storage::{Body, LocalStorage, Storage},
};

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    /// This change, counted from 1, does not arrive, and neither does anything after it.
    Before(u64),
    /// This change arrives, but its answer does not, and nothing after it.
    After(u64),
    /// Only locks may be deleted.
    AppendOnly,
}

/// A vault that counts the changes that are made to it.
#[derive(Debug)]
pub struct Faulty {
    inner: LocalStorage,
    fault: Fault,
    changes: AtomicU64,
}

impl Faulty {
    pub fn new(vault: &Path, fault: Fault) -> Arc<Self> {
        Arc::new(Self {
            inner: LocalStorage::new(vault.to_owned()),
            fault,
            changes: AtomicU64::new(0),
        })
    }

    /// Files that were put or deleted, or would have been.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::SeqCst)
    }

    fn away() -> Error {
        Error::new(Kind::Unreachable, "the vault went away on purpose")
    }

    /// Whether anything still arrives.
    fn look(&self) -> Result<()> {
        match self.fault {
            Fault::Before(last) | Fault::After(last) if self.changes() >= last => Err(Self::away()),
            _ => Ok(()),
        }
    }

    async fn change(&self, change: impl Future<Output = Result<()>> + Send) -> Result<()> {
        let number = self.changes.fetch_add(1, Ordering::SeqCst) + 1;
        match self.fault {
            Fault::Before(last) if number >= last => Err(Self::away()),
            Fault::After(last) if number > last => Err(Self::away()),
            Fault::After(last) if number == last => change.await.and(Err(Self::away())),
            _ => change.await,
        }
    }
}

#[async_trait]
impl Storage for Faulty {
    fn name(&self) -> String {
        self.inner.name()
    }

    async fn create(&self) -> Result<()> {
        self.inner.create().await
    }

    async fn list(&self, kind: FileType) -> Result<Vec<(FileId, u64)>> {
        self.look()?;
        self.inner.list(kind).await
    }

    async fn size(&self, kind: FileType, id: &FileId) -> Result<Option<u64>> {
        self.look()?;
        self.inner.size(kind, id).await
    }

    async fn get(&self, kind: FileType, id: &FileId, limit: u64) -> Result<Vec<u8>> {
        self.look()?;
        self.inner.get(kind, id, limit).await
    }

    async fn get_range_into(
        &self,
        kind: FileType,
        id: &FileId,
        range: Range<u64>,
        buffer: Vec<u8>,
    ) -> Result<Vec<u8>> {
        self.look()?;
        self.inner.get_range_into(kind, id, range, buffer).await
    }

    async fn put(&self, kind: FileType, id: &FileId, body: Body) -> Result<()> {
        self.change(self.inner.put(kind, id, body)).await
    }

    async fn delete(&self, kind: FileType, id: &FileId) -> Result<()> {
        if self.fault == Fault::AppendOnly && kind != FileType::Lock {
            return Err(Error::new(Kind::AccessDenied, "403 on purpose"));
        }
        self.change(self.inner.delete(kind, id)).await
    }
}
