//! From file to network input.

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use decomcam::Size;
use decomcam::photo::{Animation, Filter, Fit, Framing, Photo, Planes, blur};
use image::codecs::gif::GifEncoder;
use image::{DynamicImage, Frame, GrayImage, ImageBuffer, ImageFormat, LumaA, Rgb, RgbImage, Rgba, RgbaImage};
use tempfile::TempDir;

struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn put(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    fn open(&self, name: &str, bytes: &[u8]) -> Photo {
        Photo::open(self.put(name, bytes)).unwrap()
    }

    /// The message with which `bytes` are refused, which has to be a sentence that names the file.
    fn refusal(&self, name: &str, bytes: &[u8]) -> String {
        refusal(&self.put(name, bytes))
    }
}

fn refusal(path: &Path) -> String {
    let message = format!("{:#}", Photo::open(path).expect_err("this is to be refused"));
    assert!(message.starts_with(&format!("cannot read photo `{}`: expected ", path.display())), "{message}");
    assert!(message.contains(", found ") && message.contains("; "), "{message}");
    assert!(!message.contains('\n'), "{message}");
    message
}

fn encoded(picture: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Vec::new();
    picture.into().write_to(&mut Cursor::new(&mut bytes), format).unwrap();
    bytes
}

/// Four flat quarters: red, green over blue, white.
fn quarters(height: u32, width: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        Rgb(match (y < height / 2, x < width / 2) {
            (true, true) => [255, 0, 0],
            (true, false) => [0, 255, 0],
            (false, true) => [0, 0, 255],
            (false, false) => [255, 255, 255],
        })
    })
}

fn photo(pixels: RgbImage) -> Photo {
    Photo::from_pixels("", pixels)
}

/// 9 x 13 pixels full of hard edges.
fn rough() -> Photo {
    photo(RgbImage::from_fn(13, 9, |x, y| {
        Rgb([0, 1, 2].map(|c| ((7 * x * x + 13 * y * y + 29 * x * y * (c + 1) + 31 * c) % 256) as u8))
    }))
}

#[test]
fn every_format_is_told_by_its_content() {
    let files = Files::new();
    let original = quarters(16, 32);
    let formats = [
        ImageFormat::Png,
        ImageFormat::WebP,
        ImageFormat::Bmp,
        ImageFormat::Gif,
        ImageFormat::Jpeg,
        ImageFormat::Tiff,
        ImageFormat::Ico,
    ];
    for format in formats {
        let photo = files.open("wrong.name", &encoded(original.clone(), format));
        assert_eq!(photo.pixels.dimensions(), (32, 16), "{format:?}");
        let tolerance = if format == ImageFormat::Jpeg { 3 } else { 0 };
        // The eighths keep clear of JPEG's blurred colour edges.
        for (x, y) in [(4, 4), (27, 4), (4, 11), (27, 11)] {
            for (found, expected) in photo.pixels.get_pixel(x, y).0.iter().zip(original.get_pixel(x, y).0) {
                assert!(found.abs_diff(expected) <= tolerance, "{format:?} at {x}, {y}: {found} for {expected}");
            }
        }
    }
}

#[test]
fn the_digest_is_of_the_file() {
    // One pixel; sha256sum computed the digest.
    let mut bmp = b"BM\x3a\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x01\0\0\0\x01\0\0\0\x01\0\x18\0\0\0\0\0\x04".to_vec();
    bmp.resize(54, 0);
    bmp.extend([10, 20, 30, 0]);
    let files = Files::new();
    let photo = files.open("dot.bmp", &bmp);
    assert_eq!(photo.pixels.as_raw(), &[30, 20, 10]);
    assert_eq!(photo.sha256, "a24f66ba185313ccdfedd7e7bf7e24a769b9ef19b0d9ca99e7ee05e73fe0e414");
    assert_eq!(photo.name, files.0.path().join("dot.bmp").display().to_string());
}

#[test]
fn sixteen_bits_are_rounded_and_grey_is_repeated() {
    let files = Files::new();
    let deep = ImageBuffer::<Rgb<u16>, _>::from_raw(2, 1, vec![0, 255, 65_535, 128, 129, 32_768]).unwrap();
    assert_eq!(files.open("deep.png", &encoded(deep, ImageFormat::Png)).pixels.as_raw(), &[0, 1, 255, 0, 1, 128]);
    let grey = GrayImage::from_raw(3, 1, vec![0, 77, 255]).unwrap();
    let expected = [0, 0, 0, 77, 77, 77, 255, 255, 255];
    assert_eq!(files.open("grey.png", &encoded(grey, ImageFormat::Png)).pixels.as_raw(), &expected);
}

#[test]
fn transparency_shows_white() {
    let files = Files::new();
    let pixels = vec![10, 20, 30, 0, 0, 0, 0, 128, 10, 20, 30, 255, 200, 100, 0, 51];
    let clear = RgbaImage::from_raw(4, 1, pixels).unwrap();
    let expected = [255, 255, 255, 127, 127, 127, 10, 20, 30, 244, 224, 204];
    for format in [ImageFormat::Png, ImageFormat::WebP] {
        assert_eq!(files.open("clear", &encoded(clear.clone(), format)).pixels.as_raw(), &expected, "{format:?}");
    }
    let grey = ImageBuffer::<LumaA<u16>, _>::from_raw(2, 1, vec![0, 0, 0x8080, 0xffff]).unwrap();
    let grey = files.open("grey.png", &encoded(grey, ImageFormat::Png));
    assert_eq!(grey.pixels.as_raw(), &[255, 255, 255, 128, 128, 128]);
}

/// What EXIF says when it holds nothing but the orientation.
fn exif(orientation: u8) -> Vec<u8> {
    let mut exif = b"MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
    exif.extend([orientation, 0, 0, 0, 0, 0, 0]);
    exif
}

