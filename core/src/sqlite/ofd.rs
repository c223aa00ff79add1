//! Locks of open file descriptions: the one thing that the engine asks the operating system for without a safe library between.
//!
//! POSIX locks belong to the process and fall with the `close()` of *any* descriptor of the file. These belong to the descriptor,
//! conflict with POSIX locks of every process, ours included, and go only when they are released or the descriptor is closed.
//! Linux and Android have them since 3.15, Apple's systems since iOS 13 and macOS 10.15; elsewhere every call is refused as unsupported.

#![allow(unsafe_code)]

use std::{io, os::fd::BorrowedFd};

/// Bytes of a file that a lock is on. A length of zero reaches to the end, wherever it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Range {
    pub(crate) start: u64,
    pub(crate) bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lock {
    Shared,
    Exclusive,
}

/// Whether the lock was free. Never waits. An exclusive lock needs a descriptor that may write.
pub(crate) fn try_lock(file: BorrowedFd<'_>, range: Range, lock: Lock) -> io::Result<bool> {
    match os::set(file, range, Some(lock)) {
        Ok(()) => Ok(true),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(false),
        Err(error) => Err(error),
    }
}

pub(crate) fn unlock(file: BorrowedFd<'_>, range: Range) -> io::Result<()> {
    os::set(file, range, None)
}

/// A lock that somebody else holds within the range, this process's POSIX locks included; nothing is locked by asking.
pub(crate) fn other_lock(file: BorrowedFd<'_>, range: Range) -> io::Result<Option<Lock>> {
    os::get(file, range)
}

#[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
mod os {
    use std::{
        io,
        os::fd::{AsRawFd, BorrowedFd},
    };

    use super::{Lock, Range};

    // These commands take 64-bit offsets, also where `flock` has 32.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    type Flock = libc::flock64;
    #[cfg(target_vendor = "apple")]
    type Flock = libc::flock;

    pub(super) fn set(file: BorrowedFd<'_>, range: Range, lock: Option<Lock>) -> io::Result<()> {
        call(file, libc::F_OFD_SETLK, range, lock).map(|_| ())
    }

    pub(super) fn get(file: BorrowedFd<'_>, range: Range) -> io::Result<Option<Lock>> {
        let found = call(file, libc::F_OFD_GETLK, range, Some(Lock::Exclusive))?;
        Ok(match libc::c_int::from(found.l_type) {
            kind if kind == libc::F_UNLCK as libc::c_int => None,
            kind if kind == libc::F_RDLCK as libc::c_int => Some(Lock::Shared),
            _ => Some(Lock::Exclusive),
        })
    }

    fn call(
        file: BorrowedFd<'_>,
        command: libc::c_int,
        range: Range,
        lock: Option<Lock>,
    ) -> io::Result<Flock> {
        let offset = |number: u64| {
            number
                .try_into()
                .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))
        };
        // SAFETY: a structure of C made of integers only, for which zeros are a value; the owner must be zero for these commands.
        let mut flock: Flock = unsafe { std::mem::zeroed() };
        flock.l_type = match lock {
            None => libc::F_UNLCK as _,
            Some(Lock::Shared) => libc::F_RDLCK as _,
            Some(Lock::Exclusive) => libc::F_WRLCK as _,
        };
        flock.l_whence = libc::SEEK_SET as _;
        flock.l_start = offset(range.start)?;
        flock.l_len = offset(range.bytes)?;
        loop {
            // SAFETY: the descriptor is open for as long as it is borrowed; both commands read one `Flock` through the pointer, and at
            // most write it; it lives across the call.
            let result = unsafe { libc::fcntl(file.as_raw_fd(), command, &raw mut flock) };
            if result != -1 {
                return Ok(flock);
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
mod os {
    use std::{io, os::fd::BorrowedFd};

    use super::{Lock, Range};

    pub(super) fn set(_: BorrowedFd<'_>, _: Range, _: Option<Lock>) -> io::Result<()> {
        Err(io::Error::from_raw_os_error(libc::EINVAL))
    }

    pub(super) fn get(_: BorrowedFd<'_>, _: Range) -> io::Result<Option<Lock>> {
        Err(io::Error::from_raw_os_error(libc::EINVAL))
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, os::fd::AsFd};

    use super::*;

    const BYTE: Range = Range { start: 7, bytes: 1 };

    #[test]
    fn descriptors_of_one_process_exclude_each_other() {
        let path = tempfile::NamedTempFile::new().unwrap();
        let open = || File::options().read(true).write(true).open(path.path()).unwrap();
        let (one, two) = (open(), open());
        assert!(try_lock(one.as_fd(), BYTE, Lock::Shared).unwrap());
        assert!(try_lock(two.as_fd(), BYTE, Lock::Shared).unwrap());
        assert_eq!(other_lock(one.as_fd(), BYTE).unwrap(), Some(Lock::Shared));
        assert!(!try_lock(two.as_fd(), BYTE, Lock::Exclusive).unwrap());
        unlock(one.as_fd(), BYTE).unwrap();
        assert!(try_lock(two.as_fd(), BYTE, Lock::Exclusive).unwrap());
        assert_eq!(other_lock(one.as_fd(), BYTE).unwrap(), Some(Lock::Exclusive));
        assert_eq!(
            other_lock(two.as_fd(), BYTE).unwrap(),
            None,
            "one's own is not another's"
        );
        drop(open());
        assert!(
            !try_lock(one.as_fd(), BYTE, Lock::Shared).unwrap(),
            "closing another descriptor"
        );
    }
}
