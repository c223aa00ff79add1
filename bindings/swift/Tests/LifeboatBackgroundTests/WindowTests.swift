import Foundation
import XCTest

@testable import Lifeboat
@testable import LifeboatBackground

/// What a background task does, with the real engine and without a phone.
final class WindowTests: XCTestCase {
    func testDueWorkIsDoneAndTheNextWakeIsAskedFor() async throws {
        let phone = try await Phone(mebibytes: 2)
        let end = await phone.window.run(asked: false, limit: .seconds(60))
        XCTAssertTrue(end.isDone)
        XCTAssertEqual(phone.outcomes.first?.ran, .firstBackup)
        XCTAssertEqual(phone.submitted.first?.count, 2)
        XCTAssertTrue(phone.errors.isEmpty)
    }

    func testAnExpiredTaskHasClosedItsEngineWhenItEndsAndTheNextOneGoesOn() async throws {
        let phone = try await Phone(mebibytes: 64)
        var waits: [Duration] = []
        for _ in 0..<3 {
            let (confirmed, confirm) = AsyncStream<Void>.makeStream()
            phone.whenOpened { engine in
                guard let events = try? engine.events() else { return }
                Task { for await event in events { if case .packConfirmed = event { confirm.yield() } } }
            }
            let window = phone.window
            let work = Task { await window.run(asked: false, limit: nil) }
            for await _ in confirmed { break }
            waits.append(
                await ContinuousClock().measure {
                    work.cancel()
                    _ = await work.value
                })
        }
        // Read on an idle machine, with an optimised engine. Here it must only end.
        print("from expiration to an engine that is closed: \(waits)")
        XCTAssertLessThan(waits.max()!, .seconds(30))
        XCTAssertEqual(phone.submitted.count, 3)
        phone.whenOpened { _ in }
        let end = await phone.window.run(asked: true, limit: nil)
        XCTAssertTrue(end.isDone)
        XCTAssertNotNil(end.outcome?.backup)
        XCTAssertTrue(phone.outcomes.contains { $0.backup != nil })
    }

    func testAKeychainThatIsLockedBreaksNoChainOfWakes() async throws {
        let phone = try await Phone(mebibytes: 1)
        phone.keys.shut()
        let end = await phone.window.run(asked: false, limit: .seconds(25))
        XCTAssertFalse(end.isDone)
        XCTAssertNotNil(end.error)
        XCTAssertEqual(phone.errors.count, 1)
        XCTAssertEqual(phone.submitted.first?.count, 2)
    }

    func testANetworkIsTakenForTheDearestThatItMayBe() {
        func state(_ up: Bool, _ expensive: Bool, _ constrained: Bool) -> NetworkState {
            AppleConditions.network(isUp: up, isExpensive: expensive, isConstrained: constrained)
        }
        XCTAssertEqual(state(true, false, false), .unmetered)
        XCTAssertEqual(state(true, true, false), .expensive)
        XCTAssertEqual(state(true, true, true), .constrained)
        XCTAssertEqual(state(false, false, false), .offline)
    }
}
