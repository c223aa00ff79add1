//! The journal: what the scheduler decided, what became of it, and what all of it adds up to. Bounded: the oldest rows are folded into counts, and nothing
//! that decisions need is lost by that.

use rusqlite::{Connection, OptionalExtension, Transaction, params};
use serde::{Serialize, de::DeserializeOwned};

use super::sql_error;
use crate::{
    civil::{CivilDate, SECONDS_PER_DAY},
    error::{Error, Kind, Result},
    limits,
    scheduler::{
        Conditions, Entry, History, Policy,
        explain::{Counted, Row},
    },
};

const HISTORY: &str = "history";
const POLICY: &str = "policy";
const CONDITIONS: &str = "conditions";

/// Writes one entry down, takes it into the history, and remembers the conditions.
pub(crate) fn append(
    tx: &Transaction<'_>,
    now_ms: i64,
    conditions: &Conditions,
    entry: &Entry,
) -> Result<()> {
    let mut history = history(tx)?.unwrap_or_else(|| History::begin(0, now_ms));
    for notice in history.notices(now_ms, conditions) {
        history.apply(now_ms, conditions, &notice);
        add(tx, now_ms, &notice)?;
    }
    history.apply(now_ms, conditions, entry);
    add(tx, now_ms, entry)?;
    set(tx, HISTORY, &history)?;
    set(tx, CONDITIONS, conditions)?;
    fold(tx)
}

/// Begins a history, if there is none. `install` spreads a fleet: any number that is this install's own.
pub(crate) fn begin(tx: &Transaction<'_>, now_ms: i64, install: u64) -> Result<History> {
    if let Some(history) = history(tx)? {
        return Ok(history);
    }
    let history = History::begin(install, now_ms);
    set(tx, HISTORY, &history)?;
    Ok(history)
}

pub(crate) fn history(connection: &Connection) -> Result<Option<History>> {
    get(connection, HISTORY)
}

pub(crate) fn policy(connection: &Connection) -> Result<Option<Policy>> {
    get(connection, POLICY)
}

pub(crate) fn set_policy(tx: &Transaction<'_>, policy: &Policy) -> Result<()> {
    set(tx, POLICY, policy)
}

/// As the host last said them.
pub(crate) fn conditions(connection: &Connection) -> Result<Option<Conditions>> {
    get(connection, CONDITIONS)
}

/// All rows, the oldest first.
pub(crate) fn rows(connection: &Connection) -> Result<Vec<Row>> {
    let mut statement = connection
        .prepare_cached("SELECT no, at_ms, until_ms, entry FROM journal ORDER BY no")
        .map_err(sql_error)?;
    let rows = statement
        .query_map([], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get::<_, String>(3)?))
        })
        .map_err(sql_error)?;
    let mut found = Vec::new();
    for row in rows {
        let (no, at_ms, until_ms, entry) = row.map_err(sql_error)?;
        // An entry of another version of the engine says nothing to this one.
        if let Ok(entry) = serde_json::from_str(&entry) {
            found.push(Row {
                no,
                at_ms,
                until_ms,
                entry,
            });
        }
    }
    Ok(found)
}

/// What was folded, the oldest month first.
pub(crate) fn counts(connection: &Connection) -> Result<Vec<Counted>> {
    let mut statement = connection
        .prepare_cached("SELECT month, code, number, bytes FROM journal_counts ORDER BY month, code")
        .map_err(sql_error)?;
    let rows = statement
        .query_map([], |row| {
            Ok(Counted {
                month: row.get(0)?,
                code: row.get(1)?,
                number: row.get(2)?,
                bytes: row.get(3)?,
            })
        })
        .map_err(sql_error)?;
    rows.collect::<Result<_, _>>().map_err(sql_error)
}

