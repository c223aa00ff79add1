//! Stands between the engine and the vault: counts, measures, and lets nothing past a window's allowance.

use std::{
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;

use super::link::{Estimate, LinkMeter};
use crate::{
    clock::Clock,
    error::{Error, Kind, Result},
    format::{FileId, FileType},
    storage::{Body, HandOffDirection, SignedRequest, Storage},
};

/// A vault that is counted.
pub(crate) struct Gate {
    inner: Arc<dyn Storage>,
    clock: Arc<dyn Clock>,
    counts: Mutex<Counts>,
}

/// What went to the vault and came from it since somebody last asked. Bytes are counted as allowances count them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// In both directions.
    pub bytes: u64,
    pub requests: u64,
    /// Bytes of packs that the vault confirmed.
    pub confirmed: u64,
}

#[derive(Default)]
struct Counts {
    /// `None` outside windows, and where a window has no limit.
    left: Option<u64>,
    travelled: Travelled,
    meter: LinkMeter,
    /// Also outside windows, and across them.
    traffic: Traffic,
}

/// What went on between a window and the vault.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Travelled {
    /// Bytes of stored files, each try in full.
    pub(crate) sent: u64,
    /// Of these, what the vault has taken.
    pub(crate) confirmed: u64,
    is_asked: bool,
    is_answered: bool,
}

impl Travelled {
    /// Whether the vault was asked for something, and did not answer once.
    pub(crate) fn is_unanswered(&self) -> bool {
        self.is_asked && !self.is_answered
    }
}

impl Gate {
    pub(crate) fn new(inner: Arc<dyn Storage>, clock: Arc<dyn Clock>) -> Self {
        Self {
            inner,
            clock,
            counts: Mutex::default(),
        }
    }

    /// Begins a window: from now on `left` bytes may travel.
    pub(crate) fn open(&self, left: Option<u64>, remembered: Option<Estimate>) {
        let mut counts = self.counts();
        *counts = Counts {
            left,
            meter: LinkMeter::remembering(remembered),
            traffic: counts.traffic,
            ..Counts::default()
        };
    }

    /// Ends the window: returns what went on in it.
    pub(crate) fn close(&self) -> Travelled {
        let mut counts = self.counts();
        counts.left = None;
        counts.travelled
    }

    /// What travelled since the last call of this.
    pub(crate) fn take_traffic(&self) -> Traffic {
        std::mem::take(&mut self.counts().traffic)
    }

    pub(crate) fn traffic(&self) -> Traffic {
        self.counts().traffic
    }

    /// Of the allowance.
    pub(crate) fn left(&self) -> Option<u64> {
        self.counts().left
    }

    pub(crate) fn estimate(&self) -> Option<Estimate> {
        self.counts().meter.estimate()
    }

    pub(crate) fn now_ms(&self) -> u64 {
        u64::try_from(self.clock.monotonic().as_millis()).unwrap_or(u64::MAX)
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes `bytes` off the allowance, before they travel. A try that fails has been paid for: how much of it was sent, nobody knows.
    fn pay(&self, bytes: u64) -> Result<()> {
        let mut counts = self.counts();
        match counts.left {
            Some(left) if left < bytes => Err(Error::new(
                Kind::Cancelled,
                "the window's allowance of bytes is spent; the next one goes on",
            )),
            left => {
                counts.left = left.map(|left| left - bytes);
                counts.traffic.bytes = counts.traffic.bytes.saturating_add(bytes);
                Ok(())
            }
        }
    }

    /// Makes a request, and notes whether it is answered. A refusal is an answer.
    async fn asked<T>(&self, request: impl Future<Output = Result<T>>) -> Result<T> {
        {
            let mut counts = self.counts();
            counts.travelled.is_asked = true;
            counts.traffic.requests += 1;
        }
        let answer = request.await;
        let is_away = answer
            .as_ref()
            .is_err_and(|error| error.kind() == Kind::Unreachable);
        self.counts().travelled.is_answered |= !is_away;
        answer
    }

    /// Measures a request that carries nothing worth speaking of.
    async fn small<T>(&self, request: impl Future<Output = Result<T>>) -> Result<T> {
        let started_ms = self.now_ms();
        let answer = self.asked(request).await?;
        let took_ms = self.now_ms().saturating_sub(started_ms);
        self.counts().meter.answered(took_ms);
        Ok(answer)
    }
}

/// A request with a body that is on its way; also one that is dropped has ended.
struct Put<'a> {
    gate: &'a Gate,
    confirmed: u64,
}

impl Drop for Put<'_> {
    fn drop(&mut self) {
        let now_ms = self.gate.now_ms();
        self.gate.counts().meter.put_ended(self.confirmed, now_ms);
    }
}

