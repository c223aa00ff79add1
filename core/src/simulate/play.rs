//! Plays a trace: the phone lives, the system wakes the app, and the app asks the same `decide` as on a real phone and writes the same journal.

use std::collections::BTreeMap;

use jiff::{Timestamp, tz::TimeZone};

use super::{
    phone::{System, World},
    report::{Report, WindowSeen},
    rng::Rng,
    trace::{Change, Trace},
    work::{self, Window},
};
use crate::scheduler::{
    Closed, Conditions, Decision, Entry, Exit, History, NetworkClass, Policy, Published, Reason, Standing,
    Started, Task, Verdict, Waited, decide,
    explain::{Row, alarm, explain_now},
};

const MINUTE_MS: i64 = 60_000;
const SAMPLE_MS: i64 = 2 * 60 * MINUTE_MS;
/// How long a process lives at most that does nothing.
const TIDIED_MS: i64 = 4 * 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * 60 * MINUTE_MS;
/// Rows that a phone keeps here: enough for what is explained, and little enough for thousands of phones.
const ROWS: usize = 160;

/// Plays a trace under a policy. The same arguments give the same report.
pub fn play(trace: &Trace, policy: &Policy, seed: u64) -> Report {
    let mut player = Player::new(trace, policy, seed);
    let end_ms = trace.start_ms + i64::from(trace.days) * DAY_MS;
    let mut moments = trace.moments.iter().peekable();
    loop {
        let next_ms = moments.peek().map_or(end_ms, |moment| {
            trace.start_ms + i64::from(moment.minute) * MINUTE_MS
        });
        let next_ms = next_ms.min(end_ms);
        if let Some((at, left_ms)) = player.system.next(player.now_ms, &player.world)
            && at < next_ms
        {
            player.pass(at);
            player.report.wakes += 1;
            let breaks_ms = next_break(&player.world, moments.clone(), trace.start_ms);
            player.session(Some(left_ms), breaks_ms);
            continue;
        }
        player.pass(next_ms);
        let Some(moment) = moments.next().filter(|_| next_ms < end_ms) else {
            break;
        };
        player.changes(&moment.changes);
        if player.opened() {
            player.report.opens += 1;
            let breaks_ms = next_break(&player.world, moments.clone(), trace.start_ms);
            player.session(None, breaks_ms);
        }
    }
    player.end(end_ms)
}

/// What next ends a window from outside, and how.
fn next_break<'a>(
    world: &World,
    moments: impl Iterator<Item = &'a super::trace::Moment>,
    start_ms: i64,
) -> Option<(i64, Reason)> {
    let ends = |change: &Change| match change {
        Change::Network(network) if *network != world.network => Some(Reason::NetworkLost),
        Change::Charging(false) if world.charging && !world.in_front => Some(Reason::StopCharging),
        Change::InFront(false) if world.in_front => Some(Reason::StopApp),
        Change::ForceStop => Some(Reason::KilledForceStop),
        Change::Power(false) => Some(Reason::KilledReboot),
        Change::Vault(false) => Some(Reason::VaultUnreachable),
        _ => None,
    };
    let mut all = moments.flat_map(|moment| {
        let at = start_ms + i64::from(moment.minute) * MINUTE_MS;
        moment.changes.iter().filter_map(ends).map(move |end| (at, end))
    });
    all.next()
}

struct Player<'a> {
    trace: &'a Trace,
    policy: &'a Policy,
    rng: Rng,
    world: World,
    system: System,
    /// Real time.
    now_ms: i64,
    /// A process of the app lives.
    process: bool,
    last_exit: Option<Exit>,
    was_force_stopped: bool,
    /// New in the app and not in a finished run, and what is left of the run.
    new_bytes: u64,
    run_left: Option<u64>,
    stored: u64,
    history: History,
    rows: Vec<Row>,
    next_row: i64,
    /// By the date shown and the class.
    spent: BTreeMap<(NetworkClass, i16, i8, i8), u64>,
    zone: TimeZone,
    /// What is waited for since when.
    waiting: (i64, Vec<Reason>),
    /// What may have kept the system from waking the app since the last sign of life.
    silencers: Vec<Reason>,
    /// A window that was killed, and the reason that must be told for it.
    killed: Option<Reason>,
    /// What an end that nobody reported looks like from the present start.
    inferred: Reason,
    /// What is left of a verification or a prune, which go on over windows as a backup does.
    upkeep_left: Option<(Task, u64)>,
    next_sample_ms: i64,
    complete_ms: Option<i64>,
    day_is_fresh: bool,
    report: Report,
}

