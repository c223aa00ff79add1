"""Copies of SQLite that are not the engine's: Python's own, and a second one of the distribution's, driven through `ctypes`.

Both give connections with one method, `run(sql)`, which returns the rows, and raises `Failed` with SQLite's words.
"""

import ctypes
import ctypes.util
import os
import shutil
import sqlite3

BUSY_SECONDS = 30


class Failed(Exception):
    """What SQLite said."""


class PythonConnection:
    def __init__(self, path, timeout=BUSY_SECONDS):
        self._db = sqlite3.connect(path, timeout=timeout, isolation_level=None, check_same_thread=False)

    def run(self, sql):
        try:
            rows = []
            for statement in statements(sql):
                rows += [tuple(map(str, row)) for row in self._db.execute(statement)]
            return rows
        except sqlite3.Error as error:
            raise Failed(str(error)) from error

    def close(self):
        self._db.close()


def statements(sql):
    """Not `executescript`, which commits first."""
    part = ""
    for piece in sql.split(";"):
        part += piece
        if sqlite3.complete_statement(part + ";"):
            yield part
            part = ""
        else:
            part += ";"
    if part.strip(" \n;"):
        yield part


class Copy:
    """A library file of its own, with globals of its own: it shares nothing with the one that Python has loaded."""

    def __init__(self, folder):
        found = find_library()
        path = os.path.join(folder, "another-sqlite.so")
        shutil.copy(found, path)
        self._lib = ctypes.CDLL(path, mode=os.RTLD_LOCAL | os.RTLD_NOW)
        lib, text = self._lib, ctypes.c_char_p
        lib.sqlite3_open_v2.argtypes = [text, ctypes.POINTER(ctypes.c_void_p), ctypes.c_int, text]
        lib.sqlite3_busy_timeout.argtypes = [ctypes.c_void_p, ctypes.c_int]
        lib.sqlite3_close.argtypes = [ctypes.c_void_p]
        lib.sqlite3_errmsg.argtypes = [ctypes.c_void_p]
        lib.sqlite3_errmsg.restype = text
        lib.sqlite3_exec.argtypes = [ctypes.c_void_p, text, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]
        lib.sqlite3_memory_used.restype = ctypes.c_int64

    def connect(self, path):
        return CopyConnection(self._lib, path)

    def bytes_used(self):
        return self._lib.sqlite3_memory_used()


ROW = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.POINTER(ctypes.c_char_p), ctypes.POINTER(ctypes.c_char_p)
)


class CopyConnection:
    def __init__(self, lib, path):
        self._lib, self._db = lib, ctypes.c_void_p()
        # Read, write, create, and serialised by SQLite's own mutexes.
        if lib.sqlite3_open_v2(path.encode(), ctypes.byref(self._db), 0x2 | 0x4 | 0x10000, None):
            raise Failed("cannot open " + path)
        lib.sqlite3_busy_timeout(self._db, BUSY_SECONDS * 1000)

    def run(self, sql):
        rows = []

        def row(_, count, values, __):
            rows.append(tuple((values[at] or b"").decode() for at in range(count)))
            return 0

        callback = ROW(row)
        if self._lib.sqlite3_exec(self._db, sql.encode(), callback, None, None):
            raise Failed(self._lib.sqlite3_errmsg(self._db).decode())
        return rows

    def close(self):
        self._lib.sqlite3_close(self._db)


def find_library():
    """The distribution's library, by the name that the loader knows it by."""
    loaded = ctypes.CDLL("libsqlite3.so.0", mode=os.RTLD_LOCAL)
    address = ctypes.cast(loaded.sqlite3_libversion, ctypes.c_void_p).value
    with open("/proc/self/maps", encoding="utf-8") as maps:
        for line in maps:
            fields = line.split()
            first, last = (int(part, 16) for part in fields[0].split("-"))
            if first <= address < last:
                return fields[5]
    raise Failed("libsqlite3.so.0 is loaded from nowhere")