/// XMP that says the same.
fn xmp(orientation: u8) -> String {
    format!(
        "<x:xmpmeta xmlns:x=\"adobe:ns:meta/\"><rdf:RDF xmlns:rdf=\"http://www.w3.org/1999/02/22-rdf-syntax-ns#\"><rdf:Description \
         xmlns:tiff=\"http://ns.adobe.com/tiff/1.0/\" tiff:Orientation=\"{orientation}\"/></rdf:RDF></x:xmpmeta>"
    )
}

/// The JPEG file with a segment APP1.
fn with_segment(jpeg: &[u8], content: &[u8]) -> Vec<u8> {
    let length = (content.len() as u16 + 2).to_be_bytes();
    [&jpeg[..2], &[0xff, 0xe1], &length, content, &jpeg[2..]].concat()
}

/// The JPEG file with an EXIF segment that holds nothing but the orientation, and then `extra`.
fn oriented(jpeg: &[u8], orientation: u8, extra: &[u8]) -> Vec<u8> {
    with_segment(jpeg, &[b"Exif\0\0", &exif(orientation)[..], extra].concat())
}

/// The PNG file with a chunk before its pixels, or else after them.
fn with_chunk(png: &[u8], kind: &[u8; 4], content: &[u8], before: bool) -> Vec<u8> {
    let chunk = [&kind[..], content].concat();
    let chunk = [&(content.len() as u32).to_be_bytes()[..], &chunk, &crc(&chunk).to_be_bytes()].concat();
    let at = if before { 33 } else { png.len() - 12 };
    [&png[..at], &chunk, &png[at..]].concat()
}

fn crc(bytes: &[u8]) -> u32 {
    let mut crc = !0_u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

/// The lossless WebP file, extended, with a chunk after its pixels.
fn with_riff_chunk(webp: &[u8], (height, width): (u32, u32), kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
    let flags = if kind == b"EXIF" { 8 } else { 4 };
    let padded = if content.len() % 2 == 1 { &[0][..] } else { &[] };
    let side = |side: u32| (side - 1).to_le_bytes()[..3].to_vec();
    let extended = [b"VP8X\x0a\0\0\0", &[flags, 0, 0, 0][..], &side(width), &side(height)].concat();
    let chunk = [&kind[..], &(content.len() as u32).to_le_bytes(), content, padded].concat();
    let body = [b"WEBP", &extended[..], &webp[12..], &chunk].concat();
    [b"RIFF", &(body.len() as u32).to_le_bytes()[..], &body].concat()
}

/// An uncompressed TIFF file with its orientation.
fn oriented_tiff(picture: &RgbImage, orientation: u16) -> Vec<u8> {
    tiff_of(picture.dimensions(), picture.as_raw(), (1, 2), orientation)
}

/// A TIFF file of one strip, with its compression and the meaning of its colours.
fn tiff_of((width, height): (u32, u32), data: &[u8], (compression, colours): (u32, u32), orientation: u16) -> Vec<u8> {
    let entries = [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, 3, 8 + data.len() as u32),
        (259, 3, 1, compression),
        (262, 3, 1, colours),
        (273, 4, 1, 8),
        (274, 3, 1, orientation.into()),
        (277, 3, 1, 3),
        (278, 4, 1, height),
        (279, 4, 1, data.len() as u32),
    ];
    let directory = 8 + data.len() as u32 + 6;
    let mut tiff = [b"II*\0", &directory.to_le_bytes()[..], data, &[8, 0, 8, 0, 8, 0]].concat();
    tiff.extend((entries.len() as u16).to_le_bytes());
    for (tag, kind, count, value) in entries {
        tiff.extend([&(tag as u16).to_le_bytes()[..], &(kind as u16).to_le_bytes()].concat());
        tiff.extend([u32::to_le_bytes(count), u32::to_le_bytes(value)].concat());
    }
    [&tiff[..], &[0; 4]].concat()
}

/// The colours of the four quarters.
fn four(pixels: &RgbImage) -> String {
    let (width, height) = pixels.dimensions();
    let places = [(1, 1), (3, 1), (1, 3), (3, 3)];
    let letter =
        |(x, y): &(u32, u32)| match pixels.get_pixel(width * x / 4, height * y / 4).0.map(|sample| sample > 128) {
            [true, false, false] => 'r',
            [false, true, false] => 'g',
            [false, false, true] => 'b',
            [true, true, true] => 'w',
            _ => '?',
        };
    places.iter().map(letter).collect()
}

const TURNED: [(u8, &str); 8] =
    [(1, "rgbw"), (2, "grwb"), (3, "wbgr"), (4, "bwrg"), (5, "rbgw"), (6, "brwg"), (7, "wgbr"), (8, "gwrb")];

#[test]
fn exif_orientation_is_applied() {
    let files = Files::new();
    let jpeg = encoded(quarters(32, 64), ImageFormat::Jpeg);
    for (orientation, expected) in TURNED {
        let pixels = files.open("turned.jpg", &oriented(&jpeg, orientation, &[])).pixels;
        let upright = if orientation < 5 { (64, 32) } else { (32, 64) };
        assert_eq!(pixels.dimensions(), upright, "orientation {orientation}");
        assert_eq!(four(&pixels), expected, "orientation {orientation}");
    }
}

