//! Vault addresses, written as restic writes them. A password in one is kept, and never shown.

use std::{fmt, path::PathBuf, str::FromStr};

use url::Url;
use zeroize::Zeroizing;

/// Which vault. Shown without secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A folder.
    Local(PathBuf),
    /// A REST server: `rest:https://user:password@host:port/name/`.
    Rest(RestAddress),
    /// A bucket: `s3:https://host/bucket/prefix`, or `s3:host/bucket/prefix`.
    S3(S3Address),
}

/// Where a REST server has the repository.
#[derive(Clone, PartialEq, Eq)]
pub struct RestAddress {
    /// Ends with a slash, and holds no user and no password.
    url: Url,
    user: Option<String>,
    password: Option<Zeroizing<String>>,
}

/// Where an S3 server has the repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Address {
    /// The server, without bucket and path.
    endpoint: Url,
    bucket: String,
    /// Without slashes around it; empty where the repository is the whole bucket.
    prefix: String,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAddress {
    #[error("the vault's address is empty: give a folder, rest:https://host/name/ or s3:host/bucket/prefix")]
    Empty,
    #[error(
        "vaults of the kind '{0}:' are not supported: give a folder, a REST server (rest:) or a bucket (s3:)"
    )]
    Scheme(String),
    #[error("not the address of a REST server ({0}): write rest:https://user:password@host:port/name/")]
    Rest(&'static str),
    #[error("not the address of a bucket ({0}): write s3:https://host/bucket/prefix")]
    S3(&'static str),
}

/// What restic calls its other backends. A folder of such a name is written with `local:` or `./` before it.
const OTHER_SCHEMES: [&str; 7] = ["sftp", "swift", "b2", "azure", "gs", "rclone", "opendal"];

impl FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let path = match text.split_once(':') {
            Some(("local", path)) => path,
            Some(("rest", rest)) => return rest.parse().map(Self::Rest),
            Some(("s3", rest)) => return rest.parse().map(Self::S3),
            Some((scheme, _)) if OTHER_SCHEMES.contains(&scheme) => {
                return Err(InvalidAddress::Scheme(scheme.to_owned()));
            }
            _ => text,
        };
        if path.is_empty() {
            Err(InvalidAddress::Empty)
        } else {
            Ok(Self::Local(path.into()))
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(path) => path.display().fmt(f),
            Self::Rest(address) => address.fmt(f),
            Self::S3(address) => address.fmt(f),
        }
    }
}

impl RestAddress {
    /// Ends with a slash, and holds no user and no password.
    pub fn url(&self) -> &Url {
        &self.url
    }

    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    pub(super) fn password(&self) -> Option<&Zeroizing<String>> {
        self.password.as_ref()
    }
}

impl FromStr for RestAddress {
    type Err = InvalidAddress;

    /// What follows `rest:`.
    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        // The parser's own errors may repeat what it was given, and that may hold a password.
        let mut url = Url::parse(text).map_err(|_| InvalidAddress::Rest("it is no URL"))?;
        check_server(&url).map_err(InvalidAddress::Rest)?;
        let user = decoded(url.username()).map_err(InvalidAddress::Rest)?;
        let password = url.password().map(decoded).transpose();
        let password = password.map_err(InvalidAddress::Rest)?.map(Zeroizing::new);
        let bare = url.set_username("").and_then(|()| url.set_password(None));
        bare.map_err(|()| InvalidAddress::Rest("it has no host"))?;
        if !url.path().ends_with('/') {
            let path = format!("{}/", url.path());
            url.set_path(&path);
        }
        Ok(Self {
            url,
            user: (!user.is_empty()).then_some(user),
            password,
        })
    }
}

impl fmt::Display for RestAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = self.url.as_str();
        let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
        let user = self.user.as_deref().unwrap_or_default();
        match (&self.user, &self.password) {
            (None, None) => write!(f, "rest:{url}"),
            (_, Some(_)) => write!(f, "rest:{scheme}://{user}:***@{rest}"),
            (_, None) => write!(f, "rest:{scheme}://{user}@{rest}"),
        }
    }
}

impl fmt::Debug for RestAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RestAddress({self})")
    }
}

impl S3Address {
    /// The server, without bucket and path.
    pub fn endpoint(&self) -> &Url {
        &self.endpoint
    }

    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// Without slashes around it; empty where the repository is the whole bucket.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }
}

impl FromStr for S3Address {
    type Err = InvalidAddress;

