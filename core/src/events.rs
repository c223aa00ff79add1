//! What the engine tells its host while it works: a meter that is read at leisure, and facts that are kept for whoever listens. Neither ever makes
//! an actor wait.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicU8, AtomicU64, Ordering},
};

use tokio::sync::broadcast;

use crate::{
    format::{PackId, SnapshotId},
    limits,
    scheduler::Reason,
};

/// What a job is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    Idle,
    /// Learning what the vault holds.
    Looking,
    /// Reading sources and sealing what is new.
    Sealing,
    /// Waiting for the vault to confirm, then publishing.
    Publishing,
    /// Fetching and verifying into the staging folder.
    Staging,
    /// Putting what is staged in place.
    Applying,
    Checking,
    /// Finding out what is needed, and giving back the room of what is not.
    Pruning,
}

impl Phase {
    const ALL: [Self; 8] = [
        Self::Idle,
        Self::Looking,
        Self::Sealing,
        Self::Publishing,
        Self::Staging,
        Self::Applying,
        Self::Checking,
        Self::Pruning,
    ];
}

/// How far the current job is. Counts only grow while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    pub phase: Phase,
    /// Files that are dealt with.
    pub files: u64,
    /// Their bytes, in plain.
    pub bytes: u64,
    /// Files and bytes in all, as far as it is known: zero while it is not.
    pub files_total: u64,
    pub bytes_total: u64,
    /// Bytes of new content, in plain.
    pub new_bytes: u64,
    /// Bytes that the vault has confirmed, as stored.
    pub stored_bytes: u64,
    pub unreadable: u64,
}

/// The current job's counters.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    phase: AtomicU8,
    files: AtomicU64,
    bytes: AtomicU64,
    files_total: AtomicU64,
    bytes_total: AtomicU64,
    new_bytes: AtomicU64,
    stored_bytes: AtomicU64,
    unreadable: AtomicU64,
}

macro_rules! add {
    ($($name:ident => $field:ident),+ $(,)?) => {$(
        pub(crate) fn $name(&self, count: u64) {
            self.$field.fetch_add(count, Ordering::Relaxed);
        }
    )+};
}

impl Meter {
    add! {
        files_done => files,
        bytes_read => bytes,
        new_bytes => new_bytes,
        stored_bytes => stored_bytes,
        unreadable => unreadable,
    }

    pub(crate) fn phase(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    pub(crate) fn totals(&self, files: u64, bytes: u64) {
        self.files_total.store(files, Ordering::Relaxed);
        self.bytes_total.store(bytes, Ordering::Relaxed);
    }

    /// Begins a new job.
    pub(crate) fn reset(&self) {
        for counter in [
            &self.files,
            &self.bytes,
            &self.files_total,
            &self.bytes_total,
            &self.new_bytes,
            &self.stored_bytes,
            &self.unreadable,
        ] {
            counter.store(0, Ordering::Relaxed);
        }
        self.phase(Phase::Idle);
    }

    pub(crate) fn progress(&self) -> Progress {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let phase = usize::from(self.phase.load(Ordering::Relaxed));
        Progress {
            phase: Phase::ALL.get(phase).copied().unwrap_or(Phase::Idle),
            files: read(&self.files),
            bytes: read(&self.bytes),
            files_total: read(&self.files_total),
            bytes_total: read(&self.bytes_total),
            new_bytes: read(&self.new_bytes),
            stored_bytes: read(&self.stored_bytes),
            unreadable: read(&self.unreadable),
        }
    }
}

/// Something that happened.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// A file or folder could not be read. `kept`: the new snapshot has the version of the last one.
    Unreadable {
        path: PathBuf,
        reason: String,
        kept: bool,
    },
    /// A file changed each time it was read: the snapshot has a reading that may mix old and new.
    ChangedWhileRead {
        path: PathBuf,
    },
    /// Something about a database's files is not as SQLite leaves them. It is backed up as it is, and never mended.
    OddDatabase {
        path: PathBuf,
        reason: String,
    },
    /// The vault holds a pack of so many bytes more.
    PackConfirmed {
        id: PackId,
        bytes: u64,
    },
    /// The vault lost blobs while the run was going on: they are sealed again.
    SealingAgain,
    SnapshotPublished {
        id: SnapshotId,
    },
    /// Something that the host should know, or ask its user about: the newest snapshot is too old or no longer so, the app has suddenly lost its data, another phone
    /// goes on under this one's name. The reason's sort is a notice.
    Noticed {
        reason: Reason,
    },
}

/// Facts for those who listen. A listener that is slow misses the oldest, and learns that it did.
#[derive(Debug, Clone)]
pub(crate) struct Events(broadcast::Sender<Event>);

impl Events {
    pub(crate) fn new() -> Self {
        Self(broadcast::Sender::new(limits::EVENT_BACKLOG))
    }

    pub(crate) fn tell(&self, event: Event) {
        // Nobody listening is fine.
        let _ = self.0.send(event);
    }

    pub(crate) fn listen(&self) -> broadcast::Receiver<Event> {
        self.0.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_phase_is_read_back_as_it_was_set() {
        let meter = Meter::default();
        for phase in Phase::ALL {
            meter.phase(phase);
            assert_eq!(meter.progress().phase, phase);
        }
    }

    #[test]
    fn nobody_listening_or_a_slow_listener_never_blocks() {
        let events = Events::new();
        events.tell(Event::SealingAgain);
        let mut slow = events.listen();
        for _ in 0..limits::EVENT_BACKLOG * 3 {
            events.tell(Event::SealingAgain);
        }
        assert!(matches!(
            slow.try_recv(),
            Err(broadcast::error::TryRecvError::Lagged(_))
        ));
        assert!(slow.try_recv().is_ok());
    }
}
