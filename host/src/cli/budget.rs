//! `decomcam budget`.

use super::output::{print, print_json};
use anyhow::{Result, ensure};
use clap::Args;
use decomcam::board::budget::Budget;
use decomcam::encoders::image::layer_size;
use decomcam::model::{Model, ModelOptions};

/// What the end of `budget --help` shows.
pub const EXAMPLES: &str = "\
Examples:
  decomcam budget --positions 49 --channels 1280 --top 100 --components 10
      A layer of 7 x 7 positions and 1280 channels, of which 100 are used, and ten parts.
  decomcam budget --model person_detect.tflite --ram 64K
      The layer of a model that would be explained; the exit code is 1 if it does not fit.
  decomcam budget --model lite --layer block10 --top 50 --json
      Another of its layers, as JSON.";

/// Arguments of `budget`.
#[derive(Debug, Args)]
pub struct BudgetArgs {
    /// Number of positions of the layer, its height times its width [default: 49]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=65536), conflicts_with = "model")]
    pub positions: Option<u32>,
    /// Number of channels of the layer [default: 1280]
    #[arg(long, value_name = "C", value_parser = clap::value_parser!(u32).range(1..=65536), conflicts_with = "model")]
    pub channels: Option<u32>,
    /// Take positions and channels from the layer of this model
    #[arg(short, long, value_name = "NAME|DIR|FILE")]
    pub model: Option<String>,
    /// Which layer of the model [default: its own choice]
    #[arg(long, value_name = "NAME", requires = "model")]
    pub layer: Option<String>,
    /// P, the number of channels that are used [default: 100, or as many as exist]
    #[arg(long, value_name = "P", value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub top: Option<u32>,
    /// Q, the number of parts [default: 10, or as many as exist]
    #[arg(long, value_name = "Q", value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub components: Option<u32>,
    /// Say whether it fits into this much RAM beside the network's own: bytes, or such as 64K
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    pub ram: Option<usize>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Bytes, or with K or M in units of 1024 or 1024 x 1024.
fn bytes(text: &str) -> std::result::Result<usize, String> {
    let text = text.trim();
    let (digits, unit) = match text.chars().last().map(|last| last.to_ascii_uppercase()) {
        Some('K') => (&text[..text.len() - 1], 1024),
        Some('M') => (&text[..text.len() - 1], 1024 * 1024),
        _ => (text, 1),
    };
    let number = digits.trim().parse::<usize>().ok().and_then(|number| number.checked_mul(unit));
    number.ok_or_else(|| "expected bytes, such as 65536 or 64K".into())
}

/// The totals as JSON.
#[derive(serde::Serialize)]
struct Totals {
    positions: usize,
    channels: usize,
    top: usize,
    components: usize,
    workspace_bytes: usize,
    ram_bytes: usize,
    /// By board: the code of the explanation, measured.
    flash_bytes: std::collections::BTreeMap<&'static str, usize>,
    /// None if --ram was not given.
    fits: Option<bool>,
}

/// Positions and channels of a model's layer.
fn layer_of(model: &str, layer: Option<&str>) -> Result<(usize, usize)> {
    let mut options = ModelOptions::new();
    options.layer = layer.map(str::to_owned);
    let model = Model::open(model, &options)?;
    let image = &model.manifest.image;
    let name = layer.unwrap_or(&image.default_layer);
    Ok((layer_size(&model, name, image.size)?.area(), model.manifest.layer(name)?.channels))
}

/// States the memory of an explanation on a board.
pub fn run(args: &BudgetArgs) -> Result<()> {
    let (positions, channels) = match &args.model {
        Some(model) => layer_of(model, args.layer.as_deref())?,
        None => (args.positions.unwrap_or(49) as usize, args.channels.unwrap_or(1280) as usize),
    };
    let budget =
        Budget::of(positions, channels, args.top.map(|top| top as usize), args.components.map(|q| q as usize))?;
    let ram_bytes = budget.ram_bytes();
    let fits = args.ram.map(|ram| ram_bytes <= ram);
    if args.json {
        let flash_bytes = Budget::flash_bytes().into_iter().collect();
        print_json(&Totals {
            positions,
            channels,
            top: budget.top(),
            components: budget.components(),
            workspace_bytes: budget.workspace_bytes(),
            ram_bytes,
            flash_bytes,
            fits,
        })?;
    } else {
        print(&(budget.table() + "\n" + &budget.total(args.ram)))?;
    }
    ensure!(fits != Some(false), "the explanation does not fit: it needs {ram_bytes} bytes of RAM");
    Ok(())
}
