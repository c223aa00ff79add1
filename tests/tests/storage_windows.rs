//! A short life in windows on servers: killed, stopped, frozen while a stock restic prunes, and with a network that comes and goes. The long one is
//! `soak_windows`.

use lifeboat_tests::{
    seed,
    servers::AnyServer,
    soak::{Vault, soak},
};

fn lives(server: AnyServer, own_seed: u64) {
    let tally = soak(Vault::Server(server), seed(own_seed), 3);
    // How many more there are than snapshots depends on the machine: a fast one does more in each.
    assert!(tally.windows >= 3, "{tally:?}");
}

#[test]
fn windows_to_a_rest_server_converge() {
    lives(AnyServer::rest(), 111);
}

#[test]
fn windows_to_an_s3_server_converge() {
    lives(AnyServer::s3(), 112);
}
