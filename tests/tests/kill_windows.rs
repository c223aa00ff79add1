//! A short life in windows. The long one is `soak_windows`.

use lifeboat_tests::{
    seed,
    soak::{Vault, soak},
};

#[test]
fn windows_that_are_killed_stopped_frozen_and_pruned_converge() {
    let tally = soak(Vault::Folder, seed(81), 4);
    // How many more there are than snapshots depends on the machine: a fast one does more in each.
    assert!(tally.windows >= 4, "{tally:?}");
}
