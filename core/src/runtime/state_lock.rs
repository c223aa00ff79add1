//! The lock on an engine's folder, which keeps two engines from working in one.

use std::{
    fs::{self, File},
    path::Path,
};

use rustix::fs::{FlockOperation, flock};

use crate::error::{Error, Kind, Place, Result};

/// Held until it is dropped, or the process ends, however it does.
#[derive(Debug)]
pub(crate) struct StateLock(File);

impl StateLock {
    /// Makes the folder if there is none, and takes it. `Kind::Busy` while another engine has it.
    pub(crate) fn take(dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir).map_err(|error| Error::io(Place::State, "creating", dir, error))?;
        let path = dir.join("lock");
        let file = File::create(&path).map_err(|error| Error::io(Place::State, "creating", &path, error))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self(file)),
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let text = format!(
                    "another engine works with {}: wait for its end, or use another state folder",
                    dir.display()
                );
                Err(Error::new(Kind::Busy, text))
            }
            Err(error) => Err(Error::io(Place::State, "locking", &path, error.into())),
        }
    }
}

impl Drop for StateLock {
    fn drop(&mut self) {
        // Closing would not do: a process that the app is just starting has a copy of the descriptor until it is another program, and would hold
        // the lock for that long. Where unlocking fails, closing is the second try.
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_whoever_has_a_copy_of_the_descriptor() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let lock = StateLock::take(&state).unwrap();
        assert_eq!(StateLock::take(&state).unwrap_err().kind(), Kind::Busy);
        // As a process that was forked has one.
        let copy = lock.0.try_clone().unwrap();
        drop(lock);
        StateLock::take(&state).unwrap();
        drop(copy);
    }
}
