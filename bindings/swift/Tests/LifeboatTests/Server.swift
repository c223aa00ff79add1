import Foundation
import XCTest

@testable import Lifeboat

/// A real server that nobody here wrote, on a port of its own, killed in the end.
final class Server {
    static let user = "phone"
    static let secret = "a password only for tests"
    /// `{SHA}` and the SHA-1 of the password in base64, as `htpasswd -s` writes it.
    private static let hash = "{SHA}+7gdjaJFxtKN1Vc0Bed9iStln/Y="

    let vault: String
    private let process: Process
    private let dir: URL

    /// restic's own, with a user and a password.
    static func rest() async throws -> Server {
        try await Server("LIFEBOAT_REST_SERVER", vault: { "rest:http://127.0.0.1:\($0)/\(user)/vault/" }) { dir, port in
            let users = dir.appendingPathComponent("users")
            try Data("\(user):\(hash)\n".utf8).write(to: users)
            return [
                "--listen", "127.0.0.1:\(port)", "--path", dir.path, "--private-repos", "--htpasswd-file", users.path,
            ]
        }
    }

    /// versitygw, which speaks S3.
    static func s3() async throws -> Server {
        try await Server("LIFEBOAT_VERSITYGW", vault: { "s3:http://127.0.0.1:\($0)/vaults/phone" }) { dir, port in
            let places = ["sidecar", "buckets"].map(dir.appendingPathComponent)
            for place in places {
                try FileManager.default.createDirectory(at: place, withIntermediateDirectories: true)
            }
            return ["--access", user, "--secret", secret, "--port", "127.0.0.1:\(port)", "posix", "--sidecar"]
                + places.map(\.path)
        }
    }

    private init(
        _ variable: String, vault: (Int) -> String, arguments: (URL, Int) throws -> [String]
    ) async throws {
        let named = ProcessInfo.processInfo.environment[variable]
        let binary = try XCTUnwrap(named, "\(variable) must name the server; `tests/run swift` gets and sets it")
        dir = FileManager.default.temporaryDirectory.appendingPathComponent("lifeboat-server-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: dir, withIntermediateDirectories: true)
        let log = dir.appendingPathComponent("log")
        // Between choosing a port and listening on it, another program may take it. None of those that the system gives to who connects: looking for a
        // server there, one may find oneself.
        for _ in 0..<5 {
            let port = Int.random(in: 16_384..<32_768)
            let server = Process()
            server.executableURL = URL(fileURLWithPath: binary)
            server.arguments = try arguments(dir, port)
            FileManager.default.createFile(atPath: log.path, contents: nil)
            let output = try FileHandle(forWritingTo: log)
            server.standardOutput = output
            server.standardError = output
            try server.run()
            while server.isRunning {
                if Self.listens(port) {
                    (self.vault, process) = (vault(port), server)
                    return
                }
                await Task.yield()
            }
        }
        throw ServerFailure(log: (try? String(contentsOf: log, encoding: .utf8)) ?? "")
    }

    deinit {
        process.terminate()
        process.waitUntilExit()
        try? FileManager.default.removeItem(at: dir)
    }

    private static func listens(_ port: Int) -> Bool {
        #if os(Linux)
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        #else
        let descriptor = socket(AF_INET, SOCK_STREAM, 0)
        #endif
        defer { close(descriptor) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(UInt16(port).bigEndian)
        address.sin_addr.s_addr = inet_addr("127.0.0.1")
        return withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
            }
        }
    }
}

/// No server came up.
struct ServerFailure: Error {
    let log: String
}
