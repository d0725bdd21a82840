//! Animated GIF, PNG and WebP against what a browser shows: pieces that stay, are cleared or taken back, times, damage.

use crate::common::animation::{Piece, png_of};
use decomcam::Photo;
use decomcam::photo::Animation;
use image::{DynamicImage, ImageFormat, Rgb, RgbImage, Rgba, RgbaImage};
use png::{BlendOp, DisposeOp};
use std::io::Cursor;
use std::ops::ControlFlow;

const RED: [u8; 4] = [255, 0, 0, 255];
const GREEN: [u8; 4] = [0, 255, 0, 255];
const BLUE: [u8; 4] = [0, 0, 255, 255];
const NONE: [u8; 4] = [0; 4];

fn opened(bytes: &[u8]) -> Animation {
    Animation::from_bytes("moving", bytes.to_vec()).unwrap()
}

fn pictures(animation: &Animation) -> Vec<RgbImage> {
    let mut pictures = Vec::new();
    animation.each(|number, picture| {
        assert_eq!(number, pictures.len());
        pictures.push(picture);
        ControlFlow::Continue(())
    });
    pictures
}

/// A letter for each pixel: the colours above, `w` for white, `?` for others. One is no difference: what composes WebP rounds down.
fn letters(picture: &RgbImage) -> String {
    let whole = |sample: u8| if sample <= 1 { 0 } else { sample.saturating_add(1) };
    let letter = |pixel: &Rgb<u8>| match pixel.0.map(whole) {
        [255, 0, 0] => 'r',
        [0, 255, 0] => 'g',
        [0, 0, 255] => 'b',
        [255, 255, 255] => 'w',
        _ => '?',
    };
    let rows = picture.rows().map(|row| row.map(letter).collect::<String>());
    rows.collect::<Vec<_>>().join(" ")
}

fn filled(width: u32, height: u32, colour: [u8; 4]) -> RgbaImage {
    RgbaImage::from_pixel(width, height, Rgba(colour))
}

/// A colour, width and height, left and top, and what becomes of it.
type Step = ([u8; 4], [u32; 2], [u32; 2], DisposeOp);

/// Pieces of 3 x 2 pictures. Chosen so that every rule shows: a piece that is cleared, one after it that is taken back to what was
/// cleared, and a transparent one that shows what is there.
const STEPS: [Step; 6] = [
    (RED, [3, 2], [0, 0], DisposeOp::None),
    (GREEN, [2, 1], [1, 0], DisposeOp::Background),
    (BLUE, [2, 2], [1, 0], DisposeOp::Previous),
    (NONE, [1, 1], [0, 0], DisposeOp::None),
    (GREEN, [1, 2], [0, 0], DisposeOp::Previous),
    (BLUE, [1, 1], [2, 1], DisposeOp::None),
];
const SEEN: [&str; 6] = ["rrr rrr", "rgg rrr", "rbb rbb", "rww rrr", "gww grr", "rww rrb"];

fn gif_of(delays: [u16; 6]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = gif::Encoder::new(&mut bytes, 3, 2, &[]).unwrap();
    for ((colour, [width, height], [left, top], dispose), delay) in STEPS.into_iter().zip(delays) {
        let mut pixels = filled(width, height, colour).into_raw();
        let mut frame = gif::Frame::from_rgba(width as u16, height as u16, &mut pixels);
        (frame.left, frame.top, frame.delay) = (left as u16, top as u16, delay);
        frame.dispose = match dispose {
            DisposeOp::None => gif::DisposalMethod::Keep,
            DisposeOp::Background => gif::DisposalMethod::Background,
            DisposeOp::Previous => gif::DisposalMethod::Previous,
        };
        encoder.write_frame(&frame).unwrap();
    }
    drop(encoder);
    bytes
}

fn pieces() -> Vec<Piece> {
    STEPS
        .into_iter()
        .map(|(colour, [width, height], at, dispose)| Piece {
            pixels: filled(width, height, colour),
            at,
            blend: BlendOp::Over,
            dispose,
            delay: [1, 4],
        })
        .collect()
}

#[test]
fn pieces_of_a_gif_stay_are_cleared_or_taken_back() {
    let bytes = gif_of([5, 0, 1, 2, 100, 7]);
    let animation = opened(&bytes);
    let seen = pictures(&animation);
    assert_eq!(seen.iter().map(letters).collect::<Vec<_>>(), SEEN);
    // What is shown for one hundredth of a second or less is shown for ten.
    let begins: Vec<i32> = animation.begins.iter().map(|time| (100.0 * time).round() as i32).collect();
    assert_eq!(begins, [0, 5, 15, 25, 27, 127]);
    assert!((animation.seconds - 1.34).abs() < 1e-9 && animation.damage.is_none());
    let first = Photo::from_bytes("moving", &bytes).unwrap();
    assert_eq!((&first.pixels, &*first.sha256, first.animated), (&seen[0], &*animation.sha256, true));
}

#[test]
fn pieces_of_a_png_stay_are_cleared_or_taken_back() {
    let animation = opened(&png_of(&pieces(), None));
    assert_eq!(pictures(&animation).iter().map(letters).collect::<Vec<_>>(), SEEN);
    assert_eq!(animation.begins, [0.0, 0.25, 0.5, 0.75, 1.0, 1.25]);
    // A piece in the place of what is there, though it is transparent; and half a colour over another one.
    let mut other = pieces();
    other.truncate(2);
    (other[1].pixels, other[1].blend) = (filled(2, 1, NONE), BlendOp::Source);
    assert_eq!(letters(&pictures(&opened(&png_of(&other, None)))[1]), "rww rrr");
    (other[1].pixels, other[1].blend) = (filled(2, 1, [0, 255, 0, 128]), BlendOp::Over);
    let [red, green, blue] = pictures(&opened(&png_of(&other, None)))[1].get_pixel(1, 0).0;
    assert!((red, green, blue) == (127, 128, 0), "{red} {green} {blue}");
}

