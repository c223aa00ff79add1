package androidx.annotation

@Target(AnnotationTarget.CLASS, AnnotationTarget.FUNCTION)
annotation class RequiresApi(val value: Int)
