package lifeboat.work

import android.content.Context

/** The background backup of an app, switched on and off. */
public object Backups {
    /**
     * Keeps the app backed up from now on. To be called at each start of the app: what is enqueued already stays as it is.
     *
     * @param watchHours how often to look, whatever the phone is like, whether backups have happened; 15 minutes at least, as WorkManager has it
     */
    public fun start(context: Context, watchHours: Long = 6) {
        Requests.watch(context, watchHours)
    }

    /** Backs up now, since the user asked for it: as expedited work, in the foreground where that is allowed. */
    public fun backUpNow(context: Context): Unit = Requests.now(context)

    /** Backs nothing up any more. */
    public fun stop(context: Context): Unit = Requests.cancelAll(context)
}
