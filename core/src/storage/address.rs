//! Vault addresses, written as restic writes them.

use std::{fmt, path::PathBuf, str::FromStr};

/// Which vault, without secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A folder.
    Local(PathBuf),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAddress {
    #[error("the vault's address is empty: give a folder")]
    Empty,
    #[error("vaults of the kind '{0}:' are not supported: give a folder")]
    Scheme(String),
}

/// What restic calls its other backends. A folder of such a name is written with `local:` or `./` before it.
const OTHER_SCHEMES: [&str; 9] = [
    "rest", "s3", "sftp", "swift", "b2", "azure", "gs", "rclone", "opendal",
];

impl FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let path = match text.split_once(':') {
            Some(("local", path)) => path,
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
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            "s3:x/y".parse::<Address>(),
            Err(InvalidAddress::Scheme("s3".into()))
        );
    }
}
