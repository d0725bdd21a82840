//! What every JSON file says about the program that wrote it.

/// Version of the layout of the JSON files. It grows when a field changes its meaning or goes away, not when one is added.
pub const SCHEMA_VERSION: u32 = 2;

/// Name and version of this program, as JSON files have it.
pub const PROGRAM: &str = concat!("decomcam ", env!("CARGO_PKG_VERSION"));
