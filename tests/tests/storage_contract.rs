//! One contract, every kind of vault, and servers that nobody here wrote.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex},
};

use lifeboat::{
    Kind, Place,
    clock::SystemClock,
    format::{FileId, FileType},
    storage::{
        Address, Body, BucketStyle, CredentialSource, Credentials, S3Options, ServerEncryption, ServerTrust,
        Storage, StorageOptions, open_with,
    },
};
use lifeboat_tests::{
    Rng,
    contract::{self, Subject},
    seed,
    servers::{
        RestServer, S3Server,
        rest::{self, OTHER_PASSWORD, PASSWORD, USER},
        s3::Make,
    },
};

fn open(address: &str, options: &StorageOptions) -> Arc<dyn Storage> {
    let address: Address = address.parse().unwrap();
    open_with(&address, options, Arc::new(SystemClock::default())).unwrap()
}

fn with(credentials: Credentials) -> StorageOptions {
    StorageOptions {
        credentials: Some(Arc::new(credentials) as Arc<dyn CredentialSource>),
        ..StorageOptions::default()
    }
}

fn trusting(authority: Option<&Path>) -> StorageOptions {
    StorageOptions {
        ca_certificates: authority.map(|path| fs::read(path).unwrap()),
        ..StorageOptions::default()
    }
}

async fn rest_server_holds(options: rest::Options, own_seed: u64) -> RestServer {
    let server = RestServer::start(options);
    let address = if options.private {
        server.address_with(PASSWORD)
    } else {
        server.address()
    };
    let subject = Subject {
        storage: open(&address, &trusting(server.authority())),
        append_only: options.append_only,
        files: Some(server.files()),
    };
    assert!(
        !subject.storage.name().contains("password"),
        "{}",
        subject.storage.name()
    );
    contract::holds(&subject, seed(own_seed)).await;
    server
}

async fn s3_server_holds(make: Make, style: BucketStyle, prefix: &str, own_seed: u64) -> S3Server {
    let server = S3Server::start(make);
    let mut options = with(server.credentials());
    options.s3.style = style;
    let subject = Subject {
        storage: open(&server.address(style, prefix), &options),
        append_only: false,
        files: server.files().map(|files| files.join(prefix)),
    };
    contract::holds(&subject, seed(own_seed)).await;
    server
}

#[tokio::test]
async fn a_folder() {
    let dir = tempfile::tempdir().unwrap();
    let files = dir.path().join("vault");
    let subject = Subject {
        storage: open(files.to_str().unwrap(), &StorageOptions::default()),
        append_only: false,
        files: Some(files),
    };
    contract::holds(&subject, seed(51)).await;
}

#[tokio::test]
async fn rest_server() {
    rest_server_holds(rest::Options::default(), 52).await;
}

#[tokio::test]
async fn rest_server_that_only_adds() {
    let options = rest::Options {
        append_only: true,
        ..rest::Options::default()
    };
    rest_server_holds(options, 53).await;
}

#[tokio::test]
async fn rest_server_with_users_and_a_private_authority() {
    let options = rest::Options {
        private: true,
        tls: true,
        ..rest::Options::default()
    };
    let server = rest_server_holds(options, 54).await;
    // Where it is offered, requests share a connection.
    let requests = server.requests();
    assert!(
        requests.contains("HTTP/2.0") && !requests.contains("HTTP/1.1"),
        "{requests}"
    );
}

#[tokio::test]
async fn versitygw_by_path() {
    s3_server_holds(Make::Versity, BucketStyle::Path, "user-1/phone", 55).await;
}

#[tokio::test]
async fn versitygw_by_host() {
    s3_server_holds(Make::Versity, BucketStyle::VirtualHost, "user-1/phone", 56).await;
}

#[tokio::test]
async fn moto_by_path_and_the_whole_bucket() {
    s3_server_holds(Make::Moto, BucketStyle::Auto, "", 57).await;
}

/// A certificate that nobody vouches for is not a bad network: trying again is of no use.
#[tokio::test]
async fn an_unknown_authority_is_another_server() {
    let server = RestServer::start(rest::Options {
        tls: true,
        ..rest::Options::default()
    });
    let storage = open(&server.address(), &StorageOptions::default());
    let error = storage.list(FileType::Key).await.unwrap_err();
    assert_eq!(error.kind(), Kind::WrongServer, "{error}");
    assert!(error.to_string().contains("vouches"), "{error}");
    // And one that speaks no TLS where TLS is due.
    let plain = RestServer::start(rest::Options::default());
    let address = plain.address().replace("http:", "https:");
    let error = open(&address, &StorageOptions::default())
        .list(FileType::Key)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Kind::WrongServer, "{error}");
}

