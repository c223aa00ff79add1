package lifeboat

import kotlinx.coroutines.channels.ProducerScope
import kotlinx.coroutines.channels.awaitClose
import kotlinx.coroutines.channels.trySendBlocking
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.buffer
import kotlinx.coroutines.flow.callbackFlow
import kotlinx.coroutines.flow.conflate
import kotlin.time.Duration
import kotlin.time.Duration.Companion.milliseconds

/** Events that wait for a slow collector before its thread in the engine waits, too; beyond that they are counted as missed. */
private const val EVENT_BUFFER = 64
private val PROGRESS_NEVER = 60_000.milliseconds

internal fun EngineHandle.eventFlow(): Flow<EngineEvent> = callbackFlow {
    tell(this@eventFlow, PROGRESS_NEVER, object : Telling(this) {
        override fun onEvent(event: EngineEvent) {
            // Blocks the thread that the engine keeps for this observer, and nothing else. Closed when nobody collects any more.
            trySendBlocking(event)
        }
    })
}.buffer(EVENT_BUFFER)

internal fun EngineHandle.progressFlow(interval: Duration): Flow<RunProgress> = callbackFlow {
    tell(this@progressFlow, interval, object : Telling(this) {
        override fun onProgress(progress: RunProgress) {
            trySend(progress)
        }
    })
}.conflate()

private suspend fun ProducerScope<*>.tell(handle: EngineHandle, interval: Duration, observer: Observer) {
    val subscription = handle.observe(observer, interval.toMs())
    awaitClose {
        subscription.cancel()
        subscription.close()
    }
}

/** An observer that ends its flow when nothing follows. */
private abstract class Telling(private val flow: ProducerScope<*>) : Observer {
    override fun onProgress(progress: RunProgress) = Unit

    override fun onEvent(event: EngineEvent) = Unit

    override fun onEnd() {
        flow.close()
    }
}

internal fun Duration.toMs(): ULong = inWholeMilliseconds.coerceAtLeast(0).toULong()
