use proptest::prelude::*;

use super::*;
use crate::{format::ZonedTimestamp, retention::Count};

fn complete(files: u64, bytes: u64) -> Option<Complete> {
    Some(Complete {
        at_ms: 0,
        files,
        bytes,
    })
}

#[test]
fn an_app_that_lost_most_of_its_data_is_asked_about_it() {
    let last = complete(100, 50 << 20);
    assert_eq!(
        newborn(None, 0, 0, false),
        Newborn::Plain,
        "a first backup is what it is"
    );
    assert_eq!(newborn(last, 100, 50 << 20, false), Newborn::Plain);
    assert_eq!(
        newborn(last, 30, 20 << 20, false),
        Newborn::Plain,
        "somebody tidied up"
    );
    assert_eq!(
        newborn(last, 1, 4096, false),
        Newborn::Suspected,
        "installed anew"
    );
    assert_eq!(
        newborn(last, 100, 4096, false),
        Newborn::Suspected,
        "the files are there, and empty"
    );
    assert_eq!(
        newborn(last, 2, 50 << 20, false),
        Newborn::Suspected,
        "one large file, all others gone"
    );
    assert_eq!(
        newborn(complete(3, 5000), 0, 0, false),
        Newborn::Plain,
        "there was hardly anything"
    );
    assert_eq!(newborn(last, 0, 0, false), Newborn::Suspected);
    assert_eq!(
        newborn(complete(u64::MAX, u64::MAX), 1, 1, false),
        Newborn::Suspected
    );
}

#[test]
fn the_guard_lets_go_only_when_the_data_is_really_back() {
    let last = complete(100, 1 << 20);
    assert_eq!(newborn(last, 30, 1 << 20, true), Newborn::Suspected);
    assert_eq!(newborn(last, 60, 1 << 20, true), Newborn::Plain);
}

fn id(number: u8) -> SnapshotId {
    SnapshotId::from_bytes([number; 32])
}

fn published(number: u8, parent: u8, install: &str) -> LineageFacts {
    LineageFacts {
        id: id(number),
        parent: (parent > 0).then(|| id(parent)),
        time: Timestamp::new(i64::from(number) * 1000, 0).unwrap(),
        install: Some(install.to_owned()),
    }
}

fn lineage(install: &str, last: u8) -> Lineage {
    Lineage {
        install: install.to_owned(),
        last: (last > 0).then(|| id(last)),
        intended: Vec::new(),
    }
}

#[test]
fn a_phone_alone_is_itself_whatever_was_forgotten_or_made_by_others() {
    let mut vault = vec![
        published(1, 0, "a"),
        published(2, 1, "a"),
        published(3, 2, "a"),
        published(9, 0, "b"),
    ];
    assert_eq!(clone_guard(&lineage("a", 3), &vault), Identity::Ours);
    vault.remove(1);
    assert_eq!(
        clone_guard(&lineage("a", 3), &vault),
        Identity::Ours,
        "the middle was forgotten"
    );
    assert_eq!(
        clone_guard(&lineage("a", 0), &vault),
        Identity::Ours,
        "a new catalog goes on"
    );
}

#[test]
fn two_phones_from_one_image_each_take_another_name() {
    let vault = [published(1, 0, "a"), published(2, 1, "a"), published(3, 1, "a")];
    // The first knows of 2, the second of 3, and both of 1.
    for (last, theirs) in [(2, 3), (3, 2)] {
        let found = clone_guard(&lineage("a", last), &vault);
        let expected = Identity::Shared {
            theirs: vec![id(theirs)],
            parent: Some(id(last)),
        };
        assert_eq!(found, expected);
    }
    // The image is older than both: its phone finds all that came after.
    let found = clone_guard(&lineage("a", 1), &vault);
    assert_eq!(
        found,
        Identity::Shared {
            theirs: vec![id(2), id(3)],
            parent: Some(id(1))
        }
    );
    // Under its new name, it is alone.
    let renamed = [vault.to_vec(), vec![published(4, 1, "c")]].concat();
    assert_eq!(clone_guard(&lineage("c", 4), &renamed), Identity::Ours);
}

#[test]
fn a_clone_is_found_also_where_its_line_was_forgotten() {
    let vault = [published(5, 4, "a"), published(8, 7, "a")];
    assert!(matches!(
        clone_guard(&lineage("a", 5), &vault),
        Identity::Shared { .. }
    ));
}

/// Killed after the vault took the snapshot and before the catalog wrote that down.
#[test]
fn a_kill_while_publishing_is_no_clone() {
    let vault = [published(1, 0, "a"), published(2, 1, "a")];
    let mut own = lineage("a", 1);
    own.intended = vec![id(2), id(77)];
    assert_eq!(clone_guard(&own, &vault), Identity::Ours);
}

#[test]
fn parents_that_go_in_a_ring_end() {
    let vault = [published(1, 2, "a"), published(2, 1, "a"), published(3, 0, "a")];
    assert_eq!(clone_guard(&lineage("a", 3), &vault), Identity::Ours);
}

