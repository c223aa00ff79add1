//! A vault in a bucket of any S3, in the layout of restic. Requests are signed in their address, so that the same code makes them and hands
//! them off.

mod list;
mod refusal;
mod sign;

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use http::{HeaderValue, header};

use self::{
    refusal::Refusal,
    sign::{Operation, Target},
};
use super::{
    Body, HandOffDirection, S3Address, SignedRequest, Storage, StorageOptions,
    credentials::{Keeper, Known},
    file_name,
    http::{
        Answer, Http, Request,
        decide::{Meaning, content_range, seconds_of},
        failure,
    },
    not_found,
    read::{empty_part, part, range_header},
};
use crate::{
    clock::Clock,
    error::{Error, Kind, Result},
    format::{FileId, FileType},
    limits,
};

pub struct S3Storage {
    http: Http,
    target: Target,
    name: String,
    keeper: Keeper,
    clock: Arc<dyn Clock>,
    /// How far the server's clock is ahead of ours, in seconds, as its last refusal for that reason told.
    ahead_s: AtomicI64,
}

/// An answer that is no success, read to its end.
struct Refused {
    meaning: Meaning,
    status: u16,
    refusal: Refusal,
}

impl Refused {
    fn error(&self, doing: &str) -> Error {
        failure::refused(&self.meaning, self.status, doing, &self.refusal.said())
    }
}

type Answered<'a> = std::result::Result<Answer<'a>, Refused>;

/// A request that can be signed again.
struct Call<'a> {
    doing: &'a str,
    operation: Operation<'a>,
    range: Option<HeaderValue>,
    body: Option<&'a Body>,
}

impl<'a> Call<'a> {
    fn new(doing: &'a str, operation: Operation<'a>) -> Self {
        Self {
            doing,
            operation,
            range: None,
            body: None,
        }
    }
}

impl S3Storage {
    pub fn new(address: &S3Address, options: &StorageOptions, clock: Arc<dyn Clock>) -> Result<Self> {
        Ok(Self {
            http: Http::new(address.endpoint(), options)?,
            target: Target::new(address, &options.s3)?,
            name: address.to_string(),
            keeper: Keeper::new(options.credentials.clone(), clock.clone()),
            clock,
            ahead_s: AtomicI64::new(0),
        })
    }

    /// What time it is for the server.
    fn server_time(&self) -> SystemTime {
        let ahead = self.ahead_s.load(Ordering::Relaxed);
        let (now, by) = (self.clock.wall(), Duration::from_secs(ahead.unsigned_abs()));
        let corrected = if ahead < 0 {
            now.checked_sub(by)
        } else {
            now.checked_add(by)
        };
        corrected.unwrap_or(now)
    }

    async fn known(&self) -> Result<Known> {
        let missing = "no keys for the bucket: give the id of an access key and its secret";
        let known = self.keeper.current().await?;
        known.ok_or_else(|| Error::new(Kind::AccessDenied, missing))
    }

