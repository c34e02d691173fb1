/// A user's name and password as NTLM wants them.
package struct NTLMCredential: Sendable {
    /// The account, or a user principal name (`user@domain`) with an empty `domain`.
    package let username: String
    /// The NetBIOS or DNS name of the account's domain; empty for a local account or a principal name.
    package let domain: String
    /// The name that this machine gives itself in the AUTHENTICATE_MESSAGE; informational, may be empty.
    package let workstation: String
    let password: String

    /// Takes the parts as given; `DOMAIN\user` is split when `domain` is empty.
    package init(username: String, password: String, domain: String = "", workstation: String = "") {
        if domain.isEmpty, let backslash = username.firstIndex(of: "\\") {
            self.domain = String(username[..<backslash])
            self.username = String(username[username.index(after: backslash)...])
        } else {
            self.domain = domain
            self.username = username
        }
        self.password = password
        self.workstation = workstation
    }
}

extension NTLMCredential: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    /// The account without its password.
    package var description: String {
        self.domain.isEmpty ? self.username : "\(self.domain)\\\(self.username)"
    }

    package var debugDescription: String {
        self.description
    }

    // dump() and string interpolation of an enclosing value reflect stored properties: leave the password out.
    package var customMirror: Mirror {
        Mirror(self, children: ["account": self.description])
    }
}
