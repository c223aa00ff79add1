//! A vault in a folder behind a link that is as slow and as faulty as a test wants, and that counts.

#![allow(clippy::unwrap_used)]

use std::{
    ops::Range,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use lifeboat::{
    Error, Result,
    format::{FileId, FileType},
    storage::{Body, HandOffDirection, LocalStorage, SignedRequest, Storage},
};
use tokio::time::{Instant, sleep, sleep_until};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    List,
    Size,
    Get,
    Put,
    Delete,
}

/// What a test wants to happen to a request: an error instead of an answer.
pub type Fault = Box<dyn FnMut(Asked, FileType) -> Option<Error> + Send>;

pub struct Faulty {
    inner: LocalStorage,
    pub requests: Mutex<Vec<(Asked, FileType)>>,
    /// Bytes of bodies that were begun to be sent.
    pub sent: AtomicU64,
    pub credentials: AtomicU64,
    fault: Mutex<Option<Fault>>,
    latency: Mutex<Duration>,
    /// Of the link, for all requests together.
    bytes_per_s: Mutex<Option<u64>>,
    link_free_at: Mutex<Option<Instant>>,
    /// Whether requests are given out for others to send.
    pub signs: bool,
}

impl Faulty {
    pub fn new(root: PathBuf) -> Arc<Self> {
        Arc::new(Self::plain(root))
    }

    pub fn that_signs(root: PathBuf) -> Arc<Self> {
        Arc::new(Self {
            signs: true,
            ..Self::plain(root)
        })
    }

    fn plain(root: PathBuf) -> Self {
        Self {
            inner: LocalStorage::new(root),
            requests: Mutex::default(),
            sent: AtomicU64::new(0),
            credentials: AtomicU64::new(0),
            fault: Mutex::new(None),
            latency: Mutex::default(),
            bytes_per_s: Mutex::new(None),
            link_free_at: Mutex::new(None),
            signs: false,
        }
    }

    pub fn link(&self, latency: Duration, bytes_per_s: u64) {
        *self.latency.lock().unwrap() = latency;
        *self.bytes_per_s.lock().unwrap() = Some(bytes_per_s);
    }

    pub fn unlimited(&self) {
        *self.bytes_per_s.lock().unwrap() = None;
    }

    pub fn fail(&self, fault: impl FnMut(Asked, FileType) -> Option<Error> + Send + 'static) {
        *self.fault.lock().unwrap() = Some(Box::new(fault));
    }

    pub fn heal(&self) {
        *self.fault.lock().unwrap() = None;
    }

    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// The requests since this was asked last.
    pub fn take_requests(&self) -> Vec<(Asked, FileType)> {
        std::mem::take(&mut self.requests.lock().unwrap())
    }

    async fn ask(&self, asked: Asked, kind: FileType) -> Result<()> {
        self.requests.lock().unwrap().push((asked, kind));
        let latency = *self.latency.lock().unwrap();
        if !latency.is_zero() {
            sleep(latency).await;
        }
        let mut fault = self.fault.lock().unwrap();
        match fault.as_mut().and_then(|fault| fault(asked, kind)) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Takes its turn on the link.
    async fn travel(&self, bytes: u64) {
        let Some(bytes_per_s) = *self.bytes_per_s.lock().unwrap() else {
            *self.link_free_at.lock().unwrap() = None;
            return;
        };
        let arrives = {
            let mut free_at = self.link_free_at.lock().unwrap();
            let begins = free_at.map_or_else(Instant::now, |at| at.max(Instant::now()));
            let arrives = begins + Duration::from_secs_f64(bytes as f64 / bytes_per_s as f64);
            *free_at = Some(arrives);
            arrives
        };
        sleep_until(arrives).await;
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
        self.ask(Asked::List, kind).await?;
        self.inner.list(kind).await
    }

    async fn size(&self, kind: FileType, id: &FileId) -> Result<Option<u64>> {
        self.ask(Asked::Size, kind).await?;
        self.inner.size(kind, id).await
    }

    async fn get(&self, kind: FileType, id: &FileId, limit: u64) -> Result<Vec<u8>> {
        self.ask(Asked::Get, kind).await?;
        self.inner.get(kind, id, limit).await
    }

    async fn get_range_into(
        &self,
        kind: FileType,
        id: &FileId,
        range: Range<u64>,
        buffer: Vec<u8>,
    ) -> Result<Vec<u8>> {
        self.ask(Asked::Get, kind).await?;
        self.inner.get_range_into(kind, id, range, buffer).await
    }

    async fn put(&self, kind: FileType, id: &FileId, body: Body) -> Result<()> {
        self.sent.fetch_add(body.size(), Ordering::Relaxed);
        self.ask(Asked::Put, kind).await?;
        self.travel(body.size()).await;
        self.inner.put(kind, id, body).await
    }

    async fn delete(&self, kind: FileType, id: &FileId) -> Result<()> {
        self.ask(Asked::Delete, kind).await?;
        self.inner.delete(kind, id).await
    }

    async fn hand_off(
        &self,
        direction: HandOffDirection,
        kind: FileType,
        id: &FileId,
        valid_for: Duration,
    ) -> Result<SignedRequest> {
        if !self.signs {
            return self.inner.hand_off(direction, kind, id, valid_for).await;
        }
        Ok(SignedRequest {
            method: "PUT",
            url: format!("https://vault.example/{}?signature=secret", kind.path(id)),
            headers: vec![],
            expires_at: std::time::SystemTime::now() + valid_for,
        })
    }

    fn credentials_version(&self) -> u64 {
        self.credentials.load(Ordering::Relaxed)
    }
}
