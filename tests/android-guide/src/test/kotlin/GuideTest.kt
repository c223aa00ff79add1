import kotlinx.coroutines.cancel
import kotlinx.coroutines.runBlocking
import org.junit.jupiter.api.AfterEach
import org.junit.jupiter.api.Test
import java.io.File
import java.sql.DriverManager
import kotlin.test.assertContentEquals
import kotlin.test.assertEquals
import kotlin.test.assertFalse
import kotlin.test.assertTrue

/** The first chapter, run as it stands in the guide: against a folder, with the real engine. */
class GuideTest {
    private val photo = File(app, "files/photo.jpg")
    private val database = File(app, "databases/notes.db")

    @AfterEach
    fun end() {
        scope.cancel()
        home.deleteRecursively()
    }

    @Test
    fun `a reader has a backup, and brings back what was lost`() = runBlocking<Unit> {
        listOf(photo.parentFile, database.parentFile, noBackup).forEach(File::mkdirs)
        photo.writeBytes(ByteArray(100_000) { (it * it).toByte() })
        val taken = photo.readBytes()
        sql("CREATE TABLE notes (text TEXT)", "INSERT INTO notes VALUES ('milk')", "PRAGMA user_version = 7")

        meanwhile = { if (it.endsWith(" old")) lose() }
        `From nothing to a backup`()

        assertEquals(listOf("2 new files", "backed up"), logged.take(2))
        assertEquals(1, logged.count { it.endsWith(" old") }, "$logged")
        assertContentEquals(taken, photo.readBytes())
        assertEquals("milk", note())
        assertTrue(File(noBackup, "lifeboat").isDirectory, "the engine's state lies beside what was restored, and stays")
        assertEquals(setOf("files", "databases", "no_backup"), app.list()?.toSet(), "the restore was confirmed, and left nothing behind")
    }

    private fun lose() {
        assertTrue(photo.delete())
        sql("UPDATE notes SET text = 'bread'")
        assertFalse(photo.exists())
    }

    private fun sql(vararg statements: String) = DriverManager.getConnection("jdbc:sqlite:$database").use { connection ->
        connection.createStatement().use { statement -> statements.forEach(statement::executeUpdate) }
    }

    private fun note(): String = DriverManager.getConnection("jdbc:sqlite:$database").use { connection ->
        connection.createStatement().use { statement ->
            statement.executeQuery("SELECT text FROM notes").use { it.getString(1) }
        }
    }
}
