import Foundation

/// A backup engine that is open: one vault, one state folder, one job at a time.
///
/// ```swift
/// let engine = try await Engine.open(EngineConfig(vault: vault, stateDir: state), keyStore: keychain)
/// let outcome = try await engine.backup(BackupRequest(sources: [BackupSource(path: files, name: "files")], label: "phone"))
/// try await engine.stop()
/// ```
///
/// Calls may come from any task or actor; none blocks a thread of the concurrency pool, but for those whose names say so. Cancelling the task of a
/// long call stops the engine's work and waits until it is quiet, which takes less than a quarter of a second; the call then throws
/// `CancellationError`. The next call with the same request goes on from there. What fails is an ``EngineError``, and each case of it is something
/// else for the app to do.
///
/// There is one engine for a state folder: in this process or any other, a second one is refused with ``EngineError/Busy(detail:)``. An engine that
/// is forgotten stops by itself.
public final class Engine: Sendable {
    let handle: EngineHandle

    private init(_ handle: EngineHandle) {
        self.handle = handle
    }

    /// Makes a repository in a vault that holds none, gives its key to the key store, and returns the repository's id.
    ///
    /// - Parameters:
    ///   - password: Opens the vault on any other device, and with restic: without it, a lost phone is a lost vault.
    ///   - label: Says in the key file whose it is.
    ///   - credentials: Knows whom the vault takes the app for, where its address does not say it.
    ///   - trust: Says whether the vault's server is the right one; without it, the operating system does.
    @discardableResult
    public static func create(
        vault: String, password: String, label: String, keyStore: (any KeyStore)? = nil,
        network: NetworkOptions? = nil, credentials: (any CredentialProvider)? = nil, trust: (any ServerTrust)? = nil
    ) async throws -> String {
        try await createRepository(
            vault: vault, password: password, label: label, keyStore: keyStore, network: network, credentials: credentials,
            trust: trust)
    }

    /// Opens a vault with the key that the key store holds. Where it holds none: ``EngineError/KeyMissing(detail:)``.
    public static func open(
        _ config: EngineConfig, keyStore: any KeyStore, credentials: (any CredentialProvider)? = nil,
        trust: (any ServerTrust)? = nil
    ) async throws -> Engine {
        Engine(
            try await EngineHandle.openWithKeyStore(
                config: config, keyStore: keyStore, credentials: credentials, trust: trust))
    }

    /// Opens a vault with a password, as on a new phone, and gives its key to the key store for the next time.
    public static func open(
        _ config: EngineConfig, password: String, keyStore: (any KeyStore)? = nil,
        credentials: (any CredentialProvider)? = nil, trust: (any ServerTrust)? = nil
    ) async throws -> Engine {
        Engine(
            try await EngineHandle.openWithPassword(
                config: config, password: password, keyStore: keyStore, credentials: credentials, trust: trust))
    }

    /// Backs up. Stopped in whatever way, the same request goes on from there.
    ///
    /// - Parameter holder: Is asked to hold those databases still that the request says the app holds.
    @discardableResult
    public func backup(
        _ request: BackupRequest, holder: (any DatabaseHolder)? = nil
    ) async throws -> BackupOutcome {
        try await stoppable { try await self.handle.backup(request: request, holder: holder, stop: $0) }
    }

    /// Goes on with the backup until the deadline, and says what is left. A run lives in the state folder between windows: engines and processes may
    /// come and go, and nothing that the vault has confirmed is sent again. Cancelling stops it within a quarter of a second; it then returns as always.
    ///
    /// - Parameters:
    ///   - network: What the device is connected to now. When that changes, cancel this window and begin another one.
    ///   - allowances: Bytes that may travel on each class of network; as it is, on unmetered ones only.
    ///   - soleClient: Nobody else ever deletes from this vault: no lock is written there.
    public func runWindow(
        _ request: BackupRequest, deadline: Duration, network: NetworkClass = .unmetered,
        allowances: Allowances = Allowances(), soleClient: Bool = false, holder: (any DatabaseHolder)? = nil
    ) async throws -> WindowOutcome {
        let budget = WindowBudget(
            deadlineMs: deadline.milliseconds, network: network, allowances: allowances, soleClient: soleClient)
        return try await stoppable {
            try await self.handle.runWindow(request: request, budget: budget, holder: holder, stop: $0)
        }
    }

