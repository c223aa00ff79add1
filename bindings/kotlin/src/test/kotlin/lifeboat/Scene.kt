package lifeboat

import kotlinx.coroutines.CompletableDeferred
import kotlinx.coroutines.delay
import java.nio.file.Files
import java.nio.file.Path
import java.util.Random
import kotlin.io.path.createDirectories
import kotlin.io.path.exists
import kotlin.io.path.readBytes
import kotlin.io.path.writeBytes
import kotlin.test.fail

/** An app's folder, a vault beside it, and engines that are opened on both. */
internal class Scene(val dir: Path = Files.createTempDirectory("lifeboat")) : AutoCloseable {
    val app: Path = dir.resolve("app").createDirectories()
    val vault: Path = dir.resolve("vault")
    val back: Path = dir.resolve("back")
    val keys = FileKeyStore(dir.resolve("key"))
    val config = EngineConfig(vault.toString(), dir.resolve("state").toString())
    val request = BackupRequest(listOf(BackupSource(app.toString(), "app")), label = "phone")

    suspend fun create(): Scene = also { Engine.create(vault.toString(), PASSWORD, "test", keys) }

    suspend fun open(): Engine = Engine.open(config, keys)

    fun write(name: String, bytes: ByteArray) {
        val path = app.resolve(name)
        path.parent.createDirectories()
        path.writeBytes(bytes)
    }

    /** Files that do not compress, so that a backup of them takes a while. */
    fun fill(mebibytes: Int, seed: Long = 1) {
        val random = Random(seed)
        val bytes = ByteArray(1 shl 20)
        repeat(mebibytes) {
            random.nextBytes(bytes)
            write("photos/$seed-$it.jpg", bytes)
        }
    }

    fun vaultBytes(): Long = Files.walk(vault).use { files ->
        files.filter(Files::isRegularFile).mapToLong(Files::size).sum()
    }

    /** Every file of the app's folder, and no other, is below [other] with the same bytes; but for a database, whose content is what counts. */
    fun assertSame(other: Path) {
        fun files(root: Path) = Files.walk(root).use { all ->
            all.filter(Files::isRegularFile).map { root.relativize(it).toString() }.filter { !it.startsWith("notes.db") }.sorted().toList()
        }
        val expected = files(app)
        if (expected != files(other)) fail("$expected is not ${files(other)}")
        for (name in expected) {
            if (!app.resolve(name).readBytes().contentEquals(other.resolve(name).readBytes())) fail("$name differs")
        }
    }

    override fun close() {
        dir.toFile().deleteRecursively()
    }

    companion object {
        const val PASSWORD = "correct horse"
    }
}

/** Keeps the key in a file, where tests of several processes find it. */
internal class FileKeyStore(private val file: Path) : KeyStore {
    override fun loadKey(): ByteArray? = if (file.exists()) file.readBytes() else null

    override fun saveKey(key: ByteArray) = file.writeBytes(key)
}

/** Opens as soon as whoever held the folder has let go of it. */
internal suspend fun Scene.openWhenFree(): Engine {
    while (true) {
        try {
            return open()
        } catch (_: EngineException.Busy) {
            delay(1)
        }
    }
}

/** Begins a job, and returns when the vault has confirmed something of it. */
internal suspend fun Engine.untilConfirmed(begin: () -> Unit) {
    val confirmed = CompletableDeferred<Unit>()
    // Watched before it begins, so that nothing is missed.
    val watching = handle.observe(
        object : Watching() {
            override fun onEvent(event: EngineEvent) {
                if (event is EngineEvent.PackConfirmed) confirmed.complete(Unit)
            }
        },
        50u,
    )
    begin()
    confirmed.await()
    watching.close()
}

internal open class Watching : Observer {
    override fun onProgress(progress: RunProgress) = Unit

    override fun onEvent(event: EngineEvent) = Unit

    override fun onEnd() = Unit
}