#[async_trait]
impl Storage for Gate {
    fn name(&self) -> String {
        self.inner.name()
    }

    async fn create(&self) -> Result<()> {
        self.inner.create().await
    }

    async fn list(&self, kind: FileType) -> Result<Vec<(FileId, u64)>> {
        self.small(self.inner.list(kind)).await
    }

    async fn size(&self, kind: FileType, id: &FileId) -> Result<Option<u64>> {
        self.small(self.inner.size(kind, id)).await
    }

    async fn get(&self, kind: FileType, id: &FileId, limit: u64) -> Result<Vec<u8>> {
        // How much will come is only asked where it matters.
        if self.left().is_some_and(|left| left < limit) {
            let size = self.asked(self.inner.size(kind, id)).await?.unwrap_or(0);
            self.pay(size)?;
            return self.asked(self.inner.get(kind, id, limit.min(size))).await;
        }
        let bytes = self.asked(self.inner.get(kind, id, limit)).await?;
        // Cannot fail, but for two of these at once: then the second one is refused its result.
        self.pay(bytes.len() as u64)?;
        Ok(bytes)
    }

    async fn get_range_into(
        &self,
        kind: FileType,
        id: &FileId,
        range: Range<u64>,
        buffer: Vec<u8>,
    ) -> Result<Vec<u8>> {
        self.pay(range.end.saturating_sub(range.start))?;
        self.asked(self.inner.get_range_into(kind, id, range, buffer))
            .await
    }

    async fn put(&self, kind: FileType, id: &FileId, body: Body) -> Result<()> {
        let size = body.size();
        self.pay(size)?;
        self.counts().travelled.sent += size;
        if kind != FileType::Pack {
            // Small: says more about the latency than about the link.
            self.asked(self.inner.put(kind, id, body)).await?;
            self.counts().travelled.confirmed += size;
            return Ok(());
        }
        let now_ms = self.now_ms();
        self.counts().meter.put_started(now_ms);
        let mut put = Put {
            gate: self,
            confirmed: 0,
        };
        self.asked(self.inner.put(kind, id, body)).await?;
        put.confirmed = size;
        let mut counts = self.counts();
        counts.traffic.confirmed += size;
        counts.travelled.confirmed += size;
        Ok(())
    }

    async fn delete(&self, kind: FileType, id: &FileId) -> Result<()> {
        self.small(self.inner.delete(kind, id)).await
    }

    async fn hand_off(
        &self,
        direction: HandOffDirection,
        kind: FileType,
        id: &FileId,
        valid_for: Duration,
    ) -> Result<SignedRequest> {
        self.inner.hand_off(direction, kind, id, valid_for).await
    }

    fn credentials_version(&self) -> u64 {
        self.inner.credentials_version()
    }

    fn lists_at_once(&self) -> bool {
        self.inner.lists_at_once()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock::SystemClock, storage::LocalStorage};

    fn wait<T>(work: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(work)
    }

    #[test]
    fn not_one_byte_travels_beyond_the_allowance_in_either_direction() {
        let dir = tempfile::tempdir().unwrap();
        let inner = Arc::new(LocalStorage::new(dir.path().to_owned()));
        let gate = Gate::new(inner.clone(), Arc::new(SystemClock::default()));
        let (id, bytes) = (FileId::of(b"x"), vec![7_u8; 100]);
        let body = || Body::Bytes(Arc::from(bytes.as_slice()));
        gate.open(Some(250), None);
        wait(gate.put(FileType::Index, &id, body())).unwrap();
        assert_eq!(gate.left(), Some(150));
        assert_eq!(wait(gate.get(FileType::Index, &id, 1000)).unwrap(), bytes);
        assert_eq!(gate.left(), Some(50));
        let refused = wait(gate.get(FileType::Index, &id, 1000)).unwrap_err();
        assert_eq!(refused.kind(), Kind::Cancelled);
        let other = FileId::of(b"y");
        assert!(wait(gate.put(FileType::Index, &other, body())).is_err());
        assert_eq!(wait(inner.size(FileType::Index, &other)).unwrap(), None);
        assert!(wait(gate.get_range(FileType::Index, &id, 0..51)).is_err());
        wait(gate.get_range(FileType::Index, &id, 0..50)).unwrap();
        assert_eq!(gate.left(), Some(0));
        let traffic = gate.take_traffic();
        assert_eq!(
            traffic.bytes, 250,
            "what was spent is what the allowance lost: {traffic:?}"
        );
        assert_eq!(gate.take_traffic(), Traffic::default());
        let travelled = gate.close();
        assert_eq!((travelled.sent, travelled.confirmed), (100, 100));
        assert!(!travelled.is_unanswered());
        wait(gate.put(FileType::Index, &other, body())).unwrap();
    }
}