#[test]
fn orientation_is_found_wherever_a_file_has_it() {
    let files = Files::new();
    let picture = quarters(32, 64);
    let jpeg = encoded(picture.clone(), ImageFormat::Jpeg);
    let png = encoded(picture.clone(), ImageFormat::Png);
    let webp = encoded(picture.clone(), ImageFormat::WebP);
    for (orientation, expected) in TURNED {
        let bare = exif(orientation);
        let led = [b"Exif\0\0", &bare[..]].concat();
        let xmp = xmp(orientation);
        let digits: String = led.iter().map(|byte| format!("{byte:02x}")).collect();
        let profile = format!("\nexif\n{:8}\n{digits}\n", led.len());
        let plain = [b"Raw profile type exif\0", profile.as_bytes()].concat();
        // One stored block of zlib: 7801, a last block, its length and the complement, and Adler's sum.
        let sum = profile.bytes().fold((1_u32, 0_u32), |(a, b), byte| {
            let a = (a + u32::from(byte)) % 65_521;
            (a, (a + b) % 65_521)
        });
        let length = profile.len() as u16;
        let block = [&[0x78, 1, 1][..], &length.to_le_bytes(), &(!length).to_le_bytes(), profile.as_bytes()].concat();
        let deflated = [&block[..], &(sum.1 << 16 | sum.0).to_be_bytes()].concat();
        let compressed = [b"Raw profile type exif\0\0", &deflated[..]].concat();
        let international = [b"XML:com.adobe.xmp\0\0\0\0\0", xmp.as_bytes()].concat();
        let cases = [
            ("WebP, EXIF", with_riff_chunk(&webp, (32, 64), b"EXIF", &bare)),
            ("WebP, EXIF as JPEG has it", with_riff_chunk(&webp, (32, 64), b"EXIF", &led)),
            ("WebP, XMP", with_riff_chunk(&webp, (32, 64), b"XMP ", xmp.as_bytes())),
            ("PNG, EXIF", with_chunk(&png, b"eXIf", &bare, true)),
            ("PNG, EXIF as JPEG has it", with_chunk(&png, b"eXIf", &led, true)),
            ("PNG, EXIF after the pixels", with_chunk(&png, b"eXIf", &bare, false)),
            ("PNG, profile", with_chunk(&png, b"tEXt", &plain, true)),
            ("PNG, compressed profile", with_chunk(&png, b"zTXt", &compressed, true)),
            ("PNG, compressed profile after the pixels", with_chunk(&png, b"zTXt", &compressed, false)),
            ("PNG, XMP", with_chunk(&png, b"iTXt", &international, true)),
            ("PNG, XMP after the pixels", with_chunk(&png, b"iTXt", &international, false)),
            ("JPEG, XMP", with_segment(&jpeg, &[b"http://ns.adobe.com/xap/1.0/\0", xmp.as_bytes()].concat())),
            ("TIFF", oriented_tiff(&picture, orientation.into())),
        ];
        for (name, bytes) in cases {
            assert_eq!(four(&files.open("turned", &bytes).pixels), expected, "{name}, orientation {orientation}");
        }
        // EXIF counts before XMP.
        let both = with_chunk(&with_chunk(&png, b"eXIf", &bare, true), b"iTXt", &international, true);
        assert_eq!(four(&files.open("turned", &both).pixels), expected);
    }
    for odd in [0, 9, 255] {
        assert_eq!(four(&files.open("odd.png", &with_chunk(&png, b"eXIf", &exif(odd), true)).pixels), "rgbw");
    }
}

#[test]
fn the_first_frame_of_an_animation_is_taken() {
    let mut gif = Vec::new();
    let mut encoder = GifEncoder::new(&mut gif);
    for colour in [[255, 0, 0, 255], [0, 0, 255, 255]] {
        encoder.encode_frame(Frame::new(RgbaImage::from_pixel(3, 2, Rgba(colour)))).unwrap();
    }
    drop(encoder);
    assert_eq!(Files::new().open("moving.gif", &gif).pixels, RgbImage::from_pixel(3, 2, Rgb([255, 0, 0])));
}

#[test]
fn what_is_cut_short_is_refused() {
    let files = Files::new();
    let noise = rough().pixels;
    for format in [ImageFormat::Png, ImageFormat::WebP, ImageFormat::Bmp, ImageFormat::Gif, ImageFormat::Jpeg] {
        let whole = encoded(noise.clone(), format);
        for length in [whole.len() / 3, whole.len() / 2, whole.len() - 20] {
            let message = files.refusal("cut", &whole[..length]);
            assert!(message.contains(&format!("{length} bytes that are damaged, cut short or unusual")), "{message}");
        }
    }
}

#[test]
fn a_jpeg_counts_as_whole_by_its_own_end_marker() {
    let files = Files::new();
    let jpeg = encoded(rough().pixels, ImageFormat::Jpeg);
    for length in (4..jpeg.len()).step_by(9).chain([jpeg.len() - 2, jpeg.len() - 1]) {
        files.refusal("cut.jpg", &jpeg[..length]);
    }
    // Markers may be led by any number of fill bytes.
    let (start, end) = (&jpeg[..2], &jpeg[2..jpeg.len() - 2]);
    let filled = [start, &[0xff; 3], end, &[0xff; 3], &[0xff, 0xd9]].concat();
    assert_eq!(files.open("filled.jpg", &filled).pixels.dimensions(), (13, 9));
    // A thumbnail's end marker is not the photo's, and what a phone appends is no part of the photo.
    let thumbnailed = oriented(&jpeg, 1, &[0xff, 0xd8, 0xff, 0xd9]);
    files.refusal("cut.jpg", &thumbnailed[..thumbnailed.len() - 2]);
    let trailed = [&thumbnailed, &b"moving picture"[..]].concat();
    assert_eq!(files.open("trailed.jpg", &trailed).pixels.dimensions(), (13, 9));
}

/// A photo of three colours full of edges, as `jpeg-encoder` writes it.
fn jpeg(set: impl FnOnce(&mut jpeg_encoder::Encoder<&mut Vec<u8>>)) -> Vec<u8> {
    let picture = RgbImage::from_fn(75, 50, |x, y| Rgb([(3 * x) as u8, (5 * y) as u8, ((7 * x) ^ (9 * y)) as u8]));
    let mut bytes = Vec::new();
    let mut encoder = jpeg_encoder::Encoder::new(&mut bytes, 90);
    set(&mut encoder);
    encoder.encode(picture.as_raw(), 75, 50, jpeg_encoder::ColorType::Rgb).unwrap();
    bytes
}

