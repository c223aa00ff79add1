#if canImport(BackgroundTasks) && os(iOS)
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
    public static func register(_ identifiers: TaskIdentifiers, host: any BackupHost) {
        let platform = OnPhone()
        let window = BackgroundWindow(platform: platform, host: host, identifiers: identifiers)
        let scheduler = BGTaskScheduler.shared
        scheduler.register(forTaskWithIdentifier: identifiers.refresh, using: nil) {
            run(window, in: $0, limit: refreshLimit)
        }
        // A processing task has minutes, and nobody says how many: it ends by its expiration.
        scheduler.register(forTaskWithIdentifier: identifiers.processing, using: nil) { run(window, in: $0, limit: nil) }
        let tasks = appleTasks(
            nowMs: Int64(Date.now.timeIntervalSince1970 * 1000), wakes: [BackgroundWindow.retry], standing: nil,
            refresh: identifiers.refresh, processing: identifiers.processing)
        platform.submit(tasks)
    }

    private static func run(_ window: BackgroundWindow, in task: BGTask, limit: Duration?) {
        let work = Task {
            let isDone = await window.run(asked: false, limit: limit)
            task.setTaskCompleted(success: isDone)
        }
        // Returns at once. The engine is quiet within 250 ms, no file is locked by then, and the task is completed by the work's own end.
        task.expirationHandler = { work.cancel() }
    }

    /// Backs up now, since the user asked for it, and goes on for as long as the system lets an app that was left: half a minute, mostly. What is left then
    /// is for the next background task.
    public static func backUpNow(_ identifiers: TaskIdentifiers, host: any BackupHost) async -> Bool {
        let window = BackgroundWindow(platform: OnPhone(), host: host, identifiers: identifiers)
        let work = Task { await window.run(asked: true, limit: nil) }
        let grace = await UIApplication.shared.beginBackgroundTask(withName: "backup") { work.cancel() }
        let isDone = await work.value
        await UIApplication.shared.endBackgroundTask(grace)
        return isDone
    }
}

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
