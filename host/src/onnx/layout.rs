//! How an inner tensor holds its positions, and its conversion to maps: channels x height x width.

use serde::{Deserialize, Serialize};

/// How an inner tensor is laid out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LayerLayout {
    /// 1 x channels x height x width.
    #[default]
    Maps,
    /// 1 x tokens x channels: a transformer's. After the prefix, the tokens are a grid, row by row.
    Tokens,
}

impl LayerLayout {
    /// Its name in manifests and tables: `maps` or `tokens`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Maps => "maps",
            Self::Tokens => "tokens",
        }
    }
}

/// A matrix of so many rows, given row by row, column by column.
pub fn transposed(matrix: &[f32], rows: usize) -> Vec<f32> {
    let columns = matrix.len() / rows;
    (0..columns).flat_map(|column| matrix.iter().skip(column).step_by(columns).copied()).collect()
}
