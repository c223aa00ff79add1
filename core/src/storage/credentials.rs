//! Whom a vault knows us as. Credentials may end at any time: what is refused or expired is replaced once, and then it is an error.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use crate::{
    clock::Clock,
    error::{Error, Kind, Result},
    limits,
};

/// A name and what proves it.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user; for S3 the access key's id.
    pub user: String,
    /// The password; for S3 the secret access key.
    pub secret: Zeroizing<String>,
    /// For S3: what comes with keys that are good for a while only.
    pub session_token: Option<Zeroizing<String>>,
    /// They are replaced a minute before.
    pub expires_at: Option<SystemTime>,
}

impl Credentials {
    /// Those that are good until they are refused.
    pub fn new(user: impl Into<String>, secret: impl Into<String>) -> Self {
        Self {
            user: user.into(),
            secret: Zeroizing::new(secret.into()),
            session_token: None,
            expires_at: None,
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// Why credentials are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CredentialsWanted {
    /// None are known yet.
    First,
    /// Those that were given end now.
    Expired,
    /// The vault refused those that were given.
    Refused,
}

/// Why there are none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CredentialsError {
    /// Nothing will change until the user does something, such as signing in again.
    #[error("{0}")]
    Denied(String),
    /// They could not be had now: no network, or a key store that is locked.
    #[error("{0}")]
    Unavailable(String),
}

/// Where credentials come from: implemented by the host. It is asked before the first request, and again when what it gave has ended or was
/// refused; never twice at a time.
#[async_trait]
pub trait CredentialSource: Send + Sync + 'static {
    async fn credentials(&self, why: CredentialsWanted) -> Result<Credentials, CredentialsError>;

    /// A number that changes when the credentials do, so that a backup which waits for others goes on at once. Zero where nobody can tell: then
    /// it tries again every hour.
    fn version(&self) -> u64 {
        0
    }
}

/// Those that never change.
#[async_trait]
impl CredentialSource for Credentials {
    async fn credentials(&self, _: CredentialsWanted) -> Result<Credentials, CredentialsError> {
        Ok(self.clone())
    }

    fn version(&self) -> u64 {
        let mut hasher = Sha256::new();
        let token = self.session_token.as_ref().map_or("", |token| token.as_str());
        for part in [self.user.as_str(), self.secret.as_str(), token] {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        let hash: [u8; 32] = hasher.finalize().into();
        // Never the one that stands for nothing.
        hash.iter()
            .take(8)
            .fold(0, |number, &byte| number << 8 | u64::from(byte))
            | 1
    }
}

/// A source that blocks: it is asked on a thread of its own.
pub struct BlockingCredentials<F>(pub Arc<F>);

#[async_trait]
impl<F> CredentialSource for BlockingCredentials<F>
where
    F: Fn(CredentialsWanted) -> Result<Credentials, CredentialsError> + Send + Sync + 'static,
{
    async fn credentials(&self, why: CredentialsWanted) -> Result<Credentials, CredentialsError> {
        let ask = self.0.clone();
        let asked = tokio::task::spawn_blocking(move || ask(why)).await;
        asked.unwrap_or_else(|_| {
            Err(CredentialsError::Unavailable(
                "asking for credentials failed".into(),
            ))
        })
    }
}

/// The credentials in use. One request asks for new ones, the others wait for those.
pub(super) struct Keeper {
    source: Option<Arc<dyn CredentialSource>>,
    clock: Arc<dyn Clock>,
    known: Mutex<Option<Known>>,
}

/// Credentials, and how many there were before them.
#[derive(Clone)]
pub(super) struct Known {
    pub(super) credentials: Arc<Credentials>,
    generation: u64,
}

impl Keeper {
    pub(super) fn new(source: Option<Arc<dyn CredentialSource>>, clock: Arc<dyn Clock>) -> Self {
        Self {
            source,
            clock,
            known: Mutex::new(None),
        }
    }

    pub(super) fn version(&self) -> u64 {
        self.source.as_ref().map_or(0, |source| source.version())
    }

    /// What a request is to be made with. `None` where nobody gives any.
    pub(super) async fn current(&self) -> Result<Option<Known>> {
        let Some(source) = &self.source else {
            return Ok(None);
        };
        let mut known = self.known.lock().await;
        let why = match &*known {
            None => CredentialsWanted::First,
            Some(known) if self.has_ended(&known.credentials) => CredentialsWanted::Expired,
            Some(known) => return Ok(Some(known.clone())),
        };
        let credentials = ask(source, why).await?;
        let generation = known.as_ref().map_or(0, |known| known.generation + 1);
        let new = Known {
            credentials: Arc::new(credentials),
            generation,
        };
        Ok(Some(known.insert(new).clone()))
    }

