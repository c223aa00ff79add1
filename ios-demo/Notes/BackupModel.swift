import Foundation
import Lifeboat
import LifeboatBackground
import Observation

/// What the backup screen shows and does. One thing at a time.
@MainActor
@Observable
final class BackupModel {
    private(set) var headline = ""
    private(set) var why = ""
    private(set) var progress = ""
    private(set) var snapshots: [SnapshotInfo] = []
    private(set) var isBusy = false

    @ObservationIgnored private let vault: Vault

    init(_ vault: Vault) {
        self.vault = vault
    }

    var address: String { vault.address }

    func show() async {
        if address.isEmpty { return }
        await begin { try await vault.whileOpen(look) }
    }

    func connect(_ address: String, password: String) async {
        await begin {
            try await vault.connect(address.trimmingCharacters(in: .whitespaces), password: password)
            try await vault.whileOpen(look)
        }
    }

    /// Goes on when the app is left, as long as the system lets it; then the next background task goes on.
    func backUpNow() async {
        await begin {
            let outcome = try await BackgroundBackup.backUpNow(
                Vault.tasks, host: vault, title: "Notes", subtitle: "Backing up"
            ) { step in
                Task { @MainActor in self.progress = BackupText.progress(step) }
            }
            if let error = outcome.error { throw error }
            try await vault.whileOpen(look)
        }
    }

    /// Fetches and verifies: the next start of the app puts it in place, before anything is opened.
    func restore(_ snapshot: SnapshotInfo) async {
        await begin {
            try await vault.whileOpen { engine in
                let watching = Task {
                    for await step in try engine.progress() { self.progress = BackupText.progress(step) }
                }
                defer { watching.cancel() }
                try await self.vault.stage(engine, snapshot: snapshot.id)
            }
            progress = BackupText.staged
        }
    }

    private func look(_ engine: Engine) async throws {
        let status = try await engine.status(conditions: await AppleConditions.read())
        headline = BackupText.headline(status)
        why = BackupText.why(status)
        snapshots = try await engine.snapshots().reversed()
    }

    private func begin(_ act: @MainActor () async throws -> Void) async {
        if isBusy { return }
        isBusy = true
        progress = ""
        do {
            try await act()
        } catch {
            progress = BackupText.error(error)
        }
        isBusy = false
    }
}
