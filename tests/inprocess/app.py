"""An app with two databases, each written by another copy of SQLite, and with the engine in its process.

    app.py harm LIBRARY FOLDER MODE SNAPSHOTS SEED READER    READER: `engine`, or `naive`, who opens, reads and closes
    app.py stop LIBRARY FOLDER MODE TIMES                    how long locks stay after a stop, while a database is held still
    app.py stops LIBRARY FOLDER MODE TIMES SEED MEGABYTES    the same after stops at any moment of a backup, and how soon it ends

FOLDER gets `app/` (what is backed up), `vault/` and `state/`. The last line printed is a JSON document of what was seen; whoever runs
this decides what is good. Nothing waits for a time to pass, but for `stops`, which is a measurement: writers, engine and observers run against
each other as fast as they can.
"""

import ctypes
import json
import os
import random
import subprocess
import sys
import threading
import time

import bank
import copies

PASSWORD = "a password only for tests"
HERE = os.path.dirname(os.path.abspath(__file__))


class Engine:
    def __init__(self, library, folder):
        self._lib = ctypes.CDLL(library, mode=os.RTLD_LOCAL | os.RTLD_NOW)
        self._lib.lifeboat_open.restype = ctypes.c_void_p
        self._said = ctypes.create_string_buffer(1 << 20)
        places = [os.path.join(folder, name).encode() for name in ("vault", "state")]
        opened = self._lib.lifeboat_open(*places, PASSWORD.encode(), self._said, ctypes.c_size_t(len(self._said)))
        self._answer()
        self._handle, self._app = ctypes.c_void_p(opened), os.path.join(folder, "app").encode()

    def backup(self):
        # ctypes lets go of Python's own lock meanwhile: the writers go on.
        self._lib.lifeboat_backup(self._handle, self._app, self._said, ctypes.c_size_t(len(self._said)))
        return json.loads(self._said.value)

    def stop(self):
        self._lib.lifeboat_stop(self._handle)

    def close(self):
        self._lib.lifeboat_close(self._handle, self._said, ctypes.c_size_t(len(self._said)))
        self._answer()

    def _answer(self):
        error = json.loads(self._said.value).get("error")
        if error:
            raise RuntimeError(error)


class Naive:
    """What a tool does that knows nothing of locks."""

    def __init__(self, folder):
        self._app = os.path.join(folder, "app")

    def backup(self):
        for name in os.listdir(self._app):
            try:
                with open(os.path.join(self._app, name), "rb") as file:
                    file.read()
            except FileNotFoundError:
                pass  # A journal that came and went.
        return {"snapshot": None, "unreadable": [], "changing": [], "odd": []}

    def close(self):
        pass


class Observer:
    """Another process that looks at locks."""

    def __init__(self):
        command = [sys.executable, os.path.join(HERE, "elsewhere.py"), "look"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._turn = threading.Lock()

    def ask(self, *question):
        with self._turn:
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
            return json.loads(self._process.stdout.readline())

    def close(self):
        self._process.communicate()


class Writer(threading.Thread):
    """Writes all the time; when asked, holds a transaction open until told to go on."""

    def __init__(self, connection, seed):
        # What fails elsewhere must end the process, whoever still waits.
        super().__init__(daemon=True)
        self._connection, self._dice = connection, random.Random(seed)
        self._hold, self._held, self._go_on, self._over = (threading.Event() for _ in range(4))
        self.done, self.failure = 0, None

    def run(self):
        try:
            while not self._over.is_set():
                self._connection.run("BEGIN IMMEDIATE;" + bank.move(self._dice))
                if self._hold.is_set():
                    self._hold.clear()
                    self._held.set()
                    self._go_on.wait()
                    self._go_on.clear()
                self._connection.run("COMMIT")
                self.done += 1
        except copies.Failed as error:
            self.failure = str(error)
            self._held.set()

    def hold(self):
        """Returns once a transaction is open; false if the writer has failed."""
        self._held.clear()
        self._hold.set()
        while not self._held.wait(1):
            if not self.is_alive():
                return False
        return self.failure is None

    def go_on(self):
        self._go_on.set()

    def end(self):
        self._over.set()
        self._go_on.set()
        self.join()


class Bank:
    """One database, with its writer in this process and another one elsewhere."""

    def __init__(self, path, connect, mode, seed):
        self.path, self.mode = path, mode
        self._connection = connect(path)
        bank.make(self._connection.run, mode)
        self.writer = Writer(self._connection, seed)
        command = [sys.executable, os.path.join(HERE, "elsewhere.py"), "write", path, str(seed + 1)]
        self._elsewhere = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.writer.start()

    def lost(self, observer):
        """What is wrong about the lock of the transaction that is open in this process; none if it is as it must be."""
        seen = observer.ask("second writer", self.path, self.mode)
        if seen == {"second writer": "refused", "holder": os.getpid()}:
            return None
        return {"database": os.path.basename(self.path), "seen": seen, "process": os.getpid()}

    def end(self):
        self.writer.end()
        told, _ = self._elsewhere.communicate()
        elsewhere = json.loads(told)
        result = {
            "written here": self.writer.done,
            "written elsewhere": elsewhere["done"],
            "failures": [failure for failure in (self.writer.failure, elsewhere["failure"]) if failure],
        }
        try:
            result["invariants"] = self._connection.run(bank.INVARIANTS)[0][0]
            result["integrity"] = self._connection.run("PRAGMA integrity_check")[0][0]
        except copies.Failed as error:
            result["failures"].append(str(error))
        return result


def harm(library, folder, mode, snapshots, seed, reader):
    app = os.path.join(folder, "app")
    os.makedirs(app)
    another = copies.Copy(folder)
    unused = another.bytes_used()
    dice = random.Random(seed)
    banks = [
        Bank(os.path.join(app, "python.db"), copies.PythonConnection, mode, dice.randrange(1 << 30)),
        Bank(os.path.join(app, "another.db"), another.connect, mode, dice.randrange(1 << 30)),
    ]
    engine = Engine(library, folder) if reader == "engine" else Naive(folder)
    observer = Observer()
    reports, lost, checks = [], [], 0
    for _ in range(snapshots):
        # Each as often held still by an open transaction as written to while it is read.
        held = [one for one in banks if dice.random() < 0.5 and one.writer.hold()]
        lost += [{"when": "before", **wrong} for wrong in (one.lost(observer) for one in held) if wrong]
        reports.append(engine.backup())
        lost += [{"when": "after", **wrong} for wrong in (one.lost(observer) for one in held) if wrong]
        if lost and reader == "naive":
            # What was to be shown. From here on the databases break, and with them this process may.
            print(json.dumps({"locks lost": lost}), flush=True)
            os._exit(0)
        checks += 2 * len(held)
        for one in held:
            one.writer.go_on()
        if any(one.writer.failure for one in banks):
            break
    # Whatever was lost, everything comes to its end.
    ends = {os.path.basename(one.path): one.end() for one in banks}
    observer.close()
    engine.close()
    return {
        "copies differ": unused == 0 and another.bytes_used() > 0,
        "snapshots": [report.get("snapshot") for report in reports],
        "errors": [report["error"] for report in reports if "error" in report],
        "unreadable": [one for report in reports for one in report.get("unreadable", [])],
        "odd": [one for report in reports for one in report.get("odd", [])],
        "locks checked": checks,
        "locks lost": lost,
        "databases": ends,
    }


def make_large(folder, mode, megabytes):
    app = os.path.join(folder, "app")
    os.makedirs(app)
    path = os.path.join(app, "large.db")
    connection = copies.PythonConnection(path)
    connection.run(f"PRAGMA journal_mode={mode}; CREATE TABLE t (id INTEGER PRIMARY KEY, x BLOB)")
    connection.run(
        f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {megabytes})"
        " INSERT INTO t SELECT i, randomblob(1000000) FROM n"
    )
    return path, connection


