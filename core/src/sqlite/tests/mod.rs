//! Views of databases that SQLite itself has open, in this process and in another.

mod crashes;
mod groups;
mod histories;
mod locks;
mod scene;
mod views;
