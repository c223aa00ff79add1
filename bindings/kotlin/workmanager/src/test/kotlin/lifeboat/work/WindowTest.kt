package lifeboat.work

import android.app.Notification
import kotlinx.coroutines.CoroutineStart
import kotlinx.coroutines.Job
import kotlinx.coroutines.flow.first
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import lifeboat.AndroidNetworkType
import lifeboat.AndroidWork
import lifeboat.BackupFreshness
import lifeboat.BackupRequest
import lifeboat.BackupSource
import lifeboat.DueOutcome
import lifeboat.DueTask
import lifeboat.Engine
import lifeboat.EngineConfig
import lifeboat.EngineEvent
import lifeboat.HostException
import lifeboat.KeyStore
import lifeboat.NetworkState
import lifeboat.PhoneConditions
import lifeboat.ThermalState
import lifeboat.androidStopCode
import org.junit.jupiter.api.AfterEach
import org.junit.jupiter.api.Test
import java.nio.file.Files
import java.util.Random
import kotlin.io.path.createDirectories
import kotlin.io.path.writeBytes
import kotlin.test.assertEquals
import kotlin.test.assertIs
import kotlin.test.assertNull
import kotlin.test.assertTrue
import kotlin.time.Duration
import kotlin.time.Duration.Companion.minutes

/** What a worker does, with the real engine and without a phone. */
class WindowTest {
    private val dir = Files.createTempDirectory("lifeboat-work")
    private val app = dir.resolve("app").createDirectories()
    private val vault = dir.resolve("vault").toString()
    private val enqueued = mutableListOf<List<AndroidWork>>()
    private var network = NetworkState.UNMETERED

    private val platform = object : Platform {
        override fun nowMs() = System.currentTimeMillis()

        override fun conditions(asked: Boolean, windowLeft: Duration?) = PhoneConditions(
            network = network,
            charging = true,
            lowPowerMode = false,
            thermal = ThermalState.NOMINAL,
            freeBytes = 1uL shl 40,
            asked = asked,
            windowLeftMs = windowLeft?.inWholeMilliseconds?.toULong(),
            timeZone = "Europe/Berlin",
        )

        override fun enqueue(work: List<AndroidWork>) {
            enqueued += work
        }
    }

    private class Keys : KeyStore {
        var key: ByteArray? = null
        var isLocked = false

        override fun loadKey(): ByteArray? = if (isLocked) throw HostException.NotNow("locked") else key

        override fun saveKey(key: ByteArray) {
            this.key = key
        }
    }

    private inner class Notes : BackupHost {
        val keys = Keys()
        val outcomes = mutableListOf<DueOutcome>()
        val errors = mutableListOf<Exception>()
        var watch: (Engine) -> Unit = {}

        override suspend fun openEngine() =
            Engine.open(EngineConfig(vault, dir.resolve("state").toString()), keys).also(watch)

        override fun backupRequest() =
            BackupRequest(listOf(BackupSource(app.toString(), "files")), label = "phone", skipIfUnchanged = true)

        override fun backupNotification(): Notification = error("only on a phone")

        override fun onBackupWindow(outcome: DueOutcome) {
            outcomes += outcome
        }

        override fun onBackupError(error: Exception) {
            errors += error
        }
    }

    private val notes = Notes()

    private suspend fun create(mebibytes: Int) {
        Engine.create(vault, "correct horse", "test", notes.keys)
        val (random, bytes) = Random(1) to ByteArray(1 shl 20)
        repeat(mebibytes) {
            random.nextBytes(bytes)
            app.resolve("$it.jpg").writeBytes(bytes)
        }
    }

    @AfterEach
    fun remove() {
        dir.toFile().deleteRecursively()
    }

    @Test
    fun `due work is done, and the next wake asked for`() = runBlocking<Unit> {
        create(2)
        Window(platform, notes).run(asked = false, 9.minutes) { null }
        assertEquals(DueTask.FIRST_BACKUP, notes.outcomes.first().ran)
        assertEquals(1, notes.outcomes.count { it.backup != null })
        assertEquals(listOf("lifeboat-soon", "lifeboat-later").take(enqueued.single().size), enqueued.single().map { it.uniqueName })
        assertTrue(enqueued.single().first().initialDelayMs > 0, "nothing more is due now")
        notes.openEngine().use { assertEquals(BackupFreshness.FRESH, it.status().freshness) }
    }

    @Test
    fun `where nothing can be done, nothing is, and the network is waited for`() = runBlocking<Unit> {
        create(1)
        network = NetworkState.OFFLINE
        Window(platform, notes).run(asked = false, 9.minutes) { null }
        assertNull(notes.outcomes.single().ran)
        assertEquals(AndroidNetworkType.UNMETERED, enqueued.single().first().network)
    }

    @Test
    fun `a worker that is stopped asks to come back, and the journal says why it was`() = runBlocking<Unit> {
        create(64)
        lateinit var window: Job
        notes.watch = { engine ->
            // Begun before the window, and ended by its cancellation.
            launch(start = CoroutineStart.UNDISPATCHED) {
                engine.events().first { it is EngineEvent.PackConfirmed }
                window.cancel()
            }
        }
        window = launch { Window(platform, notes).run(asked = false, 9.minutes) { androidStopCode(10) } }
        window.join()
        notes.watch = {}
        assertEquals("stop-quota", notes.openEngine().use { it.status().lastEnd }?.code)
        assertEquals(1, enqueued.size)
        Window(platform, notes).run(asked = true, 9.minutes) { null }
        assertTrue(notes.outcomes.any { it.backup != null })
    }

    @Test
    fun `a key store that is locked breaks no chain of wakes`() = runBlocking<Unit> {
        create(1)
        notes.keys.isLocked = true
        Window(platform, notes).run(asked = false, 9.minutes) { null }
        assertIs<lifeboat.EngineException.KeyUnavailable>(notes.errors.single())
        assertEquals(Window.RETRY, enqueued.single())
    }
}
