//! Key files: the master key, sealed under a key that scrypt makes of a password.
//!
//! A key file is plain JSON and named by the hash of exactly its bytes. Every key file of a repository wraps
//! the same master key, so that a password is added or revoked by adding or deleting one file.

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use zeroize::Zeroizing;

use super::{FormatError, MasterKey, SALT_BYTES, ScryptParams, crypto::fill_random, scrypt_key};

/// The only key derivation that restic knows.
const KDF: &str = "scrypt";

/// One key file. Nothing in it is secret: the store sees it too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyFile {
    /// When it was made, as restic writes times. For people only; empty if missing.
    #[serde(default)]
    pub created: String,
    #[serde(default)]
    pub username: String,
    #[serde(default)]
    pub hostname: String,
    kdf: String,
    #[serde(rename = "N")]
    n: u64,
    r: u32,
    p: u32,
    salt: Base64,
    /// The sealed document of the master key.
    data: Base64,
}

impl KeyFile {
    /// Seals `master` under `password`. This takes the time and the memory that `params` ask for.
    ///
    /// The same bounds hold as for [`KeyFile::open`], so that no file is made which cannot be opened.
    pub fn create(
        master: &MasterKey,
        password: &str,
        params: ScryptParams,
        salt: [u8; SALT_BYTES],
        created: String,
        username: String,
        hostname: String,
    ) -> Result<Self, FormatError> {
        let data = scrypt_key::derive(password, &salt, params)?.seal(&master.to_json())?;
        let ScryptParams { n, r, p } = params;
        let (salt, data) = (Base64(salt.to_vec()), Base64(data));
        Ok(Self {
            created,
            username,
            hostname,
            kdf: KDF.into(),
            n,
            r,
            p,
            salt,
            data,
        })
    }

    /// Reads a key file; fields that are not known are ignored.
    ///
    /// [`FormatError::Unsupported`] if the password is derived otherwise than with scrypt.
    pub fn parse(json: &[u8]) -> Result<Self, FormatError> {
        #[derive(Deserialize)]
        struct Kdf {
            kdf: String,
        }
        let malformed = |error| FormatError::malformed(format!("not a key file: {error}"));
        // Looked at alone first, for with another derivation the other fields may differ as well.
        let Kdf { kdf } = serde_json::from_slice(json).map_err(malformed)?;
        if kdf != KDF {
            return Err(FormatError::Unsupported(format!(
                "the key derivation {kdf:?} is not known"
            )));
        }
        let file: Self = serde_json::from_slice(json).map_err(malformed)?;
        file.salt()?;
        Ok(file)
    }

    /// The bytes to store, whose SHA-256 is the name of the file.
    pub fn encode(&self) -> Result<Vec<u8>, FormatError> {
        serde_json::to_vec(self).map_err(|error| FormatError::malformed(error.to_string()))
    }

    /// The master key inside.
    ///
    /// This takes the time and the memory that the file asks for, [`FormatError::TooLarge`] beyond
    /// [`SCRYPT_MEMORY_MAX`](super::SCRYPT_MEMORY_MAX) and [`SCRYPT_WORK_MAX`](super::SCRYPT_WORK_MAX). [`FormatError::Unauthentic`] means that `password` is not the
    /// one of this file; the bytes of the password count as they are, without normalisation.
    pub fn open(&self, password: &str) -> Result<MasterKey, FormatError> {
        let key = scrypt_key::derive(password, self.salt()?, self.params())?;
        let document = Zeroizing::new(key.open(&self.data.0)?);
        MasterKey::from_json(&document)
    }

    pub fn params(&self) -> ScryptParams {
        ScryptParams {
            n: self.n,
            r: self.r,
            p: self.p,
        }
    }

    fn salt(&self) -> Result<&[u8; SALT_BYTES], FormatError> {
        let wrong = |_| FormatError::malformed("the salt of a key file has not 64 bytes");
        self.salt.0.as_slice().try_into().map_err(wrong)
    }
}

