//! Stages 4 to 6: class-discriminative maps, their centred decomposition, signs, and the OSSMs.
//!
//! X holds one weighted map per selected channel, w_c A_c less its mean over positions; X = U diag(s) V', positions x channels. Only the first columns of
//! U diag(s), the components, are needed, so X never exists. Its columns stream through into R with R'R = XX' (the `triangle` module). R is reduced to a
//! bidiagonal matrix (`bidiagonal`), whose largest singular values are counted and whose left singular vectors Z are solved for (`leading`); the rows of
//! Z'R, diag(s) U' but for rounding, are rotated until orthogonal ([`crate::svd`]). If more components are wanted than that has room for, or if the
//! vectors do not stand up to verification, all rows of R are rotated instead: slower, and always right.

use crate::activations::Maps;
use crate::channels::Channel;
use crate::maths;
use crate::quads::{self, Quad};
use crate::svd::{Columns, Convergence};
use crate::triangle::{BLOCK, Triangle};
use crate::{Error, bidiagonal, leading};
use core::marker::PhantomData;

/// Which side of a component is kept when negatives are cut off. The sign of a singular vector is free, so a rule must choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum SignRule {
    /// The side that the score rewards: the component agrees with the first-order map of the score, (U s)_q' L >= 0.
    #[default]
    Score,
    /// The largest |channel loading| is positive: scikit-learn since 1.5. Reads the channels once more for each component.
    LargestLoading,
    /// The largest |entry| of the component is positive: scikit-learn before 1.5.
    LargestEntry,
}

/// Rows of the block that the largest singular values may take; the other eight are notes on the bidiagonal matrix.
const FEW: usize = BLOCK - 8;

/// Quads of a row: a value for each position but one, see [`shorten`].
const fn width(positions: usize) -> usize {
    positions.saturating_sub(1).div_ceil(4)
}

/// Rows of the factor: the smaller side of X, and three of zeros so that fours of rows can start anywhere.
const fn rows(positions: usize, channels: usize) -> usize {
    let rank = if channels < positions { channels } else { width(positions).saturating_mul(4) };
    rank.saturating_add(3)
}

/// `f32`s that [`decompose`] needs: (r + 36) m + 3 n, with n = H W positions, m = n - 1 rounded up to a multiple of four, and r = P channels or, if there
/// are n or more, m. That is the factor, a block of 32 rows and one row; a map, the first-order map and the singular values.
pub const fn workspace_len(positions: usize, channels: usize) -> usize {
    // Sizes that do not fit in a `usize` need more memory than there is.
    let quads = rows(positions, channels).saturating_add(BLOCK + 1).saturating_mul(width(positions));
    quads.saturating_mul(4).saturating_add(positions.saturating_mul(3))
}

/// Components that exist: centring takes one dimension of the positions.
pub const fn components_max(positions: usize, channels: usize) -> usize {
    let centred = positions.saturating_sub(1);
    if centred < channels { centred } else { channels }
}

/// Marks [`Parts`] whose maps are signed components.
#[derive(Clone, Copy, Debug)]
pub enum Signed {}

/// Marks [`Parts`] whose negatives have been cut off.
#[derive(Clone, Copy, Debug)]
pub enum Rectified {}

/// The signed components (U s)_q of a layer's weighted maps, in the caller's workspace: what [`decompose`] returns.
///
/// Weights in closed form need the signs, so they can only be asked of components: [`crate::integrate::predicted`],
/// [`crate::integrate::aligned_weights`], [`crate::integrate::exact_weights`].
pub type Components<'w> = Parts<'w, Signed>;

/// The orthogonal sub-saliency maps max(0, (U s)_q): what [`Components::rectify`] makes of the components, in their place.
pub type Ossms<'w> = Parts<'w, Rectified>;

/// Q maps of H x W in the caller's workspace, and what is known of the whole that they are parts of. `Kind` tells whether the maps are signed
/// ([`Components`]) or rectified ([`Ossms`]).
#[derive(Debug)]
pub struct Parts<'w, Kind> {
    maps: &'w mut [f32],
    singular_values: &'w [f32],
    norm: f32,
    centred_first_order: &'w [f32],
    convergence: Convergence,
    kind: PhantomData<Kind>,
}

