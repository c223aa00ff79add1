// Signatures of SQLCipher, which is for Android only, to compile against.

package net.zetetic.database.sqlcipher

abstract class SQLiteDatabase private constructor() {
    abstract val path: String

    abstract fun beginTransaction()

    abstract fun endTransaction()
}
