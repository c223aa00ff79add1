//! Requests over HTTP, for every vault that is reached so: one pool of connections, timeouts by progress, and answers that are looked at before
//! they are believed. Redirects are not followed: a vault that has moved is named by its new address, and everything else that redirects is no vault.

pub(super) mod decide;
pub(super) mod failure;
mod resolve;
mod trust;
mod upload;

use std::{future::Future, pin::pin, sync::Arc, time::Duration};

use http::{HeaderMap, Method, header};
use reqwest::{Client, Response, redirect::Policy};
use url::Url;

use self::{
    decide::{Head, Meaning},
    resolve::Resolver,
    upload::{Moved, Upload},
};
use super::{Body, StorageOptions};
use crate::{
    error::{Error, Kind, Result},
    limits,
};

/// Under which names S3 servers number their requests.
const S3_NUMBERS: [&str; 3] = ["x-amz-request-id", "x-amzn-requestid", "x-amz-id-2"];

/// What a vault's requests are made with. Cheap to clone: the connections are shared.
#[derive(Clone)]
pub(super) struct Http {
    client: Client,
    stall: Duration,
}

/// One request. What it is for is said first in whatever error comes of it.
pub(super) struct Request<'a> {
    pub(super) doing: &'a str,
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Option<&'a Body>,
}

/// The beginning of an answer. Its body is still on the way.
pub(super) struct Answer<'a> {
    pub(super) head: Head,
    pub(super) headers: HeaderMap,
    response: Response,
    doing: &'a str,
    moved: Arc<Moved>,
    stall: Duration,
}

impl Http {
    pub(super) fn new(url: &Url, options: &StorageOptions) -> Result<Self> {
        let milliseconds = Duration::from_millis;
        let tls = trust::tls(url, options)?;
        let builder = Client::builder()
            .tls_backend_preconfigured(tls)
            .user_agent(concat!("lifeboat/", env!("CARGO_PKG_VERSION")))
            .redirect(Policy::none())
            .referer(false)
            .connect_timeout(milliseconds(limits::CONNECT_TIMEOUT_MS))
            .pool_idle_timeout(milliseconds(limits::IDLE_CONNECTION_MS))
            .pool_max_idle_per_host(limits::IDLE_CONNECTIONS_MAX)
            .dns_resolver(Resolver)
            .tcp_nodelay(true)
            .tcp_keepalive(options.stall_timeout)
            .http2_adaptive_window(true)
            .http2_keep_alive_interval(options.stall_timeout / 2)
            .http2_keep_alive_timeout(options.stall_timeout);
        // A link that is gone is noticed by the operating system, where it can be asked to.
        #[cfg(any(target_os = "android", target_os = "linux"))]
        let builder = builder.tcp_user_timeout(options.stall_timeout);
        let client = builder
            .build()
            .map_err(|error| Error::with_source(Kind::Io, "preparing for HTTP", error))?;
        Ok(Self {
            client,
            stall: options.stall_timeout,
        })
    }

    /// Sends a request, and waits for the beginning of its answer, whatever that says.
    pub(super) async fn send<'a>(&self, request: Request<'a>) -> Result<Answer<'a>> {
        let Request {
            doing,
            method,
            url,
            headers,
            body,
        } = request;
        let moved = Arc::new(Moved::default());
        let mut builder = self.client.request(method, url).headers(headers);
        if let Some(body) = body {
            let upload = Upload::open(body, moved.clone()).await?;
            // Said also where it is nothing, which some servers want to hear.
            builder = builder.header(header::CONTENT_LENGTH, body.size());
            builder = builder.body(reqwest::Body::wrap(upload));
        }
        let sending = async {
            builder
                .send()
                .await
                .map_err(|error| failure::transport(doing, error))
        };
        let response = watched(doing, &moved, self.stall, sending).await?;
        Ok(Answer {
            head: head(&response),
            headers: response.headers().clone(),
            response,
            doing,
            moved,
            stall: self.stall,
        })
    }
}

