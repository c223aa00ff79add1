//! Making a repository, and opening one with a password or a master key.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::{Repository, keys};
use crate::{
    clock::Clock,
    error::{Error, Kind, Result},
    format::{Config, FileId, FileType, FormatError, KeyFile, KeyId, MasterKey, RepositoryId},
    runtime::cpu::CpuPool,
    storage::{Body, Storage, file_name},
};

/// A config is some 150 bytes; another client may have added to it.
pub(crate) const CONFIG_BYTES_MAX: u64 = 1 << 20;

/// What opens a repository.
pub enum Unlock {
    /// Tried on every key file. Costs what the key files ask for, usually 32 MiB of memory and a tenth of a second each.
    Password(Zeroizing<String>),
    /// The master key, as a phone keeps it in its own key store.
    MasterKey(MasterKey),
}

/// The id that the config has everywhere it is asked for by one: it has a name of its own.
pub(crate) const CONFIG_ID: FileId = FileId::from_bytes([0; 32]);

/// Makes a new repository in a vault that holds none, opened by `password`.
///
/// The config is written last: a vault without one is no repository, so a crash before leaves only a key file, which is named in the error of
/// the next try.
pub async fn init(
    storage: &dyn Storage,
    password: &str,
    host: &str,
    clock: &dyn Clock,
) -> Result<(RepositoryId, MasterKey)> {
    if storage
        .size(FileType::Config, &CONFIG_ID)
        .await
        .is_ok_and(|size| size.is_some())
    {
        let text = format!("there is a repository in {} already", storage.name());
        return Err(Error::new(Kind::RepositoryExists, text));
    }
    storage.create().await?;
    for kind in [FileType::Key, FileType::Snapshot] {
        if let Some((id, _)) = storage.list(kind).await?.first() {
            let text = format!(
                "{} has no config but holds {}: the remains of a repository. Use an empty place, or remove them by hand if you \
                 are sure that nothing there is needed",
                storage.name(),
                file_name(kind, id)
            );
            return Err(Error::new(Kind::RepositoryExists, text));
        }
    }
    let broken = |error| Error::with_source(Kind::Io, "making the new repository's keys", error);
    let master = MasterKey::generate().map_err(broken)?;
    let config = Config::create().map_err(broken)?;
    let sealed = config
        .encode()
        .and_then(|config| master.seal(&config))
        .map_err(broken)?;
    let key = keys::seal_key(&master, password, host, clock)?;
    storage
        .put(FileType::Key, &key.0.into(), Body::Bytes(key.1))
        .await?;
    storage
        .put(FileType::Config, &CONFIG_ID, Body::Bytes(sealed.into()))
        .await?;
    Ok((config.id, master))
}

/// Opens the repository in `storage`.
pub(crate) async fn open(
    storage: Arc<dyn Storage>,
    unlock: Unlock,
    cpu: CpuPool,
    clock: Arc<dyn Clock>,
) -> Result<Repository> {
    let sealed = match storage.get(FileType::Config, &CONFIG_ID, CONFIG_BYTES_MAX).await {
        Ok(sealed) => sealed,
        // A folder that does not exist is a wrong address or a vault that is away; neither holds a repository that could be opened.
        Err(error) if error.kind() == Kind::NotFound => return Err(no_repository(&*storage)),
        Err(error) => return Err(error),
    };
    let (key, key_id) = match unlock {
        Unlock::MasterKey(key) => (key, None),
        Unlock::Password(password) => {
            let (key, id) = find_key(&*storage, &cpu, Arc::new(password)).await?;
            (key, Some(id))
        }
    };
    let plain = key.open(&sealed).map_err(|error| match (error, key_id) {
        (FormatError::Unauthentic, None) => Error::new(
            Kind::WrongPassword,
            "the master key does not belong to this repository",
        ),
        (error, _) => Error::format("config", error),
    })?;
    let config = Config::parse(&plain).map_err(|error| Error::format("config", error))?;
    let config = Arc::new(config);
    Ok(Repository {
        storage,
        key: Arc::new(key),
        key_id,
        config,
        cpu,
        clock,
    })
}

fn no_repository(storage: &dyn Storage) -> Error {
    let text = format!(
        "there is no repository in {}: check the address, or make one with `init`",
        storage.name()
    );
    Error::new(Kind::NoRepository, text)
}

/// Tries every key file. One that is damaged or of an unknown sort does not stand in the way of the others.
async fn find_key(
    storage: &dyn Storage,
    cpu: &CpuPool,
    password: Arc<Zeroizing<String>>,
) -> Result<(MasterKey, KeyId)> {
    let ids = storage.list(FileType::Key).await?;
    let (mut wrong, mut broken) = (0_usize, None);
    for (id, _) in &ids {
        let file = match keys::load_key(storage, id).await {
            Ok(file) => file,
            Err(error) if error.kind() == Kind::Damaged || error.kind() == Kind::Unsupported => {
                broken = Some(error);
                continue;
            }
            Err(error) => return Err(error),
        };
        match try_key(cpu, file, password.clone()).await? {
            Ok(key) => return Ok((key, (*id).into())),
            Err(FormatError::Unauthentic) => wrong += 1,
            Err(error) => broken = Some(Error::format(file_name(FileType::Key, id), error)),
        }
    }
    match (wrong, broken) {
        (0, None) => Err(Error::new(
            Kind::Damaged,
            "the vault holds a repository, but none of its key files",
        )),
        (0, Some(error)) => Err(error.within("no key file of the repository can be used")),
        (_, None) => Err(Error::new(
            Kind::WrongPassword,
            "no key of this repository opens with this password",
        )),
        (_, Some(error)) => Err(Error::with_source(
            Kind::WrongPassword,
            "no usable key of this repository opens with this password, and a key file is damaged",
            error,
        )),
    }
}

/// The outer result is the pool's, the inner one says whether the password fits.
async fn try_key(
    cpu: &CpuPool,
    file: KeyFile,
    password: Arc<Zeroizing<String>>,
) -> Result<Result<MasterKey, FormatError>> {
    cpu.run(move |_| Ok(file.open(&password))).await
}
