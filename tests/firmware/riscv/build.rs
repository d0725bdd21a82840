//! Puts the map of the memory where the linker script looks for it.

fn main() {
    let directory = std::env::var("OUT_DIR").unwrap();
    std::fs::copy("memory.x", format!("{directory}/memory.x")).unwrap();
    println!("cargo:rerun-if-changed=memory.x");
    println!("cargo:rustc-link-search={directory}");
    println!("cargo:rustc-link-arg-bins=-Tmemory.x");
    println!("cargo:rustc-link-arg-bins=-Tlink.x");
}
