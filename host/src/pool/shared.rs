//! The mathematics of decomposing photos together.

use crate::error::Sorted as _;
use crate::explain::CHANNELS_MAX;
use crate::explain::grid::Grid;
use crate::explain::parts::{self, Rank};
use crate::methods::Recipe;
use crate::{Error, Result, Size};
use anyhow::ensure;
use decomcam_core::{SignRule, sums};

/// A direction among channels that photos share.
#[derive(Clone, Debug)]
pub struct SharedComponent {
    /// c_qk = u_q' X_k of each photo k: P positions, of both signs.
    pub maps: Vec<Vec<f32>>,
    /// How typical each photo k is: a_q c_qk' L_k over the mean of |L_k|^2; 0 if that mean is 0.
    pub typicality: Vec<f32>,
    /// s_q.
    pub singular_value: f32,
    /// s_q^2 over the sum of all squares.
    pub explained_variance: f32,
    /// a_q, the sum of u_q's entries.
    pub weight: f32,
}

impl SharedComponent {
    /// max(0, c_qk): the OSSM in one of the photos.
    pub fn ossm(&self, photo: usize) -> Vec<f32> {
        self.maps[photo].iter().map(|value| value.max(0.0)).collect()
    }
}

/// The components that photos share.
#[derive(Clone, Debug)]
pub struct Shared {
    /// By falling singular value.
    pub components: Vec<SharedComponent>,
    /// Those of the components, and the next one if it exists.
    pub singular_values: Vec<f32>,
}

/// X_k: each map times its channel's weight, less its mean over positions, and all divided by their Frobenius norm. None if there is nothing to divide by.
///
/// # Shapes
/// `maps` C x P, row-major, as the result; `weights` C.
pub fn photo_matrix(maps: &[f32], weights: &[f32]) -> Option<Vec<f32>> {
    let positions = maps.len() / weights.len();
    let weighted = maps.chunks_exact(positions).zip(weights).flat_map(|(map, weight)| {
        let mean = sums::mean(map);
        map.iter().map(move |value| weight * (value - mean))
    });
    let mut matrix: Vec<f32> = weighted.collect();
    let norm = matrix.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
    matrix.iter_mut().for_each(|value| *value = (f64::from(*value) / norm) as f32);
    matrix.iter().all(|value| value.is_finite()).then_some(matrix)
}

/// The first components of the matrices of all photos, side by side. For the core's decomposition they are one photo of N P positions.
///
/// # Shapes
/// `photos` N matrices C x P, row-major, P height times width of `grid`: the [`photo_matrix`] of each.
///
/// # Conventions
/// Signs by [`SignRule::Score`] of all photos together.
///
/// # Errors
/// More channels than the core's selection holds, and those of [`decomcam_core::decompose::decompose`].
///
/// # Cost
/// With n = N P and C < n: 4 n C^2 - 4/3 C^3 operations, 8 n C bytes beside the photos'.
pub fn shared(photos: &[Vec<f32>], channels: usize, grid: Size, components: usize) -> Result<Shared> {
    few_enough(channels).kind(Error::Options)?;
    let positions = grid.area();
    let row = |channel: usize| photos.iter().flat_map(move |x| &x[channel * positions..(channel + 1) * positions]);
    let maps = (0..channels).flat_map(row).copied().collect();
    let stacked = Grid { size: Size::new(photos.len() * grid.height, grid.width), maps };
    let rank = Rank {
        recipe: Recipe::Exact,
        channels: None,
        components: Some(components),
        sign: SignRule::Score,
        one_sided: false,
    };
    let decomposed = parts::decompose(vec![1.0; channels], &stacked, rank)?;
    let first_orders: Vec<Vec<f32>> = photos.iter().map(|matrix| first_order(matrix, positions)).collect();
    let squares: f32 = first_orders.iter().map(|first_order| sums::dot(first_order, first_order)).sum();
    let unit = if squares > 0.0 { photos.len() as f32 / squares } else { 0.0 };
    let components = decomposed.components.into_iter().map(|component| {
        let maps: Vec<Vec<f32>> = component.values.chunks_exact(positions).map(<[f32]>::to_vec).collect();
        let products = maps.iter().zip(&first_orders).map(|(map, first_order)| sums::dot(map, first_order));
        SharedComponent {
            typicality: products.map(|product| unit * component.closed_form * product).collect(),
            maps,
            singular_value: component.singular_value,
            explained_variance: component.explained_variance,
            weight: component.closed_form,
        }
    });
    Ok(Shared { components: components.collect(), singular_values: decomposed.singular_values })
}

fn few_enough(channels: usize) -> anyhow::Result<()> {
    ensure!(
        channels <= CHANNELS_MAX,
        "the layer has {channels} channels; expected {CHANNELS_MAX} at most, as all are used; choose another --layer"
    );
    Ok(())
}

/// L_k, the sum of X_k over channels.
fn first_order(matrix: &[f32], positions: usize) -> Vec<f32> {
    let mut sum = vec![0.0; positions];
    for map in matrix.chunks_exact(positions) {
        sum.iter_mut().zip(map).for_each(|(sum, value)| *sum += f64::from(*value));
    }
    sum.into_iter().map(|sum| sum as f32).collect()
}
