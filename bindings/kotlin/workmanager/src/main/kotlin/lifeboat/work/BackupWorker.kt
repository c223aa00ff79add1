package lifeboat.work

import android.content.Context
import android.content.pm.ServiceInfo
import android.os.Build
import androidx.work.CoroutineWorker
import androidx.work.ForegroundInfo
import androidx.work.WorkerParameters
import lifeboat.AndroidWork
import lifeboat.PhoneConditions
import lifeboat.androidStopCode
import kotlin.time.Duration

/**
 * The worker of the background backup. Enqueued by [Backups], and by itself for the next time.
 *
 * It always succeeds: when to try again, and why, is the engine's to say, which knows more of it than WorkManager's backoff.
 */
public class BackupWorker(context: Context, parameters: WorkerParameters) : CoroutineWorker(context, parameters) {
    private val host: BackupHost
        get() = applicationContext as? BackupHost
            ?: error("the Application of this app must implement lifeboat.work.BackupHost")

    override suspend fun doWork(): Result {
        val asked = inputData.getBoolean(ASKED, false)
        // A user who waits sees the notification, and the work has hours instead of minutes; from the background such a service may be refused.
        val inForeground = asked && runCatching { setForeground(getForegroundInfo()) }.isSuccess
        val limit = if (inForeground) Window.DATA_SYNC_LIMIT else Window.JOB_LIMIT
        Window(OnPhone(), host).run(asked, limit, ::stopCode)
        return Result.success()
    }

    override suspend fun getForegroundInfo(): ForegroundInfo {
        val notification = host.backupNotification()
        return if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.Q) {
            ForegroundInfo(NOTIFICATION, notification, ServiceInfo.FOREGROUND_SERVICE_TYPE_DATA_SYNC)
        } else {
            ForegroundInfo(NOTIFICATION, notification)
        }
    }

    /** Known from Android 12 on. */
    private fun stopCode(): String? =
        if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.S) androidStopCode(stopReason) else null

    private inner class OnPhone : Platform {
        override fun nowMs(): Long = System.currentTimeMillis()

        override fun conditions(asked: Boolean, windowLeft: Duration?): PhoneConditions =
            AndroidConditions(applicationContext).read(asked, windowLeft)

        override fun enqueue(work: List<AndroidWork>) = Requests.enqueue(applicationContext, work)
    }

    internal companion object {
        const val ASKED = "asked"
        const val NOTIFICATION = 0x11FEB0A7
    }
}
