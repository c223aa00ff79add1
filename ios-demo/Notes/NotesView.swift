import Foundation
import PhotosUI
import SwiftUI

/// The notes: type one, with a photo if you like; swipe one to delete it.
struct NotesView: View {
    let notes: Notes
    @State private var text = ""
    @State private var photo: PhotosPickerItem?
    @State private var isRestored = false

    var body: some View {
        NavigationStack {
            List {
                Section {
                    TextField("A note", text: $text)
                    Button("Add") { add(nil) }
                    PhotosPicker("Add with a photo", selection: $photo, matching: .images)
                }
                Section {
                    ForEach(notes.all) { note in
                        Text(note.photo == nil ? note.text : "\(note.text)  (photo)")
                    }
                    .onDelete { rows in rows.map { notes.all[$0] }.forEach(notes.remove) }
                }
            }
            .navigationTitle("Notes")
            .toolbar { NavigationLink("Backup") { BackupView(model: notes.backup) } }
        }
        .onChange(of: photo) { load() }
        .onAppear { isRestored = BackupText.applied(notes.applied) != nil }
        .alert("Restored", isPresented: $isRestored) {
            Button("Keep") { notes.keepRestored() }
            Button("Go back", role: .destructive) { notes.goBack() }
        } message: {
            Text(BackupText.applied(notes.applied) ?? "")
        }
    }

    private func load() {
        guard let photo else { return }
        Task {
            if let data = try? await photo.loadTransferable(type: Data.self) { add(data) }
            self.photo = nil
        }
    }

    private func add(_ photo: Data?) {
        notes.add(text, photo: photo)
        text = ""
    }
}
