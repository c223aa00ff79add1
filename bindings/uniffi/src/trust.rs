//! Servers whose certificates the app judges.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    time::Duration,
};

use lifeboat::storage;

use crate::{
    host::{HostError, ServerTrust},
    limits, threads,
};

/// The engine's view of a host that judges servers. Each question has a thread of its own: a host that never answers costs one connection the longest wait,
/// and one thread. Until it has answered after all, nobody is trusted.
pub(crate) struct Judged {
    host: Arc<dyn ServerTrust>,
    wait: Duration,
    is_late: Arc<AtomicBool>,
}

impl Judged {
    pub(crate) fn new(host: Arc<dyn ServerTrust>) -> Self {
        Self {
            host,
            wait: Duration::from_millis(limits::TRUST_WAIT_MS),
            is_late: Arc::default(),
        }
    }
}

impl storage::ServerTrust for Judged {
    fn check(&self, chain: &[&[u8]], host: &str) -> Result<(), String> {
        let late = || "it did not say in time whether it does".to_owned();
        if self.is_late.load(Ordering::Acquire) {
            return Err(late());
        }
        let chain: Vec<Vec<u8>> = chain.iter().map(|certificate| certificate.to_vec()).collect();
        let (judge, name) = (self.host.clone(), host.to_owned());
        // Of no length: an answer arrives, or finds that nobody waits for it any more.
        let (reply, answer) = mpsc::sync_channel(0);
        let answered = Answered(self.is_late.clone());
        threads::start("trusting", move || {
            let _answered = answered;
            let _ = reply.send(judge.check(chain, name));
        })
        .map_err(|error| error.to_string())?;
        match answer.recv_timeout(self.wait) {
            Ok(Ok(true)) => Ok(()),
            Ok(Ok(false)) => Err("it says so".into()),
            Ok(Err(HostError::NotNow { reason } | HostError::Failed { reason })) => Err(reason),
            Err(RecvTimeoutError::Timeout) => {
                // Before the channel ends, which is what a late answer waits for.
                self.is_late.store(true, Ordering::Release);
                Err(late())
            }
            Err(RecvTimeoutError::Disconnected) => Err("its answer was a panic".into()),
        }
    }
}

/// The question has ended, however.
struct Answered(Arc<AtomicBool>);

impl Drop for Answered {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl fmt::Debug for Judged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Judged")
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{Mutex, MutexGuard},
        thread,
    };

    use lifeboat::storage::ServerTrust as _;

    use super::*;

    type Answer = Box<dyn Fn(Vec<Vec<u8>>, String) -> Result<bool, HostError> + Send + Sync>;

    struct Says(Answer);

    impl ServerTrust for Says {
        fn check(&self, chain: Vec<Vec<u8>>, host: String) -> Result<bool, HostError> {
            (self.0)(chain, host)
        }
    }

    fn judged(
        answer: impl Fn(Vec<Vec<u8>>, String) -> Result<bool, HostError> + Send + Sync + 'static,
    ) -> Judged {
        Judged {
            wait: Duration::from_millis(200),
            ..Judged::new(Arc::new(Says(Box::new(answer))))
        }
    }

    fn ask(judged: &Judged) -> Result<(), String> {
        judged.check(&[b"its own", b"its authority's"], "vault.example")
    }

    #[test]
    fn only_a_yes_is_a_yes() {
        let yes = judged(|chain, host| {
            assert_eq!(chain, [b"its own".to_vec(), b"its authority's".to_vec()]);
            assert_eq!(host, "vault.example");
            Ok(true)
        });
        assert_eq!(ask(&yes), Ok(()));
        assert!(ask(&judged(|_, _| Ok(false))).is_err());
        let reason = || "revoked".to_owned();
        let failed = judged(move |_, _| Err(HostError::Failed { reason: reason() }));
        assert_eq!(ask(&failed), Err(reason()));
        let not_now = judged(move |_, _| Err(HostError::NotNow { reason: reason() }));
        assert_eq!(ask(&not_now), Err(reason()));
        let defect = judged(|_, _| std::panic::resume_unwind(Box::new("a defect")));
        assert!(ask(&defect).is_err());
    }

    #[test]
    fn a_host_that_hangs_is_not_asked_again_until_it_has_answered() {
        let held = Arc::new(Mutex::new(0));
        let hold = held.clone();
        let judged = judged(move |_, _| {
            *hold.lock().unwrap() += 1;
            Ok(true)
        });
        let asked: MutexGuard<'_, u32> = held.lock().unwrap();
        assert!(ask(&judged).is_err());
        assert!(ask(&judged).is_err());
        assert_eq!(*asked, 0);
        drop(asked);
        // Its late answer is nobody's; the next question has its own.
        while ask(&judged).is_err() {
            thread::yield_now();
        }
        assert!(*held.lock().unwrap() >= 2);
    }
}
