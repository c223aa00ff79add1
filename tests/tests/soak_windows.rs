//! A long life in windows, into a folder, a REST server and an S3 server in turn: as many minutes as `LIFEBOAT_SOAK_MINUTES` says, an hour by default.

#![allow(clippy::print_stdout)]

use std::time::{Duration, Instant};

use lifeboat_tests::{
    number_from_env, seed,
    servers::AnyServer,
    soak::{Vault, soak},
};

/// Backups to one vault, so that vaults stay small.
const BACKUPS: u64 = 10;

#[test]
fn hundreds_of_windows_converge_and_lose_nothing() {
    let minutes = number_from_env("LIFEBOAT_SOAK_MINUTES").unwrap_or(60);
    let ends = Instant::now() + Duration::from_secs(minutes * 60);
    let first = seed(82);
    let (mut vaults, mut windows) = (0, 0);
    while vaults == 0 || Instant::now() < ends {
        let own = first.wrapping_add(vaults);
        // By its seed, so that a vault can be repeated alone.
        let vault = match own % 3 {
            0 => Vault::Server(Box::new(AnyServer::rest())),
            1 => Vault::Folder,
            _ => Vault::Server(Box::new(AnyServer::s3())),
        };
        println!("vault {vaults}: repeat with LIFEBOAT_SEED={own} LIFEBOAT_SOAK_MINUTES=0");
        windows += soak(vault, own, BACKUPS).windows;
        vaults += 1;
    }
    println!("{windows} windows into {vaults} vaults");
}
