//! Puts the network, NETWORK or grey.rs, and the map of the memory where the program and the linker look for them.

use std::env::var;

fn main() {
    let directory = var("OUT_DIR").unwrap();
    let network = var("NETWORK").unwrap_or_else(|_| "grey.rs".into());
    std::fs::copy(&network, format!("{directory}/network.rs")).unwrap();
    println!("cargo:rerun-if-env-changed=NETWORK");
    println!("cargo:rerun-if-changed={network}");
    if var("CARGO_CFG_TARGET_OS").as_deref() != Ok("none") {
        return;
    }
    let memory = match var("CARGO_CFG_TARGET_ARCH").unwrap().as_str() {
        "arm" => "../cortex-m/memory.x",
        _ => {
            println!("cargo:rustc-link-arg-bins=-Tmemory.x");
            "../riscv/memory.x"
        }
    };
    std::fs::copy(memory, format!("{directory}/memory.x")).unwrap();
    println!("cargo:rerun-if-changed={memory}");
    println!("cargo:rustc-link-search={directory}");
    println!("cargo:rustc-link-arg-bins=-Tlink.x");
}