/// Every way to write one: subsampling, restart markers, progressive scans, optimised codes.
fn jpegs() -> Vec<(String, Vec<u8>)> {
    use jpeg_encoder::SamplingFactor as Factor;
    let mut files = Vec::new();
    for factor in [Factor::F_1_1, Factor::F_2_1, Factor::F_2_2] {
        let ways = [
            (false, 0, false),
            (false, 0, true),
            (false, 4, false),
            (false, 1, false),
            (true, 0, false),
            (true, 3, false),
        ];
        for (progressive, restarts, optimised) in ways {
            let bytes = jpeg(|encoder| {
                encoder.set_sampling_factor(factor);
                encoder.set_progressive(progressive);
                encoder.set_optimized_huffman_tables(optimised);
                if restarts > 0 {
                    encoder.set_restart_interval(restarts);
                }
            });
            files.push((
                format!("{factor:?}, progressive {progressive}, restarts {restarts}, optimised {optimised}"),
                bytes,
            ));
        }
    }
    // Scans that refine earlier ones.
    files.push((
        "progressive.jpg".into(),
        include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/photos/progressive.jpg")).to_vec(),
    ));
    files
}

/// Where the coded data of the last scan begins.
fn last_scan(jpeg: &[u8]) -> usize {
    let at = jpeg.windows(2).rposition(|pair| pair == [0xff, 0xda]).unwrap();
    at + 2 + usize::from(u16::from_be_bytes([jpeg[at + 2], jpeg[at + 3]]))
}

#[test]
fn a_jpeg_of_which_a_piece_is_missing_is_refused() {
    let files = Files::new();
    for (name, whole) in jpegs() {
        assert_eq!(files.open("whole.jpg", &whole).pixels.dimensions(), (75, 50), "{name}");
        let (start, end) = (last_scan(&whole), whole.len() - 2);
        for cut in (start..end - 2).step_by(((end - start) / 23).max(1)) {
            // Cut short, with an end marker of its own, and with one inside.
            let marked = [&whole[..cut], &[0xff, 0xd9]].concat();
            assert!(files.refusal("cut.jpg", &marked).contains("data ends before the picture does"), "{name}, {cut}");
            files.refusal("cut.jpg", &whole[..cut]);
            files.refusal("inside.jpg", &[&whole[..cut], &[0xff, 0xd9], &whole[cut..]].concat());
        }
    }
}

/// TIFF files hold whole JPEGs: what is missing inside is missing there too.
#[test]
fn a_tiff_of_which_a_piece_is_missing_is_refused() {
    let files = Files::new();
    let whole = jpeg(|encoder| encoder.set_sampling_factor(jpeg_encoder::SamplingFactor::F_1_1));
    let tiff = |data: &[u8]| tiff_of((75, 50), data, (7, 2), 1);
    assert_eq!(files.open("whole.tif", &tiff(&whole)).pixels.dimensions(), (75, 50));
    let (start, end) = (last_scan(&whole), whole.len() - 2);
    for cut in (start..end - 2).step_by((end - start) / 11) {
        let marked = [&whole[..cut], &[0xff, 0xd9]].concat();
        assert!(files.refusal("cut.tif", &tiff(&marked)).contains("data ends before the picture does"), "{cut}");
    }
    files.refusal("zeros.tif", &tiff(&vec![0; whole.len()]));
}

#[test]
fn restart_markers_come_in_turn() {
    let files = Files::new();
    let whole = jpeg(|encoder| encoder.set_restart_interval(4));
    let markers: Vec<usize> =
        (last_scan(&whole)..whole.len()).filter(|at| matches!(whole[*at..], [0xff, 0xd0..=0xd7, ..])).collect();
    assert!(markers.len() > 8);
    for (number, at) in markers.iter().enumerate() {
        assert_eq!(whole[at + 1], 0xd0 + (number % 8) as u8);
        let mut wrong = whole.clone();
        wrong[at + 1] = 0xd0 + ((number + 3) % 8) as u8;
        assert!(files.refusal("wrong.jpg", &wrong).contains("restart markers are out of turn"));
        let longer = [&whole[..*at], &[0x12, 0x34], &whole[*at..]].concat();
        assert!(files.refusal("longer.jpg", &longer).contains("codes that mean nothing"));
        if let Some(next) = markers.get(number + 1) {
            let missing = [&whole[..*at], &whole[*next..]].concat();
            assert!(files.refusal("missing.jpg", &missing).contains("restart markers are out of turn"));
            let doubled = [&whole[..*next], &whole[*at..]].concat();
            files.refusal("doubled.jpg", &doubled);
        }
    }
}

#[test]
fn odd_jpegs_that_are_whole_are_read() {
    let files = Files::new();
    let whole = jpeg(|_| ());
    let expected = files.open("whole.jpg", &whole).pixels;
    // Bytes between segments, a comment, a padded end: what cameras and editors write.
    let start = whole.windows(2).position(|pair| pair == [0xff, 0xdb]).unwrap();
    let (head, tail, end) = (&whole[..start], &whole[start..whole.len() - 2], &[0xff, 0xd9][..]);
    let cases = [
        [head, &[0; 9], tail, end].concat(),
        [head, b"\xff\xfe\0\x07hello", tail, end].concat(),
        [head, tail, &[0; 512], end].concat(),
        [head, tail, end, b"appended", end].concat(),
    ];
    for bytes in cases {
        assert_eq!(files.open("odd.jpg", &bytes).pixels, expected);
    }
}

#[test]
fn arithmetic_coding_is_named() {
    let mut whole = jpeg(|_| ());
    let at = whole.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
    whole[at + 1] = 0xc9;
    assert!(Files::new().refusal("arithmetic.jpg", &whole).contains("found a JPEG with arithmetic coding"));
}

