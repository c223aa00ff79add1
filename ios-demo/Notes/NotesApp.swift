import Foundation
import Lifeboat
import LifeboatBackground
import SwiftUI
import os

let log = Logger(subsystem: "org.example.notes", category: "backup")

/// Made by the system at each launch, be it for a screen or for a background task.
@main
struct NotesApp: App {
    private let notes: Notes

    init() {
        let vault = Vault()
        notes = Notes(vault)
        // At each launch, and before it is over: later, iOS takes no handlers of background tasks.
        BackgroundBackup.register(Vault.tasks, host: vault, starts: !vault.address.isEmpty)
    }

    var body: some Scene {
        WindowGroup { NotesView(notes: notes) }
    }
}

/// What is open while the app runs.
@MainActor
@Observable
final class Notes {
    let vault: Vault
    let backup: BackupModel
    private(set) var applied = ApplyResult.nothingPending
    private(set) var all: [Note] = []

    /// Opened after a restore that waits was applied, and never before.
    @ObservationIgnored private var database: NotesDatabase

    init(_ vault: Vault) {
        self.vault = vault
        backup = BackupModel(vault)
        do {
            applied = try vault.applyPending()
        } catch {
            // Everything is as it was, and staged: the next start tries again.
            log.error("a restore waits: \(String(describing: error), privacy: .public)")
        }
        database = NotesDatabase(Vault.database)
        all = database.all()
    }

    func add(_ text: String, photo: Data? = nil) {
        var name: String?
        if let photo {
            let file = UUID().uuidString
            guard (try? photo.write(to: Vault.data.appending(path: file))) != nil else { return }
            name = file
        }
        database.add(text, photo: name)
        all = database.all()
    }

    func remove(_ note: Note) {
        database.remove(note.id)
        if let photo = note.photo { try? FileManager.default.removeItem(at: Vault.data.appending(path: photo)) }
        all = database.all()
    }

    /// The user has looked, and wants what was restored.
    func keepRestored() {
        try? vault.confirm()
        applied = .nothingPending
    }

    /// The user wants back what was here before.
    func goBack() {
        database.close()
        do {
            try vault.rollBack()
            applied = .nothingPending
        } catch {
            log.error("not rolled back: \(String(describing: error), privacy: .public)")
        }
        database = NotesDatabase(Vault.database)
        all = database.all()
    }
}
