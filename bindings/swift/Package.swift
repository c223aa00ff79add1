// swift-tools-version: 5.9
// Swift 5 language mode: compiling what UniFFI 0.32 generates in Swift 6 mode crashes the compilers of Swift 6.0.

import PackageDescription

// What `prepare` and `build-xcframework` make; neither is kept in the repository.
#if os(macOS)
let engine: [Target] = [.binaryTarget(name: "lifeboatFFI", path: "build/lifeboatFFI.xcframework")]
let link: [LinkerSetting] = []
let sqlite: [Target] = []
let sqliteDependency: [Target.Dependency] = []
#else
let engine: [Target] = [.systemLibrary(name: "lifeboatFFI")]
let link: [LinkerSetting] = [.linkedLibrary("lifeboat_ffi")]
let sqlite: [Target] = [.systemLibrary(name: "CSQLite", path: "Tests/CSQLite")]
let sqliteDependency: [Target.Dependency] = ["CSQLite"]
#endif

let strict: [SwiftSetting] = [.enableExperimentalFeature("StrictConcurrency")]

let package = Package(
    name: "Lifeboat",
    platforms: [.iOS(.v16), .macOS(.v13)],
    products: [
        .library(name: "Lifeboat", targets: ["Lifeboat"]),
        .library(name: "LifeboatBackground", targets: ["LifeboatBackground"]),
    ],
    targets: engine + sqlite + [
        .target(
            name: "Lifeboat",
            dependencies: ["lifeboatFFI"],
            resources: [.copy("PrivacyInfo.xcprivacy")],
            swiftSettings: strict,
            linkerSettings: link
        ),
        .target(name: "LifeboatBackground", dependencies: ["Lifeboat"], swiftSettings: strict),
        // What a test kills.
        .executableTarget(
            name: "KilledBackup", dependencies: ["Lifeboat"], path: "Tests/KilledBackup", swiftSettings: strict),
        .testTarget(
            name: "LifeboatTests", dependencies: ["Lifeboat", "KilledBackup"] + sqliteDependency, swiftSettings: strict),
        .testTarget(
            name: "LifeboatBackgroundTests", dependencies: ["LifeboatBackground"], swiftSettings: strict),
    ]
)
