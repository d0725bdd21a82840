//! Saliency over rows of a picture: the formula, the two kinds of pixels, and nothing but one row in memory.

use decomcam_core::draw::{Overlay, tint, tint_rgb565, workspace_len};
use decomcam_core::mask::Range;
use decomcam_core::resample::{Bicubic, Tap, scratch_len};
use decomcam_core::{Error, resample};

/// Saliency of a layer with a peak, a slope and something negative.
const SALIENCY: [f32; 12] = [0.0, 0.5, -0.25, 0.0, 1.0, 3.0, 2.0, -1.0, 0.125, 0.25, 0.5, 0.75];
const SIZE: [usize; 2] = [3, 4];

#[test]
fn a_pixel_follows_the_formula() {
    for level in 0..256 {
        let saliency = level as f32 / 255.0;
        let opacity = 0.85 * (level as f64 / 255.0).powf(0.7);
        let colour = colorous::INFERNO.eval_rational(level, 256).as_array();
        for pixel in [[0, 0, 0], [255, 255, 255], [12, 200, 99]] {
            let got = tint(pixel, saliency);
            for channel in 0..3 {
                let want = opacity * f64::from(colour[channel]) + (1.0 - opacity) * f64::from(pixel[channel]);
                // Rounded to nearest; floats may fall on the other side of a half.
                assert!((f64::from(got[channel]) - want).abs() <= 0.5 + 1e-4, "{level} {pixel:?}: {got:?}");
            }
        }
    }
    for pixel in [[0, 0, 0], [255, 255, 255], [1, 2, 3]] {
        for nothing in [0.0, -1.0, f32::NAN, f32::NEG_INFINITY] {
            assert_eq!(tint(pixel, nothing), pixel);
        }
        assert_eq!(tint(pixel, f32::INFINITY), tint(pixel, 1.0));
    }
}

#[test]
fn sixteen_bits_are_the_highest_of_twenty_four() {
    for pixel in 0..=u16::MAX {
        assert_eq!(tint_rgb565(pixel, 0.0), pixel);
    }
    let wide = |bits: u16, count: u32| (u32::from(bits) * 255 / ((1 << count) - 1)) as f64;
    for pixel in (0..=u16::MAX).step_by(7) {
        let parts = [wide(pixel >> 11, 5), wide(pixel >> 5 & 63, 6), wide(pixel & 31, 5)];
        let [r, g, b] = tint(parts.map(|part| part.round() as u8), 0.4).map(u16::from);
        let got = tint_rgb565(pixel, 0.4);
        for (got, want) in [(got >> 11, r >> 3), (got >> 5 & 63, g >> 2), (got & 31, b >> 3)] {
            assert!(got.abs_diff(want) <= 1, "{pixel:#x}");
        }
    }
}

/// The whole map at once, as the desktop makes it: resampled, negatives cut off, min-max scaled.
fn whole(out: [usize; 2]) -> Vec<f32> {
    let mut taps = vec![Tap::default(); out[1]];
    let bicubic = Bicubic::new(SIZE[0], SIZE[1], out[0], &mut taps).unwrap();
    let (mut scratch, mut map) = (vec![0.0; scratch_len(SIZE[1])], vec![0.0; out[0] * out[1]]);
    for (y, row) in map.chunks_exact_mut(out[1]).enumerate() {
        bicubic.row(&SALIENCY, y, &mut scratch, row).unwrap();
        row.iter_mut().for_each(|value| *value = value.max(0.0));
    }
    let mut range = Range::EMPTY;
    range.include(&map);
    range.scale(&mut map);
    map
}

