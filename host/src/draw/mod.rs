//! Saliency made visible: the overlay on the photo, the sheets that show every part of it, pictures of films, and curves over time.
//!
//! Nothing here knows how a map came about: maps are `(height, width)`, row-major, one sample a pixel, zero where nothing
//! is shown.

mod canvas;
mod colours;
mod curve;
mod film;
mod overlay;
mod regions;
mod rows;
mod sheet;
mod text;

pub use canvas::Tile;
pub use colours::{ColourMap, Style, TRACKS};
pub use curve::{Curve, Line, curve};
pub use film::{Film, Outlined, film, film_tile};
pub use overlay::{Titled, copy, copy_size, heatmap, marked, overlay, titled};
pub use regions::{Region, regions};
pub use rows::{Row, Rows, row_tile, rows};
pub use sheet::{PARTS_A_PAGE, Sheet, pages, sheet, tile_size};

/// What stands at the foot of every sheet.
const SCALE: &str = "Every map is scaled to its own maximum: its colours say where, its numbers say how much.";

/// What the ends of the scale of a sheet mean.
fn ends(style: &Style) -> [&'static str; 2] {
    if style.colours.is_signed() { ["-1", "1  of the map's maximum"] } else { ["0", "1  of the map's maximum"] }
}
