// The libraries for Android. On the JVM, Maven builds the same sources.
pluginManagement {
    repositories {
        google()
        mavenCentral()
        gradlePluginPortal()
    }
    plugins {
        id("com.android.library") version "8.13.2"
        id("org.jetbrains.kotlin.android") version "2.4.21"
    }
}

dependencyResolutionManagement {
    repositories {
        google()
        mavenCentral()
    }
}

rootProject.name = "lifeboat"
include(":lifeboat", ":lifeboat-workmanager")
project(":lifeboat").projectDir = file("android")
project(":lifeboat-workmanager").projectDir = file("workmanager")
