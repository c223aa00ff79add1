//! From what is wanted to a signed request. Pure: credentials and the time come in, and nothing is sent.

use std::time::{Duration, SystemTime};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use jiff::Timestamp;
use rusty_s3::{Bucket, S3Action, UrlStyle};
use url::Url;

use crate::{
    error::{Error, Kind, Result},
    format::{FileId, FileType},
    storage::{BucketStyle, Credentials, S3Address, S3Options, ServerEncryption},
};

/// Where S3 began, and what servers are set to that do not care.
const DEFAULT_REGION: &str = "us-east-1";

/// A repository's place in a bucket, and what all its requests have in common.
pub(super) struct Target {
    bucket: Bucket,
    /// Empty, or with a slash at the end.
    prefix: String,
    encryption: Vec<(&'static str, String)>,
    checksum: bool,
}

/// What is wanted of the server.
#[derive(Debug, Clone, Copy)]
pub(super) enum Operation<'a> {
    Put(FileType, &'a FileId),
    Get(FileType, &'a FileId),
    Head(FileType, &'a FileId),
    Delete(FileType, &'a FileId),
    /// A page of what begins with a prefix below the repository, from where the page before ended.
    List(&'a str, Option<&'a str>),
    CreateBucket,
}

/// A request with its proof. The headers must be sent as they are.
pub(super) struct Signed {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
}

impl Target {
    pub(super) fn new(address: &S3Address, options: &S3Options) -> Result<Self> {
        let broken = |why: String| {
            let text = format!("the address {address} cannot be used: {why}");
            Error::new(Kind::InvalidInput, text)
        };
        let host = address.endpoint().host_str().unwrap_or_default();
        let region = options.region.clone().unwrap_or_else(|| region_of(host));
        let style = match options.style {
            BucketStyle::Path => UrlStyle::Path,
            BucketStyle::VirtualHost => UrlStyle::VirtualHost,
            // A dot in the bucket's name would make a host that the certificate is not for.
            BucketStyle::Auto if is_amazon(host) && !address.bucket().contains('.') => UrlStyle::VirtualHost,
            BucketStyle::Auto => UrlStyle::Path,
        };
        let prefix = match address.prefix() {
            "" => String::new(),
            prefix => format!("{prefix}/"),
        };
        let bucket = Bucket::new(
            address.endpoint().clone(),
            style,
            address.bucket().to_owned(),
            region,
        );
        let bucket = bucket.map_err(|error| broken(error.to_string()))?;
        // Signing takes for granted that every key makes an address on the same host.
        let probe = bucket.object_url(&format!("{prefix}config"));
        let probe = probe.map_err(|error| broken(error.to_string()))?;
        let is_elsewhere = |url: &Url| {
            // In the style of virtual hosts the bucket's name stands before the server's.
            url.scheme() != address.endpoint().scheme()
                || url.port() != address.endpoint().port()
                || url.host_str().is_none_or(|name| !name.ends_with(host))
        };
        let base = bucket.base_url();
        if is_elsewhere(base) || is_elsewhere(&probe) || probe.host_str() != base.host_str() {
            return Err(broken("bucket and prefix make an address elsewhere".into()));
        }
        Ok(Self {
            bucket,
            prefix,
            encryption: encryption_headers(options.encryption.as_ref()),
            checksum: options.checksum,
        })
    }

    /// The server's name for a file: restic's layout.
    fn key(&self, kind: FileType, id: &FileId) -> String {
        format!("{}{}", self.prefix, kind.path(id))
    }

    /// The file that a key is, if it is one of this kind.
    pub(super) fn listed(&self, kind: FileType, key: &str) -> Option<FileId> {
        let path = key.strip_prefix(&self.prefix)?;
        let id = crate::format::listed_id(path.rsplit('/').next()?)?;
        (kind.path(&id) == path).then_some(id)
    }

    pub(super) fn bucket(&self) -> &str {
        self.bucket.name()
    }

    pub(super) fn region(&self) -> &str {
        self.bucket.region()
    }

    /// What goes into the body of a request for a new bucket.
    pub(super) fn bucket_configuration(&self) -> String {
        match self.region() {
            // Of all regions this one alone must not be named.
            DEFAULT_REGION => String::new(),
            region => format!(
                "<CreateBucketConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
                 <LocationConstraint>{region}</LocationConstraint></CreateBucketConfiguration>"
            ),
        }
    }

    /// `at` is what time it is for the server.
    pub(super) fn sign(
        &self,
        operation: Operation<'_>,
        credentials: &Credentials,
        at: SystemTime,
        valid_for: Duration,
    ) -> Result<Signed> {
        let user = credentials.user.clone();
        let secret = credentials.secret.as_str();
        let keys = match &credentials.session_token {
            Some(token) => rusty_s3::Credentials::new_with_token(user, secret, token.as_str()),
            None => rusty_s3::Credentials::new(user, secret),
        };
        let at = Timestamp::try_from(at)
            .map_err(|error| Error::with_source(Kind::InvalidInput, "the time to sign at", error))?;
        let bucket = &self.bucket;
        let signing = Signing { at, valid_for };
        match operation {
            Operation::Put(kind, id) => {
                let key = self.key(kind, id);
                signing.sign(bucket.put_object(Some(&keys), &key), &self.put_headers(kind, id))
            }
            Operation::Get(kind, id) => {
                let key = self.key(kind, id);
                signing.sign(bucket.get_object(Some(&keys), &key), &[])
            }
            Operation::Head(kind, id) => {
                let key = self.key(kind, id);
                signing.sign(bucket.head_object(Some(&keys), &key), &[])
            }
            Operation::Delete(kind, id) => {
                let key = self.key(kind, id);
                signing.sign(bucket.delete_object(Some(&keys), &key), &[])
            }
            Operation::List(below, from) => {
                let mut list = bucket.list_objects_v2(Some(&keys));
                list.with_prefix(format!("{}{below}", self.prefix));
                if let Some(from) = from {
                    list.with_continuation_token(from);
                }
                signing.sign(list, &[])
            }
            Operation::CreateBucket => signing.sign(bucket.create_bucket(&keys), &[]),
        }
    }

    fn put_headers(&self, kind: FileType, id: &FileId) -> Vec<(&'static str, String)> {
        let mut headers = self.encryption.clone();
        // The config alone is not named by its hash.
        if self.checksum && kind != FileType::Config {
            headers.push(("x-amz-checksum-sha256", BASE64.encode(id.as_bytes())));
        }
        headers
    }
}

struct Signing {
    at: Timestamp,
    valid_for: Duration,
}

impl Signing {
    fn sign<'a, A: S3Action<'a>>(
        &self,
        mut action: A,
        headers: &'a [(&'static str, String)],
    ) -> Result<Signed> {
        let broken = |error| Error::with_source(Kind::InvalidInput, "the headers of a request to S3", error);
        let mut sent = HeaderMap::new();
        for (name, value) in headers {
            action.headers_mut().insert(*name, value.as_str());
            let value = HeaderValue::try_from(value).map_err(|error| broken(error.to_string()))?;
            sent.insert(HeaderName::from_static(name), value);
        }
        let method = match A::METHOD {
            rusty_s3::Method::Head => Method::HEAD,
            rusty_s3::Method::Get => Method::GET,
            rusty_s3::Method::Post => Method::POST,
            rusty_s3::Method::Put => Method::PUT,
            rusty_s3::Method::Delete => Method::DELETE,
        };
        Ok(Signed {
            method,
            url: action.sign_with_time(self.valid_for, &self.at),
            headers: sent,
        })
    }
}

fn encryption_headers(encryption: Option<&ServerEncryption>) -> Vec<(&'static str, String)> {
    const WITH: &str = "x-amz-server-side-encryption";
    match encryption {
        None => vec![],
        Some(ServerEncryption::ServerKey) => vec![(WITH, "AES256".into())],
        Some(ServerEncryption::KeyService { key_id }) => {
            let mut headers = vec![(WITH, "aws:kms".into())];
            if let Some(id) = key_id {
                headers.push(("x-amz-server-side-encryption-aws-kms-key-id", id.clone()));
            }
            headers
        }
    }
}

fn is_amazon(host: &str) -> bool {
    host.ends_with(".amazonaws.com") || host.ends_with(".amazonaws.com.cn")
}

/// The region in one of Amazon's host names, such as `s3.eu-central-1.amazonaws.com`.
fn region_of(host: &str) -> String {
    let named = is_amazon(host).then(|| host.split('.').rev().find(|part| part.contains('-')));
    let region = named.flatten().map(|part| part.trim_start_matches("s3-"));
    region
        .filter(|region| !region.is_empty())
        .unwrap_or(DEFAULT_REGION)
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(address: &str, options: &S3Options) -> Target {
        let address: S3Address = address.parse().unwrap();
        Target::new(&address, options).unwrap()
    }

    fn signed(target: &Target, operation: Operation<'_>, credentials: &Credentials) -> Signed {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_369_353_600);
        target
            .sign(operation, credentials, at, Duration::from_secs(86_400))
            .unwrap()
    }

    fn query(url: &Url, name: &str) -> Option<String> {
        let mut pairs = url.query_pairs();
        pairs
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.into_owned())
    }

    #[test]
    fn regions_and_styles_follow_from_the_host() {
        for (host, region) in [
            ("s3.amazonaws.com", "us-east-1"),
            ("s3.eu-central-1.amazonaws.com", "eu-central-1"),
            ("s3-us-west-2.amazonaws.com", "us-west-2"),
            ("s3.cn-north-1.amazonaws.com.cn", "cn-north-1"),
            ("s3.some-where.example", "us-east-1"),
        ] {
            assert_eq!(region_of(host), region, "{host}");
        }
        let url = |address: &str, style| {
            let options = S3Options {
                style,
                ..S3Options::default()
            };
            let target = target(address, &options);
            let id = FileId::of(b"x");
            let url = signed(
                &target,
                Operation::Get(FileType::Key, &id),
                &Credentials::new("k", "s"),
            )
            .url;
            format!(
                "{}{}",
                url.host_str().unwrap(),
                url.path().replace(&id.to_string(), "ID")
            )
        };
        use BucketStyle::{Auto, Path, VirtualHost};
        assert_eq!(url("s3.amazonaws.com/b/p", Auto), "b.s3.amazonaws.com/p/keys/ID");
        assert_eq!(
            url("s3.amazonaws.com/b.c/p", Auto),
            "s3.amazonaws.com/b.c/p/keys/ID"
        );
        assert_eq!(url("s3.amazonaws.com/b", Path), "s3.amazonaws.com/b/keys/ID");
        assert_eq!(url("host:9000/b/p/q", Auto), "host/b/p/q/keys/ID");
        assert_eq!(url("http://host/b", VirtualHost), "b.host/keys/ID");
    }

    #[test]
    fn a_session_token_and_headers_are_part_of_what_is_signed() {
        let options = S3Options {
            encryption: Some(ServerEncryption::KeyService {
                key_id: Some("key-1".into()),
            }),
            ..S3Options::default()
        };
        let target = target("host/b/p", &options);
        let mut credentials = Credentials::new("AKID", "secret");
        credentials.session_token = Some(zeroize::Zeroizing::new("to/ken".into()));
        let id = FileId::of(b"abc");
        let put = signed(&target, Operation::Put(FileType::Pack, &id), &credentials);
        assert_eq!(query(&put.url, "X-Amz-Security-Token").as_deref(), Some("to/ken"));
        assert_eq!(
            query(&put.url, "X-Amz-SignedHeaders").as_deref(),
            Some(
                "host;x-amz-checksum-sha256;x-amz-server-side-encryption;\
                 x-amz-server-side-encryption-aws-kms-key-id"
            )
        );
        // SHA-256 of "abc" in base64, computed with openssl.
        let checksum = put.headers.get("x-amz-checksum-sha256").unwrap();
        assert_eq!(checksum, "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=");
        assert_eq!(
            put.headers.get("x-amz-server-side-encryption").unwrap(),
            "aws:kms"
        );
        let config = signed(&target, Operation::Put(FileType::Config, &id), &credentials);
        assert!(!config.headers.contains_key("x-amz-checksum-sha256"));
        let get = signed(&target, Operation::Get(FileType::Pack, &id), &credentials);
        assert!(get.headers.is_empty());
    }

    #[test]
    fn keys_are_those_of_restics_layout_and_only_they_are_listed() {
        let id = FileId::of(b"abc");
        for (address, prefix) in [("host/b", ""), ("host/b/p/q", "p/q/")] {
            let target = target(address, &S3Options::default());
            let key = target.key(FileType::Pack, &id);
            assert_eq!(key, format!("{prefix}data/ba/{id}"));
            assert_eq!(target.listed(FileType::Pack, &key), Some(id));
            for other in [
                format!("{prefix}data/{id}"),
                format!("{prefix}data/bb/{id}"),
                format!("{prefix}keys/{id}"),
                format!("other/data/ba/{id}"),
                format!("{prefix}data/ba/{id}.tmp"),
            ] {
                assert_eq!(target.listed(FileType::Pack, &other), None, "{other}");
            }
        }
    }

    #[test]
    fn a_page_of_a_listing_begins_where_the_one_before_ended() {
        let target = target("host/b/p", &S3Options::default());
        let list = signed(
            &target,
            Operation::List("keys/", Some("a+b/=")),
            &Credentials::new("k", "s"),
        );
        assert_eq!(query(&list.url, "prefix").as_deref(), Some("p/keys/"));
        assert_eq!(query(&list.url, "continuation-token").as_deref(), Some("a+b/="));
        assert_eq!(query(&list.url, "list-type").as_deref(), Some("2"));
    }

    #[test]
    fn a_bucket_that_is_read_as_the_kind_of_an_address_is_refused() {
        for address in ["host/a:", "host/http:", "host/b:c/p"] {
            let address = address.parse::<S3Address>().unwrap();
            assert!(Target::new(&address, &S3Options::default()).is_err(), "{address}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_address_signs_or_is_refused(text in "[ -~é]{1,40}", id in proptest::array::uniform32(0_u8..)) {
            if let Ok(address) = format!("host/{text}").parse::<S3Address>()
                && let Ok(target) = Target::new(&address, &S3Options::default())
            {
                let id = FileId::from_bytes(id);
                signed(&target, Operation::Get(FileType::Pack, &id), &Credentials::new("k", "s"));
            }
        }
    }
}