impl<Kind> Parts<'_, Kind> {
    /// All maps one after the other, Q x H x W, row-major, the part of the largest singular value first.
    pub fn maps(&self) -> &[f32] {
        self.maps
    }

    /// The Q maps, H x W each, in the order of [`Parts::maps`].
    pub fn iter(&self) -> core::slice::ChunksExact<'_, f32> {
        // There is at least one position; a compiler must see it.
        self.maps.chunks_exact(self.positions().max(1))
    }

    /// The number of parts, Q.
    pub fn count(&self) -> usize {
        self.maps.len().checked_div(self.positions()).unwrap_or(0)
    }

    /// The first Q + 1 singular values, descending (Q, if there are no more): so that the gap behind the last part is known.
    pub fn singular_values(&self) -> &[f32] {
        self.singular_values
    }

    /// The square root of the sum of the squares of all singular values: (s_q / norm)^2 is the part of the variance that component q explains.
    pub fn norm(&self) -> f32 {
        self.norm
    }

    /// sum over the selected channels of w_c (A_c(p) - mean_c), H x W: the first-order map of the score, less its mean over positions. All channels
    /// instead of the selected ones, and the mean: [`crate::head`].
    pub fn centred_first_order(&self) -> &[f32] {
        self.centred_first_order
    }

    /// Values in one map, H W.
    pub fn positions(&self) -> usize {
        self.centred_first_order.len()
    }

    /// How far the Jacobi sweeps got.
    pub fn convergence(&self) -> Convergence {
        self.convergence
    }
}

impl<'p, Kind> IntoIterator for &'p Parts<'_, Kind> {
    type Item = &'p [f32];
    type IntoIter = core::slice::ChunksExact<'p, f32>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<'w> Components<'w> {
    /// (U s)_q' L = s_q^2 sum_c V_cq for component `q`, with L the centred first-order map: the share of the component in it, and the closed form of its
    /// contribution.
    ///
    /// # Errors
    /// [`Error::Components`] if there is no such component; [`Error::NonFinite`] if the number, which is of the order of the maps' square, is beyond the
    /// range of `f32`: [`crate::integrate::predicted`] gives it relative to the largest.
    pub fn alignment(&self, q: usize) -> Result<f32, Error> {
        crate::integrate::alignment(self.maps, self.centred_first_order, q)
    }

    /// Cuts negatives off, in place: components become OSSMs, max(0, (U s)_q).
    pub fn rectify(self) -> Ossms<'w> {
        let Self { maps, singular_values, norm, centred_first_order, convergence, .. } = self;
        rectify(maps);
        Parts { maps, singular_values, norm, centred_first_order, convergence, kind: PhantomData }
    }
}

/// [`Components::rectify`] of components as C holds them.
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
/// Singular values within 4 sqrt(max(n, P)) 2^-23 of the largest, against float64, also where the mean of the maps is up to a million times their
/// deviation: asserted by `tests/core/scales.rs`. Components have no accuracy of their own where singular values are close: they satisfy
/// X X' u = s^2 u within 1e-5 s_1^3 and are orthogonal within 5e-6 s_1^2 on every kind of spectrum (`tests/core/decompose.rs`), so that an entry is off by
/// about 1e-5 over the relative gap (s_q - s_(q+1)) / s_1. On real activations, whose ten largest values are at least 4e-3 apart, they are within 1e-5 of the
/// largest entry (`tests/core/golden.rs`).
///
/// Times a power of two, activations or weights give exactly these results times it, as long as the results are in range.
///
/// # Cost
/// With n = H W: 2 P n^2 operations to stream, less where P is not much larger than n, 8/3 n^3 to reduce (4 n P^2 - 4/3 P^3 if P < n, which is all then),
/// and about 800 n + 4 n^2 a component. Where all rows are rotated, 6 to 12 sweeps of n^2 / 2 pairs and 2 n to 8 n operations each: beyond
/// 23 components, and for singular values that agree to rounding.
pub fn decompose<'w>(
    activations: &Maps,
    weights: &[f32],
    channels: &[Channel],
    components: usize,
    sign: SignRule,
    workspace: &'w mut [f32],
) -> Result<Components<'w>, Error> {
    let known = |&channel: &Channel| usize::from(channel) < activations.channels();
    if weights.len() != activations.channels() || !channels.iter().all(known) {
        return Err(Error::Shape);
    }
    let indices = channels.iter().copied().map(usize::from);
    decompose_maps(activations.positions(), indices, components, sign, workspace, |channel, map| {
        activations.read(channel, map)?;
        weights.get(channel).copied().ok_or(Error::Shape)
    })
}

