//! The scheduler's part that remembers: decisions, windows and their ends go through here into the catalog's journal, and answers come from it.
//!
//! Everything takes the time as an argument. A window is written down before it begins, so that one that ends with the process is recognised when the next
//! begins; its answer comes after the commit.

use std::path::Path;

use super::{
    conditions::Conditions,
    decision::decide,
    explain::{self, Counted, Explanation, Row, Status, alarm, explain_at, explain_now},
    history::{Closed, Entry, History, Started, Waited},
    policy::Policy,
    reason::Reason,
    work::{Decision, Verdict},
};
use crate::{
    catalog::{Catalog, journal, open_for_reading},
    error::{Error, Kind, Result},
};

/// What has been written down, without an engine: for a settings screen, or for a command while another process works.
#[derive(Debug, Clone)]
pub struct Journal {
    pub history: History,
    pub policy: Policy,
    /// As the host last said them.
    pub conditions: Conditions,
    /// The oldest first.
    pub rows: Vec<Row>,
    pub counts: Vec<Counted>,
}

impl Journal {
    /// Reads the journal in an engine's own folder. `None` if there is none.
    pub fn read(state_dir: &Path) -> Result<Option<Self>> {
        let Some(mut connection) = open_for_reading(&state_dir.join("catalog.db"))? else {
            return Ok(None);
        };
        // One transaction: rows and history are of the same moment.
        let tx = connection.transaction().map_err(crate::catalog::sql_error)?;
        let Some(history) = journal::history(&tx)? else {
            return Ok(None);
        };
        Ok(Some(Self {
            history,
            policy: journal::policy(&tx)?.unwrap_or_default(),
            conditions: journal::conditions(&tx)?.unwrap_or_default(),
            rows: journal::rows(&tx)?,
            counts: journal::counts(&tx)?,
        }))
    }

    pub fn status(&self, now_ms: i64, conditions: &Conditions) -> Status {
        explain::status(now_ms, &self.policy, conditions, &self.history, &self.rows)
    }

    /// Explains the present with the conditions given, or a past moment with what was written down.
    pub fn explain(&self, now_ms: i64, conditions: &Conditions, at_ms: Option<i64>) -> Explanation {
        match at_ms {
            Some(at) if at < now_ms => explain_at(at, &self.policy, &self.rows),
            _ => explain_now(now_ms, &self.policy, conditions, &self.history, &self.rows),
        }
    }
}

/// Writes the journal of one engine. Its calls may be awaited on any executor.
pub struct Diary<'a> {
    catalog: &'a Catalog,
}

impl<'a> Diary<'a> {
    pub(crate) fn new(catalog: &'a Catalog) -> Self {
        Self { catalog }
    }

    /// To be called when a process begins to use the engine, before anything else. Ends the window that an earlier process left open, and says how that
    /// ended. `install` is any number that is this install's own.
    pub async fn started(
        &self,
        now_ms: i64,
        install: u64,
        conditions: Conditions,
        started: Started,
    ) -> Result<Option<Closed>> {
        let write = move |tx: &rusqlite::Transaction<'_>| {
            let history = journal::begin(tx, now_ms, install)?;
            let mut ended = None;
            for entry in history.on_start(&started) {
                journal::append(tx, now_ms, &conditions, &entry)?;
                if let Entry::Closed(closed) = entry {
                    ended = Some(closed);
                }
            }
            journal::append(tx, now_ms, &conditions, &Entry::Started(started))?;
            Ok(ended)
        };
        self.catalog.write(write).await
    }

    /// Keeps a policy from now on. Refused if it could never run.
    pub async fn set_policy(&self, policy: Policy) -> Result<()> {
        if let Some(problem) = policy.problems().into_iter().next() {
            return Err(Error::new(
                Kind::InvalidInput,
                format!("the policy cannot be used: {problem}"),
            ));
        }
        self.catalog
            .write(move |tx| journal::set_policy(tx, &policy))
            .await
    }

    /// Decides, and writes down what was decided: the window if something is to run, the reasons if not. Also raises or ends the alarm about the age of the
    /// newest snapshot: the second value, to be handed to the host.
    pub async fn decide(&self, now_ms: i64, conditions: Conditions) -> Result<(Decision, Option<Reason>)> {
        let write = move |tx: &rusqlite::Transaction<'_>| {
            let history = journal::begin(tx, now_ms, 0)?;
            let policy = journal::policy(tx)?.unwrap_or_default();
            let alarm = alarm(now_ms, &policy, &history);
            if let Some(reason) = alarm {
                journal::append(tx, now_ms, &conditions, &Entry::Noticed { reason })?;
            }
            let decision = decide(now_ms, &policy, &conditions, &history);
            journal::append(tx, now_ms, &conditions, &told(&decision, &conditions))?;
            Ok((decision, alarm))
        };
        self.catalog.write(write).await
    }

    /// Ends the window that `decide` opened, and says what is next without opening another. Raises or ends the alarm as `decide` does.
    pub async fn settle(
        &self,
        now_ms: i64,
        conditions: Conditions,
        closed: Closed,
    ) -> Result<(Decision, Option<Reason>)> {
        let write = move |tx: &rusqlite::Transaction<'_>| {
            journal::append(tx, now_ms, &conditions, &Entry::Closed(closed))?;
            let history = journal::begin(tx, now_ms, 0)?;
            let policy = journal::policy(tx)?.unwrap_or_default();
            let alarm = alarm(now_ms, &policy, &history);
            if let Some(reason) = alarm {
                journal::append(tx, now_ms, &conditions, &Entry::Noticed { reason })?;
            }
            let decision = decide(now_ms, &policy, &conditions, &history);
            journal::append(
                tx,
                now_ms,
                &conditions,
                &Entry::Waited(waited(&decision, &conditions)),
            )?;
            Ok((decision, alarm))
        };
        self.catalog.write(write).await
    }

    /// Ends the window that `decide` opened.
    pub async fn closed(&self, now_ms: i64, conditions: Conditions, closed: Closed) -> Result<()> {
        self.notice(now_ms, conditions, Entry::Closed(closed)).await
    }

    /// Writes anything else down.
    pub async fn notice(&self, now_ms: i64, conditions: Conditions, entry: Entry) -> Result<()> {
        self.catalog
            .write(move |tx| journal::append(tx, now_ms, &conditions, &entry))
            .await
    }

    pub async fn journal(&self) -> Result<Journal> {
        let read = |connection: &rusqlite::Connection| {
            Ok(Journal {
                history: journal::history(connection)?.unwrap_or_default(),
                policy: journal::policy(connection)?.unwrap_or_default(),
                conditions: journal::conditions(connection)?.unwrap_or_default(),
                rows: journal::rows(connection)?,
                counts: journal::counts(connection)?,
            })
        };
        self.catalog.read(read).await
    }
}

/// The entry that a decision becomes.
fn told(decision: &Decision, conditions: &Conditions) -> Entry {
    match decision.verdict {
        Verdict::Run { task, grant } => Entry::Opened { task, grant },
        Verdict::Wait => Entry::Waited(waited(decision, conditions)),
    }
}

fn waited(decision: &Decision, conditions: &Conditions) -> Waited {
    Waited {
        due: decision.due.clone(),
        reasons: decision.waits.iter().map(|wait| wait.reason).collect(),
        wake_ms: decision.wakes.iter().map(|wake| wake.earliest_ms).min(),
        standing: conditions.standing,
    }
}
