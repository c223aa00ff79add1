pluginManagement {
    repositories {
        google()
        mavenCentral()
        gradlePluginPortal()
    }
    plugins {
        id("com.android.application") version "8.13.2"
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

rootProject.name = "notes"
include(":app", ":lifeboat", ":lifeboat-workmanager")
project(":lifeboat").projectDir = file("../bindings/kotlin/android")
project(":lifeboat-workmanager").projectDir = file("../bindings/kotlin/workmanager")
