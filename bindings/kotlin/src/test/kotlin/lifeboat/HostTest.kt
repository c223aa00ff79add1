package lifeboat

import kotlinx.coroutines.CompletableDeferred
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.async
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import org.junit.jupiter.api.Test
import java.util.concurrent.CountDownLatch
import java.util.concurrent.atomic.AtomicInteger
import java.util.concurrent.atomic.AtomicLong
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertIs
import kotlin.test.assertTrue

/** The host's own code throws, blocks and calls back, and harms nobody but itself. */
class HostTest {
    private class Keys(val load: () -> ByteArray?) : KeyStore {
        override fun loadKey() = load()

        override fun saveKey(key: ByteArray) = error("the disk is gone")
    }

    @Test
    fun `a key store that throws is an error with an action`() = runBlocking<Unit> {
        Scene().create().use { scene ->
            val locked = Keys { throw HostException.NotNow("locked") }
            val error = assertFailsWith<EngineException.KeyUnavailable> { Engine.open(scene.config, locked) }
            assertEquals(Retry.LATER, error.retry)
            val broken = Keys { error("no such alias") }
            val missing = assertFailsWith<EngineException.KeyMissing> { Engine.open(scene.config, broken) }
            assertTrue("no such alias" in missing.detail, missing.detail)
            assertFailsWith<EngineException.KeyMissing> { Engine.open(scene.config, Keys { ByteArray(3) }) }
            // It could not keep the key: said, and the folder is free again.
            assertFailsWith<EngineException.KeyMissing> { Engine.open(scene.config, Scene.PASSWORD, broken) }
            scene.open().close()
        }
    }

    @Test
    fun `a key that a key store did not save for an error of Java's is not a saved one`() = runBlocking<Unit> {
        Scene().use { scene ->
            val store = object : KeyStore {
                override fun loadKey(): ByteArray? = null

                override fun saveKey(key: ByteArray): Unit = TODO("not yet")
            }
            assertFailsWith<EngineException.KeyMissing> { Engine.create(scene.vault.toString(), Scene.PASSWORD, "test", store) }
        }
    }

    @Test
    fun `a key store may block, and be waited for without a thread of the caller's`() = runBlocking<Unit> {
        Scene().create().use { scene ->
            val gate = CountDownLatch(1)
            val slow = Keys {
                gate.await()
                scene.keys.loadKey()
            }
            // All on one thread: were it blocked, nobody would open the gate.
            val opening = async { Engine.open(scene.config, slow) }
            launch { gate.countDown() }
            opening.await().close()
        }
    }

    private open class Counting : Observer {
        val calls = AtomicInteger()
        val ended = CompletableDeferred<Unit>()

        override fun onProgress(progress: RunProgress) {
            calls.incrementAndGet()
        }

        override fun onEvent(event: EngineEvent) {
            calls.incrementAndGet()
        }

        override fun onEnd() {
            ended.complete(Unit)
        }
    }

    private suspend fun Scene.handle() = EngineHandle.openWithKeyStore(config, keys)

    @Test
    fun `an observer that throws is told the next thing, and the end`() = runBlocking<Unit> {
        Scene().create().use { scene ->
            scene.fill(16)
            val handle = scene.handle()
            val throwing = object : Counting() {
                override fun onEvent(event: EngineEvent) {
                    if (calls.getAndIncrement() == 0) throw StackOverflowError("not even an exception") else error("thrown on purpose")
                }

                override fun onProgress(progress: RunProgress) {
                    super.onProgress(progress)
                    throw HostException.Failed("on purpose")
                }
            }
            val watching = handle.observe(throwing, 50u)
            assertIs<BackupOutcome.Published>(handle.backup(scene.request, null, null))
            handle.stop(10_000u)
            throwing.ended.await()
            assertTrue(throwing.calls.get() > 2, "${throwing.calls}")
            watching.close()
        }
    }

    @Test
    fun `an observer calls the engine, closes it, and blocks`() = runBlocking<Unit> {
        Scene().create().use { scene ->
            scene.fill(8)
            val handle = scene.handle()
            val asked = CompletableDeferred<List<SnapshotInfo>>()
            val reentrant = object : Counting() {
                override fun onEvent(event: EngineEvent) {
                    if (event !is EngineEvent.SnapshotPublished || asked.isCompleted) return
                    asked.complete(runBlocking { handle.snapshots() })
                    handle.stopBlocking(10_000u)
                }
            }
            val watching = handle.observe(reentrant, 50u)
            runCatching { handle.backup(scene.request, null, null) }
            assertEquals(1, asked.await().size)
            reentrant.ended.await()
            watching.close()
            assertFailsWith<EngineException.NotRunning> { handle.snapshots() }
            scene.openWhenFree().close()
        }
    }

    @Test
    fun `a slow observer slows nobody, and learns what it missed`() = runBlocking<Unit> {
        Scene().create().use { scene ->
            // One event for each source that is not there: more than wait for anybody.
            scene.fill(1)
            val lost = List(1000) { BackupSource(scene.dir.resolve("gone/$it").toString(), "gone-$it") }
            val gate = CountDownLatch(1)
            val missed = AtomicLong()
            val mostMissed = CompletableDeferred<Unit>()
            val slow = object : Counting() {
                override fun onEvent(event: EngineEvent) {
                    gate.await()
                    // Told in parts: the first call itself may be one, for what came before its thread had its turn.
                    val more = if (event is EngineEvent.Missed) event.count.toLong() else 0
                    if (missed.addAndGet(more) > 500) mostMissed.complete(Unit)
                }
            }
            val handle = scene.handle()
            val watching = handle.observe(slow, 50u)
            val outcome = handle.backup(scene.request.copy(sources = scene.request.sources + lost), null, null)
            assertEquals(1000uL, assertIs<BackupOutcome.Published>(outcome).summary.unreadableTotal)
            gate.countDown()
            mostMissed.await()
            watching.close()
            handle.stop(10_000u)
        }
    }

    @Test
    fun `progress is coalesced for a slow collector`() = runBlocking<Unit> {
        Scene().create().use { scene ->
            scene.fill(32)
            scene.open().use { engine ->
                val first = CompletableDeferred<RunProgress>()
                val seen = async(Dispatchers.Default) {
                    val all = mutableListOf<RunProgress>()
                    engine.progress().collect {
                        all += it
                        first.complete(it)
                    }
                    all
                }
                // Until the collector has come up.
                do engine.backup(scene.request) while (!first.isCompleted)
                val last = engine.progress
                engine.stop()
                assertEquals(last, seen.await().last(), "the last word is the last state")
                assertEquals(32u, last.files)
            }
        }
    }
}
