//! What is made of answers that real servers do not give on demand: login pages, redirects, bodies that end early, requests for patience,
//! servers that are full or silent.

#![allow(clippy::unwrap_used, clippy::panic)]

mod server;

use std::{sync::Arc, time::Duration};

use lifeboat::{
    Error, Kind, Place,
    clock::SystemClock,
    format::{FileId, FileType},
    storage::{
        Address, BlockingCredentials, Body, CredentialSource, Credentials, CredentialsWanted, RestStorage,
        S3Storage, Storage, StorageOptions, open_with,
    },
};

use crate::server::{Answer, Server, head, say, say_less};

const LISTING: &str = "Content-Type: application/vnd.x.restic.rest.v2";
const PAGE: &[u8] = b"<!DOCTYPE html><html><body>Welcome to our network</body></html>";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Rest,
    S3,
}

fn options() -> StorageOptions {
    StorageOptions {
        credentials: Some(Arc::new(Credentials::new("user", "hush-hush")) as Arc<dyn CredentialSource>),
        ..StorageOptions::default()
    }
}

/// A vault on the server, without the retries that `open_with` adds.
fn vault(protocol: Protocol, server: &Server, options: &StorageOptions) -> Box<dyn Storage> {
    let text = match protocol {
        Protocol::Rest => format!("rest:http://{}/r/", server.address),
        Protocol::S3 => format!("s3:http://{}/bucket/p", server.address),
    };
    let clock = Arc::new(SystemClock::default());
    match text.parse().unwrap() {
        Address::Rest(address) => Box::new(RestStorage::new(&address, options, clock).unwrap()),
        Address::S3(address) => Box::new(S3Storage::new(&address, options, clock).unwrap()),
        Address::Local(_) => panic!("not a folder"),
    }
}

fn body() -> Body {
    Body::Bytes(b"content".as_slice().into())
}

/// The error of every kind of request to a server that gives one and the same answer.
async fn errors_of(protocol: Protocol, answer: &Answer) -> Vec<(&'static str, Error)> {
    let server = Server::start(vec![answer.clone()]);
    let storage = vault(protocol, &server, &options());
    let id = FileId::of(b"content");
    let mut errors = vec![];
    let mut add = |name, result: lifeboat::Result<()>| {
        let error = result
            .err()
            .unwrap_or_else(|| panic!("{protocol:?} {name}: taken for success: {answer:?}"));
        assert!(
            !error.to_string().contains("hush") && !error.to_string().contains("X-Amz"),
            "{error}"
        );
        errors.push((name, error));
    };
    add("create", storage.create().await);
    add("list", storage.list(FileType::Pack).await.map(drop));
    add("size", storage.size(FileType::Pack, &id).await.map(drop));
    add("get", storage.get(FileType::Key, &id, 10_000).await.map(drop));
    add(
        "range",
        storage.get_range(FileType::Pack, &id, 0..7).await.map(drop),
    );
    add("put", storage.put(FileType::Pack, &id, body()).await);
    add("delete", storage.delete(FileType::Pack, &id).await);
    errors
}

async fn all_are(answer: Answer, kind: Kind) {
    for protocol in [Protocol::Rest, Protocol::S3] {
        for (name, error) in errors_of(protocol, &answer).await {
            assert_eq!(error.kind(), kind, "{protocol:?} {name}: {error}");
        }
    }
}

#[tokio::test]
async fn a_login_page_is_never_taken_for_the_vault() {
    all_are(
        say("200 OK", &["Content-Type: text/html; charset=utf-8"], PAGE),
        Kind::WrongServer,
    )
    .await;
    all_are(
        say("404 Not Found", &["Content-Type: text/html"], PAGE),
        Kind::WrongServer,
    )
    .await;
    all_are(
        say("511 Network Authentication Required", &[], PAGE),
        Kind::WrongServer,
    )
    .await;
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_says_where_it_leads() {
    for status in ["301 Moved Permanently", "302 Found", "307 Temporary Redirect"] {
        let answer = say(
            status,
            &["Location: http://portal.example/login?from=secret"],
            b"",
        );
        for protocol in [Protocol::Rest, Protocol::S3] {
            for (name, error) in errors_of(protocol, &answer).await {
                assert_eq!(error.kind(), Kind::WrongServer, "{name}: {error}");
                let text = error.to_string();
                assert!(
                    text.contains("portal.example") && !text.contains("secret"),
                    "{name}: {text}"
                );
            }
        }
    }
}

/// A page that calls itself nothing at all, where the vault's own bytes are due.
#[tokio::test]
async fn a_page_without_a_name_is_recognised_by_its_beginning() {
    let page = say("200 OK", &["Content-Type: application/octet-stream"], PAGE);
    for protocol in [Protocol::Rest, Protocol::S3] {
        let server = Server::start(vec![page.clone()]);
        let storage = vault(protocol, &server, &options());
        let error = storage
            .get(FileType::Config, &FileId::of(b"x"), 10_000)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), Kind::WrongServer, "{error}");
        let error = storage.list(FileType::Key).await.unwrap_err();
        assert_eq!(error.kind(), Kind::WrongServer, "{error}");
    }
}

