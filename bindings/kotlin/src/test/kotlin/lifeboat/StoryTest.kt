package lifeboat

import kotlinx.coroutines.flow.toList
import kotlinx.coroutines.runBlocking
import org.junit.jupiter.api.Test
import kotlin.io.path.writeText
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertIs
import kotlin.test.assertTrue
import kotlin.time.Duration

/** What an app does with a backup, from the first day to the day of need. */
class StoryTest {
    @Test
    fun `an app backs up, changes, loses everything and has it back`() = runBlocking<Unit> {
        Scene().create().use { scene ->
            val database = scene.app.resolve("notes.db")
            val backup = scene.request.copy(skipIfUnchanged = true)
            scene.fill(6)
            database.sql("CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT)", "INSERT INTO notes (text) VALUES ('milk')")

            val first = scene.open().use { engine ->
                val outcome = assertIs<BackupOutcome.Published>(engine.backup(backup))
                assertEquals(7uL, outcome.summary.filesNew)
                assertIs<BackupOutcome.Unchanged>(engine.backup(backup))
                outcome.snapshot
            }

            database.sql("INSERT INTO notes (text) VALUES ('bread')")
            scene.app.resolve("settings.json").writeText("{}")
            scene.open().use { engine ->
                val summary = assertIs<BackupOutcome.Published>(engine.backup(backup)).summary
                assertEquals(1uL to 1uL, summary.filesNew to summary.filesChanged)
                assertTrue(summary.bytesAddedStored < 1_000_000u, "an increment is small: $summary")
                val snapshots = engine.snapshots()
                assertEquals(2, snapshots.size)
                assertEquals(first, snapshots.first().id)
                assertEquals("phone", snapshots.last().label)
                assertTrue(snapshots.last().age() >= Duration.ZERO)
                assertTrue(engine.verify(readData = true).isClean)
            }

            // The phone is lost: another one has the password, and nothing else.
            val other = EngineConfig(scene.vault.toString(), scene.dir.resolve("other").toString())
            val keys = FileKeyStore(scene.dir.resolve("other-key"))
            assertFailsWith<EngineException.KeyMissing> { Engine.open(other, keys) }
            assertFailsWith<EngineException.WrongPassword> { Engine.open(other, "battery staple", keys) }
            Engine.open(other, Scene.PASSWORD, keys).use { engine ->
                val paths = engine.entries(below = "/app/photos").toList().map { it.path }
                assertEquals(7, paths.size)
                engine.restore(RestoreRequest("latest", scene.back.toString()))
                scene.assertSame(scene.back.resolve("app"))
                assertEquals(listOf("milk", "bread"), scene.back.resolve("app/notes.db").notes())
                val old = scene.dir.resolve("old")
                engine.restore(RestoreRequest(first, old.toString(), include = listOf("/app/notes.db")))
                assertEquals(listOf("milk"), old.resolve("app/notes.db").notes())
            }
            Engine.open(other, keys).close()
        }
    }

    @Test
    fun `keys are added and removed, and snapshots are let go of`() = runBlocking<Unit> {
        Scene().create().use { scene ->
            scene.fill(1)
            scene.open().use { engine ->
                repeat(3) { engine.backup(scene.request) }
                assertFailsWith<EngineException.InvalidInput> { engine.forget(ForgetRequest()) }
                val planned = engine.forget(ForgetRequest(keepLast = 1u, dryRun = true))
                val done = engine.forget(ForgetRequest(keepLast = 1u))
                assertEquals(planned, done)
                assertEquals(2, done.removed.size)
                assertEquals(1, engine.snapshots().size)

                val id = engine.addKey("recovery", "paper")
                assertEquals(2, engine.keys().size)
                assertEquals(id, engine.removeKey(id.take(12)))
                assertFailsWith<EngineException.NotFound> { engine.removeKey(id) }
                assertEquals(0, engine.locks().size)
                assertEquals(0, engine.removeLocks())
                assertEquals(64, engine.repositoryId.length)
            }
        }
    }

    @Test
    fun `what is asked for wrongly is said to be so`() = runBlocking<Unit> {
        Scene().create().use { scene ->
            assertFailsWith<EngineException.RepositoryExists> { scene.create() }
            assertFailsWith<EngineException.InvalidInput> { Engine.create("", "x", "y") }
            val nowhere = scene.config.copy(vault = scene.dir.resolve("nowhere").toString())
            assertFailsWith<EngineException.NoRepository> { Engine.open(nowhere, scene.keys) }
            scene.open().use { engine ->
                assertFailsWith<EngineException.NotFound> { engine.entries("abcdef").toList() }
                val restore = RestoreRequest("latest", scene.back.toString())
                val error = assertFailsWith<EngineException.NotFound> { engine.restore(restore) }
                assertEquals(Retry.NEVER, error.retry)
            }
        }
    }
}
