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

/// A letter for each pixel: the colours above, `w` for white, `?` for others.
fn letters(picture: &RgbImage) -> String {
    let letter = |pixel: &Rgb<u8>| match pixel.0 {
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

fn chunk(name: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let mut chunk = [&name[..], &(data.len() as u32).to_le_bytes(), data].concat();
    chunk.resize(chunk.len().next_multiple_of(2), 0);
    chunk
}

fn three(number: u32) -> Vec<u8> {
    number.to_le_bytes()[..3].to_vec()
}

/// A frame of an animated WebP, shown for a quarter of a second: width and height, left and top, flags, the chunks of its picture.
fn webp_frame([width, height]: [u32; 2], [left, top]: [u32; 2], flags: u8, picture: &[u8]) -> Vec<u8> {
    let place = [left / 2, top / 2, width - 1, height - 1, 250].map(three).concat();
    chunk(b"ANMF", &[&place[..], &[flags], picture].concat())
}

/// An animated WebP of this width and height, which says whether its pictures are transparent anywhere.
fn webp_file([width, height]: [u32; 2], transparent: bool, frames: &[Vec<u8>]) -> Vec<u8> {
    let flags = if transparent { 0b1_0010 } else { 0b10 };
    let mut body = chunk(b"VP8X", &[vec![flags, 0, 0, 0], three(width - 1), three(height - 1)].concat());
    body.extend(chunk(b"ANIM", &[0; 6]));
    body.extend(frames.concat());
    [&b"RIFF"[..], &(body.len() as u32 + 4).to_le_bytes(), b"WEBP", &body].concat()
}

/// A frame of one colour, without loss.
fn plain(colour: [u8; 4], size: [u32; 2], at: [u32; 2], flags: u8) -> Vec<u8> {
    let mut still = Vec::new();
    let picture = DynamicImage::ImageRgba8(filled(size[0], size[1], colour));
    picture.write_to(&mut Cursor::new(&mut still), ImageFormat::WebP).unwrap();
    webp_frame(size, at, flags, &still[still.windows(4).position(|name| name == b"VP8L").unwrap()..])
}

/// Flags of a frame.
const OVER: u8 = 0;
const CLEARED: u8 = 1;
const IN_PLACE: u8 = 2;

/// What the specification of the container says that is seen of each frame.
#[test]
fn pieces_of_a_webp_stay_or_are_cleared() {
    let half = [0, 0, 255, 128];
    let bytes = webp_file(
        [4, 2],
        true,
        &[
            plain(RED, [4, 2], [0, 0], IN_PLACE),
            plain(GREEN, [2, 1], [2, 0], OVER | CLEARED),
            // Of the whole picture, but only the place of the frame before it is cleared.
            plain(NONE, [4, 2], [0, 0], OVER),
            plain(NONE, [2, 2], [0, 0], IN_PLACE),
            plain(half, [4, 2], [0, 0], OVER),
        ],
    );
    let animation = opened(&bytes);
    let seen = pictures(&animation);
    let words: Vec<String> = seen.iter().map(letters).collect();
    assert_eq!(words[..4], ["rrrr rrrr", "rrgg rrrr", "rrww rrrr", "wwww wwrr"]);
    // Half of a colour over nothing, and over another one.
    assert_eq!([(0, 0), (3, 1)].map(|(x, y)| seen[4].get_pixel(x, y).0), [[127, 127, 255], [127, 0, 128]]);
    assert_eq!(animation.begins, [0.0, 0.25, 0.5, 0.75, 1.0]);
    let first = Photo::from_bytes("moving", &bytes).unwrap();
    assert_eq!((&first.pixels, first.animated), (&seen[0], true));
}

/// Nothing is opaque where no frame was drawn, also where a file says that none of its pictures is transparent.
#[test]
fn an_opaque_webp_is_cleared_to_the_paper() {
    let bytes = webp_file(
        [4, 2],
        false,
        &[
            plain(GREEN, [2, 1], [2, 0], OVER),
            plain(RED, [4, 2], [0, 0], OVER),
            plain(GREEN, [2, 1], [2, 0], CLEARED),
            plain(BLUE, [2, 1], [0, 0], OVER),
        ],
    );
    let seen = pictures(&opened(&bytes));
    assert_eq!(seen.iter().map(letters).collect::<Vec<_>>(), ["wwgg wwww", "rrrr rrrr", "rrgg rrrr", "bbww rrrr"]);
    assert_eq!(Photo::from_bytes("moving", &bytes).unwrap().pixels, seen[0]);
}

/// A still WebP with loss, of 2 x 2 pixels: what `convert -size 2x2 xc:#f00 red.webp` writes.
const LOSSY: [u8; 68] = [
    0x52, 0x49, 0x46, 0x46, 0x3c, 0x00, 0x00, 0x00, 0x57, 0x45, 0x42, 0x50, 0x56, 0x50, 0x38, 0x20, 0x30, 0x00, 0x00,
    0x00, 0xd0, 0x01, 0x00, 0x9d, 0x01, 0x2a, 0x02, 0x00, 0x02, 0x00, 0x02, 0x00, 0x34, 0x25, 0xa0, 0x02, 0x74, 0xba,
    0x01, 0xf8, 0x00, 0x03, 0xb0, 0x00, 0xfe, 0xf0, 0xc4, 0x0b, 0xff, 0x20, 0xb9, 0x61, 0x75, 0xc8, 0xd7, 0xff, 0x20,
    0x3f, 0xe4, 0x07, 0xfc, 0x80, 0xff, 0xf8, 0xf2, 0x00, 0x00, 0x00,
];

#[test]
fn a_frame_with_loss_has_its_transparency_beside_it() {
    let red = *Photo::from_bytes("still", &LOSSY).unwrap().pixels.get_pixel(0, 0);
    assert!(red.0[0] > 250 && red.0[1] < 5 && red.0[2] < 5, "{red:?}");
    // Bytes as they are, one a pixel.
    let alpha = chunk(b"ALPH", &[0, 255, 0, 0, 255]);
    let frames = [
        plain(GREEN, [4, 2], [0, 0], OVER),
        webp_frame([2, 2], [2, 0], OVER, &LOSSY[12..]),
        webp_frame([2, 2], [0, 0], OVER, &[&alpha, &LOSSY[12..]].concat()),
    ];
    let seen = pictures(&opened(&webp_file([4, 2], true, &frames)));
    let green = Rgb([0, 255, 0]);
    assert_eq!(seen[1].pixels().copied().collect::<Vec<_>>(), [green, green, red, red, green, green, red, red]);
    assert_eq!(seen[2].pixels().copied().collect::<Vec<_>>(), [red, green, red, red, green, red, red, red]);
}

#[test]
fn a_damaged_webp_is_an_error_behind_the_frames_that_are_whole() {
    let first = plain(RED, [4, 2], [0, 0], OVER);
    let of =
        |second: &[u8]| Animation::from_bytes("damaged", webp_file([4, 2], true, &[first.clone(), second.to_vec()]));
    let lossy = |size| webp_frame(size, [0, 0], OVER, &LOSSY[12..]);
    for (second, cause) in [
        (plain(GREEN, [2, 2], [4, 0], OVER), "beyond the picture"),
        (lossy([2, 1]), "Inconsistent image sizes"),
        (webp_frame([2, 2], [0, 0], OVER, &chunk(b"ALPH", &[0; 5])), "without a picture"),
        (chunk(b"ANMF", &[0; 9]), "within a frame"),
        ([b"ANMF", &[0xff; 4][..], &[0; 40]].concat(), "within a frame"),
    ] {
        let animation = of(&second).unwrap();
        let damage = animation.damage.unwrap();
        assert!(animation.begins.len() == 1 && damage.contains(cause), "{cause}: {damage}");
    }
    // Whatever a file claims, no panic and no end of memory.
    let whole = webp_file([4, 2], true, &[first.clone(), lossy([2, 2])]);
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0xff;
        for bytes in [&bytes[..], &whole[..at]] {
            let _ = Animation::from_bytes("damaged", bytes.to_vec());
        }
    }
    let shorter = Animation::from_bytes("damaged", whole[..whole.len() - 76].to_vec()).unwrap();
    assert_eq!((shorter.begins.len(), shorter.damage.is_some()), (1, true), "{shorter:?}");
}

#[test]
fn an_animated_webp_is_turned_as_its_metadata_says() {
    let quarter = [&b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0"[..], &[0; 6]].concat();
    let frames = [plain(RED, [3, 1], [0, 0], OVER), plain(GREEN, [1, 1], [2, 0], OVER), chunk(b"EXIF", &quarter)];
    let bytes = webp_file([3, 1], false, &frames);
    let seen = pictures(&opened(&bytes));
    assert_eq!(seen.iter().map(letters).collect::<Vec<_>>(), ["r r r", "r r g"]);
    assert_eq!(Photo::from_bytes("moving", &bytes).unwrap().pixels, seen[0]);
}

#[test]
fn frames_before_the_damage_are_given() {
    for bytes in
        [gif_of([10; 6]), png_of(&pieces(), None), webp_file([3, 2], true, &[plain(RED, [3, 2], [0, 0], OVER)])]
    {
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