/// A put is believed when the vault's own sign is there, or when the file is.
#[tokio::test]
async fn a_put_that_is_said_to_be_done_is_looked_at() {
    for protocol in [Protocol::Rest, Protocol::S3] {
        let talk = say("200 OK", &["Content-Type: text/plain"], b"fine");
        let absent = say("404 Not Found", &[], b"");
        let server = Server::start(vec![talk.clone(), absent]);
        let storage = vault(protocol, &server, &options());
        let error = storage
            .put(FileType::Pack, &FileId::of(b"content"), body())
            .await
            .unwrap_err();
        assert_eq!(error.kind(), Kind::WrongServer, "{error}");
        let there = say("200 OK", &["ETag: \"x\""], b"content");
        let server = Server::start(vec![talk, there]);
        let storage = vault(protocol, &server, &options());
        storage
            .put(FileType::Pack, &FileId::of(b"content"), body())
            .await
            .unwrap();
        assert_eq!(server.methods()[1], "HEAD");
    }
}

#[tokio::test]
async fn a_full_vault_is_full() {
    for status in ["413 Content Too Large", "507 Insufficient Storage"] {
        all_are(say(status, &[], b"no more"), Kind::OutOfSpace(Place::Vault)).await;
    }
    let quota = b"<?xml version=\"1.0\"?><Error><Code>QuotaExceeded</Code><Message>m</Message></Error>";
    let server = Server::start(vec![say(
        "403 Forbidden",
        &["Content-Type: application/xml"],
        quota,
    )]);
    let storage = vault(Protocol::S3, &server, &options());
    let error = storage
        .put(FileType::Pack, &FileId::of(b"content"), body())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Kind::OutOfSpace(Place::Vault), "{error}");
}

#[tokio::test]
async fn what_passes_by_itself_is_unreachable_and_says_when_to_come_back() {
    // All that a server says of itself, but for "full", "sign in first", and the two that do not pass: "never heard of it".
    let of_the_server = (500..600).filter(|status| ![501, 505, 507, 511].contains(status));
    for status in of_the_server.chain([408, 429]) {
        let status = format!("{status} E");
        for protocol in [Protocol::Rest, Protocol::S3] {
            for (name, error) in errors_of(protocol, &say(&status, &["Retry-After: 77"], b"busy")).await {
                assert_eq!(error.kind(), Kind::Unreachable, "{status} {name}: {error}");
                assert_eq!(
                    error.retry_after(),
                    Some(Duration::from_secs(77)),
                    "{status} {name}"
                );
            }
        }
    }
}

/// Refused once and for all: one request, or two where there are other credentials to try.
#[tokio::test]
async fn refused_credentials_are_no_loop() {
    for protocol in [Protocol::Rest, Protocol::S3] {
        for (tries, expected) in [(1, 1), (2, 2), (9, 2)] {
            let server = Server::start(vec![say("401 Unauthorized", &[], b"")]);
            // Gives so many different ones.
            let asked = std::sync::atomic::AtomicU32::new(0);
            let source = BlockingCredentials(Arc::new(move |_: CredentialsWanted| {
                let count = asked
                    .fetch_add(1, std::sync::atomic::Ordering::Relaxed)
                    .min(tries - 1);
                Ok(Credentials::new(format!("user-{count}"), "x"))
            }));
            let options = StorageOptions {
                credentials: Some(Arc::new(source)),
                ..StorageOptions::default()
            };
            let text = match protocol {
                Protocol::Rest => format!("rest:http://{}/r/", server.address),
                Protocol::S3 => format!("s3:http://{}/bucket/p", server.address),
            };
            // With the retries that a vault has.
            let clock = Arc::new(SystemClock::default());
            let storage = open_with(&text.parse().unwrap(), &options, clock).unwrap();
            let error = storage.list(FileType::Key).await.unwrap_err();
            assert_eq!(error.kind(), Kind::AccessDenied, "{error}");
            assert_eq!(server.asked().len(), expected, "{protocol:?} with {tries}");
        }
    }
}

#[tokio::test]
async fn a_session_token_goes_along() {
    let server = Server::start(vec![say("404 Not Found", &[], b"")]);
    let mut credentials = Credentials::new("user", "x");
    credentials.session_token = Some("to+ken".to_owned().into());
    let options = StorageOptions {
        credentials: Some(Arc::new(credentials)),
        ..StorageOptions::default()
    };
    let storage = vault(Protocol::S3, &server, &options);
    assert_eq!(
        storage.size(FileType::Key, &FileId::of(b"x")).await.unwrap(),
        None
    );
    assert!(
        server.asked()[0].contains("X-Amz-Security-Token=to%2Bken&"),
        "{:?}",
        server.asked()
    );
}