impl<'a> Player<'a> {
    fn new(trace: &'a Trace, policy: &'a Policy, seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let now_ms = trace.start_ms;
        let report = Report {
            life: trace.life.clone(),
            zone: trace.zone.clone(),
            start_ms: trace.start_ms,
            days: trace.days,
            day_bytes: vec![[0; NetworkClass::ALL.len()]; trace.days as usize + 1],
            ..Report::default()
        };
        Self {
            trace,
            policy,
            world: World::new(trace),
            system: System::new(trace.platform, policy.due_ms(), i64::MAX / 4),
            now_ms,
            process: false,
            last_exit: None,
            was_force_stopped: false,
            new_bytes: 0,
            run_left: None,
            stored: 0,
            history: History::begin(rng.next(), now_ms),
            rng,
            rows: Vec::new(),
            next_row: 0,
            spent: BTreeMap::new(),
            zone: TimeZone::get(&trace.zone).unwrap_or(TimeZone::UTC),
            waiting: (now_ms, Vec::new()),
            silencers: Vec::new(),
            killed: None,
            inferred: Reason::Killed,
            upkeep_left: None,
            next_sample_ms: now_ms + SAMPLE_MS,
            complete_ms: None,
            day_is_fresh: true,
            report,
        }
    }

    /// What the phone's clock shows.
    fn wall_ms(&self) -> i64 {
        self.now_ms + self.world.wrong * MINUTE_MS
    }

    fn pass(&mut self, to_ms: i64) {
        while self.next_sample_ms <= to_ms {
            let at = self.next_sample_ms;
            let age = at - self.complete_ms.unwrap_or(self.trace.start_ms);
            self.report.age(age / MINUTE_MS);
            self.day_is_fresh &= age <= self.policy.fresh_ms();
            let ends_day = (at - self.trace.start_ms) % DAY_MS == 0;
            if ends_day && self.complete_ms.is_some() {
                self.report.counted_days += 1;
                self.report.fresh_days += u32::from(self.day_is_fresh);
            }
            self.day_is_fresh |= ends_day;
            self.next_sample_ms += SAMPLE_MS;
        }
        self.now_ms = self.now_ms.max(to_ms);
    }

    fn changes(&mut self, changes: &[Change]) {
        for change in changes {
            let wall = self.wall_ms();
            self.world.change(change, wall);
            match change {
                Change::NewBytes(bytes) => self.new_bytes += bytes,
                Change::ForceStop => {
                    self.dies(Some(Exit::ForceStop));
                    self.was_force_stopped = true;
                }
                Change::Power(false) => self.dies(None),
                Change::Zone(zone) => self.zone = TimeZone::get(zone).unwrap_or(TimeZone::UTC),
                _ => {}
            }
        }
        self.note_silencers();
    }

    fn note_silencers(&mut self) {
        let world = &self.world;
        let low = matches!(world.standing, Standing::Rare | Standing::Restricted);
        for (holds, reason) in [
            (world.force_stopped, Reason::ForceStopped),
            (!world.powered, Reason::PoweredOff),
            (world.asleep, Reason::NotWoken),
            (world.standing == Standing::Off, Reason::BackgroundOff),
            (low, Reason::LowStanding),
        ] {
            if holds && !self.silencers.contains(&reason) {
                self.silencers.push(reason);
            }
        }
    }

