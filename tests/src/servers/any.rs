//! A server of either protocol, for tests that do not care which.

use std::{path::PathBuf, sync::Arc};

use lifeboat::storage::{BucketStyle, CredentialSource, StorageOptions};

use super::{Access, Process, Proxy, RestServer, S3Server, rest, s3::Make};

const PREFIX: &str = "phone";

pub enum AnyServer {
    Rest(RestServer),
    S3(S3Server),
}

impl AnyServer {
    pub fn rest() -> Self {
        Self::Rest(RestServer::start(rest::Options::default()))
    }

    /// One that keeps its objects as files.
    pub fn s3() -> Self {
        Self::S3(S3Server::start(Make::Versity))
    }

    pub fn port(&self) -> u16 {
        match self {
            Self::Rest(server) => server.port(),
            Self::S3(server) => server.port(),
        }
    }

    /// To be killed and started again.
    pub fn process(&mut self) -> &mut Process {
        match self {
            Self::Rest(server) => server.process(),
            Self::S3(server) => server.process(),
        }
    }

    pub fn address(&self) -> String {
        match self {
            Self::Rest(server) => server.address(),
            Self::S3(server) => server.address(BucketStyle::Path, PREFIX),
        }
    }

    /// The same vault by the way of a proxy before this server.
    pub fn address_by(&self, proxy: &Proxy) -> String {
        let port = |port: u16| format!(":{port}/");
        self.address().replace(&port(self.port()), &port(proxy.port))
    }

    /// Where the repository's files are.
    pub fn files(&self) -> PathBuf {
        match self {
            Self::Rest(server) => server.files(),
            Self::S3(server) => server.files().expect("files").join(PREFIX),
        }
    }

    /// What programs need beside the address.
    pub fn access(&self) -> Access {
        match self {
            Self::Rest(server) => server.access(),
            Self::S3(server) => server.access(),
        }
    }

    /// The same for the engine in our own process.
    pub fn options(&self) -> StorageOptions {
        let credentials = match self {
            Self::Rest(_) => None,
            Self::S3(server) => Some(Arc::new(server.credentials()) as Arc<dyn CredentialSource>),
        };
        StorageOptions {
            credentials,
            ..StorageOptions::default()
        }
    }
}