/// [`decompose`] of any maps, each known by an index in `channels`: `read` writes one of them and returns its weight.
#[inline(never)]
pub(crate) fn decompose_maps<'w>(
    positions: usize,
    channels: impl ExactSizeIterator<Item = usize> + Clone,
    components: usize,
    sign: SignRule,
    workspace: &'w mut [f32],
    read: impl Fn(usize, &mut [f32]) -> Result<f32, Error>,
) -> Result<Components<'w>, Error> {
    if channels.len() == 0 {
        return Err(Error::Channels);
    }
    if components == 0 || components > components_max(positions, channels.len()) {
        return Err(Error::Components);
    }
    if workspace.len() < workspace_len(positions, channels.len()) {
        return Err(Error::WorkspaceTooSmall);
    }
    let rank = components_max(positions, channels.len());
    let width = width(positions);
    let too_small = Error::WorkspaceTooSmall;
    let (first_order, rest) = workspace.split_at_mut_checked(positions).ok_or(too_small)?;
    let (map, rest) = rest.split_at_mut_checked(positions).ok_or(too_small)?;
    let (lengths, rest) = rest.split_at_mut_checked(positions).ok_or(too_small)?;
    let (quads, _) = rest.as_chunks_mut::<4>();
    let (factor, quads) = quads.split_at_mut_checked(rows(positions, channels.len()) * width).ok_or(too_small)?;
    let (block, quads) = quads.split_at_mut_checked(BLOCK * width).ok_or(too_small)?;
    let row = quads.get_mut(..width).ok_or(too_small)?;

    let mut stream = |factor: &mut [Quad], block: &mut [Quad], first_order: &mut [f32]| {
        first_order.fill(0.0);
        row.as_flattened_mut().fill(0.0);
        let mut triangle = Triangle::new(factor, block, channels.len() >= positions);
        for channel in channels.clone() {
            let weight = read(channel, map)?;
            let centre = Centre::of(map, weight)?;
            centre.shorten(map, row.as_flattened_mut());
            triangle.push(row, centre.exponent, first_order).ok_or(too_small)?;
        }
        Ok(triangle.finish())
    };
    let mut exponent = stream(factor, block, first_order)?;
    let norm = maths::sqrt(quads::dot(factor, factor));
    lengths.fill(0.0);
    // One more than wanted: its length says how far away the next component is.
    let wanted = rank.min(components + 1);
    let mut few = None;
    if wanted <= FEW {
        few = few_rows(factor, block, lengths.get_mut(..wanted).ok_or(too_small)?, norm, rank);
        if few.is_none() {
            exponent = stream(factor, block, first_order)?;
        }
    }
    let (rows, convergence) = if let Some(convergence) = few {
        (block, convergence)
    } else {
        let rows = factor.get_mut(..rank * width).ok_or(too_small)?;
        let lengths = lengths.get_mut(..rank).ok_or(too_small)?;
        let convergence = Columns::new(rows.as_flattened_mut(), 4 * width, lengths)
            .and_then(|mut columns| columns.orthogonalise(None))
            .ok_or(Error::Shape)?;
        (factor, convergence)
    };
    if !convergence.converged {
        return Err(Error::NotConverged);
    }

    let rows = rows.as_flattened_mut();
    let count = components;
    lengthen(rows, 4 * width, count, map);
    lengthen(first_order, positions, 1, map);
    let components = rows.get_mut(..count * positions).ok_or(Error::Shape)?;
    let lengths = lengths.get_mut(..positions.min(channels.len()).min(count + 1)).ok_or(too_small)?;
    // While all numbers are near one.
    choose_signs(components, first_order, exponent, sign, channels, read, map)?;
    let mut norm = [norm];
    for values in [&mut *components, &mut *lengths, &mut *first_order, &mut norm] {
        maths::scale_by_power_of_two(values, exponent);
        // Entries may be in range and their sum, or the root of the sum of their squares, not.
        if !maths::largest_magnitude(values).is_finite() {
            return Err(Error::NonFinite);
        }
    }
    let [norm] = norm;
    let kind = PhantomData;
    Ok(Parts { maps: components, singular_values: lengths, norm, centred_first_order: first_order, convergence, kind })
}

/// What makes w_c (A_c - mean_c) of a map near one: its mean in two parts, so that a large one takes no digits of what is left, and the weight over a
/// power of two.
pub(crate) struct Centre {
    high: f32,
    low: f32,
    weight: f32,
    /// Of the power of two that is left out.
    pub(crate) exponent: i32,
}

impl Centre {
    /// Of a map that is brought near one. An error if a value or the weight is not finite.
    #[inline(never)]
    pub(crate) fn of(map: &mut [f32], weight: f32) -> Result<Self, Error> {
        let largest = maths::largest_magnitude(map);
        if !(largest.is_finite() && weight.is_finite()) {
            return Err(Error::NonFinite);
        }
        let (mut of_map, of_weight) = (maths::unit_exponent(largest), maths::unit_exponent(weight));
        // Numbers that are as near to one as that lose nothing.
        if of_map.abs() <= 30 {
            of_map = 0;
        } else {
            maths::scale(map, maths::power_of_two(-of_map));
        }
        let [high, low] = maths::mean_in_parts(map);
        Ok(Self { high, low, weight: weight * maths::power_of_two(-of_weight), exponent: of_map + of_weight })
    }

    /// w (a - mean)
    fn centre(&self, map: &mut [f32]) {
        for value in map {
            *value = ((*value - self.high) - self.low) * self.weight;
        }
    }

