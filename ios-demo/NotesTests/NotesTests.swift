import Foundation
import XCTest

@testable import Notes

final class NotesTests: XCTestCase {
    func testNotesAreKeptByTheDatabase() {
        let file = FileManager.default.temporaryDirectory.appendingPathComponent("\(UUID().uuidString).db")
        defer { for end in ["", "-wal", "-shm"] { try? FileManager.default.removeItem(atPath: file.path + end) } }
        var database = NotesDatabase(file)
        database.add("milk", photo: nil)
        database.add("it's bread", photo: "a.jpg")
        database.close()
        database = NotesDatabase(file)
        XCTAssertEqual(database.all().map(\.text), ["it's bread", "milk"])
        XCTAssertEqual(database.all().map(\.photo), ["a.jpg", nil])
        database.remove(database.all()[0].id)
        XCTAssertEqual(database.all().map(\.text), ["milk"])
    }

    /// iOS ends an app that asks for a task which is not listed, and runs none without the mode.
    func testInfoPlistListsEveryTaskOfTheBackup() throws {
        let sources = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        let data = try Data(contentsOf: sources.appendingPathComponent("Notes/Info.plist"))
        let info = try XCTUnwrap(PropertyListSerialization.propertyList(from: data, format: nil) as? [String: Any])
        let tasks = Vault.tasks
        let continued = try XCTUnwrap(tasks.continued)
        XCTAssertEqual(
            info["BGTaskSchedulerPermittedIdentifiers"] as? [String], [tasks.refresh, tasks.processing, "\(continued).*"])
        XCTAssertEqual(info["UIBackgroundModes"] as? [String], ["fetch", "processing"])
    }
}
