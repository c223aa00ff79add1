-- What one check learns. Ids are 32 bytes, sizes and offsets are bytes. No query sorts: everything is read in
-- the order of a key, so that nothing is spilled into a folder for temporary files, which a phone need not
-- have.

-- Index files that were read.
CREATE TABLE index_files (no INTEGER PRIMARY KEY, id BLOB NOT NULL);

-- Packs that an index names or the vault lists. size: as the vault says, NULL where it has no such file.
CREATE TABLE packs (no INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, size INTEGER);

-- What an index file says of a pack, each time that it names it. entries: see scratch.rs.
CREATE TABLE listings (
  no INTEGER PRIMARY KEY,
  pack_no INTEGER NOT NULL,
  index_no INTEGER NOT NULL,
  entries BLOB NOT NULL
);
CREATE INDEX listings_of_pack ON listings (pack_no);

-- Every copy of every blob that an index names. tree: 0 data, 1 tree. plain: bytes of plaintext, NULL where
-- it is stored raw. bad: 1 once it is known that this copy cannot be had.
CREATE TABLE blobs (
  id BLOB NOT NULL,
  tree INTEGER NOT NULL,
  pack_no INTEGER NOT NULL,
  offset INTEGER NOT NULL,
  length INTEGER NOT NULL,
  plain INTEGER,
  bad INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (id, tree, pack_no, offset)
) WITHOUT ROWID;

-- Trees that were reached, each once, in the order in which they are looked at. parent: the tree whose folder
-- `name` it was, by its number; for the root of a snapshot NULL, and name says which snapshot.
CREATE TABLE trees (
  no INTEGER PRIMARY KEY,
  id BLOB NOT NULL UNIQUE,
  parent INTEGER,
  name BLOB NOT NULL,
  depth INTEGER NOT NULL
);
