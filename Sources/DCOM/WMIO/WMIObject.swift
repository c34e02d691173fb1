/// A class or an instance as WMI returns it.
package struct WMIObject: Sendable, Equatable {
    package enum Kind: Sendable {
        case `class`
        case instance
    }

    /// What an object says about one of its properties.
    package enum State: Sendable, Equatable {
        /// The object gives the value; for a class, the class itself declares this default.
        case value(CIMValue)
        /// The object gives NULL; for a class, it declares no default.
        case null
        /// An instance has its class's default, a class its superclass's; nil when that is NULL.
        case inherited(CIMValue?)

        /// The value, wherever it comes from; nil for NULL.
        package var value: CIMValue? {
            switch self {
            case .value(let value): value
            case .null: nil
            case .inherited(let value): value
            }
        }
    }

    /// A property of an object.
    package struct Property: Sendable, Equatable {
        package let declaration: WMIPropertyDeclaration
        package let state: State

        package var name: String { self.declaration.name }
        package var value: CIMValue? { self.state.value }
    }

    package let kind: Kind
    /// Empty when the object names none.
    package let className: String
    /// The class of an instance, or the class itself. Properties that the query did not ask for are missing.
    package let definition: WMIClass
    /// The name that the host gave itself, when the object is decorated.
    package let server: String?
    /// The namespace, when the object is decorated.
    package let namespace: String?
    /// One for each property of `definition`.
    let states: [State]

    /// The properties in the order of declaration.
    package var properties: [Property] {
        zip(self.definition.properties, self.states).map { Property(declaration: $0, state: $1) }
    }

    /// The value of a property; nil when it is NULL or when there is no such property. Names compare without case.
    package subscript(_ property: String) -> CIMValue? {
        self.state(of: property)?.value
    }

    /// What the object says about a property, telling NULL from inherited; nil when there is no such property.
    package func state(of property: String) -> State? {
        self.definition.index(of: property).map { self.states[$0] }
    }
}
