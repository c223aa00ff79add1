package lifeboat

import java.io.File
import java.io.IOException
import java.net.InetAddress
import java.net.ServerSocket
import java.net.Socket
import java.nio.file.Files
import java.nio.file.Path
import kotlin.io.path.createDirectories
import kotlin.io.path.writeText
import kotlin.test.fail

/** A real server that nobody here wrote, on a port of its own, killed in the end. */
internal class Server private constructor(
    private val process: Process,
    private val dir: Path,
    val vault: String,
    val credentials: VaultCredentials,
) : AutoCloseable {
    override fun close() {
        process.destroyForcibly().waitFor()
        dir.toFile().deleteRecursively()
    }

    companion object {
        private const val USER = "phone"
        private const val SECRET = "a password only for tests"

        /** `{SHA}` and the SHA-1 of the password in base64, as `htpasswd -s` writes it. */
        private const val HASH = "{SHA}+7gdjaJFxtKN1Vc0Bed9iStln/Y="

        /** restic's own, with a user and a password. With an [identity], over TLS. */
        fun rest(identity: Identity? = null): Server {
            val scheme = if (identity == null) "http" else "https"
            return start("LIFEBOAT_REST_SERVER", { "rest:$scheme://127.0.0.1:$it/$USER/vault/" }) { dir, port ->
                val users = dir.resolve("users").apply { writeText("$USER:$HASH\n") }
                val tls = identity?.write(dir)?.let { (certificate, key) -> listOf("--tls", "--tls-cert", "$certificate", "--tls-key", "$key") }
                listOf("--listen", "127.0.0.1:$port", "--path", "$dir", "--private-repos", "--htpasswd-file", "$users") + tls.orEmpty()
            }
        }

        /** versitygw, which speaks S3. */
        fun s3(): Server = start("LIFEBOAT_VERSITYGW", { "s3:http://127.0.0.1:$it/vaults/phone" }) { dir, port ->
            val (buckets, sidecar) = listOf("buckets", "sidecar").map { dir.resolve(it).createDirectories() }
            listOf("--access", USER, "--secret", SECRET, "--port", "127.0.0.1:$port", "posix", "--sidecar", "$sidecar", "$buckets")
        }

        private fun start(variable: String, vault: (Int) -> String, arguments: (Path, Int) -> List<String>): Server {
            val binary = System.getenv(variable) ?: fail("$variable must name the server; `tests/run kotlin` gets and sets it")
            val dir = Files.createTempDirectory("lifeboat-server")
            repeat(STARTS_MAX) {
                val port = ServerSocket(0, 1, InetAddress.getLoopbackAddress()).use { it.localPort }
                val process = ProcessBuilder(listOf(binary) + arguments(dir, port))
                    .redirectErrorStream(true)
                    .redirectOutput(File(dir.toFile(), "log"))
                    .start()
                if (process.listens(port)) return Server(process, dir, vault(port), VaultCredentials(USER, SECRET))
            }
            fail("no server came up: ${File(dir.toFile(), "log").readText()}")
        }

        /** False where it ended by itself: between choosing a free port and listening on it, another program may take it. */
        private fun Process.listens(port: Int): Boolean {
            while (isAlive) {
                try {
                    // A port to which nobody listens may be the one that this end is given, and then it is connected to itself.
                    if (Socket(InetAddress.getLoopbackAddress(), port).use { it.localPort } != port) return true
                } catch (_: IOException) {
                    Thread.onSpinWait()
                }
            }
            return false
        }

        private const val STARTS_MAX = 5
    }
}
