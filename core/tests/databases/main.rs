//! Databases in use, backed up, restored, and compared with what they were.

// What fails here fails a test, loudly.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "../scene/mod.rs"]
mod scene;

mod app;
mod held;
mod histories;
mod increments;
mod moments;
mod trees;