#[test]
fn a_picture_before_the_frames_of_a_png_is_none_of_them() {
    let bytes = png_of(&pieces(), Some(&filled(3, 2, BLUE)));
    assert_eq!(letters(&pictures(&opened(&bytes))[0]), "rrr rrr");
    assert_eq!(letters(&Photo::from_bytes("still", &bytes).unwrap().pixels), "bbb bbb");
}

/// An animated WebP: each frame is what the still encoder makes of it.
fn webp_of(pieces: &[Piece]) -> Vec<u8> {
    fn chunk(name: &[u8; 4], data: &[u8]) -> Vec<u8> {
        let mut chunk = [&name[..], &(data.len() as u32).to_le_bytes(), data].concat();
        chunk.resize(chunk.len().next_multiple_of(2), 0);
        chunk
    }
    let three = |number: u32| number.to_le_bytes()[..3].to_vec();
    let (width, height) = pieces[0].pixels.dimensions();
    let mut body = chunk(b"VP8X", &[vec![0b1_0010, 0, 0, 0], three(width - 1), three(height - 1)].concat());
    body.extend(chunk(b"ANIM", &[0; 6]));
    for piece in pieces {
        let mut still = Vec::new();
        DynamicImage::ImageRgba8(piece.pixels.clone())
            .write_to(&mut Cursor::new(&mut still), ImageFormat::WebP)
            .unwrap();
        let picture = &still[still.windows(4).position(|name| name == b"VP8L").unwrap()..];
        let flags = 2 * u8::from(piece.blend == BlendOp::Source) + u8::from(piece.dispose == DisposeOp::Background);
        let (width, height) = piece.pixels.dimensions();
        let place = [piece.at[0] / 2, piece.at[1] / 2, width - 1, height - 1, 250].map(three).concat();
        body.extend(chunk(b"ANMF", &[&place[..], &[flags], picture].concat()));
    }
    [&b"RIFF"[..], &(body.len() as u32 + 4).to_le_bytes(), b"WEBP", &body].concat()
}

#[test]
fn pieces_of_a_webp_stay_or_are_cleared() {
    let piece = |colour, [width, height]: [u32; 2], at, dispose| Piece {
        pixels: filled(width, height, colour),
        at,
        blend: BlendOp::Over,
        dispose,
        delay: [0, 1],
    };
    let bytes = webp_of(&[
        piece(RED, [3, 2], [0, 0], DisposeOp::None),
        piece(GREEN, [1, 2], [2, 0], DisposeOp::Background),
        piece(BLUE, [1, 1], [0, 0], DisposeOp::None),
        piece(NONE, [3, 2], [0, 0], DisposeOp::None),
    ]);
    let animation = opened(&bytes);
    let seen: Vec<String> = pictures(&animation).iter().map(letters).collect();
    assert_eq!(seen, ["rrr rrr", "rrg rrg", "brw rrw", "brw rrw"]);
    assert_eq!(animation.begins, [0.0, 0.25, 0.5, 0.75]);
    assert!(Photo::from_bytes("moving", &bytes).unwrap().animated);
}

#[test]
fn frames_before_the_damage_are_given() {
    for bytes in [gif_of([10; 6]), png_of(&pieces(), None), webp_of(&pieces()[..1])] {
        let whole = opened(&bytes).begins.len();
        let half = Animation::from_bytes("half", bytes[..bytes.len() * 2 / 3].to_vec());
        match half {
            Ok(half) => {
                assert!(half.begins.len() < whole && half.damage.is_some(), "{half:?}");
                assert_eq!(pictures(&half).len(), half.begins.len());
            }
            // Where the damage is within the first frame it is refused as a photo is.
            Err(error) => assert!(whole == 1 && error.to_string().contains("cannot read photo `half`"), "{error}"),
        }
    }
}

#[test]
fn photos_are_animations_of_one_picture() {
    let mut bytes = Vec::new();
    DynamicImage::ImageRgba8(filled(3, 2, GREEN)).write_to(&mut Cursor::new(&mut bytes), ImageFormat::Png).unwrap();
    let animation = opened(&bytes);
    assert_eq!((animation.begins.len(), letters(&pictures(&animation)[0])), (1, "ggg ggg".into()));
    assert!(!Photo::from_bytes("still", &bytes).unwrap().animated);
    let refused = Animation::from_bytes("words", b"hello world, hello world".to_vec()).unwrap_err().to_string();
    assert!(refused.starts_with("cannot read photo `words`: expected a JPEG"), "{refused}");
}

#[test]
fn samples_of_sixteen_bits_are_rounded() {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, 2, 1);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::Sixteen);
    encoder.set_animated(2, 0).unwrap();
    let mut writer = encoder.write_header().unwrap();
    for low in [[0u16, 65_535], [128, 129]] {
        writer.write_image_data(&low.map(u16::to_be_bytes).concat()).unwrap();
    }
    writer.finish().unwrap();
    let samples: Vec<u8> =
        pictures(&opened(&bytes)).iter().flat_map(|picture| picture.pixels().map(|p| p.0[0])).collect();
    assert_eq!(samples, [0, 255, 0, 1]);
}
