//! Retention decides as real restic decides: the same snapshots, random policies, both asked.
//!
//! Needs restic 0.19, named by the variable `LIFEBOAT_RESTIC` or found in `PATH`. Without it the test fails.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that fails should fail loudly, also in its helpers"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    path::PathBuf,
    process::{Command, Output},
    time::{SystemTime, UNIX_EPOCH},
};

use lifeboat::{
    format::{Timestamp, ZonedTimestamp},
    retention::{
        Count, GroupBy, Policy, Reason, RetentionDuration, RetentionError, SnapshotFacts, SnapshotFilter,
        TagList, apply, group,
    },
};
use serde_json::Value;

const SEED: u64 = 0x6c69_6665_626f_6174;
/// At most 60: each has its own second of a minute, so no two have the same time whatever their zones.
const SNAPSHOTS: u64 = 56;
const POLICIES: usize = 30;
/// restic's key derivation takes most of the time, on one core each.
const AT_ONCE: usize = 2;
/// Seconds ahead of UTC.
const ZONES: [i32; 4] = [0, 20_700, -12_600, 46_800];
const HOSTS: [&str; 3] = ["phone", "tablet", "desk"];

/// xorshift64*: the same policies on every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % limit
    }

    fn one_in(&mut self, chances: u64) -> bool {
        self.below(chances) == 0
    }

    fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }
}

struct Restic {
    program: OsString,
    directory: tempfile::TempDir,
}

impl Restic {
    fn with_new_repository() -> Self {
        let program = std::env::var_os("LIFEBOAT_RESTIC").unwrap_or_else(|| "restic".into());
        let restic = Self {
            program,
            directory: tempfile::tempdir().unwrap(),
        };
        for name in ["one", "two"] {
            std::fs::create_dir(restic.source(name)).unwrap();
        }
        for offset in ZONES {
            std::fs::write(restic.zone_file(offset), zone(offset)).unwrap();
        }
        restic.run(0, &["init".into()]);
        restic
    }

    fn source(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn zone_file(&self, offset_seconds: i32) -> PathBuf {
        self.directory.path().join(format!("zone{offset_seconds}"))
    }

    /// Runs restic in a zone that far ahead of UTC, whatever comes of it.
    fn try_run(&self, offset_seconds: i32, arguments: &[String]) -> Output {
        Command::new(&self.program)
            .args(["--no-cache", "--quiet"])
            .args(arguments)
            .env("RESTIC_REPOSITORY", self.directory.path().join("repository"))
            .env("RESTIC_PASSWORD", "test")
            .env_remove("RESTIC_HOST")
            .env("TZ", self.zone_file(offset_seconds))
            .output()
            .unwrap_or_else(|error| {
                panic!(
                    "this test needs restic: set LIFEBOAT_RESTIC to its path, or put it into PATH ({:?}: {error})",
                    self.program
                )
            })
    }

    fn run(&self, offset_seconds: i32, arguments: &[String]) -> Vec<u8> {
        let output = self.try_run(offset_seconds, arguments);
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        output.stdout
    }
}

/// A time zone file of a single offset: zones by name may not be installed.
fn zone(offset_seconds: i32) -> Vec<u8> {
    let mut file = b"TZif".to_vec();
    file.extend([0; 16]);
    // Indicators (twice), leap seconds, transitions, types, bytes of abbreviations.
    for count in [0_u32, 0, 0, 0, 1, 4] {
        file.extend(count.to_be_bytes());
    }
    file.extend(offset_seconds.to_be_bytes());
    file.extend([0, 0]);
    file.extend(b"ABC\0");
    file
}

/// Arguments of a backup and the zone to run it in. Times crowd together in hours, days and months.
fn backup(restic: &Restic, random: &mut Random, number: u64) -> (i32, Vec<String>) {
    let year = if number == 7 {
        2_199
    } else {
        random.pick(&[2_018, 2_021, 2_023, 2_024, 2_024, 2_024])
    };
    let (month, day) = (
        random.pick(&[1, 2, 2, 3, 12]),
        random.pick(&[1, 2, 15, 28, 30, 31]),
    );
    let day = if month == 2 && day > 28 { 27 } else { day };
    let (hour, minute) = (random.pick(&[0, 1, 12, 23]), random.below(60));
    let mut arguments = vec![
        "backup".to_owned(),
        restic
            .source(random.pick(&["one", "one", "two"]))
            .to_str()
            .unwrap()
            .to_owned(),
        "--force".to_owned(),
        format!("--time={year}-{month:02}-{day:02} {hour:02}:{minute:02}:{number:02}"),
        format!("--host={}", random.pick(&HOSTS)),
    ];
    for tag in ["a", "b", "c"] {
        if random.one_in(4) {
            arguments.push(format!("--tag={tag}"));
        }
    }
    (random.pick(&ZONES), arguments)
}

fn strings(value: &Value) -> Vec<String> {
    let texts = value.as_array().map(Vec::as_slice).unwrap_or_default();
    texts
        .iter()
        .map(|text| text.as_str().unwrap().to_owned())
        .collect()
}

fn facts(snapshot: &Value) -> SnapshotFacts {
    SnapshotFacts {
        id: snapshot["id"].as_str().unwrap().parse().unwrap(),
        time: ZonedTimestamp::parse(snapshot["time"].as_str().unwrap()).unwrap(),
        hostname: snapshot["hostname"].as_str().unwrap_or_default().to_owned(),
        paths: strings(&snapshot["paths"]),
        tags: strings(&snapshot["tags"]),
    }
}

/// The same question for restic and for us.
#[derive(Default)]
struct Question {
    arguments: Vec<String>,
    policy: Policy,
    filter: SnapshotFilter,
    group_by: GroupBy,
}

impl Question {
    fn ask(&mut self, option: &str, value: &str) {
        self.arguments.push(format!("--{option}={value}"));
        let policy = &mut self.policy;
        let count = || value.parse::<Count>().unwrap();
        let duration = || value.parse::<RetentionDuration>().ok();
        match option {
            "keep-last" => policy.last = count(),
            "keep-hourly" => policy.hourly = count(),
            "keep-daily" => policy.daily = count(),
            "keep-weekly" => policy.weekly = count(),
            "keep-monthly" => policy.monthly = count(),
            "keep-yearly" => policy.yearly = count(),
            "keep-within" => policy.within = duration(),
            "keep-within-hourly" => policy.within_hourly = duration(),
            "keep-within-daily" => policy.within_daily = duration(),
            "keep-within-weekly" => policy.within_weekly = duration(),
            "keep-within-monthly" => policy.within_monthly = duration(),
            "keep-within-yearly" => policy.within_yearly = duration(),
            "keep-tag" => policy.tags.push(TagList::from(value)),
            "group-by" => self.group_by = value.parse().unwrap(),
            "host" => self.filter.hosts.push(value.to_owned()),
            "tag" => self.filter.tags.push(TagList::from(value)),
            "path" => self.filter.paths.push(value.to_owned()),
            _ => panic!("{option}"),
        }
    }