    /// How the last process ended, not what befell the app afterwards.
    fn dies(&mut self, exit: Option<Exit>) {
        if self.process {
            self.last_exit = exit;
        }
        self.process = false;
    }

    fn opened(&self) -> bool {
        self.world.in_front && self.world.powered
    }

    fn write(&mut self, entry: Entry) {
        let (wall, conditions) = (self.wall_ms(), self.world.conditions(None));
        for notice in self.history.notices(wall, &conditions) {
            self.history.apply(wall, &conditions, &notice);
            self.add(wall, notice);
        }
        self.history.apply(wall, &conditions, &entry);
        self.add(wall, entry);
    }

    fn add(&mut self, at_ms: i64, entry: Entry) {
        if let (Entry::Waited(new), Some(row)) = (&entry, self.rows.last_mut())
            && let Entry::Waited(last) = &mut row.entry
            && last.due == new.due
            && last.reasons == new.reasons
        {
            last.clone_from(new);
            row.until_ms = at_ms;
            return;
        }
        if self.rows.len() >= ROWS {
            self.rows.drain(..ROWS / 2);
        }
        let no = self.next_row;
        self.next_row += 1;
        self.rows.push(Row {
            no,
            at_ms,
            until_ms: at_ms,
            entry,
        });
    }

    /// A process begins, if none lives; and what was killed or silenced before must be named.
    fn start(&mut self) {
        if self.process {
            return;
        }
        self.process = true;
        let started = Started {
            boot: Some(self.world.boot),
            last_exit: self.last_exit.take(),
            force_stopped: std::mem::take(&mut self.was_force_stopped),
            standing: self.world.standing,
            lowest_standing: match &self.silencers {
                these if these.contains(&Reason::BackgroundOff) => Standing::Off,
                these if these.contains(&Reason::LowStanding) => Standing::Restricted,
                _ => self.world.standing,
            },
        };
        self.inferred = match (started.force_stopped, started.boot != self.history.boot) {
            (true, _) => Reason::KilledForceStop,
            (false, true) => Reason::KilledReboot,
            (false, false) => Reason::Killed,
        };
        for entry in self.history.on_start(&started) {
            self.write(entry);
        }
        self.write(Entry::Started(started));
    }

    /// Whether what happened before is named, now that somebody can say it.
    fn look_back(&mut self) {
        let conditions = self.world.conditions(None);
        let told = explain_now(
            self.wall_ms(),
            self.policy,
            &conditions,
            &self.history,
            &self.rows,
        );
        if let Some(mut expected) = self.killed.take() {
            // What nobody reported cannot be told apart from what befell the app before it could ask.
            if expected == Reason::Killed {
                expected = self.inferred;
            }
            let end = told
                .windows
                .first()
                .and_then(|window| window.ended.as_ref())
                .map(|(_, closed)| closed.end);
            let when = self.now_ms;
            self.report.name(expected, end == Some(expected), || {
                format!("{when}: {expected}, told {end:?}")
            });
        }
        let wall = self.wall_ms();
        if let Some(gap) = told.gap.filter(|gap| gap.until_ms == Some(wall)) {
            if self.silencers.is_empty() {
                // The system had its own reasons, and that is what is to be said.
                self.silencers.push(Reason::NotWoken);
            }
            // A cause that was not one of those in effect is no answer.
            let named = self.silencers.contains(&gap.reason);
            let cause = if named { gap.reason } else { self.silencers[0] };
            let (when, silencers) = (self.now_ms, self.silencers.clone());
            self.report.name(cause, named, || {
                format!("{when}: silent by {silencers:?}, told {gap:?}")
            });
        }
        self.silencers.clear();
        self.note_silencers();
    }

