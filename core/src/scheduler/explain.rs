//! The answer to "why?": for now and for any past moment. Pure functions over the journal's rows.

use serde::{Deserialize, Serialize};

use super::{
    conditions::{Conditions, Standing},
    decision::decide,
    history::{Closed, Complete, Entry, Exit, History, Started},
    policy::Policy,
    reason::Reason,
    work::{Grant, Task, Verdict, Wake},
};
use crate::limits;

/// One row of the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Rows are told in the order of their numbers: clocks may go back.
    pub no: i64,
    pub at_ms: i64,
    /// Until when the same was said again.
    pub until_ms: i64,
    pub entry: Entry,
}

/// How often something was in a month, of rows that are not kept any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// Year * 12 + month - 1, in UTC.
    pub month: i64,
    pub code: String,
    pub number: i64,
    pub bytes: i64,
}

/// Everything there is to say about one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    pub at_ms: i64,
    /// What is due, the most urgent first.
    pub due: Vec<Task>,
    /// What runs, if something does.
    pub runs: Option<Task>,
    /// What is in the way of the most urgent work.
    pub blocks: Vec<Block>,
    pub cautions: Vec<Reason>,
    /// The last windows, the newest first.
    pub windows: Vec<WindowTold>,
    /// A stretch around or before this moment in which the app was not woken although it had asked.
    pub gap: Option<Gap>,
    pub newest: Option<Complete>,
    /// Of the newest complete snapshot, or of the engine's stay here where there is none.
    pub age_ms: i64,
    pub freshness: Freshness,
    pub backed_off: Option<Reason>,
    pub wakes: Vec<Wake>,
    /// What the host, or its user, can do: one for each reason above that somebody can do something about.
    pub advice: Vec<Reason>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    pub reason: Reason,
    /// Since when it has been in the way without a break, as far as was written down.
    pub since_ms: i64,
    pub until_ms: Option<i64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowTold {
    pub at_ms: i64,
    pub task: Task,
    pub granted: Grant,
    /// Nothing while the window is open.
    pub ended: Option<(i64, Closed)>,
}

/// A stretch without a sign of life, though a wake was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    pub from_ms: i64,
    /// Nothing while it lasts.
    pub until_ms: Option<i64>,
    /// For when the wake had been asked.
    pub asked_ms: i64,
    pub reason: Reason,
}

/// How the newest complete snapshot stands to the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Freshness {
    /// There is none yet, and the objective has not been missed.
    None,
    Fresh,
    /// The objective is missed.
    Late,
    /// Older than it may be: an alarm.
    Stale,
}

/// The short form, for a settings screen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    pub freshness: Freshness,
    pub newest: Option<Complete>,
    pub age_ms: i64,
    /// What runs or would run now.
    pub runs: Option<Task>,
    /// The first of the reasons to wait.
    pub waits: Option<Reason>,
    /// When there will be another look, at the earliest.
    pub next_ms: Option<i64>,
    pub last_end: Option<Reason>,
}

/// How old the newest complete snapshot is, in the policy's terms.
pub fn staleness(now_ms: i64, policy: &Policy, history: &History) -> Freshness {
    let age = history.age_ms(now_ms);
    if age > policy.stale_ms() {
        Freshness::Stale
    } else if age > policy.fresh_ms() {
        Freshness::Late
    } else if history.newest.is_none() {
        Freshness::None
    } else {
        Freshness::Fresh
    }
}

/// The alarm that is to be raised or taken back now, whatever the app was woken for: each is said once.
pub fn alarm(now_ms: i64, policy: &Policy, history: &History) -> Option<Reason> {
    match (staleness(now_ms, policy, history), history.alarmed) {
        (Freshness::Stale, false) => Some(Reason::Stale),
        (Freshness::Fresh, true) => Some(Reason::FreshAgain),
        _ => None,
    }
}

pub fn status(
    now_ms: i64,
    policy: &Policy,
    conditions: &Conditions,
    history: &History,
    rows: &[Row],
) -> Status {
    let decision = decide(now_ms, policy, conditions, history);
    Status {
        freshness: staleness(now_ms, policy, history),
        newest: history.newest,
        age_ms: history.age_ms(now_ms),
        runs: running(&decision.verdict),
        waits: decision.waits.first().map(|wait| wait.reason),
        next_ms: decision.wakes.iter().map(|wake| wake.earliest_ms).min(),
        last_end: windows(rows, rows.len())
            .into_iter()
            .find_map(|window| window.ended)
            .map(|(_, closed)| closed.end),
    }
}

