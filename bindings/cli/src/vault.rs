//! Which vault, how it is reached, and the engine's own folder for it.

use std::{
    env, fs,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use lifeboat::storage::{
    Address, BucketStyle, CredentialSource, Credentials, S3Options, ServerEncryption, StorageOptions,
};

use crate::{
    args::Common,
    exit::{Failure, Result},
};

pub(crate) fn address(common: &Common) -> Result<Address> {
    let missing = "no vault: say where the repository is with --vault ADDRESS, or set LIFEBOAT_VAULT";
    common.vault.clone().ok_or_else(|| Failure::here(missing))
}

/// From the command line and the environment, under the names that restic has for them.
pub(crate) fn options(common: &Common, address: &Address) -> Result<StorageOptions> {
    let ca_certificates = common.cacert.as_deref().map(|path| {
        let read = fs::read(path);
        read.map_err(|error| Failure::io(format_args!("reading {}", path.display()), error))
    });
    let credentials = credentials(address, variable);
    Ok(StorageOptions {
        credentials: credentials.map(|credentials| Arc::new(credentials) as Arc<dyn CredentialSource>),
        ca_certificates: ca_certificates.transpose()?,
        s3: s3_options(&common.options, variable("AWS_DEFAULT_REGION"))?,
        ..StorageOptions::default()
    })
}

/// One that is empty counts as not set.
fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

fn credentials(address: &Address, variable: impl Fn(&str) -> Option<String>) -> Option<Credentials> {
    let pair = |user, secret| Some(Credentials::new(variable(user)?, variable(secret)?));
    match address {
        Address::Local(_) => None,
        Address::Rest(_) => pair("RESTIC_REST_USERNAME", "RESTIC_REST_PASSWORD"),
        Address::S3(_) => {
            let keys = pair("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")?;
            Some(Credentials {
                session_token: variable("AWS_SESSION_TOKEN").map(Into::into),
                ..keys
            })
        }
    }
}

/// `key=value`, as restic has them for S3, and a few more.
fn s3_options(texts: &[String], region: Option<String>) -> Result<S3Options> {
    let mut options = S3Options {
        region,
        ..S3Options::default()
    };
    let mut key_id = None;
    for text in texts {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        match (key, value) {
            ("s3.region", region) if !region.is_empty() => options.region = Some(region.to_owned()),
            ("s3.bucket-lookup", "auto") => options.style = BucketStyle::Auto,
            ("s3.bucket-lookup", "path") => options.style = BucketStyle::Path,
            ("s3.bucket-lookup", "dns") => options.style = BucketStyle::VirtualHost,
            ("s3.encryption", "AES256") => options.encryption = Some(ServerEncryption::ServerKey),
            ("s3.encryption", "aws:kms") => {
                options.encryption = Some(ServerEncryption::KeyService { key_id: None });
            }
            ("s3.kms-key-id", id) if !id.is_empty() => key_id = Some(id.to_owned()),
            ("s3.checksum", "true") => options.checksum = true,
            ("s3.checksum", "false") => options.checksum = false,
            _ => return Err(Failure::here(format!("'{text}' is no option: {KNOWN_OPTIONS}"))),
        }
    }
    if key_id.is_some() {
        options.encryption = Some(ServerEncryption::KeyService { key_id });
    }
    Ok(options)
}

const KNOWN_OPTIONS: &str = "there are s3.region=NAME, s3.bucket-lookup=auto|path|dns, \
                             s3.encryption=AES256|aws:kms, s3.kms-key-id=ID and s3.checksum=true|false";

/// A folder of its own for each vault: an engine's folder serves one.
pub(crate) fn default_state_dir(address: &Address) -> Result<PathBuf> {
    let from = |variable| {
        let path = env::var_os(variable).map(PathBuf::from);
        path.filter(|path| path.is_absolute())
    };
    let base = from("XDG_STATE_HOME").or_else(|| from("HOME").map(|home| home.join(".local/state")));
    let missing =
        "neither XDG_STATE_HOME nor HOME is set: say with --state DIR where the engine's own folder is";
    let base = base.ok_or_else(|| Failure::here(missing))?;
    Ok(state_dir_in(&base, address))
}

fn state_dir_in(base: &Path, address: &Address) -> PathBuf {
    use sha2::{Digest, Sha256};
    let hash = match address {
        Address::Local(path) => {
            let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
            // Without a slash at the end, which makes no other folder of it.
            let path: PathBuf = path.components().collect();
            Sha256::digest(path.as_os_str().as_bytes())
        }
        // Whoever looks at it: the same repository.
        Address::Rest(server) => Sha256::digest(format!("rest:{}", server.url())),
        Address::S3(bucket) => Sha256::digest(bucket.to_string()),
    };
    base.join("lifeboat").join(hex::encode(&hash[..8]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_vault_has_a_folder_and_another_way_to_write_it_is_no_other_vault() {
        let of = |address: &str| state_dir_in(Path::new("/s"), &address.parse().unwrap());
        let here = std::env::current_dir().unwrap().join("v");
        assert_eq!(of("v"), of(here.to_str().unwrap()));
        assert_eq!(of("/a/v/"), of("/a/./v"));
        assert_ne!(of("/a/v"), of("/a/w"));
        // The first 16 digits of `printf /a/v | sha256sum`.
        assert_eq!(of("/a/v"), Path::new("/s/lifeboat/f221d1a9bb96469a"));
        assert_eq!(of("rest:http://u:p@h/r"), of("rest:http://h/r/"));
        assert_ne!(of("rest:http://h/r"), of("rest:http://h/s"));
        assert_eq!(of("s3:h/b/p"), of("s3:https://h/b/p/"));
        assert_ne!(of("s3:h/b/p"), of("s3:h/b/q"));
    }

    #[test]
    fn credentials_are_those_of_the_vaults_kind() {
        let set = |name: &str| Some(format!("<{name}>"));
        let of = |address: &str| credentials(&address.parse().unwrap(), set);
        assert_eq!(of("/v"), None);
        assert_eq!(of("rest:http://h/").unwrap().user, "<RESTIC_REST_USERNAME>");
        let keys = of("s3:h/b").unwrap();
        assert_eq!(keys.user, "<AWS_ACCESS_KEY_ID>");
        assert_eq!(keys.session_token.unwrap().as_str(), "<AWS_SESSION_TOKEN>");
        let half = |name: &str| (name == "AWS_ACCESS_KEY_ID").then(|| "x".to_owned());
        assert_eq!(credentials(&"s3:h/b".parse().unwrap(), half), None);
    }

    #[test]
    fn options_are_known_or_refused() {
        let of = |texts: &[&str]| {
            let texts: Vec<String> = texts.iter().map(|&text| text.to_owned()).collect();
            s3_options(&texts, Some("from-environment".into()))
        };
        assert_eq!(of(&[]).unwrap().region.unwrap(), "from-environment");
        let options = of(&[
            "s3.region=eu",
            "s3.bucket-lookup=dns",
            "s3.kms-key-id=k",
            "s3.checksum=false",
        ]);
        let expected = S3Options {
            region: Some("eu".into()),
            style: BucketStyle::VirtualHost,
            encryption: Some(ServerEncryption::KeyService {
                key_id: Some("k".into()),
            }),
            checksum: false,
        };
        assert_eq!(options.unwrap(), expected);
        for broken in [
            "",
            "s3.region",
            "s3.region=",
            "s3.bucket-lookup=x",
            "rest.connections=5",
        ] {
            assert!(of(&[broken]).is_err(), "{broken}");
        }
    }
}
