import Foundation
import XCTest

@testable import Lifeboat

final class CancellationTests: XCTestCase {
    func testACancelledTaskHasAQuietEngineWithin250MillisecondsAndTheNextCallGoesOn() async throws {
        let scene = try await Scene()
        try scene.fill(mebibytes: 64)
        let engine = try await scene.open()
        var waits: [Duration] = []
        for _ in 0..<3 {
            let job = try await engine.untilConfirmed { try await engine.backup(scene.request) }
            var ended: Result<BackupOutcome, any Error>?
            waits.append(
                await ContinuousClock().measure {
                    job.cancel()
                    ended = await job.result
                })
            XCTAssertThrowsError(try ended?.get()) { XCTAssertTrue($0 is CancellationError, "\($0)") }
            // Nothing runs: another job is admitted at once.
            try await engine.forget(ForgetRequest(keepLast: 1))
        }
        print("from cancel to quiet: \(waits)")
        // The promise is about the engine, not about a machine that does other things, too: the best of three.
        XCTAssertLessThan(waits.min()!, .milliseconds(250))
        let before = try scene.vaultBytes()
        guard case .published = try await engine.backup(scene.request) else { return XCTFail() }
        XCTAssertGreaterThan(before, 4 << 20, "what was confirmed is kept")
        XCTAssertLessThan(try scene.vaultBytes(), 90 << 20, "what was confirmed is not sent again")
        try await engine.stop()
    }

    func testATaskThatIsCancelledAlreadyBeginsNothing() async throws {
        let scene = try await Scene()
        try scene.fill(mebibytes: 16)
        let engine = try await scene.open()
        let task = Task {
            withUnsafeCurrentTask { $0?.cancel() }
            return try await engine.backup(scene.request)
        }
        let ended = await task.result
        XCTAssertThrowsError(try ended.get()) { XCTAssertTrue($0 is CancellationError, "\($0)") }
        let snapshots = try await engine.snapshots()
        XCTAssertTrue(snapshots.isEmpty)
        try await engine.stop()
    }

    func testARestoreIsStoppedAndGoesOn() async throws {
        let scene = try await Scene()
        try scene.fill(mebibytes: 48)
        let engine = try await scene.open()
        try await engine.backup(scene.request)
        let request = RestoreRequest(snapshot: "latest", target: scene.path("back"))
        let staging = Signal()
        let watcher = Watcher(progress: { if $0.phase == .staging && $0.bytes > 0 { staging.fire() } })
        let watching = try engine.handle.observe(observer: watcher, intervalMs: 50)
        let restore = Task { try await engine.restore(request) }
        await staging.wait()
        watching.cancel()
        restore.cancel()
        _ = await restore.result
        XCTAssertFalse(FileManager.default.fileExists(atPath: scene.path("back/app")), "nothing before everything")
        try await engine.restore(request)
        try scene.assertSame(scene.path("back/app"))
        try await engine.stop()
    }
}
