//! The thread that owns the catalog's connection: bounded queue, one transaction a change, suspended and joined on demand.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
};

use rusqlite::{Connection, InterruptHandle, Transaction, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

use super::{schema, sql_error};
use crate::{
    error::{Error, Kind, Result},
    limits,
    runtime::state_lock::StateLock,
};

type Job = Box<dyn FnOnce(&mut State) + Send>;
/// Opens or makes a database of some schema; `true` when it was made.
type Open = fn(&Path) -> Result<(Connection, bool)>;

/// What requests work on.
struct State {
    path: PathBuf,
    open: Open,
    /// `None` while suspended, and after corruption was found.
    connection: Option<Connection>,
    interrupt: Arc<Mutex<Option<InterruptHandle>>>,
    _folder: Option<Arc<StateLock>>,
}

/// A handle to the catalog; clones share it.
#[derive(Clone)]
pub(crate) struct Catalog {
    /// The lock on the state folder. Whoever works there has this handle, so it is held until the last of them has ended, however they end. It
    /// stands before the queue, and is let go of before it: who joins the catalog's thread waits for the last queue, and then the folder is free.
    _folder: Option<Arc<StateLock>>,
    queue: mpsc::Sender<Job>,
    interrupt: Arc<Mutex<Option<InterruptHandle>>>,
}

/// Owned by whoever started the catalog; ends it.
pub(crate) struct CatalogThread(JoinHandle<()>);

impl Catalog {
    /// Opens the catalog in `path` and starts its thread. `true` when the catalog is new. `folder` is the lock on the folder around it.
    pub(crate) fn start(path: &Path, folder: StateLock) -> Result<(Self, CatalogThread, bool)> {
        Self::start_in(path, schema::open, Some(Arc::new(folder)))
    }

    /// The same thread and the same promises for a database of another schema.
    pub(crate) fn start_with(path: &Path, open: Open) -> Result<(Self, CatalogThread, bool)> {
        Self::start_in(path, open, None)
    }

    /// A catalog by itself, in a folder that is nobody's.
    pub(crate) fn start_unlocked(path: &Path) -> Result<(Self, CatalogThread, bool)> {
        Self::start_with(path, schema::open)
    }

    fn start_in(
        path: &Path,
        open: Open,
        folder: Option<Arc<StateLock>>,
    ) -> Result<(Self, CatalogThread, bool)> {
        let (connection, is_new) = open(path)?;
        let interrupt = Arc::new(Mutex::new(Some(connection.get_interrupt_handle())));
        let (queue, mut jobs) = mpsc::channel::<Job>(limits::CATALOG_QUEUE_REQUESTS);
        let mut state = State {
            path: path.to_owned(),
            open,
            connection: Some(connection),
            interrupt: interrupt.clone(),
            _folder: folder.clone(),
        };
        let thread = thread::Builder::new().name("catalog".into()).spawn(move || {
            while let Some(job) = jobs.blocking_recv() {
                job(&mut state);
            }
            state.close();
        });
        let thread =
            thread.map_err(|error| Error::with_source(Kind::Io, "starting the catalog's thread", error))?;
        let catalog = Self {
            _folder: folder,
            queue,
            interrupt,
        };
        Ok((catalog, CatalogThread(thread), is_new))
    }

    /// Changes the catalog in one transaction, which is committed before this returns.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Transaction<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.ask(move |state| state.write(change)).await
    }

    pub(crate) async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.ask(move |state| state.read(query)).await
    }

    /// `write` for threads that may block.
    pub(crate) fn write_blocking<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Transaction<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.ask_blocking(move |state| state.write(change))
    }

    /// `read` for threads that may block.
    pub(crate) fn read_blocking<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.ask_blocking(move |state| state.read(query))
    }

    /// Ends the statement that runs now with `Kind::Cancelled`; requests that wait still run.
    pub(crate) fn interrupt(&self) {
        if let Some(handle) = &*self.interrupt.lock().unwrap_or_else(PoisonError::into_inner) {
            handle.interrupt();
        }
    }

    /// Closes the file, and with it every lock on it, once the requests before this one are done.
    pub(crate) async fn suspend(&self) -> Result<()> {
        self.ask(|state| {
            state.close();
            Ok(())
        })
        .await
    }

    /// Opens the file again.
    pub(crate) async fn resume(&self) -> Result<()> {
        self.ask(State::reopen).await
    }

    async fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut State) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (job, answer) = package(work);
        self.queue.send(job).await.map_err(|_| Error::stopped())?;
        answer.await.unwrap_or_else(|_| Err(Error::stopped()))
    }

    fn ask_blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut State) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (job, answer) = package(work);
        self.queue.blocking_send(job).map_err(|_| Error::stopped())?;
        answer.blocking_recv().unwrap_or_else(|_| Err(Error::stopped()))
    }
}

