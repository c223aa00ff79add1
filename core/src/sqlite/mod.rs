//! SQLite databases, page by page: reading a live one without harming it, and keeping only what changed.

pub(crate) mod header;
pub(crate) mod synthesis;
pub(crate) mod wal;
