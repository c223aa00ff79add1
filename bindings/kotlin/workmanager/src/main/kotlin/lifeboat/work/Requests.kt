package lifeboat.work

import android.content.Context
import androidx.work.Constraints
import androidx.work.Data
import androidx.work.ExistingPeriodicWorkPolicy
import androidx.work.ExistingWorkPolicy
import androidx.work.NetworkType
import androidx.work.OneTimeWorkRequest
import androidx.work.OutOfQuotaPolicy
import androidx.work.PeriodicWorkRequest
import androidx.work.WorkManager
import lifeboat.AndroidNetworkType
import lifeboat.AndroidWork
import java.util.concurrent.TimeUnit

/** Asks WorkManager for wakes. */
internal object Requests {
    private const val WATCH = "lifeboat-watch"
    private const val NOW = "lifeboat-now"

    /** Work that is asked for by the engine, each in place of what is there under its name. */
    fun enqueue(context: Context, work: List<AndroidWork>) {
        val manager = WorkManager.getInstance(context)
        for (one in work) manager.enqueueUniqueWork(one.uniqueName, ExistingWorkPolicy.REPLACE, request(one))
        // What an earlier call asked for and this one does not.
        if (work.none { it.uniqueName == LATER }) manager.cancelUniqueWork(LATER)
    }

    /** A look every few hours, without conditions: whether the other requests were honoured, and whether the alarm is due. */
    fun watch(context: Context, hours: Long) {
        val watch = PeriodicWorkRequest.Builder(BackupWorker::class.java, hours, TimeUnit.HOURS).build()
        WorkManager.getInstance(context).enqueueUniquePeriodicWork(WATCH, ExistingPeriodicWorkPolicy.UPDATE, watch)
    }

    /** Somebody pressed a button. */
    fun now(context: Context) {
        val request = OneTimeWorkRequest.Builder(BackupWorker::class.java)
            .setInputData(Data.Builder().putBoolean(BackupWorker.ASKED, true).build())
            .setConstraints(Constraints.Builder().setRequiredNetworkType(NetworkType.CONNECTED).build())
            .setExpedited(OutOfQuotaPolicy.RUN_AS_NON_EXPEDITED_WORK_REQUEST)
            .build()
        WorkManager.getInstance(context).enqueueUniqueWork(NOW, ExistingWorkPolicy.KEEP, request)
    }

    fun cancelAll(context: Context) {
        val manager = WorkManager.getInstance(context)
        for (name in listOf(WATCH, NOW, SOON, LATER)) manager.cancelUniqueWork(name)
    }

    fun request(work: AndroidWork): OneTimeWorkRequest {
        val constraints = Constraints.Builder()
            .setRequiredNetworkType(
                when (work.network) {
                    AndroidNetworkType.CONNECTED -> NetworkType.CONNECTED
                    AndroidNetworkType.NOT_ROAMING -> NetworkType.NOT_ROAMING
                    AndroidNetworkType.UNMETERED -> NetworkType.UNMETERED
                },
            )
            .setRequiresCharging(work.requiresCharging)
            .setRequiresDeviceIdle(work.requiresDeviceIdle)
            .setRequiresBatteryNotLow(work.requiresBatteryNotLow)
            .setRequiresStorageNotLow(work.requiresStorageNotLow)
            .build()
        val request = OneTimeWorkRequest.Builder(BackupWorker::class.java)
            .setConstraints(constraints)
            .setInitialDelay(work.initialDelayMs, TimeUnit.MILLISECONDS)
        if (work.expedited) request.setExpedited(OutOfQuotaPolicy.RUN_AS_NON_EXPEDITED_WORK_REQUEST)
        return request.build()
    }

    private const val SOON = "lifeboat-soon"
    private const val LATER = "lifeboat-later"
}
