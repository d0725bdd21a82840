//! Networks as files: every gradient rule, bundled and foreign networks, files that mean harm.

mod gradient;
mod inspect;
mod network;
