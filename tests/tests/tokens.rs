//! Keys for a session, on a server that looks at their token.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use lifeboat::{
    Kind,
    clock::SystemClock,
    format::{FileId, FileType},
    storage::{Address, CredentialSource, Credentials, Storage, StorageOptions, open_with},
};
use lifeboat_tests::{
    contract::{self, Subject},
    seed,
    servers::minio::Minio,
};

fn open(address: &str, credentials: Credentials) -> Arc<dyn Storage> {
    let options = StorageOptions {
        credentials: Some(Arc::new(credentials) as Arc<dyn CredentialSource>),
        ..StorageOptions::default()
    };
    let address: Address = address.parse().unwrap();
    open_with(&address, &options, Arc::new(SystemClock::default())).unwrap()
}

#[tokio::test]
async fn a_session_has_what_its_token_allows_and_nothing_without_it() {
    let server = Minio::start();
    let session = server.session();
    let subject = Subject {
        storage: open(&server.address("p"), session.clone()),
        append_only: false,
        files: None,
    };
    contract::holds(&subject, seed(90)).await;

    let id = FileId::of(b"x");
    let refused = |credentials: Credentials| {
        let storage = open(&server.address("p"), credentials);
        async move { storage.size(FileType::Pack, &id).await.unwrap_err().kind() }
    };
    let mut without = session.clone();
    without.session_token = None;
    assert_eq!(refused(without).await, Kind::AccessDenied);
    let mut forged = session;
    let token = forged.session_token.take().unwrap();
    forged.session_token = Some(format!("{}x", token.as_str()).into());
    assert_eq!(refused(forged).await, Kind::AccessDenied);
}
