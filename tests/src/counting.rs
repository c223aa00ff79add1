//! A vault that counts what it is asked, and the bytes of files that went each way.

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use lifeboat::{
    Result,
    format::{FileId, FileType},
    storage::{Body, Storage},
};
use serde_json::{Value, json};

#[derive(Debug, Default)]
pub struct Requests {
    /// By what was asked, such as `put pack`.
    pub by_kind: BTreeMap<String, u64>,
    pub sent_bytes: u64,
    pub received_bytes: u64,
}

impl Requests {
    pub fn total(&self) -> u64 {
        self.by_kind.values().sum()
    }

    pub fn to_json(&self) -> Value {
        json!({
            "total": self.total(),
            "by_kind": self.by_kind,
            "sent_bytes": self.sent_bytes,
            "received_bytes": self.received_bytes,
        })
    }
}

pub struct Counting {
    inner: Arc<dyn Storage>,
    requests: Arc<Mutex<Requests>>,
}

impl Counting {
    pub fn new(inner: Arc<dyn Storage>, requests: Arc<Mutex<Requests>>) -> Self {
        Self { inner, requests }
    }

    fn count(&self, what: &str, kind: FileType) {
        self.with(|requests| {
            *requests
                .by_kind
                .entry(format!("{what} {kind:?}").to_lowercase())
                .or_default() += 1;
        });
    }

    fn with(&self, change: impl FnOnce(&mut Requests)) {
        change(&mut self.requests.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn received(&self, got: Result<Vec<u8>>) -> Result<Vec<u8>> {
        if let Ok(bytes) = &got {
            self.with(|requests| requests.received_bytes += bytes.len() as u64);
        }
        got
    }
}

#[async_trait]
impl Storage for Counting {
    fn name(&self) -> String {
        self.inner.name()
    }

    async fn create(&self) -> Result<()> {
        self.inner.create().await
    }

    async fn list(&self, kind: FileType) -> Result<Vec<(FileId, u64)>> {
        self.count("list", kind);
        self.inner.list(kind).await
    }

    async fn size(&self, kind: FileType, id: &FileId) -> Result<Option<u64>> {
        self.count("size", kind);
        self.inner.size(kind, id).await
    }

    async fn get(&self, kind: FileType, id: &FileId, limit: u64) -> Result<Vec<u8>> {
        self.count("get", kind);
        let got = self.inner.get(kind, id, limit).await;
        self.received(got)
    }

    async fn get_range_into(
        &self,
        kind: FileType,
        id: &FileId,
        range: Range<u64>,
        buffer: Vec<u8>,
    ) -> Result<Vec<u8>> {
        self.count("get", kind);
        let got = self.inner.get_range_into(kind, id, range, buffer).await;
        self.received(got)
    }

    async fn put(&self, kind: FileType, id: &FileId, body: Body) -> Result<()> {
        self.count("put", kind);
        let bytes = body.size();
        self.inner.put(kind, id, body).await?;
        self.with(|requests| requests.sent_bytes += bytes);
        Ok(())
    }

    fn lists_at_once(&self) -> bool {
        self.inner.lists_at_once()
    }

    async fn delete(&self, kind: FileType, id: &FileId) -> Result<()> {
        self.count("delete", kind);
        self.inner.delete(kind, id).await
    }
}
