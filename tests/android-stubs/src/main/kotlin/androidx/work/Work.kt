@file:Suppress("UNUSED_PARAMETER", "unused")

package androidx.work

import android.app.Notification
import android.content.Context
import java.util.concurrent.TimeUnit

private fun stub(): Nothing = error("a signature to compile against")

class WorkerParameters private constructor()

abstract class CoroutineWorker(context: Context, parameters: WorkerParameters) {
    val applicationContext: Context get() = stub()
    val inputData: Data get() = stub()
    val stopReason: Int get() = stub()

    abstract suspend fun doWork(): Result

    open suspend fun getForegroundInfo(): ForegroundInfo = stub()

    suspend fun setForeground(info: ForegroundInfo): Unit = stub()

    class Result private constructor() {
        companion object {
            fun success(): Result = stub()
        }
    }
}

class ForegroundInfo(id: Int, notification: Notification) {
    constructor(id: Int, notification: Notification, type: Int) : this(id, notification)
}

class Data private constructor() {
    fun getBoolean(key: String, default: Boolean): Boolean = stub()

    class Builder {
        fun putBoolean(key: String, value: Boolean): Builder = stub()

        fun build(): Data = stub()
    }
}

enum class NetworkType { NOT_REQUIRED, CONNECTED, UNMETERED, NOT_ROAMING, METERED, TEMPORARILY_UNMETERED }

enum class ExistingWorkPolicy { REPLACE, KEEP, APPEND, APPEND_OR_REPLACE }

enum class ExistingPeriodicWorkPolicy { KEEP, UPDATE, CANCEL_AND_REENQUEUE }

enum class OutOfQuotaPolicy { RUN_AS_NON_EXPEDITED_WORK_REQUEST, DROP_WORK_REQUEST }

class Constraints private constructor() {
    class Builder {
        fun setRequiredNetworkType(type: NetworkType): Builder = stub()

        fun setRequiresCharging(required: Boolean): Builder = stub()

        fun setRequiresDeviceIdle(required: Boolean): Builder = stub()

        fun setRequiresBatteryNotLow(required: Boolean): Builder = stub()

        fun setRequiresStorageNotLow(required: Boolean): Builder = stub()

        fun build(): Constraints = stub()
    }
}

abstract class WorkRequest internal constructor() {
    abstract class Builder<B : Builder<B, W>, W : WorkRequest> internal constructor() {
        fun setConstraints(constraints: Constraints): B = stub()

        fun setInputData(data: Data): B = stub()

        fun setInitialDelay(duration: Long, unit: TimeUnit): B = stub()

        fun setExpedited(policy: OutOfQuotaPolicy): B = stub()

        fun build(): W = stub()
    }
}

class OneTimeWorkRequest private constructor() : WorkRequest() {
    class Builder(worker: Class<out CoroutineWorker>) : WorkRequest.Builder<Builder, OneTimeWorkRequest>()
}

class PeriodicWorkRequest private constructor() : WorkRequest() {
    class Builder(worker: Class<out CoroutineWorker>, interval: Long, unit: TimeUnit) :
        WorkRequest.Builder<Builder, PeriodicWorkRequest>()
}

abstract class WorkManager internal constructor() {
    abstract fun enqueueUniqueWork(name: String, policy: ExistingWorkPolicy, request: OneTimeWorkRequest): Any

    abstract fun enqueueUniquePeriodicWork(
        name: String,
        policy: ExistingPeriodicWorkPolicy,
        request: PeriodicWorkRequest,
    ): Any

    abstract fun cancelUniqueWork(name: String): Any

    companion object {
        fun getInstance(context: Context): WorkManager = stub()
    }
}
