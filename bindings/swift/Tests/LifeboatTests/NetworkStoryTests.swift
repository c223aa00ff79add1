import Foundation
import XCTest

@testable import Lifeboat

/// The whole story in windows, with a vault on a real server: backed up, stopped, changed, lost, restored at the next start, confirmed.
final class NetworkStoryTests: XCTestCase {
    /// Knows the password.
    private final class Signed: CredentialProvider {
        func credentials(why: CredentialsWanted) throws -> VaultCredentials {
            VaultCredentials(user: Server.user, secret: Server.secret)
        }

        func version() throws -> UInt64 { 1 }
    }

    func testTheWholeStoryWithARESTServer() async throws {
        try await story(try await Server.rest())
    }

    func testTheWholeStoryWithABucket() async throws {
        try await story(try await Server.s3())
    }

    private func story(_ server: Server) async throws {
        let (scene, signed) = (try await Scene(), Signed())
        let keys = FileKeyStore(scene.dir.appendingPathComponent("network-key"))
        let config = EngineConfig(vault: server.vault, stateDir: scene.path("network-state"))
        let (database, note) = (scene.path("app/notes.db"), scene.app.appendingPathComponent("note.txt"))
        try scene.fill(mebibytes: 24)
        try Data("as it was".utf8).write(to: note)
        sql(database, "CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT); PRAGMA user_version = 3")
        sql(database, "INSERT INTO notes (text) VALUES ('milk')")
        try await Engine.create(
            vault: server.vault, password: Scene.password, label: "test", keyStore: keys, credentials: signed)
        let request = scene.request

        // A window that the system takes back, once something is in the vault.
        let first = try await Engine.open(config, keyStore: keys, credentials: signed)
        let window = try await first.untilConfirmed { try await first.runWindow(request, deadline: .seconds(60)) }
        window.cancel()
        guard case .moreToDo = try await window.value else { return XCTFail("24 MiB in no time") }
        let none = try await first.snapshots()
        XCTAssertTrue(none.isEmpty)
        try await first.stop()
        // Others, each with an engine of its own, as processes come and go.
        var (isDone, deadline) = (false, Duration.seconds(1))
        while !isDone {
            let engine = try await Engine.open(config, keyStore: keys, credentials: signed)
            switch try await engine.runWindow(request, deadline: deadline) {
            case .done: isDone = true
            case .moreToDo(_, _, _, _, let hint), .waiting(_, let hint):
                deadline = max(deadline, .milliseconds(Int64(hint.windowMinMs ?? 0)))
            }
            try await engine.stop()
        }

        sql(database, "INSERT INTO notes (text) VALUES ('bread')")
        let third = try await Engine.open(config, keyStore: keys, credentials: signed)
        guard case .done(.published(_, let summary)) = try await third.runWindow(request, deadline: .seconds(60)) else {
            return XCTFail("the increment is not done")
        }
        XCTAssertLessThan(summary.bytesAddedStored, 100_000)
        let verified = try await third.verify(readData: true)
        XCTAssertTrue(verified.isClean)

        // Lost: a file is gone, and the database is not what it was. The app has it open, so the restore is for the next start.
        try FileManager.default.removeItem(at: note)
        sql(database, "DELETE FROM notes")
        let target = scene.dir.path
        let staged = try await third.restore(RestoreRequest(snapshot: "latest", target: target, stageOnly: true))
        XCTAssertFalse(staged.isApplied)
        try await third.stop()
        XCTAssertEqual(try pendingRestore(target: target)?.stage, .staged)
        let old = AcceptedSchema(path: "app/notes.db", userVersionMax: 2)
        XCTAssertThrowsError(try applyPendingRestore(target: target, accepts: [old])) {
            XCTAssertEqual(($0 as? EngineError)?.name, "Unsupported")
        }
        let known = AcceptedSchema(path: "app/notes.db", userVersionMax: 3)
        guard case .applied = try applyPendingRestore(target: target, accepts: [known]) else {
            return XCTFail("it is not applied")
        }
        XCTAssertEqual(notes(database), ["milk", "bread"])
        XCTAssertEqual(try String(contentsOf: note, encoding: .utf8), "as it was")
        XCTAssertTrue(try confirmRestore(target: target))
        XCTAssertNil(try pendingRestore(target: target))
    }
}

/// When and what is the engine's to choose.
final class DueTests: XCTestCase {
    func testWhatIsDueIsDoneAndWhatIsNotIsExplained() async throws {
        let scene = try await Scene()
        try scene.fill(mebibytes: 1)
        let engine = try await scene.open()
        var policy = defaultPolicy()
        policy.keep.daily = "7"
        try await engine.setPolicy(policy)
        let kept = try await engine.policy()
        XCTAssertEqual(kept, policy)
        var conditions = PhoneConditions(
            network: .offline, charging: true, lowPowerMode: false, thermal: .nominal, freeBytes: 1 << 40,
            timeZone: "Europe/Berlin")
        let offline = try await engine.runDue(scene.request, conditions: conditions)
        XCTAssertNil(offline.ran)
        XCTAssertEqual(offline.waits.first?.reason.code, "offline")
        let tasks = appleTasks(
            nowMs: Int64(Date.now.timeIntervalSince1970 * 1000), wakes: offline.wakes, standing: nil,
            refresh: "org.example.refresh", processing: "org.example.processing")
        XCTAssertEqual(tasks.count, 2)
        conditions.network = .unmetered
        let done = try await engine.runDue(scene.request, conditions: conditions)
        XCTAssertEqual(done.ran, .firstBackup)
        guard case .published = done.backup else { return XCTFail("\(done)") }
        let status = try await engine.status()
        XCTAssertEqual(status.freshness, .fresh)
        let told = try await engine.explain()
        XCTAssertEqual(told.windows.count, 1)
        try await engine.stop()
    }
}
