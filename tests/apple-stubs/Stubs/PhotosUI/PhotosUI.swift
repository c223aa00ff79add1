import Foundation
import SwiftUI

public protocol Transferable {}

extension Data: Transferable {}

public struct PHPickerFilter: Equatable, Hashable, Sendable {
    public static var images: PHPickerFilter { stub() }
}

public struct PhotosPickerItem: Equatable, Hashable, Sendable {
    public func loadTransferable<T: Transferable>(type: T.Type) async throws -> sending T? { stub() }
}

@MainActor @preconcurrency
public struct PhotosPicker<Label: View>: View {
    public nonisolated init(
        _ titleKey: LocalizedStringKey, selection: Binding<PhotosPickerItem?>, matching filter: PHPickerFilter? = nil
    ) where Label == Text { stub() }

    public var body: some View { EmptyView() }
}
