//! The class activation maps that DecomCAM is held against: one map of a score, from activations and gradients alone.
//!
//! All stream over channels and give the bare map, neither clamped nor scaled, as [`crate::integrate::sum`] does: resample it, clamp it at zero, scale
//! it with [`crate::mask::Range`].

use crate::activations::Maps;
use crate::decompose::{self, SignRule};
use crate::{Error, maths};

/// A map that is a sum over channels. A is a channel's activation, G the gradient of the score there, sums run over positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Cam {
    /// sum_c w_c A_c with w = mean G. Selvaraju et al., ICCV 2017, equations 1 and 2.
    GradCam,
    /// sum_c w_c A_c with w = sum of max(0, G) a and a = G^2 / (2 G^2 + G^3 sum A + 1e-6), 0 where G is. Chattopadhyay et al., WACV 2018, equation 19.
    /// The 1e-6, grad-cam's, makes the map depend on the unit of the score where gradients are about a thousandth or less.
    GradCamPlusPlus,
    /// sum_c w_c A_c with w = sum of G A / (sum A + 1e-7). Fu et al., BMVC 2020, equation 9; the 1e-7 is grad-cam's.
    XGradCam,
    /// sum_c G_c A_c. Draelos and Carin 2020, equation 4.
    HiResCam,
    /// sum_c max(0, G_c) A_c. Jiang et al., TIP 2021, equations 5 and 6.
    LayerCam,
}

/// `f32`s of scratch for [`cam`]: one channel's activations and gradients.
pub const fn scratch_len(positions: usize) -> usize {
    positions.saturating_mul(2)
}

/// The map of a [`Cam`].
///
/// # Shapes
/// `activations` and `gradients` C x H x W; `scratch` at least [`scratch_len`]`(H W)`; `map` H x W, overwritten.
///
/// # Errors
/// Before anything is written: [`Error::Shape`] if the shapes differ or `map` is not H W long, [`Error::WorkspaceTooSmall`]. Later:
/// [`Error::NonFinite`] if an activation, a gradient or a value of the map is NaN or infinite.
///
/// # Accuracy
/// Within 1e-5 of the largest value of the PyPI package `grad-cam` 1.5.7 and of the formulas in float64: asserted by `tests/core/cams.rs`.
///
/// # Cost
/// Every channel is read once.
pub fn cam(cam: Cam, activations: &Maps, gradients: &Maps, scratch: &mut [f32], map: &mut [f32]) -> Result<(), Error> {
    let positions = alike(activations, gradients, map)?;
    let scratch = scratch.get_mut(..scratch_len(positions)).ok_or(Error::WorkspaceTooSmall)?;
    let (a, g) = scratch.split_at_mut_checked(positions).ok_or(Error::WorkspaceTooSmall)?;
    map.fill(0.0);
    for channel in 0..activations.channels() {
        activations.read(channel, a)?;
        gradients.read(channel, g)?;
        // Comparisons would turn a NaN into a number.
        if !(maths::largest_magnitude(a).is_finite() && maths::largest_magnitude(g).is_finite()) {
            return Err(Error::NonFinite);
        }
        // What each activation is multiplied with, in the place of the gradients.
        match cam {
            Cam::GradCam => g.fill(maths::mean(g)),
            Cam::GradCamPlusPlus => {
                let total = maths::finite(maths::sum(a))?;
                for g in g.iter_mut() {
                    let gradient = maths::greater(*g, 0.0);
                    // The same, divided by g^2 or by g^3, whose powers stay in range.
                    *g = if gradient > 1.0 {
                        1.0 / ((2.0 + 1e-6 / gradient / gradient) / gradient + total)
                    } else {
                        let square = gradient * gradient;
                        gradient * (square / (2.0 * square + total * (square * gradient) + 1e-6))
                    };
                }
                g.fill(maths::sum(g));
            }
            Cam::XGradCam => g.fill(maths::dot(g, a) / (maths::finite(maths::sum(a))? + 1e-7)),
            Cam::HiResCam => {}
            Cam::LayerCam => {
                for g in g.iter_mut() {
                    *g = maths::greater(*g, 0.0);
                }
            }
        }
        for ((total, a), g) in map.iter_mut().zip(&*a).zip(&*g) {
            *total += a * g;
        }
    }
    if maths::largest_magnitude(map).is_finite() { Ok(()) } else { Err(Error::NonFinite) }
}

/// Eigen-CAM: the first principal component of the activations, (U s)_1 of the centred maps. No score is in it.
///
/// # Shapes
/// `activations` C x H x W; `workspace` at least [`decompose::workspace_len`]`(H W, C)`; `map` H x W, overwritten.
///
/// # Conventions
/// Maps are centred over positions, as in `grad-cam` (the paper does not). The sign is the one on which the sum of the maps is above its mean;
/// `grad-cam` leaves it to LAPACK, whose choice follows no rule.
///
/// # Errors
/// [`Error::Shape`] if `map` is not H W long; those of [`decompose::decompose`] for one component of all channels.
///
/// # Accuracy
/// As [`cam`].
///
/// # Reference
/// Muhammad and Yeasin, IJCNN 2020, equation 4.
pub fn eigen_cam(activations: &Maps, workspace: &mut [f32], map: &mut [f32]) -> Result<(), Error> {
    first_component(activations, workspace, map, |channel, row| activations.read(channel, row))
}

/// EigenGrad-CAM: the first principal component of G A, Eigen-CAM of the activations times the gradient at every position.
///
/// # Shapes
/// `activations` and `gradients` C x H x W; otherwise those of [`eigen_cam`].
///
/// # Conventions
/// Those of [`eigen_cam`]: the sign is the one that the score rewards, to first order.
///
/// # Errors
/// [`Error::Shape`] if the shapes differ; those of [`eigen_cam`].
///
/// # Reference
/// The package `grad-cam`, `EigenGradCAM`.
pub fn eigen_grad_cam(
    activations: &Maps,
    gradients: &Maps,
    workspace: &mut [f32],
    map: &mut [f32],
) -> Result<(), Error> {
    alike(activations, gradients, map)?;
    first_component(activations, workspace, map, |channel, row| {
        activations.read(channel, row)?;
        let mut places = row.iter_mut();
        gradients.visit(channel, &mut |run| {
            for (gradient, place) in run.iter().zip(&mut places) {
                *place *= gradient;
            }
        })
    })
}

fn first_component(
    activations: &Maps,
    workspace: &mut [f32],
    map: &mut [f32],
    read: impl Fn(usize, &mut [f32]) -> Result<(), Error>,
) -> Result<(), Error> {
    let positions = activations.positions();
    if map.len() != positions {
        return Err(Error::Shape);
    }
    let channels = 0..activations.channels();
    let parts = decompose::decompose_maps(positions, channels, 1, SignRule::Score, workspace, |channel, row| {
        read(channel, row)?;
        Ok(1.0)
    })?;
    for (place, value) in map.iter_mut().zip(parts.maps()) {
        *place = *value;
    }
    Ok(())
}

fn alike(activations: &Maps, gradients: &Maps, map: &[f32]) -> Result<usize, Error> {
    let positions = activations.positions();
    let same = activations.size() == gradients.size() && activations.channels() == gradients.channels();
    if same && map.len() == positions { Ok(positions) } else { Err(Error::Shape) }
}