    /// To be called whenever the app is awake, for whatever reason: decides from the policy, the conditions, and all that was written down before; does
    /// the most urgent work that may be done, in one window; and says when to wake the app next. In between, the engine does nothing by itself.
    ///
    /// Cancelling takes the window back within a quarter of a second, and the journal says so. The call then returns as always, if it had begun.
    ///
    /// - Parameter stopCode: What the journal says of a cancellation: a code that begins with `stop-`, such as `stop-expired`.
    public func runDue(
        _ request: BackupRequest, conditions: PhoneConditions, soleClient: Bool = false,
        holder: (any DatabaseHolder)? = nil, stopCode: String = "stop-expired"
    ) async throws -> DueOutcome {
        try await stoppable(because: stopCode) {
            try await self.handle.runDue(
                request: request, conditions: conditions, soleClient: soleClient, holder: holder, stop: $0)
        }
    }

    /// Keeps a policy from now on, in the state folder. Begin with ``defaultPolicy()`` and change what should be different.
    public func setPolicy(_ policy: BackupPolicy) async throws {
        try await handle.setPolicy(policy: policy)
    }

    /// The policy that is kept.
    public func policy() async throws -> BackupPolicy {
        try await handle.policy()
    }

    /// How the backup is doing, for a settings screen. Without conditions, as they were last said.
    public func status(conditions: PhoneConditions? = nil) async throws -> BackupStatus {
        try await handle.status(nowMs: Date.now.unixMilliseconds, conditions: conditions)
    }

    /// Why something is, was or is not done: now, or at a past moment.
    public func explain(conditions: PhoneConditions? = nil, at: Date? = nil) async throws -> BackupExplanation {
        try await handle.explain(
            nowMs: Date.now.unixMilliseconds, conditions: conditions, atMs: at?.unixMilliseconds)
    }

    /// The user says that the data is gone on purpose: snapshots that were set aside count from now on. Returns how many there were.
    @discardableResult
    public func confirmNewborn() async throws -> UInt64 {
        try await handle.confirmNewborn()
    }

    /// Something has changed for a backup that waits since the vault refused access or was full: the next window tries again.
    public func unpark() async throws {
        try await handle.unpark()
    }

    /// Gives sealed packs to the system's own uploader, as requests that are good for so long: for that time the engine does not send them.
    /// ``EngineError/Unsupported(detail:)`` where the vault has no such requests: only buckets have.
    public func handOff(expires: Duration) async throws -> [PackUpload] {
        try await handle.handOff(expiresMs: expires.milliseconds)
    }

    /// What became of a pack that was handed off, as far as its sender knows: in any order, twice, or never.
    public func handOffEnded(pack: String, stored: Bool) async throws {
        try await handle.handOffEnded(pack: pack, stored: stored)
    }

    /// Gives back the room of what no snapshot needs. Stopped in whatever way, what was done stays done.
    @discardableResult
    public func prune(_ request: PruneRequest = PruneRequest()) async throws -> PruneSummary {
        try await stoppable { try await self.handle.prune(request: request, stop: $0) }
    }

    /// Brings a snapshot back. Stopped in whatever way, the same request goes on from there.
    @discardableResult
    public func restore(_ request: RestoreRequest) async throws -> RestoreSummary {
        try await stoppable { try await self.handle.restore(request: request, stop: $0) }
    }

    /// Verifies what the vault holds; with `readData` every byte of it. What is wrong with it is in the summary.
    public func verify(readData: Bool = false) async throws -> VerifySummary {
        try await stoppable { try await self.handle.verify(request: VerifyRequest(readData: readData), stop: $0) }
    }

    /// Lets go of snapshots. Short, and not to be cancelled on the way.
    @discardableResult
    public func forget(_ request: ForgetRequest) async throws -> ForgetSummary {
        try await handle.forget(request: request)
    }

