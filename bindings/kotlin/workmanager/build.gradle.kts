// The library for Android. Needs the Android SDK, and the engine's libraries in ../android (see there).
plugins {
    id("com.android.library")
    id("org.jetbrains.kotlin.android")
}

android {
    namespace = "lifeboat.work"
    compileSdk = 36
    defaultConfig {
        minSdk = 24
    }
    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_17
        targetCompatibility = JavaVersion.VERSION_17
    }
}

kotlin {
    jvmToolchain(17)
}

dependencies {
    api(project(":lifeboat"))
    api("androidx.work:work-runtime-ktx:2.10.5")
    implementation("androidx.annotation:annotation:1.9.1")
}
