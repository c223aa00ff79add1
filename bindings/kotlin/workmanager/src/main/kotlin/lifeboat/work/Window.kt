package lifeboat.work

import lifeboat.AndroidWork
import lifeboat.DueOutcome
import lifeboat.PhoneConditions
import lifeboat.androidWork
import kotlinx.coroutines.CancellationException
import kotlin.time.Duration
import kotlin.time.Duration.Companion.hours
import kotlin.time.Duration.Companion.milliseconds
import kotlin.time.Duration.Companion.minutes
import kotlin.time.Duration.Companion.seconds

/** The platform, as far as a window needs it. On a phone that is WorkManager; in tests it is a record of what was asked for. */
internal interface Platform {
    fun nowMs(): Long

    fun conditions(asked: Boolean, windowLeft: Duration?): PhoneConditions

    /** Enqueues these as unique work, in place of what is there. */
    fun enqueue(work: List<AndroidWork>)
}

/** What a worker does in the time it has: due work, one window after the other, and then the wakes for the next time. */
internal class Window(private val platform: Platform, private val host: BackupHost) {
    /**
     * Runs until nothing more can be done now, [limit] is over, or the coroutine is cancelled. However it ends, the next wake is asked for: a chain
     * of wakes that breaks once is a backup that never runs again.
     *
     * @param asked the user pressed a button and waits
     * @param stopCode why the system took the window back, once it has
     */
    suspend fun run(asked: Boolean, limit: Duration, stopCode: () -> String?) {
        val beganMs = platform.nowMs()
        fun left() = limit - (platform.nowMs() - beganMs).milliseconds
        var work = RETRY
        try {
            host.openEngine().use { engine ->
                var isAsked = asked
                do {
                    val conditions = platform.conditions(isAsked, left().takeIf(Duration::isFinite)?.coerceAtLeast(Duration.ZERO))
                    val outcome = engine.runDue(
                        host.backupRequest(), conditions, host.isSoleClient, host.databaseHolder, stopCode,
                    )
                    work = androidWork(platform.nowMs(), outcome.wakes)
                    isAsked = isAsked && outcome.backup == null
                    host.onBackupWindow(outcome)
                } while (goesOn(outcome, left()))
            }
        } catch (cancelled: CancellationException) {
            throw cancelled
        } catch (error: Exception) {
            host.onBackupError(error)
        } finally {
            // Not suspending: a coroutine that was cancelled comes through here, too.
            platform.enqueue(work)
        }
    }

    companion object {
        /** Beyond this a job is stopped; the engine wants a moment to be quiet by then. */
        val JOB_LIMIT: Duration = 9.minutes

        /** What services of the type `dataSync` have in a day, less a moment to be quiet in. */
        val DATA_SYNC_LIMIT: Duration = 6.hours - 1.minutes

        /** Too little to confirm anything in. */
        private val LEFT_MIN = 10.seconds

        fun goesOn(outcome: DueOutcome, left: Duration): Boolean = outcome.again && left >= LEFT_MIN

        /** Where a window ended before the engine could say when to come back. */
        val RETRY: List<AndroidWork> = listOf(
            AndroidWork(
                uniqueName = "lifeboat-soon",
                initialDelayMs = 15.minutes.inWholeMilliseconds,
                network = lifeboat.AndroidNetworkType.CONNECTED,
                requiresCharging = false,
                requiresDeviceIdle = false,
                requiresBatteryNotLow = true,
                requiresStorageNotLow = false,
                expedited = false,
            ),
        )
    }
}
