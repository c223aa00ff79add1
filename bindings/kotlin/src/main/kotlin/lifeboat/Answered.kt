package lifeboat

import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.currentCoroutineContext
import kotlinx.coroutines.withContext
import kotlin.coroutines.ContinuationInterceptor

/**
 * An answer comes on the one thread where the engine runs its calls. A coroutine without a dispatcher, as in `suspend fun main()`, would go on there: a
 * [Engine.close] would wait for the thread that it is on, and whatever else blocks would hold up all calls. Such a coroutine goes on with a thread of Kotlin's.
 */
internal suspend fun <T> answered(call: suspend () -> T): T {
    val dispatcher = currentCoroutineContext()[ContinuationInterceptor]
    return if (dispatcher == null || dispatcher == Dispatchers.Unconfined) withContext(Dispatchers.Default) { call() } else call()
}
