//! An overlay as `embedded-graphics` draws it.

use super::Overlay;
use crate::Error;
use core::cell::RefCell;
use core::marker::PhantomData;
use embedded_graphics_core::Drawable;
use embedded_graphics_core::draw_target::DrawTarget;
use embedded_graphics_core::geometry::{Point, Size};
use embedded_graphics_core::pixelcolor::{PixelColor, Rgb888, RgbColor};
use embedded_graphics_core::primitives::Rectangle;

/// An [`Overlay`] at a place on a display, over a photo that `photo` knows: it is asked for the pixel at (x, y) of the picture.
///
/// Rows are drawn one after the other, each as one run of colours; they are made in the workspace that the drawing borrows.
#[derive(Debug)]
pub struct Drawing<'a, C, F> {
    overlay: Overlay<'a>,
    place: Point,
    photo: F,
    workspace: RefCell<&'a mut [f32]>,
    colour: PhantomData<C>,
}

impl<'a, C, F: Fn(usize, usize) -> Rgb888> Drawing<'a, C, F> {
    /// `place` is the upper left corner; `workspace` at least [`super::workspace_len`].
    pub fn new(overlay: Overlay<'a>, place: Point, workspace: &'a mut [f32], photo: F) -> Self {
        Self { overlay, place, photo, workspace: RefCell::new(workspace), colour: PhantomData }
    }
}

impl<C: PixelColor + From<Rgb888>, F: Fn(usize, usize) -> Rgb888> Drawable for Drawing<'_, C, F> {
    type Color = C;
    /// An error of the overlay: those of [`Overlay::row`]. What was drawn before stays.
    type Output = Result<(), Error>;

    fn draw<D: DrawTarget<Color = C>>(&self, target: &mut D) -> Result<Self::Output, D::Error> {
        let Ok(mut workspace) = self.workspace.try_borrow_mut() else {
            // The target draws this very drawing while it draws it.
            return Ok(Err(Error::WorkspaceTooSmall));
        };
        let bicubic = self.overlay.bicubic;
        let size = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        for y in 0..bicubic.out_height() {
            let row = match self.overlay.row(y, &mut workspace) {
                Ok(row) => row,
                Err(error) => return Ok(Err(error)),
            };
            let colours = row.iter().enumerate().map(|(x, saliency)| {
                let pixel = (self.photo)(x, y);
                let [r, g, b] = super::tint([pixel.r(), pixel.g(), pixel.b()], *saliency);
                C::from(Rgb888::new(r, g, b))
            });
            let corner = Point::new(self.place.x, self.place.y.saturating_add_unsigned(size(y)));
            let area = Rectangle::new(corner, Size::new(size(bicubic.out_width()), 1));
            target.fill_contiguous(&area, colours)?;
        }
        Ok(Ok(()))
    }
}
