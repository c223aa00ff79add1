package lifeboat

import kotlinx.coroutines.CoroutineStart
import kotlinx.coroutines.cancelAndJoin
import kotlinx.coroutines.flow.first
import kotlinx.coroutines.flow.onStart
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import org.junit.jupiter.api.Test
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertIs
import kotlin.test.assertNull

/** When and what is the engine's to choose. */
class DueTest {
    private val good = PhoneConditions(
        network = NetworkState.UNMETERED,
        charging = true,
        lowPowerMode = false,
        thermal = ThermalState.NOMINAL,
        freeBytes = 1uL shl 40,
        timeZone = "Europe/Berlin",
    )

    @Test
    fun `what is due is done, and what is not is explained`() = runBlocking<Unit> {
        Scene().create().use { scene ->
            scene.fill(1)
            scene.open().use { engine ->
                val policy = defaultPolicy().run { copy(keep = keep.copy(daily = "7")) }
                engine.setPolicy(policy)
                assertEquals(policy, engine.policy())
                assertFailsWith<EngineException.InvalidInput> { engine.setPolicy(policy.copy(freshMinutes = 0u)) }

                val offline = engine.runDue(scene.request, good.copy(network = NetworkState.OFFLINE))
                assertNull(offline.ran)
                assertEquals("offline", offline.waits.first().reason.code)
                val work = androidWork(System.currentTimeMillis(), offline.wakes)
                assertEquals("lifeboat-soon", work.first().uniqueName)

                val done = engine.runDue(scene.request, good)
                assertEquals(DueTask.FIRST_BACKUP, done.ran)
                assertIs<BackupOutcome.Published>(done.backup)
                assertNull(done.error)
                assertEquals(BackupFreshness.FRESH, engine.status().freshness)
                assertEquals(1, engine.explain().windows.size)
                val before = engine.explain(at = engine.explain().windows.single().atMs - 1)
                assertEquals(0, before.windows.size)
                assertEquals(0, engine.confirmNewborn())
            }
        }
    }

    @Test
    fun `a window that is taken back goes on, and the journal says why it ended`() = runBlocking<Unit> {
        Scene().create().use { scene ->
            scene.fill(64)
            scene.open().use { engine ->
                val window = launch(start = CoroutineStart.LAZY) {
                    engine.runDue(scene.request, good, stopCode = { androidStopCode(10) })
                }
                engine.events().onStart { window.start() }.first { it is EngineEvent.PackConfirmed }
                window.cancelAndJoin()
                assertEquals("stop-quota", engine.status().lastEnd?.code)
                val resumed = engine.runDue(scene.request, good)
                assertEquals(DueTask.RESUME, resumed.ran)
                assertIs<BackupOutcome.Published>(resumed.backup)
            }
        }
    }
}
