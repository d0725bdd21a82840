//! How much memory an explanation needs on a board, known before anything is linked.

use crate::error::Sorted as _;
use crate::{Error, Result};
use anyhow::ensure;
use decomcam_core::channels::Channel;
use decomcam_core::{decompose, resample};
use std::fmt::Write as _;

/// What `tests/firmware/run` measured: a line of names, then one line for each board and layer.
const BOARDS: &str = include_str!("boards.tsv");

/// Names of the boards in that table, in the order in which they are printed.
const BOARD_NAMES: [(&str, &str); 8] = [
    ("m4f", "Cortex-M4F"),
    ("m33", "Cortex-M33 (hard float)"),
    ("m3", "Cortex-M3 (soft float)"),
    ("m0", "Cortex-M0+ (soft float)"),
    ("rv32", "RV32IMAC (soft float)"),
    ("c3", "RV32IMC, as ESP32-C3"),
    ("rv64", "RV64GC"),
    ("a64", "Cortex-A53 (AArch64)"),
];

/// Memory of the core for a layer and a request.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    positions: usize,
    channels: usize,
    top: usize,
    components: usize,
}

impl Budget {
    /// For `top` (P) of `channels` (C) channels of `positions` (H W) values, and `components` (Q).
    ///
    /// # Errors
    /// P or Q that do not exist.
    pub fn new(positions: usize, channels: usize, top: usize, components: usize) -> Result<Self> {
        Self { positions, channels, top, components }.checked().kind(Error::Options)
    }

    /// The same; what is not given is 100 channels and 10 components, or as many as exist.
    ///
    /// # Errors
    /// Those of [`Budget::new`].
    pub fn of(positions: usize, channels: usize, top: Option<usize>, components: Option<usize>) -> Result<Self> {
        let top = top.unwrap_or(channels.min(100));
        let components = components.unwrap_or_else(|| decompose::components_max(positions, top).min(10));
        Self::new(positions, channels, top, components)
    }

    /// P.
    pub fn top(&self) -> usize {
        self.top
    }

    /// Q.
    pub fn components(&self) -> usize {
        self.components
    }

    fn checked(self) -> anyhow::Result<Self> {
        let Self { positions, channels, top, components } = self;
        ensure!(top <= channels, "--top {top} is out of range: expected 1 to {channels}, the channels of the layer");
        let most = decompose::components_max(positions, top);
        ensure!(
            components <= most,
            "--components {components} is out of range: expected 1 to {most}, as many as exist with {top} channels of {positions} positions"
        );
        Ok(self)
    }

    /// Bytes of workspace of the decomposition: the `const fn` that firmware sizes its buffer with.
    pub fn workspace_bytes(&self) -> usize {
        4 * decompose::workspace_len(self.positions, self.top)
    }

    /// What an explanation needs at once: workspace, selection, channel weights in RAM, the maps and the numbers of parts that core/README.md keeps beside them,
    /// one row upsampled to 224 pixels, and the deepest stack that was measured. The activations are the network's, and not counted.
    pub fn ram_bytes(&self) -> usize {
        let arrays = self.workspace_bytes() + self.selection_bytes() + 4 * self.channels;
        arrays + self.map_bytes() + self.part_bytes() + self.row_bytes() + Self::stack_bytes()
    }

    /// The deepest stack of an explanation on any board and of any layer that was measured.
    fn stack_bytes() -> usize {
        let rows = BOARDS.lines().filter_map(Measured::read);
        rows.filter_map(|row| row.stack_bytes.parse().ok()).max().unwrap_or_default()
    }

    /// The saliency, the first-order map, and one map that is read at a time.
    fn map_bytes(&self) -> usize {
        3 * 4 * self.positions
    }

    /// Weight, prediction and contribution of each part.
    fn part_bytes(&self) -> usize {
        3 * 4 * self.components
    }

    /// Code of the explanation on each board, as it was measured.
    pub fn flash_bytes() -> Vec<(&'static str, usize)> {
        let of = |board: &str| {
            let mut rows = BOARDS.lines().filter_map(Measured::read).filter(|row| row.board == board);
            rows.next().and_then(|row| row.flash_bytes.parse().ok())
        };
        BOARD_NAMES.iter().filter_map(|(board, name)| Some((*name, of(board)?))).collect()
    }

    fn selection_bytes(&self) -> usize {
        (size_of::<f32>() + size_of::<f32>() + size_of::<Channel>()) * self.top
    }

    fn row_bytes(&self) -> usize {
        size_of::<resample::Tap>() * 224 + 4 * (224 + resample::scratch_len(self.positions))
    }

