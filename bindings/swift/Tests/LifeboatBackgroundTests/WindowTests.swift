import Foundation
import XCTest

@testable import Lifeboat
@testable import LifeboatBackground

/// What a background task does, with the real engine and without a phone.
final class WindowTests: XCTestCase {
    private final class Keys: KeyStore, @unchecked Sendable {
        private let lock = NSLock()
        private var key: Data?
        private var isLocked = false

        func loadKey() throws -> Data? {
            try lock.withLock {
                if isLocked { throw HostError.NotNow(reason: "locked") }
                return key
            }
        }

        func saveKey(key: Data) throws { lock.withLock { self.key = key } }

        func shut() { lock.withLock { isLocked = true } }
    }

    private final class Phone: BackgroundPlatform, BackupHost, @unchecked Sendable {
        let dir = FileManager.default.temporaryDirectory.appendingPathComponent("lifeboat-\(UUID().uuidString)")
        let keys = Keys()
        private let lock = NSLock()
        private var tasks: [[AppleTask]] = []
        private var ended: [DueOutcome] = []
        private var failed: [any Error] = []
        private var opened: (@Sendable (Engine) -> Void)?

        var vault: String { dir.appendingPathComponent("vault").path }
        var app: URL { dir.appendingPathComponent("app") }
        var submitted: [[AppleTask]] { lock.withLock { tasks } }
        var outcomes: [DueOutcome] { lock.withLock { ended } }
        var errors: [any Error] { lock.withLock { failed } }

        init(mebibytes: Int) async throws {
            try FileManager.default.createDirectory(at: app, withIntermediateDirectories: true)
            try await Engine.create(vault: vault, password: "correct horse", label: "test", keyStore: keys)
            let random = try FileHandle(forReadingFrom: URL(fileURLWithPath: "/dev/urandom"))
            for n in 0..<mebibytes {
                try random.read(upToCount: 1 << 20)?.write(to: app.appendingPathComponent("\(n).jpg"))
            }
            try random.close()
        }

        deinit { try? FileManager.default.removeItem(at: dir) }

        func whenOpened(_ act: @escaping @Sendable (Engine) -> Void) { lock.withLock { opened = act } }

        func conditions(asked: Bool, windowLeft: Duration?) async -> PhoneConditions {
            PhoneConditions(
                network: .unmetered, charging: true, lowPowerMode: false, thermal: .nominal, freeBytes: 1 << 40,
                asked: asked, windowLeftMs: windowLeft?.wholeMilliseconds, timeZone: "Europe/Berlin")
        }

        func submit(_ tasks: [AppleTask]) { lock.withLock { self.tasks.append(tasks) } }

        func openEngine() async throws -> Engine {
            let config = EngineConfig(vault: vault, stateDir: dir.appendingPathComponent("state").path)
            let engine = try await Engine.open(config, keyStore: keys)
            lock.withLock { opened }?(engine)
            return engine
        }

        var request: BackupRequest {
            BackupRequest(sources: [BackupSource(path: app.path, name: "app")], label: "phone", skipIfUnchanged: true)
        }

        func windowEnded(_ outcome: DueOutcome) { lock.withLock { ended.append(outcome) } }
        func windowFailed(_ error: any Error) { lock.withLock { failed.append(error) } }
    }

    private func window(_ phone: Phone) -> BackgroundWindow {
        BackgroundWindow(
            platform: phone, host: phone, identifiers: TaskIdentifiers(refresh: "refresh", processing: "processing"))
    }

    func testDueWorkIsDoneAndTheNextWakeIsAskedFor() async throws {
        let phone = try await Phone(mebibytes: 2)
        let isDone = await window(phone).run(asked: false, limit: .seconds(60))
        XCTAssertTrue(isDone)
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
            let window = window(phone)
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
        let isDone = await window(phone).run(asked: true, limit: nil)
        XCTAssertTrue(isDone)
        XCTAssertTrue(phone.outcomes.contains { $0.backup != nil })
    }

    func testAKeychainThatIsLockedBreaksNoChainOfWakes() async throws {
        let phone = try await Phone(mebibytes: 1)
        phone.keys.shut()
        let isDone = await window(phone).run(asked: false, limit: .seconds(25))
        XCTAssertFalse(isDone)
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
