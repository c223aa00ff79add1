package lifeboat

import kotlinx.coroutines.CoroutineStart
import kotlinx.coroutines.cancelAndJoin
import kotlinx.coroutines.flow.first
import kotlinx.coroutines.flow.onStart
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import org.junit.jupiter.api.Test
import java.util.concurrent.atomic.AtomicReference
import kotlin.io.path.deleteExisting
import kotlin.io.path.readText
import kotlin.io.path.writeText
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertFalse
import kotlin.test.assertIs
import kotlin.test.assertNull
import kotlin.test.assertTrue
import kotlin.time.Duration
import kotlin.time.Duration.Companion.milliseconds
import kotlin.time.Duration.Companion.seconds

/** The whole story in windows, with a vault on a real server: backed up, stopped, changed, lost, restored at the next start, confirmed. */
class NetworkStoryTest {
    /** Knows a password, which the app may change. */
    private class Signed(first: VaultCredentials) : CredentialProvider {
        val given = AtomicReference(first)

        override fun credentials(why: CredentialsWanted): VaultCredentials = given.get()

        override fun version(): ULong = given.get().hashCode().toULong()
    }

    @Test
    fun `the whole story with a REST server`() = Server.rest().use(::story)

    @Test
    fun `the whole story with a bucket`() = Server.s3().use(::story)

    private fun story(server: Server) = runBlocking<Unit> {
        Scene().use { scene ->
            val signed = Signed(server.credentials)
            val config = scene.config.copy(vault = server.vault)
            val (database, note) = scene.app.resolve("notes.db") to scene.app.resolve("note.txt")
            scene.fill(24)
            note.writeText("as it was")
            database.sql("CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT)", "PRAGMA user_version = 3")
            database.sql("INSERT INTO notes (text) VALUES ('milk')")
            assertEquals(64, Engine.create(server.vault, Scene.PASSWORD, "test", scene.keys, credentials = signed).length)

            // A window that the system takes back, once something is in the vault.
            Engine.open(config, scene.keys, signed).use { engine ->
                val events = engine.events()
                val window = launch(start = CoroutineStart.LAZY) { engine.runWindow(scene.request, 60.seconds) }
                events.onStart { window.start() }.first { it is EngineEvent.PackConfirmed }
                window.cancelAndJoin()
                assertEquals(0, engine.snapshots().size)
            }
            // Others, each with an engine of its own, as processes come and go.
            var published: BackupOutcome.Published? = null
            var deadline = 1.seconds
            while (published == null) {
                Engine.open(config, scene.keys, signed).use { engine ->
                    when (val outcome = engine.runWindow(scene.request, deadline)) {
                        is WindowOutcome.Done -> published = assertIs(outcome.backup)
                        is WindowOutcome.MoreToDo -> deadline = outcome.hint.next(deadline)
                        is WindowOutcome.Waiting -> deadline = outcome.hint.next(deadline)
                    }
                }
            }

            database.sql("INSERT INTO notes (text) VALUES ('bread')")
            Engine.open(config, scene.keys, signed).use { engine ->
                val increment = assertIs<WindowOutcome.Done>(engine.runWindow(scene.request, 60.seconds)).backup
                val summary = assertIs<BackupOutcome.Published>(increment).summary
                assertTrue(summary.bytesAddedStored < 100_000u, "$summary")
                assertEquals(2, engine.snapshots().size)
                assertTrue(engine.verify(readData = true).isClean)
            }

            // Lost: files are gone, and the database is not what it was. The app has it open, so the restore is for the next start.
            note.deleteExisting()
            database.sql("DELETE FROM notes")
            Engine.open(config, scene.keys, signed).use { engine ->
                val staged = engine.restore(RestoreRequest("latest", scene.dir.toString(), stageOnly = true))
                assertFalse(staged.isApplied)
                assertEquals(3, staged.databases.single().userVersion)
            }
            val target = scene.dir.toString()
            assertEquals(PendingStage.STAGED, pendingRestore(target)?.stage)
            val old = AcceptedSchema("app/notes.db", userVersionMax = 2)
            assertFailsWith<EngineException.Unsupported> { applyPendingRestore(target, listOf(old)) }
            assertIs<ApplyResult.Applied>(applyPendingRestore(target, listOf(old.copy(userVersionMax = 3))))
            assertEquals(listOf("milk", "bread"), database.notes())
            assertEquals("as it was", note.readText())
            assertTrue(confirmRestore(target))
            assertNull(pendingRestore(target))
            assertIs<ApplyResult.NothingPending>(applyPendingRestore(target, listOf()))
        }
    }

    @Test
    fun `a refused password is waited for, and a new one goes on at once`() = runBlocking<Unit> {
        Server.rest().use { server ->
            Scene().use { scene ->
                val wrong = server.credentials.copy(secret = "guessed")
                val signed = Signed(wrong)
                suspend fun create() = Engine.create(server.vault, Scene.PASSWORD, "test", scene.keys, credentials = signed)
                val refused = assertFailsWith<EngineException.AccessDenied> { create() }
                assertEquals(Retry.AFTER_USER_ACTS, refused.retry)
                signed.given.set(server.credentials)
                create()
                scene.fill(1)
                Engine.open(scene.config.copy(vault = server.vault), scene.keys, signed).use { engine ->
                    val metered = engine.runWindow(scene.request, 60.seconds, NetworkClass.METERED)
                    val waiting = assertIs<WindowOutcome.Waiting>(metered)
                    assertEquals(NetworkClass.METERED, assertIs<WaitingReason.Network>(waiting.reason).network)
                    val allowed = Allowances(metered = 10_000_000uL)
                    val done = engine.runWindow(scene.request, 60.seconds, NetworkClass.METERED, allowed)
                    assertIs<WindowOutcome.Done>(done)
                }
            }
        }
    }

    /** As long as the engine says that a window must be to achieve something. */
    private fun WakeHint.next(deadline: Duration): Duration =
        maxOf(deadline, windowMinMs?.toLong()?.milliseconds ?: Duration.ZERO)
}
