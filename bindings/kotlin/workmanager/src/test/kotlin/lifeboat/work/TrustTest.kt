package lifeboat.work

import lifeboat.HostException
import lifeboat.ManagedTrust
import org.junit.jupiter.api.Test
import java.security.KeyStore
import java.security.cert.CertificateException
import java.security.cert.X509Certificate
import javax.net.ssl.TrustManagerFactory
import javax.net.ssl.X509TrustManager
import kotlin.test.assertContentEquals
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertTrue
import kotlin.test.fail

/** The engine's question about a server goes to Android's trust managers in the way that they want: with the framework's own class. */
class TrustTest {
    /** As Android's are since version 7: without a host they refuse, since an app may have rules for each. */
    class Manager(private val trusted: String) : X509TrustManager {
        var asked: Array<X509Certificate>? = null

        @Suppress("unused") // The framework looks for it by its name, and calls it from outside.
        fun checkServerTrusted(chain: Array<X509Certificate>, kind: String, host: String): List<X509Certificate> {
            asked = chain
            check(kind.isNotEmpty())
            if (host != trusted) throw CertificateException("$host has pins of its own")
            return chain.toList()
        }

        override fun checkServerTrusted(chain: Array<X509Certificate>, kind: String) =
            throw CertificateException("Domain specific configurations require that hostname aware checkServerTrusted is used")

        override fun checkClientTrusted(chain: Array<X509Certificate>, kind: String) = fail("this is no server")

        override fun getAcceptedIssuers(): Array<X509Certificate> = arrayOf()
    }

    /** Any two will do. */
    private fun certificates(): List<X509Certificate> {
        val factory = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm())
        factory.init(null as KeyStore?)
        return factory.trustManagers.firstNotNullOf { it as? X509TrustManager }.acceptedIssuers.take(2)
    }

    @Test
    fun `the host is named to Android's trust managers`() {
        val manager = Manager(trusted = "vault.example")
        val trust = ManagedTrust(manager)
        val chain = certificates()
        assertTrue(trust.check(chain.map { it.encoded }, "vault.example"))
        assertContentEquals(chain.toTypedArray(), manager.asked)
        val refused = assertFailsWith<HostException.Failed> { trust.check(chain.map { it.encoded }, "other.example") }
        assertEquals("other.example has pins of its own", refused.reason)
    }

    @Test
    fun `bytes that are no certificate are refused`() {
        assertFailsWith<HostException.Failed> { ManagedTrust(Manager("vault.example")).check(listOf(byteArrayOf(1, 2, 3)), "vault.example") }
    }
}
