package lifeboat.work

import android.app.KeyguardManager
import android.app.usage.UsageStatsManager
import android.content.Context
import android.net.ConnectivityManager
import android.net.NetworkCapabilities
import android.os.BatteryManager
import android.os.Build
import android.os.PowerManager
import android.os.StatFs
import lifeboat.AppStanding
import lifeboat.NetworkState
import lifeboat.PhoneConditions
import lifeboat.ThermalState
import java.util.TimeZone
import kotlin.time.Duration

/** What Android says of the phone. What an older Android does not say stays unknown. */
public class AndroidConditions(private val context: Context) {
    public fun read(asked: Boolean = false, windowLeft: Duration? = null): PhoneConditions {
        val battery = service<BatteryManager>()
        val power = service<PowerManager>()
        return PhoneConditions(
            network = network(),
            charging = battery?.isCharging,
            batteryPercent = battery?.getIntProperty(BatteryManager.BATTERY_PROPERTY_CAPACITY)?.let(::percent),
            lowPowerMode = power?.isPowerSaveMode,
            idle = power?.isInteractive?.not(),
            thermal = power?.let(::thermal),
            freeBytes = StatFs(context.noBackupFilesDir.path).availableBytes.toULong(),
            locked = service<KeyguardManager>()?.isDeviceLocked,
            asked = asked,
            windowLeftMs = windowLeft?.inWholeMilliseconds?.toULong(),
            timeZone = TimeZone.getDefault().id,
            standing = standing(),
        )
    }

    private fun network(): NetworkState {
        val manager = service<ConnectivityManager>() ?: return NetworkState.UNKNOWN
        val capabilities = manager.getNetworkCapabilities(manager.activeNetwork) ?: return NetworkState.OFFLINE
        val savesData = manager.restrictBackgroundStatus == ConnectivityManager.RESTRICT_BACKGROUND_STATUS_ENABLED
        fun has(capability: Int) = capabilities.hasCapability(capability)
        return networkState(
            validated = has(NetworkCapabilities.NET_CAPABILITY_VALIDATED),
            unmetered = has(NetworkCapabilities.NET_CAPABILITY_NOT_METERED) ||
                (Build.VERSION.SDK_INT >= Build.VERSION_CODES.R && has(NetworkCapabilities.NET_CAPABILITY_TEMPORARILY_NOT_METERED)),
            // Before Android 9 nobody says, and a metered network may be a foreign one.
            roaming = if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.P) !has(NetworkCapabilities.NET_CAPABILITY_NOT_ROAMING) else null,
            savesData = savesData,
        )
    }

    private fun thermal(power: PowerManager): ThermalState? =
        if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.Q) thermalState(power.currentThermalStatus) else null

    private fun standing(): AppStanding? =
        if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.P) service<UsageStatsManager>()?.let { appStanding(it.appStandbyBucket) } else null

    private inline fun <reified T : Any> service(): T? = context.getSystemService(T::class.java)
}

/** A network that is not validated may be one whose login page answers for everybody. */
internal fun networkState(validated: Boolean, unmetered: Boolean, roaming: Boolean?, savesData: Boolean): NetworkState = when {
    !validated -> NetworkState.OFFLINE
    roaming == true -> NetworkState.ROAMING
    unmetered -> NetworkState.UNMETERED
    savesData -> NetworkState.CONSTRAINED
    roaming == null -> NetworkState.UNCLASSIFIED
    else -> NetworkState.METERED
}

/** `Integer.MIN_VALUE`, or a nonsense, where the phone does not know. */
internal fun percent(capacity: Int): UByte? = if (capacity in 0..100) capacity.toUByte() else null

/** `PowerManager.THERMAL_STATUS_*`, on the scale of the policy. */
internal fun thermalState(status: Int): ThermalState = when (status) {
    0 -> ThermalState.NOMINAL
    1 -> ThermalState.FAIR
    2, 3 -> ThermalState.SERIOUS
    else -> ThermalState.CRITICAL
}

/** `UsageStatsManager.STANDBY_BUCKET_*`, in between which there may be others. */
internal fun appStanding(bucket: Int): AppStanding = when {
    bucket <= 10 -> AppStanding.ACTIVE
    bucket <= 20 -> AppStanding.WORKING_SET
    bucket <= 30 -> AppStanding.FREQUENT
    bucket <= 40 -> AppStanding.RARE
    bucket <= 45 -> AppStanding.RESTRICTED
    else -> AppStanding.OFF
}
