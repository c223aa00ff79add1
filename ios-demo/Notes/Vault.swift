import Foundation
import Lifeboat
import LifeboatBackground
import os

/// Where this app backs up to, and what: all that the background backup asks for.
struct Vault: BackupHost {
    /// As they are listed in `Info.plist`; the last with `.*` behind it.
    static let tasks = TaskIdentifiers(
        refresh: "org.example.notes.refresh", processing: "org.example.notes.backup", continued: "org.example.notes.asked")

    /// Restores are put in place here: the source `notes` becomes the folder of that name.
    private static let target = URL.applicationSupportDirectory

    /// The photos and the database lie in one folder, which is what is backed up and restored.
    static let data = folder("notes")
    static let database = data.appending(path: "notes.db")

    /// The engine's own. A phone that is restored from another one's iCloud backup makes it anew from the vault.
    private static let state: URL = {
        var state = folder("lifeboat")
        var values = URLResourceValues()
        values.isExcludedFromBackup = true
        try? state.setResourceValues(values)
        return state
    }()

    private let keys = KeychainKeyStore(service: "org.example.notes")

    /// A folder, `rest:https://…` or `s3:https://…`; empty until the user has chosen one.
    var address: String { UserDefaults.standard.string(forKey: "vault") ?? "" }

    var request: BackupRequest {
        BackupRequest(
            sources: [BackupSource(path: Self.data.path, name: "notes")], label: "phone", skipIfUnchanged: true)
    }

    func openEngine() async throws -> Engine {
        try await Engine.open(config(address), keyStore: keys)
    }

    func windowEnded(_ outcome: DueOutcome) {
        let (ran, ended) = (outcome.ran.map { "\($0)" } ?? "nothing", outcome.ended?.code ?? "-")
        let waits = outcome.waits.map(\.reason.code).joined(separator: ", ")
        log.notice("ran \(ran, privacy: .public), ended \(ended, privacy: .public), waits for: \(waits, privacy: .public)")
    }

    func windowFailed(_ error: any Error) {
        log.error("no window: \(String(describing: error), privacy: .public)")
    }

    /// Opens the engine for as long as `act` takes.
    @MainActor
    func whileOpen(_ act: @MainActor (Engine) async throws -> Void) async throws {
        let engine = try await openEngine()
        do {
            try await act(engine)
        } catch {
            try? await engine.stop()
            throw error
        }
        try await engine.stop()
    }

    /// Makes a backup at the address, or opens the one that is there, and keeps its key.
    func connect(_ address: String, password: String) async throws {
        do {
            try await Engine.create(vault: address, password: password, label: "Notes on iOS", keyStore: keys)
        } catch EngineError.RepositoryExists {
            try await Engine.open(config(address), password: password, keyStore: keys).stop()
        }
        UserDefaults.standard.set(address, forKey: "vault")
        BackgroundBackup.start(Self.tasks)
    }

    func stage(_ engine: Engine, snapshot: String) async throws {
        try await engine.restore(RestoreRequest(snapshot: snapshot, target: Self.target.path, stageOnly: true))
    }

    /// For the start of the app, before anything of it is opened.
    func applyPending() throws -> ApplyResult {
        try applyPendingRestore(
            target: Self.target.path,
            accepts: [AcceptedSchema(path: "notes/notes.db", userVersionMax: NotesDatabase.version)])
    }

    func confirm() throws { _ = try confirmRestore(target: Self.target.path) }

    func rollBack() throws { _ = try rollBackRestore(target: Self.target.path) }

    private func config(_ address: String) -> EngineConfig {
        EngineConfig(vault: address, stateDir: Self.state.path)
    }

    private static func folder(_ name: String) -> URL {
        let folder = target.appending(path: name)
        try? FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        return folder
    }
}
