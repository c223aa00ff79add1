-- What holds before and after every transaction of the writers, in every one of their databases: one row that says `ok`.
WITH turns(turn) AS (
    SELECT turn FROM checking UNION ALL SELECT turn FROM savings UNION ALL SELECT turn FROM clock
)
SELECT CASE
    WHEN (SELECT total(cents) FROM checking) + (SELECT total(cents) FROM savings) <> 200000 THEN 'money was made or lost'
    WHEN (SELECT count(*) FROM turns) <> 121 THEN 'a row is missing'
    WHEN (SELECT min(turn) FROM turns) <> (SELECT max(turn) FROM turns) THEN 'a row missed its turn'
    WHEN (SELECT coalesce(max(turn), 0) FROM transfers) <> (SELECT turn FROM clock) THEN 'a transfer is not in the book'
    WHEN (SELECT count(*) FROM transfers) <> (SELECT min(turn, 300) FROM clock) THEN 'the book has a gap'
    ELSE 'ok'
END;
