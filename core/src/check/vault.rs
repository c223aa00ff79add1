//! Reading from the vault so that one damaged file does not end the check, and a vault that went away does.

use tokio::task::JoinSet;

use crate::{
    error::{Error, Kind, Result},
    format::FileType,
    storage::Storage,
};

/// Reads something, twice if need be. The inner error is about the one file, the outer one ends the check.
///
/// A file that cannot be read while the vault answers otherwise lies on a bad spot, or has the wrong owner:
/// that is damage, and not a vault that is away.
pub(crate) async fn attempt<T, F: Future<Output = Result<T>>>(
    storage: &dyn Storage,
    mut read: impl FnMut() -> F,
) -> Result<Result<T>> {
    let first = match once(storage, read().await).await? {
        Attempt::Settled(result) => return Ok(result),
        Attempt::Unsure(error) => error,
    };
    match once(storage, read().await).await? {
        Attempt::Settled(result) => Ok(result),
        Attempt::Unsure(_) => Ok(Err(first)),
    }
}

enum Attempt<T> {
    Settled(Result<T>),
    /// The vault is there, and reading failed all the same.
    Unsure(Error),
}

async fn once<T>(storage: &dyn Storage, result: Result<T>) -> Result<Attempt<T>> {
    let error = match result {
        Ok(value) => return Ok(Attempt::Settled(Ok(value))),
        Err(error) => error,
    };
    match error.kind() {
        Kind::Damaged | Kind::NotFound | Kind::Unsupported => Ok(Attempt::Settled(Err(error))),
        Kind::Unreachable | Kind::AccessDenied if storage.list(FileType::Key).await.is_ok() => {
            Ok(Attempt::Unsure(error))
        }
        _ => Err(error),
    }
}

/// Some tasks at a time, whose results come as they are ready. Dropping it ends them.
pub(crate) struct InFlight<R> {
    tasks: JoinSet<Result<R>>,
    at_once: usize,
}

impl<R: Send + 'static> InFlight<R> {
    pub(crate) fn new(at_once: usize) -> Self {
        Self {
            tasks: JoinSet::new(),
            at_once,
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.tasks.len() >= self.at_once
    }

    pub(crate) fn start(&mut self, task: impl Future<Output = Result<R>> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Starts as many as there is room for.
    pub(crate) fn fill<F: Future<Output = Result<R>> + Send + 'static>(
        &mut self,
        tasks: &mut impl Iterator<Item = F>,
    ) {
        while !self.is_full() {
            let Some(task) = tasks.next() else { return };
            self.start(task);
        }
    }

    /// The next that is ready; `None` when none is left.
    pub(crate) async fn next(&mut self) -> Option<Result<R>> {
        let joined = self.tasks.join_next().await?;
        Some(joined.unwrap_or_else(|error| {
            Err(if error.is_panic() {
                Error::bug("a task of the check panicked")
            } else {
                Error::stopped()
            })
        }))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::storage::LocalStorage;

    /// What comes of a file that fails so each time it is read, and how often that is.
    fn failing(storage: &LocalStorage, kind: Kind) -> (Result<Result<()>>, u32) {
        let reads = Cell::new(0);
        let read = || {
            reads.set(reads.get() + 1);
            async move { Err(Error::new(kind, "on purpose")) }
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let result = runtime.block_on(attempt(storage, read));
        (result, reads.get())
    }

    #[test]
    fn a_bad_spot_is_told_from_a_vault_that_is_away() {
        let dir = tempfile::tempdir().unwrap();
        let here = LocalStorage::new(dir.path().to_owned());
        let away = LocalStorage::new(dir.path().join("away"));
        for kind in [Kind::Unreachable, Kind::AccessDenied] {
            let (bad_spot, reads) = failing(&here, kind);
            assert_eq!((bad_spot.unwrap().unwrap_err().kind(), reads), (kind, 2));
            let (gone, reads) = failing(&away, kind);
            assert_eq!((gone.unwrap_err().kind(), reads), (kind, 1));
        }
        for kind in [Kind::Damaged, Kind::NotFound] {
            assert!(matches!(failing(&away, kind), (Ok(Err(_)), 1)));
        }
        assert!(failing(&here, Kind::OutOfSpace(crate::Place::State)).0.is_err());
    }
}
