package notes

import android.app.Activity
import android.content.Intent
import android.os.Bundle
import java.io.File
import java.util.UUID

/** The notes: type one, with a photo if you like; tap one to delete it. */
internal class NotesActivity : Activity() {
    private val application get() = super.getApplication() as NotesApplication
    private val text by lazy { field("A note") }
    private val notes by lazy { list() }

    override fun onCreate(state: Bundle?) {
        super.onCreate(state)
        setContentView(
            column(
                text,
                button("Add") { add(null) },
                button("Add with a photo") { startActivityForResult(Intent(Intent.ACTION_GET_CONTENT).setType("image/*"), PHOTO) },
                button("Backup") { startActivity(Intent(this, BackupActivity::class.java)) },
                notes,
            ),
        )
        if (BackupText.applied(application.applied) != null) startActivity(Intent(this, BackupActivity::class.java))
    }

    override fun onResume() {
        super.onResume()
        show()
    }

    @Deprecated("The framework's own, so that the demo needs no library")
    override fun onActivityResult(request: Int, result: Int, data: Intent?) {
        val chosen = data?.data ?: return
        val name = "${UUID.randomUUID()}.jpg"
        contentResolver.openInputStream(chosen)?.use { from ->
            File(application.vault.data, name).outputStream().use(from::copyTo)
        }
        add(name)
    }

    private fun add(photo: String?) {
        application.database.add(text.text.toString(), photo)
        text.text.clear()
        show()
    }

    private fun show() {
        notes.removeAllViews()
        for (note in application.database.all()) {
            val view = label()
            view.text = note.text + if (note.photo == null) "" else "  (photo)"
            view.setOnClickListener {
                application.database.remove(note.id)
                note.photo?.let { File(application.vault.data, it).delete() }
                show()
            }
            notes.addView(view)
        }
    }

    private companion object {
        const val PHOTO = 1
    }
}