    /// The app works, from a wake-up or because it is open, until nothing is left to do or to use.
    fn session(&mut self, left_ms: Option<u64>, breaks: Option<(i64, Reason)>) {
        // The system tidies up processes that do nothing for hours.
        let silent_ms = self.wall_ms() - self.history.seen_ms;
        self.process &= silent_ms.abs() < TIDIED_MS;
        let (from_ms, looked) = (self.now_ms, !self.process);
        self.start();
        if looked {
            self.look_back();
        } else {
            self.silencers.clear();
            self.note_silencers();
        }
        if self.next_row < 3 {
            self.system = System::new(self.trace.platform, self.policy.due_ms(), self.now_ms);
        }
        let until_ms = left_ms.map(|left| from_ms + i64::try_from(left).unwrap_or(0));
        loop {
            let left = until_ms.map(|until| u64::try_from(until - self.now_ms).unwrap_or(0));
            let conditions = self.world.conditions(left);
            if let Some(reason) = alarm(self.wall_ms(), self.policy, &self.history) {
                self.report.alarms += u32::from(reason == Reason::Stale);
                self.write(Entry::Noticed { reason });
            }
            let decision = decide(self.wall_ms(), self.policy, &conditions, &self.history);
            self.count_waiting(&decision);
            match decision.verdict {
                Verdict::Run { task, grant } => {
                    self.write(Entry::Opened { task, grant });
                    self.ask(&decision);
                    let window = work::Window {
                        task,
                        grant,
                        from_ms: self.now_ms,
                        until_ms,
                        breaks,
                    };
                    if !self.work(window) {
                        break;
                    }
                }
                Verdict::Wait => {
                    self.write(told(&decision, &conditions));
                    self.ask(&decision);
                    break;
                }
            }
        }
        let now = self.now_ms;
        self.system.gave(from_ms, now, &self.world, &mut self.rng);
        self.process &= self.world.in_front || self.rng.percent(70);
    }

    fn ask(&mut self, decision: &Decision) {
        let wall = self.wall_ms();
        self.system
            .ask(self.now_ms, wall, &decision.wakes, &self.world, &mut self.rng);
    }

    fn count_waiting(&mut self, decision: &Decision) {
        let minutes = (self.now_ms - self.waiting.0) / MINUTE_MS;
        for reason in &self.waiting.1 {
            *self.report.waited.entry(reason.code()).or_default() += minutes.unsigned_abs();
        }
        let reasons = decision
            .waits
            .iter()
            .map(|wait| wait.reason)
            .filter(|reason| *reason != Reason::NotDue);
        self.waiting = (self.now_ms, reasons.collect());
    }

    /// What is left of a task, in bytes.
    fn size_of(&mut self, task: Task) -> u64 {
        match task {
            Task::Resume | Task::FirstBackup | Task::Increment => *self.run_left.get_or_insert_with(|| {
                let first = if self.stored == 0 {
                    self.trace.data.first_bytes
                } else {
                    0
                };
                first + std::mem::take(&mut self.new_bytes)
            }),
            Task::Forget => 4096,
            Task::Verify | Task::Prune => {
                let begun = self.upkeep_left.filter(|(begun, _)| *begun == task);
                let whole = if task == Task::Verify {
                    (self.stored / 50).min(20 << 20)
                } else {
                    self.stored / 40
                };
                begun.map_or(whole, |(_, left)| left)
            }
        }
    }

    /// Does what a window does. Whether the app may go on after it.
    fn work(&mut self, window: Window) -> bool {
        let class = window.grant.class;
        let size = self.size_of(window.task);
        let fast = class == Some(NetworkClass::Unmetered);
        let speed = if fast {
            self.trace.data.fast
        } else {
            self.trace.data.slow
        };
        let kill = self.world.kill.take();
        let done = work::perform(&window, size, speed, self.world.vault, kill);
        self.spend(class, done.bytes);
        self.report.requests += done.requests;
        self.report.windows.push(WindowSeen {
            at_ms: self.now_ms,
            ms: done.ms,
            task: window.task,
            end: done.end,
            class,
            bytes: done.bytes,
            requests: done.requests,
        });
        *self.report.ends.entry(done.end.code()).or_default() += 1;
        self.pass(window.from_ms + i64::try_from(done.ms).unwrap_or(0));
        if window.task.is_backup() {
            self.run_left = Some(size.saturating_sub(done.confirmed));
            self.stored += done.confirmed;
        }
        if matches!(window.task, Task::Verify | Task::Prune) {
            let left = (window.task, size.saturating_sub(done.confirmed));
            self.upkeep_left = Some(left).filter(|_| !done.finished);
        }
        if done.killed {
            self.killed = Some(done.end);
            self.dies(exit_of(done.end));
            return false;
        }
        let mut published = None;
        if done.finished && window.task.is_backup() {
            self.run_left = None;
            self.complete_ms = Some(self.now_ms);
            self.report.snapshots += 1;
            let (files, bytes) = (self.stored >> 18, self.stored);
            published = Some(Published { files, bytes });
        }
        self.write(Entry::Closed(Closed {
            end: done.end,
            spent: class.map(|class| (class, done.bytes)).into_iter().collect(),
            confirmed: done.confirmed,
            requests: done.requests,
            finished: done.finished,
            published,
        }));
        if done.end != Reason::Done {
            self.judge_end(done.end);
        }
        done.finished
    }

