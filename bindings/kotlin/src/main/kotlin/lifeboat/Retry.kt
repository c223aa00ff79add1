package lifeboat

/** When doing the same again can help. */
public enum class Retry {
    /** Something else must be done instead. */
    NEVER,

    /** By itself: at the next opportunity. */
    LATER,

    /** When the user has done something: typed a password, made room, granted access. */
    AFTER_USER_ACTS,
}

/** What a worker does about an error; a screen looks at the kind itself. */
public val EngineException.retry: Retry
    get() = when (this) {
        is EngineException.Cancelled,
        is EngineException.NotRunning,
        is EngineException.Busy,
        is EngineException.KeyUnavailable,
        is EngineException.Unreachable,
        is EngineException.WrongServer,
        is EngineException.Locked,
        is EngineException.Catalog,
        is EngineException.Io,
        -> Retry.LATER

        is EngineException.KeyMissing,
        is EngineException.WrongPassword,
        is EngineException.AccessDenied,
        is EngineException.NoRepository,
        is EngineException.OutOfSpace,
        -> Retry.AFTER_USER_ACTS

        is EngineException.RepositoryExists,
        is EngineException.Unsupported,
        is EngineException.Damaged,
        is EngineException.InvalidInput,
        is EngineException.NotFound,
        is EngineException.Bug,
        -> Retry.NEVER
    }
