//! Networks as files: every gradient rule, bundled and foreign networks, files that mean harm.

mod gradient;
#[cfg(feature = "cli")]
pub mod inspect;
mod kernels;
mod network;
