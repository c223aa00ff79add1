//! A vault behind the REST protocol of restic, version 2, as its rest-server speaks it, also where that only ever adds.

use std::{ops::Range, sync::Arc, time::Duration};

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use http::{HeaderMap, HeaderValue, Method, header};
use serde::Deserialize;
use url::Url;

use super::{
    Body, CredentialSource, Credentials, HandOffDirection, RestAddress, SignedRequest, Storage,
    StorageOptions,
    credentials::{Keeper, Known},
    file_name,
    http::{
        Answer, Http, Request,
        decide::{Meaning, is_page},
        failure,
    },
    not_found,
    read::{empty_part, part, range_header},
};
use crate::{
    clock::Clock,
    error::{Error, Kind, Result},
    format::{FileId, FileType, listed_id},
    limits,
};

/// What asks for sizes in a listing, and says that they are there.
const LISTING_TYPE: &str = "application/vnd.x.restic.rest.v2";
const LISTING_TYPE_OLD: &str = "application/vnd.x.restic.rest.v1";

pub struct RestStorage {
    http: Http,
    /// Ends with a slash.
    base: Url,
    /// Without secrets.
    name: String,
    keeper: Keeper,
    clock: Arc<dyn Clock>,
}

/// A request that can be made again with other credentials.
struct Call<'a> {
    doing: &'a str,
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Option<&'a Body>,
    /// Whether 403 has another reason than credentials here.
    forbidden_is_answer: bool,
}

impl<'a> Call<'a> {
    fn new(doing: &'a str, method: Method, url: Url) -> Self {
        Self {
            doing,
            method,
            url,
            headers: HeaderMap::new(),
            body: None,
            forbidden_is_answer: false,
        }
    }
}

impl RestStorage {
    pub fn new(address: &RestAddress, options: &StorageOptions, clock: Arc<dyn Clock>) -> Result<Self> {
        let source: Option<Arc<dyn CredentialSource>> = match (address.user(), address.password()) {
            (Some(user), Some(password)) => Some(Arc::new(Credentials::new(user, password.as_str()))),
            _ => options.credentials.clone(),
        };
        Ok(Self {
            http: Http::new(address.url(), options)?,
            base: address.url().clone(),
            name: address.to_string(),
            keeper: Keeper::new(source, clock.clone()),
            clock,
        })
    }

    fn url(&self, path: &str) -> Result<Url> {
        let url = self.base.join(path);
        url.map_err(|error| {
            Error::with_source(Kind::InvalidInput, format!("the address {}", self.name), error)
        })
    }

    fn file_url(&self, kind: FileType, id: &FileId) -> Result<Url> {
        self.url(&kind.rest_path(id))
    }

    /// Makes a request, and once more with other credentials where those are refused and others can be had.
    async fn call<'a>(&self, call: Call<'a>) -> Result<Answer<'a>> {
        let known = self.keeper.current().await?;
        let answer = self.call_with(&call, known.as_ref()).await?;
        let refused = match answer.head.status {
            401 => true,
            403 => !call.forbidden_is_answer,
            _ => false,
        };
        if !refused {
            return Ok(answer);
        }
        match self.keeper.replacement(known.as_ref()).await? {
            Some(known) => self.call_with(&call, Some(&known)).await,
            None => Ok(answer),
        }
    }

    async fn call_with<'a>(&self, call: &Call<'a>, known: Option<&Known>) -> Result<Answer<'a>> {
        let mut headers = call.headers.clone();
        if let Some(known) = known {
            headers.insert(header::AUTHORIZATION, authorization(&known.credentials)?);
        }
        let request = Request {
            doing: call.doing,
            method: call.method.clone(),
            url: call.url.clone(),
            headers,
            body: call.body,
        };
        self.http.send(request).await
    }

    /// Whether the file is there with the size that was to be stored. A name is the hash of its content, but for the config.
    async fn is_stored(&self, kind: FileType, id: &FileId, body: &Body) -> Result<bool> {
        if kind != FileType::Config {
            return Ok(self.size(kind, id).await? == Some(body.size()));
        }
        let there = match self.get(kind, id, body.size()).await {
            Ok(there) => there,
            Err(error) if matches!(error.kind(), Kind::NotFound | Kind::Damaged) => return Ok(false),
            Err(error) => return Err(error),
        };
        Ok(matches!(body, Body::Bytes(bytes) if **bytes == *there))
    }

    async fn post(&self, doing: &str, kind: FileType, id: &FileId, body: &Body) -> Result<()> {
        let mut call = Call::new(doing, Method::POST, self.file_url(kind, id)?);
        let binary = HeaderValue::from_static("application/octet-stream");
        call.headers.insert(header::CONTENT_TYPE, binary);
        call.body = Some(body);
        call.forbidden_is_answer = true;
        let answer = match self.call(call).await {
            Ok(answer) => answer,
            // A server that has the file already may say so, and hang up, before it has read the request to its end.
            Err(error) if error.kind() == Kind::Unreachable => {
                let there = kind != FileType::Config && self.is_stored(kind, id, body).await.unwrap_or(false);
                return if there { Ok(()) } else { Err(error) };
            }
            Err(error) => return Err(error),
        };
        let (meaning, status) = (answer.meaning(), answer.head.status);
        match meaning {
            // A server of this kind says nothing more. Whoever says more may be someone else, and is not believed.
            Meaning::Success if answer.content_length() == Some(0) => Ok(()),
            Meaning::Success if self.is_stored(kind, id, body).await? => Ok(()),
            Meaning::Success => Err(failure::stranger(
                doing,
                "it says that a file is stored which is not there",
            )),
            // Nothing is ever replaced, not even by the same.
            Meaning::Denied if status == 403 && self.is_stored(kind, id, body).await? => Ok(()),
            // The hash did not fit what arrived: another try sends it again.
            Meaning::Unfit if status == 400 => {
                let text = format!("{doing}: the vault received other bytes than were sent");
                Err(Error::new(Kind::Unreachable, text))
            }
            meaning => Err(failure::refused(&meaning, status, doing, &said(answer).await)),
        }
    }
}

