package lifeboat

import java.nio.file.Path
import java.sql.DriverManager
import kotlin.test.assertEquals

/** What the app does to its database, with its own copy of SQLite. */
internal fun Path.sql(vararg statements: String) {
    DriverManager.getConnection("jdbc:sqlite:$this").use { connection ->
        connection.createStatement().use { statement -> statements.forEach(statement::executeUpdate) }
    }
}

internal fun Path.notes(): List<String> {
    DriverManager.getConnection("jdbc:sqlite:$this").use { connection ->
        connection.createStatement().use { statement ->
            statement.executeQuery("PRAGMA integrity_check").use { assertEquals("ok", it.getString(1)) }
            statement.executeQuery("SELECT text FROM notes ORDER BY id").use { rows ->
                return generateSequence { if (rows.next()) rows.getString(1) else null }.toList()
            }
        }
    }
}
