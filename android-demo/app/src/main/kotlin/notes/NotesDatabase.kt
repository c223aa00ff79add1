package notes

import android.content.ContentValues
import android.content.Context
import android.database.sqlite.SQLiteDatabase
import android.database.sqlite.SQLiteOpenHelper
import java.io.File

internal data class Note(val id: Long, val text: String, val photo: String?)

/** The app's own data, as any app has it: nothing here knows of backups. */
internal class NotesDatabase(context: Context, dir: File) : SQLiteOpenHelper(context, File(dir, "notes.db").path, null, VERSION) {
    override fun onConfigure(database: SQLiteDatabase) {
        database.enableWriteAheadLogging()
    }

    override fun onCreate(database: SQLiteDatabase) =
        database.execSQL("CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT NOT NULL, photo TEXT)")

    override fun onUpgrade(database: SQLiteDatabase, from: Int, to: Int) = Unit

    fun add(text: String, photo: String?) {
        val row = ContentValues().apply {
            put("text", text)
            put("photo", photo)
        }
        writableDatabase.insertOrThrow("notes", null, row)
    }

    fun remove(id: Long) {
        writableDatabase.delete("notes", "id = ?", arrayOf(id.toString()))
    }

    fun all(): List<Note> = readableDatabase.rawQuery("SELECT id, text, photo FROM notes ORDER BY id DESC", null).use { rows ->
        generateSequence { if (rows.moveToNext()) Note(rows.getLong(0), rows.getString(1), rows.getString(2)) else null }.toList()
    }

    companion object {
        const val VERSION = 1
    }
}