impl Answer<'_> {
    pub(super) fn meaning(&self) -> Meaning {
        decide::meaning(&self.head)
    }

    pub(super) fn content_length(&self) -> Option<u64> {
        self.header(header::CONTENT_LENGTH.as_str())?.parse().ok()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The whole body, of at most `limit` bytes: else `Kind::Damaged`. A web page is not one.
    pub(super) async fn read(self, limit: u64) -> Result<Vec<u8>> {
        self.read_into(limit, Vec::new()).await
    }

    /// The same, in a buffer that served before.
    pub(super) async fn read_into(mut self, limit: u64, mut body: Vec<u8>) -> Result<Vec<u8>> {
        let (doing, announced) = (self.doing, self.content_length());
        let too_long = |size: u64| {
            let text = format!("{doing}: {size} bytes or more, and at most {limit} are allowed");
            Error::new(Kind::Damaged, text)
        };
        if let Some(size) = announced.filter(|size| *size > limit) {
            return Err(too_long(size));
        }
        let capacity = announced.map_or(0, |size| usize::try_from(size).unwrap_or(0));
        body.clear();
        body.reserve(capacity);
        while let Some(piece) = self.piece().await.map_err(|error| match announced {
            // What the connection's end is called says less than how much is missing.
            Some(size) if error.kind() == Kind::Unreachable && !body.is_empty() => {
                let missing = failure::cut_short(doing, body.len() as u64, size);
                Error::with_source(Kind::Unreachable, missing.to_string(), error)
            }
            _ => error,
        })? {
            body.extend_from_slice(&piece);
            if body.len() as u64 > limit {
                return Err(too_long(body.len() as u64));
            }
        }
        let got = body.len() as u64;
        match announced {
            Some(size) if size != got => Err(failure::cut_short(doing, got, size)),
            _ if decide::begins_as_page(&body) => Err(failure::stranger(doing, "it answers with a web page")),
            _ => Ok(body),
        }
    }

    /// What a refusal says, as far as it is short. Never fails: the refusal itself says more than why its text is missing.
    pub(super) async fn refusal_text(mut self) -> String {
        let mut text = Vec::new();
        while let Ok(Some(piece)) = self.piece().await {
            text.extend_from_slice(&piece);
            if text.len() as u64 > limits::REFUSAL_BYTES_MAX {
                break;
            }
        }
        String::from_utf8_lossy(&text).into_owned()
    }

    async fn piece(&mut self) -> Result<Option<bytes::Bytes>> {
        let doing = self.doing;
        let response = &mut self.response;
        let next = async {
            response
                .chunk()
                .await
                .map_err(|error| failure::transport(doing, error))
        };
        let piece = watched(doing, &self.moved, self.stall, next).await?;
        if let Some(piece) = &piece {
            self.moved.receive(piece.len());
        }
        Ok(piece)
    }
}

/// Awaits work for as long as it moves bytes.
async fn watched<T>(
    doing: &str,
    moved: &Moved,
    stall: Duration,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    let mut work = pin!(work);
    let mut seen = moved.total();
    loop {
        let patience = decide::patience(stall, moved.sent());
        tokio::select! {
            done = &mut work => return done,
            () = tokio::time::sleep(patience) => {}
        }
        let total = moved.total();
        if total == seen {
            return Err(failure::stalled(doing, patience));
        }
        seen = total;
    }
}

fn head(response: &Response) -> Head {
    let text = |name| {
        let value = response.headers().get(name)?;
        Some(value.to_str().ok()?.to_owned())
    };
    Head {
        status: response.status().as_u16(),
        content_type: text(header::CONTENT_TYPE),
        location: text(header::LOCATION),
        retry_after: text(header::RETRY_AFTER),
        date: text(header::DATE),
        is_s3: S3_NUMBERS
            .iter()
            .any(|name| response.headers().contains_key(*name)),
    }
}
