//! How much memory an explanation needs on a board, known before anything is linked.

use crate::error::Sorted as _;
use crate::{Error, Result};
use anyhow::ensure;
use decomcam_core::channels::Channel;
use decomcam_core::{decompose, resample};
use std::fmt::Write as _;

/// What `tests/firmware/run` measured: a line of names, then one line for each board and layer.
const BOARDS: &str = include_str!("boards.tsv");

/// Names of the boards in that table.
const BOARD_NAMES: [(&str, &str); 3] =
    [("m4f", "Cortex-M4F"), ("m3", "Cortex-M3 (soft float)"), ("rv32", "RV32IMAC (soft float)")];

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
        line("selection of the top channels (on the stack of `top::<P>`)", 8 * top + 2 * top);
        line("channel weights, if they are not in flash already", 4 * channels);
        line("saliency at the layer's size", 4 * positions);
        let tap = size_of::<resample::Tap>();
        line("upsampling to 224 x 224, row by row", tap * 224 + 4 * (224 + resample::scratch_len(positions)));
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

/// Flash, stack and instructions of an explanation on each board.
fn measured() -> String {
    let rows: Vec<Measured> = BOARDS.lines().filter_map(Measured::read).collect();
    let on = |board: &'static str| rows.iter().filter(move |row| row.board == board);
    let mut text = String::from(
        "\nMeasured in QEMU by tests/firmware/run (opt-level s), millions of instructions of an explanation:\n\n",
    );
    let mut line = |what: &str, cells: [String; BOARD_NAMES.len()]| {
        let _ = write!(text, "{what:<34}");
        for (cell, (_, name)) in cells.iter().zip(BOARD_NAMES) {
            let _ = write!(text, "{cell:>0$}", name.len() + 3);
        }
        text.push('\n');
    };
    line("layer, channels and parts", BOARD_NAMES.map(|(_, name)| name.to_owned()));
    for first in on(BOARD_NAMES[0].0) {
        let kind = if first.case.contains("i8") || first.case.contains("bytes") { ", bytes" } else { "" };
        let cells = BOARD_NAMES.map(|(board, _)| {
            let row = on(board).find(|row| row.case == first.case);
            row.map_or_else(|| "-".to_owned(), |row| format!("{:.1}", row.instructions / 1e6))
        });
        line(&format!("{}{kind}", first.layer), cells);
    }
    let first = |cell: fn(&Measured) -> String| {
        BOARD_NAMES.map(|(board, _)| on(board).next().map_or_else(|| "-".to_owned(), cell))
    };
    line("flash, bytes", first(|row| row.flash_bytes.to_owned()));
    line("stack with P 100, bytes", first(|row| row.stack_bytes.to_owned()));
    text
}
