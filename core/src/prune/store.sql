-- What a prune learns beside what a check does; see check/scratch.sql. Ids are 32 bytes, times are seconds since 1970.

-- What trees say. A tree never changes: this is kept from one prune to the next. trees, data: ids, one after the other, none twice.
-- sum: the beginning of the hash of all three, since SQLite does not notice when a value rots.
CREATE TABLE tree_refs (id BLOB NOT NULL UNIQUE, trees BLOB NOT NULL, data BLOB NOT NULL, sum BLOB NOT NULL);

-- Blobs that snapshots need. tree: 0 data, 1 tree.
CREATE TABLE used (id BLOB NOT NULL, tree INTEGER NOT NULL, PRIMARY KEY (id, tree)) WITHOUT ROWID;

-- Blobs that snapshots need and of which there are several copies.
CREATE TABLE duplicates (id BLOB NOT NULL, tree INTEGER NOT NULL, PRIMARY KEY (id, tree)) WITHOUT ROWID;

-- Where the copy of each of them lies that counts.
CREATE TABLE chosen (
  id BLOB NOT NULL,
  tree INTEGER NOT NULL,
  pack_no INTEGER NOT NULL,
  offset INTEGER NOT NULL,
  PRIMARY KEY (id, tree)
) WITHOUT ROWID;

-- What index files say of packs on their way out. kind: 0 unused, 1 in no index. since: NULL where it cannot be read.
-- entries: as in listings.
CREATE TABLE marks (
  no INTEGER PRIMARY KEY,
  index_no INTEGER NOT NULL,
  pack BLOB NOT NULL,
  kind INTEGER NOT NULL,
  since INTEGER,
  entries BLOB NOT NULL
);
CREATE INDEX marks_of_pack ON marks (pack);
