package notes

import android.Manifest
import android.app.Activity
import android.app.AlertDialog
import android.content.ComponentName
import android.content.Intent
import android.os.Build
import android.os.Bundle
import android.text.InputType
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.Job
import kotlinx.coroutines.MainScope
import kotlinx.coroutines.cancel
import kotlinx.coroutines.launch
import lifeboat.Engine
import lifeboat.EngineException
import lifeboat.SnapshotInfo
import lifeboat.work.AndroidConditions
import lifeboat.work.Backups
import kotlin.system.exitProcess

/** How the backup is doing, why not now, back up now, and what there is to restore. */
internal class BackupActivity : Activity() {
    private val application get() = super.getApplication() as NotesApplication
    private val vault get() = application.vault
    private val headline by lazy { label(22f) }
    private val why by lazy { label() }
    private val progress by lazy { label() }
    private val address by lazy { field("Vault: a folder, rest:https://… or s3:https://…", vault.address) }
    private val password by lazy {
        field("Password").apply { inputType = InputType.TYPE_CLASS_TEXT or InputType.TYPE_TEXT_VARIATION_PASSWORD }
    }
    private val snapshots by lazy { list() }

    /** While the screen is shown. Leaving it cancels what runs: the worker goes on with it. */
    private var scope: CoroutineScope = MainScope()
    private var work: Job? = null

    override fun onCreate(state: Bundle?) {
        super.onCreate(state)
        setContentView(
            column(
                headline, why, progress,
                button("Back up now") { whileOpen(::backUp) },
                address, password,
                button("Use this vault") { begin { connect() } },
                label().apply { text = "Snapshots" },
                snapshots,
            ),
        )
        askAboutRestored()
    }

    override fun onStart() {
        super.onStart()
        scope = MainScope()
        if (vault.address.isNotEmpty()) whileOpen { }
    }

    override fun onStop() {
        scope.cancel()
        super.onStop()
    }

    private suspend fun connect() {
        // For what the worker shows while it is at work. Refused, it works all the same.
        if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.TIRAMISU) requestPermissions(arrayOf(Manifest.permission.POST_NOTIFICATIONS), 0)
        vault.connect(address.text.toString().trim(), password.text.toString())
        password.text.clear()
        Backups.start(this)
        vault.whileOpen(::show)
    }

    private suspend fun backUp(engine: Engine) {
        do {
            val outcome = engine.runDue(vault.request, AndroidConditions(this).read(asked = true))
            outcome.error?.let { throw it }
        } while (outcome.again && outcome.backup == null)
    }

    private fun restore(snapshot: SnapshotInfo) {
        AlertDialog.Builder(this)
            .setTitle("Restore?")
            .setMessage("${BackupText.snapshot(snapshot)}\n\nIt is fetched now, and put in place when the app starts again. What is here is kept until you have looked.")
            .setNegativeButton("Cancel", null)
            .setPositiveButton("Restore") { _, _ ->
                whileOpen { engine ->
                    vault.stage(engine, snapshot.id)
                    engine.stop()
                    // The next start puts it in place, before anything is opened.
                    startActivity(Intent.makeRestartActivityTask(ComponentName(this, NotesActivity::class.java)))
                    exitProcess(0)
                }
            }
            .show()
    }

    private fun askAboutRestored() {
        val question = BackupText.applied(application.applied) ?: return
        AlertDialog.Builder(this)
            .setMessage(question)
            .setPositiveButton("Keep") { _, _ -> vault.confirm() }
            .setNegativeButton("Go back") { _, _ ->
                application.database.close()
                vault.rollBack()
                recreate()
            }
            .setCancelable(false)
            .show()
    }

    /** Does something with an engine, and shows how it goes. One thing at a time. */
    private fun whileOpen(act: suspend (Engine) -> Unit) = begin {
        vault.whileOpen { engine ->
            val watching = scope.launch { engine.progress().collect { progress.text = BackupText.progress(it) } }
            try {
                act(engine)
            } finally {
                watching.cancel()
            }
            show(engine)
        }
    }

    private fun begin(act: suspend () -> Unit) {
        if (work?.isActive == true) return
        work = scope.launch(Dispatchers.Main) {
            try {
                progress.text = ""
                act()
            } catch (error: EngineException) {
                progress.text = BackupText.error(error)
            }
        }
    }

    private suspend fun show(engine: Engine) {
        val status = engine.status(AndroidConditions(this).read())
        headline.text = BackupText.headline(status)
        why.text = BackupText.why(status)
        val found = engine.snapshots().asReversed()
        snapshots.removeAllViews()
        for (snapshot in found) {
            snapshots.addView(button(BackupText.snapshot(snapshot)) { restore(snapshot) })
        }
    }
}
