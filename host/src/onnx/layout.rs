//! How an inner tensor holds its positions, and its conversion to maps: channels x height x width.

use serde::{Deserialize, Serialize};

/// How an inner tensor is laid out, axes of length one aside.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LayerLayout {
    /// Channels x height x width.
    #[default]
    Maps,
    /// Tokens x channels: a transformer's. Some tokens are a grid, row by row; others may come before and after.
    Tokens,
    /// Height x width x channels.
    ChannelsLast,
}

impl LayerLayout {
    /// Its name in manifests and tables: `maps`, `tokens` or `channels-last`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Maps => "maps",
            Self::Tokens => "tokens",
            Self::ChannelsLast => "channels-last",
        }
    }

    /// Maps of a tensor whose other tokens have been taken out.
    pub fn maps(self, grid: Vec<f32>, channels: usize) -> Vec<f32> {
        match self {
            Self::Maps => grid,
            Self::Tokens | Self::ChannelsLast => transposed(&grid, grid.len() / channels),
        }
    }

    /// The tensor of these maps, without other tokens.
    pub fn tensor(self, maps: &[f32], channels: usize) -> Vec<f32> {
        match self {
            Self::Maps => maps.to_vec(),
            Self::Tokens | Self::ChannelsLast => transposed(maps, channels),
        }
    }
}

/// A matrix of so many rows, given row by row, column by column.
fn transposed(matrix: &[f32], rows: usize) -> Vec<f32> {
    let columns = matrix.len() / rows;
    (0..columns).flat_map(|column| matrix.iter().skip(column).step_by(columns).copied()).collect()
}
