//! The key files of a repository: each wraps the same master key with another password.

use std::sync::Arc;

use nix::unistd::{Uid, User};

use super::Repository;
use crate::{
    clock::Clock,
    error::{Error, Kind, Result},
    format::{FileId, FileType, KeyFile, KeyId, MasterKey, ScryptParams, Timestamp, generate_salt},
    storage::{Body, Storage, file_name},
};

/// A key file is some 450 bytes.
pub(crate) const KEY_FILE_BYTES_MAX: u64 = 64 << 10;
/// restic gives up opening a repository after trying twenty key files; some room is left for its own.
const KEYS_MAX: usize = 16;

/// What a key file says of itself, without its secrets.
#[derive(Debug, Clone)]
pub struct KeyInfo {
    pub id: KeyId,
    pub created: String,
    pub username: String,
    pub hostname: String,
    /// Whether the repository was opened with this one.
    pub current: bool,
}

/// Fetches and parses a key file, and checks it against its name.
pub(crate) async fn load_key(storage: &dyn Storage, id: &FileId) -> Result<KeyFile> {
    let bytes = storage.get(FileType::Key, id, KEY_FILE_BYTES_MAX).await?;
    let name = file_name(FileType::Key, id);
    if FileId::of(&bytes) != *id {
        return Err(Error::new(
            Kind::Damaged,
            format!("{name}: its content does not hash to its name"),
        ));
    }
    KeyFile::parse(&bytes).map_err(|error| Error::format(name, error))
}

/// Wraps the master key with a password: the new file's name and bytes.
pub(super) fn seal_key(
    master: &MasterKey,
    password: &str,
    host: &str,
    clock: &dyn Clock,
) -> Result<(KeyId, Arc<[u8]>)> {
    if password.is_empty() {
        return Err(Error::new(Kind::InvalidInput, "the password is empty"));
    }
    let created = Timestamp::from(clock.wall()).to_string();
    let make = |salt| {
        let (username, host) = (username(), host.to_owned());
        KeyFile::create(
            master,
            password,
            ScryptParams::default(),
            salt,
            created,
            username,
            host,
        )
    };
    let bytes = generate_salt()
        .and_then(make)
        .and_then(|file| file.encode())
        .map_err(|error| Error::with_source(Kind::Io, "making a key file", error))?;
    Ok((KeyId::of(&bytes), Arc::from(bytes)))
}

/// Who runs this, for people who read key files and snapshots. Empty where nobody knows, as in an app on a phone.
pub(crate) fn username() -> String {
    let user = User::from_uid(Uid::current()).ok().flatten();
    user.map(|user| user.name).unwrap_or_default()
}

pub(crate) async fn list_keys(repository: &Repository) -> Result<Vec<KeyInfo>> {
    let mut keys = Vec::new();
    for (id, _) in repository.storage.list(FileType::Key).await? {
        let file = load_key(&*repository.storage, &id).await?;
        keys.push(KeyInfo {
            id: id.into(),
            created: file.created.clone(),
            username: file.username.clone(),
            hostname: file.hostname.clone(),
            current: repository
                .key_id
                .is_some_and(|current| FileId::from(current) == id),
        });
    }
    keys.sort_by(|a, b| (&a.created, a.id).cmp(&(&b.created, b.id)));
    Ok(keys)
}

pub(crate) async fn add_key(repository: &Repository, password: &str, host: &str) -> Result<KeyId> {
    let count = repository.storage.list(FileType::Key).await?.len();
    if count >= KEYS_MAX {
        let text = format!(
            "the repository has {count} keys already; restic stops looking after 20: remove one first"
        );
        return Err(Error::new(Kind::InvalidInput, text));
    }
    let (id, bytes) = seal_key(&repository.key, password, host, &*repository.clock)?;
    repository
        .storage
        .put(FileType::Key, &id.into(), Body::Bytes(bytes))
        .await?;
    Ok(id)
}

/// Removes the key whose id begins with `prefix`. The one in use stays: it may be the last that anyone knows.
pub(crate) async fn remove_key(repository: &Repository, prefix: &str) -> Result<KeyId> {
    let all = repository.storage.list(FileType::Key).await?;
    let mut matching = all.iter().filter(|(id, _)| id.to_string().starts_with(prefix));
    let (Some((id, _)), None) = (matching.next(), matching.next()) else {
        let text = format!("'{prefix}' does not begin the id of exactly one key; `key list` shows them");
        return Err(Error::new(Kind::NotFound, text));
    };
    if repository
        .key_id
        .is_none_or(|current| FileId::from(current) == *id)
        && all.len() == 1
        || repository
            .key_id
            .is_some_and(|current| FileId::from(current) == *id)
    {
        let text = "this key opened the repository: to remove it, open the repository with another one";
        return Err(Error::new(Kind::InvalidInput, text));
    }
    repository.storage.delete(FileType::Key, id).await?;
    Ok((*id).into())
}
