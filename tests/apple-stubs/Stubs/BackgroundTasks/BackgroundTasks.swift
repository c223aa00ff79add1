import AppleFoundation
import Dispatch

open class BGTask: NSObject {
    public var identifier: String { stub() }
    public var expirationHandler: (() -> Void)? {
        get { stub() }
        set { stub() }
    }
    public func setTaskCompleted(success: Bool) { stub() }
}

public class BGAppRefreshTask: BGTask {}

public class BGProcessingTask: BGTask {}

@available(iOS 26.0, *)
public class BGContinuedProcessingTask: BGTask, ProgressReporting {
    public var title: String { stub() }
    public var subtitle: String { stub() }
    public var progress: Progress { stub() }
    public func updateTitle(_ title: String, subtitle: String) { stub() }
}

open class BGTaskRequest: NSObject {
    public var identifier: String { stub() }
    public var earliestBeginDate: Date? {
        get { stub() }
        set { stub() }
    }
}

public class BGAppRefreshTaskRequest: BGTaskRequest {
    public init(identifier: String) { stub() }
}

public class BGProcessingTaskRequest: BGTaskRequest {
    public init(identifier: String) { stub() }
    public var requiresExternalPower: Bool {
        get { stub() }
        set { stub() }
    }
    public var requiresNetworkConnectivity: Bool {
        get { stub() }
        set { stub() }
    }
}

@available(iOS 26.0, *)
public class BGContinuedProcessingTaskRequest: BGTaskRequest {
    public enum SubmissionStrategy: Int, Sendable {
        case fail, queue
    }

    public init(identifier: String, title: String, subtitle: String) { stub() }
    public var strategy: SubmissionStrategy {
        get { stub() }
        set { stub() }
    }
}

public class BGTaskScheduler: NSObject {
    public class var shared: BGTaskScheduler { stub() }

    @discardableResult
    public func register(
        forTaskWithIdentifier identifier: String, using queue: DispatchQueue?,
        launchHandler: @escaping (BGTask) -> Void
    ) -> Bool { stub() }

    public func submit(_ taskRequest: BGTaskRequest) throws { stub() }
    public func cancel(taskRequestWithIdentifier identifier: String) { stub() }
}
