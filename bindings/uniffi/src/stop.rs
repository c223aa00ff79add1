//! What a host stops a job with.

use std::sync::{Arc, OnceLock};

use tokio_util::sync::CancellationToken;

/// Ends the jobs that it was given to. It may be used for several, and before they begin; once stopped it stays so.
#[derive(uniffi::Object, Default)]
pub struct StopToken {
    token: CancellationToken,
    why: OnceLock<String>,
}

#[uniffi::export]
impl StopToken {
    #[uniffi::constructor]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Asks the jobs to end, which they do within 250 ms with `Cancelled`. Does not block, and may be called from anywhere.
    pub fn stop(&self) {
        self.token.cancel();
    }

    /// The same, and the journal says why: a code of `docs/reasons.md` that begins with `stop-`, such as `stop-expired`. The first one stands.
    pub fn stop_because(&self, code: String) {
        let _ = self.why.set(code);
        self.token.cancel();
    }

    pub fn is_stopped(&self) -> bool {
        self.token.is_cancelled()
    }
}

impl StopToken {
    pub(crate) fn token(&self) -> CancellationToken {
        self.token.clone()
    }

    pub(crate) fn why(&self) -> Option<&str> {
        self.why.get().map(String::as_str)
    }
}
