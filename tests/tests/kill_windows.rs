//! A short life in windows, the same in each run. The long one is `soak_windows`.

use lifeboat_tests::{seed, soak::soak};

#[test]
fn windows_that_are_killed_stopped_frozen_and_pruned_converge() {
    let tally = soak(seed(81), 4);
    assert!(tally.windows >= 8, "{tally:?}");
}
