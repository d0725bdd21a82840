//! `decomcam budget`.

use super::output::print;
use anyhow::Result;
use clap::Args;
use decomcam::board::budget::Budget;

/// What the end of `budget --help` shows.
pub const EXAMPLES: &str = "\
Examples:
  decomcam budget --positions 49 --channels 1280 --top 100 --components 10
      A layer of 7 x 7 positions and 1280 channels, of which 100 are used, and ten parts.";

/// Arguments of `budget`.
#[derive(Debug, Args)]
pub struct BudgetArgs {
    /// Number of positions of the layer, its height times its width
    #[arg(long, value_name = "N", default_value_t = 49, value_parser = clap::value_parser!(u32).range(2..=65536))]
    pub positions: u32,
    /// Number of channels of the layer
    #[arg(long, value_name = "C", default_value_t = 1280, value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub channels: u32,
    /// P, the number of channels that are used
    #[arg(long, value_name = "P", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub top: u32,
    /// Q, the number of parts
    #[arg(long, value_name = "Q", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub components: u32,
}

/// States the memory of an explanation on a board.
pub fn run(args: &BudgetArgs) -> Result<()> {
    let [positions, channels, top, components] =
        [args.positions, args.channels, args.top, args.components].map(|number| number as usize);
    print(&Budget::new(positions, channels, top, components)?.table())
}