#[derive(Debug)]
struct Judge {
    asked: Mutex<Vec<(Vec<u8>, String)>>,
    verdict: Result<(), String>,
}

impl ServerTrust for Judge {
    fn check(&self, chain: &[&[u8]], host: &str) -> Result<(), String> {
        let asked = (chain[0].to_vec(), host.to_owned());
        self.asked.lock().unwrap().push(asked);
        self.verdict.clone()
    }
}

/// Android has it so: the app judges the certificates. That they are for the vault's name, it is not asked.
#[tokio::test]
async fn an_app_says_whom_it_trusts() {
    let server = RestServer::start(rest::Options {
        tls: true,
        ..rest::Options::default()
    });
    let list = async |address: &str, verdict| {
        let judge = Arc::new(Judge {
            asked: Mutex::default(),
            verdict,
        });
        let options = StorageOptions {
            trust: Some(judge.clone()),
            ..StorageOptions::default()
        };
        let storage = open(address, &options);
        let listed = match storage.create().await {
            Ok(()) => storage.list(FileType::Key).await,
            Err(error) => Err(error),
        };
        let asked = judge.asked.lock().unwrap().clone();
        (listed, asked)
    };
    let (listed, asked) = list(&server.address(), Ok(())).await;
    assert!(listed.unwrap().is_empty());
    let certificate = (server.certificate().unwrap().to_vec(), "127.0.0.1".to_owned());
    assert_eq!(asked, [certificate], "once, for one connection");

    let (listed, asked) = list(&server.address(), Err("it is pinned to another".into())).await;
    let error = listed.unwrap_err();
    assert_eq!((error.kind(), asked.len()), (Kind::WrongServer, 1), "{error}");
    assert!(error.to_string().contains("pinned to another"), "{error}");

    let address = server.address().replace("127.0.0.1", "other.localhost");
    let (listed, asked) = list(&address, Ok(())).await;
    let error = listed.unwrap_err();
    assert_eq!((error.kind(), asked.len()), (Kind::WrongServer, 0), "{error}");
    assert!(error.to_string().contains("for another name"), "{error}");
}

#[tokio::test]
async fn refused_credentials_end_it() {
    let server = RestServer::start(rest::Options {
        private: true,
        ..rest::Options::default()
    });
    let wrong = open(&server.address_with("wrong"), &StorageOptions::default());
    let nobody = open(&server.address(), &StorageOptions::default());
    for storage in [wrong, nobody] {
        let (id, body) = (FileId::of(b"x"), Body::Bytes(b"x".as_slice().into()));
        let errors = [
            storage.create().await.unwrap_err(),
            storage.list(FileType::Key).await.unwrap_err(),
            storage.size(FileType::Key, &id).await.unwrap_err(),
            storage.put(FileType::Key, &id, body).await.unwrap_err(),
            storage.delete(FileType::Key, &id).await.unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.kind(), Kind::AccessDenied, "{error}");
        }
    }
    for make in [Make::Versity] {
        let server = S3Server::start(make);
        let address = server.address(BucketStyle::Path, "p");
        let wrong = Credentials::new(server.credentials().user, "wrong");
        for options in [
            with(wrong),
            with(Credentials::new("nobody", "x")),
            StorageOptions::default(),
        ] {
            let storage = open(&address, &options);
            let error = storage.create().await.unwrap_err();
            assert_eq!(error.kind(), Kind::AccessDenied, "{error}");
            let error = storage.size(FileType::Key, &FileId::of(b"x")).await.unwrap_err();
            assert_eq!(error.kind(), Kind::AccessDenied, "{error}");
        }
    }
}

