//! Links from `_start`, without a start-up crate.

fn main() {
    println!("cargo:rustc-link-arg-bins=-e");
    println!("cargo:rustc-link-arg-bins=_start");
}
