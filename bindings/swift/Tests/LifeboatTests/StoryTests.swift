import Foundation
import XCTest

@testable import Lifeboat

/// What an app does with a backup, from the first day to the day of need.
final class StoryTests: XCTestCase {
    func testAnAppBacksUpChangesLosesEverythingAndHasItBack() async throws {
        let scene = try await Scene()
        try scene.fill(mebibytes: 6)
        let database = scene.app.appendingPathComponent("notes.db").path
        sql(database, "CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT); INSERT INTO notes (text) VALUES ('milk')")
        let request = BackupRequest(sources: scene.request.sources, label: "phone", skipIfUnchanged: true)

        var engine = try await scene.open()
        guard case .published(let first, let summary) = try await engine.backup(request) else { return XCTFail() }
        XCTAssertEqual(summary.filesNew, 7)
        guard case .unchanged = try await engine.backup(request) else { return XCTFail() }
        try await engine.stop()

        sql(database, "INSERT INTO notes (text) VALUES ('bread')")
        try Data("{}".utf8).write(to: scene.app.appendingPathComponent("settings.json"))
        engine = try await scene.open()
        guard case .published(_, let second) = try await engine.backup(request) else { return XCTFail() }
        XCTAssertEqual([second.filesNew, second.filesChanged], [1, 1])
        XCTAssertLessThan(second.bytesAddedStored, 1_000_000, "an increment is small")
        let snapshots = try await engine.snapshots()
        XCTAssertEqual(snapshots.count, 2)
        XCTAssertEqual(snapshots.first?.id, first)
        let verified = try await engine.verify(readData: true)
        XCTAssertTrue(verified.isClean)
        try await engine.stop()

        // The phone is lost: another one has the password, and nothing else.
        let other = EngineConfig(vault: scene.path("vault"), stateDir: scene.path("other"))
        let keys = FileKeyStore(scene.dir.appendingPathComponent("other-key"))
        let missing = await engineError { try await Engine.open(other, keyStore: keys) }
        XCTAssertEqual(missing?.name, "KeyMissing")
        XCTAssertEqual(missing?.retry, .afterUserActs)
        let wrong = await engineError { try await Engine.open(other, password: "battery staple", keyStore: keys) }
        XCTAssertEqual(wrong?.name, "WrongPassword")
        engine = try await Engine.open(other, password: Scene.password, keyStore: keys)
        var paths: [String] = []
        for try await entry in engine.entries(below: "/app") { paths.append(entry.path) }
        XCTAssertEqual(paths.filter { $0.hasSuffix(".jpg") }.count, 6)
        XCTAssertTrue(paths.contains("/app/settings.json"))
        try await engine.restore(RestoreRequest(snapshot: "latest", target: scene.path("back")))
        try scene.assertSame(scene.path("back/app"))
        XCTAssertEqual(notes(scene.path("back/app/notes.db")), ["milk", "bread"])
        let old = RestoreRequest(snapshot: first, target: scene.path("old"), include: ["/app/notes.db"])
        try await engine.restore(old)
        XCTAssertEqual(notes(scene.path("old/app/notes.db")), ["milk"])
        try await engine.stop()
        try await Engine.open(other, keyStore: keys).stop()
    }

    func testKeysAreAddedAndRemovedAndSnapshotsAreLetGoOf() async throws {
        let scene = try await Scene()
        try scene.fill(mebibytes: 1)
        let engine = try await scene.open()
        for _ in 0..<3 { try await engine.backup(scene.request) }
        let empty = await engineError { try await engine.forget(ForgetRequest()) }
        XCTAssertEqual(empty?.name, "InvalidInput")
        let done = try await engine.forget(ForgetRequest(keepLast: 1))
        XCTAssertEqual(done.removed.count, 2)
        let left = try await engine.snapshots()
        XCTAssertEqual(left.count, 1)
        let id = try await engine.addKey(password: "recovery", label: "paper")
        let keys = try await engine.keys()
        XCTAssertEqual(keys.count, 2)
        let removed = try await engine.removeKey(id: String(id.prefix(12)))
        XCTAssertEqual(removed, id)
        let again = await engineError { try await engine.removeKey(id: id) }
        XCTAssertEqual(again?.name, "NotFound")
        let locks = try await engine.locks()
        XCTAssertTrue(locks.isEmpty)
        XCTAssertEqual(try engine.repositoryID.count, 64)
        try await engine.stop()
    }
}
