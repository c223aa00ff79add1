package lifeboat.work

import android.app.Notification
import lifeboat.BackupRequest
import lifeboat.DatabaseHolder
import lifeboat.DueOutcome
import lifeboat.Engine

/**
 * What the app tells its background backup. Its `Application` implements this, since the system may start a process for nothing but a worker:
 *
 * ```kotlin
 * class NotesApplication : Application(), BackupHost {
 *     override suspend fun openEngine() = Engine.open(config, keyStore)
 *     override fun backupRequest() = BackupRequest(listOf(BackupSource(filesDir.path, "files")), label = "phone", skipIfUnchanged = true)
 *     override fun backupNotification() = …
 * }
 * ```
 */
public interface BackupHost {
    /** Opens the engine. It is closed again when the window is over: between windows nothing of it is in memory. */
    public suspend fun openEngine(): Engine

    /** What to back up: the same each time, so that a backup which was interrupted goes on. */
    public fun backupRequest(): BackupRequest

    /** Asked to hold those databases still that the request says the app holds. */
    public val databaseHolder: DatabaseHolder?
        get() = null

    /** Whether nobody else ever deletes from the vault: then no lock is written there. */
    public val isSoleClient: Boolean
        get() = false

    /** Shown while a long backup runs in a foreground service, and by a transfer that the user began. */
    public fun backupNotification(): Notification

    /** Told after each window: for a screen that shows the status, or a warning where `alarms` says `stale`. */
    public fun onBackupWindow(outcome: DueOutcome): Unit = Unit

    /** Told what ended a window before it could say more, such as a key store that is locked. The next wake is asked for all the same. */
    public fun onBackupError(error: Exception): Unit = Unit
}
