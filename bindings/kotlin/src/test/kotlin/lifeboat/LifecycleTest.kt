package lifeboat

import kotlinx.coroutines.CompletableDeferred
import kotlinx.coroutines.CoroutineStart
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.async
import kotlinx.coroutines.awaitAll
import kotlinx.coroutines.completeWith
import kotlinx.coroutines.delay
import kotlinx.coroutines.flow.first
import kotlinx.coroutines.flow.toList
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withTimeout
import kotlinx.coroutines.yield
import org.junit.jupiter.api.Test
import java.io.File
import kotlin.coroutines.Continuation
import kotlin.coroutines.EmptyCoroutineContext
import kotlin.coroutines.startCoroutine
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertIs
import kotlin.test.assertTrue
import kotlin.time.Duration.Companion.milliseconds
import kotlin.time.Duration.Companion.minutes
import kotlin.time.measureTime

class LifecycleTest {
    private fun threads() = File("/proc/self/task").list()?.size ?: 0

    private fun files() = File("/proc/self/fd").list()?.size ?: 0

    @Test
    fun `a hundred engines come and go and leave nothing behind`() = runBlocking<Unit> {
        Scene().create().use { scene ->
            // The first ones start what stays: threads of the runtime, classes.
            repeat(5) { scene.open().use { it.snapshots() } }
            val before = threads() to files()
            repeat(100) { scene.open().use { it.snapshots() } }
            val (threads, files) = threads() to files()
            println("threads and files before $before, after ($threads, $files)")
            // The virtual machine has threads that come and go; a leak of one a cycle would be a hundred.
            assertTrue(threads <= before.first + 10 && files <= before.second + 10)
        }
    }

    @Test
    fun `a coroutine without a dispatcher closes its engine where an answer came`() = runBlocking<Unit> {
        Scene().create().use { scene ->
            scene.fill(1)
            val ended = listOf<suspend (Engine) -> Unit>({ it.snapshots() }, { it.entries().toList() }, { it.backup(scene.request) }, { it.resume() })
            scene.open().use { it.backup(scene.request) }
            for (last in ended) {
                val done = CompletableDeferred<Unit>()
                suspend {
                    val engine = scene.open()
                    last(engine)
                    engine.close()
                }.startCoroutine(Continuation(EmptyCoroutineContext, done::completeWith))
                withTimeout(1.minutes) { done.await() }
            }
        }
    }

    @Test
    fun `closing while busy ends the job, and everybody is told`() = runBlocking<Unit> {
        Scene().create().use { scene ->
            scene.fill(32)
            val engine = scene.open()
            val ended = async(Dispatchers.Default, CoroutineStart.LAZY) { runCatching { engine.backup(scene.request) } }
            engine.untilConfirmed { ended.start() }
            println("from close to quiet: ${measureTime { engine.close() }}")
            val error = ended.await().exceptionOrNull()
            assertTrue(error is EngineException.Cancelled || error is EngineException.NotRunning, "$error")
            engine.close()
            assertFailsWith<EngineException.NotRunning> { engine.snapshots() }
            assertFailsWith<EngineException.NotRunning> { engine.events().first() }
            scene.open().use { assertIs<BackupOutcome.Published>(it.backup(scene.request)) }
        }
    }

    @Test
    fun `flows end when the engine does`() = runBlocking<Unit> {
        Scene().create().use { scene ->
            val engine = scene.open()
            val collecting = launch { engine.events().collect {} }
            val watching = launch { engine.progress().collect {} }
            // One thread, so that they have begun when this goes on.
            repeat(3) { yield() }
            scene.fill(1)
            engine.backup(scene.request)
            engine.stop()
            // Complete, not cancelled.
            collecting.join()
            watching.join()
        }
    }

    @Test
    fun `a second engine on the same state folder is refused`() = runBlocking<Unit> {
        Scene().create().use { scene ->
            scene.open().use {
                val second = List(4) { async(Dispatchers.Default) { runCatching { scene.open() } } }.awaitAll()
                assertTrue(second.all { it.exceptionOrNull() is EngineException.Busy }, "$second")
            }
            scene.open().close()
        }
    }

    @Test
    fun `a suspended engine stops its job, refuses calls, and resumes`() = runBlocking<Unit> {
        Scene().create().use { scene ->
            scene.fill(32)
            scene.open().use { engine ->
                val ended = async(Dispatchers.Default, CoroutineStart.LAZY) { runCatching { engine.backup(scene.request) } }
                engine.untilConfirmed { ended.start() }
                val quiet = measureTime { engine.suspend() }
                println("from suspend to quiet: $quiet")
                assertTrue(ended.await().isFailure)
                val open = File("/proc/self/fd").listFiles().orEmpty().mapNotNull { runCatching { it.canonicalPath }.getOrNull() }
                val lockable = open.filter { it.startsWith(scene.config.stateDir) && "catalog" in it }
                assertEquals(emptyList(), lockable, "files that could be locked are open")
                assertFailsWith<EngineException.NotRunning> { engine.backup(scene.request) }
                engine.resume()
                engine.resume()
                assertIs<BackupOutcome.Published>(engine.backup(scene.request))
            }
        }
    }

    @Test
    fun `engines that are forgotten in a storm of collections end, and their folder is free again`() = runBlocking<Unit> {
        Scene().create().use { scene ->
            scene.fill(8)
            repeat(30) {
                // Nobody keeps it, and nobody closes it.
                scene.openWhenCollected().let { engine -> launch(Dispatchers.Default) { runCatching { engine.backup(scene.request) } }.join() }
                System.gc()
            }
            scene.openWhenCollected().use { engine ->
                val storm = launch(Dispatchers.Default) {
                    repeat(20) {
                        System.gc()
                        engine.snapshots()
                    }
                }
                engine.backup(scene.request)
                storm.join()
            }
        }
    }

    private suspend fun Scene.openWhenCollected(): Engine {
        while (true) {
            try {
                return open()
            } catch (_: EngineException.Busy) {
                System.gc()
                delay(5.milliseconds)
            }
        }
    }
}
