//! Making a repository.

use std::sync::Arc;

use lifeboat::{clock::SystemClock, storage};
use zeroize::Zeroizing;

use crate::{
    error::EngineError,
    host::{self, CredentialProvider, KeyStore, ServerTrust},
    threads::on_thread,
    vault::{self, NetworkOptions},
};

/// Makes a repository in a vault that holds none, and gives its key to the key store, if there is one. Answers the repository's id.
///
/// `password` opens it on any other device, and with restic: without it, a lost phone is a lost vault. `label` says in the key file whose it is.
#[uniffi::export(default(network = None, credentials = None, trust = None))]
pub async fn create_repository(
    vault: String,
    password: String,
    label: String,
    key_store: Option<Arc<dyn KeyStore>>,
    network: Option<NetworkOptions>,
    credentials: Option<Arc<dyn CredentialProvider>>,
    trust: Option<Arc<dyn ServerTrust>>,
) -> Result<String, EngineError> {
    let password = Zeroizing::new(password);
    let (address, options) = vault::reach(&vault, network, credentials, trust)?;
    on_thread("opening", move || {
        let storage = storage::open_with(&address, &options, Arc::new(SystemClock::default()))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| EngineError::Io {
            detail: format!("starting a runtime: {error}"),
        })?;
        let clock = SystemClock::default();
        let (id, key) = runtime.block_on(lifeboat::init(&*storage, &password, &label, &clock))?;
        // The host's code must not find itself inside a runtime.
        drop(runtime);
        if let Some(store) = key_store {
            host::save_key(&*store, &key)?;
        }
        Ok(id.to_string())
    })
    .await
}
