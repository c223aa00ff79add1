//! The app's part in reading a database that only it can read: it holds the database still, and the engine reads the bytes.
//!
//! Each time has a thread of its own, on which the app is asked to hold and to release: connections and transactions often belong to a thread. An
//! app that does not answer is waited for so long, and not longer.

use std::{
    collections::HashMap,
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

use lifeboat::{HostError as Refusal, Quiesce, Quiesced};

use crate::{
    calls::lock,
    host::{DatabaseHolder, HostError},
    limits, reports, threads,
};

/// The engine's view of a host that holds databases still.
pub(crate) struct Holder {
    host: Arc<dyn DatabaseHolder>,
    held: Mutex<HashMap<PathBuf, Held>>,
}

/// One database that is held. Dropping `release` has it released, and `released` is disconnected when that is done.
struct Held {
    release: mpsc::Sender<()>,
    released: mpsc::Receiver<()>,
}

impl Holder {
    pub(crate) fn new(host: Arc<dyn DatabaseHolder>) -> Arc<Self> {
        Arc::new(Self {
            host,
            held: Mutex::default(),
        })
    }
}

impl fmt::Debug for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Holder(..)")
    }
}

impl Quiesce for Holder {
    fn begin(&self, path: &Path) -> Result<Quiesced, Refusal> {
        // Without room for an answer that nobody waits for: the app's thread learns whether it was taken.
        let (answer, answered) = mpsc::sync_channel::<Result<Option<u32>, HostError>>(0);
        let (release, asked_to_release) = mpsc::channel::<()>();
        let (releasing, released) = mpsc::channel::<()>();
        let (host, name) = (self.host.clone(), reports::text(path));
        threads::start("holding", move || {
            let _releasing: mpsc::Sender<()> = releasing;
            let held = host.hold(name.clone());
            let is_held = held.is_ok();
            let taken = answer.send(held).is_ok();
            if is_held {
                if taken {
                    // Nothing is ever sent: it ends when the read has, however.
                    let _ = asked_to_release.recv();
                }
                if let Err(error) = host.release(name) {
                    tracing::warn!(%error, "a database was not released");
                }
            }
        })?;
        let page_bytes = answered.recv_timeout(Duration::from_millis(limits::HOLD_WAIT_MS))??;
        lock(&self.held).insert(path.to_owned(), Held { release, released });
        Ok(Quiesced { page_bytes })
    }

    fn end(&self, path: &Path) {
        let Some(held) = lock(&self.held).remove(path) else {
            return;
        };
        drop(held.release);
        // For the app's own writers, who wait no longer than the app takes.
        let _ = held
            .released
            .recv_timeout(Duration::from_millis(limits::HOLD_WAIT_MS));
    }
}

#[cfg(test)]
mod tests {
    use std::thread::{self, ThreadId};

    use super::*;

    struct Host {
        said: mpsc::Sender<(&'static str, ThreadId)>,
        gate: Mutex<mpsc::Receiver<Result<Option<u32>, HostError>>>,
    }

    impl DatabaseHolder for Host {
        fn hold(&self, _: String) -> Result<Option<u32>, HostError> {
            self.said.send(("hold", thread::current().id())).unwrap();
            self.gate.lock().unwrap().recv().unwrap()
        }

        fn release(&self, _: String) -> Result<(), HostError> {
            self.said.send(("release", thread::current().id())).unwrap();
            Ok(())
        }
    }

    type Answer = Result<Option<u32>, HostError>;

    fn holder() -> (
        Arc<Holder>,
        mpsc::Receiver<(&'static str, ThreadId)>,
        mpsc::Sender<Answer>,
    ) {
        let ((said, heard), (answer, gate)) = (mpsc::channel(), mpsc::channel());
        let gate = Mutex::new(gate);
        (Holder::new(Arc::new(Host { said, gate })), heard, answer)
    }

    #[test]
    fn a_database_is_held_and_released_on_one_thread_of_its_own() {
        let (holder, heard, answer) = holder();
        answer.send(Ok(Some(1024))).unwrap();
        let quiesced = holder.begin(Path::new("/d")).unwrap();
        assert_eq!(quiesced.page_bytes, Some(1024));
        holder.end(Path::new("/d"));
        let (held, released) = (heard.recv().unwrap(), heard.recv().unwrap());
        assert_eq!((held.0, released.0), ("hold", "release"));
        assert_eq!(held.1, released.1);
        assert_ne!(held.1, thread::current().id());
    }

    #[test]
    fn one_that_answers_too_late_is_not_waited_for_and_releases_at_once() {
        let (holder, heard, answer) = holder();
        assert!(holder.begin(Path::new("/d")).is_err());
        answer.send(Ok(None)).unwrap();
        assert_eq!(heard.recv().unwrap().0, "hold");
        assert_eq!(heard.recv().unwrap().0, "release");
    }

    #[test]
    fn one_that_refuses_is_not_asked_to_release() {
        let (holder, heard, answer) = holder();
        answer
            .send(Err(HostError::NotNow {
                reason: "migrating".into(),
            }))
            .unwrap();
        let refused = holder.begin(Path::new("/d")).unwrap_err();
        assert_eq!(refused.to_string(), "not now: migrating");
        drop(holder);
        assert_eq!(heard.iter().count(), 1);
    }
}
