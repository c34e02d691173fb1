import NMSCore
import NMSStorage

extension MasterKey {
    static let testing = MasterKey(bytes: Array(0..<32))!
    static let other = MasterKey(bytes: Array(1..<33))!
}

extension CredentialCipher {
    static let testing = CredentialCipher(key: .testing)
}

extension NewCredential {
    static func testing(_ name: String, password: String = "correct horse") -> NewCredential {
        NewCredential(name: name, type: .winrmNTLM, username: "svc-\(name)", password: Secret(password))
    }
}
