package lifeboat

import java.nio.file.Files
import java.nio.file.Path
import java.security.KeyStore as Certificates
import java.security.cert.X509Certificate
import java.util.Base64
import javax.net.ssl.TrustManagerFactory
import javax.net.ssl.X509TrustManager
import kotlin.io.path.inputStream
import kotlin.io.path.writeText
import kotlin.test.assertEquals

/** A server's key, and a certificate for [name] that nobody vouches for: the JDK's own tool makes both. */
internal class Identity(name: String = "ip:127.0.0.1") {
    private val store = Certificates.getInstance("PKCS12")
    val certificate: X509Certificate

    init {
        val dir = Files.createTempDirectory("lifeboat-identity")
        val file = dir.resolve("store")
        val tool = Path.of(System.getProperty("java.home"), "bin", "keytool")
        val arguments = "-genkeypair -alias server -keyalg EC -groupname secp256r1 -dname CN=server -ext san=$name -validity 2 -storetype PKCS12"
        val process = ProcessBuilder(listOf("$tool") + arguments.split(" ") + listOf("-keystore", "$file", "-storepass", PASSWORD))
            .redirectErrorStream(true)
            .start()
        val said = process.inputReader().readText()
        assertEquals(0, process.waitFor(), said)
        file.inputStream().use { store.load(it, PASSWORD.toCharArray()) }
        dir.toFile().deleteRecursively()
        certificate = store.getCertificate("server") as X509Certificate
    }

    /** What trusts this server and no other. */
    fun manager(): X509TrustManager {
        val trusted = Certificates.getInstance("PKCS12").apply { load(null, null) }
        trusted.setCertificateEntry("server", certificate)
        val factory = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm())
        factory.init(trusted)
        return factory.trustManagers.firstNotNullOf { it as? X509TrustManager }
    }

    /** Certificate and key, as the server reads them. */
    fun write(dir: Path): Pair<Path, Path> {
        fun pem(what: String, bytes: ByteArray) =
            "-----BEGIN $what-----\n${Base64.getMimeEncoder().encodeToString(bytes)}\n-----END $what-----\n"
        val key = store.getKey("server", PASSWORD.toCharArray())
        return Pair(
            dir.resolve("certificate.pem").apply { writeText(pem("CERTIFICATE", certificate.encoded)) },
            dir.resolve("key.pem").apply { writeText(pem("PRIVATE KEY", key.encoded)) },
        )
    }

    private companion object {
        const val PASSWORD = "for tests"
    }
}
