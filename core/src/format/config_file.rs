//! The config: the one file that makes a place a repository.
//!
//! It is the only sealed file whose plaintext is bare JSON, without version byte and never compressed, and
//! the only one that is not named by its hash: a store may hand out an older one, so remember the id.

use serde::{Deserialize, Serialize};

use super::{FormatError, ID_BYTES, Polynomial, RepositoryId, crypto::fill_random};

/// The only repository version that this engine reads and writes.
pub const REPOSITORY_VERSION: u32 = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    version: u32,
    /// Names the repository for ever, whatever place it moves to.
    pub id: RepositoryId,
    /// For restic's chunker, see [`Polynomial`].
    pub chunker_polynomial: Polynomial,
}

impl Config {
    /// The config of a new repository: a random id and a random polynomial.
    pub fn create() -> Result<Self, FormatError> {
        let mut id = [0; ID_BYTES];
        fill_random(&mut id)?;
        Ok(Self {
            version: REPOSITORY_VERSION,
            id: RepositoryId::from_bytes(id),
            chunker_polynomial: Polynomial::generate()?,
        })
    }

    pub const fn version(&self) -> u32 {
        self.version
    }

    /// Reads an opened config; fields that are not known are ignored.
    ///
    /// [`FormatError::Unsupported`], with a text that says what to do, for another version than 2;
    /// [`FormatError::Malformed`] also for a polynomial that is missing or with which restic would not back up.
    pub fn parse(plaintext: &[u8]) -> Result<Self, FormatError> {
        #[derive(Deserialize)]
        struct Version {
            version: u64,
        }
        let malformed = |error| FormatError::malformed(format!("not a config: {error}"));
        // Looked at alone first, for another version may have other fields.
        let Version { version } = serde_json::from_slice(plaintext).map_err(malformed)?;
        match version {
            2 => serde_json::from_slice(plaintext).map_err(malformed),
            1 => Err(FormatError::Unsupported(
                "the repository has version 1, which cannot hold compressed data: upgrade it with \
                 `restic migrate upgrade_repo_v2`"
                    .into(),
            )),
            0 => Err(FormatError::malformed(
                "not a config: there is no repository version 0",
            )),
            newer => Err(FormatError::Unsupported(format!(
                "the repository has version {newer}, which is newer than this engine: update the app"
            ))),
        }
    }

    /// The plaintext to seal and store.
    pub fn encode(&self) -> Result<Vec<u8>, FormatError> {
        serde_json::to_vec(self).map_err(|error| FormatError::malformed(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RESTIC: &str = r#"{"version":2,"id":"af70227ff0fde825d681130166adb875212f5e568b73fae5c17cc070b5f24933","chunker_polynomial":"2c2d74b4be0451"}"#;

    #[test]
    fn a_config_of_restic_round_trips() {
        let config = Config::parse(RESTIC.as_bytes()).unwrap();
        assert_eq!(config.id.short(), "af70227f");
        assert_eq!(config.chunker_polynomial.bits(), 0x2c_2d74_b4be_0451);
        assert_eq!(String::from_utf8(config.encode().unwrap()).unwrap(), RESTIC);
        let extended = RESTIC.replace("{\"v", "{ \"compression\": {\"level\": 3}, \"v");
        assert_eq!(Config::parse(extended.as_bytes()), Ok(config));
    }

    #[test]
    fn new_configs_differ() {
        let [a, b] = [(); 2].map(|()| Config::create().unwrap());
        assert_ne!(a.id, b.id);
        assert_ne!(a.chunker_polynomial, b.chunker_polynomial);
        assert_eq!(Config::parse(&a.encode().unwrap()), Ok(a));
    }

    #[test]
    fn other_versions_are_told_apart() {
        let error = |version: &str| {
            let json = RESTIC.replace(":2,", &format!(":{version},"));
            Config::parse(json.as_bytes()).unwrap_err()
        };
        let (old, new) = (error("1"), error("3"));
        assert!(
            matches!(&old, FormatError::Unsupported(text) if text.contains("restic migrate upgrade_repo_v2"))
        );
        assert!(matches!(&new, FormatError::Unsupported(text) if text.contains("update the app")));
        assert_eq!(Config::parse(br#"{"version":3}"#).unwrap_err(), new);
        for version in ["0", "-2", "2.5", "\"2\"", "null"] {
            assert!(matches!(error(version), FormatError::Malformed(_)), "{version}");
        }
    }

    #[test]
    fn a_config_without_a_good_polynomial_or_id_is_refused() {
        for (from, to) in [
            ("2c2d74b4be0451", "2c2d74b4be0450"),
            (",\"chunker_polynomial\":\"2c2d74b4be0451\"", ""),
            ("af70227f", ""),
        ] {
            let json = RESTIC.replace(from, to);
            assert!(
                matches!(Config::parse(json.as_bytes()), Err(FormatError::Malformed(_))),
                "{json}"
            );
        }
    }

    proptest! {
        #[test]
        fn foreign_and_mutated_bytes_never_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..100),
            place in any::<prop::sample::Index>(),
            byte in any::<u8>(),
        ) {
            let _ = Config::parse(&bytes);
            let mut json = RESTIC.as_bytes().to_vec();
            let place = place.index(json.len());
            json[place] = byte;
            let _ = Config::parse(&json);
        }
    }
}
