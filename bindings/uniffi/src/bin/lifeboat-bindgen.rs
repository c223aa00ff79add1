//! Writes the Kotlin and Swift sources from the built library: its arguments are those of `uniffi-bindgen`.

fn main() {
    uniffi::uniffi_bindgen_main();
}