    fn random(restic: &Restic, random: &mut Random) -> Self {
        let mut question = Self::default();
        for option in ["last", "hourly", "daily", "weekly", "monthly", "yearly"] {
            if random.one_in(4) {
                let count = random.pick(&["1", "2", "3", "5", "9", "unlimited"]);
                question.ask(&format!("keep-{option}"), count);
            }
        }
        for option in ["", "-hourly", "-daily", "-weekly", "-monthly", "-yearly"] {
            if random.one_in(6) {
                let duration =
                    random.pick(&["3h", "2d", "1m", "29d1h", "13m", "1y2m", "3y", "6y1m1d1h", "100y"]);
                question.ask(&format!("keep-within{option}"), duration);
            }
        }
        for _ in 0..random.below(3) {
            if random.one_in(3) {
                question.ask("keep-tag", random.pick(&["a", "b", "a,b", "b, c", ""]));
            }
        }
        if question.policy.is_empty() {
            question.ask("keep-daily", "4");
        }
        if !random.one_in(3) {
            question.ask(
                "group-by",
                random.pick(&["", "host", "tags", "paths,tags", "host,paths,tags"]),
            );
        }
        if random.one_in(4) {
            question.ask("host", HOSTS[0]);
            question.ask("host", random.pick(&HOSTS));
        }
        if random.one_in(4) {
            question.ask("tag", random.pick(&["a", "a,c", ""]));
            question.ask("tag", random.pick(&["b", "c"]));
        }
        if random.one_in(6) {
            question.ask("path", restic.source("one").to_str().unwrap());
        }
        question
    }

    /// Per snapshot the reasons to keep it, none if it is let go. `None` if the question is refused.
    fn our_answer(&self, snapshots: &[SnapshotFacts]) -> Option<BTreeMap<String, Vec<String>>> {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let now = Timestamp::new(since_epoch.as_secs() as i64, since_epoch.subsec_nanos()).unwrap();
        let considered = snapshots
            .iter()
            .filter(|snapshot| self.filter.matches(snapshot))
            .cloned()
            .collect();
        let mut answer = BTreeMap::new();
        for (_, members) in group(considered, self.group_by) {
            let decisions = match apply(&self.policy, members, now) {
                Err(RetentionError::KeepsNothing { .. }) => return None,
                decisions => decisions.unwrap(),
            };
            for decision in decisions {
                assert_eq!(decision.keep, !decision.reasons.is_empty());
                let reasons = decision.reasons.iter().map(Reason::to_string).collect();
                assert_eq!(answer.insert(decision.snapshot.id.to_string(), reasons), None);
            }
        }
        Some(answer)
    }

