//! Reads that are tried again. Writes are not: whoever sends packs decides that, with a budget in hand.

use std::{future::Future, ops::Range, time::Duration};

use async_trait::async_trait;

use super::{Body, HandOffDirection, SignedRequest, Storage};
use crate::{
    error::{Error, Kind, Result},
    format::{FileId, FileType},
    limits,
};

/// A vault whose reads, listings and deletions are repeated where that may help.
pub struct Retrying<S> {
    inner: S,
}

impl<S: Storage> Retrying<S> {
    pub fn new(inner: S) -> Self {
        Self { inner }
    }

    async fn again<T, F: Future<Output = Result<T>>>(&self, mut work: impl FnMut() -> F) -> Result<T> {
        let mut attempt = 1;
        loop {
            let error = match work().await {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            let Some(delay) = delay(attempt, &error, random()) else {
                return Err(error);
            };
            tracing::debug!(attempt, ?delay, "a read failed and is tried again");
            tokio::time::sleep(delay).await;
            attempt += 1;
        }
    }
}

/// How long to wait after the `attempt`-th failure; none where trying again does not help, or not soon.
///
/// The wait is drawn evenly from nothing to a bound that doubles: clients that failed together do not come back together. `random` is any
/// number. What the vault asked for comes first.
fn delay(attempt: u32, error: &Error, random: u64) -> Option<Duration> {
    if error.kind() != Kind::Unreachable || attempt >= limits::READ_ATTEMPTS_MAX {
        return None;
    }
    let doubled = limits::READ_RETRY_DELAY_MS << (attempt - 1).min(16);
    let bound_ms = doubled.min(limits::READ_RETRY_DELAY_MS_MAX);
    let jitter = Duration::from_millis(random % (bound_ms + 1));
    match error.retry_after() {
        Some(wait) if wait > Duration::from_millis(limits::READ_RETRY_AFTER_MS_MAX) => None,
        Some(wait) => Some(wait + jitter),
        None => Some(jitter),
    }
}

/// Where no randomness can be had, half of the bound is as good a wait as any.
fn random() -> u64 {
    getrandom::u64().unwrap_or(limits::READ_RETRY_DELAY_MS / 2)
}

#[async_trait]
impl<S: Storage> Storage for Retrying<S> {
    fn name(&self) -> String {
        self.inner.name()
    }

    async fn create(&self) -> Result<()> {
        self.again(|| self.inner.create()).await
    }

    async fn list(&self, kind: FileType) -> Result<Vec<(FileId, u64)>> {
        self.again(|| self.inner.list(kind)).await
    }

    async fn size(&self, kind: FileType, id: &FileId) -> Result<Option<u64>> {
        self.again(|| self.inner.size(kind, id)).await
    }

    async fn get(&self, kind: FileType, id: &FileId, limit: u64) -> Result<Vec<u8>> {
        self.again(|| self.inner.get(kind, id, limit)).await
    }

    async fn get_range_into(
        &self,
        kind: FileType,
        id: &FileId,
        range: Range<u64>,
        buffer: Vec<u8>,
    ) -> Result<Vec<u8>> {
        // An attempt that failed has lost the buffer, which is no more than an allocation.
        let mut buffer = Some(buffer);
        self.again(|| {
            let buffer = buffer.take().unwrap_or_default();
            self.inner.get_range_into(kind, id, range.clone(), buffer)
        })
        .await
    }

    async fn put(&self, kind: FileType, id: &FileId, body: Body) -> Result<()> {
        self.inner.put(kind, id, body).await
    }

    async fn delete(&self, kind: FileType, id: &FileId) -> Result<()> {
        self.again(|| self.inner.delete(kind, id)).await
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
    use crate::error::Place;

    fn passing() -> Error {
        Error::new(Kind::Unreachable, "x")
    }

    #[test]
    fn waits_are_drawn_from_a_bound_that_doubles_up_to_a_cap() {
        let longest = |attempt| delay(attempt, &passing(), u64::MAX / 2).unwrap();
        for attempt in 1..limits::READ_ATTEMPTS_MAX {
            let bound = (limits::READ_RETRY_DELAY_MS << (attempt - 1)).min(limits::READ_RETRY_DELAY_MS_MAX);
            assert!(longest(attempt) <= Duration::from_millis(bound), "{attempt}");
            // Every wait up to the bound can come, both ends included.
            assert_eq!(delay(attempt, &passing(), 0), Some(Duration::ZERO));
            assert_eq!(
                delay(attempt, &passing(), bound),
                Some(Duration::from_millis(bound))
            );
        }
        assert_eq!(delay(limits::READ_ATTEMPTS_MAX, &passing(), 0), None);
    }

    #[test]
    fn what_the_vault_asks_for_is_waited_for_or_left_to_the_host() {
        let asked = |seconds| passing().with_retry_after(Some(Duration::from_secs(seconds)));
        assert_eq!(delay(1, &asked(5), 0), Some(Duration::from_secs(5)));
        assert!(delay(1, &asked(5), 77).unwrap() > Duration::from_secs(5));
        assert_eq!(delay(1, &asked(3600), 0), None);
    }

    #[test]
    fn what_does_not_pass_is_not_tried_again() {
        for kind in [
            Kind::AccessDenied,
            Kind::WrongServer,
            Kind::OutOfSpace(Place::Vault),
            Kind::Damaged,
            Kind::NotFound,
        ] {
            assert_eq!(delay(1, &Error::new(kind, "x"), 0), None, "{kind:?}");
        }
    }
}
