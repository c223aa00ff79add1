package lifeboat

import kotlinx.coroutines.CancellationException
import kotlinx.coroutines.CompletableDeferred
import kotlinx.coroutines.CoroutineStart
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.async
import kotlinx.coroutines.cancel
import kotlinx.coroutines.cancelAndJoin
import kotlinx.coroutines.currentCoroutineContext
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withTimeoutOrNull
import org.junit.jupiter.api.Test
import kotlin.test.assertFailsWith
import kotlin.test.assertIs
import kotlin.test.assertNull
import kotlin.test.assertTrue
import kotlin.time.Duration.Companion.milliseconds
import kotlin.time.measureTime

class CancellationTest {
    @Test
    fun `a cancelled coroutine has a quiet engine within 250 ms, and the next call goes on`() = runBlocking<Unit> {
        Scene().create().use { scene ->
            scene.fill(64)
            scene.open().use { engine ->
                val waits = List(3) {
                    val job = launch(Dispatchers.Default, CoroutineStart.LAZY) {
                        engine.backup(scene.request)
                    }
                    engine.untilConfirmed { job.start() }
                    val quiet = measureTime { job.cancelAndJoin() }
                    assertTrue(job.isCancelled)
                    // Nothing runs: another job is admitted at once.
                    engine.forget(ForgetRequest(keepLast = 1u))
                    quiet
                }
                println("from cancel to quiet: $waits")
                assertTrue(waits.min() < 250.milliseconds, "$waits")
                val before = scene.vaultBytes()
                assertIs<BackupOutcome.Published>(engine.backup(scene.request))
                assertTrue(before > 4 shl 20, "what was confirmed is kept: $before")
                assertTrue(scene.vaultBytes() < 90L shl 20, "nothing was sent twice: ${scene.vaultBytes()}")
            }
        }
    }

    @Test
    fun `a timeout ends a job, and a scope that is cancelled already begins none`() = runBlocking<Unit> {
        Scene().create().use { scene ->
            scene.fill(16)
            scene.open().use { engine ->
                assertNull(withTimeoutOrNull(1.milliseconds) { engine.backup(scene.request) })
                val cancelled = async(Dispatchers.Default) {
                    currentCoroutineContext().cancel()
                    engine.backup(scene.request)
                }
                assertFailsWith<CancellationException> { cancelled.await() }
                assertTrue(engine.snapshots().isEmpty())
            }
        }
    }

    @Test
    fun `a restore is stopped and goes on`() = runBlocking<Unit> {
        Scene().create().use { scene ->
            scene.fill(48)
            scene.open().use { engine ->
                engine.backup(scene.request)
                val request = RestoreRequest("latest", scene.back.toString())
                val staging = CompletableDeferred<Unit>()
                val watching = engine.handle.observe(
                    object : Watching() {
                        override fun onProgress(progress: RunProgress) {
                            if (progress.phase == RunPhase.STAGING && progress.bytes > 0u) staging.complete(Unit)
                        }
                    },
                    50u,
                )
                val restore = launch(Dispatchers.Default) { engine.restore(request) }
                staging.await()
                println("from cancel of a restore to quiet: ${measureTime { restore.cancelAndJoin() }}")
                watching.close()
                assertTrue(!scene.back.resolve("app").toFile().exists(), "nothing is in place before everything is staged")
                engine.restore(request)
                scene.assertSame(scene.back.resolve("app"))
            }
        }
    }
}
