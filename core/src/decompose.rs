//! Stages 4 to 6: class-discriminative maps, their centred decomposition, signs, and the OSSMs.
//!
//! X holds one weighted map per selected channel, w_c A_c less its mean over positions; X = U diag(s) V', positions x channels. Only
//! U diag(s), the components, is needed, so X never exists: its columns stream through into R with R'R = XX' (the `triangle` module), and the rows of
//! R are rotated until orthogonal ([`crate::svd`]). What they become is diag(s) U'.

use crate::Error;
use crate::activations::Maps;
use crate::channels::Channel;
use crate::maths::{self, LANES};
use crate::svd::{Columns, Convergence};
use crate::triangle::{Triangle, restore_order};

/// Which side of a component is kept when negatives are cut off. The sign of a singular vector is free, so a rule must choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum SignRule {
    /// The side that the score rewards: the component agrees with the first-order map of the score, (U s)_q' L >= 0.
    #[default]
    Score,
    /// The largest |channel loading| is positive: scikit-learn since 1.5. Reads the channels a second time.
    LargestLoading,
    /// The largest |entry| of the component is positive: scikit-learn before 1.5.
    LargestEntry,
}

/// Rows of the triangular factor: the smaller side of X.
const fn rank(positions: usize, channels: usize) -> usize {
    if positions < channels { positions } else { channels }
}

/// `f32`s that [`decompose`] needs: at most (positions + 13) * positions, however many channels.
///
/// With r = min(positions, channels): the factor r * positions, the block 8 * positions, a row, the first-order map, scratch and the order of the positions
/// 4 * positions, and the lengths r.
pub const fn workspace_len(positions: usize, channels: usize) -> usize {
    let rank = rank(positions, channels);
    // Sizes that do not fit in a `usize` need more memory than there is.
    rank.saturating_mul(positions).saturating_add(positions.saturating_mul(LANES + 4)).saturating_add(rank)
}

/// Components that exist: centring takes one dimension of the positions.
pub const fn components_max(positions: usize, channels: usize) -> usize {
    let centred = positions.saturating_sub(1);
    if centred < channels { centred } else { channels }
}

/// The components of a layer's weighted maps, in the caller's workspace.
#[derive(Debug)]
pub struct Decomposition<'w> {
    components: &'w mut [f32],
    singular_values: &'w [f32],
    first_order: &'w [f32],
    positions: usize,
    convergence: Convergence,
}

impl Decomposition<'_> {
    /// The signed components (U s)_q, Q x H x W; the OSSMs after [`Decomposition::rectify`].
    pub fn components(&self) -> &[f32] {
        self.components
    }

    /// All min(P, H W) singular values, descending: more than Q, so that the gap behind the last component and the variance left out are known.
    pub fn singular_values(&self) -> &[f32] {
        self.singular_values
    }

    /// L = sum over the selected channels of the centred weighted maps, H x W: the first-order map of the score.
    pub fn first_order(&self) -> &[f32] {
        self.first_order
    }

    /// Values in one map.
    pub fn positions(&self) -> usize {
        self.positions
    }

    /// How far the Jacobi sweeps got.
    pub fn convergence(&self) -> Convergence {
        self.convergence
    }

    /// (U s)_q' L = s_q^2 sum_c V_cq for component `q`: its share of the first-order map, the closed form of its contribution. None if there is no
    /// such component. After [`Decomposition::rectify`] this is the share of the OSSM.
    pub fn alignment(&self, q: usize) -> Option<f32> {
        alignment(self.components, self.first_order, q)
    }

    /// Cuts negatives off: components become OSSMs, max(0, (U s)_q).
    pub fn rectify(&mut self) {
        rectify(self.components);
    }
}

/// [`Decomposition::alignment`] of components as C holds them.
pub(crate) fn alignment(components: &[f32], first_order: &[f32], q: usize) -> Option<f32> {
    let start = q.checked_mul(first_order.len())?;
    let component = components.get(start..start.checked_add(first_order.len())?)?;
    Some(maths::dot(component, first_order))
}

/// [`Decomposition::rectify`] of components as C holds them.
pub(crate) fn rectify(components: &mut [f32]) {
    for value in components {
        if *value < 0.0 {
            *value = 0.0;
        }
    }
}