fn running(verdict: &Verdict) -> Option<Task> {
    match verdict {
        Verdict::Run { task, .. } => Some(*task),
        Verdict::Wait => None,
    }
}

/// Explains the present: `rows` are the journal's, the oldest first.
pub fn explain_now(
    now_ms: i64,
    policy: &Policy,
    conditions: &Conditions,
    history: &History,
    rows: &[Row],
) -> Explanation {
    let decision = decide(now_ms, policy, conditions, history);
    let blocks = decision.waits.iter().map(|wait| Block {
        reason: wait.reason,
        since_ms: since(rows, wait.reason).unwrap_or(now_ms),
        until_ms: wait.until_ms,
    });
    let mut told = Explanation {
        at_ms: now_ms,
        runs: running(&decision.verdict),
        blocks: blocks.collect(),
        due: decision.due,
        cautions: decision.cautions,
        windows: windows(rows, rows.len()),
        gap: last_gap(rows, now_ms, policy),
        newest: history.newest,
        age_ms: history.age_ms(now_ms),
        freshness: staleness(now_ms, policy, history),
        backed_off: (history.failures.count > 0)
            .then_some(history.failures.reason)
            .flatten(),
        wakes: decision.wakes,
        advice: Vec::new(),
    };
    told.advise();
    told
}

/// Explains a past moment from what was written down then, and from what was learnt later of how that ended.
pub fn explain_at(at_ms: i64, policy: &Policy, rows: &[Row]) -> Explanation {
    let until_then = rows
        .iter()
        .rposition(|row| row.at_ms <= at_ms)
        .map_or(0, |last| last + 1);
    let before = &rows[..until_then];
    let history = replay(before);
    let windows: Vec<WindowTold> = windows(rows, until_then);
    let is_open = |window: &&WindowTold| window.ended.as_ref().is_none_or(|(end, _)| *end > at_ms);
    let runs = windows.first().filter(is_open).map(|window| window.task);
    let waited = before.iter().rev().find_map(|row| match &row.entry {
        Entry::Waited(waited) => Some(waited),
        _ => None,
    });
    let (mut due, mut blocks) = (Vec::from_iter(runs), Vec::new());
    if let (Some(waited), None) = (waited, runs) {
        due.clone_from(&waited.due);
        blocks.extend(waited.reasons.iter().map(|reason| Block {
            reason: *reason,
            since_ms: since(before, *reason).unwrap_or(at_ms),
            until_ms: None,
        }));
    }
    let mut gaps = gaps(rows, policy).into_iter().rev();
    let mut told = Explanation {
        at_ms,
        due,
        runs,
        blocks,
        cautions: Vec::new(),
        windows,
        gap: gaps.find(|gap| gap.from_ms <= at_ms && gap.until_ms.is_none_or(|until| at_ms <= until)),
        newest: history.newest,
        age_ms: history.age_ms(at_ms),
        freshness: staleness(at_ms, policy, &history),
        backed_off: (history.failures.count > 0)
            .then_some(history.failures.reason)
            .flatten(),
        wakes: Vec::new(),
        advice: Vec::new(),
    };
    told.advise();
    told
}

impl Explanation {
    /// Every reason that this explanation gives.
    pub fn reasons(&self) -> Vec<Reason> {
        let blocks = self.blocks.iter().map(|block| block.reason);
        let last = self
            .windows
            .first()
            .and_then(|window| window.ended.as_ref())
            .map(|(_, closed)| closed.end);
        let gap = self.gap.map(|gap| gap.reason);
        let stale = (self.freshness == Freshness::Stale).then_some(Reason::Stale);
        let mut reasons: Vec<Reason> = stale.into_iter().chain(blocks).collect();
        reasons.extend(
            self.backed_off
                .into_iter()
                .chain(last)
                .chain(gap)
                .chain(self.cautions.iter().copied()),
        );
        reasons
    }

    fn advise(&mut self) {
        let mut advice: Vec<Reason> = Vec::new();
        for reason in self.reasons() {
            if !reason.advice().is_empty() && !advice.contains(&reason) {
                advice.push(reason);
            }
        }
        self.advice = advice;
    }
}

/// The history that these rows leave behind, as far as explanations need it.
fn replay(rows: &[Row]) -> History {
    let begun = rows.first().map_or(0, |row| row.at_ms);
    let mut history = History::begin(0, begun);
    for row in rows {
        history.apply(row.at_ms, &Conditions::default(), &row.entry);
    }
    history
}

