#if canImport(Security)
import Foundation
import Lifeboat
import Security

/// Keeps the vault's key in the Keychain, where the background finds it once the phone was unlocked after its start, and no other device ever does.
public final class KeychainKeyStore: KeyStore {
    private let service: String

    public init(service: String = "lifeboat") {
        self.service = service
    }

    private var query: [CFString: Any] {
        [kSecClass: kSecClassGenericPassword, kSecAttrService: service, kSecAttrAccount: "vault"]
    }

    public func loadKey() throws -> Data? {
        var found: CFTypeRef?
        let wanted = query.merging([kSecReturnData: true, kSecMatchLimit: kSecMatchLimitOne]) { $1 }
        switch SecItemCopyMatching(wanted as CFDictionary, &found) {
        case errSecSuccess: return found as? Data
        case errSecItemNotFound: return nil
        case errSecInteractionNotAllowed: throw HostError.NotNow(reason: "the phone was not unlocked since its start")
        case let status: throw HostError.Failed(reason: "the Keychain answers \(status)")
        }
    }

    public func saveKey(key: Data) throws {
        let new: [CFString: Any] = [
            kSecValueData: key, kSecAttrAccessible: kSecAttrAccessibleAfterFirstUnlockThisDeviceOnly,
        ]
        var status = SecItemUpdate(query as CFDictionary, new as CFDictionary)
        if status == errSecItemNotFound {
            status = SecItemAdd(query.merging(new) { $1 } as CFDictionary, nil)
        }
        switch status {
        case errSecSuccess: return
        case errSecInteractionNotAllowed: throw HostError.NotNow(reason: "the phone was not unlocked since its start")
        default: throw HostError.Failed(reason: "the Keychain answers \(status)")
        }
    }
}
#endif
