package notes

import lifeboat.ApplyResult
import lifeboat.BackupFreshness
import lifeboat.BackupStatus
import lifeboat.EngineException
import lifeboat.Retry
import lifeboat.RunPhase
import lifeboat.RunProgress
import lifeboat.SnapshotInfo
import lifeboat.retry
import lifeboat.shortId
import java.text.DateFormat
import java.util.Date
import kotlin.time.Duration
import kotlin.time.Duration.Companion.milliseconds

/** What the screen says. Plain functions: a phone is only needed to show it. */
internal object BackupText {
    fun headline(status: BackupStatus): String = when (status.freshness) {
        BackupFreshness.NONE -> "Not backed up yet"
        BackupFreshness.FRESH -> "Backed up ${age(status.ageMs.milliseconds)}"
        BackupFreshness.LATE -> "Backed up ${age(status.ageMs.milliseconds)}: later than wished"
        BackupFreshness.STALE ->
            if (status.newestMs == null) "Never backed up, for ${span(status.ageMs.milliseconds)}" else "Not backed up for ${span(status.ageMs.milliseconds)}"
    }

    /** Why not now, and what can be done about it. */
    fun why(status: BackupStatus): String {
        val reason = status.waits ?: return if (status.runs == null) "" else "A backup can run now."
        return listOf(reason.text, reason.advice).filter(String::isNotEmpty).joinToString(". ", postfix = ".").replaceFirstChar(Char::uppercase)
    }

    fun progress(progress: RunProgress): String = when (progress.phase) {
        RunPhase.IDLE -> ""
        RunPhase.LOOKING -> "Looking at the vault…"
        RunPhase.SEALING -> "Reading: ${progress.files} files, ${bytes(progress.bytesStored)} sent"
        RunPhase.PUBLISHING -> "Almost done: ${bytes(progress.bytesStored)} sent"
        RunPhase.STAGING -> "Fetching: ${share(progress)}"
        RunPhase.APPLYING -> "Putting files in place…"
        RunPhase.CHECKING -> "Verifying…"
        RunPhase.PRUNING -> "Tidying up…"
    }

    fun snapshot(snapshot: SnapshotInfo): String {
        val made = DateFormat.getDateTimeInstance(DateFormat.MEDIUM, DateFormat.SHORT).format(Date(snapshot.timeMs))
        val size = listOfNotNull(snapshot.files?.let { "$it files" }, snapshot.bytes?.let(::bytes)).joinToString(", ")
        return "$made · ${snapshot.shortId}${if (size.isEmpty()) "" else " · $size"}"
    }

    fun error(error: EngineException): String = when (error) {
        is EngineException.WrongPassword -> "That is not the password."
        is EngineException.KeyMissing -> "Type the password once more."
        is EngineException.NoRepository -> "There is no backup at this address yet."
        is EngineException.RepositoryExists -> "There is a backup at this address already: open it with its password."
        is EngineException.OutOfSpace -> "There is no room left: make some."
        is EngineException.AccessDenied -> "The vault refuses access: sign in again."
        is EngineException.Unsupported -> "This backup is of a newer version: update the app."
        is EngineException.Damaged -> "Something in the vault is damaged. Back up to another place, too."
        else -> if (error.retry == Retry.LATER) "Not now: ${error.message}. It goes on by itself." else "Failed: ${error.message}"
    }

    fun applied(result: ApplyResult): String? = when (result) {
        is ApplyResult.Applied, ApplyResult.Unconfirmed -> "Restored. Keep it, or go back to what was here before?"
        ApplyResult.RolledBack -> "What was here before is back."
        ApplyResult.NothingPending -> null
    }

    fun bytes(count: ULong): String = when {
        count < 1_000u -> "$count B"
        count < 1_000_000u -> "${count / 1_000u} kB"
        count < 1_000_000_000u -> "${count / 1_000_000u} MB"
        else -> "${count / 1_000_000_000u}.${count % 1_000_000_000u / 100_000_000u} GB"
    }

    private fun share(progress: RunProgress): String =
        if (progress.bytesTotal == 0uL) bytes(progress.bytes) else "${progress.bytes * 100u / progress.bytesTotal} %"

    private fun age(age: Duration): String = if (age.inWholeMinutes < 1) "just now" else "${span(age)} ago"

    private fun span(span: Duration): String = when {
        span.inWholeDays >= 2 -> "${span.inWholeDays} days"
        span.inWholeHours >= 2 -> "${span.inWholeHours} hours"
        else -> "${span.inWholeMinutes.coerceAtLeast(0)} minutes"
    }
}
