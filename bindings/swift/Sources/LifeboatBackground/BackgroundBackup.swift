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

    public init(refresh: String, processing: String) {
        self.refresh = refresh
        self.processing = processing
    }
}

/// The platform, as far as a window needs it. On a phone that is `BGTaskScheduler`; in tests it is a record of what was asked for.
protocol BackgroundPlatform: Sendable {
    func conditions(asked: Bool, windowLeft: Duration?) async -> PhoneConditions

    /// Submits these in place of what is pending.
    func submit(_ tasks: [AppleTask])
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
    /// - Parameter asked: The user pressed a button and waits.
    /// - Returns: Whether what was due is done, as `setTaskCompleted(success:)` wants it.
    func run(asked: Bool, limit: Duration?) async -> Bool {
        let clock = ContinuousClock()
        let began = clock.now
        var wakes = [Self.retry]
        var isDone = false
        do {
            let engine = try await host.openEngine()
            do {
                var isAsked = asked
                var goesOn = true
                while goesOn {
                    let left = limit.map { $0 - (clock.now - began) }
                    let conditions = await platform.conditions(asked: isAsked, windowLeft: left)
                    let outcome = try await engine.runDue(
                        host.request, conditions: conditions, holder: host.databaseHolder, stopCode: "stop-expired")
                    wakes = outcome.wakes
                    isAsked = isAsked && outcome.backup == nil
                    isDone = !outcome.again && outcome.error == nil
                    host.windowEnded(outcome)
                    let hasTime = limit.map { $0 - (clock.now - began) >= Self.leftMin } ?? true
                    goesOn = outcome.again && hasTime && !Task.isCancelled
                }
            } catch {
                host.windowFailed(error)
            }
            try await engine.stop()
        } catch {
            host.windowFailed(error)
        }
        let now = Int64(Date.now.timeIntervalSince1970 * 1000)
        platform.submit(
            appleTasks(
                nowMs: now, wakes: wakes, standing: nil, refresh: identifiers.refresh,
                processing: identifiers.processing))
        return isDone
    }

    /// Where a window ended before the engine could say when to come back: in a quarter of an hour.
    static var retry: WakeMoment {
        WakeMoment(
            earliestMs: Int64(Date.now.timeIntervalSince1970 * 1000) + 15 * 60 * 1000, network: .any, charging: false,
            idle: false, batteryNotLow: false, storageNotLow: false, urgent: false, long: false)
    }
}
