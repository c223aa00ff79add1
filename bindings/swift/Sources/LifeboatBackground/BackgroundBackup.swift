import Foundation
import Lifeboat

/// What the app tells its background backup.
public protocol BackupHost: Sendable {
    /// Opens the engine. It is stopped again when the window is over: between windows nothing of it is in memory, and no file is open.
    func openEngine() async throws -> Engine

    /// What to back up: the same each time, so that a backup which was interrupted goes on.
    var request: BackupRequest { get }

    /// Is asked to hold those databases still that the request says the app holds.
    var databaseHolder: (any DatabaseHolder)? { get }

    /// Told after each window: for a screen that shows the status, or a warning where `alarms` says `stale`.
    func windowEnded(_ outcome: DueOutcome)

    /// Told what ended a window before it could say more, such as a Keychain that is locked. The next wake is asked for all the same.
    func windowFailed(_ error: any Error)
}

extension BackupHost {
    public var databaseHolder: (any DatabaseHolder)? { nil }
    public func windowEnded(_ outcome: DueOutcome) {}
    public func windowFailed(_ error: any Error) {}
}

/// The identifiers of the app's background tasks, as listed in `Info.plist` under `BGTaskSchedulerPermittedIdentifiers`.
public struct TaskIdentifiers: Sendable {
    public let refresh: String
    public let processing: String
    public let continued: String?

    /// - Parameter continued: What the identifiers of continued processing tasks begin with, for `backUpNow` on iOS 26: begins with the app's bundle
    ///   identifier, and is listed with `.*` behind it.
    public init(refresh: String, processing: String, continued: String? = nil) {
        self.refresh = refresh
        self.processing = processing
        self.continued = continued
    }
}

/// The platform, as far as a window needs it. On a phone that is `BGTaskScheduler`; in tests it is a record of what was asked for.
protocol BackgroundPlatform: Sendable {
    func conditions(asked: Bool, windowLeft: Duration?) async -> PhoneConditions

    /// Submits these in place of what is pending.
    func submit(_ tasks: [AppleTask])
}

/// How a stretch of time was used.
struct WindowEnd: Sendable {
    /// What was due is done, as `setTaskCompleted(success:)` wants it.
    var isDone = false
    /// What the last window came to.
    var outcome: DueOutcome?
    /// What ended it before a window could say more.
    var error: (any Error)?
}

/// What a background task does in the time it has: due work, one window after the other, and then the requests for the next time.
struct BackgroundWindow {
    let platform: any BackgroundPlatform
    let host: any BackupHost
    let identifiers: TaskIdentifiers

    /// Too little to confirm anything in.
    private static let leftMin = Duration.seconds(5)

    /// Runs until nothing more can be done now, the limit is over, or the task is cancelled. However it ends, the next wake is asked for: a chain of
    /// wakes that breaks once is a backup that never runs again.
    ///
    /// - Parameters:
    ///   - asked: The user pressed a button and waits: it ends with the backup, and leaves what else is due to others.
    ///   - progress: Is told every so often how far the engine is.
    func run(asked: Bool, limit: Duration?, progress: (@Sendable (RunProgress) -> Void)? = nil) async -> WindowEnd {
        let clock = ContinuousClock()
        let began = clock.now
        var wakes = [Self.retry]
        var end = WindowEnd()
        do {
            let engine = try await host.openEngine()
            // Ends with the engine.
            if let progress, let steps = try? engine.progress() {
                Task { for await step in steps { progress(step) } }
            }
            do {
                var goesOn = true
                while goesOn {
                    let left = limit.map { $0 - (clock.now - began) }
                    let conditions = await platform.conditions(asked: asked, windowLeft: left)
                    let outcome = try await engine.runDue(
                        host.request, conditions: conditions, holder: host.databaseHolder, stopCode: "stop-expired")
                    wakes = outcome.wakes
                    let more = outcome.again && !(asked && outcome.backup != nil)
                    end = WindowEnd(isDone: !more && outcome.error == nil, outcome: outcome)
                    host.windowEnded(outcome)
                    let hasTime = limit.map { $0 - (clock.now - began) >= Self.leftMin } ?? true
                    goesOn = more && hasTime && !Task.isCancelled
                }
            } catch {
                end.error = error
                host.windowFailed(error)
            }
            try await engine.stop()
        } catch {
            end.error = error
            host.windowFailed(error)
        }
        let now = Int64(Date.now.timeIntervalSince1970 * 1000)
        platform.submit(
            appleTasks(
                nowMs: now, wakes: wakes, standing: nil, refresh: identifiers.refresh,
                processing: identifiers.processing))
        return end
    }

    /// Where a window ended before the engine could say when to come back: in a quarter of an hour.
    static var retry: WakeMoment {
        WakeMoment(
            earliestMs: Int64(Date.now.timeIntervalSince1970 * 1000) + 15 * 60 * 1000, network: .any, charging: false,
            idle: false, batteryNotLow: false, storageNotLow: false, urgent: false, long: false)
    }
}