#[test]
fn rows_are_those_of_the_whole_picture() {
    let out = [31, 17];
    let map = whole(out);
    let photo = |x: usize, y: usize| [(x * 15) as u8, (y * 8) as u8, 77];
    let mut taps = vec![Tap::default(); out[1]];
    let bicubic = Bicubic::new(SIZE[0], SIZE[1], out[0], &mut taps).unwrap();
    let mut workspace = vec![f32::NAN; workspace_len(SIZE[1], out[1])];
    let overlay = Overlay::new(&bicubic, &SALIENCY, &mut workspace).unwrap();
    for (y, want) in map.chunks(out[1]).enumerate() {
        assert_eq!(overlay.row(y, &mut workspace).unwrap(), want);
        let mut pixels: Vec<[u8; 3]> = (0..out[1]).map(|x| photo(x, y)).collect();
        overlay.rgb888(y, &mut workspace, &mut pixels).unwrap();
        let mut short: Vec<u16> = (0..out[1]).map(|x| (x * 3000 + y) as u16).collect();
        let before = short.clone();
        overlay.rgb565(y, &mut workspace, &mut short).unwrap();
        for (x, saliency) in want.iter().enumerate() {
            assert_eq!(pixels[x], tint(photo(x, y), *saliency));
            assert_eq!(short[x], tint_rgb565(before[x], *saliency));
        }
    }
    let mut pixels = [[9; 3]; 17];
    assert_eq!(overlay.rgb888(31, &mut workspace, &mut pixels), Err(Error::Shape));
    assert_eq!(overlay.rgb888(0, &mut workspace, &mut pixels[1..]), Err(Error::Shape));
    let short = workspace.len() - 1;
    assert_eq!(overlay.rgb888(0, &mut workspace[..short], &mut pixels), Err(Error::WorkspaceTooSmall));
    assert_eq!(overlay.rgb565(0, &mut workspace, &mut [0; 16]), Err(Error::Shape));
    assert_eq!(pixels, [[9; 3]; 17]);
    assert_eq!(Overlay::new(&bicubic, &SALIENCY[1..], &mut workspace).unwrap_err(), Error::Shape);
    assert_eq!(workspace_len(usize::MAX, 4), usize::MAX);
    assert_eq!(resample::scratch_len(usize::MAX), usize::MAX);
}

#[test]
fn nothing_salient_leaves_the_picture_alone() {
    let mut taps = [Tap::default(); 5];
    let bicubic = Bicubic::new(2, 2, 4, &mut taps).unwrap();
    let mut workspace = [0.0; workspace_len(2, 5)];
    for nothing in [[0.0; 4], [-1.0, -2.0, -1.0, -3.0]] {
        let overlay = Overlay::new(&bicubic, &nothing, &mut workspace).unwrap();
        let mut pixels = [[1, 2, 3]; 5];
        overlay.rgb888(2, &mut workspace, &mut pixels).unwrap();
        assert_eq!(pixels, [[1, 2, 3]; 5]);
    }
}

#[cfg(feature = "embedded-graphics")]
#[test]
fn an_embedded_display_shows_the_same_pixels() {
    use decomcam_core::draw::Drawing;
    use embedded_graphics_core::Drawable;
    use embedded_graphics_core::draw_target::DrawTarget;
    use embedded_graphics_core::geometry::{OriginDimensions, Point, Size};
    use embedded_graphics_core::pixelcolor::{Rgb565, Rgb888, RgbColor};

    struct Display(Vec<Option<Rgb565>>);

    impl OriginDimensions for Display {
        fn size(&self) -> Size {
            Size::new(20, 12)
        }
    }

    impl DrawTarget for Display {
        type Color = Rgb565;
        type Error = core::convert::Infallible;

        fn draw_iter<I: IntoIterator<Item = embedded_graphics_core::Pixel<Rgb565>>>(
            &mut self,
            pixels: I,
        ) -> Result<(), Self::Error> {
            for embedded_graphics_core::Pixel(point, colour) in pixels {
                self.0[point.y as usize * 20 + point.x as usize] = Some(colour);
            }
            Ok(())
        }
    }

    let out = [7, 13];
    let map = whole(out);
    let photo = |x: usize, y: usize| Rgb888::new((x * 19) as u8, (y * 30) as u8, 77);
    let mut taps = vec![Tap::default(); out[1]];
    let bicubic = Bicubic::new(SIZE[0], SIZE[1], out[0], &mut taps).unwrap();
    let mut workspace = vec![0.0; workspace_len(SIZE[1], out[1])];
    let overlay = Overlay::new(&bicubic, &SALIENCY, &mut workspace).unwrap();
    let mut display = Display(vec![None; 240]);
    let drawing: Drawing<'_, Rgb565, _> = Drawing::new(overlay, Point::new(4, 3), &mut workspace, photo);
    assert_eq!(drawing.draw(&mut display), Ok(Ok(())));
    for y in 0..12_usize {
        for x in 0..20_usize {
            let inside = (3..10).contains(&y) && (4..17).contains(&x);
            let want = inside.then(|| {
                let pixel = photo(x - 4, y - 3);
                let [r, g, b] = tint([pixel.r(), pixel.g(), pixel.b()], map[(y - 3) * 13 + x - 4]);
                Rgb565::from(Rgb888::new(r, g, b))
            });
            assert_eq!(display.0[y * 20 + x], want, "{x}, {y}");
        }
    }
}
