package lifeboat

import kotlinx.coroutines.runBlocking
import org.junit.jupiter.api.Test
import java.nio.file.Path
import kotlin.io.path.Path
import kotlin.test.assertEquals
import kotlin.test.assertIs
import kotlin.test.assertTrue
import kotlin.time.Duration.Companion.seconds

/** Phones end processes without a word. */
class KillTest {
    @Test
    fun `a virtual machine that is killed in the middle of a window is continued by another`() = runBlocking<Unit> {
        Scene().create().use { scene ->
            scene.fill(FILES)
            var kills = 0
            while (kills < KILLS_MAX) {
                val child = virtualMachine(scene.dir)
                // It says when the vault has confirmed a pack, and is killed there and then.
                if (child.inputStream.bufferedReader().readLine() != "confirmed") break
                child.destroyForcibly().waitFor()
                if (child.exitValue() != 128 + SIGKILL) break
                kills++
            }
            assertTrue(kills > 0, "it was always faster than its killer")
            println("killed $kills times, with ${scene.vaultBytes()} bytes in the vault")
            val last = virtualMachine(scene.dir)
            assertEquals("published", last.inputStream.bufferedReader().readLines().last())
            assertEquals(0, last.waitFor())
            scene.open().use { engine ->
                assertTrue(engine.verify(readData = true).isClean)
                assertTrue(engine.snapshots().isNotEmpty())
                engine.restore(RestoreRequest("latest", scene.back.toString()))
                scene.assertSame(scene.back.resolve("app"))
            }
            // Each kill costs at most the packs that were open, one of data and one of trees.
            assertTrue(scene.vaultBytes() < (FILES + kills * 8 + 2L) shl 20, "${scene.vaultBytes()}")
        }
    }

    private fun virtualMachine(dir: Path): Process {
        val java = Path(System.getProperty("java.home"), "bin", "java").toString()
        val command = listOf(java, "-cp", System.getProperty("java.class.path"), "lifeboat.KilledMain", dir.toString())
        return ProcessBuilder(command).redirectError(ProcessBuilder.Redirect.INHERIT).start()
    }

    companion object {
        const val FILES = 64
        const val KILLS_MAX = 3
        const val SIGKILL = 9
    }
}

/** What is killed: backs a scene up in one window, and says each time that the vault has confirmed something. */
internal object KilledMain {
    @JvmStatic
    fun main(arguments: Array<String>) = runBlocking {
        val scene = Scene(Path(arguments.single()))
        scene.open().use { engine ->
            val watching = engine.handle.observe(
                object : Watching() {
                    override fun onEvent(event: EngineEvent) {
                        if (event is EngineEvent.PackConfirmed) println("confirmed")
                    }
                },
                50u,
            )
            assertIs<WindowOutcome.Done>(engine.runWindow(scene.request, 60.seconds))
            watching.close()
            println("published")
        }
    }
}
