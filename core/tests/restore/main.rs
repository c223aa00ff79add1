//! Restores from outside, through the engine: what comes back, what is refused, and what an interruption
//! leaves.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that fails should fail loudly, also in its helpers"
)]

mod damage;
mod databases;
mod interruption;
#[path = "../support/log.rs"]
mod log;
#[path = "../scene/mounted.rs"]
mod mounted;
mod mounts;
#[path = "../scene/nobody.rs"]
mod nobody;
mod planted;
mod round_trip;
mod support;
mod unprivileged;
mod vectors;
