//! What holds for every policy, phone and past.

#![allow(clippy::unwrap_used, clippy::panic)]

mod allowances;
mod explains;
mod random;
mod starving;