    /// A map less its mean has one dimension less than positions: the reflection that turns the constant map onto the last axis leaves a zero there, and
    /// x_j - x_n / (sqrt(n) + 1) elsewhere. Lengths and angles stay.
    fn shorten(&self, map: &[f32], row: &mut [f32]) {
        if let Some((last, others)) = map.split_last() {
            let offset = self.low + ((last - self.high) - self.low) / (maths::sqrt(map.len() as f32) + 1.0);
            for (entry, value) in row.iter_mut().zip(others) {
                *entry = ((value - self.high) - offset) * self.weight;
            }
        }
    }
}

/// The way back, in place, for rows that lie `stride` apart and then follow each other without a gap.
fn lengthen(rows: &mut [f32], stride: usize, count: usize, map: &mut [f32]) {
    let positions = map.len();
    let root = maths::sqrt(positions as f32);
    for k in 0..count {
        // Nothing is overwritten before it is read.
        let k = if stride < positions { count - 1 - k } else { k };
        let Some((last, others)) = map.split_last_mut() else {
            return;
        };
        for (value, entry) in others.iter_mut().zip(rows.iter().skip(k * stride)) {
            *value = *entry;
        }
        let sum = maths::sum(others);
        *last = -sum / root;
        let offset = sum / (root * (root + 1.0));
        for value in others {
            *value -= offset;
        }
        for (entry, value) in rows.iter_mut().skip(k * positions).zip(&*map) {
            *entry = *value;
        }
    }
}

/// The first rows of diag(s) U', as many as `lengths`, from the factor, which is used up. None if they do not stand up to verification.
fn few_rows(
    factor: &mut [Quad],
    block: &mut [Quad],
    lengths: &mut [f32],
    norm: f32,
    rank: usize,
) -> Option<Convergence> {
    let width = block.len() / BLOCK;
    let (rows, notes) = block.split_at_mut_checked(FEW * width)?;
    let (b, notes) = notes.split_at_mut_checked(4 * width)?;
    let b = b.get_mut(..rank)?;
    let (left, sums) = rows.split_at_mut_checked(width)?;
    bidiagonal::reduce(b, factor.get_mut(..(rank + 3) * width)?, width, left, sums)?;

    // In the place of the lengths, until these are known.
    leading::largest_squares(b, norm * norm, lengths);
    let (pairs, _) = notes.as_flattened_mut().as_chunks_mut::<2>();
    let (top, bottom) = pairs.split_at_mut_checked(4 * width)?;
    let rows = rows.get_mut(..lengths.len().next_multiple_of(4) * width)?;
    leading::leading_rows(b, lengths, rows, width, top.get_mut(..rank)?, bottom.get_mut(..rank)?)?;
    bidiagonal::back(b, factor, width, rows)?;
    let rows = rows.as_flattened_mut().get_mut(..lengths.len() * 4 * width)?;
    Columns::new(rows, 4 * width, lengths)?.orthogonalise(None)
}

fn choose_signs(
    components: &mut [f32],
    first_order: &[f32],
    exponent: i32,
    rule: SignRule,
    channels: impl Iterator<Item = usize> + Clone,
    read: impl Fn(usize, &mut [f32]) -> Result<f32, Error>,
    row: &mut [f32],
) -> Result<(), Error> {
    for component in components.chunks_exact_mut(first_order.len().max(1)) {
        let mut witness = 0.0_f32;
        let mut consider = |value: f32| {
            if value.abs() > witness.abs() {
                witness = value;
            }
        };
        match rule {
            SignRule::Score => consider(maths::dot(component, first_order)),
            SignRule::LargestEntry => component.iter().copied().for_each(consider),
            SignRule::LargestLoading => {
                for channel in channels.clone() {
                    let weight = read(channel, row)?;
                    let centre = Centre::of(row, weight)?;
                    centre.centre(row);
                    // A loading is this product over s_q^2, which is the same for every channel, as is the power of two of the component.
                    consider(maths::dot(component, row) * maths::power_of_two(centre.exponent - exponent));
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

/// w_c A_c less its mean over positions, over two to the power that is returned.
pub(crate) fn centred(activations: &Maps, channel: usize, weight: f32, map: &mut [f32]) -> Result<i32, Error> {
    activations.read(channel, map)?;
    let centre = Centre::of(map, weight)?;
    centre.centre(map);
    Ok(centre.exponent)
}

/// w_c A_c, over two to the power that is returned.
pub(crate) fn uncentred(activations: &Maps, channel: usize, weight: f32, map: &mut [f32]) -> Result<i32, Error> {
    activations.read(channel, map)?;
    let centre = Centre::of(map, weight)?;
    maths::scale(map, centre.weight);
    Ok(centre.exponent)
}