    /// Whether `explain` says why the window ended.
    fn judge_end(&mut self, why: Reason) {
        let told = explain_now(
            self.wall_ms(),
            self.policy,
            &Conditions::default(),
            &self.history,
            &self.rows,
        );
        let end = told
            .windows
            .first()
            .and_then(|window| window.ended.as_ref())
            .map(|(_, closed)| closed.end);
        let when = self.now_ms;
        self.report
            .name(why, end == Some(why), || format!("{when}: {}, told {end:?}", why));
    }

    /// The judge's own account, which shares nothing with the ledger.
    fn spend(&mut self, class: Option<NetworkClass>, bytes: u64) {
        let Some(class) = class else { return };
        let instant = Timestamp::from_millisecond(self.wall_ms()).unwrap_or(Timestamp::UNIX_EPOCH);
        let date = self.zone.to_datetime(instant).date();
        *self
            .spent
            .entry((class, date.year(), date.month(), date.day()))
            .or_default() += bytes;
        let day = usize::try_from((self.now_ms - self.trace.start_ms) / DAY_MS).unwrap_or(0);
        if let Some(sums) = self.report.day_bytes.get_mut(day) {
            sums[class as usize] += bytes;
        }
    }

    fn end(mut self, end_ms: i64) -> Report {
        self.pass(end_ms);
        if self.killed.is_some() {
            // Somebody opens the app once more.
            self.process = false;
            self.start();
            self.look_back();
        }
        let mut months = BTreeMap::<_, u64>::new();
        for ((class, year, month, _), bytes) in &self.spent {
            *months.entry((*class, *year, *month)).or_default() += bytes;
            let allowed = self.policy.network.class(*class).day_bytes.unwrap_or(u64::MAX);
            self.report.over_budget_bytes += bytes.saturating_sub(allowed);
        }
        for ((class, ..), bytes) in months {
            // Months that begin on another day are not this judge's.
            let allowed = self
                .policy
                .network
                .class(class)
                .month_bytes
                .filter(|_| self.policy.network.month_begins_on == 1);
            self.report.over_budget_bytes += bytes.saturating_sub(allowed.unwrap_or(u64::MAX));
        }
        self.report.day_bytes.truncate(self.trace.days as usize);
        self.report
    }
}

fn told(decision: &Decision, conditions: &Conditions) -> Entry {
    Entry::Waited(Waited {
        due: decision.due.clone(),
        reasons: decision.waits.iter().map(|wait| wait.reason).collect(),
        wake_ms: decision.wakes.iter().map(|wake| wake.earliest_ms).min(),
        standing: conditions.standing,
    })
}

/// How the operating system would name such an end.
fn exit_of(end: Reason) -> Option<Exit> {
    match end {
        Reason::KilledMemory => Some(Exit::Memory),
        Reason::KilledCrash => Some(Exit::Crash),
        Reason::KilledUpdate => Some(Exit::Update),
        Reason::KilledForceStop => Some(Exit::ForceStop),
        _ => None,
    }
}
