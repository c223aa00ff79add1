import Foundation
import XCTest

@testable import Lifeboat

final class LifecycleTests: XCTestCase {
    private func count(_ folder: String) -> Int {
        (try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/\(folder)").count) ?? 0
    }

    func testAHundredEnginesComeAndGoAndLeaveNothingBehind() async throws {
        let scene = try await Scene()
        let cycle = {
            let engine = try await scene.open()
            _ = try await engine.snapshots()
            try await engine.stop()
        }
        for _ in 0..<5 { try await cycle() }
        let before = (count("task"), count("fd"))
        for _ in 0..<100 { try await cycle() }
        let after = (count("task"), count("fd"))
        print("threads and files before \(before), after \(after)")
        // The concurrency pool has threads that come and go; a leak of one a cycle would be a hundred.
        XCTAssertLessThanOrEqual(after.0, before.0 + 10)
        XCTAssertLessThanOrEqual(after.1, before.1 + 10)
    }

    func testStoppingWhileBusyEndsTheJobAndEverybodyIsTold() async throws {
        let scene = try await Scene()
        try scene.fill(mebibytes: 32)
        let engine = try await scene.open()
        let events = try engine.events()
        let collecting = Task { for await _ in events {} }
        let job = try await engine.untilConfirmed { try await engine.backup(scene.request) }
        // As in an expiration handler.
        let clock = ContinuousClock()
        print("from stop to quiet: \(try clock.measure { try engine.stopBlocking(grace: .seconds(10)) })")
        let error = await engineError { try await job.value }
        XCTAssertTrue(["Cancelled", "NotRunning"].contains(error?.name), "\(String(describing: error))")
        // The stream ends with the engine.
        await collecting.value
        try engine.stopBlocking()
        let refused = await engineError { try await engine.snapshots() }
        XCTAssertEqual(refused?.name, "NotRunning")
        XCTAssertThrowsError(try engine.events())
        let next = try await scene.open()
        guard case .published = try await next.backup(scene.request) else { return XCTFail() }
        try await next.stop()
    }

    func testASecondEngineOnTheSameStateFolderIsRefused() async throws {
        let scene = try await Scene()
        let engine = try await scene.open()
        await withTaskGroup(of: String?.self) { group in
            for _ in 0..<4 { group.addTask { await engineError { try await scene.open() }?.name } }
            for await name in group { XCTAssertEqual(name, "Busy") }
        }
        try await engine.stop()
        try await scene.open().stop()
    }

    func testASuspendedEngineStopsItsJobRefusesCallsAndResumes() async throws {
        let scene = try await Scene()
        try scene.fill(mebibytes: 32)
        let engine = try await scene.open()
        let job = try await engine.untilConfirmed { try await engine.backup(scene.request) }
        print("from suspend to quiet: \(try ContinuousClock().measure { try engine.suspendBlocking(grace: .seconds(10)) })")
        let ended = await engineError { try await job.value }
        XCTAssertNotNil(ended)
        let open = try FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd").compactMap {
            try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/fd/\($0)")
        }
        XCTAssertEqual(open.filter { $0.hasPrefix(scene.path("state/catalog")) }, [], "files that could be locked are open")
        let refused = await engineError { try await engine.backup(scene.request) }
        XCTAssertEqual(refused?.name, "NotRunning")
        try await engine.resume()
        try await engine.resume()
        guard case .published = try await engine.backup(scene.request) else { return XCTFail() }
        try await engine.stop()
    }

    func testForgottenEnginesEndAndTheirFolderIsFreeAgain() async throws {
        let scene = try await Scene()
        try scene.fill(mebibytes: 8)
        for _ in 0..<30 {
            // Nobody keeps it, and nobody stops it; its job is cancelled on the way.
            let engine = try await scene.openWhenFree()
            let job = Task { try await engine.backup(scene.request) }
            job.cancel()
            _ = await job.result
        }
        try await scene.openWhenFree().stop()
    }

    func testAProcessThatIsKilledInTheMiddleOfABackupIsContinuedByAnother() async throws {
        let scene = try await Scene()
        try scene.fill(mebibytes: 64)
        var kills = 0
        while kills < 3 {
            let (child, words) = try start(scene)
            // It says when the vault has confirmed a pack, and is killed there and then.
            guard try words.read(upToCount: 1) == Data("c".utf8) else { break }
            kill(child.processIdentifier, SIGKILL)
            child.waitUntilExit()
            guard child.terminationReason == .uncaughtSignal else { break }
            kills += 1
        }
        print("killed \(kills) times, with \(try scene.vaultBytes()) bytes in the vault")
        XCTAssertGreaterThan(kills, 0, "it was always faster than its killer")
        let (last, words) = try start(scene)
        let said = try words.readToEnd()
        last.waitUntilExit()
        XCTAssertEqual(said?.last, UInt8(ascii: "p"))
        XCTAssertEqual(last.terminationStatus, 0)
        let engine = try await scene.open()
        let verified = try await engine.verify(readData: true)
        XCTAssertTrue(verified.isClean)
        try await engine.restore(RestoreRequest(snapshot: "latest", target: scene.path("back")))
        try scene.assertSame(scene.path("back/app"))
        try await engine.stop()
        // Each kill costs at most the packs that were open, one of data and one of trees.
        XCTAssertLessThan(try scene.vaultBytes(), (64 + kills * 8 + 2) << 20)
    }

    private func start(_ scene: Scene) throws -> (Process, FileHandle) {
        let child = Process()
        // Beside the program that runs the tests.
        let tests = URL(fileURLWithPath: CommandLine.arguments[0])
        let program = tests.deletingLastPathComponent().appendingPathComponent("KilledBackup")
        child.executableURL = program
        child.arguments = [scene.dir.path]
        let pipe = Pipe()
        child.standardOutput = pipe
        try child.run()
        return (child, pipe.fileHandleForReading)
    }
}
