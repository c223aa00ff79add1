import Foundation

/// When doing the same again can help.
public enum Retry: Sendable {
    /// Something else must be done instead.
    case never
    /// By itself: at the next opportunity.
    case later
    /// When the user has done something: typed a password, made room, granted access.
    case afterUserActs
}

extension EngineError {
    /// What a background task does about an error; a screen looks at the case itself.
    public var retry: Retry {
        switch self {
        case .Cancelled, .NotRunning, .Busy, .KeyUnavailable, .Unreachable, .WrongServer, .Locked, .Catalog, .Io:
            return .later
        case .KeyMissing, .WrongPassword, .AccessDenied, .NoRepository, .OutOfSpace:
            return .afterUserActs
        case .RepositoryExists, .Unsupported, .Damaged, .InvalidInput, .NotFound, .Bug:
            return .never
        }
    }

    /// What happened, in English, for logs.
    public var detail: String {
        switch self {
        case .Cancelled:
            return "cancelled"
        case .NotRunning(let detail), .Busy(let detail), .KeyMissing(let detail), .KeyUnavailable(let detail),
            .WrongPassword(let detail), .AccessDenied(let detail), .NoRepository(let detail), .RepositoryExists(let detail),
            .Unsupported(let detail), .Damaged(let detail), .OutOfSpace(_, let detail), .Unreachable(let detail),
            .WrongServer(let detail), .Locked(let detail), .InvalidInput(let detail), .NotFound(let detail),
            .Catalog(let detail), .Io(let detail), .Bug(let detail):
            return detail
        }
    }
}

extension SnapshotInfo {
    /// The id as it is shown to people.
    public var shortID: String {
        String(id.prefix(8))
    }

    /// When the backup began.
    public var date: Date {
        Date(timeIntervalSince1970: Double(timeMs) / 1000)
    }
}