/// The text of a refusal, if it is one line for people.
async fn said(answer: Answer<'_>) -> String {
    if is_page(&answer.head) {
        return String::new();
    }
    let text = answer.refusal_text().await;
    let line = text.trim();
    if line.contains('\n') || line.starts_with('<') {
        String::new()
    } else {
        line.chars().take(200).collect()
    }
}

fn authorization(credentials: &Credentials) -> Result<HeaderValue> {
    let plain = zeroize::Zeroizing::new(format!("{}:{}", credentials.user, credentials.secret.as_str()));
    let encoded = zeroize::Zeroizing::new(BASE64.encode(plain.as_bytes()));
    let mut value = HeaderValue::try_from(format!("Basic {}", encoded.as_str()))
        .map_err(|error| Error::with_source(Kind::InvalidInput, "the vault's user and password", error))?;
    value.set_sensitive(true);
    Ok(value)
}

#[derive(Deserialize)]
struct Listed<'a> {
    #[serde(borrow)]
    name: std::borrow::Cow<'a, str>,
    size: u64,
}

/// The files in a listing, each once.
fn parse_listing(doing: &str, body: &[u8]) -> Result<Vec<(FileId, u64)>> {
    let listed: Vec<Listed<'_>> = serde_json::from_slice(body).map_err(|error| {
        let text = format!("{doing}: the vault's listing cannot be read");
        Error::with_source(Kind::WrongServer, text, error)
    })?;
    let files = listed
        .iter()
        .filter_map(|file| Some((listed_id(&file.name)?, file.size)));
    let mut files: Vec<_> = files.collect();
    files.sort_unstable_by_key(|(id, _)| *id);
    files.dedup_by_key(|(id, _)| *id);
    Ok(files)
}

#[async_trait]
impl Storage for RestStorage {
    fn name(&self) -> String {
        self.name.clone()
    }

    async fn create(&self) -> Result<()> {
        let doing = format!("making {}", self.name);
        let mut url = self.base.clone();
        url.set_query(Some("create=true"));
        let empty = Body::Bytes([].into());
        let mut call = Call::new(&doing, Method::POST, url);
        call.body = Some(&empty);
        let answer = self.call(call).await?;
        match answer.meaning() {
            Meaning::Success => Ok(()),
            meaning => {
                let status = answer.head.status;
                Err(failure::refused(&meaning, status, &doing, &said(answer).await))
            }
        }
    }

    async fn list(&self, kind: FileType) -> Result<Vec<(FileId, u64)>> {
        let Some(dir) = kind.dir() else { return Ok(vec![]) };
        let doing = format!("listing {dir} of {}", self.name);
        let mut call = Call::new(&doing, Method::GET, self.url(&format!("{dir}/"))?);
        call.headers
            .insert(header::ACCEPT, HeaderValue::from_static(LISTING_TYPE));
        let answer = self.call(call).await?;
        match answer.meaning() {
            Meaning::Success => {}
            Meaning::Missing => return Ok(vec![]),
            meaning => {
                let status = answer.head.status;
                return Err(failure::refused(&meaning, status, &doing, &said(answer).await));
            }
        }
        match answer.head.content_type.as_deref() {
            Some(LISTING_TYPE) => {}
            Some(LISTING_TYPE_OLD) => {
                let text = format!("{doing}: the server lists no sizes; rest-server 0.9.7 or newer does");
                return Err(Error::new(Kind::Unsupported, text));
            }
            _ => {
                return Err(failure::stranger(
                    &doing,
                    "its listing is not one of a REST server",
                ));
            }
        }
        let body = answer.read(limits::LISTING_BYTES_MAX).await?;
        parse_listing(&doing, &body)
    }

