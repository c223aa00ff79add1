package lifeboat

import kotlin.time.Duration
import kotlin.time.Duration.Companion.milliseconds

/** The id as it is shown to people. */
public val SnapshotInfo.shortId: String
    get() = id.take(8)

/** How old the snapshot is; less than zero if the clock was set back since. */
public fun SnapshotInfo.age(nowMs: Long = System.currentTimeMillis()): Duration = (nowMs - timeMs).milliseconds
