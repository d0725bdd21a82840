//! Puts the map of the memory where the linker script looks for it.

fn main() {
    let directory = std::env::var("OUT_DIR").unwrap();
    let feature = |name: &str| std::env::var_os(format!("CARGO_FEATURE_{name}")).is_some();
    let memory = if feature("AN547") {
        "an547.x"
    } else if feature("AN505") {
        "an505.x"
    } else {
        "memory.x"
    };
    std::fs::copy(memory, format!("{directory}/memory.x")).unwrap();
    println!("cargo:rerun-if-changed={memory}");
    println!("cargo:rustc-link-search={directory}");
    println!("cargo:rustc-link-arg-bins=-Tlink.x");
}
