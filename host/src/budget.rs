//! What an explanation costs on a board, before anything is linked.

use anyhow::{Result, ensure};
use decomcam_core::channels::Channel;
use decomcam_core::{decompose, resample};
use std::fmt::Write as _;

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
        ensure!(top <= channels, "--top {top} is out of range: expected 1 to {channels}, the channels of the layer");
        let most = decompose::components_max(positions, top);
        ensure!(
            components <= most,
            "--components {components} is out of range: expected 1 to {most}, as many as exist with {top} channels of {positions} positions"
        );
        Ok(Self { positions, channels, top, components })
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
            "\nNo heap. Workspace does not grow with the channels: they stream through. A channel index takes {} bytes.",
            size_of::<Channel>()
        );
        text
    }
}
