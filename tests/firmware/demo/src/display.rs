//! The display: the saliency over the photo, four parts with what each adds to the score, and the class in words.

use core::convert::Infallible;
use core::fmt::Write;
use decomcam_core::Error;
use decomcam_core::draw::{self, Overlay};
use decomcam_core::head::Explanation;
use decomcam_core::resample::{Bicubic, Tap};
use embedded_graphics::mono_font::{MonoTextStyle, ascii::FONT_6X10};
use embedded_graphics::pixelcolor::{Rgb565, raw::ToBytes as _};
use embedded_graphics::prelude::*;
use embedded_graphics::text::{Baseline, Text};

const SIDE: usize = 240;
/// Side of the saliency's picture, and of a part's.
const LARGE: usize = 160;
const SMALL: usize = 80;
/// Where the parts lie: top and left.
const PLACES: [(usize, usize); 4] = [(0, 160), (80, 160), (160, 160), (160, 80)];
/// The widest map that is drawn.
const WIDEST: usize = 32;

/// A photo whose pixels are red, green and blue less 128, or grey.
pub struct Photo<'p> {
    pub pixels: &'p [i8],
    /// Height, width and colours.
    pub shape: [usize; 3],
}

impl Photo<'_> {
    /// The pixel of a picture of `side` x `side`, in RGB565.
    fn pixel(&self, y: usize, x: usize, side: usize) -> u16 {
        let [height, width, colours] = self.shape;
        let at = (y * height / side * width + x * width / side) * colours;
        let level = |colour: usize| {
            let found = self.pixels.get(at + colour.min(colours.saturating_sub(1)));
            u16::from(found.map_or(0, |level| *level as u8 ^ 0x80))
        };
        level(0) >> 3 << 11 | level(1) >> 2 << 5 | level(2) >> 3
    }
}

/// A display's memory, row by row, and what drawing needs.
pub struct Display {
    pub pixels: [u16; SIDE * SIDE],
    taps: [Tap; LARGE],
    workspace: [f32; draw::workspace_len(WIDEST, LARGE)],
}

impl Display {
    pub const fn new() -> Self {
        Self {
            pixels: [0; SIDE * SIDE],
            taps: [Tap::ZERO; LARGE],
            workspace: [0.0; draw::workspace_len(WIDEST, LARGE)],
        }
    }

    /// Draws an explanation of maps of this height and width.
    pub fn draw(
        &mut self,
        photo: &Photo,
        found: &Explanation,
        shape: (usize, usize),
        class: &str,
    ) -> Result<(), Error> {
        self.pixels.fill(0);
        self.map(photo, found.saliency, shape, (0, 0), LARGE)?;
        let mut left: [bool; 64] = [true; 64];
        for place in PLACES {
            // The part that adds most of those that are left.
            let parts = found.measured.iter().zip(found.ossms.iter()).enumerate();
            let rest = parts.filter(|(part, _)| left.get(*part).copied().unwrap_or(false));
            let best = rest.max_by(|(_, (a, _)), (_, (b, _))| a.total_cmp(b));
            let Some((part, (measured, ossm))) = best else { break };
            if let Some(left) = left.get_mut(part) {
                *left = false;
            }
            self.map(photo, ossm, shape, place, SMALL)?;
            let mut text = Line::default();
            let _ = write!(text, "{measured:+.2}");
            self.text(text.as_str(), (place.0 + 69, place.1 + 3));
        }
        let mut text = Line::default();
        let _ = write!(text, "{:.2}", found.score);
        self.text(class, (168, 4));
        self.text("score", (186, 4));
        self.text(text.as_str(), (198, 4));
        Ok(())
    }

    /// A map over the photo, at a place of the display.
    fn map(
        &mut self,
        photo: &Photo,
        map: &[f32],
        (height, width): (usize, usize),
        (top, left): (usize, usize),
        side: usize,
    ) -> Result<(), Error> {
        let Self { pixels, taps, workspace } = self;
        let bicubic = Bicubic::new(height, width, side, taps.get_mut(..side).ok_or(Error::Shape)?)?;
        let workspace = workspace.get_mut(..draw::workspace_len(width, side)).ok_or(Error::WorkspaceTooSmall)?;
        let overlay = Overlay::new(&bicubic, map, workspace)?;
        for y in 0..side {
            let from = (top + y) * SIDE + left;
            let row = pixels.get_mut(from..from + side).ok_or(Error::Shape)?;
            row.iter_mut().enumerate().for_each(|(x, to)| *to = photo.pixel(y, x, side));
            overlay.rgb565(y, workspace, row)?;
        }
        Ok(())
    }

    fn text(&mut self, text: &str, (top, left): (usize, usize)) {
        let style = MonoTextStyle::new(&FONT_6X10, Rgb565::WHITE);
        // Cannot fail: what lies beside the display is left out.
        let _ = Text::with_baseline(text, Point::new(left as i32, top as i32), style, Baseline::Top).draw(self);
    }
}

impl OriginDimensions for Display {
    fn size(&self) -> Size {
        Size::new(SIDE as u32, SIDE as u32)
    }
}

impl DrawTarget for Display {
    type Color = Rgb565;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<Rgb565>>>(&mut self, pixels: I) -> Result<(), Infallible> {
        for Pixel(Point { x, y }, colour) in pixels {
            let place = usize::try_from(y).ok().zip(usize::try_from(x).ok()).filter(|(y, x)| *y < SIDE && *x < SIDE);
            if let Some(to) = place.and_then(|(y, x)| self.pixels.get_mut(y * SIDE + x)) {
                *to = u16::from_be_bytes(colour.to_be_bytes());
            }
        }
        Ok(())
    }
}

/// A few letters.
#[derive(Default)]
struct Line {
    letters: [u8; 16],
    length: usize,
}

impl Line {
    fn as_str(&self) -> &str {
        self.letters.get(..self.length).and_then(|letters| core::str::from_utf8(letters).ok()).unwrap_or("")
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        let to =
            self.letters.get_mut(self.length..).and_then(|rest| rest.get_mut(..text.len())).ok_or(core::fmt::Error)?;
        to.copy_from_slice(text.as_bytes());
        self.length += text.len();
        Ok(())
    }
}
