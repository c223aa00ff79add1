import Foundation
import XCTest

@testable import Lifeboat
@testable import LifeboatBackground

/// A backup that the user asked for, in a task as iOS 26 has it, with the real engine.
final class ContinuedTests: XCTestCase {
    /// What the system would see of its task.
    private final class Task26: ContinuedTask, @unchecked Sendable {
        let progress = Progress(totalUnitCount: 0)
        var expirationHandler: (() -> Void)?
        private let lock = NSLock()
        private var ends: [Bool] = []

        var completions: [Bool] { lock.withLock { ends } }

        func setTaskCompleted(success: Bool) { lock.withLock { ends.append(success) } }
    }

    private func step(_ bytes: UInt64, stored: UInt64 = 0) -> RunProgress {
        RunProgress(
            phase: .sealing, files: 0, bytes: bytes, filesTotal: 0, bytesTotal: 0, bytesNew: 0, bytesStored: stored, unreadable: 0)
    }

    func testEachMebibyteMovesTheBarOnAndNoneMovesItBackOrToItsEnd() {
        var shown = ShownProgress()
        var last = shown.completed
        for mebibyte in 1...UInt64(20_000) {
            shown.move(step(mebibyte << 20))
            XCTAssertGreaterThan(shown.completed, last, "at \(mebibyte) MiB")
            last = shown.completed
        }
        // A window ended, and the next one counts from nothing.
        shown.move(step(0))
        XCTAssertEqual(shown.completed, last)
        shown.move(step(1 << 20))
        XCTAssertGreaterThan(shown.completed, last)
        shown.move(step(.max, stored: .max))
        XCTAssertLessThan(shown.completed, ShownProgress.units)
        shown.complete()
        XCTAssertEqual(shown.completed, ShownProgress.units)
    }

    func testATaskThatWasBegunShowsTheBackupAndIsCompletedWithIt() async throws {
        let phone = try await Phone(mebibytes: 8)
        let (backup, task) = (ContinuedBackup(), Task26())
        let (moved, move) = AsyncStream<Void>.makeStream()
        XCTAssertTrue(backup.began(task) {})
        let end = await phone.window.run(asked: true, limit: nil) { step in
            backup.moved(step)
            if task.progress.completedUnitCount > 0 { move.yield() }
        }
        XCTAssertNotNil(end.outcome?.backup)
        // The last step is told when the job ends, and may be heard of after that.
        for await _ in moved { break }
        XCTAssertEqual(task.completions, [])
        backup.ended(success: true)
        XCTAssertEqual(task.completions, [true])
        XCTAssertEqual(task.progress.fractionCompleted, 1)
    }

    func testATaskThatExpiresEndsTheBackupAndTheNextWindowGoesOn() async throws {
        let phone = try await Phone(mebibytes: 64)
        let (backup, task) = (ContinuedBackup(), Task26())
        let (confirmed, confirm) = AsyncStream<Void>.makeStream()
        phone.whenOpened { engine in
            guard let events = try? engine.events() else { return }
            Task { for await event in events { if case .packConfirmed = event { confirm.yield() } } }
        }
        let window = phone.window
        let work = Task { await window.run(asked: true, limit: nil) { backup.moved($0) } }
        XCTAssertTrue(backup.began(task) { work.cancel() })
        for await _ in confirmed { break }
        task.expirationHandler?()
        let end = await work.value
        backup.ended(success: end.outcome?.backup != nil)
        XCTAssertEqual(task.completions, [false])
        XCTAssertLessThan(task.progress.completedUnitCount, ShownProgress.units)
        XCTAssertEqual(phone.submitted.count, 1, "the next wake is asked for")
        let next = await phone.window.run(asked: false, limit: nil)
        XCTAssertTrue(next.isDone)
        XCTAssertTrue(phone.outcomes.contains { $0.backup != nil })
    }

    func testATaskThatBeginsWhenAllIsOverIsCompletedAtOnce() {
        for success in [true, false] {
            let (backup, task) = (ContinuedBackup(), Task26())
            backup.ended(success: success)
            XCTAssertFalse(backup.began(task) {})
            XCTAssertEqual(task.completions, [success])
        }
    }
}
