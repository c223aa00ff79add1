// What a test kills: backs a scene up, writes a `c` each time that the vault has confirmed something, and a `p` at the end.

import Foundation
import Lifeboat

final class SceneKeyStore: KeyStore {
    private let file: URL

    init(_ file: URL) {
        self.file = file
    }

    func loadKey() throws -> Data? { try Data(contentsOf: file) }

    func saveKey(key: Data) throws {}
}

let dir = URL(fileURLWithPath: CommandLine.arguments[1])
let path = { (name: String) in dir.appendingPathComponent(name).path }
let config = EngineConfig(vault: path("vault"), stateDir: path("state"))
let engine = try await Engine.open(config, keyStore: SceneKeyStore(dir.appendingPathComponent("key")))
let events = try engine.events()
let telling = Task {
    for await event in events {
        if case .packConfirmed = event { FileHandle.standardOutput.write(Data("c".utf8)) }
    }
}
let request = BackupRequest(sources: [BackupSource(path: path("app"), name: "app")], label: "phone")
guard case .published = try await engine.backup(request) else { exit(1) }
try await engine.stop()
await telling.value
FileHandle.standardOutput.write(Data("p".utf8))
