"""What happens in other processes: a writer, and somebody who looks at locks from outside.

    elsewhere.py write DATABASE SEED     writes until its standard input ends, then says how often
    elsewhere.py look                    answers questions, one JSON array a line
"""

import fcntl
import json
import os
import random
import struct
import sys
import threading
import time

import bank
import copies

# SQLite's lock bytes: of a database that a writer has reserved, and in the `-shm` file, of the one who writes to the log.
RESERVED, LOG_WRITE = (1 << 30) + 1, 120
FLOCK = "@hhqqi4x"


def write(path, seed):
    over = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
    dice, done, failure = random.Random(seed), 0, None
    try:
        connection = copies.PythonConnection(path)
        connection.run(bank.QUICK)
        while not over.is_set():
            connection.run("BEGIN IMMEDIATE;" + bank.move(dice) + "COMMIT")
            done += 1
        connection.close()
    except copies.Failed as error:
        failure = str(error)
    try:
        print(json.dumps({"done": done, "failure": failure}), flush=True)
    except BrokenPipeError:
        pass  # Who started this has ended before.


def second_writer(path, mode):
    """Whether one more writer is let in, and which process holds the lock that should keep it out."""
    try:
        connection = copies.PythonConnection(path, timeout=0)
        try:
            connection.run("BEGIN IMMEDIATE")
            connection.run("ROLLBACK")
            answer = "let in"
        finally:
            connection.close()
    except copies.Failed as error:
        answer = "refused" if "locked" in str(error) else str(error)
    file, byte = (path + "-shm", LOG_WRITE) if mode == "wal" else (path, RESERVED)
    return {"second writer": answer, "holder": holder_of(file, byte)}


def holder_of(file, byte):
    """The process that holds a lock on a byte. Asked when this process has no connection open: closing a descriptor harms nobody then."""
    try:
        with open(file, "rb") as opened:
            asked = struct.pack(FLOCK, fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0)
            kind, _, _, _, holder = struct.unpack(FLOCK, fcntl.fcntl(opened, fcntl.F_GETLK, asked))
    except FileNotFoundError:
        # Without its locks an index is taken for left over, and removed.
        return None
    return None if kind == fcntl.F_UNLCK else holder


def description_locks(paths):
    """How many locks of open file descriptions there are on files. SQLite takes none: they are the engine's."""
    inodes = set()
    for path in paths:
        try:
            inodes.add(os.stat(path).st_ino)
        except FileNotFoundError:
            pass
    with open("/proc/locks", encoding="utf-8") as locks:
        lines = [line.split() for line in locks]
    of_ours = [fields for fields in lines if "OFDLCK" in fields]
    return sum(int(field.split(":")[2]) in inodes for fields in of_ours for field in fields if field.count(":") == 2)


def wait_locked(paths, wanted, seconds):
    """When it was first seen that there is a lock, or none; null if not within the time."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if (description_locks(paths) > 0) == wanted:
            return time.monotonic()
    return None


def look():
    answers = {"second writer": second_writer, "locks": description_locks, "wait": wait_locked}
    for line in sys.stdin:
        what, *arguments = json.loads(line)
        print(json.dumps(answers[what](*arguments)), flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "write":
        write(sys.argv[2], int(sys.argv[3]))
    else:
        look()
