import XCTest

#if canImport(CSQLite)
import CSQLite
#else
import SQLite3
#endif

/// What the app does to its database, with its own copy of SQLite.
func sql(_ path: String, _ statements: String) {
    var database: OpaquePointer?
    XCTAssertEqual(sqlite3_open(path, &database), SQLITE_OK)
    defer { sqlite3_close(database) }
    XCTAssertEqual(sqlite3_exec(database, statements, nil, nil, nil), SQLITE_OK)
}

func notes(_ path: String) -> [String] {
    XCTAssertEqual(texts(path, "PRAGMA integrity_check"), ["ok"])
    return texts(path, "SELECT text FROM notes ORDER BY id")
}

private func texts(_ path: String, _ query: String) -> [String] {
    var database: OpaquePointer?
    XCTAssertEqual(sqlite3_open(path, &database), SQLITE_OK)
    defer { sqlite3_close(database) }
    var statement: OpaquePointer?
    XCTAssertEqual(sqlite3_prepare_v2(database, query, -1, &statement, nil), SQLITE_OK)
    defer { sqlite3_finalize(statement) }
    var found: [String] = []
    while sqlite3_step(statement) == SQLITE_ROW {
        found.append(String(cString: sqlite3_column_text(statement, 0)))
    }
    return found
}