#[test]
fn a_gif_s_frame_may_be_smaller_or_larger_than_its_screen_or_off_it() {
    let frame = |screen: (u16, u16), at: (u16, u16), size: (u16, u16)| {
        let mut gif = Vec::new();
        let mut encoder = gif::Encoder::new(&mut gif, screen.1, screen.0, &[200, 0, 0]).unwrap();
        let buffer = vec![0; usize::from(size.0) * usize::from(size.1)].into();
        let frame =
            gif::Frame { top: at.0, left: at.1, height: size.0, width: size.1, buffer, ..gif::Frame::default() };
        encoder.write_frame(&frame).unwrap();
        drop(encoder);
        let pixels = Files::new().open("frame.gif", &gif).pixels;
        let letter = |(x, y): (u32, u32)| match pixels.get_pixel(x, y).0 {
            [200, 0, 0] => 'r',
            [255, 255, 255] => '.',
            _ => '?',
        };
        let row = |y: u32| (0..pixels.width()).map(|x| letter((x, y))).collect();
        (0..pixels.height()).map(row).collect::<Vec<String>>().join(" ")
    };
    assert_eq!(frame((2, 3), (0, 0), (2, 3)), "rrr rrr");
    assert_eq!(frame((3, 4), (1, 1), (1, 2)), ".... .rr. ....");
    assert_eq!(frame((2, 2), (0, 0), (3, 4)), "rrrr rrrr rrrr");
    assert_eq!(frame((2, 2), (1, 1), (2, 2)), "... .rr .rr");
    assert_eq!(frame((1, 1), (1, 2), (1, 1)), "... ..r");
    assert_eq!(frame((0, 0), (0, 0), (1, 2)), "rr");
}

#[test]
fn what_the_run_lengths_of_a_bmp_leave_open_is_white() {
    // 4 x 3 pixels, from the bottom: two black ones, an end of line; a step of two to the right and one up; a red one; the end.
    let runs = [2, 0, 0, 0, 0, 2, 2, 1, 1, 1, 0, 1];
    let palette = [0, 0, 0, 0, 0, 0, 255, 0];
    let mut bmp = b"BM".to_vec();
    for number in [54 + 8 + runs.len() as u32, 0, 62, 40, 4, 3, 8 << 16 | 1, 1, runs.len() as u32, 0, 0, 2, 2] {
        bmp.extend(number.to_le_bytes());
    }
    bmp.extend(palette);
    bmp.extend(runs);
    let pixels = Files::new().open("holes.bmp", &bmp).pixels;
    let letter = |pixel: &Rgb<u8>| match pixel.0 {
        [0, 0, 0] => 'b',
        [255, 0, 0] => 'r',
        [255, 255, 255] => '.',
        _ => '?',
    };
    let rows: Vec<String> = pixels.rows().map(|row| row.map(letter).collect()).collect();
    assert_eq!(rows, ["..r.", "....", "bb.."]);
}

fn png_header(height: u32, width: u32) -> Vec<u8> {
    let mut chunk = b"IHDR".to_vec();
    chunk.extend(width.to_be_bytes());
    chunk.extend(height.to_be_bytes());
    chunk.extend([8, 2, 0, 0, 0]);
    [&b"\x89PNG\r\n\x1a\n\0\0\0\x0d"[..], &chunk, &crc(&chunk).to_be_bytes(), b"\0\0\0\x08IDAT"].concat()
}

#[test]
fn absurd_sizes_are_refused_by_the_header_alone() {
    let files = Files::new();
    for (height, width) in [(20_000, 20_000), (65_537, 1), (10_001, 10_000)] {
        let message = files.refusal("huge.png", &png_header(height, width));
        assert!(message.contains(&format!("PNG image of {height} x {width} pixels")), "{message}");
        assert!(message.contains("at most 100 megapixels and 65536 pixels a side"), "{message}");
    }
    let message = files.refusal("long.png", &png_header(1, 2_000_000_000));
    assert!(message.contains("at most 100 megapixels") && message.contains("than fit into 1600 MB"), "{message}");
    // An acceptable size gets past the check, to the missing pixels.
    assert!(files.refusal("cut.png", &png_header(10_000, 10_000)).contains("cut short"));
    files.refusal("none.png", &png_header(0, 5));
    let empty_frame = b"GIF89a\0\0\0\0\0\0\0,\0\0\0\0\0\0\0\0\0\x02\x01\x05\0;";
    files.refusal("none.gif", empty_frame);
}

#[test]
fn what_is_no_photo_is_refused_by_name() {
    let files = Files::new();
    let cases: [(&str, &[u8], &str); 14] = [
        ("empty.jpg", b"", "found an empty file"),
        ("words.jpg", b"hello world\n", "found 12 bytes that are none of these; convert it first"),
        ("scan.png", b"II*\0abcd", "complete TIFF image, found 8 bytes that are damaged"),
        ("phone.jpg", b"\0\0\0\x18ftypheic", "found 12 bytes of HEIC; convert it to JPEG or PNG first"),
        ("web.jpg", b"\0\0\0\x18ftypavif", "found 12 bytes of AVIF; convert it to JPEG or PNG first"),
        ("film.jpg", b"\0\0\0\x18ftypisom", "found 12 bytes of HEIC, AVIF or video"),
        ("bare.jpg", b"\xff\xd8\xff\xd9", "damaged, cut short or unusual"),
        (
            "lfs.jpg",
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
            "get the photo itself with `git lfs pull`",
        ),
        ("page.jpg", b"\n<!DOCTYPE html><html>", "found a page of HTML"),
        ("drawing.png", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "found a drawing in SVG"),
        ("print.jpg", b"%PDF-1.7", "found a PDF"),
        ("new.jpg", b"\0\0\0\x0cJXL \r\n\x87\n", "found JPEG XL"),
        ("large.tif", b"II+\0\x08\0\0\0", "found a BigTIFF"),
        ("noise.webp", b"RIFF\x10\0\0\0WEBPVP8 \x04\0\0\0abcd", "damaged, cut short or unusual"),
    ];
    for (name, bytes, found) in cases {
        let message = files.refusal(name, bytes);
        assert!(message.contains(found), "{message}");
    }
    assert!(refusal(files.0.path()).contains("found a directory"));
    assert!(refusal(&files.0.path().join("none.jpg")).contains("found no such file"));
}