    fn answer_of_restic(&self, restic: &Restic) -> Option<BTreeMap<String, Vec<String>>> {
        let mut arguments = ["forget", "--dry-run", "--no-lock", "--json"]
            .map(str::to_owned)
            .to_vec();
        arguments.extend(self.arguments.iter().cloned());
        let output = restic.try_run(0, &arguments);
        if !output.status.success() {
            let complaint = String::from_utf8_lossy(&output.stderr);
            assert!(
                complaint.contains("refusing to delete last snapshot"),
                "{arguments:?}: {complaint}"
            );
            return None;
        }
        let mut answer = BTreeMap::new();
        // restic prints nothing where nothing is considered.
        let groups = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        for group in list(&groups) {
            for kept in list(&group["reasons"]) {
                let id = kept["snapshot"]["id"].as_str().unwrap().to_owned();
                assert_eq!(answer.insert(id, strings(&kept["matches"])), None);
            }
            assert_eq!(list(&group["keep"]).len(), list(&group["reasons"]).len());
            for removed in list(&group["remove"]) {
                let id = removed["id"].as_str().unwrap().to_owned();
                assert_eq!(answer.insert(id, Vec::new()), None);
            }
        }
        Some(answer)
    }
}

/// Runs `work` on every item, a few at a time.
fn for_each<T: Sync>(items: &[T], work: impl Fn(&T) + Sync) {
    std::thread::scope(|scope| {
        for part in items.chunks(items.len().div_ceil(AT_ONCE)) {
            scope.spawn(|| part.iter().for_each(&work));
        }
    });
}

fn list_snapshots(restic: &Restic) -> Vec<SnapshotFacts> {
    let json = restic.run(0, &["snapshots".into(), "--json".into()]);
    let listed: Value = serde_json::from_slice(&json).unwrap();
    listed.as_array().unwrap().iter().map(facts).collect()
}

#[test]
fn forget_keeps_what_restic_keeps_for_the_same_reasons() {
    let restic = Restic::with_new_repository();
    let mut random = Random(SEED);
    let backups: Vec<_> = (0..SNAPSHOTS)
        .map(|number| backup(&restic, &mut random, number))
        .collect();
    for_each(&backups, |(zone, arguments)| {
        restic.run(*zone, arguments);
    });
    let snapshots = list_snapshots(&restic);
    assert_eq!(snapshots.len() as u64, SNAPSHOTS);
    let offsets: BTreeSet<i32> = snapshots
        .iter()
        .map(|snapshot| snapshot.time.offset_seconds)
        .collect();
    assert_eq!(
        offsets,
        BTreeSet::from(ZONES),
        "snapshots keep the zones they were made in"
    );

    let mut questions: Vec<_> = (0..POLICIES)
        .map(|_| Question::random(&restic, &mut random))
        .collect();
    let mut refused = Question::default();
    refused.ask("keep-tag", "nowhere");
    questions.push(refused);
    for_each(&questions, |question| {
        let ours = question.our_answer(&snapshots);
        assert_eq!(
            ours,
            question.answer_of_restic(&restic),
            "{:?}",
            question.arguments
        );
    });
    assert_coverage(&questions, &snapshots);
}

/// A comparison of nothing would pass as well.
fn assert_coverage(questions: &[Question], snapshots: &[SnapshotFacts]) {
    let answers: Vec<_> = questions
        .iter()
        .filter_map(|question| question.our_answer(snapshots))
        .collect();
    assert!(answers.len() >= POLICIES / 2, "most policies must be applicable");
    assert!(answers.len() < questions.len(), "and one must be refused");
    let reasons: BTreeSet<String> = (answers.iter().flat_map(BTreeMap::values).flatten())
        .map(|reason| reason.split_whitespace().take(3).collect::<Vec<_>>().join(" "))
        .collect();
    for expected in ["last snapshot", "hourly snapshot", "weekly snapshot", "oldest"] {
        assert!(
            reasons.iter().any(|reason| reason.starts_with(expected)),
            "{expected}: {reasons:?}"
        );
    }
    assert!(
        reasons.iter().any(|reason| reason.contains("within")),
        "{reasons:?}"
    );
    assert!(
        reasons.iter().any(|reason| reason.starts_with("has tags")),
        "{reasons:?}"
    );
    assert!(
        answers.iter().flat_map(BTreeMap::values).any(Vec::is_empty),
        "something must be let go"
    );
}
