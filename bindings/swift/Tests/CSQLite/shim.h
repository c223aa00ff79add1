// The app's own SQLite in the tests: another copy than the engine's, as on a phone.
#include <sqlite3.h>
