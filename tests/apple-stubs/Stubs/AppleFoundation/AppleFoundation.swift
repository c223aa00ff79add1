// What Foundation and Core Foundation have on Apple's systems only.

@_exported import Foundation
@_exported import FoundationNetworking

public func stub() -> Never { fatalError("a signature to compile against") }

/// Stands for the toll-free bridging that only Apple's systems have: `query as CFDictionary`.
public typealias CFDictionary = [CFString: Any]
public typealias CFTypeRef = AnyObject

public final class CFString: Hashable, Sendable {
    public init() {}
    public static func == (one: CFString, other: CFString) -> Bool { one === other }
    public func hash(into hasher: inout Hasher) { hasher.combine(ObjectIdentifier(self)) }
}

extension ProcessInfo {
    public enum ThermalState: Int, Sendable {
        case nominal, fair, serious, critical
    }

    public var thermalState: ThermalState { stub() }
    public var isLowPowerModeEnabled: Bool { stub() }
}

extension URLSessionConfiguration {
    public class func background(withIdentifier identifier: String) -> URLSessionConfiguration { stub() }
    public var sessionSendsLaunchEvents: Bool {
        get { stub() }
        set { stub() }
    }
}

extension URL {
    public static var applicationSupportDirectory: URL { stub() }
}
