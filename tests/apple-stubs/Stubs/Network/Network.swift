import AppleFoundation
import Dispatch

public struct NWPath: Sendable {
    public enum Status: Sendable {
        case satisfied, unsatisfied, requiresConnection
    }

    public let status: Status
    public var isExpensive: Bool { stub() }
    public var isConstrained: Bool { stub() }
}

public final class NWPathMonitor: Sendable {
    public init() {}
    public var currentPath: NWPath { stub() }

    @preconcurrency
    public var pathUpdateHandler: (@Sendable (NWPath) -> Void)? {
        get { stub() }
        set { stub() }
    }

    public func start(queue: DispatchQueue) { stub() }
    public func cancel() { stub() }
}
