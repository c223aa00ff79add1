import Foundation
import SQLite3

struct Note: Identifiable, Equatable {
    let id: Int64
    let text: String
    let photo: String?
}

/// The app's own data, as any app has it, in the SQLite of the system: nothing here knows of backups.
final class NotesDatabase {
    static let version: Int32 = 1

    /// SQLite copies what it is given.
    private static let transient = unsafeBitCast(-1, to: sqlite3_destructor_type.self)

    private var connection: OpaquePointer?

    init(_ file: URL) {
        check(sqlite3_open(file.path, &connection))
        check(sqlite3_busy_timeout(connection, 5_000))
        run("PRAGMA journal_mode = WAL")
        run("CREATE TABLE IF NOT EXISTS notes (id INTEGER PRIMARY KEY, text TEXT NOT NULL, photo TEXT)")
        run("PRAGMA user_version = \(Self.version)")
    }

    deinit { close() }

    func close() {
        sqlite3_close(connection)
        connection = nil
    }

    func add(_ text: String, photo: String?) {
        run("INSERT INTO notes (text, photo) VALUES (?, ?)", [text, photo])
    }

    func remove(_ id: Int64) {
        run("DELETE FROM notes WHERE id = ?", [String(id)])
    }

    func all() -> [Note] {
        rows("SELECT id, text, photo FROM notes ORDER BY id DESC") {
            Note(id: sqlite3_column_int64($0, 0), text: Self.text($0, 1) ?? "", photo: Self.text($0, 2))
        }
    }

    private func run(_ sql: String, _ values: [String?] = []) {
        _ = rows(sql, values) { _ in }
    }

    private func rows<Row>(_ sql: String, _ values: [String?] = [], read: (OpaquePointer?) -> Row) -> [Row] {
        var statement: OpaquePointer?
        check(sqlite3_prepare_v2(connection, sql, -1, &statement, nil))
        defer { sqlite3_finalize(statement) }
        for (index, value) in values.enumerated() where value != nil {
            check(sqlite3_bind_text(statement, Int32(index + 1), value, -1, Self.transient))
        }
        var found: [Row] = []
        var code = sqlite3_step(statement)
        while code == SQLITE_ROW {
            found.append(read(statement))
            code = sqlite3_step(statement)
        }
        check(code, SQLITE_DONE)
        return found
    }

    private static func text(_ statement: OpaquePointer?, _ column: Int32) -> String? {
        sqlite3_column_text(statement, column).map { String(cString: $0) }
    }

    /// A real app would tell the user; this one is about backups.
    private func check(_ code: Int32, _ wanted: Int32 = SQLITE_OK) {
        precondition(code == wanted, String(cString: sqlite3_errmsg(connection)))
    }
}
