import Foundation
import Lifeboat
import XCTest

@testable import Notes

final class BackupTextTests: XCTestCase {
    private func status(
        _ freshness: BackupFreshness, hours: Double, waits: DueReason? = nil, newest: Int64? = 1, runs: DueTask? = nil
    ) -> BackupStatus {
        BackupStatus(
            freshness: freshness, newestMs: newest, ageMs: Int64(hours * 3_600_000), runs: runs, waits: waits, nextMs: nil,
            lastEnd: nil)
    }

    func testTheAgeOfTheBackupIsTheFirstThingToRead() {
        XCTAssertEqual(BackupText.headline(status(.none, hours: 0)), "Not backed up yet")
        XCTAssertEqual(BackupText.headline(status(.fresh, hours: 0.005)), "Backed up just now")
        XCTAssertEqual(BackupText.headline(status(.fresh, hours: 3)), "Backed up 3 hours ago")
        XCTAssertEqual(BackupText.headline(status(.late, hours: 30)), "Backed up 30 hours ago: later than wished")
        XCTAssertEqual(BackupText.headline(status(.stale, hours: 120)), "Not backed up for 5 days")
        XCTAssertEqual(BackupText.headline(status(.stale, hours: 120, newest: nil)), "Never backed up, for 5 days")
    }

    func testWhyNotNowComesWithWhatToDo() {
        let reason = DueReason(code: "offline", text: "no network is connected", advice: "connect to a network")
        let late = BackupText.why(status(.late, hours: 30, waits: reason))
        XCTAssertEqual(late, "No network is connected. Connect to a network.")
        XCTAssertEqual(BackupText.why(status(.fresh, hours: 1)), "")
        XCTAssertEqual(BackupText.why(status(.late, hours: 30, runs: .increment)), "A backup can run now.")
    }

    func testProgressHasAShareWhereTheWholeIsKnown() {
        func progress(_ phase: RunPhase, of total: UInt64) -> String {
            BackupText.progress(
                RunProgress(
                    phase: phase, files: 3, bytes: 50, filesTotal: 0, bytesTotal: total, bytesNew: 0, bytesStored: 2_500_000,
                    unreadable: 0))
        }
        XCTAssertEqual(progress(.staging, of: 200), "Fetching: 25 %")
        XCTAssertEqual(progress(.staging, of: 0), "Fetching: 50 B")
        XCTAssertEqual(progress(.sealing, of: 0), "Reading: 3 files, 2 MB sent")
        XCTAssertEqual(progress(.idle, of: 0), "")
    }

    func testAnErrorSaysWhatToDoAndOneThatPassesSaysThatItDoes() {
        XCTAssertTrue(BackupText.error(EngineError.Unsupported(detail: "newer")).contains("update"))
        XCTAssertEqual(
            BackupText.error(EngineError.Unreachable(detail: "no route")), "Not now: no route. It goes on by itself.")
        XCTAssertEqual(BackupText.error(EngineError.Bug(report: "odd")), "Failed: odd")
        XCTAssertTrue(BackupText.error(CancellationError()).contains("by itself"))
        XCTAssertNil(BackupText.applied(.nothingPending))
        XCTAssertNotNil(BackupText.applied(.unconfirmed))
        XCTAssertEqual(BackupText.bytes(1_500_000_000), "1.5 GB")
    }

    func testASnapshotIsShownWithItsShortIdAndWhatItHolds() {
        let snapshot = SnapshotInfo(
            id: String(repeating: "ab", count: 32), timeMs: 0, utcOffsetS: 0, label: "phone", paths: [], tags: [], files: 7,
            bytes: 1_200, bytesAddedStored: nil)
        XCTAssertTrue(BackupText.snapshot(snapshot).hasSuffix(" · abababab · 7 files, 1 kB"), BackupText.snapshot(snapshot))
        XCTAssertTrue(BackupText.restoring(snapshot).contains("abababab"))
    }
}
