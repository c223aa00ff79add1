import Foundation

@testable import Lifeboat
@testable import LifeboatBackground

final class Keys: KeyStore, @unchecked Sendable {
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

/// A phone without a phone: the real engine, with conditions as they are at night, and a record of what was asked for.
final class Phone: BackgroundPlatform, BackupHost, @unchecked Sendable {
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

    /// A window as a background task has it.
    var window: BackgroundWindow {
        BackgroundWindow(
            platform: self, host: self, identifiers: TaskIdentifiers(refresh: "refresh", processing: "processing"))
    }
}
