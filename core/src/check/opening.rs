//! What anyone needs who opens the repository: its config, its keys, and no lock in the way.

use serde::{Deserialize, de::IgnoredAny};

use super::{Checker, findings::text_of, vault::attempt};
use crate::{
    error::{Error, Result},
    format::{Config, FileId, FileType, Timestamp, ZonedTimestamp},
    repository::{self, CONFIG_BYTES_MAX, CONFIG_ID, KEY_FILE_BYTES_MAX, LockKind},
    storage::file_name,
};

/// restic gives up after trying so many.
const KEYS_RESTIC_TRIES: usize = 20;

impl Checker {
    /// Locks come first: while another client may delete, what is missing says nothing.
    ///
    /// `Kind::Locked` where someone holds the vault for himself and has refreshed his lock within half an
    /// hour.
    pub(super) async fn check_locks(&mut self) -> Result<()> {
        let now = Timestamp::from(self.repository.clock.wall());
        for (id, size) in self.repository.storage.list(FileType::Lock).await? {
            let subject = file_name(FileType::Lock, &id);
            if size == 0 {
                self.found.hint(
                    subject,
                    "an empty lock, left by a client that died: `unlock` removes it",
                );
                continue;
            }
            let lock = attempt(&*self.repository.storage, || {
                repository::read_lock(&self.repository, id)
            });
            match lock.await? {
                Ok(lock) if lock.time.is_none() => {
                    let text = "its time cannot be read; restic does nothing while it is there: `unlock` \
                                removes it";
                    self.found.error(subject, text);
                }
                Ok(lock) if repository::is_stale(&lock, now) => {
                    let text = "a lock that nobody refreshed for half an hour; it keeps others from \
                                deleting, or, if it is exclusive, from everything: `unlock` removes it";
                    self.found.hint(subject, text);
                }
                Ok(lock) if lock.kind == LockKind::Exclusive => return Err(repository::locked(&lock, now)),
                Ok(_) => {}
                Err(error) if self.is_gone(FileType::Lock, &id).await? => drop(error),
                Err(error) => {
                    let text = text_of(&error, &subject);
                    let advice = "restic does nothing while it is there: `unlock --all` removes it";
                    self.found.error(subject, format!("{text}; {advice}"));
                }
            }
        }
        Ok(())
    }

    pub(super) async fn check_config(&mut self) -> Result<()> {
        let storage = self.repository.storage.clone();
        let read = attempt(&*storage, || {
            storage.get(FileType::Config, &CONFIG_ID, CONFIG_BYTES_MAX)
        });
        let config = read.await?.and_then(|sealed| {
            let plain = self.repository.key.open(&sealed)?;
            Ok(Config::parse(&plain)?)
        });
        let problem = match config {
            Ok(config) if config.id == self.repository.config.id => return Ok(()),
            Ok(_) => "it is not the one that this repository was opened with".to_owned(),
            Err(error) => text_of(&error, "config"),
        };
        let advice = "nobody can open the repository without it: put back a copy of this file";
        self.found.error("config", format!("{problem}; {advice}"));
        Ok(())
    }

    pub(super) async fn check_keys(&mut self) -> Result<()> {
        let storage = self.repository.storage.clone();
        let keys = storage.list(FileType::Key).await?;
        for (id, _) in &keys {
            let subject = file_name(FileType::Key, id);
            let key: Result<_, Error> = attempt(&*storage, || repository::load_key(&*storage, id)).await?;
            match key {
                Ok(key) if ZonedTimestamp::parse(&key.created).is_ok() => {}
                Ok(_) if self.tells_no_time(id).await? => {}
                Err(_) if self.is_gone(FileType::Key, id).await? => {}
                not_for_restic => {
                    let text = match not_for_restic {
                        Ok(_) => "the time when it was made cannot be read".into(),
                        Err(error) => text_of(&error, &subject),
                    };
                    let advice = "restic refuses to open the repository when it comes to this file: make \
                                  sure that another password opens the repository, then delete it";
                    self.found.error(subject, format!("{text}; {advice}"));
                }
            }
        }
        if keys.is_empty() {
            let text = "there is no key file: no password opens the repository. Add one with a device that \
                        still opens it";
            self.found.error("keys", text);
        }
        if keys.len() > KEYS_RESTIC_TRIES {
            let text = format!(
                "there are {} key files, and restic tries {KEYS_RESTIC_TRIES}: remove some",
                keys.len()
            );
            self.found.hint("keys", text);
        }
        Ok(())
    }

    /// Whether a key file leaves out when it was made, which restic accepts; a time that it cannot read it does
    /// not accept.
    async fn tells_no_time(&self, id: &FileId) -> Result<bool> {
        #[derive(Deserialize)]
        struct Created {
            created: Option<IgnoredAny>,
        }
        let storage = &*self.repository.storage;
        let read = attempt(storage, || storage.get(FileType::Key, id, KEY_FILE_BYTES_MAX));
        let created = read.await?.map(|bytes| serde_json::from_slice::<Created>(&bytes));
        Ok(matches!(created, Ok(Ok(Created { created: None }))))
    }

    /// Whether a file that was listed is not there any more.
    pub(super) async fn is_gone(&self, kind: FileType, id: &FileId) -> Result<bool> {
        let storage = &*self.repository.storage;
        Ok(matches!(
            attempt(storage, || storage.size(kind, id)).await?,
            Ok(None)
        ))
    }
}
