import Foundation
import Lifeboat
import SwiftUI

/// How the backup is doing, why not now, back up now, and what there is to restore.
struct BackupView: View {
    let model: BackupModel
    @State private var address = ""
    @State private var password = ""
    @State private var chosen: SnapshotInfo?
    @State private var isAsking = false

    var body: some View {
        List {
            Section {
                Text(model.headline).font(.title2)
                Text(model.why)
                Text(model.progress)
                Button("Back up now") { Task { await model.backUpNow() } }
            }
            Section("Vault") {
                TextField("A folder, rest:https://… or s3:https://…", text: $address)
                    .textInputAutocapitalization(.never)
                    .autocorrectionDisabled()
                SecureField("Password", text: $password)
                Button("Use this vault") { connect() }
            }
            Section("Snapshots") {
                ForEach(model.snapshots, id: \.id) { snapshot in
                    Button(BackupText.snapshot(snapshot)) {
                        chosen = snapshot
                        isAsking = true
                    }
                }
            }
        }
        .disabled(model.isBusy)
        .navigationTitle("Backup")
        .onAppear { address = model.address }
        .task { await model.show() }
        .alert("Restore?", isPresented: $isAsking, presenting: chosen) { snapshot in
            Button("Restore") { Task { await model.restore(snapshot) } }
            Button("Cancel", role: .cancel) {}
        } message: { snapshot in
            Text(BackupText.restoring(snapshot))
        }
    }

    private func connect() {
        let given = password
        password = ""
        Task { await model.connect(address, password: given) }
    }
}
