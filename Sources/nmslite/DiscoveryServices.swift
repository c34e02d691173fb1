import Logging
import NIOPosix
import NMSCollectors
import NMSCore
import NMSDiscovery
import NMSPoller
import NMSQueue
import NMSRuntime
import NMSStorage
import ServiceLifecycle

/// What an instance with the role `discovery` runs.
struct DiscoveryServices {
    let services: Services
    let gate: LockoutGuard
    let identifiers: [any WindowsIdentifier]
    let credentials: CredentialRepository

    func make() -> [any Service] {
        let logger = Logger(label: "discovery")
        let settings = self.services.configuration.discovery
        let runner = DiscoveryJobRunner(
            configuration: DiscoveryConfiguration(concurrency: settings.concurrency, rate: settings.rate),
            // A thread of its own: polls never wait behind a sweep.
            eventLoopGroup: MultiThreadedEventLoopGroup(numberOfThreads: 1),
            identifiers: self.identifiers,
            gate: self.gate
        )
        let (queue, credentials) = (self.services.queue, self.credentials)
        let worker = DiscoveryWorker(
            source: queue,
            publisher: queue,
            store: DiscoveryRepository(pool: self.services.pool),
            events: queue,
            polls: queue,
            credential: { id in
                do { return try await credentials.decrypted(id: id) } catch StorageError.undecryptable { return nil }
            },
            run: { job, sink in try await runner.run(job, sink: sink) },
            maximumAddresses: settings.maxAddresses,
            policy: self.services.configuration.targets.policy,
            logger: logger
        )
        let gate = self.gate
        return [
            CancelledService {
                await Retry.untilCancelled("discovery", logger: logger) { try await worker.run() }
            },
            CancelledService {
                await Retry.untilCancelled("discovery events", logger: logger) {
                    for await event in try await queue.deviceEvents() where event.event == .credentialUpdated {
                        if let id = event.credentialID { gate.forget(credentialID: id) }
                    }
                }
            },
        ]
    }
}

/// Reads targets for the API as the worker will read them.
struct DiscoveryTargetAdapter: DiscoveryTargetReader {
    private struct Targets: DiscoveryTargetSet {
        let targets: DiscoveryTargets
        let maximumAddresses: Int
        let canonical: String

        var count: Int { self.targets.count }

        func overlaps(canonical: String) -> Bool {
            // Of another one, under whatever settings it was stored; unreadable is none of this one's business.
            let other = try? DiscoveryTargets(parsing: canonical, maximumAddresses: .max)
            return other.map { self.targets.overlaps($0) } ?? false
        }
    }

    private let maximumAddresses: Int
    private let policy: TargetPolicy

    init(_ configuration: NMSRuntime.Configuration) {
        self.maximumAddresses = configuration.discovery.maxAddresses
        self.policy = configuration.targets.policy
    }

    func read(_ subnet: String, excluding: [String]) throws(DiscoveryTargetRefusal) -> any DiscoveryTargetSet {
        let targets = try self.parse(subnet, excluding, field: excluding.isEmpty ? "subnet" : nil)
        guard targets.notAllowed == 0 else {
            throw DiscoveryTargetRefusal(
                isNotAllowed: true,
                part: subnet,
                message: "\(targets.notAllowed) of the addresses are outside of targets.allow; leave them out "
                    + "(exclude) or widen targets.allow"
            )
        }
        let canonical = targets.canonical
        // Whoever runs it reads it again.
        guard (try? self.parse(canonical, [], field: nil).count) == targets.count else {
            throw DiscoveryTargetRefusal(message: "the list of addresses is too scattered; start several discoveries")
        }
        return Targets(targets: targets, maximumAddresses: self.maximumAddresses, canonical: canonical)
    }

    /// - Parameter field: what errors name; nil finds out.
    private func parse(
        _ subnet: String,
        _ exclusions: [String],
        field: String?
    ) throws(DiscoveryTargetRefusal) -> DiscoveryTargets {
        do throws(DiscoveryTargetsError) {
            return try DiscoveryTargets(
                parsing: subnet,
                exclusions: exclusions,
                maximumAddresses: self.maximumAddresses,
                policy: self.policy
            )
        } catch {
            let given = field ?? self.fieldAtFault(exclusions)
            let part = error.part ?? (given == "subnet" ? subnet : nil)
            throw DiscoveryTargetRefusal(
                isNotAllowed: error.isTargetNotAllowed,
                field: given,
                part: part,
                message: "\(given): \(error)"
            )
        }
    }

    private func fieldAtFault(_ exclusions: [String]) -> String {
        let areRight = exclusions.allSatisfy { text in
            (try? DiscoveryTargets(parsing: text, maximumAddresses: .max)) != nil
        }
        return areRight ? "subnet" : "exclude"
    }
}
