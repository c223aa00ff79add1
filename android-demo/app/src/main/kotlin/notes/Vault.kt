package notes

import android.content.Context
import kotlinx.coroutines.NonCancellable
import kotlinx.coroutines.withContext
import lifeboat.AcceptedSchema
import lifeboat.ApplyResult
import lifeboat.BackupRequest
import lifeboat.BackupSource
import lifeboat.Engine
import lifeboat.EngineConfig
import lifeboat.EngineException
import lifeboat.RestoreRequest
import lifeboat.applyPendingRestore
import lifeboat.work.KeystoreKeyStore
import java.io.File

/** Where this app backs up to, and what. */
internal class Vault(private val context: Context) {
    private val settings = context.getSharedPreferences("vault", Context.MODE_PRIVATE)
    private val keys = KeystoreKeyStore(context)

    /** `/storage/…`, `rest:https://…` or `s3:https://…`; empty until the user has chosen one. */
    var address: String
        get() = settings.getString("address", "").orEmpty()
        private set(value) = settings.edit().putString("address", value).apply()

    /** The photos and the database lie in one folder, which is what is backed up and restored. */
    val data: File = File(context.filesDir, "notes").apply { mkdirs() }

    /** Restores are put in place here: the source `notes` becomes the folder of that name. */
    private val target: File = context.filesDir

    val request = BackupRequest(listOf(BackupSource(data.path, "notes")), label = "phone", skipIfUnchanged = true)

    suspend fun open(): Engine = Engine.open(config(address), keys)

    /** Opens the engine for as long as [act] takes. On a screen's thread: unlike `use`, ending it blocks nobody. */
    suspend fun <T> whileOpen(act: suspend (Engine) -> T): T {
        val engine = open()
        try {
            return act(engine)
        } finally {
            withContext(NonCancellable) { engine.stop() }
        }
    }

    /** Makes a backup at the address, or opens the one that is there, and keeps its key. */
    suspend fun connect(address: String, password: String) {
        try {
            Engine.create(address, password, "Notes on Android", keys)
        } catch (_: EngineException.RepositoryExists) {
            Engine.open(config(address), password, keys).close()
        }
        this.address = address
    }

    suspend fun stage(engine: Engine, snapshot: String) = engine.restore(RestoreRequest(snapshot, target.path, stageOnly = true))

    /** For the start of the app, before anything of it is opened. */
    fun applyPending(): ApplyResult =
        applyPendingRestore(target.path, listOf(AcceptedSchema("notes/notes.db", NotesDatabase.VERSION)))

    fun confirm() = lifeboat.confirmRestore(target.path)

    fun rollBack() = lifeboat.rollBackRestore(target.path)

    private fun config(address: String) = EngineConfig(address, File(context.noBackupFilesDir, "lifeboat").path)
}
