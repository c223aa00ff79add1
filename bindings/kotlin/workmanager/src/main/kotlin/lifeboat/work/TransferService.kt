package lifeboat.work

import android.app.job.JobInfo
import android.app.job.JobParameters
import android.app.job.JobScheduler
import android.app.job.JobService
import android.content.ComponentName
import android.content.Context
import android.net.NetworkCapabilities
import android.net.NetworkRequest
import android.os.Build
import androidx.annotation.RequiresApi
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.Job
import kotlinx.coroutines.SupervisorJob
import kotlinx.coroutines.launch
import lifeboat.AndroidWork
import lifeboat.PhoneConditions
import lifeboat.androidStopCode
import kotlin.time.Duration

/**
 * A first backup that the user began, on Android 14 and later: a user-initiated data transfer, which no quota and no six hours end, and which goes on when
 * the app is left. It must be begun while the app is in front.
 */
@RequiresApi(Build.VERSION_CODES.UPSIDE_DOWN_CAKE)
public class TransferService : JobService() {
    private val scope = CoroutineScope(SupervisorJob() + Dispatchers.Default)
    private var window: Job? = null
    @Volatile private var stopCode: String? = null

    override fun onStartJob(parameters: JobParameters): Boolean {
        val host = applicationContext as? BackupHost ?: return false
        setNotification(parameters, BackupWorker.NOTIFICATION, host.backupNotification(), JOB_END_NOTIFICATION_POLICY_REMOVE)
        stopCode = null
        window = scope.launch {
            Window(OnPhone(), host).run(asked = true, Duration.INFINITE) { stopCode }
            jobFinished(parameters, false)
        }
        return true
    }

    /** Quiet within 250 ms; the wakes that the window asks for on its way out go on with it, so the job itself need not come back. */
    override fun onStopJob(parameters: JobParameters): Boolean {
        stopCode = androidStopCode(parameters.stopReason)
        window?.cancel()
        return false
    }

    private inner class OnPhone : Platform {
        override fun nowMs(): Long = System.currentTimeMillis()

        override fun conditions(asked: Boolean, windowLeft: Duration?): PhoneConditions =
            AndroidConditions(applicationContext).read(asked, windowLeft)

        override fun enqueue(work: List<AndroidWork>) = Requests.enqueue(applicationContext, work)
    }

    public companion object {
        private const val JOB = 0x11FEB0A7

        /** Begins it. The app needs the permission `RUN_USER_INITIATED_JOBS`, which this library's manifest asks for. */
        public fun begin(context: Context) {
            val network = NetworkRequest.Builder().addCapability(NetworkCapabilities.NET_CAPABILITY_INTERNET).build()
            val job = JobInfo.Builder(JOB, ComponentName(context, TransferService::class.java))
                .setUserInitiated(true)
                .setRequiredNetwork(network)
                .build()
            context.getSystemService(JobScheduler::class.java).schedule(job)
        }
    }
}