    /// Makes a request. Once more with the server's time, where ours is refused; once more with other credentials, where those are.
    async fn call<'a>(&self, call: &Call<'a>) -> Result<Answered<'a>> {
        let mut known = self.known().await?;
        let (mut corrected, mut replaced) = (false, false);
        loop {
            let at = self.server_time();
            let answer = self.send(call, &known, at).await?;
            let by_number = answer.meaning();
            if by_number == Meaning::Success {
                return Ok(Ok(answer));
            }
            let (head, status) = (answer.head.clone(), answer.head.status);
            let refusal = Refusal::parse(&answer.refusal_text().await);
            let skew = refusal.skew(
                status,
                seconds_since_1970(at),
                head.date.as_deref().and_then(seconds_of),
            );
            if let Some(ahead) = skew.filter(|_| !corrected) {
                // Relative to what was signed, which may have been corrected before.
                let ours = seconds_since_1970(self.clock.wall());
                self.ahead_s.store(
                    seconds_since_1970(at).saturating_add(ahead).saturating_sub(ours),
                    Ordering::Relaxed,
                );
                corrected = true;
                continue;
            }
            let meaning = match refusal.meaning(by_number) {
                // A HEAD has no text that tells bad credentials from a bad request, and ours are not bad.
                Meaning::Unfit if status == 400 && matches!(call.operation, Operation::Head(..)) => {
                    Meaning::Denied
                }
                meaning => meaning,
            };
            // A HEAD is refused without a word; `size` asks again for one before anything is concluded.
            if meaning == Meaning::Denied && !replaced && !matches!(call.operation, Operation::Head(..)) {
                replaced = true;
                if let Some(other) = self.keeper.replacement(Some(&known)).await? {
                    known = other;
                    continue;
                }
            }
            return Ok(Err(Refused {
                meaning,
                status,
                refusal,
            }));
        }
    }

    async fn send<'a>(&self, call: &Call<'a>, known: &Known, at: SystemTime) -> Result<Answer<'a>> {
        let valid_for = Duration::from_millis(limits::SIGNATURE_VALID_MS);
        let signed = self
            .target
            .sign(call.operation, &known.credentials, at, valid_for)?;
        let mut headers = signed.headers;
        if let Some(range) = &call.range {
            headers.insert(header::RANGE, range.clone());
        }
        let request = Request {
            doing: call.doing,
            method: signed.method,
            url: signed.url,
            headers,
            body: call.body,
        };
        self.http.send(request).await
    }

    /// The error for a refusal: a missing bucket is said to be one.
    fn refused(&self, doing: &str, refused: &Refused) -> Error {
        if refused.refusal.is_missing_bucket() {
            let text = format!(
                "{doing}: there is no bucket '{}'; see whether the address is right",
                self.target.bucket()
            );
            return Error::new(Kind::NoRepository, text);
        }
        refused.error(doing)
    }

    async fn list_page(
        &self,
        kind: FileType,
        doing: &str,
        below: &str,
        from: Option<&str>,
        found: &mut Vec<(FileId, u64)>,
    ) -> Result<Option<String>> {
        match self.call(&Call::new(doing, Operation::List(below, from))).await? {
            Ok(answer) => {
                let body = answer.read(limits::LISTING_PAGE_BYTES_MAX).await?;
                list::add_page(&self.target, kind, doing, &body, found)
            }
            Err(refused) => Err(self.refused(doing, &refused)),
        }
    }

    async fn create_bucket(&self, doing: &str) -> Result<()> {
        let configuration = self.target.bucket_configuration();
        let body = Body::Bytes(configuration.as_bytes().into());
        let mut call = Call::new(doing, Operation::CreateBucket);
        call.body = Some(&body);
        match self.call(&call).await? {
            // Believed when it is there.
            Ok(_) => self
                .list_page(FileType::Key, doing, "keys/", None, &mut vec![])
                .await
                .map(drop),
            // Made by another request of ours meanwhile.
            Err(refused) if refused.refusal.code == "BucketAlreadyOwnedByYou" => Ok(()),
            Err(refused) => Err(self.refused(doing, &refused)),
        }
    }

    /// The size, in the answer to a read of the first byte. A refusal of that has a code, which tells a missing file from a missing bucket,
    /// from keys that nobody knows, and from those that have ended: for a HEAD some servers call all of these the same.
    async fn size_by_reading(&self, doing: &str, kind: FileType, id: &FileId) -> Result<Option<u64>> {
        let mut call = Call::new(doing, Operation::Get(kind, id));
        call.range = range_header(&(0..1))?;
        match self.call(&call).await? {
            Ok(answer) => match answer.header("content-range").and_then(content_range) {
                Some((_, _, size)) => Ok(Some(size)),
                None => Err(failure::stranger(doing, "its answer is not one of S3")),
            },
            // An empty file has no first byte.
            Err(refused) if refused.meaning == Meaning::PastEnd => Ok(Some(0)),
            Err(refused) if refused.meaning == Meaning::Missing && !refused.refusal.is_missing_bucket() => {
                Ok(None)
            }
            Err(refused) => Err(self.refused(doing, &refused)),
        }
    }

    async fn read<'a>(&self, call: &Call<'a>, kind: FileType, id: &FileId) -> Result<Answer<'a>> {
        match self.call(call).await? {
            Ok(answer) => Ok(answer),
            Err(refused) if refused.refusal.is_missing_bucket() => Err(self.refused(call.doing, &refused)),
            Err(refused) if refused.meaning == Meaning::Missing => Err(not_found(kind, id)),
            Err(refused) => Err(self.refused(call.doing, &refused)),
        }
    }
}

