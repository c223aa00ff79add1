package lifeboat.work

import android.content.Context
import android.security.keystore.KeyGenParameterSpec
import android.security.keystore.KeyPermanentlyInvalidatedException
import android.security.keystore.KeyProperties
import android.util.AtomicFile
import lifeboat.HostException
import lifeboat.KeyStore
import java.io.File
import java.io.FileNotFoundException
import java.security.ProviderException
import javax.crypto.AEADBadTagException
import javax.crypto.Cipher
import javax.crypto.KeyGenerator
import javax.crypto.SecretKey
import javax.crypto.spec.GCMParameterSpec
import java.security.KeyStore as Keys

/**
 * Keeps the vault's key in a file that only this phone can read: sealed with AES-GCM by a key that never leaves the Android Keystore. On another
 * phone, to which the file may have been copied, it is no key, and the app asks for the password.
 *
 * @param file where; by default beside the engine's state, out of reach of Android's own backup
 */
public class KeystoreKeyStore(
    context: Context,
    private val alias: String = "lifeboat",
    file: File = File(context.noBackupFilesDir, "lifeboat.key"),
) : KeyStore {
    private val file = AtomicFile(file)

    override fun loadKey(): ByteArray? {
        val sealed = try {
            file.readFully()
        } catch (_: FileNotFoundException) {
            return null
        }
        if (sealed.size <= NONCE_BYTES) return null
        val key = key() ?: return null
        return whileUnlocked {
            val cipher = Cipher.getInstance(TRANSFORMATION)
            cipher.init(Cipher.DECRYPT_MODE, key, GCMParameterSpec(TAG_BITS, sealed, 0, NONCE_BYTES))
            try {
                cipher.doFinal(sealed, NONCE_BYTES, sealed.size - NONCE_BYTES)
            } catch (_: AEADBadTagException) {
                null
            }
        }
    }

    override fun saveKey(key: ByteArray) {
        val sealed = whileUnlocked {
            val cipher = Cipher.getInstance(TRANSFORMATION)
            cipher.init(Cipher.ENCRYPT_MODE, key() ?: generate())
            cipher.iv + cipher.doFinal(key)
        } ?: throw HostException.Failed("the Keystore's key for $alias is not valid any more")
        val output = file.startWrite()
        try {
            output.write(sealed)
            file.finishWrite(output)
        } catch (error: Exception) {
            file.failWrite(output)
            throw error
        }
    }

    private fun key(): SecretKey? = Keys.getInstance(PROVIDER).run {
        load(null)
        getKey(alias, null) as SecretKey?
    }

    private fun generate(): SecretKey = KeyGenerator.getInstance(KeyProperties.KEY_ALGORITHM_AES, PROVIDER).run {
        val uses = KeyProperties.PURPOSE_ENCRYPT or KeyProperties.PURPOSE_DECRYPT
        // Not bound to the lock screen: backups run while nobody holds the phone.
        init(
            KeyGenParameterSpec.Builder(alias, uses)
                .setBlockModes(KeyProperties.BLOCK_MODE_GCM)
                .setEncryptionPaddings(KeyProperties.ENCRYPTION_PADDING_NONE)
                .setKeySize(256)
                .build(),
        )
        generateKey()
    }

    /** Nothing where the key is gone for good; `NotNow` where the Keystore does not answer, as before the first unlock. */
    private fun <T> whileUnlocked(work: () -> T): T? = try {
        work()
    } catch (_: KeyPermanentlyInvalidatedException) {
        null
    } catch (error: ProviderException) {
        throw HostException.NotNow("the Android Keystore: ${error.message}")
    }

    private companion object {
        const val PROVIDER = "AndroidKeyStore"
        const val TRANSFORMATION = "AES/GCM/NoPadding"
        const val NONCE_BYTES = 12
        const val TAG_BITS = 128
    }
}
