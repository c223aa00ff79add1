//! Views of databases that SQLite itself has open, in this process and in another.

mod scene;
mod views;
