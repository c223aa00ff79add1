import Foundation
import Lifeboat

/// As much of iOS 26's `BGContinuedProcessingTask` as is used. In tests it is a record.
protocol ContinuedTask: AnyObject {
    var progress: Progress { get }
    var expirationHandler: (() -> Void)? { get set }
    func setTaskCompleted(success: Bool)
}

/// A backup that the user asked for, and the task in which the system shows it and lets it go on when the app is left. The backup waits for no task,
/// since that may begin late or never: whichever of the two comes last says how it ended.
final class ContinuedBackup: @unchecked Sendable {
    private let lock = NSLock()
    private var task: (any ContinuedTask)?
    private var shown = ShownProgress()
    private var success: Bool?

    /// The system has begun the task. Answers whether the backup still runs: if not, the task is over, too.
    ///
    /// - Parameter expired: The system wants its time back, or the user has stopped it where it is shown: nobody tells which. Returns at once.
    func began(_ task: any ContinuedTask, expired: @escaping @Sendable () -> Void) -> Bool {
        task.expirationHandler = expired
        let over = lock.withLock {
            task.progress.totalUnitCount = ShownProgress.units
            task.progress.completedUnitCount = shown.completed
            if success == nil { self.task = task }
            return success
        }
        if let over { task.setTaskCompleted(success: over) }
        return over == nil
    }

    func moved(_ step: RunProgress) {
        lock.withLock {
            shown.move(step)
            task?.progress.completedUnitCount = shown.completed
        }
    }

    func ended(success: Bool) {
        let task = lock.withLock {
            self.success = success
            if success { shown.complete() }
            self.task?.progress.completedUnitCount = shown.completed
            defer { self.task = nil }
            return self.task
        }
        task?.setTaskCompleted(success: success)
    }
}

/// How far a backup is, as the system is told. A backup does not know beforehand what there is to do; but the system ends tasks that seem to stand still,
/// and people mistrust a bar that goes back. So each byte moves it on, by less and less, and only the end completes it.
struct ShownProgress: Equatable {
    /// Fine enough for every step to show in it.
    static let units: Int64 = 1_000_000_000

    /// Bytes at which it is half way.
    private static let half = Double(256 << 20)

    /// Of the jobs before this one: counts begin anew with each.
    private var before = 0.0
    private var current = 0.0
    private(set) var completed: Int64 = 0

    mutating func move(_ step: RunProgress) {
        let now = Double(step.bytes) + Double(step.bytesStored)
        if now < current { before += current }
        current = now
        let moved = before + current
        let share = moved / (moved + Self.half)
        completed = max(completed, min(Int64(share * Double(Self.units)), Self.units - 1))
    }

    mutating func complete() {
        completed = Self.units
    }
}
