package lifeboat

import kotlinx.coroutines.runBlocking
import org.junit.jupiter.api.Test
import java.util.concurrent.CopyOnWriteArrayList
import kotlin.test.assertContains
import kotlin.test.assertContentEquals
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertIs
import kotlin.test.assertTrue

/** Whom the engine takes for the vault's server, where the app decides it: always on Android. */
class TrustTest {
    private class Judge(private val verdict: () -> Boolean) : ServerTrust {
        val asked = CopyOnWriteArrayList<Pair<List<ByteArray>, String>>()

        override fun check(chain: List<ByteArray>, host: String): Boolean {
            asked += Pair(chain, host)
            return verdict()
        }
    }

    private suspend fun Server.create(scene: Scene, trust: ServerTrust) {
        Engine.create(vault, Scene.PASSWORD, "test", scene.keys, credentials = Known(credentials), trust = trust)
    }

    private class Known(private val given: VaultCredentials) : CredentialProvider {
        override fun credentials(why: CredentialsWanted): VaultCredentials = given

        override fun version(): ULong = 1u
    }

    @Test
    fun `a server that the app's own trust manager knows is the vault`() = runBlocking<Unit> {
        val identity = Identity()
        Server.rest(identity).use { server ->
            Scene().use { scene ->
                scene.fill(1)
                val trust = ManagedTrust(identity.manager())
                server.create(scene, trust)
                Engine.open(scene.config.copy(vault = server.vault), scene.keys, Known(server.credentials), trust).use { engine ->
                    assertIs<BackupOutcome.Published>(engine.backup(scene.request))
                    assertEquals(1, engine.snapshots().size)
                }
            }
        }
    }

    @Test
    fun `without a word of the app's, the system decides`() = runBlocking<Unit> {
        Server.rest(Identity()).use { server ->
            Scene().use { scene ->
                val refused = assertFailsWith<EngineException.WrongServer> {
                    Engine.create(server.vault, Scene.PASSWORD, "test", credentials = Known(server.credentials))
                }
                assertContains(refused.detail, "the app does not trust its certificate")
                // And nothing else would have been wrong.
                server.create(scene, Judge { true })
            }
        }
    }

    @Test
    fun `what the app throws is a no, and its reason is told`() = runBlocking<Unit> {
        val identity = Identity()
        Server.rest(identity).use { server ->
            Scene().use { scene ->
                for (thrown in listOf(HostException.Failed("pinned to another"), IllegalStateException("pinned to another"))) {
                    val judge = Judge { throw thrown }
                    val refused = assertFailsWith<EngineException.WrongServer> { server.create(scene, judge) }
                    assertContains(refused.detail, "pinned to another")
                    assertEquals(Retry.LATER, refused.retry)
                    val (chain, host) = judge.asked.first()
                    assertEquals("127.0.0.1", host)
                    assertContentEquals(identity.certificate.encoded, chain.single())
                }
            }
        }
    }

    @Test
    fun `authorities that cannot be read are a refusal with their reason, and nothing else`() = runBlocking<Unit> {
        Server.rest(Identity()).use { server ->
            Scene().use { scene ->
                val trust = ManagedTrust { error("the authorities are gone") }
                val refused = assertFailsWith<EngineException.WrongServer> { server.create(scene, trust) }
                assertContains(refused.detail, "the authorities are gone")
            }
        }
    }

    @Test
    fun `a no is a no, and so is what is thrown and no exception`() = runBlocking<Unit> {
        Server.rest(Identity()).use { server ->
            Scene().use { scene ->
                val overflow = Judge { throw StackOverflowError("for a test") }
                for (judge in listOf(Judge { false }, Judge { TODO("not yet") }, overflow)) {
                    val refused = assertFailsWith<EngineException.WrongServer> { server.create(scene, judge) }
                    assertContains(refused.detail, "the app does not trust its certificate")
                    assertTrue(judge.asked.isNotEmpty())
                }
            }
        }
    }

    @Test
    fun `a certificate for another name is refused, whatever the app says`() = runBlocking<Unit> {
        Server.rest(Identity("dns:other.example")).use { server ->
            Scene().use { scene ->
                val judge = Judge { true }
                val refused = assertFailsWith<EngineException.WrongServer> { server.create(scene, judge) }
                assertContains(refused.detail, "another name")
                assertEquals(0, judge.asked.size)
            }
        }
    }
}
