//! SQLite databases, page by page: reading a live one without harming it, and keeping only what changed.

pub(crate) mod fold;
pub(crate) mod header;
pub(crate) mod inspect;
pub(crate) mod pairs;
pub(crate) mod synthesis;
pub(crate) mod wal;