    /// What to try once more with, after the vault refused `refused`. `None` where there is nothing else to try.
    pub(super) async fn replacement(&self, refused: Option<&Known>) -> Result<Option<Known>> {
        let (Some(source), Some(refused)) = (&self.source, refused) else {
            return Ok(None);
        };
        let mut known = self.known.lock().await;
        // Another request was refused with the same, and asked already.
        if let Some(known) = &*known
            && known.generation != refused.generation
        {
            return Ok(Some(known.clone()));
        }
        let credentials = ask(source, CredentialsWanted::Refused).await?;
        if credentials == *refused.credentials {
            return Ok(None);
        }
        let new = Known {
            credentials: Arc::new(credentials),
            generation: refused.generation + 1,
        };
        Ok(Some(known.insert(new).clone()))
    }

    fn has_ended(&self, credentials: &Credentials) -> bool {
        let margin = Duration::from_millis(limits::CREDENTIALS_MARGIN_MS);
        credentials
            .expires_at
            .is_some_and(|at| self.clock.wall() + margin >= at)
    }
}

async fn ask(source: &Arc<dyn CredentialSource>, why: CredentialsWanted) -> Result<Credentials> {
    source.credentials(why).await.map_err(|error| {
        let kind = match error {
            CredentialsError::Denied(_) => Kind::AccessDenied,
            CredentialsError::Unavailable(_) => Kind::Unreachable,
        };
        Error::with_source(kind, "asking the app for the vault's credentials", error)
    })
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Mutex as StdMutex,
        atomic::{AtomicU64, Ordering},
    };

    use super::*;
    use crate::clock::SystemClock;

    /// Seconds since 1970, as the test says.
    #[derive(Debug, Default)]
    struct Told(AtomicU64);

    impl Clock for Told {
        fn wall(&self) -> SystemTime {
            SystemTime::UNIX_EPOCH + Duration::from_secs(self.0.load(Ordering::Relaxed))
        }

        fn monotonic(&self) -> Duration {
            Duration::ZERO
        }
    }

    /// Gives `user-1`, `user-2`…, each good for ten minutes of the test's clock, and remembers why it was asked.
    fn counting(asked: Arc<StdMutex<Vec<CredentialsWanted>>>, clock: Arc<Told>) -> Arc<dyn CredentialSource> {
        Arc::new(BlockingCredentials(Arc::new(move |why| {
            let mut asked = asked.lock().unwrap();
            asked.push(why);
            Ok(Credentials {
                expires_at: Some(clock.wall() + Duration::from_secs(600)),
                ..Credentials::new(format!("user-{}", asked.len()), "secret")
            })
        })))
    }

    #[tokio::test]
    async fn credentials_are_replaced_when_they_end_or_are_refused_once_for_all_requests() {
        let (asked, clock) = (Arc::default(), Arc::new(Told::default()));
        let keeper = Keeper::new(Some(counting(Arc::clone(&asked), clock.clone())), clock.clone());
        let first = keeper.current().await.unwrap().unwrap();
        assert_eq!(
            keeper.current().await.unwrap().unwrap().credentials.user,
            "user-1"
        );
        // Two requests were refused with the same credentials; one question answers both.
        let second = keeper.replacement(Some(&first)).await.unwrap().unwrap();
        let again = keeper.replacement(Some(&first)).await.unwrap().unwrap();
        assert_eq!(
            (second.credentials.user.as_str(), second.generation),
            ("user-2", 1)
        );
        assert_eq!(again.generation, 1);
        clock
            .0
            .store(600 - limits::CREDENTIALS_MARGIN_MS / 1000, Ordering::Relaxed);
        assert_eq!(
            keeper.current().await.unwrap().unwrap().credentials.user,
            "user-3"
        );
        use CredentialsWanted::{Expired, First, Refused};
        assert_eq!(*asked.lock().unwrap(), [First, Refused, Expired]);
    }

    #[tokio::test]
    async fn what_does_not_change_is_not_tried_again() {
        let fixed: Arc<dyn CredentialSource> = Arc::new(Credentials::new("u", "p"));
        let keeper = Keeper::new(Some(fixed), Arc::new(SystemClock::default()));
        let known = keeper.current().await.unwrap();
        assert!(keeper.replacement(known.as_ref()).await.unwrap().is_none());
        assert_ne!(keeper.version(), 0);
        let nobody = Keeper::new(None, Arc::new(SystemClock::default()));
        assert_eq!(nobody.version(), 0);
        assert!(nobody.current().await.unwrap().is_none());
    }

    #[tokio::test]
    async fn why_there_are_none_decides_the_kind() {
        for (error, kind) in [
            (CredentialsError::Denied("sign in".into()), Kind::AccessDenied),
            (CredentialsError::Unavailable("later".into()), Kind::Unreachable),
        ] {
            let source = BlockingCredentials(Arc::new(move |_| Err(error.clone())));
            let keeper = Keeper::new(Some(Arc::new(source)), Arc::new(SystemClock::default()));
            let failed = keeper.current().await.err().unwrap();
            assert_eq!(failed.kind(), kind, "{failed}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let mut credentials = Credentials::new("u", "hush");
        credentials.session_token = Some(Zeroizing::new("hush".into()));
        assert!(!format!("{credentials:?}").contains("hush"));
    }
}