/// Further pages of a TIFF are counted, small copies of a page are not, and a circle is refused.
#[test]
fn pages_of_a_tiff_are_counted() {
    let files = Files::new();
    let mut one = Vec::new();
    let picture = DynamicImage::ImageRgb8(RgbImage::from_pixel(8, 6, Rgb([9, 80, 200])));
    picture.write_to(&mut Cursor::new(&mut one), ImageFormat::Tiff).unwrap();
    assert_eq!(files.open("one.tif", &one).pages, 1);
    let word = |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let first = word(&one, 4);
    let entries = usize::from(u16::from_le_bytes(one[first..first + 2].try_into().unwrap()));
    let link = first + 2 + 12 * entries;
    // What is behind the last page leads to `to`.
    let leading = |mut bytes: Vec<u8>, to: u32| {
        bytes[link..link + 4].copy_from_slice(&to.to_le_bytes());
        bytes
    };
    let second = [&one[first..link], &[0; 4]].concat();
    let copy = [&[1, 0][..], &254_u16.to_le_bytes(), &[4, 0, 1, 0, 0, 0, 1, 0, 0, 0], &[0; 4]].concat();
    let end = one.len() as u32;
    let two = [leading(one.clone(), end), second].concat();
    assert_eq!(files.open("two.tif", &two).pages, 2);
    assert_eq!(Animation::from_bytes("two.tif", two).unwrap().pages, 2);
    assert_eq!(files.open("copy.tif", &[leading(one.clone(), end), copy].concat()).pages, 1);
    files.refusal("circle.tif", &leading(one.clone(), first as u32));
}

#[test]
fn framings_are_centred() {
    let framing = |fit, photo: (usize, usize), input: (usize, usize), margin| {
        let framing = Framing::new(fit, Size::new(photo.0, photo.1), Size::new(input.0, input.1), margin);
        (framing.top, framing.left, framing.size.height, framing.size.width)
    };
    // 224 / 256 of 300 is 262.5.
    assert_eq!(framing(Fit::Crop, (300, 451), (224, 224), 32), (18, 94, 263, 263));
    assert_eq!(framing(Fit::Crop, (451, 300), (224, 224), 0), (75, 0, 300, 300));
    assert_eq!(framing(Fit::Crop, (300, 451), (336, 448), 0), (0, 25, 300, 400));
    assert_eq!(framing(Fit::Crop, (1, 9000), (224, 224), 32), (0, 4499, 1, 1));
    assert_eq!(framing(Fit::Pad, (300, 451), (224, 224), 32), (-76, 0, 451, 451));
    assert_eq!(framing(Fit::Pad, (300, 451), (336, 448), 0), (-19, 0, 338, 451));
    assert_eq!(framing(Fit::Stretch, (300, 451), (224, 224), 0), (0, 0, 300, 451));
    // Stretched to 256 x 256, of which the centre is kept: 224 / 256 of either side.
    assert_eq!(framing(Fit::Stretch, (300, 451), (224, 224), 32), (18, 28, 263, 395));

    let seen = |top, left, height, width| {
        let seen = Framing { top, left, size: Size { height, width } }.seen(Size::new(300, 451));
        (seen.top, seen.left, seen.size.height, seen.size.width)
    };
    assert_eq!(seen(-76, 0, 451, 451), (0, 0, 300, 451));
    assert_eq!(seen(18, 94, 263, 263), (18, 94, 263, 263));
    assert_eq!(seen(200, -10, 263, 263), (200, 0, 100, 253));
    assert_eq!(seen(400, -20, 10, 10), (300, 0, 0, 0));

    for fit in Fit::ALL {
        assert_eq!(fit.to_string().parse::<Fit>().unwrap(), fit);
    }
    assert!("fill".parse::<Fit>().unwrap_err().to_string().contains("expected crop, pad or stretch"));
}

/// Largest difference from the expected 8-bit levels, `(3, height * width)`.
fn worst_level(planes: &Planes, expected: [&[u8]; 3]) -> u8 {
    let expected: Vec<u8> = expected.concat();
    assert_eq!(planes.data.len(), expected.len());
    let levels = planes.data.iter().map(|sample| (sample * 255.0).round() as u8);
    levels.zip(expected).map(|(found, expected)| found.abs_diff(expected)).max().unwrap()
}