/// A body that ends early is noticed, read once more, and then good, or reported.
#[tokio::test]
async fn a_body_that_ends_early_is_read_again() {
    let whole: &[u8] = b"the whole content";
    let range = "Content-Range: bytes 0-16/17";
    let short = say_less("206 Partial Content", &[range], 17, &whole[..5]);
    let complete = say("206 Partial Content", &[range], whole);
    let id = FileId::of(whole);
    for protocol in ["rest:http://HOST/r/", "s3:http://HOST/bucket/p"] {
        let server = Server::start(vec![short.clone(), complete.clone()]);
        let address: Address = protocol
            .replace("HOST", &server.address.to_string())
            .parse()
            .unwrap();
        let storage = open_with(&address, &options(), Arc::new(SystemClock::default())).unwrap();
        let read = storage.get_range(FileType::Pack, &id, 0..17).await.unwrap();
        assert_eq!(read, whole);
        assert_eq!(server.asked().len(), 2);

        let server = Server::start(vec![short.clone()]);
        let address: Address = protocol
            .replace("HOST", &server.address.to_string())
            .parse()
            .unwrap();
        let storage = open_with(&address, &options(), Arc::new(SystemClock::default())).unwrap();
        let error = storage.get_range(FileType::Pack, &id, 0..17).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Unreachable, "{error}");
        assert!(error.to_string().contains("5 of 17 bytes"), "{error}");
    }
}

/// Parts that are not those that were asked for.
#[tokio::test]
async fn parts_are_those_that_were_asked_for() {
    for (status, headers, kind) in [
        ("200 OK", vec![], Kind::WrongServer),
        ("206 Partial Content", vec![], Kind::WrongServer),
        (
            "206 Partial Content",
            vec!["Content-Range: bytes 1-7/20"],
            Kind::Unreachable,
        ),
        (
            "206 Partial Content",
            vec!["Content-Range: bytes 0-3/4"],
            Kind::Damaged,
        ),
        (
            "416 Range Not Satisfiable",
            vec!["Content-Range: bytes */4"],
            Kind::Damaged,
        ),
    ] {
        for protocol in [Protocol::Rest, Protocol::S3] {
            let server = Server::start(vec![say(status, &headers, b"content")]);
            let storage = vault(protocol, &server, &options());
            let error = storage
                .get_range(FileType::Pack, &FileId::of(b"x"), 0..7)
                .await
                .unwrap_err();
            assert_eq!(error.kind(), kind, "{status} {headers:?}: {error}");
        }
    }
}

/// Silence ends a request, at any point; the time is short here, and nothing depends on how short.
#[tokio::test]
async fn a_server_that_falls_silent_is_given_up() {
    let options = StorageOptions {
        stall_timeout: Duration::from_millis(200),
        ..options()
    };
    let begun = Answer::SayAndStall([head("200 OK", &[LISTING], 100), b"[".to_vec()].concat());
    for answer in [Answer::Stall, begun] {
        let server = Server::start(vec![answer]);
        let storage = vault(Protocol::Rest, &server, &options);
        let error = storage.list(FileType::Key).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Unreachable, "{error}");
        assert!(error.to_string().contains("no byte has moved"), "{error}");
    }
    for protocol in [Protocol::Rest, Protocol::S3] {
        let server = Server::start(vec![Answer::Stall]);
        let storage = vault(protocol, &server, &options);
        let error = storage
            .put(FileType::Pack, &FileId::of(b"content"), body())
            .await
            .unwrap_err();
        assert_eq!(error.kind(), Kind::Unreachable, "{error}");
    }
}

#[tokio::test]
async fn nobody_there_is_unreachable() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = listener.local_addr().unwrap();
    drop(listener);
    for text in [
        format!("rest:http://{nobody}/r/"),
        format!("s3:http://{nobody}/bucket"),
        "rest:http://no-such-host.invalid/".to_owned(),
    ] {
        let clock = Arc::new(SystemClock::default());
        let storage = open_with(&text.parse().unwrap(), &options(), clock).unwrap();
        let error = storage.size(FileType::Key, &FileId::of(b"x")).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Unreachable, "{error}");
    }
}

/// What is read of a body is bounded, whatever the server announces or sends.
#[tokio::test]
async fn an_endless_answer_is_cut_off() {
    for announced in [say("200 OK", &[], &[7; 5000]), {
        let unframed = [
            b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".to_vec(),
            vec![7; 5000],
        ];
        Answer::Say(unframed.concat())
    }] {
        let server = Server::start(vec![announced]);
        let storage = vault(Protocol::Rest, &server, &options());
        let error = storage
            .get(FileType::Key, &FileId::of(b"x"), 4999)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), Kind::Damaged, "{error}");
    }
}

/// The vault was reached, took the file and hung up before it said so: it is asked, and not sent again.
#[tokio::test]
async fn a_put_whose_answer_is_lost_is_looked_for() {
    let there = say("200 OK", &[], b"content");
    let server = Server::start(vec![Answer::Say(vec![]), there]);
    let storage = vault(Protocol::Rest, &server, &options());
    storage
        .put(FileType::Pack, &FileId::of(b"content"), body())
        .await
        .unwrap();
    assert_eq!(server.methods(), ["POST", "HEAD"]);
}
