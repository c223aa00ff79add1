package lifeboat.work

import lifeboat.AppStanding
import lifeboat.NetworkState
import lifeboat.ThermalState
import org.junit.jupiter.api.Test
import kotlin.test.assertEquals
import kotlin.test.assertNull

/** What Android's numbers mean. */
class ConditionsTest {
    @Test
    fun `a network is taken for the dearest that it may be`() {
        fun state(unmetered: Boolean, roaming: Boolean?, savesData: Boolean = false) =
            networkState(validated = true, unmetered, roaming, savesData)
        assertEquals(NetworkState.UNMETERED, state(unmetered = true, roaming = false))
        assertEquals(NetworkState.ROAMING, state(unmetered = true, roaming = true))
        assertEquals(NetworkState.METERED, state(unmetered = false, roaming = false))
        assertEquals(NetworkState.CONSTRAINED, state(unmetered = false, roaming = false, savesData = true))
        assertEquals(NetworkState.UNMETERED, state(unmetered = true, roaming = false, savesData = true))
        assertEquals(NetworkState.UNCLASSIFIED, state(unmetered = false, roaming = null))
        assertEquals(NetworkState.OFFLINE, networkState(validated = false, unmetered = true, roaming = false, savesData = false))
    }

    @Test
    fun `numbers of Android are read as Android documents them`() {
        assertEquals((0..6).map(::thermalState), listOf(
            ThermalState.NOMINAL, ThermalState.FAIR, ThermalState.SERIOUS, ThermalState.SERIOUS,
            ThermalState.CRITICAL, ThermalState.CRITICAL, ThermalState.CRITICAL,
        ))
        assertEquals(listOf(5, 10, 20, 30, 40, 45, 50).map(::appStanding), listOf(
            AppStanding.ACTIVE, AppStanding.ACTIVE, AppStanding.WORKING_SET, AppStanding.FREQUENT, AppStanding.RARE,
            AppStanding.RESTRICTED, AppStanding.OFF,
        ))
        assertEquals(80u.toUByte(), percent(80))
        assertNull(percent(Int.MIN_VALUE))
    }
}
