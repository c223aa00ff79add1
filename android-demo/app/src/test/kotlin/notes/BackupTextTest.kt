package notes

import lifeboat.ApplyResult
import lifeboat.BackupFreshness
import lifeboat.BackupStatus
import lifeboat.DueReason
import lifeboat.EngineException
import lifeboat.RunPhase
import lifeboat.RunProgress
import org.junit.jupiter.api.Test
import kotlin.test.assertEquals
import kotlin.test.assertNull
import kotlin.test.assertTrue
import kotlin.time.Duration
import kotlin.time.Duration.Companion.days
import kotlin.time.Duration.Companion.hours
import kotlin.time.Duration.Companion.seconds

class BackupTextTest {
    private fun status(freshness: BackupFreshness, age: Duration, waits: DueReason? = null, newest: Long? = 1) =
        BackupStatus(freshness, newest, age.inWholeMilliseconds, null, waits, null, null)

    @Test
    fun `the age of the backup is the first thing to read`() {
        assertEquals("Backed up just now", BackupText.headline(status(BackupFreshness.FRESH, 20.seconds)))
        assertEquals("Backed up 3 hours ago", BackupText.headline(status(BackupFreshness.FRESH, 3.hours)))
        assertEquals("Not backed up for 5 days", BackupText.headline(status(BackupFreshness.STALE, 5.days)))
        assertEquals("Never backed up, for 5 days", BackupText.headline(status(BackupFreshness.STALE, 5.days, newest = null)))
    }

    @Test
    fun `why not now comes with what to do`() {
        val reason = DueReason("offline", "no network is connected", "connect to a network")
        assertEquals("No network is connected. connect to a network.", BackupText.why(status(BackupFreshness.LATE, 30.hours, reason)))
        assertEquals("", BackupText.why(status(BackupFreshness.FRESH, 1.hours)))
    }

    @Test
    fun `progress has a share where the whole is known`() {
        fun progress(phase: RunPhase, total: ULong) = RunProgress(phase, 3u, 50u, 0u, total, 0u, 2_500_000u, 0u)
        assertEquals("Fetching: 25 %", BackupText.progress(progress(RunPhase.STAGING, 200u)))
        assertEquals("Fetching: 50 B", BackupText.progress(progress(RunPhase.STAGING, 0u)))
        assertEquals("Reading: 3 files, 2 MB sent", BackupText.progress(progress(RunPhase.SEALING, 0u)))
    }

    @Test
    fun `an error says what to do, and one that passes says that it does`() {
        assertTrue("update" in BackupText.error(EngineException.Unsupported("newer")))
        assertTrue("by itself" in BackupText.error(EngineException.Unreachable("no route")))
        assertTrue("Failed" in BackupText.error(EngineException.Bug("odd")))
        assertNull(BackupText.applied(ApplyResult.NothingPending))
        assertEquals("1.5 GB", BackupText.bytes(1_500_000_000u))
    }
}