fn candidate(number: u8, day: i64, complete: bool, tag: Option<&str>) -> Candidate {
    Candidate {
        parent: None,
        facts: SnapshotFacts {
            id: id(number),
            time: ZonedTimestamp::utc(Timestamp::new(day * 86_400, 0).unwrap()),
            hostname: "phone".into(),
            paths: vec!["files".into()],
            tags: tag.into_iter().map(str::to_owned).collect(),
        },
        complete,
    }
}

fn keep_last(count: u32) -> retention::Policy {
    retention::Policy {
        last: Count::AtMost(count),
        ..retention::Policy::default()
    }
}

fn at_day(day: i64) -> Timestamp {
    Timestamp::new(day * 86_400, 0).unwrap()
}

#[test]
fn only_what_a_complete_newer_snapshot_follows_is_let_go() {
    let all = vec![
        candidate(1, 1, true, None),
        candidate(2, 2, true, None),
        candidate(3, 3, false, None),
    ];
    let gone = forgettable(all.clone(), &keep_last(1), at_day(10), false);
    assert_eq!(gone, Ok(vec![id(1)]), "2 is the newest complete one");
    let incomplete: Vec<_> = all
        .into_iter()
        .map(|one| Candidate {
            complete: false,
            ..one
        })
        .collect();
    assert_eq!(
        forgettable(incomplete, &keep_last(1), at_day(10), false),
        Ok(vec![])
    );
}

#[test]
fn what_would_keep_nothing_or_is_held_is_refused() {
    let all = vec![candidate(1, 1, true, None), candidate(2, 2, true, None)];
    let nothing = retention::Policy::default();
    let refused = forgettable(all.clone(), &nothing, at_day(10), false);
    assert_eq!(refused, Err(RetentionError::EmptyPolicy.into()));
    let elsewhere = retention::Policy {
        tags: vec!["no-such-tag".into()],
        ..retention::Policy::default()
    };
    let refused = forgettable(all.clone(), &elsewhere, at_day(10), false);
    assert_eq!(refused, Err(RetentionError::KeepsNothing { snapshots: 2 }.into()));
    assert_eq!(
        forgettable(all, &keep_last(1), at_day(10), true),
        Err(ForgetRefusal::NewbornHold)
    );
}

#[test]
fn unconfirmed_snapshots_push_nothing_out() {
    let mut all = vec![candidate(1, 1, true, None), candidate(2, 2, true, None)];
    all.extend((3..20).map(|number| candidate(number, number.into(), true, Some(UNCONFIRMED_TAG))));
    assert_eq!(forgettable(all, &keep_last(2), at_day(30), false), Ok(vec![]));
}

proptest! {
    #[test]
    fn the_newest_complete_snapshot_always_stays(
        snapshots in prop::collection::vec((0_i64..60, any::<bool>(), any::<bool>()), 1..40),
        keep in 1_u32..5,
        now in 0_i64..80,
    ) {
        let all: Vec<_> = (1..).zip(&snapshots)
            .map(|(number, (day, complete, tagged))| {
                candidate(number, *day, *complete, tagged.then_some(UNCONFIRMED_TAG))
            })
            .collect();
        let gone = forgettable(all.clone(), &keep_last(keep), at_day(now), false).unwrap();
        let left = all.iter().filter(|one| !gone.contains(&one.facts.id));
        let past = |one: &&Candidate| one.complete && one.facts.time.timestamp <= at_day(now);
        let newest = all.iter().filter(past).filter(|one| one.facts.tags.is_empty()).map(|one| one.facts.time.timestamp).max();
        if let Some(newest) = newest {
            prop_assert!(left.clone().any(|one| one.facts.time.timestamp == newest && one.complete));
        } else {
            prop_assert!(gone.is_empty());
        }
        let tagged_stay = all.iter().filter(|one| !one.facts.tags.is_empty()).all(|one| !gone.contains(&one.facts.id));
        prop_assert!(tagged_stay);
    }
}

/// Of two phones that published under one name, neither's newest goes; when it has gone on under another name, it is not the newest.
#[test]
fn the_newest_of_each_branch_of_a_fork_stays() {
    let child = |number: u8, day: i64, parent: u8, install: &str| Candidate {
        parent: Some(id(parent)),
        ..candidate(number, day, true, Some(&format!("{INSTALL_TAG}{install}")))
    };
    let fork = vec![child(1, 1, 9, "x"), child(2, 2, 1, "x"), child(3, 3, 1, "x")];
    let gone = forgettable(fork.clone(), &keep_last(1), at_day(10), false).unwrap();
    assert_eq!(gone, [id(1)]);
    let gone_on = [fork, vec![child(4, 4, 2, "y"), child(5, 5, 3, "z")]].concat();
    let mut gone = forgettable(gone_on, &keep_last(1), at_day(10), false).unwrap();
    gone.sort_unstable();
    assert_eq!(gone, [id(1), id(2)], "each name's newest stays");
}
