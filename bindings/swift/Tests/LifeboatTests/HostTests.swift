import Foundation
import XCTest

@testable import Lifeboat

/// The host's own code throws, blocks and calls back, and harms nobody but itself.
final class HostTests: XCTestCase {
    private final class Keys: KeyStore {
        private let load: @Sendable () throws -> Data?

        init(_ load: @escaping @Sendable () throws -> Data?) {
            self.load = load
        }

        func loadKey() throws -> Data? { try load() }

        func saveKey(key: Data) throws { throw CocoaError(.fileWriteOutOfSpace) }
    }

    func testAKeyStoreThatThrowsIsAnErrorWithAnAction() async throws {
        let scene = try await Scene()
        let locked = Keys { throw HostError.NotNow(reason: "locked") }
        let later = await engineError { try await Engine.open(scene.config, keyStore: locked) }
        XCTAssertEqual(later, .KeyUnavailable(detail: "locked"))
        XCTAssertEqual(later?.retry, .later)
        let broken = Keys { throw CocoaError(.fileReadCorruptFile) }
        for keys in [broken, Keys { nil }, Keys { Data(count: 3) }] {
            let missing = await engineError { try await Engine.open(scene.config, keyStore: keys) }
            XCTAssertEqual(missing?.name, "KeyMissing")
        }
        // It could not keep the key: said, and the folder is free again.
        let unsaved = await engineError {
            try await Engine.open(scene.config, password: Scene.password, keyStore: broken)
        }
        XCTAssertEqual(unsaved?.name, "KeyMissing")
        try await scene.open().stop()
    }

    func testAnObserverThatThrowsIsToldTheNextThingAndTheEnd() async throws {
        let scene = try await Scene()
        try scene.fill(mebibytes: 16)
        let engine = try await scene.open()
        let (events, continuation) = AsyncStream.makeStream(of: EngineEvent.self)
        let rude = Watcher(
            progress: { _ in throw HostError.Failed(reason: "on purpose") },
            end: { continuation.finish() },
            event: {
                continuation.yield($0)
                throw CocoaError(.featureUnsupported)
            })
        let watching = try engine.handle.observe(observer: rude, intervalMs: 50)
        try await engine.backup(scene.request)
        try await engine.stop()
        var seen = 0
        for await _ in events { seen += 1 }
        XCTAssertGreaterThan(seen, 2)
        watching.cancel()
    }

    func testAnObserverCallsTheEngineStopsItAndBlocks() async throws {
        let scene = try await Scene()
        try scene.fill(mebibytes: 8)
        let engine = try await scene.open()
        let ended = Signal()
        let reentrant = Watcher(
            end: { ended.fire() },
            event: { event in
                guard case .snapshotPublished = event else { return }
                let answered = DispatchSemaphore(value: 0)
                Task {
                    _ = try? await engine.snapshots()
                    answered.signal()
                }
                answered.wait()
                try engine.stopBlocking(grace: .seconds(10))
            })
        let watching = try engine.handle.observe(observer: reentrant, intervalMs: 50)
        _ = try? await engine.backup(scene.request)
        await ended.wait()
        watching.cancel()
        let refused = await engineError { try await engine.snapshots() }
        XCTAssertEqual(refused?.name, "NotRunning")
        try await scene.openWhenFree().stop()
    }

    func testASlowReaderSlowsNobodyAndLearnsWhatItMissed() async throws {
        let scene = try await Scene()
        try scene.fill(mebibytes: 1)
        // One event for each source that is not there: more than wait for anybody.
        let lost = (0..<1000).map { BackupSource(path: scene.path("gone/\($0)"), name: "gone-\($0)") }
        let engine = try await scene.open()
        let (gate, mostMissed) = (DispatchSemaphore(value: 0), Signal())
        // Changed by the one thread that tells events.
        nonisolated(unsafe) var missed: UInt64 = 0
        let slow = Watcher(event: {
            gate.wait()
            gate.signal()
            // Told in parts: the first call itself may be one, for what came before its thread had its turn.
            if case .missed(let count) = $0 { missed += count }
            if missed > 500 { mostMissed.fire() }
        })
        let watching = try engine.handle.observe(observer: slow, intervalMs: 50)
        // Nobody reads this until everything has happened.
        let events = try engine.events()
        let request = BackupRequest(sources: scene.request.sources + lost, label: "phone")
        guard case .published(_, let summary) = try await engine.backup(request) else { return XCTFail() }
        XCTAssertEqual(summary.unreadableTotal, 1000)
        gate.signal()
        await mostMissed.wait()
        watching.cancel()
        try await engine.backup(scene.request)
        try await engine.stop()
        var seen = 0
        for await _ in events { seen += 1 }
        XCTAssertLessThanOrEqual(seen, 257)
    }

    func testProgressIsCoalescedAndItsLastWordIsTheLastState() async throws {
        let scene = try await Scene()
        try scene.fill(mebibytes: 32)
        let engine = try await scene.open()
        let progress = try engine.progress(every: .milliseconds(50))
        try await engine.backup(scene.request)
        let last = try engine.progress
        try await engine.stop()
        var seen: [RunProgress] = []
        for await one in progress { seen.append(one) }
        XCTAssertEqual(seen, [last], "nobody read: the newest is left")
        XCTAssertEqual(last.files, 32)
    }
}
