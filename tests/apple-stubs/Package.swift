// swift-tools-version: 5.9
// Compiles what is for iOS only, where there is no iOS: against signatures of Apple's frameworks. Nothing of this is shipped.

import PackageDescription

let strict: [SwiftSetting] = [.enableExperimentalFeature("StrictConcurrency")]
let clean = strict + [.unsafeFlags(["-warnings-as-errors"])]

/// Modules that have the names of Apple's.
func stubs(_ name: String, _ dependencies: Target.Dependency...) -> Target {
    .target(name: name, dependencies: dependencies, path: "Stubs/\(name)")
}

let package = Package(
    name: "AppleStubs",
    targets: [
        stubs("AppleFoundation"),
        stubs("UIKit", "AppleFoundation"),
        stubs("BackgroundTasks", "AppleFoundation"),
        stubs("Network", "AppleFoundation"),
        stubs("Security", "AppleFoundation"),
        stubs("SwiftUI", "AppleFoundation"),
        stubs("PhotosUI", "SwiftUI"),
        stubs("os", "AppleFoundation"),
        .systemLibrary(name: "SQLite3", path: "Stubs/SQLite3"),
        .systemLibrary(name: "lifeboatFFI", path: "Linked/lifeboatFFI"),
        .target(
            name: "Lifeboat", dependencies: ["lifeboatFFI"], path: "Linked/Lifeboat", exclude: ["PrivacyInfo.xcprivacy"],
            swiftSettings: strict, linkerSettings: [.linkedLibrary("lifeboat_ffi")]),
        .target(
            name: "LifeboatBackground", dependencies: ["Lifeboat", "BackgroundTasks", "Network", "Security", "UIKit"],
            path: "Linked/LifeboatBackground", swiftSettings: clean),
        .executableTarget(
            name: "Notes", dependencies: ["LifeboatBackground", "PhotosUI", "SQLite3", "SwiftUI", "os"],
            path: "Linked/Notes", exclude: ["Info.plist"], swiftSettings: clean),
        .testTarget(name: "NotesTests", dependencies: ["Notes"], path: "Linked/NotesTests", swiftSettings: strict),
        // What `test` takes from the README of the Swift package, and what it leaves to the reader's app.
        .executableTarget(name: "Guide", dependencies: ["LifeboatBackground"], path: "Guide"),
    ]
)
