//! DecomCAM without an allocator: *why* a network gave its score, from buffers that are already in memory.
//!
//! The idea (Yang et al., "DecomCAM", Neurocomputing 610 (2024) 127826): weigh a layer's activation maps with the gradient of the score, decompose
//! them by SVD into orthogonal sub-saliency maps (OSSMs), state what each contributes, and integrate them into one saliency map. The path of the
//! data is the list of modules, top to bottom:
//!
//! | module | in | out |
//! |---|---|---|
//! | [`activations`] | somebody else's buffer | [`Maps`], a borrowed view, channels x height x width |
//! | [`channels`] | gradients | channel weights, and the top P channels |
//! | [`decompose`] | activations, weights, channels | singular values and signed components, positions x positions memory |
//! | [`resample`] | a small map | its rows at any size, bicubic |
//! | [`mask`] | a resampled map, photo, blurred photo | the masked photo that is scored |
//! | [`integrate`] | scores of the masked photos, or the closed form | weights, saliency |
//!
//! [`head`] replaces gradients and masked photos where the network ends in average pooling and a linear layer: an explanation wholly on the device.
//! [`cams`] holds the other methods' maps: Grad-CAM and its kin. [`affinity`] averages maps over positions with similar activations.
//! [`sides`] turns components until little of them is on the side that is cut off.
//! [`draw`] lays the saliency over rows of a picture, and [`frame`] packs an explanation into a few hundred bytes, to be sent.
//! [`capsule`] records an explanation, so that another machine can compute it again and compare the bits.
//! [`svd`] is the Jacobi SVD with which `decompose` ends, public on its own. [`sums`] are the sums of everything, for programs whose numbers must have the
//! same bits.
//!
//! # Same bits everywhere
//! Every sum has one written order (eight fixed lanes, see [`sums`]; four inside the decomposition), nothing is fused, square roots are correctly rounded, and no platform maths
//! library is called: the same buffers give the same bits on x86-64, Cortex-M and RISC-V. (The `micromath` feature trades this crate's exact
//! square root and exponential for approximate ones: same bits among builds with the feature, other bits than without.)
//!
//! This needs the arithmetic that every machine has unless it is changed: rounded to nearest, subnormal numbers kept. [`environment_ok`] tells.
//!
//! # No heap, no panic, no unsafe
//! Callers own every buffer; `const fn`s state the sizes; lengths are checked once, before anything is written. (The C interface, feature `capi`, is
//! the one file that needs `unsafe`: C passes pointers.)
//!
//! # Example
//! ```
//! use decomcam_core::{channels, decompose, integrate, Maps, SignRule};
//!
//! // Two channels of 2 x 2 and the gradient of a score with respect to them.
//! let activations = Maps::chw(&[1.0, 0.0, 0.0, 0.0, 0.0, 2.0, 0.0, 1.0], 2, 2, 2)?;
//! let gradients = Maps::chw(&[1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5], 2, 2, 2)?;
//!
//! let mut weights = [0.0; 2];
//! channels::weights(&gradients, &mut weights)?;
//! let top = channels::top::<2>(&weights, 2)?;
//!
//! let mut workspace = [0.0; decompose::workspace_len(4, 2)];
//! let components = decompose::decompose(&activations, &weights, &top, 2, SignRule::Score, &mut workspace)?;
//! let mut part_weights = [0.0; 2];
//! integrate::aligned_weights(&components, &mut part_weights)?;
//! let ossms = components.rectify();
//! let mut saliency = [0.0; 4];
//! integrate::sum(ossms.maps(), &part_weights, &mut saliency)?;
//! assert!(saliency[1] > saliency[2]);
//! # Ok::<(), decomcam_core::Error>(())
//! ```
#![no_std]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable)]

pub mod activations;
pub mod affinity;
mod bidiagonal;
pub mod cams;
pub mod capsule;
pub mod channels;
pub mod decompose;
pub mod draw;
mod environment;
#[cfg(feature = "capi")]
pub mod ffi;
pub mod frame;
pub mod head;
pub mod integrate;
mod leading;
pub mod mask;
mod maths;
mod quads;
pub mod resample;
pub mod sides;
#[cfg(not(feature = "micromath"))]
mod sqrt;
pub mod sums;
pub mod svd;
mod triangle;

pub use activations::{Layout, Maps, Quantisation};
pub use decompose::{Components, Ossms, Parts, SignRule};
pub use environment::environment_ok;
pub use integrate::{ScoreFormula, Weighing};

/// The text of `decomcam.h`, the interface in C: for programs that write firmware in C.
pub const C_HEADER: &str = include_str!("../include/decomcam.h");

/// Why a call was refused. Nothing has been written to the caller's outputs when a shape or size is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[repr(u8)]
#[non_exhaustive]
pub enum Error {
    /// A length, or a product of sizes, is zero or does not match.
    Shape = 1,
    /// A workspace is shorter than its `const fn` says.
    WorkspaceTooSmall = 2,
    /// A value is NaN or infinite, or became so when it was weighted.
    NonFinite = 3,
    /// The Jacobi sweeps reached their cap before all pairs were orthogonal.
    NotConverged = 4,
    /// The number of channels P is zero, more than there are, or more than the capacity.
    Channels = 5,
    /// The number of components Q is zero or more than exist.
    Components = 6,
    /// A quantisation's scale is not finite, or its zero point is no byte.
    Quantisation = 7,
    /// The bytes do not begin like a capsule.
    NotACapsule = 8,
    /// The capsule is of a version that this build does not read.
    CapsuleVersion = 9,
    /// The capsule is cut short, changed, or contradicts itself.
    CapsuleDamaged = 10,
    /// The bytes do not begin like a frame.
    NotAFrame = 11,
    /// The frame is of a version that this build does not read.
    FrameVersion = 12,
    /// The frame is cut short, changed, or contradicts itself.
    FrameDamaged = 13,
}

impl core::fmt::Display for Error {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Error::Shape => "a length is zero or does not match the shape",
            Error::WorkspaceTooSmall => "the workspace is too small",
            Error::NonFinite => "a value is NaN or infinite",
            Error::NotConverged => "the Jacobi SVD did not converge within its sweep cap",
            Error::Channels => "the number of channels is zero or more than exist",
            Error::Quantisation => "a scale is not finite or a zero point is no byte",
            Error::NotACapsule => "the bytes are no capsule",
            Error::CapsuleVersion => "the capsule is of another version",
            Error::CapsuleDamaged => "the capsule is damaged",
            Error::NotAFrame => "the bytes are no frame",
            Error::FrameVersion => "the frame is of another version",
            Error::FrameDamaged => "the frame is damaged",
            Error::Components => "the number of components is zero or more than exist",
        })
    }
}

impl core::error::Error for Error {}

/// The programs of the guide are compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Guide;