// numpy 2.4.6, Pillow 12.0.0, the picture being `rough`:
// `picture.resize((width, height), Image.BICUBIC, box=(left, top, left + framing width, top + framing height))`,
// for the padded one after pasting it into a 13 x 13 picture of the padding's colour.
#[test]
fn pillow_resizes_alike() {
    let photo = rough();
    let pad = [200, 10, 30];
    let input = |top, left, side: (usize, usize), target: (usize, usize)| {
        let (framing, target) = (Framing { top, left, size: Size::new(side.0, side.1) }, Size::new(target.0, target.1));
        let planes = photo.network_input(framing, target, Filter::Bicubic, pad, 1);
        assert_eq!(planes.size, target);
        planes
    };
    let cropped: [&[u8]; 3] = [
        &[140, 116, 110, 140, 100, 134, 93, 147, 124, 209, 144, 82, 71, 135, 147, 109],
        &[129, 139, 112, 150, 215, 120, 169, 189, 128, 116, 130, 147, 127, 72, 73, 78],
        &[126, 130, 97, 178, 103, 133, 138, 126, 182, 167, 175, 112, 126, 173, 170, 102],
    ];
    assert!(worst_level(&input(1, 3, (7, 7), (4, 4)), cropped) <= 1);
    let enlarged: [&[u8]; 3] = [
        &[
            41, 158, 0, 145, 34, 106, 99, 107, 128, 36, 185, 52, 225, 123, 50, 121, 8, 199, 129, 75, 78, 129, 195, 146,
            112, 49, 255, 207, 178, 163,
        ],
        &[
            213, 143, 87, 14, 193, 242, 164, 116, 82, 206, 224, 200, 157, 165, 169, 242, 255, 46, 104, 159, 116, 170,
            110, 64, 160, 3, 98, 189, 39, 176,
        ],
        &[
            193, 142, 140, 120, 126, 91, 101, 126, 180, 89, 0, 72, 124, 189, 63, 76, 218, 133, 62, 212, 171, 227, 154,
            110, 225, 214, 186, 189, 170, 187,
        ],
    ];
    assert!(worst_level(&input(2, 3, (4, 5), (6, 5)), enlarged) <= 1);
    let padded: [&[u8]; 3] = [
        &[129, 177, 175, 179, 111, 123, 120, 109, 115, 136, 124, 113, 139, 150, 176, 159],
        &[32, 59, 60, 63, 135, 150, 155, 148, 155, 116, 113, 103, 39, 24, 43, 45],
        &[53, 74, 82, 74, 132, 131, 141, 128, 89, 166, 145, 105, 54, 91, 91, 52],
    ];
    assert!(worst_level(&input(-2, 0, (13, 13), (4, 4)), padded) <= 1);
    let stretched: [&[u8]; 3] =
        [&[108, 130, 121, 108, 134, 113], &[130, 143, 145, 133, 102, 106], &[123, 135, 133, 108, 164, 107]];
    assert!(worst_level(&input(0, 0, (9, 13), (2, 3)), stretched) <= 1);
}

/// One sample as Pillow's documentation defines it, without rounding between the passes.
fn resampled(photo: &RgbImage, framing: Framing, size: Size, at: (usize, usize), channel: usize) -> f64 {
    let taps = |start: i64, side: usize, photo: u32, target: usize, index: usize| -> Vec<(u32, f64)> {
        let scale = side as f64 / target as f64;
        let centre = start as f64 + (index as f64 + 0.5) * scale;
        let weight = |x: f64| match x.abs() {
            x if x < 1.0 => 1.5 * x.powi(3) - 2.5 * x * x + 1.0,
            x if x < 2.0 => -0.5 * x.powi(3) + 2.5 * x * x - 4.0 * x + 2.0,
            _ => 0.0,
        };
        let taps: Vec<(u32, f64)> =
            (0..photo).map(|source| (source, weight((f64::from(source) + 0.5 - centre) / scale.max(1.0)))).collect();
        let sum: f64 = taps.iter().map(|(_, weight)| weight).sum();
        taps.into_iter().filter(|(_, weight)| *weight != 0.0).map(|(source, weight)| (source, weight / sum)).collect()
    };
    let rows = taps(framing.top, framing.size.height, photo.height(), size.height, at.0);
    let columns = taps(framing.left, framing.size.width, photo.width(), size.width, at.1);
    (rows.iter())
        .flat_map(|(y, row)| columns.iter().map(move |(x, column)| (x, y, row * column)))
        .map(|(x, y, weight)| weight * f64::from(photo.get_pixel(*x, *y).0[channel]))
        .sum()
}

#[test]
fn a_photo_shared_among_threads_keeps_its_rows() {
    // Two levels a row, three a column: a row out of place shows, and nothing is clamped.
    let wave = |x: u32| (x % 200).min(199 - x % 200) as u8;
    let photo = photo(RgbImage::from_fn(1600, 1500, |x, y| Rgb([wave(2 * y), wave(3 * x), wave(2 * y + 3 * x)])));
    let framing = Framing { top: 30, left: 100, size: Size::new(1440, 1400) };
    let size = Size::new(24, 7);
    let planes = photo.network_input(framing, size, Filter::Bicubic, [0; 3], 3);
    assert_eq!(planes, photo.network_input(framing, size, Filter::Bicubic, [0; 3], 1));
    for (index, sample) in planes.data.iter().enumerate().step_by(11) {
        let (channel, row, column) = (index / (24 * 7), index / 7 % 24, index % 7);
        let expected = resampled(&photo.pixels, framing, size, (row, column), channel);
        let found = f64::from(sample * 255.0);
        assert!((found - expected).abs() < 1.1, "plane {channel}, row {row}, column {column}: {found} for {expected}");
    }
}

fn waves(height: usize, width: usize) -> Planes {
    let sample = |c: usize, y: usize, x: usize| ((37 * (7 * y + 3 * x + 5 * c)) % 101) as f32 / 100.0;
    let places = (0..3).flat_map(|c| (0..height).flat_map(move |y| (0..width).map(move |x| (c, y, x))));
    Planes { size: Size { height, width }, data: places.map(|(c, y, x)| sample(c, y, x)).collect() }
}

fn worst(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    found.iter().zip(expected).map(|(found, expected)| (found - expected).abs()).fold(0.0, f32::max)
}

