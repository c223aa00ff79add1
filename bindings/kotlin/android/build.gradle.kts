// Lifeboat as an Android library: the same sources as the JVM package, with the engine for each processor in it.
//
//   bindings/kotlin/android/build-native      builds the engine with cargo-ndk, and generates the binding
//   ./gradlew :lifeboat:assembleRelease
plugins {
    id("com.android.library")
    id("org.jetbrains.kotlin.android")
}

android {
    namespace = "lifeboat"
    compileSdk = 36
    defaultConfig {
        minSdk = 24
        consumerProguardFiles("../src/main/resources/META-INF/proguard/lifeboat.pro")
    }
    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_17
        targetCompatibility = JavaVersion.VERSION_17
    }
    sourceSets["main"].apply {
        kotlin.srcDirs("../src/main/kotlin", "build/generated/kotlin")
        jniLibs.srcDirs("build/jniLibs")
    }
}

kotlin {
    jvmToolchain(17)
}

dependencies {
    api("org.jetbrains.kotlinx:kotlinx-coroutines-android:1.11.0")
    implementation("net.java.dev.jna:jna:5.19.1@aar")
}