    /// One total of RAM and of flash, and whether it fits into this much RAM if that was asked.
    pub fn total(&self, ram: Option<usize>) -> String {
        let needed = self.ram_bytes();
        let fits = ram.map_or_else(String::new, |ram| match needed <= ram {
            true => format!(": fits into {ram} bytes, {} to spare", ram - needed),
            false => format!(": does not fit into {ram} bytes, {} too many; a smaller --top or an earlier pooling of the layer takes less", needed - ram),
        });
        let flash: Vec<usize> = Self::flash_bytes().into_iter().map(|(_, bytes)| bytes).collect();
        let flash = match (flash.iter().min(), flash.iter().max()) {
            (Some(least), Some(most)) => format!("{least} to {most} bytes of code, by the board"),
            _ => "not measured".into(),
        };
        format!("RAM in all    {needed} bytes beside the network's own{fits}\nflash in all  {flash}\n\n")
    }

    /// The budget in words.
    pub fn table(&self) -> String {
        let Self { positions, channels, top, components } = *self;
        let mut text = String::new();
        let mut line = |what: &str, bytes: usize| {
            let _ = writeln!(text, "{what:<58} {bytes:>9} bytes");
        };
        line(&format!("decomposition, {positions} positions, P {top}, Q {components}"), self.workspace_bytes());
        line("  of these the components stay until the saliency is made", 4 * components * positions);
        line("  the same with every channel selected", 4 * decompose::workspace_len(positions, channels));
        line("selection of the top channels (on the stack of `top::<P>`)", self.selection_bytes());
        line("channel weights, if they are not in flash already", 4 * channels);
        line("saliency and two more maps of the layer's size", self.map_bytes());
        line("weights and contributions of the parts", self.part_bytes());
        line("upsampling to 224 x 224, row by row", self.row_bytes());
        line("stack, the deepest of those measured", Self::stack_bytes());
        let _ = writeln!(
            text,
            "\nThe core uses no heap. The workspace does not grow with the number of channels, because channels are read one after the other. A channel index takes {} bytes.",
            size_of::<Channel>()
        );
        text + &measured()
    }
}

/// An explanation on one board, measured.
struct Measured<'a> {
    board: &'a str,
    case: &'a str,
    layer: &'a str,
    flash_bytes: &'a str,
    stack_bytes: &'a str,
    instructions: f64,
}

impl<'a> Measured<'a> {
    fn read(line: &'a str) -> Option<Self> {
        let mut fields = line.split('\t');
        let mut next = || fields.next();
        let (board, case, layer, _workspace) = (next()?, next()?, next()?, next()?);
        let (flash_bytes, stack_bytes, instructions) = (next()?, next()?, next()?.parse().ok()?);
        Some(Self { board, case, layer, flash_bytes, stack_bytes, instructions })
    }
}

/// Flash, stack and instructions of an explanation on each board: a row for each board, a column for each layer.
fn measured() -> String {
    let rows: Vec<Measured> = BOARDS.lines().filter_map(Measured::read).collect();
    let mut cases: Vec<(&str, String)> = Vec::new();
    for row in &rows {
        if !cases.iter().any(|(case, _)| *case == row.case) {
            let kind = if row.case.contains("i8") || row.case.contains("bytes") { ", bytes" } else { "" };
            cases.push((row.case, format!("{}{kind}", row.layer)));
        }
    }
    let mut text = String::from(
        "\nMeasured in QEMU by tests/firmware/run (opt-level s): instructions of an explanation, in millions\n\n",
    );
    for (number, (_, layer)) in cases.iter().enumerate() {
        let _ = writeln!(text, "  ({}) {layer}", number + 1);
    }
    let _ = write!(text, "\n{:<26}", "board");
    for number in 1..=cases.len() {
        let _ = write!(text, "{:>8}", format!("({number})"));
    }
    let _ = writeln!(text, "{:>10}{:>12}", "flash", "stack (1)");
    for (board, name) in BOARD_NAMES {
        let of = |case: &str| rows.iter().find(|row| row.board == board && row.case == case);
        let Some(first) = cases.first().and_then(|(case, _)| of(case)) else { continue };
        let _ = write!(text, "{name:<26}");
        for (case, _) in &cases {
            let cell = of(case).map_or_else(|| "-".to_owned(), |row| format!("{:.1}", row.instructions / 1e6));
            let _ = write!(text, "{cell:>8}");
        }
        let _ = writeln!(text, "{:>8} B{:>10} B", first.flash_bytes, first.stack_bytes);
    }
    text
}
