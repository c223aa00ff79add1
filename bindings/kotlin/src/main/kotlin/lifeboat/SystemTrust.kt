package lifeboat

import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.withContext
import java.lang.reflect.InvocationTargetException
import java.security.GeneralSecurityException
import java.security.KeyStore as Certificates
import java.security.cert.CertificateFactory
import java.security.cert.X509Certificate
import javax.net.ssl.TrustManagerFactory
import javax.net.ssl.X509TrustManager

/**
 * Trusts the servers that [manager] trusts, as the connections of `HttpsURLConnection` and OkHttp do: with it, an app has the same authorities and
 * pins for its vault as for everything else.
 */
public open class ManagedTrust(manager: () -> X509TrustManager) : ServerTrust {
    /** Android's managers want to know the host, for which an app may have rules of its own; Java's interface has no place for it. */
    private val judge: (Array<X509Certificate>, String) -> Unit by lazy { judge(manager()) }

    public constructor(manager: X509TrustManager) : this({ manager })

    override fun check(chain: List<ByteArray>, host: String): Boolean {
        try {
            val factory = CertificateFactory.getInstance("X.509")
            val certificates = chain.map { factory.generateCertificate(it.inputStream()) as X509Certificate }
            judge(certificates.toTypedArray(), host)
            return true
        } catch (refused: GeneralSecurityException) {
            throw HostException.Failed(refused.message ?: refused.toString())
        } catch (other: Throwable) {
            // Also what is no exception, such as a stack that a certificate made overflow: nothing of it is a yes.
            throw HostException.Failed(other.toString())
        }
    }

    /** Reads the authorities, which takes Android a moment the first time: before the engine has to wait for it. */
    internal suspend fun prepare() {
        withContext(Dispatchers.IO) {
            try {
                judge
            } catch (_: Exception) {
                // Tried again when it is needed, which is where its reason belongs.
            }
        }
    }

    private companion object {
        /** What Java's own TLS calls it where the certificate's kind does not follow from the cipher, as since TLS 1.3. */
        const val ANY_KIND = "UNKNOWN"

        fun judge(manager: X509TrustManager): (Array<X509Certificate>, String) -> Unit {
            val extensions = try {
                Class.forName("android.net.http.X509TrustManagerExtensions")
                    .getConstructor(X509TrustManager::class.java)
                    .newInstance(manager)
            } catch (_: ClassNotFoundException) {
                null
            } catch (_: InvocationTargetException) {
                // It wants nothing to do with managers that do not ask for a host.
                null
            }
            if (extensions == null) return { chain, _ -> manager.checkServerTrusted(chain, ANY_KIND) }
            val text = String::class.java
            val check = extensions.javaClass.getMethod("checkServerTrusted", Array<X509Certificate>::class.java, text, text)
            return { chain, host ->
                try {
                    check.invoke(extensions, chain, ANY_KIND, host)
                } catch (refused: InvocationTargetException) {
                    throw refused.targetException
                }
            }
        }
    }
}

/** Trusts what the system trusts; on Android also as the app's network security configuration says. */
public object SystemTrust : ManagedTrust({
    val factory = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm())
    factory.init(null as Certificates?)
    factory.trustManagers.firstNotNullOf { it as? X509TrustManager }
})