    /// What follows `s3:`. Without `http:` it is a server that speaks TLS.
    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let text = match text.strip_prefix("//") {
            Some(rest) => format!("https://{rest}"),
            None if text.starts_with("http://") || text.starts_with("https://") => text.to_owned(),
            None => format!("https://{text}"),
        };
        let mut endpoint = Url::parse(&text).map_err(|_| InvalidAddress::S3("it is no URL"))?;
        check_server(&endpoint).map_err(InvalidAddress::S3)?;
        if !endpoint.username().is_empty() || endpoint.password().is_some() {
            return Err(InvalidAddress::S3("keys do not belong into it"));
        }
        let path = decoded(endpoint.path()).map_err(InvalidAddress::S3)?;
        let mut parts = path.split('/').filter(|part| !part.is_empty());
        let bucket = parts.next().ok_or(InvalidAddress::S3("it names no bucket"))?;
        let prefix: Vec<&str> = parts.collect();
        if prefix.iter().any(|part| matches!(*part, "." | "..")) {
            return Err(InvalidAddress::S3("its prefix has dots for a name"));
        }
        endpoint.set_path("/");
        Ok(Self {
            endpoint,
            bucket: bucket.to_owned(),
            prefix: prefix.join("/"),
        })
    }
}

impl fmt::Display for S3Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3:{}{}", self.endpoint, self.bucket)?;
        match self.prefix.as_str() {
            "" => Ok(()),
            prefix => write!(f, "/{prefix}"),
        }
    }
}

/// What every server's address must have, and what it must not.
fn check_server(url: &Url) -> Result<(), &'static str> {
    if !matches!(url.scheme(), "http" | "https") {
        return Err("it must begin with http:// or https://");
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err("it has no host");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("it has a `?` or a `#`");
    }
    Ok(())
}

/// Without the percent signs that a URL needs for special characters.
fn decoded(text: &str) -> Result<String, &'static str> {
    let text = percent_encoding::percent_decode_str(text).decode_utf8();
    text.map(std::borrow::Cow::into_owned)
        .map_err(|_| "it is not UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        text.parse::<Address>().unwrap().to_string()
    }

    #[test]
    fn folders_are_plain_or_prefixed_and_other_schemes_are_named() {
        for (text, path) in [
            ("/a/b", "/a/b"),
            ("local:/a", "/a"),
            ("a:b", "a:b"),
            ("./s3:x", "./s3:x"),
        ] {
            assert_eq!(text.parse(), Ok(Address::Local(path.into())));
        }
        assert_eq!("".parse::<Address>(), Err(InvalidAddress::Empty));
        assert_eq!("local:".parse::<Address>(), Err(InvalidAddress::Empty));
        assert_eq!(
            "sftp:x/y".parse::<Address>(),
            Err(InvalidAddress::Scheme("sftp".into()))
        );
    }

    #[test]
    fn a_rest_server_is_an_url_whose_password_is_never_shown() {
        let text = "rest:https://us%40er:s3cr%2Fet@host:8000/us/name";
        let Ok(Address::Rest(address)) = text.parse() else {
            panic!("not a REST server's")
        };
        assert_eq!(address.url().as_str(), "https://host:8000/us/name/");
        assert_eq!(address.user(), Some("us@er"));
        assert_eq!(address.password().unwrap().as_str(), "s3cr/et");
        assert_eq!(address.to_string(), "rest:https://us@er:***@host:8000/us/name/");
        assert!(!format!("{address:?}").contains("s3cr"));
        assert_eq!(shown("rest:http://[::1]:8000"), "rest:http://[::1]:8000/");
        assert_eq!(shown("rest:http://a@h/x/"), "rest:http://a@h/x/");
        for broken in [
            "rest:host/name",
            "rest:ftp://host/",
            "rest:http://",
            "rest:",
            "rest:http://h/?x",
        ] {
            let error = broken.parse::<Address>().unwrap_err();
            assert!(matches!(error, InvalidAddress::Rest(_)), "{broken}: {error}");
        }
        let error = "rest:https://u:hush@ho st/".parse::<Address>().unwrap_err();
        assert!(!error.to_string().contains("hush"), "{error}");
    }

    #[test]
    fn a_bucket_is_written_in_each_of_restics_ways() {
        for (text, address) in [
            ("s3:https://h:9/b/p/q/", "s3:https://h:9/b/p/q"),
            ("s3:http://h/b", "s3:http://h/b"),
            ("s3:h/b//p", "s3:https://h/b/p"),
            ("s3:h:9000/b", "s3:https://h:9000/b"),
            ("s3://h/b/p", "s3:https://h/b/p"),
        ] {
            assert_eq!(shown(text), address);
            assert_eq!(shown(address), address);
        }
        for broken in ["s3:", "s3:h", "s3:https://h/", "s3:https://k:s@h/b", "s3:h/b?x"] {
            let error = broken.parse::<Address>().unwrap_err();
            assert!(matches!(error, InvalidAddress::S3(_)), "{broken}: {error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_an_address_or_an_error(text in "(rest:|s3:|local:|)(https?://|//|)[ -~é]{0,30}") {
            if let Ok(address) = text.parse::<Address>() {
                proptest::prop_assert!(!address.to_string().is_empty());
            }
        }
    }
}