fn seconds_since_1970(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

#[async_trait]
impl Storage for S3Storage {
    fn name(&self) -> String {
        self.name.clone()
    }

    /// Makes the bucket, if it is not there. Folders need not be made.
    async fn create(&self) -> Result<()> {
        let doing = format!("making {}", self.name);
        let looked = self
            .call(&Call::new(&doing, Operation::List("keys/", None)))
            .await?;
        match looked {
            Ok(answer) => {
                let body = answer.read(limits::LISTING_PAGE_BYTES_MAX).await?;
                list::add_page(&self.target, FileType::Key, &doing, &body, &mut vec![]).map(drop)
            }
            Err(refused) if refused.refusal.is_missing_bucket() => self.create_bucket(&doing).await,
            Err(refused) => Err(self.refused(&doing, &refused)),
        }
    }

    async fn list(&self, kind: FileType) -> Result<Vec<(FileId, u64)>> {
        let Some(dir) = kind.dir() else { return Ok(vec![]) };
        let doing = format!("listing {dir} of {}", self.name);
        let (below, mut found, mut from) = (format!("{dir}/"), vec![], None);
        loop {
            let next = self
                .list_page(kind, &doing, &below, from.as_deref(), &mut found)
                .await?;
            if next.is_none() {
                break;
            }
            if next == from {
                let text = format!("{doing}: the vault gives the same page of its listing again");
                return Err(Error::new(Kind::Unreachable, text));
            }
            from = next;
        }
        found.sort_unstable_by_key(|(id, _)| *id);
        found.dedup_by_key(|(id, _)| *id);
        Ok(found)
    }

    async fn size(&self, kind: FileType, id: &FileId) -> Result<Option<u64>> {
        let doing = format!("looking for {} in {}", file_name(kind, id), self.name);
        match self.call(&Call::new(&doing, Operation::Head(kind, id))).await? {
            Ok(answer) => match answer.content_length() {
                Some(size) if answer.header("etag").is_some() => Ok(Some(size)),
                _ => Err(failure::stranger(&doing, "its answer is not one of S3")),
            },
            Err(refused) if matches!(refused.meaning, Meaning::Later(_)) => {
                Err(self.refused(&doing, &refused))
            }
            Err(_) => self.size_by_reading(&doing, kind, id).await,
        }
    }

    async fn get(&self, kind: FileType, id: &FileId, limit: u64) -> Result<Vec<u8>> {
        let doing = format!("reading {} of {}", file_name(kind, id), self.name);
        let call = Call::new(&doing, Operation::Get(kind, id));
        self.read(&call, kind, id).await?.read(limit).await
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
        let mut call = Call::new(&doing, Operation::Get(kind, id));
        call.range = Some(header);
        let answer = self.read(&call, kind, id).await?;
        part(answer, kind, id, &doing, (range, buffer)).await
    }

    async fn put(&self, kind: FileType, id: &FileId, body: Body) -> Result<()> {
        let doing = format!("storing {} in {}", file_name(kind, id), self.name);
        let mut call = Call::new(&doing, Operation::Put(kind, id));
        call.body = Some(&body);
        match self.call(&call).await? {
            // Whoever stored an object names its tag; whoever does not is asked whether it is there.
            Ok(answer)
                if answer.header("etag").is_some() && matches!(answer.content_length(), None | Some(0)) =>
            {
                Ok(())
            }
            Ok(_) if self.size(kind, id).await? == Some(body.size()) => Ok(()),
            Ok(_) => Err(failure::stranger(
                &doing,
                "it says that a file is stored which is not there",
            )),
            Err(refused) => Err(self.refused(&doing, &refused)),
        }
    }

    async fn delete(&self, kind: FileType, id: &FileId) -> Result<()> {
        let doing = format!("deleting {} of {}", file_name(kind, id), self.name);
        match self.call(&Call::new(&doing, Operation::Delete(kind, id))).await? {
            Ok(_) => Ok(()),
            Err(refused) if refused.meaning == Meaning::Missing && !refused.refusal.is_missing_bucket() => {
                Ok(())
            }
            Err(refused) => Err(self.refused(&doing, &refused)),
        }
    }

    fn credentials_version(&self) -> u64 {
        self.keeper.version()
    }

    /// Valid for `valid_for`, or until the credentials end. S3 allows for a week at most.
    async fn hand_off(
        &self,
        direction: HandOffDirection,
        kind: FileType,
        id: &FileId,
        valid_for: Duration,
    ) -> Result<SignedRequest> {
        let known = self.known().await?;
        let operation = match direction {
            HandOffDirection::Put => Operation::Put(kind, id),
            HandOffDirection::Get => Operation::Get(kind, id),
        };
        let at = self.server_time();
        let signed = self.target.sign(operation, &known.credentials, at, valid_for)?;
        let method = match direction {
            HandOffDirection::Put => "PUT",
            HandOffDirection::Get => "GET",
        };
        let headers = signed.headers.iter().map(|(name, value)| {
            let value = value.to_str().unwrap_or_default().to_owned();
            (name.as_str().to_owned(), value)
        });
        // By the clock of this device, which is what the caller compares it with.
        let expires_at = self.clock.wall() + valid_for;
        Ok(SignedRequest {
            method,
            url: signed.url.into(),
            headers: headers.collect(),
            expires_at: known
                .credentials
                .expires_at
                .map_or(expires_at, |at| at.min(expires_at)),
        })
    }
}
