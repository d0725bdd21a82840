//! Puts the modules that `decomcam firmware` wrote, into WHY or the folder `grey`, and the map of the memory of the BOARD where the program and the linker look for them.

use std::env::var;
use std::path::PathBuf;

fn main() {
    let directory = var("OUT_DIR").unwrap();
    let why = PathBuf::from(var("WHY").unwrap_or_else(|_| "../int8/grey".into())).canonicalize().unwrap();
    let modules = ["why", "network", "self_test"].map(|name| {
        println!("cargo:rerun-if-changed={}/{name}.rs", why.display());
        format!("#[path = \"{}/{name}.rs\"]\nmod {name};\n", why.display())
    });
    std::fs::write(format!("{directory}/modules.rs"), modules.concat()).unwrap();
    println!("cargo:rerun-if-env-changed=WHY");
    println!("cargo:rerun-if-env-changed=BOARD");
    let board = var("BOARD").unwrap_or_default();
    // The first timer of Arm's Cortex-M System Design Kit, and nanoseconds a tick; the Cortex-M55's board has none.
    let (timer, tick) = if board == "m33" { (0x5000_0000u32, 50) } else { (0x4000_0000, 40) };
    println!("cargo:rustc-env=TIMER={timer}");
    println!("cargo:rustc-env=TICK={}", if board == "m55" { 0 } else { tick });
    let memory = match (var("CARGO_CFG_TARGET_ARCH").unwrap().as_str(), board.as_str()) {
        ("arm", "m33") => "../cortex-m/an505.x",
        ("arm", "m55") => "../cortex-m/an547.x",
        ("arm", _) => "../cortex-m/memory.x",
        ("riscv32", _) => {
            println!("cargo:rustc-link-arg-bins=-Tmemory.x");
            "../riscv/memory.x"
        }
        ("wasm32", _) => {
            println!("cargo:rustc-link-arg-bins=--no-entry");
            println!("cargo:rustc-link-arg-bins=--export=run");
            return;
        }
        _ => return,
    };
    std::fs::copy(memory, format!("{directory}/memory.x")).unwrap();
    println!("cargo:rerun-if-changed={memory}");
    println!("cargo:rustc-link-search={directory}");
    println!("cargo:rustc-link-arg-bins=-Tlink.x");
}
