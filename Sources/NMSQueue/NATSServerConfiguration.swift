/// The configuration file of the embedded nats-server. Holds the token: for a 0600 file only.
struct NATSServerConfiguration: Sendable {
    var port: Int
    var token: String
    var storeDirectory: String
    /// Bytes.
    var maxMemory: Int
    /// Bytes.
    var maxFile: Int

    var text: String {
        """
        # Written by nmslite at every start.
        server_name: "nmslite"
        host: "127.0.0.1"
        port: \(self.port)
        authorization { token: \(Self.quoted(self.token)) }
        jetstream {
            store_dir: \(Self.quoted(self.storeDirectory))
            max_memory_store: \(self.maxMemory)
            max_file_store: \(self.maxFile)
        }
        max_payload: 1048576
        logtime: false

        """
    }

    /// A string in the server's configuration language.
    static func quoted(_ text: String) -> String {
        var quoted = "\""
        for character in text.unicodeScalars {
            switch character {
            case "\"": quoted += "\\\""
            case "\\": quoted += "\\\\"
            case "\n": quoted += "\\n"
            case "\r": quoted += "\\r"
            case "\t": quoted += "\\t"
            default: quoted.unicodeScalars.append(character)
            }
        }
        return quoted + "\""
    }
}