/// Since when a reason has been given in every row that gave any.
fn since(rows: &[Row], reason: Reason) -> Option<i64> {
    let mut since = None;
    for row in rows.iter().rev() {
        match &row.entry {
            Entry::Waited(waited) if waited.reasons.contains(&reason) => since = Some(row.at_ms),
            Entry::Waited(_) | Entry::Opened { .. } => break,
            _ => {}
        }
    }
    since
}

/// The last windows that were opened in the first `until` rows, the newest first, and how they ended, whenever that was.
fn windows(rows: &[Row], until: usize) -> Vec<WindowTold> {
    let mut windows = Vec::new();
    let mut ended = None;
    for (index, row) in rows.iter().enumerate().rev() {
        match &row.entry {
            Entry::Closed(closed) => ended = Some((row.at_ms, closed.clone())),
            Entry::Opened { task, grant } => {
                let ended = ended.take();
                if index < until {
                    windows.push(WindowTold {
                        at_ms: row.at_ms,
                        task: *task,
                        granted: *grant,
                        ended,
                    });
                }
                if windows.len() == limits::EXPLAIN_WINDOWS {
                    break;
                }
            }
            _ => {}
        }
    }
    windows
}

/// The gap that lasts, or the last one there was.
fn last_gap(rows: &[Row], now_ms: i64, policy: &Policy) -> Option<Gap> {
    let found = gaps(rows, policy);
    if let Some(gap) = found.iter().rev().find(|gap| {
        gap.until_ms
            .is_none_or(|until| until >= now_ms - policy.fresh_ms())
    }) {
        return Some(*gap);
    }
    let last = rows.last()?;
    let asked = asked_ms(rows)?;
    let silent = now_ms - asked.max(last.until_ms) > patience_ms(policy);
    silent.then_some(Gap {
        from_ms: last.until_ms,
        until_ms: None,
        asked_ms: asked,
        reason: Reason::NotWoken,
    })
}

fn asked_ms(rows: &[Row]) -> Option<i64> {
    rows.iter().rev().find_map(|row| match &row.entry {
        Entry::Waited(waited) => Some(waited.wake_ms),
        _ => None,
    })?
}

/// How much later than asked a wake may come before it is a gap.
fn patience_ms(policy: &Policy) -> i64 {
    policy.due_ms().max(limits::RECHECK_MS)
}

/// Stretches in which nothing was written down although a wake had been asked for earlier, each with its reason, the oldest first.
fn gaps(rows: &[Row], policy: &Policy) -> Vec<Gap> {
    let mut found = Vec::new();
    let mut wake: Option<(i64, Standing)> = None;
    let mut boot: Option<u64> = None;
    let mut last_ms: Option<i64> = None;
    for row in rows {
        if let (Some((asked_ms, standing)), Some(last)) = (wake, last_ms)
            && row.at_ms - asked_ms.max(last) > patience_ms(policy)
        {
            let started = match &row.entry {
                Entry::Started(started) => Some(started),
                // What a start finds of the time before is written down with it.
                _ => rows.iter().find_map(|other| match &other.entry {
                    Entry::Started(started) if other.no > row.no && other.at_ms == row.at_ms => Some(started),
                    _ => None,
                }),
            };
            found.push(Gap {
                from_ms: last,
                until_ms: Some(row.at_ms),
                asked_ms,
                reason: why_silent(started, boot, standing),
            });
        }
        match &row.entry {
            Entry::Waited(waited) => wake = waited.wake_ms.map(|at| (at, waited.standing)),
            Entry::Started(started) => {
                boot = started.boot.or(boot);
                if let Some((_, standing)) = wake.as_mut().filter(|_| started.standing != Standing::Unknown) {
                    *standing = started.standing;
                }
            }
            _ => {}
        }
        last_ms = Some(row.until_ms);
    }
    found
}

fn why_silent(started: Option<&Started>, boot: Option<u64>, standing: Standing) -> Reason {
    let told = started.map(|started| [started.standing, started.lowest_standing]);
    let standings = [standing].into_iter().chain(told.into_iter().flatten());
    let standing = standings.max_by_key(|standing| match standing {
        Standing::Off => 2,
        Standing::Rare | Standing::Restricted => 1,
        _ => 0,
    });
    match started {
        Some(started) if started.force_stopped || started.last_exit == Some(Exit::ForceStop) => {
            Reason::ForceStopped
        }
        Some(started) if boot.is_some() && started.boot.is_some() && started.boot != boot => {
            Reason::PoweredOff
        }
        _ => match standing {
            Some(Standing::Off) => Reason::BackgroundOff,
            Some(Standing::Rare | Standing::Restricted) => Reason::LowStanding,
            _ => Reason::NotWoken,
        },
    }
}

#[cfg(test)]
mod tests;
