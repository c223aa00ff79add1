package lifeboat

import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.flow
import kotlin.time.Duration
import kotlin.time.Duration.Companion.milliseconds
import kotlin.time.Duration.Companion.seconds

/**
 * A backup engine that is open: one vault, one state folder, one job at a time.
 *
 * ```kotlin
 * Engine.open(EngineConfig(vault, stateDir), keyStore).use { engine ->
 *     when (val outcome = engine.backup(request)) {
 *         is BackupOutcome.Published -> show(outcome.summary)
 *         is BackupOutcome.Unchanged -> Unit
 *     }
 * }
 * ```
 *
 * Calls may come from any thread and any dispatcher; none blocks but [close]. Cancelling the coroutine of a long call stops the engine's work
 * and waits until it is quiet, which takes less than a quarter of a second: after `cancelAndJoin` no file is open and no byte is sent. The next
 * call with the same request goes on from there. What fails is an [EngineException], and each of its kinds is something else for the app to do.
 *
 * There is one engine for a state folder: in this process or any other, a second one is refused with [EngineException.Busy].
 */
public class Engine private constructor(internal val handle: EngineHandle) : AutoCloseable {
    /** The repository's id: the same on every device that opens this vault. */
    public val repositoryId: String
        get() = handle.repositoryId()

    /** How far the current job is, or how far the last one came. */
    public val progress: RunProgress
        get() = handle.progress()

    /**
     * Backs up. Stopped in whatever way, the same request goes on from there.
     *
     * @param holder is asked to hold those databases still that the request says the app holds
     */
    public suspend fun backup(request: BackupRequest, holder: DatabaseHolder? = null): BackupOutcome =
        stoppable { handle.backup(request, holder, it) }

    /** Brings a snapshot back. Stopped in whatever way, the same request goes on from there. */
    public suspend fun restore(request: RestoreRequest): RestoreSummary = stoppable { handle.restore(request, it) }

    /** Verifies what the vault holds; with [readData] every byte of it. What is wrong with it is in the summary. */
    public suspend fun verify(readData: Boolean = false): VerifySummary =
        stoppable { handle.verify(VerifyRequest(readData), it) }

    /** Lets go of snapshots. Short, and not to be cancelled on the way. */
    public suspend fun forget(request: ForgetRequest): ForgetSummary = handle.forget(request)

    /** All snapshots in the vault, oldest first. */
    public suspend fun snapshots(): List<SnapshotInfo> = handle.snapshots()

    /**
     * What is in a snapshot at [below] and below it, folders before what they hold. Read as it is collected.
     *
     * @param snapshot `latest`, or the beginning of an id
     */
    public fun entries(snapshot: String = "latest", below: String = "/"): Flow<SnapshotEntry> = flow {
        handle.entries(snapshot, below).use { reader ->
            while (true) {
                val entries = reader.next(ENTRIES_PER_CALL)
                if (entries.isEmpty()) break
                entries.forEach { emit(it) }
            }
        }
    }

    /**
     * Facts, from the moment of collecting until the engine closes. A slow collector loses the oldest, and is told by [EngineEvent.Missed] how
     * many; it never slows the engine down.
     */
    public fun events(): Flow<EngineEvent> = handle.eventFlow()

    /** How far the current job is: when one begins, when it ends, and every [interval] in between. A slow collector gets the newest only. */
    public fun progress(interval: Duration = 250.milliseconds): Flow<RunProgress> = handle.progressFlow(interval)

    /** The key files: each is another password that opens the vault. */
    public suspend fun keys(): List<KeyFileInfo> = handle.keys()

    /** Adds a key file that opens with [password], such as a recovery code, and returns its id. */
    public suspend fun addKey(password: String, label: String): String = handle.addKey(password, label)

    /** Removes the key file whose id begins with [id], unless it is the one in use. */
    public suspend fun removeKey(id: String): String = handle.removeKey(id)

    /** Locks in the vault, of this and other clients. */
    public suspend fun locks(): List<VaultLock> = handle.locks()

    /** Removes locks that nobody refreshed for half an hour, or [all] of them; returns how many. */
    public suspend fun removeLocks(all: Boolean = false): Long = handle.removeLocks(all).toLong()

    /**
     * Stops what runs, waits for that, and closes every file that could be locked. Until [resume], calls fail with
     * [EngineException.NotRunning].
     */
    public suspend fun suspend(grace: Duration = DEFAULT_GRACE): Unit = handle.suspend(grace.toMs())

    /** Undoes [suspend]; without effect on an engine that is not suspended. */
    public suspend fun resume(): Unit = handle.resume()

    /**
     * Stops what runs and ends the engine with all its threads; afterwards calls fail with [EngineException.NotRunning].
     *
     * [EngineException.Busy] if that takes longer than [grace]: what still runs then ends by itself, and holds the state folder until it has.
     */
    public suspend fun stop(grace: Duration = DEFAULT_GRACE): Unit = handle.stop(grace.toMs())

    /** As [stop], but blocks: less than a quarter of a second, unless a disk stalls. */
    override fun close(): Unit = handle.stopBlocking(DEFAULT_GRACE.toMs())

    public companion object {
        private val DEFAULT_GRACE = 10.seconds
        private const val ENTRIES_PER_CALL = 200u

        /**
         * Makes a repository in a vault that holds none, gives its key to [keyStore], and returns the repository's id.
         *
         * @param password opens the vault on any other device, and with restic: without it, a lost phone is a lost vault
         * @param label says in the key file whose it is
         */
        public suspend fun create(vault: String, password: String, label: String, keyStore: KeyStore? = null): String =
            createRepository(vault, password, label, keyStore)

        /** Opens a vault with the key that [keyStore] holds. Where it holds none: [EngineException.KeyMissing]. */
        public suspend fun open(config: EngineConfig, keyStore: KeyStore): Engine =
            Engine(EngineHandle.openWithKeyStore(config, keyStore))

        /** Opens a vault with a password, as on a new phone, and gives its key to [keyStore] for the next time. */
        public suspend fun open(config: EngineConfig, password: String, keyStore: KeyStore? = null): Engine =
            Engine(EngineHandle.openWithPassword(config, password, keyStore))
    }
}