// numpy 2.4.6, scipy 1.17.1: `gaussian_filter(plane, sigma, truncate=truncate)` on each plane of `waves(5, 7)` in float64.
#[test]
fn scipy_blurs_alike() {
    let planes = waves(5, 7);
    let moderate = [
        0.3133308, 0.3572283, 0.4206945, 0.4694082, 0.4823598, 0.4689062, 0.4546914, 0.3671005, 0.4087609, 0.4654947,
        0.5018883, 0.5010118, 0.4783733, 0.4608372, 0.4288385, 0.4672569, 0.5148906, 0.536755, 0.5239433, 0.4991339,
        0.4849031, 0.4626565, 0.4990321, 0.5416663, 0.5580981, 0.5468408, 0.533138, 0.5300811, 0.4691142, 0.5052846,
        0.548135, 0.5676617, 0.565435, 0.5650469, 0.5720026, 0.601983, 0.5409398, 0.4684, 0.4398, 0.466144, 0.5162355,
        0.5525293, 0.5660033, 0.5205273, 0.4729339, 0.4626485, 0.4891197, 0.5266633, 0.5519627, 0.5082902, 0.4861255,
        0.472275, 0.4829489, 0.503888, 0.5189955, 0.526059, 0.4375069, 0.4403886, 0.4585755, 0.4869055, 0.5033304,
        0.5012763, 0.4946272, 0.3801617, 0.4008698, 0.4406358, 0.4817247, 0.5001984, 0.4946388, 0.4846879, 0.5967822,
        0.6112765, 0.6055806, 0.5562094, 0.489669, 0.451042, 0.4445679, 0.5829899, 0.589907, 0.5793048, 0.5399096,
        0.4980285, 0.4843597, 0.4912852, 0.5631851, 0.555404, 0.5360206, 0.5115263, 0.50339, 0.5216063, 0.5449395,
        0.536337, 0.5090182, 0.4793583, 0.4712631, 0.4943629, 0.5382239, 0.5734922, 0.512728, 0.4695715, 0.4317838,
        0.4351193, 0.4780023, 0.5362512, 0.5775043,
    ];
    assert!(worst(&blur(&planes, 1.5, 4.0).data, &moderate) <= 1e-6);
    let far = [
        0.0715859, 0.160888, 0.2608617, 0.3608332, 0.4493597, 0.4645554, 0.5423841, 0.4730929, 0.562395, 0.6623685,
        0.7621305, 0.7773526, 0.2524174, 0.2571511, 0.2482395, 0.3375417, 0.4374869, 0.5260135, 0.53, 0.5339602,
        0.6117889, 0.6030586, 0.6923607, 0.7921247, 0.8075562, 0.2826474, 0.2978431, 0.3869072, 0.3176444, 0.4069465,
        0.5068917, 0.5954182, 0.6106403, 0.6991404, 0.7884141, 0.8035376, 0.7966167, 0.1871132, 0.1910997, 0.2908617,
        0.3908353, 0.4801374, 0.5068597, 0.5001483, 0.5038989, 0.592397, 0.6923402, 0.7921042, 0.8813779, 0.7879547,
        0.2525577, 0.2677534, 0.367487, 0.4560418, 0.4714471, 0.5493041, 0.529072, 0.5338342, 0.6223627, 0.7221247,
        0.7375563, 0.2126495, 0.2173833, 0.1478824, 0.236975, 0.3369202, 0.4368917, 0.5254182, 0.5406139, 0.6184426,
        0.6338041, 0.7231062, 0.8228134, 0.8265903, 0.2171132, 0.2210733, 0.3101374, 0.3483899, 0.4376637, 0.5261638,
        0.530122, 0.5338989, 0.6223707, 0.7116444, 0.7031804, 0.7920634, 0.8074402, 0.2825314, 0.2977534, 0.397489,
        0.486791, 0.4668253, 0.4713495, 0.5484046, 0.5638078, 0.6523627, 0.7523079, 0.8416101, 0.7833731, 0.1634644,
        0.1673962, 0.2669486, 0.3669202, 0.4668937, 0.5561959,
    ];
    assert!(worst(&blur(&planes, 0.5, 100.0).data, &far) <= 1e-6);
}

/// The definition in float64; `stride` samples lie between neighbours along the axis of `len` samples.
fn blurred_along(data: &[f64], len: usize, stride: usize, sigma: f64, truncate: f64) -> Vec<f64> {
    let radius = (truncate * sigma + 0.5) as i64;
    let weight = |offset: i64| (-0.5 * (offset as f64 / sigma).powi(2)).exp();
    let sum: f64 = (-radius..=radius).map(weight).sum();
    let sample = |index: usize| {
        let place = index / stride % len;
        let taps = (-radius..=radius).map(|offset| {
            let period = 2 * len as i64;
            let at = (place as i64 + offset).rem_euclid(period);
            let mirrored = at.min(period - 1 - at) as usize;
            weight(offset) / sum * data[index - place * stride + mirrored * stride]
        });
        taps.sum()
    };
    (0..data.len()).map(sample).collect()
}

#[test]
fn large_planes_are_blurred_by_the_definition() {
    let (height, width) = (37, 70);
    let planes = waves(height, width);
    for (sigma, truncate) in [(10.0, 4.0), (1.0, 100.0), (1.25, 1.3)] {
        let data: Vec<f64> = planes.data.iter().copied().map(f64::from).collect();
        let data = blurred_along(&data, height, width, sigma, truncate);
        let data = blurred_along(&data, width, 1, sigma, truncate);
        let expected: Vec<f32> = data.into_iter().map(|sample| sample as f32).collect();
        let difference = worst(&blur(&planes, sigma as f32, truncate as f32).data, &expected);
        assert!(difference <= 1e-6, "sigma {sigma}, truncate {truncate}: {difference}");
    }
}

#[test]
fn no_blur_changes_nothing() {
    let planes = waves(3, 4);
    assert_eq!(blur(&planes, 0.0, 4.0), planes);
    let flat = Planes { size: Size::square(1), data: vec![0.25, 0.5, 1.0] };
    assert!(worst(&blur(&flat, 10.0, 4.0).data, &flat.data) <= 1e-6);
}

#[test]
fn normalisation_counts_in_levels() {
    let planes = Planes { size: Size::new(1, 2), data: vec![0.0, 1.0, 0.0, 1.0, 0.0, 1.0] };
    let normalised = planes.normalised([100.0, 0.0, 55.0], [10.0, 51.0, 100.0]);
    assert_eq!(normalised, [-10.0, 15.5, 0.0, 5.0, -0.55, 2.0]);
}
