package notes

import android.app.Application
import android.app.Notification
import android.app.NotificationChannel
import android.app.NotificationManager
import android.os.Build
import android.util.Log
import lifeboat.ApplyResult
import lifeboat.DueOutcome
import lifeboat.EngineException
import lifeboat.work.BackupHost
import lifeboat.work.Backups

/** Made by the system in every process of the app, be it for a screen or for a worker. */
internal class NotesApplication : Application(), BackupHost {
    lateinit var vault: Vault
        private set

    /** Opened after a restore that waits was applied, and never before. */
    lateinit var database: NotesDatabase
        private set

    var applied: ApplyResult = ApplyResult.NothingPending
        private set

    override fun onCreate() {
        super.onCreate()
        vault = Vault(this)
        applied = try {
            vault.applyPending()
        } catch (error: EngineException) {
            // Everything is as it was, and staged: the screen says so when the user asks.
            Log.w(TAG, "a restore waits", error)
            ApplyResult.NothingPending
        }
        database = NotesDatabase(this, vault.data)
        if (vault.address.isNotEmpty()) Backups.start(this)
    }

    override suspend fun openEngine() = vault.open()

    override fun backupRequest() = vault.request

    override fun backupNotification(): Notification {
        val builder = if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.O) {
            val channel = NotificationChannel(CHANNEL, "Backup", NotificationManager.IMPORTANCE_LOW)
            getSystemService(NotificationManager::class.java).createNotificationChannel(channel)
            Notification.Builder(this, CHANNEL)
        } else {
            @Suppress("DEPRECATION")
            Notification.Builder(this)
        }
        return builder.setSmallIcon(android.R.drawable.stat_sys_upload).setContentTitle("Backing up").setOngoing(true).build()
    }

    override fun onBackupWindow(outcome: DueOutcome) {
        Log.i(TAG, "ran ${outcome.ran}, ended ${outcome.ended?.code}, waits for ${outcome.waits.map { it.reason.code }}")
    }

    override fun onBackupError(error: Exception) {
        Log.w(TAG, "no window", error)
    }

    private companion object {
        const val TAG = "notes"
        const val CHANNEL = "backup"
    }
}
