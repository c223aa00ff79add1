package lifeboat

import kotlinx.coroutines.CoroutineStart
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.ExperimentalCoroutinesApi
import kotlinx.coroutines.NonCancellable
import kotlinx.coroutines.awaitCancellation
import kotlinx.coroutines.coroutineScope
import kotlinx.coroutines.currentCoroutineContext
import kotlinx.coroutines.ensureActive
import kotlinx.coroutines.launch
import kotlinx.coroutines.withContext

/**
 * A call that is asked to stop when its coroutine is cancelled, and whose end is then waited for: structured concurrency is worth little if
 * the engine still works when the scope is left. [why] is asked for the code that the journal keeps of the reason.
 */
@OptIn(ExperimentalCoroutinesApi::class)
internal suspend fun <T> stoppable(why: () -> String? = { null }, call: suspend (StopToken) -> T): T = StopToken().use { stop ->
    try {
        coroutineScope {
            // Unconfined: the stop is asked for by the thread that cancels, even if the caller's dispatcher has no thread to spare. Undispatched: it
            // is there even if the scope was cancelled before.
            val stopper = launch(Dispatchers.Unconfined, CoroutineStart.UNDISPATCHED) {
                try {
                    awaitCancellation()
                } finally {
                    why()?.let(stop::stopBecause) ?: stop.stop()
                }
            }
            val result = withContext(NonCancellable) { answered { call(stop) } }
            stopper.cancel()
            result
        }
    } catch (stopped: EngineException.Cancelled) {
        // Cancelled from here: said as coroutines say it. Stopped by `suspend` or `stop`: the engine's error.
        currentCoroutineContext().ensureActive()
        throw stopped
    }
}
