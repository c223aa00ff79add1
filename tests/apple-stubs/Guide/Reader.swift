// What the guide leaves to the reader's app.

import Foundation

let vault = "/tmp/vault"
let password = "correct horse"
let documents = URL(fileURLWithPath: "/tmp/documents")
let state = URL(fileURLWithPath: "/tmp/state")
let folder = URL(fileURLWithPath: "/tmp/app")
let session = Session()

struct Session: Sendable {
    struct Keys: Sendable {
        let id: String
        let secret: String
        let token: String?
        let expiresAtMs: UInt64?
    }

    let generation: UInt64 = 1

    func keys(renew: Bool) -> Keys? { nil }
}
