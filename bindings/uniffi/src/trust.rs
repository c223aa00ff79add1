//! Servers whose certificates the app judges.

use std::{
    fmt,
    sync::{
        Arc,
        mpsc::{self, RecvTimeoutError},
    },
    time::Duration,
};

use lifeboat::storage;

use crate::{
    host::{HostError, ServerTrust},
    limits, threads,
};

/// The engine's view of a host that judges servers. Each question has a thread of its own: a host that never answers costs a connection that much time,
/// and no more.
pub(crate) struct Judged {
    host: Arc<dyn ServerTrust>,
    wait: Duration,
}

impl Judged {
    pub(crate) fn new(host: Arc<dyn ServerTrust>) -> Self {
        Self {
            host,
            wait: Duration::from_millis(limits::TRUST_WAIT_MS),
        }
    }
}

impl storage::ServerTrust for Judged {
    fn check(&self, chain: &[&[u8]], host: &str) -> Result<(), String> {
        let chain: Vec<Vec<u8>> = chain.iter().map(|certificate| certificate.to_vec()).collect();
        let (judge, name) = (self.host.clone(), host.to_owned());
        let (reply, answer) = mpsc::sync_channel(1);
        threads::start("trusting", move || {
            // Nobody may wait for it any more.
            let _ = reply.send(judge.check(chain, name));
        })
        .map_err(|error| error.to_string())?;
        match answer.recv_timeout(self.wait) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(HostError::NotNow { reason } | HostError::Failed { reason })) => Err(reason),
            Err(RecvTimeoutError::Timeout) => Err("it did not say in time whether it does".into()),
            Err(RecvTimeoutError::Disconnected) => Err("its answer was a panic".into()),
        }
    }
}

impl fmt::Debug for Judged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Judged")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use lifeboat::storage::ServerTrust as _;

    use super::*;

    type Answer = Box<dyn Fn(Vec<Vec<u8>>, String) -> Result<(), HostError> + Send + Sync>;

    struct Says(Answer);

    impl ServerTrust for Says {
        fn check(&self, chain: Vec<Vec<u8>>, host: String) -> Result<(), HostError> {
            (self.0)(chain, host)
        }
    }

    fn ask(
        answer: impl Fn(Vec<Vec<u8>>, String) -> Result<(), HostError> + Send + Sync + 'static,
    ) -> Result<(), String> {
        let judged = Judged {
            host: Arc::new(Says(Box::new(answer))),
            wait: Duration::from_millis(200),
        };
        judged.check(&[b"its own", b"its authority's"], "vault.example")
    }

    #[test]
    fn only_a_yes_in_time_is_a_yes() {
        let seen = ask(|chain, host| {
            assert_eq!(chain, [b"its own".to_vec(), b"its authority's".to_vec()]);
            assert_eq!(host, "vault.example");
            Ok(())
        });
        assert_eq!(seen, Ok(()));
        let reason = || "revoked".to_owned();
        assert_eq!(
            ask(move |_, _| Err(HostError::Failed { reason: reason() })),
            Err(reason())
        );
        assert_eq!(
            ask(move |_, _| Err(HostError::NotNow { reason: reason() })),
            Err(reason())
        );
        assert!(ask(|_, _| std::panic::resume_unwind(Box::new("a defect"))).is_err());
        // One that answers when nobody waits any more.
        let held = Arc::new(Mutex::new(()));
        let holding = held.lock().unwrap();
        let hold = held.clone();
        let late = ask(move |_, _| {
            let _held = hold.lock();
            Ok(())
        });
        assert!(late.is_err());
        drop(holding);
    }
}
