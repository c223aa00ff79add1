//! Lifeboat: a backup engine for phone apps that writes restic repositories.

pub mod format;