/// A new salt for [`KeyFile::create`].
pub fn generate_salt() -> Result<[u8; SALT_BYTES], FormatError> {
    let mut salt = [0; SALT_BYTES];
    fill_random(&mut salt)?;
    Ok(salt)
}

/// Bytes that JSON holds as base64 with padding.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Base64(Vec<u8>);

impl Serialize for Base64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl de::Visitor<'_> for Text {
            type Value = Base64;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("base64")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Base64, E> {
                STANDARD.decode(text).map(Base64).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::format::RAW_KEY_BYTES;

    /// The least that scrypt does, for tests that are not about scrypt.
    const CHEAP: ScryptParams = ScryptParams { n: 2, r: 1, p: 1 };

    fn file(params: ScryptParams) -> KeyFile {
        let master = MasterKey::from_raw(&[5; RAW_KEY_BYTES]).unwrap();
        let created = "2024-02-03T04:05:06.789Z".into();
        KeyFile::create(
            &master,
            "päss",
            params,
            [3; SALT_BYTES],
            created,
            "u".into(),
            "h".into(),
        )
        .unwrap()
    }

    #[test]
    fn only_the_right_password_opens() {
        for params in [CHEAP, ScryptParams::default()] {
            let file = KeyFile::parse(&file(params).encode().unwrap()).unwrap();
            assert_eq!(file.params(), params);
            assert_eq!(*file.open("päss").unwrap().to_raw(), [5; RAW_KEY_BYTES]);
            // The second is the same to the eye: a with a combining diaeresis.
            for wrong in ["", "pa\u{308}ss", "päss "] {
                assert_eq!(file.open(wrong).unwrap_err(), FormatError::Unauthentic);
            }
        }
    }

    #[test]
    fn fields_stand_in_the_order_of_restic() {
        let json = String::from_utf8(file(CHEAP).encode().unwrap()).unwrap();
        let start = r#"{"created":"2024-02-03T04:05:06.789Z","username":"u","hostname":"h","kdf":"scrypt","N":2,"r":1,"p":1,"salt":""#;
        assert!(json.starts_with(start), "{json}");
    }

    #[test]
    fn odd_files_are_read_and_others_refused() {
        let mut json: Value = serde_json::to_value(file(CHEAP)).unwrap();
        let fields = json.as_object_mut().unwrap();
        fields.insert("future".into(), Value::Null);
        fields.retain(|name, _| !["created", "username", "hostname"].contains(&name.as_str()));
        KeyFile::parse(serde_json::to_string_pretty(&json).unwrap().as_bytes())
            .unwrap()
            .open("päss")
            .unwrap();

        let with = |field: &str, value: Value| {
            let mut json = json.clone();
            json[field] = value;
            KeyFile::parse(json.to_string().as_bytes())
                .and_then(|file| file.open("päss"))
                .unwrap_err()
        };
        assert!(matches!(
            with("kdf", "argon2id".into()),
            FormatError::Unsupported(_)
        ));
        for (field, value) in [
            ("salt", Value::from("AAAA")),
            ("N", 3.into()),
            ("N", 1.into()),
            ("r", 0.into()),
        ] {
            assert!(matches!(with(field, value), FormatError::Malformed(_)), "{field}");
        }
        for (field, value) in [
            ("N", 1_u64 << 24),
            ("N", 1 << 63),
            ("r", 1 << 23),
            ("p", (1 << 32) - 1),
        ] {
            assert!(
                matches!(with(field, value.into()), FormatError::TooLarge { .. }),
                "{field}"
            );
        }
    }

    proptest! {
        #[test]
        fn foreign_and_mutated_bytes_never_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..300),
            place in any::<prop::sample::Index>(),
            byte in any::<u8>(),
        ) {
            let _ = KeyFile::parse(&bytes);
            let mut json = file(CHEAP).encode().unwrap();
            let place = place.index(json.len());
            json[place] = byte;
            if let Ok(file) = KeyFile::parse(&json) {
                let _ = file.salt();
            }
        }
    }
}
