-- Names, sizes and times as the vault's and the file system's; ids are 32 bytes.

-- One row a fact about the catalog itself: 'repository' is the id of the repository it belongs to, 'loss_epoch' counts how often blobs
-- that were known have vanished from the vault.
CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;

-- Index files of the vault that have been read.
CREATE TABLE index_files (no INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE);

-- state 0: in the spool; 1: confirmed by the vault, but no index names it; 2: named by an index.
-- entries: the pack's directory, kept until an index names the pack (see packs.rs).
CREATE TABLE packs (
  no INTEGER PRIMARY KEY,
  id BLOB NOT NULL UNIQUE,
  size INTEGER NOT NULL,
  state INTEGER NOT NULL,
  entries BLOB
);
CREATE INDEX packs_underway ON packs (state, no) WHERE state < 2;

-- Which index files name a pack: when the last of them is gone, so is the pack.
CREATE TABLE pack_indexes (
  index_no INTEGER NOT NULL,
  pack_no INTEGER NOT NULL,
  PRIMARY KEY (index_no, pack_no)
) WITHOUT ROWID;
CREATE INDEX indexes_of_pack ON pack_indexes (pack_no);

-- tree: 0 data, 1 tree. plain: bytes of plaintext, or NULL where the blob is stored raw. offset and length in bytes of the pack.
CREATE TABLE blobs (
  id BLOB NOT NULL,
  tree INTEGER NOT NULL,
  pack_no INTEGER NOT NULL,
  offset INTEGER NOT NULL,
  length INTEGER NOT NULL,
  plain INTEGER,
  PRIMARY KEY (id, tree, pack_no)
) WITHOUT ROWID;

-- Folders that were walked, by the key of their source and the path below it.
CREATE TABLE dirs (no INTEGER PRIMARY KEY, path BLOB NOT NULL UNIQUE);

-- What a file was when its content was last sealed. stat: see files.rs. content: its blobs' ids, one after the other.
-- epoch: the loss epoch in which all these blobs were known to be stored.
CREATE TABLE files (
  dir INTEGER NOT NULL,
  name BLOB NOT NULL,
  stat BLOB NOT NULL,
  content BLOB NOT NULL,
  xattrs BLOB,
  epoch INTEGER NOT NULL,
  PRIMARY KEY (dir, name)
) WITHOUT ROWID;

-- What is stored of databases: a base and a log of the pages that differ from it, as lists of their blobs' ids. page_bytes is NULL until all
-- of that is in recorded packs. pages: of both together. frames, checksum: the end of the log. fingerprint: the headers of the file
-- and its log when they were read.
CREATE TABLE databases (
  no INTEGER PRIMARY KEY,
  dir INTEGER NOT NULL,
  name BLOB NOT NULL,
  page_bytes INTEGER,
  pages INTEGER,
  chunk_bytes INTEGER,
  base_bytes INTEGER,
  base BLOB,
  log BLOB,
  frames INTEGER,
  checksum INTEGER,
  fingerprint BLOB,
  UNIQUE (dir, name)
);

-- The pages' hashes, 2048 pages to a row (see segment.rs); and those of a comparison that is not complete yet.
CREATE TABLE database_pages (
  database INTEGER NOT NULL,
  segment INTEGER NOT NULL,
  hashes BLOB NOT NULL,
  PRIMARY KEY (database, segment)
) WITHOUT ROWID;
CREATE TABLE database_pages_next (
  database INTEGER NOT NULL,
  segment INTEGER NOT NULL,
  hashes BLOB NOT NULL,
  PRIMARY KEY (database, segment)
) WITHOUT ROWID;

-- Snapshots of the vault, as JSON: they never change.
CREATE TABLE snapshots (id BLOB PRIMARY KEY, json BLOB NOT NULL) WITHOUT ROWID;

-- Locks that this engine wrote and has not removed yet: a start after a kill removes them.
CREATE TABLE own_locks (id BLOB PRIMARY KEY) WITHOUT ROWID;

-- The journal: what the scheduler decided and what became of it. Times are Unix milliseconds by the phone's clock, which may go back: rows are told in
-- the order of their numbers. until_ms: when the same was last said again. entry: JSON, see scheduler/history.rs.
CREATE TABLE journal (no INTEGER PRIMARY KEY AUTOINCREMENT, at_ms INTEGER NOT NULL, until_ms INTEGER NOT NULL, entry TEXT NOT NULL);

-- What is left of rows that were dropped: how many of a code in a month (year * 12 + month - 1, UTC), and their bytes.
CREATE TABLE journal_counts (
  month INTEGER NOT NULL,
  code TEXT NOT NULL,
  number INTEGER NOT NULL,
  bytes INTEGER NOT NULL,
  PRIMARY KEY (month, code)
) WITHOUT ROWID;

-- The scheduler's documents, as JSON: 'history' (all entries folded together), 'policy', 'conditions' (as the host last said them).
CREATE TABLE scheduler (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