    /// All snapshots in the vault, oldest first.
    public func snapshots() async throws -> [SnapshotInfo] {
        try await handle.snapshots()
    }

    /// What is in a snapshot at `below` and below it, folders before what they hold. Read as it is iterated.
    ///
    /// - Parameter snapshot: `latest`, or the beginning of an id.
    public func entries(of snapshot: String = "latest", below: String = "/") -> SnapshotEntries {
        SnapshotEntries(handle: handle, snapshot: snapshot, below: below)
    }

    /// The key files: each is another password that opens the vault.
    public func keys() async throws -> [KeyFileInfo] {
        try await handle.keys()
    }

    /// Adds a key file that opens with the password, such as a recovery code, and returns its id.
    @discardableResult
    public func addKey(password: String, label: String) async throws -> String {
        try await handle.addKey(password: password, label: label)
    }

    /// Removes the key file whose id begins with `id`, unless it is the one in use.
    @discardableResult
    public func removeKey(id: String) async throws -> String {
        try await handle.removeKey(id: id)
    }

    /// Locks in the vault, of this and other clients.
    public func locks() async throws -> [VaultLock] {
        try await handle.locks()
    }

    /// Removes locks that nobody refreshed for half an hour, or all of them; returns how many.
    @discardableResult
    public func removeLocks(all: Bool = false) async throws -> UInt64 {
        try await handle.removeLocks(all: all)
    }

    /// The repository's id: the same on every device that opens this vault.
    public var repositoryID: String {
        get throws { try handle.repositoryId() }
    }

    /// How far the current job is, or how far the last one came.
    public var progress: RunProgress {
        get throws { try handle.progress() }
    }

    /// Stops what runs, waits for that, and closes every file that could be locked: iOS ends an app that is suspended while it holds a lock. Until
    /// ``resume()``, calls fail with ``EngineError/NotRunning(detail:)``.
    public func suspend(grace: Duration = .seconds(10)) async throws {
        try await handle.suspend(graceMs: grace.milliseconds)
    }

    /// The same for an expiration handler, which must not return before.
    public func suspendBlocking(grace: Duration = .seconds(1)) throws {
        try handle.suspendBlocking(graceMs: grace.milliseconds)
    }

    /// Undoes ``suspend(grace:)``; without effect on an engine that is not suspended.
    public func resume() async throws {
        try await handle.resume()
    }

    /// Stops what runs and ends the engine with all its threads; afterwards calls fail with ``EngineError/NotRunning(detail:)``.
    ///
    /// ``EngineError/Busy(detail:)`` if that takes longer than `grace`: what still runs then ends by itself, and holds the state folder until it has.
    public func stop(grace: Duration = .seconds(10)) async throws {
        try await handle.stop(graceMs: grace.milliseconds)
    }

    /// The same for those who must wait by blocking.
    public func stopBlocking(grace: Duration = .seconds(1)) throws {
        try handle.stopBlocking(graceMs: grace.milliseconds)
    }
}

/// A call that is asked to stop when its task is cancelled, and whose end is then waited for: structured concurrency is worth little if the engine
/// still works when the task has ended.
private func stoppable<T: Sendable>(
    because code: String? = nil, _ call: @Sendable (StopToken) async throws -> T
) async throws -> T {
    let stop = StopToken()
    return try await withTaskCancellationHandler {
        do {
            return try await call(stop)
        } catch EngineError.Cancelled where Task.isCancelled {
            // Cancelled from here: said as tasks say it. Stopped by `suspend` or `stop`: the engine's error.
            throw CancellationError()
        }
    } onCancel: {
        if let code { stop.stopBecause(code: code) } else { stop.stop() }
    }
}

extension Date {
    var unixMilliseconds: Int64 { Int64(timeIntervalSince1970 * 1000) }
}

extension Duration {
    var milliseconds: UInt64 {
        let (seconds, attoseconds) = components
        let milliseconds = Double(seconds) * 1000 + Double(attoseconds) / 1e15
        return UInt64(min(max(milliseconds, 0), 1e12))
    }
}
