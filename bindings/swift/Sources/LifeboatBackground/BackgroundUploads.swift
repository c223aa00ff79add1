#if canImport(UIKit)
import Foundation
import Lifeboat

#if canImport(FoundationNetworking)
import FoundationNetworking
#endif

/// Sends sealed packs by a background `URLSession`, which goes on when the app is suspended or ended. For vaults in a bucket: their requests can be signed
/// beforehand.
///
/// Make one at each launch, with the same identifier: the system then tells it what became of the uploads meanwhile.
public final class BackgroundUploads: NSObject, URLSessionTaskDelegate, @unchecked Sendable {
    /// How long the signed requests are good for: the system may take its time.
    public static let expires = Duration.seconds(24 * 60 * 60)

    private let host: any BackupHost
    private let lock = NSLock()
    private var ended: [(pack: String, stored: Bool)] = []
    private var allEnded: (@Sendable () -> Void)?
    private var session: URLSession!

    public init(identifier: String, host: any BackupHost) {
        self.host = host
        super.init()
        let configuration = URLSessionConfiguration.background(withIdentifier: identifier)
        configuration.sessionSendsLaunchEvents = true
        configuration.isDiscretionary = true
        session = URLSession(configuration: configuration, delegate: self, delegateQueue: nil)
    }

    /// Hands over what is sealed and not yet sent. The engine must not be suspended.
    public func handOver(from engine: Engine) async throws {
        for upload in try await engine.handOff(expires: Self.expires) {
            guard let url = URL(string: upload.url) else { continue }
            var request = URLRequest(url: url)
            request.httpMethod = upload.method
            for (name, value) in upload.headers { request.setValue(value, forHTTPHeaderField: name) }
            let task = session.uploadTask(with: request, fromFile: URL(fileURLWithPath: upload.file))
            task.taskDescription = upload.pack
            task.countOfBytesClientExpectsToSend = Int64(clamping: upload.bytes)
            task.resume()
        }
    }

    /// For `application(_:handleEventsForBackgroundURLSession:completionHandler:)`.
    public func handleEvents(completion: @escaping @Sendable () -> Void) {
        lock.withLock { allEnded = completion }
    }

    public func urlSession(_ session: URLSession, task: URLSessionTask, didCompleteWithError error: (any Error)?) {
        guard let pack = task.taskDescription else { return }
        let status = (task.response as? HTTPURLResponse)?.statusCode ?? 0
        lock.withLock { ended.append((pack, error == nil && (200..<300).contains(status))) }
    }

    /// Everything that the system had to tell is told: the engine learns it, and the next window looks for itself.
    public func urlSessionDidFinishEvents(forBackgroundURLSession session: URLSession) {
        let (ended, completion) = lock.withLock { () -> ([(pack: String, stored: Bool)], (@Sendable () -> Void)?) in
            defer { (self.ended, allEnded) = ([], nil) }
            return (self.ended, allEnded)
        }
        Task {
            do {
                let engine = try await host.openEngine()
                for (pack, stored) in ended { try await engine.handOffEnded(pack: pack, stored: stored) }
                try await engine.stop()
            } catch {
                // Never told is as good: the next window sees what the vault holds.
                host.windowFailed(error)
            }
            if let completion { await MainActor.run { completion() } }
        }
    }
}
#endif
