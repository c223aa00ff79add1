"""The databases that the writers write to: money moves between tables, and every row counts every transaction.

`invariants.sql` says what always holds. Nothing here knows which copy of SQLite runs it, or in which process.
"""

import pathlib

INVARIANTS = (pathlib.Path(__file__).parent / "invariants.sql").read_text()

SCHEMA = """
CREATE TABLE checking (id INTEGER PRIMARY KEY, cents INTEGER, turn INTEGER, note TEXT);
CREATE TABLE savings (id TEXT PRIMARY KEY, cents INTEGER, turn INTEGER, note TEXT) WITHOUT ROWID;
CREATE TABLE clock (turn INTEGER);
CREATE TABLE transfers (turn INTEGER PRIMARY KEY, cents INTEGER, receipt BLOB);
CREATE INDEX by_cents ON transfers (cents);
WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 59)
INSERT INTO checking SELECT i, 2000, 0, hex(zeroblob(200)) FROM n;
INSERT INTO savings SELECT 'account ' || id, 80000 / 60, 0, note FROM checking;
UPDATE savings SET cents = cents + 80000 - 60 * (80000 / 60) WHERE id = 'account 0';
INSERT INTO clock VALUES (0);
"""


# What is tested is not what a power failure does, and a disk that is busy must not look like a database that is.
QUICK = "PRAGMA synchronous=OFF"


def make(run, mode):
    """Makes the tables; `run` executes SQL."""
    run(QUICK)
    run(f"PRAGMA journal_mode={mode}")
    run("BEGIN IMMEDIATE;" + SCHEMA + "COMMIT")


def move(random):
    """One transaction's statements, without BEGIN and COMMIT. Receipts of all sizes, so that pages come and go."""
    cents, size = random.randrange(-50, 50), random.choice((10, 300, 9000))
    return f"""
        UPDATE checking SET cents = cents - {cents} WHERE id = {random.randrange(60)};
        UPDATE savings SET cents = cents + {cents} WHERE id = 'account {random.randrange(60)}';
        UPDATE checking SET turn = turn + 1;
        UPDATE clock SET turn = turn + 1;
        INSERT INTO transfers SELECT turn, {cents}, randomblob({size}) FROM clock;
        DELETE FROM transfers WHERE turn <= (SELECT turn FROM clock) - 300;
        UPDATE savings SET turn = turn + 1;
    """