/// The password changes while the app runs; the app learns the new one, and the engine asks for it when the old one is refused.
#[tokio::test]
async fn credentials_that_end_in_the_middle_are_replaced() {
    use lifeboat::storage::{BlockingCredentials, CredentialsWanted};

    let server = RestServer::start(rest::Options {
        private: true,
        ..rest::Options::default()
    });
    let source = BlockingCredentials(Arc::new(|why| {
        let password = match why {
            CredentialsWanted::Refused => OTHER_PASSWORD,
            _ => PASSWORD,
        };
        Ok(Credentials::new(USER, password))
    }));
    let options = StorageOptions {
        credentials: Some(Arc::new(source)),
        ..StorageOptions::default()
    };
    let storage = open(&server.address(), &options);
    let bytes = b"before".as_slice();
    storage.create().await.unwrap();
    storage
        .put(FileType::Key, &FileId::of(bytes), Body::Bytes(bytes.into()))
        .await
        .unwrap();
    server.change_password();
    // The server takes its time to look at its users again.
    let old = open(&server.address_with(PASSWORD), &StorageOptions::default());
    while old.list(FileType::Key).await.is_ok() {
        tokio::task::yield_now().await;
    }
    let bytes = b"after".as_slice();
    storage
        .put(FileType::Key, &FileId::of(bytes), Body::Bytes(bytes.into()))
        .await
        .unwrap();
    assert_eq!(storage.list(FileType::Key).await.unwrap().len(), 2);
}

