#if canImport(BackgroundTasks) && canImport(UIKit)
import BackgroundTasks
import Foundation
import Lifeboat
import UIKit

/// The background backup of an app: to be registered before the app has finished launching.
///
/// ```swift
/// func application(_ application: UIApplication, didFinishLaunchingWithOptions options: …) -> Bool {
///     BackgroundBackup.register(TaskIdentifiers(refresh: "org.example.refresh", processing: "org.example.backup"), host: notes)
///     return true
/// }
/// ```
public enum BackgroundBackup {
    /// What a refresh task has before it expires, less a moment to be quiet in.
    private static let refreshLimit = Duration.seconds(25)

    /// Registers the tasks, and asks for the first. Again at each launch, since requests do not survive everything.
    ///
    /// - Parameter starts: False while there is no vault to back up to: then call ``start(_:)`` when there is one.
    public static func register(_ identifiers: TaskIdentifiers, host: any BackupHost, starts: Bool = true) {
        let window = BackgroundWindow(platform: OnPhone(), host: host, identifiers: identifiers)
        let scheduler = BGTaskScheduler.shared
        scheduler.register(forTaskWithIdentifier: identifiers.refresh, using: nil) {
            run(window, in: $0, limit: refreshLimit)
        }
        // A processing task has minutes, and nobody says how many: it ends by its expiration.
        scheduler.register(forTaskWithIdentifier: identifiers.processing, using: nil) { run(window, in: $0, limit: nil) }
        if starts { start(identifiers) }
    }

    /// Asks for the first background task; each asks for the next.
    public static func start(_ identifiers: TaskIdentifiers) {
        let tasks = appleTasks(
            nowMs: Int64(Date.now.timeIntervalSince1970 * 1000), wakes: [BackgroundWindow.retry], standing: nil,
            refresh: identifiers.refresh, processing: identifiers.processing)
        OnPhone().submit(tasks)
    }

    private static func run(_ window: BackgroundWindow, in task: BGTask, limit: Duration?) {
        let held = Held(task: task)
        let work = Task {
            let end = await window.run(asked: false, limit: limit)
            held.task.setTaskCompleted(success: end.isDone)
        }
        // Returns at once. The engine is quiet within 250 ms, no file is locked by then, and the task is completed by the work's own end.
        task.expirationHandler = { work.cancel() }
    }

    /// Backs up now, since the user asked for it, and goes on when the app is left: on iOS 26 as a task that the system shows with its progress, where
    /// `identifiers` say how to call it; before that, or where the system has none to give, for half a minute, mostly. What is left then is for the next
    /// background task. To be called while the app is in front.
    ///
    /// - Parameters:
    ///   - title: What the system shows, and `subtitle` below it.
    ///   - progress: Is told every so often how far it is.
    /// - Throws: What kept the engine from opening. What ended the backup later is in the outcome.
    @discardableResult
    public static func backUpNow(
        _ identifiers: TaskIdentifiers, host: any BackupHost, title: String = "Backup", subtitle: String = "Backing up",
        progress: (@Sendable (RunProgress) -> Void)? = nil
    ) async throws -> DueOutcome {
        let window = BackgroundWindow(platform: OnPhone(), host: host, identifiers: identifiers)
        let backup = ContinuedBackup()
        let work = Task {
            await window.run(asked: true, limit: nil) { step in
                backup.moved(step)
                progress?(step)
            }
        }
        let grace = await Grace { work.cancel() }
        let cancelRequest = ContinuedRequest.submit(identifiers, title: title, subtitle: subtitle) { task in
            // From here on that task is what keeps the app alive, and its expiration is the one that counts.
            if backup.began(task, expired: { work.cancel() }) { Task { await grace.end() } }
        }
        let end = await withTaskCancellationHandler { await work.value } onCancel: { work.cancel() }
        backup.ended(success: end.outcome?.backup != nil)
        cancelRequest()
        await grace.end()
        guard let outcome = end.outcome else { throw end.error ?? CancellationError() }
        return outcome
    }
}

/// A task may be completed from any thread, which its type does not say.
private struct Held: @unchecked Sendable {
    let task: BGTask
}

/// The moment that the system leaves to an app which was left.
@MainActor
private final class Grace {
    private var identifier = UIBackgroundTaskIdentifier.invalid

    init(expired: @escaping @MainActor @Sendable () -> Void) {
        identifier = UIApplication.shared.beginBackgroundTask(withName: "backup", expirationHandler: expired)
    }

    func end() {
        if identifier != .invalid { UIApplication.shared.endBackgroundTask(identifier) }
        identifier = .invalid
    }
}

/// A request for a continued processing task: from iOS 26 on, and not in older Xcodes.
private enum ContinuedRequest {
    /// Asks for a task. Refused or never begun, nothing happens. Answers what takes the request back.
    static func submit(
        _ identifiers: TaskIdentifiers, title: String, subtitle: String,
        began: @escaping @Sendable (any ContinuedTask) -> Void
    ) -> @Sendable () -> Void {
        #if (compiler(>=6.2) || os(Linux)) && !targetEnvironment(macCatalyst)
        guard #available(iOS 26, *), let prefix = identifiers.continued else { return {} }
        // A new one each time: iOS ends an app that registers an identifier twice.
        let identifier = "\(prefix).\(UUID().uuidString)"
        let scheduler = BGTaskScheduler.shared
        let isPermitted = scheduler.register(forTaskWithIdentifier: identifier, using: nil) {
            if let task = $0 as? BGContinuedProcessingTask { began(task) }
        }
        guard isPermitted else { return {} }
        let request = BGContinuedProcessingTaskRequest(identifier: identifier, title: title, subtitle: subtitle)
        request.strategy = .queue
        do {
            try scheduler.submit(request)
        } catch {
            return {}
        }
        return { BGTaskScheduler.shared.cancel(taskRequestWithIdentifier: identifier) }
        #else
        return {}
        #endif
    }
}

#if (compiler(>=6.2) || os(Linux)) && !targetEnvironment(macCatalyst)
@available(iOS 26, *)
extension BGContinuedProcessingTask: ContinuedTask {}
#endif

struct OnPhone: BackgroundPlatform {
    func conditions(asked: Bool, windowLeft: Duration?) async -> PhoneConditions {
        await AppleConditions.read(asked: asked, windowLeft: windowLeft)
    }

    func submit(_ tasks: [AppleTask]) {
        for task in tasks {
            let request: BGTaskRequest
            switch task {
            case .refresh(let identifier, let begin):
                request = BGAppRefreshTaskRequest(identifier: identifier)
                request.earliestBeginDate = begin.map(date)
            case .processing(let identifier, let begin, let power, let network):
                let processing = BGProcessingTaskRequest(identifier: identifier)
                processing.requiresExternalPower = power
                processing.requiresNetworkConnectivity = network
                request = processing
                request.earliestBeginDate = begin.map(date)
            }
            // Refused while background refresh is off: the journal says what came of it when the app is opened next.
            try? BGTaskScheduler.shared.submit(request)
        }
    }

    private func date(_ milliseconds: Int64) -> Date {
        Date(timeIntervalSince1970: Double(milliseconds) / 1000)
    }
}
#endif