/// The first `components` components of the weighted maps of the selected channels.
///
/// # Shapes
/// `activations` C x H x W; `weights` C; `channels` P indices into them, in the order in which they stream; `workspace` at least
/// [`workspace_len`]`(H W, P)`, overwritten.
///
/// # Conventions
/// Each channel's weighted map is centred over positions (released DecomCAM is a centred PCA, although its text says SVD); singular values descend;
/// signs by `sign`.
///
/// # Errors
/// Before anything is written: [`Error::Shape`] if `weights` is not C long or a channel does not exist, [`Error::Channels`] if there are none,
/// [`Error::Components`] if `components` is zero or more than [`components_max`], [`Error::WorkspaceTooSmall`]. Later: [`Error::NonFinite`] if a
/// weighted map or a singular value is not finite, [`Error::NotConverged`].
///
/// # Accuracy
/// Singular values within 2e-6 of the largest, components within 1e-5 of the largest entry, against float64: asserted by `tests/golden.rs` on real
/// activations and by `tests/stages.rs` on random ones.
///
/// # Cost
/// 2 P n r operations to stream and about 6 sweeps of r^2 / 2 pairs, 2 n to 8 n operations each, with n = H W and r = min(P, n).
pub fn decompose<'w>(
    activations: &Maps,
    weights: &[f32],
    channels: &[Channel],
    components: usize,
    sign: SignRule,
    workspace: &'w mut [f32],
) -> Result<Decomposition<'w>, Error> {
    let positions = activations.positions();
    let known = |&channel: &Channel| usize::from(channel) < activations.channels();
    if weights.len() != activations.channels() || !channels.iter().all(known) {
        return Err(Error::Shape);
    }
    if channels.is_empty() {
        return Err(Error::Channels);
    }
    if components == 0 || components > components_max(positions, channels.len()) {
        return Err(Error::Components);
    }
    if workspace.len() < workspace_len(positions, channels.len()) {
        return Err(Error::WorkspaceTooSmall);
    }
    let rank = rank(positions, channels.len());
    let too_small = Error::WorkspaceTooSmall;
    let (factor, rest) = workspace.split_at_mut_checked(rank * positions).ok_or(too_small)?;
    let (block, rest) = rest.split_at_mut_checked(LANES * positions).ok_or(too_small)?;
    let (row, rest) = rest.split_at_mut_checked(positions).ok_or(too_small)?;
    let (first_order, rest) = rest.split_at_mut_checked(positions).ok_or(too_small)?;
    let (scratch, rest) = rest.split_at_mut_checked(positions).ok_or(too_small)?;
    let (order, rest) = rest.split_at_mut_checked(positions).ok_or(too_small)?;
    let lengths = rest.get_mut(..rank).ok_or(too_small)?;

    let (block, _) = block.as_chunks_mut::<LANES>();
    first_order.fill(0.0);
    let mut triangle = Triangle::new(factor, order, block, scratch);
    for &channel in channels {
        weighted_map(activations, weights, channel, row)?;
        triangle.push(row, first_order).ok_or(Error::NonFinite)?;
    }
    let unit = triangle.finish();

    let mut columns = Columns::new(factor, positions, lengths).ok_or(Error::Shape)?;
    let convergence = columns.orthogonalise(None).ok_or(Error::Shape)?;
    if !convergence.converged {
        return Err(Error::NotConverged);
    }

    let factor = factor.get_mut(..components * positions).ok_or(Error::Shape)?;
    let mut rest = &mut *factor;
    while let Some((component, others)) = rest.split_at_mut_checked(positions) {
        restore_order(component, order, row);
        rest = others;
    }
    for values in [&mut *factor, &mut *lengths, &mut *first_order] {
        for value in values {
            *value /= unit;
        }
    }
    // The squares of a map's entries may be in range and their sum's root not.
    if !(maths::largest_magnitude(lengths).is_finite() && maths::largest_magnitude(first_order).is_finite()) {
        return Err(Error::NonFinite);
    }
    let mut decomposition =
        Decomposition { components: factor, singular_values: lengths, first_order, positions, convergence };
    decomposition.choose_signs(sign, activations, weights, channels, row)?;
    Ok(decomposition)
}

impl Decomposition<'_> {
    fn choose_signs(
        &mut self,
        rule: SignRule,
        activations: &Maps,
        weights: &[f32],
        channels: &[Channel],
        row: &mut [f32],
    ) -> Result<(), Error> {
        let count = self.components.len() / self.positions.max(1);
        for q in 0..count {
            let start = q * self.positions;
            let component = self.components.get_mut(start..start + self.positions).ok_or(Error::Shape)?;
            let mut witness = 0.0_f32;
            let mut consider = |value: f32| {
                if value.abs() > witness.abs() {
                    witness = value;
                }
            };
            match rule {
                SignRule::Score => consider(maths::dot(component, self.first_order)),
                SignRule::LargestEntry => component.iter().copied().for_each(consider),
                SignRule::LargestLoading => {
                    for &channel in channels {
                        weighted_map(activations, weights, channel, row)?;
                        // A loading is this product over s_q^2: the same for every channel.
                        consider(maths::dot(component, row));
                    }
                }
            }
            if witness < 0.0 {
                for value in component {
                    *value = -*value;
                }
            }
        }
        Ok(())
    }
}

/// w_c A_c less its mean over positions, of a channel that has a weight.
fn weighted_map(activations: &Maps, weights: &[f32], channel: Channel, row: &mut [f32]) -> Result<(), Error> {
    let channel = usize::from(channel);
    centred(activations, channel, *weights.get(channel).ok_or(Error::Shape)?, row)
}

/// weight * A_c less its mean over positions.
pub(crate) fn centred(activations: &Maps, channel: usize, weight: f32, row: &mut [f32]) -> Result<(), Error> {
    activations.read(channel, row)?;
    maths::scale(row, weight);
    let mean = maths::mean(row);
    for value in row {
        *value -= mean;
    }
    Ok(())
}
