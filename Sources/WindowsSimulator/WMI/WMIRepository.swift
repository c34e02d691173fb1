/// The classes of `root\cimv2` that every simulated host has, and queries over them.
///
/// Knows nothing of the protocol that asks: WS-Management and DCOM can serve the same answers.
package enum WMIRepository {
    package static let classes: [WMIClass] = [
        PerformanceClasses.processor,
        PerformanceClasses.processorInformation,
        PerformanceClasses.networkInterface,
        SystemClasses.operatingSystem,
        SystemClasses.computerSystem,
        StorageClasses.logicalDisk,
        StorageClasses.volume,
    ]

    private static let byName = Dictionary(uniqueKeysWithValues: Self.classes.map { ($0.name.lowercased(), $0) })

    /// The class with a name, compared without case.
    package static func find(_ name: String) -> WMIClass? {
        self.byName[name.lowercased()]
    }
}

/// A query that was checked against its class, ready to run against any host.
package struct WMIPlan: Sendable {
    package let wmiClass: WMIClass
    /// Positions in the class of the properties asked for.
    package let columns: [Int]
    /// Whether all properties were asked for with `*`.
    package let selectsAll: Bool
    private let condition: BoundCondition?

    /// A comparison bound to a property's position.
    private indirect enum BoundCondition: Sendable {
        case comparison(Int, WQLQuery.Operator, WQLQuery.Literal)
        case and(BoundCondition, BoundCondition)
        case or(BoundCondition, BoundCondition)
        case not(BoundCondition)
    }

    /// Every instance of a class with all properties.
    package init(allOf wmiClass: WMIClass) {
        self.wmiClass = wmiClass
        self.columns = Array(wmiClass.properties.indices)
        self.selectsAll = true
        self.condition = nil
    }

    /// - Throws: ``WQLError/invalidClass(_:)`` and ``WQLError/invalidQuery(_:)`` for an unknown property.
    package init(_ text: String) throws(WQLError) {
        let query = try WQLQuery(text)
        guard let wmiClass = WMIRepository.find(query.className) else {
            throw .invalidClass(query.className)
        }
        self.wmiClass = wmiClass
        self.selectsAll = query.columns == nil
        if let names = query.columns {
            var columns: [Int] = []
            for name in names {
                // System properties such as __CLASS are not part of WS-Management's answers.
                if name.hasPrefix("__") { continue }
                columns.append(try Self.position(of: name, in: wmiClass))
            }
            self.columns = columns
        } else {
            self.columns = Array(wmiClass.properties.indices)
        }
        self.condition = try query.condition.map { condition throws(WQLError) in try Self.bind(condition, to: wmiClass)
        }
    }

    private static func position(of name: String, in wmiClass: WMIClass) throws(WQLError) -> Int {
        guard let position = wmiClass.position(of: name) else {
            throw .invalidQuery("\(wmiClass.name) has no property \(name)")
        }
        return position
    }

    private static func bind(_ condition: WQLQuery.Condition, to wmiClass: WMIClass) throws(WQLError) -> BoundCondition
    {
        switch condition {
        case .comparison(let name, let comparison, let literal):
            .comparison(try Self.position(of: name, in: wmiClass), comparison, literal)
        case .and(let left, let right):
            .and(try Self.bind(left, to: wmiClass), try Self.bind(right, to: wmiClass))
        case .or(let left, let right):
            .or(try Self.bind(left, to: wmiClass), try Self.bind(right, to: wmiClass))
        case .not(let inner):
            .not(try Self.bind(inner, to: wmiClass))
        }
    }

    /// Numbers of the host's instances that the condition holds for.
    package func instances(of host: HostSnapshot) -> [Int] {
        let all = 0..<self.wmiClass.instanceCount(host)
        guard let condition = self.condition else { return Array(all) }
        return all.filter { self.holds(condition, host, $0) }
    }

    private func holds(_ condition: BoundCondition, _ host: HostSnapshot, _ instance: Int) -> Bool {
        switch condition {
        case .comparison(let position, let comparison, let literal):
            comparison.holds(self.wmiClass.properties[position].value(host, instance), literal)
        case .and(let left, let right):
            self.holds(left, host, instance) && self.holds(right, host, instance)
        case .or(let left, let right):
            self.holds(left, host, instance) || self.holds(right, host, instance)
        case .not(let inner):
            !self.holds(inner, host, instance)
        }
    }
}