fn package<T: Send + 'static>(
    work: impl FnOnce(&mut State) -> Result<T> + Send + 'static,
) -> (Job, oneshot::Receiver<Result<T>>) {
    let (reply, answer) = oneshot::channel();
    let job: Job = Box::new(move |state| {
        let result = catch_unwind(AssertUnwindSafe(|| work(state)));
        let result = result.unwrap_or_else(|_| Err(Error::bug("a request to the catalog panicked")));
        if result.as_ref().is_err_and(|error| error.kind() == Kind::Catalog) {
            state.give_up();
        }
        // The asker may have been cancelled; what was committed stays.
        let _ = reply.send(result);
    });
    (job, answer)
}

impl State {
    fn connection(&mut self) -> Result<&mut Connection> {
        self.connection.as_mut().ok_or_else(Error::stopped)
    }

    fn write<T>(&mut self, change: impl FnOnce(&Transaction<'_>) -> Result<T>) -> Result<T> {
        let connection = self.connection()?;
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(sql_error)?;
        let value = change(&transaction)?;
        transaction.commit().map_err(sql_error)?;
        Ok(value)
    }

    fn read<T>(&mut self, query: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        query(self.connection()?)
    }

    fn set(&mut self, connection: Option<Connection>) {
        let handle = connection.as_ref().map(Connection::get_interrupt_handle);
        *self.interrupt.lock().unwrap_or_else(PoisonError::into_inner) = handle;
        self.connection = connection;
    }

    fn close(&mut self) {
        // Closing the last connection also folds the write-ahead log into the file.
        self.set(None);
    }

    fn reopen(&mut self) -> Result<()> {
        if self.connection.is_none() {
            let (connection, _) = (self.open)(&self.path)?;
            self.set(Some(connection));
        }
        Ok(())
    }

    fn give_up(&mut self) {
        schema::mark_for_rebuild(&self.path);
        self.close();
    }
}

impl CatalogThread {
    /// Waits until every request has been answered and the file is closed. All clones of the handle must be gone.
    pub(crate) fn join(self) {
        // A panic inside a request is caught there; one outside has nothing left to tell.
        let _ = self.0.join();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(dir: &Path) -> (Catalog, CatalogThread) {
        let (catalog, thread, _) = Catalog::start_unlocked(&dir.join("catalog.db")).unwrap();
        (catalog, thread)
    }

    fn put(catalog: &Catalog, key: &'static str) -> Result<()> {
        catalog.write_blocking(move |tx| {
            tx.execute("INSERT INTO meta VALUES (?1, x'00')", [key])
                .map_err(sql_error)?;
            if key == "bad" {
                Err(Error::bug("after the change"))
            } else {
                Ok(())
            }
        })
    }

    fn keys(catalog: &Catalog) -> i64 {
        let count = |c: &Connection| {
            c.query_row("SELECT count(*) FROM meta", [], |r| r.get(0))
                .map_err(sql_error)
        };
        catalog.read_blocking(count).unwrap()
    }

    #[test]
    fn a_change_that_fails_or_panics_leaves_nothing_and_harms_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let (catalog, thread) = start(dir.path());
        put(&catalog, "good").unwrap();
        put(&catalog, "bad").unwrap_err();
        let panicked = catalog.write_blocking::<()>(|_| panic!("on purpose"));
        assert_eq!(panicked.unwrap_err().kind(), Kind::Bug);
        assert_eq!(keys(&catalog), 1);
        drop(catalog);
        thread.join();
        assert_eq!(keys(&start(dir.path()).0), 1);
    }

    #[test]
    fn suspended_it_holds_no_file_and_answers_so() {
        let dir = tempfile::tempdir().unwrap();
        let (catalog, _thread) = start(dir.path());
        put(&catalog, "good").unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(catalog.suspend()).unwrap();
        assert!(
            !dir.path().join("catalog.db-wal").exists(),
            "closed and folded in"
        );
        assert_eq!(put(&catalog, "late").unwrap_err().kind(), Kind::NotRunning);
        runtime.block_on(catalog.resume()).unwrap();
        assert_eq!(keys(&catalog), 1);
    }
}