    async fn size(&self, kind: FileType, id: &FileId) -> Result<Option<u64>> {
        let doing = format!("looking for {} in {}", file_name(kind, id), self.name);
        let answer = self
            .call(Call::new(&doing, Method::HEAD, self.file_url(kind, id)?))
            .await?;
        match answer.meaning() {
            Meaning::Success => match answer.content_length() {
                Some(size) => Ok(Some(size)),
                None => Err(failure::stranger(&doing, "it does not say how long the file is")),
            },
            Meaning::Missing => Ok(None),
            meaning => Err(failure::refused(&meaning, answer.head.status, &doing, "")),
        }
    }

    async fn get(&self, kind: FileType, id: &FileId, limit: u64) -> Result<Vec<u8>> {
        let doing = format!("reading {} of {}", file_name(kind, id), self.name);
        let answer = self
            .call(Call::new(&doing, Method::GET, self.file_url(kind, id)?))
            .await?;
        match answer.meaning() {
            Meaning::Success => answer.read(limit).await,
            Meaning::Missing => Err(not_found(kind, id)),
            meaning => {
                let status = answer.head.status;
                Err(failure::refused(&meaning, status, &doing, &said(answer).await))
            }
        }
    }

    async fn get_range_into(
        &self,
        kind: FileType,
        id: &FileId,
        range: Range<u64>,
        buffer: Vec<u8>,
    ) -> Result<Vec<u8>> {
        let Some(header) = range_header(&range)? else {
            return empty_part(self, kind, id, &range).await;
        };
        let doing = format!("reading {} of {}", file_name(kind, id), self.name);
        let mut call = Call::new(&doing, Method::GET, self.file_url(kind, id)?);
        call.headers.insert(header::RANGE, header);
        let answer = self.call(call).await?;
        match answer.meaning() {
            Meaning::Success => part(answer, kind, id, &doing, (range, buffer)).await,
            Meaning::Missing => Err(not_found(kind, id)),
            meaning => {
                let status = answer.head.status;
                Err(failure::refused(&meaning, status, &doing, &said(answer).await))
            }
        }
    }

    async fn put(&self, kind: FileType, id: &FileId, body: Body) -> Result<()> {
        let doing = format!("storing {} in {}", file_name(kind, id), self.name);
        self.post(&doing, kind, id, &body).await
    }

    async fn delete(&self, kind: FileType, id: &FileId) -> Result<()> {
        let doing = format!("deleting {} of {}", file_name(kind, id), self.name);
        let answer = self
            .call(Call::new(&doing, Method::DELETE, self.file_url(kind, id)?))
            .await?;
        match answer.meaning() {
            Meaning::Success | Meaning::Missing => Ok(()),
            meaning => {
                let status = answer.head.status;
                Err(failure::refused(&meaning, status, &doing, &said(answer).await))
            }
        }
    }

    fn credentials_version(&self) -> u64 {
        self.keeper.version()
    }

    /// The credentials go along in a header, and are good for as long as they are: `valid_for` is only what the caller may count on.
    async fn hand_off(
        &self,
        direction: HandOffDirection,
        kind: FileType,
        id: &FileId,
        valid_for: Duration,
    ) -> Result<SignedRequest> {
        let mut headers = vec![];
        let mut expires_at = self.clock.wall() + valid_for;
        if let Some(known) = self.keeper.current().await? {
            let value = authorization(&known.credentials)?;
            let value = value.to_str().unwrap_or_default().to_owned();
            headers.push(("authorization".to_owned(), value));
            expires_at = known
                .credentials
                .expires_at
                .map_or(expires_at, |at| at.min(expires_at));
        }
        let method = match direction {
            HandOffDirection::Put => {
                headers.push(("content-type".into(), "application/octet-stream".into()));
                "POST"
            }
            HandOffDirection::Get => "GET",
        };
        Ok(SignedRequest {
            method,
            url: self.file_url(kind, id)?.into(),
            headers,
            expires_at,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_has_each_file_once_and_nothing_else() {
        let (a, b) = (FileId::of(b"a"), FileId::of(b"b"));
        let text = format!(
            r#"[{{"name":"{b}","size":2}},{{"name":"{a}","size":1}},{{"name":"{a}","size":1}},{{"name":"tmp","size":9,"x":0}}]"#
        );
        let mut expected = vec![(a, 1), (b, 2)];
        expected.sort_unstable();
        assert_eq!(parse_listing("x", text.as_bytes()).unwrap(), expected);
        assert_eq!(parse_listing("x", b"[]").unwrap(), []);
        for broken in ["", "{}", "[1]", r#"["name"]"#, r#"[{"name":"x","size":-1}]"#] {
            let error = parse_listing("x", broken.as_bytes()).unwrap_err();
            assert_eq!(error.kind(), Kind::WrongServer, "{broken}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_listing_of_any_bytes_does_not_panic(body in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = parse_listing("x", &body);
        }
    }

    #[test]
    fn a_password_is_no_part_of_what_is_shown() {
        let value = authorization(&Credentials::new("u", "p")).unwrap();
        assert_eq!(value.to_str().unwrap(), "Basic dTpw");
        assert!(!format!("{value:?}").contains("dTpw"));
    }
}
