import Foundation
import Lifeboat

/// What the screen says. Plain functions: a phone is only needed to show it.
enum BackupText {
    static let staged =
        "Fetched and verified. Close the app in the app switcher and open it again: that puts it in place."

    static func headline(_ status: BackupStatus) -> String {
        let span = span(status.ageMs)
        switch status.freshness {
        case .none: return "Not backed up yet"
        case .fresh: return "Backed up \(age(status.ageMs))"
        case .late: return "Backed up \(age(status.ageMs)): later than wished"
        case .stale: return status.newestMs == nil ? "Never backed up, for \(span)" : "Not backed up for \(span)"
        }
    }

    /// Why not now, and what can be done about it.
    static func why(_ status: BackupStatus) -> String {
        guard let reason = status.waits else { return status.runs == nil ? "" : "A backup can run now." }
        return [reason.text, reason.advice].filter { !$0.isEmpty }
            .map { $0.prefix(1).uppercased() + $0.dropFirst() + "." }.joined(separator: " ")
    }

    static func progress(_ progress: RunProgress) -> String {
        switch progress.phase {
        case .idle: ""
        case .looking: "Looking at the vault…"
        case .sealing: "Reading: \(progress.files) files, \(bytes(progress.bytesStored)) sent"
        case .publishing: "Almost done: \(bytes(progress.bytesStored)) sent"
        case .staging: "Fetching: \(share(progress))"
        case .applying: "Putting files in place…"
        case .checking: "Verifying…"
        case .pruning: "Tidying up…"
        }
    }

    static func snapshot(_ snapshot: SnapshotInfo) -> String {
        let made = snapshot.date.formatted(date: .abbreviated, time: .shortened)
        let size = [snapshot.files.map { "\($0) files" }, snapshot.bytes.map(bytes)].compactMap { $0 }
        return ([made, snapshot.shortID] + (size.isEmpty ? [] : [size.joined(separator: ", ")])).joined(separator: " · ")
    }

    static func restoring(_ snapshot: SnapshotInfo) -> String {
        """
        \(self.snapshot(snapshot))

        It is fetched now, and put in place when the app starts again. What is here is kept until you have looked.
        """
    }

    static func error(_ error: any Error) -> String {
        switch error {
        case EngineError.WrongPassword: "That is not the password."
        case EngineError.KeyMissing: "Type the password once more."
        case EngineError.NoRepository: "There is no backup at this address yet."
        case EngineError.RepositoryExists: "There is a backup at this address already: open it with its password."
        case EngineError.OutOfSpace: "There is no room left: make some."
        case EngineError.AccessDenied: "The vault refuses access: sign in again."
        case EngineError.Unsupported: "This backup is of a newer version: update the app."
        case EngineError.Damaged: "Something in the vault is damaged. Back up to another place, too."
        case let error as EngineError where error.retry == .later: "Not now: \(error.detail). It goes on by itself."
        case let error as EngineError: "Failed: \(error.detail)"
        case is CancellationError: "Interrupted. It goes on by itself."
        default: "Failed: \(error.localizedDescription)"
        }
    }

    /// What to ask about a restore that this start of the app, or an earlier one, has put in place.
    static func applied(_ result: ApplyResult) -> String? {
        switch result {
        case .applied, .unconfirmed: "Keep what was restored, or go back to what was here before?"
        case .rolledBack, .nothingPending: nil
        }
    }

    static func bytes(_ count: UInt64) -> String {
        switch count {
        case ..<1_000: "\(count) B"
        case ..<1_000_000: "\(count / 1_000) kB"
        case ..<1_000_000_000: "\(count / 1_000_000) MB"
        default: "\(count / 1_000_000_000).\(count % 1_000_000_000 / 100_000_000) GB"
        }
    }

    private static func share(_ progress: RunProgress) -> String {
        progress.bytesTotal == 0 ? bytes(progress.bytes) : "\(progress.bytes * 100 / progress.bytesTotal) %"
    }

    private static func age(_ milliseconds: Int64) -> String {
        milliseconds < 60_000 ? "just now" : "\(span(milliseconds)) ago"
    }

    private static func span(_ milliseconds: Int64) -> String {
        let (minutes, hours, days) = (milliseconds / 60_000, milliseconds / 3_600_000, milliseconds / 86_400_000)
        if days >= 2 { return "\(days) days" }
        if hours >= 2 { return "\(hours) hours" }
        return "\(max(minutes, 0)) minutes"
    }
}