/// What arrives is compared with its name by the server, where it can.
#[tokio::test]
async fn other_bytes_than_the_name_says_are_not_stored() {
    let rest = RestServer::start(rest::Options::default());
    let versity = S3Server::start(Make::Versity);
    let address = versity.address(BucketStyle::Path, "p");
    for storage in [
        open(&rest.address(), &StorageOptions::default()),
        open(&address, &with(versity.credentials())),
    ] {
        storage.create().await.unwrap();
        let id = FileId::of(b"what it should be");
        let body = Body::Bytes(b"what it is".as_slice().into());
        let error = storage.put(FileType::Pack, &id, body).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Unreachable, "{error}");
        assert_eq!(storage.size(FileType::Pack, &id).await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_full_server_is_full_and_not_away() {
    let server = RestServer::start(rest::Options {
        max_size: Some(1_000_000),
        ..rest::Options::default()
    });
    let storage = open(&server.address(), &StorageOptions::default());
    storage.create().await.unwrap();
    let bytes = Rng::new(seed(58)).bytes(3_000_000);
    let (id, body) = (FileId::of(&bytes), Body::Bytes(bytes.into()));
    let error = storage.put(FileType::Pack, &id, body).await.unwrap_err();
    assert_eq!(error.kind(), Kind::OutOfSpace(Place::Vault), "{error}");
}

#[tokio::test]
async fn a_bucket_that_is_not_there_is_said_to_be_missing() {
    for make in [Make::Versity, Make::Moto] {
        let server = S3Server::start(make);
        let storage = open(
            &server.address(BucketStyle::Path, "p"),
            &with(server.credentials()),
        );
        let error = storage.list(FileType::Key).await.unwrap_err();
        assert_eq!(error.kind(), Kind::NoRepository, "{make:?}: {error}");
        let bytes = b"x".as_slice();
        let id = FileId::of(bytes);
        let put = storage.put(FileType::Key, &id, Body::Bytes(bytes.into()));
        let error = put.await.unwrap_err();
        assert_eq!(error.kind(), Kind::NoRepository, "{make:?}: {error}");
    }
}

/// The server is told how to encrypt, and says that it did. Only one of the two knows of that.
#[tokio::test]
async fn encryption_by_the_server_is_asked_for() {
    let server = S3Server::start(Make::Moto);
    let key_service = ServerEncryption::KeyService {
        key_id: Some("key-1".into()),
    };
    for (encryption, expected) in [(ServerEncryption::ServerKey, "AES256"), (key_service, "aws:kms")] {
        let options = StorageOptions {
            s3: S3Options {
                encryption: Some(encryption),
                ..S3Options::default()
            },
            ..with(server.credentials())
        };
        let storage = open(&server.address(BucketStyle::Path, expected), &options);
        storage.create().await.unwrap();
        let id = FileId::of(b"x");
        storage
            .put(FileType::Key, &id, Body::Bytes(b"x".as_slice().into()))
            .await
            .unwrap();
        assert_eq!(storage.get(FileType::Key, &id, 1).await.unwrap(), b"x");
        let answer = handed_off::get(&*storage, FileType::Key, &id).await;
        let header = format!("x-amz-server-side-encryption: {expected}");
        assert!(
            answer.to_ascii_lowercase().contains(&header.to_ascii_lowercase()),
            "{answer}"
        );
    }
}

/// A clock that is wrong by hours is corrected by the server's date.
#[tokio::test]
async fn a_wrong_clock_is_corrected() {
    use std::time::{Duration, SystemTime};

    use lifeboat::clock::Clock;

    /// Ahead of, or behind, the right time by so many seconds.
    #[derive(Debug)]
    struct Wrong(i64);

    impl Clock for Wrong {
        fn wall(&self) -> SystemTime {
            let by = Duration::from_secs(self.0.unsigned_abs());
            let now = SystemTime::now();
            if self.0 < 0 { now - by } else { now + by }
        }

        fn monotonic(&self) -> Duration {
            Duration::ZERO
        }
    }

    let server = S3Server::start(Make::Versity);
    let address: Address = server.address(BucketStyle::Path, "p").parse().unwrap();
    for wrong_by in [0, -7200, 7200, 40 * 86_400, -40 * 86_400] {
        let storage = open_with(&address, &with(server.credentials()), Arc::new(Wrong(wrong_by))).unwrap();
        storage.create().await.unwrap();
        let bytes = wrong_by.to_string().into_bytes();
        let (id, body) = (FileId::of(&bytes), Body::Bytes(bytes.clone().into()));
        storage.put(FileType::Key, &id, body).await.unwrap();
        assert_eq!(
            storage.size(FileType::Key, &id).await.unwrap(),
            Some(bytes.len() as u64)
        );
        assert_eq!(
            storage.size(FileType::Key, &FileId::of(b"-")).await.unwrap(),
            None
        );
    }
}

/// Requests that are made by somebody else, with nothing but what was handed off.
#[tokio::test]
async fn requests_can_be_handed_off() {
    let rest = RestServer::start(rest::Options {
        private: true,
        ..rest::Options::default()
    });
    let (versity, moto) = (S3Server::start(Make::Versity), S3Server::start(Make::Moto));
    let s3 = |server: &S3Server| {
        open(
            &server.address(BucketStyle::Path, "p"),
            &with(server.credentials()),
        )
    };
    let by_password = open(&rest.address_with(PASSWORD), &StorageOptions::default());
    for storage in [by_password, s3(&versity), s3(&moto)] {
        storage.create().await.unwrap();
        let bytes = Rng::new(seed(59)).bytes(100_000);
        let id = FileId::of(&bytes);
        let answer = handed_off::put(&*storage, FileType::Pack, &id, &bytes).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert_eq!(storage.get(FileType::Pack, &id, 100_000).await.unwrap(), bytes);
        let answer = handed_off::get(&*storage, FileType::Pack, &id).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    let folder = tempfile::tempdir().unwrap();
    let local = open(folder.path().to_str().unwrap(), &StorageOptions::default());
    let error = handed_off::request(
        &*local,
        lifeboat::storage::HandOffDirection::Get,
        FileType::Pack,
        &FileId::of(b"x"),
    )
    .await
    .unwrap_err();
    assert_eq!(error.kind(), Kind::Unsupported, "{error}");
}

/// The other program: it knows the request and nothing else, and writes it onto a socket.
mod handed_off {
    use std::{
        io::{Read, Write},
        net::TcpStream,
        time::Duration,
    };

    use lifeboat::{
        format::{FileId, FileType},
        storage::{HandOffDirection, SignedRequest, Storage},
    };

    pub async fn request(
        storage: &dyn Storage,
        direction: HandOffDirection,
        kind: FileType,
        id: &FileId,
    ) -> lifeboat::Result<SignedRequest> {
        storage
            .hand_off(direction, kind, id, Duration::from_secs(600))
            .await
    }

    pub async fn put(storage: &dyn Storage, kind: FileType, id: &FileId, bytes: &[u8]) -> String {
        send(
            &request(storage, HandOffDirection::Put, kind, id).await.unwrap(),
            bytes,
        )
    }

    pub async fn get(storage: &dyn Storage, kind: FileType, id: &FileId) -> String {
        send(
            &request(storage, HandOffDirection::Get, kind, id).await.unwrap(),
            b"",
        )
    }

    /// The answer as it came.
    fn send(request: &SignedRequest, body: &[u8]) -> String {
        let rest = request.url.strip_prefix("http://").unwrap();
        let (host, path) = rest.split_once('/').unwrap();
        let mut text = format!("{} /{path} HTTP/1.1\r\nHost: {host}\r\n", request.method);
        for (name, value) in &request.headers {
            text += &format!("{name}: {value}\r\n");
        }
        text += &format!("Content-Length: {}\r\nConnection: close\r\n\r\n", body.len());
        let mut stream = TcpStream::connect(host).unwrap();
        stream.write_all(text.as_bytes()).unwrap();
        stream.write_all(body).unwrap();
        let mut answer = vec![];
        stream.read_to_end(&mut answer).unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }
}
