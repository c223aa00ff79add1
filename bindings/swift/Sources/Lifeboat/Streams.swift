import Foundation

extension Engine {
    /// Facts, from now on until the engine stops. A slow reader loses some, and is told by ``EngineEvent/missed(count:)`` how many; it never slows
    /// the engine down.
    ///
    /// - Throws: ``EngineError/NotRunning(detail:)``.
    public func events() throws -> AsyncStream<EngineEvent> {
        // As many as the engine keeps for a slow observer.
        let (stream, continuation) = AsyncStream.makeStream(of: EngineEvent.self, bufferingPolicy: .bufferingOldest(256))
        try tell(EventTeller(continuation), every: .seconds(60)) { continuation.onTermination = $0 }
        return stream
    }

    /// How far the current job is: when one begins, when it ends, and every so often in between. A slow reader gets the newest only.
    ///
    /// - Throws: ``EngineError/NotRunning(detail:)``.
    public func progress(every interval: Duration = .milliseconds(250)) throws -> AsyncStream<RunProgress> {
        let (stream, continuation) = AsyncStream.makeStream(of: RunProgress.self, bufferingPolicy: .bufferingNewest(1))
        try tell(ProgressTeller(continuation), every: interval) { continuation.onTermination = $0 }
        return stream
    }

    private func tell<T>(
        _ observer: any Observer, every interval: Duration,
        onTermination: (@escaping @Sendable (AsyncStream<T>.Continuation.Termination) -> Void) -> Void
    ) throws {
        let subscription = try handle.observe(observer: observer, intervalMs: interval.milliseconds)
        onTermination { _ in subscription.cancel() }
    }
}

/// Called by one thread only, one call after the other.
private final class EventTeller: Observer, @unchecked Sendable {
    private let continuation: AsyncStream<EngineEvent>.Continuation
    private var missed: UInt64 = 0

    init(_ continuation: AsyncStream<EngineEvent>.Continuation) {
        self.continuation = continuation
    }

    func onProgress(progress: RunProgress) throws {}

    func onEvent(event: EngineEvent) throws {
        if missed > 0, case .enqueued = continuation.yield(.missed(count: missed)) {
            missed = 0
        }
        if missed > 0 {
            missed += 1
        } else if case .dropped = continuation.yield(event) {
            missed = 1
        }
    }

    func onEnd() throws {
        continuation.finish()
    }
}

private final class ProgressTeller: Observer, Sendable {
    private let continuation: AsyncStream<RunProgress>.Continuation

    init(_ continuation: AsyncStream<RunProgress>.Continuation) {
        self.continuation = continuation
    }

    func onProgress(progress: RunProgress) throws {
        continuation.yield(progress)
    }

    func onEvent(event: EngineEvent) throws {}

    func onEnd() throws {
        continuation.finish()
    }
}

/// The entries of a snapshot. Each iteration reads them anew.
public struct SnapshotEntries: AsyncSequence, Sendable {
    public typealias Element = SnapshotEntry

    let handle: EngineHandle
    let snapshot: String
    let below: String

    public func makeAsyncIterator() -> Iterator {
        Iterator(entries: self)
    }

    public struct Iterator: AsyncIteratorProtocol {
        private static let perCall: UInt32 = 200

        let entries: SnapshotEntries
        private var reader: EntryReader?
        private var read: ArraySlice<SnapshotEntry> = []

        init(entries: SnapshotEntries) {
            self.entries = entries
        }

        public mutating func next() async throws -> SnapshotEntry? {
            if read.isEmpty {
                try Task.checkCancellation()
                let reader = try await open()
                read = try await reader.next(max: Self.perCall)[...]
            }
            return read.popFirst()
        }

        private mutating func open() async throws -> EntryReader {
            if let reader { return reader }
            let opened = try await entries.handle.entries(snapshot: entries.snapshot, below: entries.below)
            reader = opened
            return opened
        }
    }
}
