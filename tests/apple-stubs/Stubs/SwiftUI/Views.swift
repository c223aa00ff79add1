@_exported import AppleFoundation

@MainActor @preconcurrency
public protocol View {
    associatedtype Body: View
    @ViewBuilder var body: Body { get }
}

extension Never: View {
    public var body: Never { stub() }
}

extension Optional: View where Wrapped: View {
    public var body: Never { stub() }
}

@resultBuilder
public enum ViewBuilder {
    public static func buildExpression<Content: View>(_ content: Content) -> Content { content }
    public static func buildBlock() -> EmptyView { EmptyView() }
    public static func buildBlock<Content: View>(_ content: Content) -> Content { content }
    public static func buildBlock<each Content: View>(_ content: repeat each Content) -> TupleView<(repeat each Content)> { stub() }
    public static func buildIf<Content: View>(_ content: Content?) -> Content? { content }
}

public struct EmptyView: View {
    public nonisolated init() {}
    public var body: Never { stub() }
}

public struct TupleView<T>: View {
    public var body: Never { stub() }
}

public struct LocalizedStringKey: ExpressibleByStringInterpolation {
    public init(stringLiteral value: String) {}
}

public struct Text: View {
    public nonisolated init(_ key: LocalizedStringKey) {}
    @_disfavoredOverload
    public nonisolated init<S: StringProtocol>(_ content: S) {}
    public var body: Never { stub() }
}

public struct Button<Label: View>: View {
    public nonisolated init(_ titleKey: LocalizedStringKey, action: @escaping @MainActor () -> Void) where Label == Text {}
    @_disfavoredOverload
    public nonisolated init<S: StringProtocol>(_ title: S, action: @escaping @MainActor () -> Void) where Label == Text {}
    public nonisolated init(_ titleKey: LocalizedStringKey, role: ButtonRole?, action: @escaping @MainActor () -> Void)
    where Label == Text {}
    public var body: Never { stub() }
}

public struct ButtonRole: Equatable, Sendable {
    public static var cancel: ButtonRole { stub() }
    public static var destructive: ButtonRole { stub() }
}

public struct TextField<Label: View>: View {
    public nonisolated init(_ titleKey: LocalizedStringKey, text: Binding<String>) where Label == Text {}
    public var body: Never { stub() }
}

public struct SecureField<Label: View>: View {
    public nonisolated init(_ titleKey: LocalizedStringKey, text: Binding<String>) where Label == Text {}
    public var body: Never { stub() }
}

public struct List<SelectionValue, Content: View>: View {
    public nonisolated init(@ViewBuilder content: () -> Content) where SelectionValue == Never {}
    public var body: Never { stub() }
}

public struct Section<Parent: View, Content: View, Footer: View>: View {
    public nonisolated init(@ViewBuilder content: () -> Content) where Parent == EmptyView, Footer == EmptyView {}
    public nonisolated init(_ titleKey: LocalizedStringKey, @ViewBuilder content: () -> Content)
    where Parent == Text, Footer == EmptyView {}
    public var body: Never { stub() }
}

public struct ForEach<Data: RandomAccessCollection, ID: Hashable, Content: View>: View {
    public nonisolated init(_ data: Data, @ViewBuilder content: @escaping (Data.Element) -> Content)
    where ID == Data.Element.ID, Data.Element: Identifiable {}
    public nonisolated init(
        _ data: Data, id: KeyPath<Data.Element, ID>, @ViewBuilder content: @escaping (Data.Element) -> Content
    ) {}
    public nonisolated func onDelete(perform action: ((IndexSet) -> Void)?) -> some View { EmptyView() }
    public var body: Never { stub() }
}

public struct NavigationStack<Data, Root: View>: View {
    public nonisolated init(@ViewBuilder root: () -> Root) where Data == Never {}
    public var body: Never { stub() }
}

public struct NavigationLink<Label: View, Destination: View>: View {
    public nonisolated init(_ titleKey: LocalizedStringKey, @ViewBuilder destination: () -> Destination)
    where Label == Text {}
    public var body: Never { stub() }
}
