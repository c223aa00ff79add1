//! Admission control. Mailboxes of actix do not push back, so whatever carries data also carries a permit, and dropping it frees the room.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{Error, Result};

/// Bytes that may be queued or worked on at a time, counted in KiB.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    kib: Arc<Semaphore>,
    kib_max: u32,
}

/// Room for some bytes; freed when dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    _kib: OwnedSemaphorePermit,
}

impl Budget {
    pub(crate) fn new(bytes_max: u64) -> Self {
        let kib_max = u32::try_from(bytes_max / 1024).unwrap_or(u32::MAX >> 4).max(1);
        Self {
            kib: Arc::new(Semaphore::new(kib_max as usize)),
            kib_max,
        }
    }

    /// What is larger than the whole budget is admitted alone rather than never.
    fn kib(&self, bytes: u64) -> u32 {
        u32::try_from(bytes.div_ceil(1024))
            .unwrap_or(u32::MAX)
            .clamp(1, self.kib_max)
    }

    /// What is taken, or about to be.
    pub(crate) fn taken_bytes(&self) -> u64 {
        let free = u32::try_from(self.kib.available_permits()).unwrap_or(u32::MAX);
        u64::from(self.kib_max.saturating_sub(free)) * 1024
    }

    /// Takes room that is free now.
    pub(crate) fn try_admit(&self, bytes: u64) -> Option<Permit> {
        let permit = self.kib.clone().try_acquire_many_owned(self.kib(bytes));
        permit.ok().map(|kib| Permit { _kib: kib })
    }

    /// Waits for room. Never to be called by the one who frees the same budget: that would wait for itself.
    pub(crate) async fn admit(&self, bytes: u64) -> Result<Permit> {
        let permit = self.kib.clone().acquire_many_owned(self.kib(bytes)).await;
        permit
            .map(|kib| Permit { _kib: kib })
            .map_err(|_| Error::stopped())
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        task::{Context, Poll, Waker},
    };

    use super::*;

    /// What a waiting future says when it is asked once.
    fn try_admit(budget: &Budget, bytes: u64) -> Option<Permit> {
        match pin!(budget.admit(bytes)).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(permit) => Some(permit.unwrap()),
            Poll::Pending => None,
        }
    }

    #[test]
    fn room_is_bounded_and_freed_on_drop() {
        let budget = Budget::new(8 * 1024);
        let first = try_admit(&budget, 5 * 1024).unwrap();
        assert!(try_admit(&budget, 4 * 1024).is_none());
        assert_eq!(budget.taken_bytes(), 5 * 1024);
        drop(first);
        let all = try_admit(&budget, 1 << 40).expect("more than everything is admitted alone");
        assert!(try_admit(&budget, 1).is_none());
        drop(all);
        assert!(try_admit(&budget, 1).is_some());
    }
}
