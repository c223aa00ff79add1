@_exported import AppleFoundation

@MainActor
open class UIApplication {
    public enum State: Int, Sendable {
        case active, inactive, background
    }

    public class var shared: UIApplication { stub() }
    public var applicationState: State { stub() }
    public var backgroundRefreshStatus: UIBackgroundRefreshStatus { stub() }
    public var isProtectedDataAvailable: Bool { stub() }

    public nonisolated func beginBackgroundTask(
        withName name: String?, expirationHandler handler: (@MainActor @Sendable () -> Void)? = nil
    ) -> UIBackgroundTaskIdentifier { stub() }

    public nonisolated func endBackgroundTask(_ identifier: UIBackgroundTaskIdentifier) { stub() }
}

public enum UIBackgroundRefreshStatus: Int, Sendable {
    case restricted, denied, available
}

public struct UIBackgroundTaskIdentifier: RawRepresentable, Hashable, Sendable {
    public let rawValue: Int
    public init(rawValue: Int) { self.rawValue = rawValue }
    public static var invalid: UIBackgroundTaskIdentifier { stub() }
}

@MainActor
open class UIDevice {
    public enum BatteryState: Int, Sendable {
        case unknown, unplugged, charging, full
    }

    public class var current: UIDevice { stub() }
    public var isBatteryMonitoringEnabled: Bool {
        get { stub() }
        set { stub() }
    }
    public var batteryState: BatteryState { stub() }
    public var batteryLevel: Float { stub() }
}
