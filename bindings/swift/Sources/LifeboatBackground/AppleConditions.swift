import Foundation
import Lifeboat

#if canImport(Network)
import Network
#endif
#if canImport(UIKit)
import UIKit
#endif

/// What the system says of the phone. What it does not say stays unknown.
public enum AppleConditions {
    /// A path that is up may be free, expensive (cellular, a hotspot) or constrained (Low Data Mode), whichever is the dearest.
    static func network(isUp: Bool, isExpensive: Bool, isConstrained: Bool) -> NetworkState {
        if !isUp { return .offline }
        if isConstrained { return .constrained }
        return isExpensive ? .expensive : .unmetered
    }

    #if canImport(Network) && canImport(UIKit)
    static func thermal(_ state: ProcessInfo.ThermalState) -> ThermalState {
        switch state {
        case .nominal: .nominal
        case .fair: .fair
        case .serious: .serious
        case .critical: .critical
        @unknown default: .critical
        }
    }

    public static func read(asked: Bool = false, windowLeft: Duration? = nil) async -> PhoneConditions {
        let path = await currentPath()
        let (charging, percent, isActive, isUnlocked, refresh) = await MainActor.run {
            let (device, application) = (UIDevice.current, UIApplication.shared)
            device.isBatteryMonitoringEnabled = true
            let level = device.batteryLevel
            return (
                device.batteryState == .unknown ? nil : device.batteryState != .unplugged,
                level < 0 ? nil : UInt8((level * 100).rounded()),
                application.applicationState == .active, application.isProtectedDataAvailable,
                application.backgroundRefreshStatus
            )
        }
        let info = ProcessInfo.processInfo
        let home = URL(fileURLWithPath: NSHomeDirectory())
        let free = try? home.resourceValues(forKeys: [.volumeAvailableCapacityKey]).volumeAvailableCapacity
        return PhoneConditions(
            network: network(isUp: path.status == .satisfied, isExpensive: path.isExpensive, isConstrained: path.isConstrained),
            charging: charging, batteryPercent: percent, lowPowerMode: info.isLowPowerModeEnabled,
            thermal: thermal(info.thermalState), freeBytes: free.map(UInt64.init), appInFront: isActive,
            locked: !isUnlocked, asked: asked, windowLeftMs: windowLeft?.wholeMilliseconds,
            timeZone: TimeZone.current.identifier, standing: refresh == .available ? nil : .off)
    }

    /// The first word of a monitor is the state of things as it is.
    private static func currentPath() async -> NWPath {
        let monitor = NWPathMonitor()
        defer { monitor.cancel() }
        let paths = AsyncStream<NWPath> { continuation in
            monitor.pathUpdateHandler = { continuation.yield($0) }
            monitor.start(queue: .global(qos: .utility))
        }
        for await path in paths { return path }
        return monitor.currentPath
    }
    #endif
}

extension Duration {
    var wholeMilliseconds: UInt64 {
        UInt64(max(0, Double(components.seconds) * 1000 + Double(components.attoseconds) / 1e15))
    }
}
