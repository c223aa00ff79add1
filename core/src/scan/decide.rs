//! Whether a file must be read. Pure.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::{
    catalog::{FileRow, Stat},
    limits,
};

/// What to do with a regular file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    /// As it was when its content was sealed, and all of that is stored.
    Unchanged,
    /// As it was, but blobs have vanished from the vault since: look whether its own are there, and read it only if not.
    Verify,
    Read,
}

/// `now` is what the file is, `row` what it was when it was last sealed, `epoch` the catalog's loss epoch.
pub(crate) fn decide(now: &Stat, row: Option<&FileRow>, epoch: i64) -> Decision {
    match row {
        Some(row) if !row.settled || row.stat != *now => Decision::Read,
        Some(row) if row.epoch != epoch => Decision::Verify,
        Some(_) => Decision::Unchanged,
        None => Decision::Read,
    }
}

/// Whether a file with this status, read from `started` on, may change again without its status showing it.
///
/// File systems stamp with the tick of a coarse clock: a second write within the same tick leaves the same times. A status in the future is not
/// trusted either, since the clock was or will be set.
pub(crate) fn is_racy(stat: &Stat, started: SystemTime) -> bool {
    let (seconds, nanos) = stat.ctime.max(stat.mtime);
    let Ok(seconds) = u64::try_from(seconds) else {
        return false;
    };
    let window = Duration::from_millis(limits::RACY_WINDOW_MS);
    let changed = UNIX_EPOCH.checked_add(Duration::new(seconds, nanos.min(999_999_999)));
    changed
        .and_then(|changed| changed.checked_add(window))
        .is_none_or(|safe| started < safe)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: Stat = Stat {
        size: 5,
        mtime: (100, 0),
        ctime: (100, 7),
        inode: 9,
        log: None,
    };

    #[test]
    fn any_difference_is_a_reason_to_read() {
        let row = FileRow {
            stat: STAT,
            content: vec![],
            xattrs: None,
            epoch: 3,
            database_bytes: None,
            settled: true,
        };
        let unsettled = FileRow {
            settled: false,
            ..row.clone()
        };
        assert_eq!(decide(&STAT, Some(&unsettled), 3), Decision::Read);
        assert_eq!(decide(&STAT, None, 3), Decision::Read);
        assert_eq!(decide(&STAT, Some(&row), 3), Decision::Unchanged);
        assert_eq!(decide(&STAT, Some(&row), 4), Decision::Verify);
        let others = [
            Stat { size: 6, ..STAT },
            Stat {
                mtime: (100, 1),
                ..STAT
            },
            Stat {
                ctime: (100, 8),
                ..STAT
            },
            Stat { inode: 8, ..STAT },
            Stat {
                log: Some((0, (0, 0))),
                ..STAT
            },
        ];
        for other in others {
            assert_eq!(decide(&other, Some(&row), 3), Decision::Read, "{other:?}");
        }
    }

    #[test]
    fn a_status_is_trusted_once_its_tick_is_over() {
        let at = |ms| UNIX_EPOCH + Duration::from_millis(ms);
        assert!(is_racy(&STAT, at(100_000)));
        assert!(is_racy(&STAT, at(100_050)));
        assert!(!is_racy(&STAT, at(100_101)));
        assert!(
            is_racy(
                &Stat {
                    mtime: (5000, 0),
                    ..STAT
                },
                at(100_101)
            ),
            "from the future"
        );
        assert!(
            !is_racy(
                &Stat {
                    mtime: (-5, 0),
                    ctime: (-5, 0),
                    ..STAT
                },
                at(0)
            ),
            "before 1970"
        );
    }
}