/// Adds a row, or lengthens the last one if that says the same.
fn add(tx: &Transaction<'_>, now_ms: i64, entry: &Entry) -> Result<()> {
    let text = json(entry)?;
    if let Entry::Waited(waited) = entry {
        let last: Option<(i64, String)> = tx
            .query_row(
                "SELECT no, entry FROM journal ORDER BY no DESC LIMIT 1",
                [],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .optional()
            .map_err(sql_error)?;
        let same = last.filter(|(_, last)| {
            let last = serde_json::from_str(last);
            matches!(last, Ok(Entry::Waited(last)) if last.due == waited.due && last.reasons == waited.reasons)
        });
        if let Some((no, _)) = same {
            tx.execute(
                "UPDATE journal SET until_ms = ?2, entry = ?3 WHERE no = ?1",
                params![no, now_ms, text],
            )
            .map_err(sql_error)?;
            return Ok(());
        }
    }
    tx.execute(
        "INSERT INTO journal (at_ms, until_ms, entry) VALUES (?1, ?1, ?2)",
        params![now_ms, text],
    )
    .map_err(sql_error)?;
    Ok(())
}

/// Keeps the bound: the oldest rows become counts, and the oldest counts go.
fn fold(tx: &Transaction<'_>) -> Result<()> {
    let last: i64 = tx
        .query_row("SELECT coalesce(max(no), 0) FROM journal", [], |row| row.get(0))
        .map_err(sql_error)?;
    let keep_after = last - i64::try_from(limits::JOURNAL_ROWS_MAX).unwrap_or(i64::MAX);
    let mut statement = tx
        .prepare_cached("DELETE FROM journal WHERE no <= ?1 RETURNING at_ms, entry")
        .map_err(sql_error)?;
    let dropped: Vec<(i64, String)> = statement
        .query_map([keep_after], |row| Ok((row.get(0)?, row.get(1)?)))
        .and_then(Iterator::collect)
        .map_err(sql_error)?;
    if dropped.is_empty() {
        return Ok(());
    }
    for (at_ms, entry) in dropped {
        let Ok(entry) = serde_json::from_str::<Entry>(&entry) else {
            continue;
        };
        for (code, bytes) in entry.counted() {
            tx.execute(
                "INSERT INTO journal_counts VALUES (?1, ?2, 1, ?3)
                 ON CONFLICT DO UPDATE SET number = number + 1, bytes = bytes + excluded.bytes",
                params![month(at_ms), code, i64::try_from(bytes).unwrap_or(i64::MAX)],
            )
            .map_err(sql_error)?;
        }
    }
    let months = i64::try_from(limits::JOURNAL_MONTHS_MAX).unwrap_or(i64::MAX);
    tx.execute(
        "DELETE FROM journal_counts WHERE month NOT IN
         (SELECT DISTINCT month FROM journal_counts ORDER BY month DESC LIMIT ?1)",
        [months],
    )
    .map_err(sql_error)?;
    Ok(())
}

fn month(at_ms: i64) -> i64 {
    let date = CivilDate::from_days(at_ms.div_euclid(SECONDS_PER_DAY * 1000));
    date.year * 12 + i64::from(date.month) - 1
}

fn get<T: DeserializeOwned>(connection: &Connection, key: &str) -> Result<Option<T>> {
    let text: Option<String> = connection
        .prepare_cached("SELECT value FROM scheduler WHERE key = ?1")
        .and_then(|mut statement| statement.query_row([key], |row| row.get(0)).optional())
        .map_err(sql_error)?;
    let read = |text: String| {
        serde_json::from_str(&text)
            .map_err(|error| Error::with_source(Kind::Catalog, format!("the scheduler's {key}"), error))
    };
    text.map(read).transpose()
}

fn set(tx: &Transaction<'_>, key: &str, value: &impl Serialize) -> Result<()> {
    let text = json(value)?;
    tx.prepare_cached("INSERT OR REPLACE INTO scheduler VALUES (?1, ?2)")
        .and_then(|mut statement| statement.execute([key, &text]))
        .map_err(sql_error)?;
    Ok(())
}

fn json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::bug(format!("writing JSON: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        catalog::Catalog,
        scheduler::{Closed, Grant, NetworkClass, Reason, Task, Waited},
    };

    fn catalog(dir: &std::path::Path) -> Catalog {
        Catalog::start_unlocked(&dir.join("catalog.db")).unwrap().0
    }

    fn write(catalog: &Catalog, now_ms: i64, entry: Entry) {
        catalog
            .write_blocking(move |tx| append(tx, now_ms, &Conditions::default(), &entry))
            .unwrap();
    }

    fn waited(reason: Reason) -> Entry {
        Entry::Waited(Waited {
            due: vec![Task::Increment],
            reasons: vec![reason],
            wake_ms: Some(7),
            standing: Default::default(),
        })
    }

    #[test]
    fn the_same_again_lengthens_a_row_and_another_begins_one() {
        let dir = tempfile::tempdir().unwrap();
        let catalog = catalog(dir.path());
        write(&catalog, 10, waited(Reason::Offline));
        write(&catalog, 20, waited(Reason::Offline));
        write(&catalog, 30, waited(Reason::TooHot));
        let rows = catalog.read_blocking(rows).unwrap();
        let told: Vec<_> = rows.iter().map(|row| (row.at_ms, row.until_ms)).collect();
        assert_eq!(told, [(10, 20), (30, 30)]);
    }

    /// More than the bound: the rows stay bounded, the counts say what was dropped, and the history is as if nothing was.
    #[test]
    fn the_oldest_rows_become_counts_and_decisions_miss_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let catalog = catalog(dir.path());
        let windows = limits::JOURNAL_ROWS_MAX as i64;
        let mut expected = History::begin(0, 0);
        let conditions = Conditions::default();
        let entries = |at: i64| {
            let class = NetworkClass::Metered;
            let grant = Grant {
                time_ms: 1,
                class: Some(class),
                bytes: Some(10),
            };
            let closed = Closed {
                end: if at % 2 == 0 {
                    Reason::TimeUp
                } else {
                    Reason::VaultUnreachable
                },
                spent: vec![(class, 3)],
                confirmed: 0,
                requests: 1,
                finished: false,
                published: None,
            };
            [
                Entry::Opened {
                    task: Task::Resume,
                    grant,
                },
                Entry::Closed(closed),
            ]
        };
        let all: Vec<(i64, Entry)> = (0..windows)
            .flat_map(|at| entries(at).map(|entry| (at * 3_600_000, entry)))
            .collect();
        for (at, entry) in &all {
            expected.apply(*at, &conditions, entry);
        }
        catalog
            .write_blocking(move |tx| {
                all.iter()
                    .try_for_each(|(at, entry)| append(tx, *at, &Conditions::default(), entry))
            })
            .unwrap();
        let (kept, counted, history) = catalog
            .read_blocking(|c| Ok((rows(c)?, counts(c)?, history(c)?.unwrap())))
            .unwrap();
        assert_eq!(kept.len(), limits::JOURNAL_ROWS_MAX);
        assert_eq!(history, expected);
        let sum = |code: &str| -> (i64, i64) {
            let these = counted.iter().filter(|counted| counted.code == code);
            these.fold((0, 0), |sum, counted| {
                (sum.0 + counted.number, sum.1 + counted.bytes)
            })
        };
        assert_eq!(sum("time-up").0 + sum("vault-unreachable").0, windows / 2);
        assert_eq!(sum("time-up").1, windows / 4 * 3);
        assert_eq!(counted.first().unwrap().month, 1970 * 12);
    }

    #[test]
    fn a_policy_and_a_history_survive_the_process() {
        let dir = tempfile::tempdir().unwrap();
        let (catalog, thread, _) = Catalog::start_unlocked(&dir.path().join("catalog.db")).unwrap();
        let policy = Policy {
            fresh_minutes: 77,
            ..Policy::default()
        };
        let stored = policy.clone();
        catalog
            .write_blocking(move |tx| {
                set_policy(tx, &stored)?;
                begin(tx, 5, 99)?;
                begin(tx, 6, 100).map(|_| ())
            })
            .unwrap();
        drop(catalog);
        thread.join();
        let catalog = self::catalog(dir.path());
        let read = catalog
            .read_blocking(|c| Ok((self::policy(c)?, history(c)?)))
            .unwrap();
        assert_eq!(read.0, Some(policy));
        assert_eq!(read.1, Some(History::begin(99, 5)));
    }
}