def stop(library, folder, mode, times):
    path, connection = make_large(folder, mode, 64)
    engine, observer = Engine(library, folder), Observer()
    engine.backup()
    files, left_ms, cancelled = [path, path + "-shm"], [], 0
    for turn in range(10 * times):
        connection.run(f"UPDATE t SET x = randomblob(1000000) WHERE id = {1 + turn % 64}")
        report = {}
        thread = threading.Thread(target=lambda into=report: into.update(engine.backup()))
        thread.start()
        # A comparison may be over before anybody has looked; then there is another turn.
        if observer.ask("wait", files, True, 5):
            stopped_at = time.monotonic()
            engine.stop()
            free_at = observer.ask("wait", files, False, 60)
            left_ms.append(None if free_at is None else 1000 * max(0, free_at - stopped_at))
        thread.join()
        cancelled += "error" in report
        if cancelled >= times:
            break
    left_over = observer.ask("locks", files)
    observer.close()
    engine.close()
    return {"left ms": left_ms, "cancelled": cancelled, "left over": left_over}


def stops(library, folder, mode, times, seed, megabytes):
    path, connection = make_large(folder, mode, megabytes)
    engine, observer, dice = Engine(library, folder), Observer(), random.Random(seed)
    files, stopped, while_locked = [path, path + "-shm"], [], 0
    engine.backup()

    def change():
        # A few pages most of the time; sometimes so many that there is a log to be read, or a base to be stored again.
        rows = megabytes if dice.random() < 0.03 else dice.choice([1, 1, 1, 10, megabytes // 8])
        size = 1_000_000 if rows > 1 else 100
        connection.run(f"UPDATE t SET x = randomblob({size}) WHERE id % {megabytes // rows} = {dice.randrange(megabytes // rows)}")

    change()
    begun = time.monotonic()
    engine.backup()
    whole = time.monotonic() - begun
    while len(stopped) < times:
        change()
        report, over = {}, threading.Event()
        thread = threading.Thread(target=lambda into=report, end=over: (into.update(engine.backup()), end.set()))
        thread.start()
        # Half of them while the database is held still, which is a small part of a backup.
        aimed = dice.random() < 0.5 and observer.ask("wait", files, True, whole)
        if over.wait((0.1 if aimed else 1) * whole * dice.random()):
            thread.join()
            continue
        is_locked = observer.ask("locks", files) > 0
        stopped_at = time.monotonic()
        engine.stop()
        free_at = observer.ask("wait", files, False, 60)
        thread.join()
        ended_at = time.monotonic()
        if "error" in report:
            while_locked += is_locked
            locks_ms = None if free_at is None else 1000 * max(0, free_at - stopped_at)
            stopped.append([locks_ms if is_locked else 0, 1000 * (ended_at - stopped_at), observer.ask("locks", files)])
    observer.close()
    engine.close()
    return {"stopped": stopped, "while locked": while_locked, "whole ms": 1000 * whole}


def main():
    what, library, folder, mode, count, *rest = sys.argv[1:]
    if what == "harm":
        seed, reader = rest
        result = harm(library, folder, mode, int(count), int(seed), reader)
    elif what == "stops":
        seed, megabytes = map(int, rest)
        result = stops(library, folder, mode, int(count), seed, megabytes)
    else:
        result = stop(library, folder, mode, int(count))
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
