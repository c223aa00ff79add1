// What the guide leaves to the reader's app.

import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.SupervisorJob
import lifeboat.BackupRequest
import lifeboat.Engine
import lifeboat.EngineConfig
import lifeboat.KeyStore
import lifeboat.WakeHint
import net.zetetic.database.sqlcipher.SQLiteDatabase
import java.io.File
import java.nio.file.Files
import java.util.concurrent.CopyOnWriteArrayList

const val password = "correct horse"
val home: File = Files.createTempDirectory("lifeboat-guide").toFile()
val vault: String = File(home, "vault").path
val app = File(home, "app")
val noBackup = File(app, "no_backup")
val scope = CoroutineScope(SupervisorJob() + Dispatchers.Default)
val logged = CopyOnWriteArrayList<String>()

/** What happens to the app's data at a line of its log. */
var meanwhile: (String) -> Unit = {}

/** No seal, but another order of the bytes. */
fun seal(key: ByteArray): ByteArray = key.reversedArray()

fun unseal(sealed: ByteArray): ByteArray = sealed.reversedArray()

fun log(text: String) {
    logged += text
    meanwhile(text)
}

fun wake(hint: WakeHint) = log("not before ${hint.notBeforeMs}")

class Session {
    class Keys(val id: String, val secret: String, val token: String?, val expiresAtMs: ULong?)

    val generation: ULong = 1u

    fun keys(renew: Boolean): Keys? = null
}

// For the chapters after the first, which go on with what was made there. They are only compiled.

val config: EngineConfig get() = elsewhere()
val keyStore: KeyStore get() = elsewhere()
val engine: Engine get() = elsewhere()
val request: BackupRequest get() = elsewhere()
val database: SQLiteDatabase get() = elsewhere()
val session: Session get() = elsewhere()

private fun elsewhere(): Nothing = error("not run")
