//! `decomcam budget`.

use super::output::print;
use anyhow::Result;
use clap::Args;
use decomcam::board::budget::Budget;

/// Arguments of `budget`.
#[derive(Debug, Args)]
pub struct BudgetArgs {
    /// Positions of the layer, height times width
    #[arg(long, value_name = "N", default_value_t = 49, value_parser = clap::value_parser!(u32).range(2..=65536))]
    pub positions: u32,
    /// Channels of the layer
    #[arg(long, value_name = "C", default_value_t = 1280, value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub channels: u32,
    /// P, the channels selected
    #[arg(long, value_name = "P", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub top: u32,
    /// Q, the components
    #[arg(long, value_name = "Q", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub components: u32,
}

/// States the memory of an explanation on a board.
pub fn run(args: &BudgetArgs) -> Result<()> {
    let [positions, channels, top, components] =
        [args.positions, args.channels, args.top, args.components].map(|number| number as usize);
    print(&Budget::new(positions, channels, top, components)?.table())
}
