//! The guards at work: what must not push good snapshots out does not.

use lifeboat::scheduler::{
    Reason, Task,
    guards::{INSTALL_TAG, UNCONFIRMED_TAG},
};

use super::{DAY, HOUR, Phone, good};
use crate::scene::{Scene, noise, wait};

fn is_unconfirmed(tags: &[String]) -> bool {
    tags.iter().any(|tag| tag == UNCONFIRMED_TAG)
}

fn fill(scene: &Scene) {
    for file in 0..40 {
        scene.write(&format!("f{file}"), noise(file, 20_000));
    }
}

fn lose(scene: &Scene) {
    std::fs::remove_dir_all(scene.source()).unwrap();
    scene.write("only", "what a new app has");
}

#[test]
fn an_app_that_lost_its_data_is_asked_about_and_nothing_is_forgotten_meanwhile() {
    let scene = Scene::new();
    fill(&scene);
    let phone = Phone::new(&scene, &scene.state());
    phone.policy(|policy| {
        policy.keep =
            serde_json::from_str(r#"{"last": "1", "daily": "", "weekly": "", "monthly": ""}"#).unwrap();
        (policy.verify_days, policy.prune_days) = (0, 0);
    });
    let mut heard = phone.engine.listen();
    phone.does(Task::FirstBackup);
    lose(&scene);
    phone.clock.jump(13 * HOUR);
    phone.does(Task::Increment);
    assert!(is_unconfirmed(&phone.tags()[1]), "{:?}", phone.tags());
    let mut asked = false;
    while let Ok(event) = heard.try_recv() {
        asked |= matches!(
            event,
            lifeboat::Event::Noticed {
                reason: Reason::NewbornSuspected
            }
        );
    }
    assert!(asked, "the host was told");
    // Forgetting is long due, and waits; backups go on under the tag.
    phone.clock.jump(8 * DAY);
    phone.does(Task::Increment);
    assert!(phone.waits(good()).contains(&Reason::NewbornHold));
    assert_eq!(phone.tags().len(), 3);
    assert!(is_unconfirmed(&phone.tags()[2]));
    // It was on purpose.
    assert_eq!(wait(phone.engine.confirm_newborn()).unwrap(), 2);
    assert!(
        !phone.tags().iter().any(|tags| is_unconfirmed(tags)),
        "{:?}",
        phone.tags()
    );
    phone.does(Task::Forget);
    assert_eq!(phone.tags().len(), 1);
    phone.clock.jump(DAY);
    scene.write("more", "than before");
    phone.does(Task::Increment);
    assert!(!is_unconfirmed(&phone.tags()[1]));
    phone.is_sound();
}

#[test]
fn the_guard_lets_go_by_itself_when_the_data_is_back() {
    let scene = Scene::new();
    fill(&scene);
    let phone = Phone::new(&scene, &scene.state());
    phone.policy(|_| {});
    phone.does(Task::FirstBackup);
    lose(&scene);
    phone.clock.jump(13 * HOUR);
    phone.does(Task::Increment);
    assert!(phone.journal().history.newborn_hold);
    fill(&scene);
    phone.clock.jump(13 * HOUR);
    phone.does(Task::Increment);
    assert!(!phone.journal().history.newborn_hold);
    let unconfirmed: Vec<bool> = phone.tags().iter().map(|tags| is_unconfirmed(tags)).collect();
    assert_eq!(unconfirmed, [false, true, false]);
}

/// Installed anew: the engine remembers nothing, and the vault everything.
#[test]
fn an_app_that_was_installed_anew_is_compared_with_what_the_vault_holds() {
    let scene = Scene::new();
    fill(&scene);
    let phone = Phone::new(&scene, &scene.state());
    phone.policy(|_| {});
    phone.does(Task::FirstBackup);
    phone.engine.stop(super::STOP).unwrap();
    std::fs::remove_dir_all(scene.state()).unwrap();
    lose(&scene);
    let phone = Phone::new(&scene, &scene.state());
    phone.policy(|_| {});
    phone.clock.jump(HOUR);
    phone.does(Task::FirstBackup);
    let tags = phone.tags();
    assert!(!is_unconfirmed(&tags[0]) && is_unconfirmed(&tags[1]), "{tags:?}");
    let install = |tags: &[String]| {
        tags.iter()
            .find(|tag| tag.starts_with(INSTALL_TAG))
            .cloned()
            .unwrap()
    };
    assert_ne!(install(&tags[0]), install(&tags[1]));
}
