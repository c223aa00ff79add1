import Foundation
import XCTest

@testable import Lifeboat

/// An app's folder, a vault beside it, and engines that are opened on both.
final class Scene: Sendable {
    static let password = "correct horse"

    let dir: URL
    let keys: FileKeyStore

    init() async throws {
        dir = FileManager.default.temporaryDirectory.appendingPathComponent("lifeboat-\(UUID().uuidString)")
        keys = FileKeyStore(dir.appendingPathComponent("key"))
        try FileManager.default.createDirectory(at: app, withIntermediateDirectories: true)
        try await Engine.create(vault: path("vault"), password: Self.password, label: "test", keyStore: keys)
    }

    deinit {
        try? FileManager.default.removeItem(at: dir)
    }

    var app: URL { dir.appendingPathComponent("app") }
    var config: EngineConfig { EngineConfig(vault: path("vault"), stateDir: path("state")) }
    var request: BackupRequest {
        BackupRequest(sources: [BackupSource(path: app.path, name: "app")], label: "phone")
    }

    func path(_ name: String) -> String {
        dir.appendingPathComponent(name).path
    }

    func open() async throws -> Engine {
        try await Engine.open(config, keyStore: keys)
    }

    /// Opens as soon as whoever held the folder has let go of it.
    func openWhenFree() async throws -> Engine {
        while true {
            do {
                return try await open()
            } catch EngineError.Busy {
                await Task.yield()
            }
        }
    }

    /// Files that do not compress, so that a backup of them takes a while.
    func fill(mebibytes: Int) throws {
        let random = try FileHandle(forReadingFrom: URL(fileURLWithPath: "/dev/urandom"))
        for n in 0..<mebibytes {
            try random.read(upToCount: 1 << 20)?.write(to: app.appendingPathComponent("\(n).jpg"))
        }
        try random.close()
    }

    func vaultBytes() throws -> Int {
        try files(below: dir.appendingPathComponent("vault")).reduce(0) { sum, file in
            sum + (try file.resourceValues(forKeys: [.fileSizeKey]).fileSize ?? 0)
        }
    }

    /// Every file of the app's folder, and no other, is below `other` with the same bytes; but for a database, whose content is what counts.
    func assertSame(_ other: String) throws {
        let other = URL(fileURLWithPath: other)
        func names(_ root: URL) throws -> [String] {
            try files(below: root).map { String($0.path.dropFirst(root.path.count)) }
                .filter { !$0.hasPrefix("/notes.db") }.sorted()
        }
        XCTAssertEqual(try names(app), try names(other))
        for name in try names(app) {
            let (mine, theirs) = (app.path + name, other.path + name)
            XCTAssertTrue(FileManager.default.contentsEqual(atPath: mine, andPath: theirs), "\(name) differs")
        }
    }

    private func files(below root: URL) throws -> [URL] {
        let all = FileManager.default.enumerator(at: root, includingPropertiesForKeys: [.isRegularFileKey, .fileSizeKey])
        return (all?.allObjects as? [URL] ?? []).filter {
            (try? $0.resourceValues(forKeys: [.isRegularFileKey]).isRegularFile) == true
        }
    }
}

/// Keeps the key in a file, where tests of several processes find it.
final class FileKeyStore: KeyStore {
    private let file: URL

    init(_ file: URL) {
        self.file = file
    }

    func loadKey() throws -> Data? {
        FileManager.default.fileExists(atPath: file.path) ? try Data(contentsOf: file) : nil
    }

    func saveKey(key: Data) throws {
        try key.write(to: file)
    }
}

/// Tells closures.
final class Watcher: Observer {
    private let progress: @Sendable (RunProgress) throws -> Void
    private let event: @Sendable (EngineEvent) throws -> Void
    private let end: @Sendable () -> Void

    init(
        progress: @escaping @Sendable (RunProgress) throws -> Void = { _ in },
        end: @escaping @Sendable () -> Void = {},
        event: @escaping @Sendable (EngineEvent) throws -> Void = { _ in }
    ) {
        self.progress = progress
        self.event = event
        self.end = end
    }

    func onProgress(progress: RunProgress) throws { try self.progress(progress) }
    func onEvent(event: EngineEvent) throws { try self.event(event) }
    func onEnd() throws { end() }
}

/// Something that happens once and is waited for.
struct Signal: Sendable {
    private let stream: AsyncStream<Void>
    private let continuation: AsyncStream<Void>.Continuation

    init() {
        (stream, continuation) = AsyncStream.makeStream()
    }

    func fire() { continuation.yield() }

    func wait() async {
        for await _ in stream { return }
    }
}

extension Engine {
    /// Begins a job, and returns when the vault has confirmed something of it.
    func untilConfirmed<T: Sendable>(_ begin: @escaping @Sendable () async throws -> T) async throws -> Task<T, any Error> {
        let confirmed = Signal()
        let watcher = Watcher(event: { if case .packConfirmed = $0 { confirmed.fire() } })
        // Watched before it begins, so that nothing is missed.
        let watching = try handle.observe(observer: watcher, intervalMs: 50)
        let job = Task.detached { try await begin() }
        await confirmed.wait()
        watching.cancel()
        return job
    }
}

/// The error that is thrown, if it is the engine's.
func engineError<T>(_ call: () async throws -> T) async -> EngineError? {
    do {
        _ = try await call()
        return nil
    } catch {
        return error as? EngineError
    }
}

extension EngineError {
    /// The name of the case, for assertions that do not care about texts.
    var name: String {
        String("\(self)".prefix { $0 != "(" })
    }
}
