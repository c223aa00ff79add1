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

    /**
     * Goes on with the backup until [deadline], and says what is left. A run lives in the state folder between windows: engines and processes
     * may come and go, and nothing that the vault has confirmed is sent again. Cancelling stops it within a quarter of a second.
     *
     * @param network what the device is connected to now; when that changes, cancel this window and begin another one
     * @param allowances bytes that may travel on each class of network; as it is, on unmetered ones only
     * @param soleClient nobody else ever deletes from this vault: no lock is written there
     */
    public suspend fun runWindow(
        request: BackupRequest,
        deadline: Duration,
        network: NetworkClass = NetworkClass.UNMETERED,
        allowances: Allowances = Allowances(),
        soleClient: Boolean = false,
        holder: DatabaseHolder? = null,
    ): WindowOutcome {
        val budget = WindowBudget(deadline.toMs(), network, allowances, soleClient)
        return stoppable { handle.runWindow(request, budget, holder, it) }
    }

    /**
     * To be called whenever the app is awake, for whatever reason: decides from the policy, [conditions], and all that was written down before; does
     * the most urgent work that may be done, in one window; and says when to wake the app next. In between, the engine does nothing by itself.
     *
     * Cancelling takes the window back, within a quarter of a second, and the journal says so: what was done is kept, and the outcome is lost with the
     * coroutine.
     *
     * @param stopCode is asked when the coroutine is cancelled: why, as a code that begins with `stop-`, such as [androidStopCode] gives
     */
    public suspend fun runDue(
        request: BackupRequest,
        conditions: PhoneConditions,
        soleClient: Boolean = false,
        holder: DatabaseHolder? = null,
        stopCode: () -> String? = { null },
    ): DueOutcome = stoppable(stopCode) { handle.runDue(request, conditions, soleClient, holder, it) }

    /** Keeps a policy from now on, in the state folder. Begin with [defaultPolicy] and change what should be different. */
    public suspend fun setPolicy(policy: BackupPolicy): Unit = answered { handle.setPolicy(policy) }

    /** The policy that is kept. */
    public suspend fun policy(): BackupPolicy = answered { handle.policy() }

    /** How the backup is doing, for a settings screen. Without [conditions], as they were last said. */
    public suspend fun status(conditions: PhoneConditions? = null): BackupStatus =
        answered { handle.status(System.currentTimeMillis(), conditions) }

    /** Why something is, was or is not done: now, or [at] a past moment in milliseconds since 1970. */
    public suspend fun explain(conditions: PhoneConditions? = null, at: Long? = null): BackupExplanation =
        answered { handle.explain(System.currentTimeMillis(), conditions, at) }

    /** The user says that the data is gone on purpose: snapshots that were set aside count from now on. Returns how many there were. */
    public suspend fun confirmNewborn(): Long = answered { handle.confirmNewborn() }.toLong()

    /** Something has changed for a backup that waits since the vault refused access or was full: the next window tries again. */
    public suspend fun unpark(): Unit = answered { handle.unpark() }

    /**
     * Gives sealed packs to the system's own uploader, as requests that are good for [expires]: for so long the engine does not send them.
     * [EngineException.Unsupported] where the vault has no such requests: only buckets have.
     */
    public suspend fun handOff(expires: Duration): List<PackUpload> = answered { handle.handOff(expires.toMs()) }

    /** What became of a pack that was handed off, as far as its sender knows: in any order, twice, or never. */
    public suspend fun handOffEnded(pack: String, stored: Boolean): Unit = answered { handle.handOffEnded(pack, stored) }

    /** Gives back the room of what no snapshot needs. Stopped in whatever way, what was done stays done. */
    public suspend fun prune(request: PruneRequest = PruneRequest()): PruneSummary = stoppable { handle.prune(request, it) }

    /** Brings a snapshot back. Stopped in whatever way, the same request goes on from there. */
    public suspend fun restore(request: RestoreRequest): RestoreSummary = stoppable { handle.restore(request, it) }

    /** Verifies what the vault holds; with [readData] every byte of it. What is wrong with it is in the summary. */
    public suspend fun verify(readData: Boolean = false): VerifySummary =
        stoppable { handle.verify(VerifyRequest(readData), it) }

    /** Lets go of snapshots. Short, and not to be cancelled on the way. */
    public suspend fun forget(request: ForgetRequest): ForgetSummary = answered { handle.forget(request) }

    /** All snapshots in the vault, oldest first. */
    public suspend fun snapshots(): List<SnapshotInfo> = answered { handle.snapshots() }

    /**
     * What is in a snapshot at [below] and below it, folders before what they hold. Read as it is collected.
     *
     * @param snapshot `latest`, or the beginning of an id
     */
    public fun entries(snapshot: String = "latest", below: String = "/"): Flow<SnapshotEntry> = flow {
        answered { handle.entries(snapshot, below) }.use { reader ->
            while (true) {
                val entries = answered { reader.next(ENTRIES_PER_CALL) }
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
    public suspend fun keys(): List<KeyFileInfo> = answered { handle.keys() }

    /** Adds a key file that opens with [password], such as a recovery code, and returns its id. */
    public suspend fun addKey(password: String, label: String): String = answered { handle.addKey(password, label) }

    /** Removes the key file whose id begins with [id], unless it is the one in use. */
    public suspend fun removeKey(id: String): String = answered { handle.removeKey(id) }

    /** Locks in the vault, of this and other clients. */
    public suspend fun locks(): List<VaultLock> = answered { handle.locks() }

    /** Removes locks that nobody refreshed for half an hour, or [all] of them; returns how many. */
    public suspend fun removeLocks(all: Boolean = false): Long = answered { handle.removeLocks(all) }.toLong()

    /**
     * Stops what runs, waits for that, and closes every file that could be locked. Until [resume], calls fail with
     * [EngineException.NotRunning].
     */
    public suspend fun suspend(grace: Duration = DEFAULT_GRACE): Unit = answered { handle.suspend(grace.toMs()) }

    /** Undoes [suspend]; without effect on an engine that is not suspended. */
    public suspend fun resume(): Unit = answered { handle.resume() }

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
         * @param credentials knows whom the vault takes the app for, where its address does not say it
         * @param trust says whether the vault's server is the right one, where [network] has no authorities for it
         */
        public suspend fun create(
            vault: String,
            password: String,
            label: String,
            keyStore: KeyStore? = null,
            network: NetworkOptions? = null,
            credentials: CredentialProvider? = null,
            trust: ServerTrust = SystemTrust,
        ): String {
            trust.prepareFor(vault)
            return answered { createRepository(vault, password, label, keyStore?.heard(), network, credentials, trust) }
        }

        /** Opens a vault with the key that [keyStore] holds. Where it holds none: [EngineException.KeyMissing]. */
        public suspend fun open(
            config: EngineConfig,
            keyStore: KeyStore,
            credentials: CredentialProvider? = null,
            trust: ServerTrust = SystemTrust,
        ): Engine {
            trust.prepareFor(config.vault)
            return Engine(answered { EngineHandle.openWithKeyStore(config, keyStore, credentials, trust) })
        }

        /** Opens a vault with a password, as on a new phone, and gives its key to [keyStore] for the next time. */
        public suspend fun open(
            config: EngineConfig,
            password: String,
            keyStore: KeyStore? = null,
            credentials: CredentialProvider? = null,
            trust: ServerTrust = SystemTrust,
        ): Engine {
            trust.prepareFor(config.vault)
            return Engine(answered { EngineHandle.openWithPassword(config, password, keyStore?.heard(), credentials, trust) })
        }

        /** An error of Java's that is no exception is lost on its way into the engine, and a key would count as saved. */
        private fun KeyStore.heard(): KeyStore = object : KeyStore by this {
            override fun saveKey(key: ByteArray) = try {
                this@heard.saveKey(key)
            } catch (error: Error) {
                throw HostException.Failed(error.toString())
            }
        }

        private suspend fun ServerTrust.prepareFor(vault: String) {
            if (this is ManagedTrust && (vault.startsWith("rest:") || vault.startsWith("s3:"))) prepare()
        }
    }
}
