//! From maps to pictures.

use crate::common::random::Random;
use decomcam::Size;
use decomcam::draw::{
    ColourMap, PARTS_A_PAGE, Sheet, Style, Tile, Titled, copy, heatmap, overlay, pages, regions, sheet, tile_size,
    titled,
};
use decomcam::photo::{Framing, Placement, Rect};
use image::{Rgb, RgbImage};
use std::sync::LazyLock;

/// Nothing but colours, that hide nearly everything where the map is strongest.
static PLAIN: LazyLock<Style> = LazyLock::new(|| Style::default().alpha(0.85).unwrap().contours([]));

fn plain() -> Style {
    PLAIN.clone()
}

/// 9 x 13 pixels full of hard edges.
fn rough() -> RgbImage {
    RgbImage::from_fn(13, 9, |x, y| {
        Rgb([0, 1, 2].map(|c| ((7 * x * x + 13 * y * y + 29 * x * y * (c + 1) + 31 * c) % 256) as u8))
    })
}

const WHOLE: Rect = Rect::new(0, 0, Size::new(9, 13));

#[test]
fn the_overlay_grows_with_saliency() {
    let photo = RgbImage::from_fn(256, 1, |x, _| Rgb([(x % 7) as u8 + 60; 3]));
    let ramp: Vec<f32> = (0..256).map(|level| level as f32 / 255.0).collect();
    let seen = Rect::new(0, 0, Size::new(1, 256));
    let picture = overlay(&photo, &ramp, seen, &plain()).unwrap();
    assert_eq!(picture.get_pixel(0, 0), photo.get_pixel(0, 0), "zero leaves the photo alone");
    let Rgb([red, green, blue]) = *picture.get_pixel(255, 0);
    assert!(red > 215 && green > 215 && blue > 130 && blue < 170, "the top is pale yellow: {red} {green} {blue}");
    let reds: Vec<u8> = (0..256).step_by(32).map(|x| picture.get_pixel(x, 0).0[0]).collect();
    assert!(reds[1..].windows(2).all(|pair| pair[0] < pair[1]), "{reds:?}");

    // What is no saliency is drawn as the nearest that is.
    let odd = overlay(&photo, &[f32::NAN, -3.0, 7.0, f32::NEG_INFINITY].repeat(64), seen, &plain()).unwrap();
    assert_eq!([0, 1, 3].map(|x| odd.get_pixel(x, 0)), [0, 1, 3].map(|x| photo.get_pixel(x, 0)));
    let top = overlay(&photo, &[1.0; 256], seen, &plain()).unwrap();
    assert_eq!(odd.get_pixel(2, 0), top.get_pixel(2, 0));
}

#[test]
fn the_unseen_is_grey_and_the_seen_is_framed() {
    let photo = RgbImage::from_pixel(30, 20, Rgb([200, 40, 90]));
    let seen = Rect::new(2, 5, Size::new(15, 20));
    let picture = overlay(&photo, &[0.0; 600], seen, &plain()).unwrap();
    for (x, y, pixel) in picture.enumerate_pixels() {
        let inside = (2..17).contains(&y) && (5..25).contains(&x);
        let edge = y == 2 || y == 16 || x == 5 || x == 24;
        let deep = (4..15).contains(&y) && (7..23).contains(&x);
        match (inside, edge) {
            (false, _) => {
                assert!(pixel.0[0] == pixel.0[1] && pixel.0[1] == pixel.0[2] && pixel.0[0] < 100)
            }
            (true, true) => assert_eq!(pixel.0, [255; 3], "{x}, {y}"),
            (true, false) if deep => assert_eq!(pixel.0, [200, 40, 90], "{x}, {y}"),
            _ => assert_eq!(pixel.0, [0; 3], "{x}, {y}"),
        }
    }
    let whole = overlay(&rough(), &[0.0; 117], WHOLE, &plain()).unwrap();
    assert_eq!(whole, rough(), "a photo seen whole needs no frame");
}

#[test]
fn maps_of_another_size_are_refused() {
    let message = overlay(&rough(), &[0.0; 9], WHOLE, &plain()).unwrap_err().to_string();
    assert!(
        message.contains("saliency map: expected 9 x 13 = 117 samples") && message.contains("found 9"),
        "{message}"
    );

    let map = vec![0.0; tile_size(Size::new(9, 13)).area()];
    let tiles = vec![tile(&map, &[]), tile(&map[1..], &[])];
    let message = sheet(&small_sheet(&rough(), &map, "cat", tiles)).unwrap_err().to_string();
    assert!(message.contains("part #2 map: expected 208 x 300"), "{message}");
    let nothing = sheet(&small_sheet(&RgbImage::new(0, 0), &[], "cat", vec![]));
    assert!(nothing.unwrap_err().to_string().contains("without pixels"));
}

fn tile<'a>(map: &'a [f32], lines: &[&str]) -> Tile<'a> {
    let lines = lines.iter().map(|&line| line.to_owned()).collect();
    Tile { map, lines, bar: None, dimmed: false }
}

fn small_sheet<'a>(photo: &'a RgbImage, map: &'a [f32], title: &'a str, parts: Vec<Tile<'a>>) -> Sheet<'a> {
    let seen = Rect::whole(Size::new(photo.height() as usize, photo.width() as usize));
    let saliency = tile(map, &["Saliency"]);
    let (subtitle, notes) = (vec!["score 0.25".into()], vec!["a note".into()]);
    Sheet { photo, seen, title, subtitle, saliency, parts, notes, style: &PLAIN }
}

#[test]
fn tiles_keep_the_photo_s_shape() {
    assert_eq!(tile_size(Size::new(3000, 4000)), Size::new(225, 300));
    assert_eq!(tile_size(Size::new(4000, 3000)), Size::new(300, 225));
    assert_eq!(tile_size(Size::square(8)), Size::square(300));
    assert_eq!(tile_size(Size::new(65_536, 1)), Size::new(300, 16));
    assert_eq!(tile_size(Size::square(0)), Size::square(16));
}

#[test]
fn a_sheet_has_room_for_every_tile() {
    for (height, width, count) in [(9, 13, 0), (9, 13, 10), (8, 8, 1), (8, 8, 25), (1, 700, 25), (700, 1, 25)] {
        let photo = RgbImage::from_pixel(width as u32, height as u32, Rgb([90; 3]));
        let size = tile_size(Size::new(height, width));
        let map = vec![0.5; size.area()];
        let lines = ["#1  +0.132", "predicted +0.120", "weight 1"];
        let tiles = vec![tile(&map, &lines); count];
        let picture = sheet(&small_sheet(&photo, &map, "a cat", tiles)).unwrap();
        assert!(picture.width() >= 640, "room for the words");
        // A flat map over a flat photo: every tile but the first is of one colour, found nowhere else.
        let dot = RgbImage::from_pixel(1, 1, Rgb([90; 3]));
        let colour = overlay(&dot, &[1.0], WHOLE, &plain()).unwrap().get_pixel(0, 0).0;
        let drawn = picture.pixels().filter(|pixel| pixel.0 == colour).count();
        let expected = (count + 1) * size.area();
        assert_eq!(drawn, expected, "{count} OSSMs of a {height} x {width} photo");
    }
}

#[test]
fn tiles_are_scaled_to_their_own_maximum() {
    let photo = rough();
    let strong: Vec<f32> = (0..208 * 300).map(|index| (index % 300) as f32).collect();
    let weak: Vec<f32> = strong.iter().map(|sample| sample / 1024.0).collect();
    let draw = |map: &[f32]| sheet(&small_sheet(&photo, &strong, "cat", vec![tile(map, &["#1"])])).unwrap();
    assert_eq!(draw(&strong), draw(&weak));
    let blank = vec![0.0; strong.len()];
    assert_ne!(draw(&strong), draw(&blank));
    let hollow: Vec<f32> = blank.iter().map(|_| f32::NAN).collect();
    assert_eq!(draw(&blank), draw(&hollow));
}

#[test]
fn a_dimmed_tile_is_darker_and_bars_tell_the_sign() {
    let photo = RgbImage::from_pixel(13, 9, Rgb([200; 3]));
    let map = vec![1.0; 208 * 300];
    let draw = |dimmed, bar| {
        let tiles = vec![Tile { dimmed, bar, ..tile(&map, &["#1"]) }];
        sheet(&small_sheet(&photo, &map, "cat", tiles)).unwrap()
    };
    let light = |picture: &RgbImage| picture.as_raw().iter().map(|&sample| u64::from(sample)).sum::<u64>();
    let plain = draw(false, None);
    let dimmed = draw(true, None);
    assert_eq!(plain.dimensions(), dimmed.dimensions());
    assert!(light(&dimmed) + 208 * 300 * 3 * 60 < light(&plain));

    // Bars have a height of 8 and the width of the tile; zero is in the middle, where a light line stands.
    let count = |picture: &RgbImage, colour: [u8; 3]| picture.pixels().filter(|pixel| pixel.0 == colour).count();
    let (blue, orange) = ([0x56, 0xb4, 0xe9], [0xe6, 0x9f, 0x00]);
    for (bar, blues, oranges) in [(0.5, 74, 0), (-0.25, 0, 38), (3.0, 149, 0), (f32::NAN, 0, 0)] {
        let picture = draw(false, Some(bar));
        assert_eq!((count(&picture, blue), count(&picture, orange)), (8 * blues, 8 * oranges), "bar of {bar}");
    }
    let first = |bar: f32, colour: [u8; 3]| {
        let picture = draw(false, Some(bar));
        picture.enumerate_pixels().find(|(_, _, pixel)| pixel.0 == colour).map(|(x, _, _)| x).unwrap()
    };
    assert!(first(-0.5, orange) < first(-0.25, orange) && first(-0.25, orange) < first(0.5, blue));
}

#[test]
fn any_text_can_be_drawn() {
    let photo = rough();
    let map = vec![1.0; 208 * 300];
    let draw = |title: &str| sheet(&small_sheet(&photo, &map, title, vec![])).unwrap();
    assert_eq!(draw("\u{5199}\u{771f} caf\u{e9}"), draw("Xie Zhen caf\u{e9}"), "other scripts are spelled");
    assert_eq!(draw("\u{43a}\u{43e}\u{442} \u{1f431}\u{fe0f}!"), draw("kot [cat]!"), "emoji are named");
    assert_ne!(draw("\u{142}\u{e9}"), draw("le"), "Latin letters are drawn");
    assert_eq!(draw("\u{201c}a\u{a0}cat\u{201d}\n"), draw("\"a cat\" "));
    let long = "a very long prompt ".repeat(1000);
    assert_eq!(draw(&long).height(), draw("cat").height() + 28, "a headline takes two lines at most");
    let picture = draw(&long);
    let margin = picture.width() - 28;
    assert!(picture.enumerate_pixels().all(|(x, _, pixel)| x < margin || pixel == picture.get_pixel(0, 0)));
    assert_ne!(picture, draw(&"a very long prompt ".repeat(2)));

    // What does not fit on one line of the subtitle or of the notes takes more lines.
    let words = |count| vec!["words ".repeat(count)];
    let one =
        sheet(&Sheet { subtitle: words(1), notes: words(1), ..small_sheet(&photo, &map, "cat", vec![]) }).unwrap();
    for (subtitle, notes) in [(200, 1), (1, 200)] {
        let many = Sheet { subtitle: words(subtitle), notes: words(notes), ..small_sheet(&photo, &map, "cat", vec![]) };
        assert!(sheet(&many).unwrap().height() > one.height() + 100);
    }
}

/// What the eye takes for lightness: CIE's L* of the luminance.
fn lightness(colour: [u8; 3]) -> f64 {
    let [red, green, blue] = colour.map(|sample| {
        let share = f64::from(sample) / 255.0;
        if share <= 0.04045 { share / 12.92 } else { ((share + 0.055) / 1.055).powf(2.4) }
    });
    let luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue;
    if luminance > 0.008856 { 116.0 * luminance.cbrt() - 16.0 } else { 903.3 * luminance }
}

#[test]
fn colours_grow_evenly_lighter() {
    for map in ColourMap::ALL {
        assert_eq!(map.name().parse::<ColourMap>().unwrap(), map);
        if map.is_signed() {
            continue;
        }
        let levels: Vec<f64> = (0..=16).map(|step| lightness(map.colour(step as f32 / 16.0))).collect();
        let step = (levels[16] - levels[0]) / 16.0;
        assert!(step > 3.0, "{map} spans {}", 16.0 * step);
        for pair in levels.windows(2) {
            assert!((pair[1] - pair[0] - step).abs() < 0.75 * step, "{map}: {levels:?}");
        }
        assert_eq!([map.colour(-1.0), map.colour(f32::NAN), map.colour(7.0)], [0.0, 0.0, 1.0].map(|v| map.colour(v)));
    }
    assert!("jet".parse::<ColourMap>().unwrap_err().to_string().contains("inferno, magma"));
}

#[test]
fn both_sides_of_a_signed_map_can_be_told_apart() {
    let [less, more] = [-1.0, 1.0].map(|value| ColourMap::BlueOrange.colour(value));
    // Red-green blind people tell blue from yellow, and grey printers show lightness.
    let yellowness = |[red, green, blue]: [u8; 3]| f64::from(red) / 2.0 + f64::from(green) / 2.0 - f64::from(blue);
    assert!(yellowness(less) > 100.0 && yellowness(more) < -50.0);
    let photo = RgbImage::from_pixel(5, 1, Rgb([120; 3]));
    let style = Style::default().colours(ColourMap::BlueOrange).contours([]);
    let seen = Rect::whole(Size::new(1, 5));
    let picture = overlay(&photo, &[-1.0, -0.5, 0.0, 0.5, 1.0], seen, &style).unwrap();
    let blues: Vec<u8> = picture.pixels().map(|pixel| pixel.0[2]).collect();
    assert!(blues.windows(2).all(|pair| pair[0] < pair[1]), "{blues:?}");
    assert_eq!(blues[2], 120, "zero leaves the photo alone");
}

#[test]
fn opacity_is_the_caller_s() {
    let photo = RgbImage::from_pixel(2, 1, Rgb([100; 3]));
    let seen = Rect::whole(Size::new(1, 2));
    let draw = |alpha| {
        let style = Style::default().colours(ColourMap::Grey).contours([]).alpha(alpha).unwrap();
        overlay(&photo, &[1.0, 0.0], seen, &style).unwrap().get_pixel(0, 0).0
    };
    assert_eq!([draw(0.0), draw(0.5), draw(1.0)], [[100; 3], [178; 3], [255; 3]]);
    for wrong in [-0.1, 1.1, f32::NAN] {
        assert!(Style::default().alpha(wrong).unwrap_err().to_string().contains("from 0 to 1"));
    }
}

#[test]
fn contours_go_around_what_is_above_them() {
    let (photo, size) = (RgbImage::from_pixel(20, 20, Rgb([100; 3])), Size::square(20));
    let map: Vec<f32> = (0..400)
        .map(|at| if (5..15).contains(&(at / 20)) && (5..15).contains(&(at % 20)) { 0.6 } else { 0.2 })
        .collect();
    let draw = |contours: &[f32]| {
        let style = Style::default().alpha(0.0).unwrap().contours(contours.iter().copied());
        overlay(&photo, &map, Rect::whole(size), &style).unwrap()
    };
    let picture = draw(&[0.5]);
    let at = |y: u32, x: u32| picture.get_pixel(x, y).0[0];
    assert!(at(5, 10) > 200 && at(14, 10) > 200 && at(10, 5) > 200 && at(10, 14) > 200, "a light line inside");
    assert!(at(4, 10) < 60 && at(15, 10) < 60 && at(10, 4) < 60 && at(10, 15) < 60, "a dark one outside");
    assert_eq!([at(10, 10), at(0, 0), at(4, 4)], [100; 3]);
    assert_eq!(draw(&[]), photo);
    assert_eq!(draw(&[0.1, 0.7]), photo, "nothing crosses these");
    let signed: Vec<f32> = map.iter().map(|value| -value).collect();
    let style = Style::default().alpha(0.0).unwrap().colours(ColourMap::BlueOrange);
    assert_eq!(overlay(&photo, &signed, Rect::whole(size), &style).unwrap(), picture, "both signs have contours");
}

#[test]
fn a_titled_picture_holds_its_words_and_its_scale() {
    let picture = RgbImage::from_pixel(500, 100, Rgb([1, 2, 3]));
    let style = Style::default();
    let draw = |title, subtitle: &[&str], scale| {
        let subtitle = subtitle.iter().map(|&line| line.to_owned()).collect();
        titled(&Titled { picture: &picture, title, subtitle, scale, notes: vec![], style: &style })
    };
    let whole = draw("\"a cat\"", &["cosine 0.4"], ["none", "most"]);
    assert_eq!(whole.width(), 556);
    let inner = whole.pixels().filter(|pixel| pixel.0 == [1, 2, 3]).count();
    assert_eq!(inner, 50_000, "the picture is there, unscaled");
    assert_ne!(whole, draw("\"a dog\"", &["cosine 0.4"], ["none", "most"]));
    assert_ne!(whole, draw("\"a cat\"", &["cosine 0.5"], ["none", "most"]));
    assert_ne!(whole, draw("\"a cat\"", &["cosine 0.4"], ["dog", "most"]));
    assert_ne!(whole, draw("\"a cat\"", &["cosine 0.4"], ["none", "cat"]));
    assert!(draw("\"a cat\"", &[&"long ".repeat(100)], ["none", "most"]).height() > whole.height() + 100);
    let narrow = RgbImage::from_pixel(20, 700, Rgb([1, 2, 3]));
    let narrow = titled(&Titled {
        picture: &narrow,
        title: "a cat",
        subtitle: vec![],
        scale: ["a very long name of the one", "and of the other"],
        notes: vec![],
        style: &style,
    });
    assert!(narrow.width() >= 360);
}

#[test]
fn many_parts_take_several_pages() {
    let photo = rough();
    let map = vec![0.5; 208 * 300];
    let draw = |count| pages(&small_sheet(&photo, &map, "cat", vec![tile(&map, &["#1"]); count])).unwrap();
    assert_eq!([0, 1, PARTS_A_PAGE, PARTS_A_PAGE + 1, 60].map(|count| draw(count).len()), [1, 1, 1, 2, 5]);
    assert_eq!(draw(3)[0], sheet(&small_sheet(&photo, &map, "cat", vec![tile(&map, &["#1"]); 3])).unwrap());
    assert!(draw(60).iter().all(|page| page.width() < 2000 && page.height() < 1400));
}

#[test]
fn copies_and_heatmaps() {
    let photo = RgbImage::from_pixel(400, 300, Rgb([9; 3]));
    assert_eq!(copy(&photo, 200).dimensions(), (200, 150));
    assert_eq!(copy(&photo, 400), photo);
    assert_eq!(copy(&RgbImage::new(4000, 1), 10).dimensions(), (10, 1));
    let grey = heatmap(&[0.0, 1.0, 0.5, -3.0, 7.0, f32::NAN], Size::new(2, 3)).unwrap();
    assert_eq!((grey.as_raw(), grey.dimensions()), (&vec![0, 255, 128, 0, 255, 0], (3, 2)));
    assert!(heatmap(&[0.0; 6], Size::new(2, 2)).is_err() && heatmap(&[0.0; 3], Size::new(2, 2)).is_err());
}

#[test]
fn a_map_lies_where_the_model_saw_the_photo() {
    let framing = Framing { top: 0, left: 50, size: Size::square(100) };
    let placement = Placement::new(Size::square(2), framing, Size::new(100, 200));
    assert_eq!(placement.seen(), Rect::new(0, 50, Size::square(100)));
    let map = [1.0, 0.0, 0.0, -4.0];
    let saliency = placement.saliency(&map).unwrap();
    let at = |map: &[f32], y: usize, x: usize| map[200 * y + x];
    assert_eq!([at(&saliency, 50, 49), at(&saliency, 99, 149), at(&saliency, 50, 150)], [0.0; 3]);
    assert!(at(&saliency, 0, 50) > 0.9);
    let signed = placement.signed(&map).unwrap();
    assert_eq!(signed.iter().copied().fold(f32::INFINITY, f32::min), -1.0);
    assert!(at(&signed, 0, 50) > 0.2 && at(&signed, 99, 149) < -0.9 && at(&signed, 50, 10) == 0.0);
    // The part that was seen, alone and smaller.
    let small = placement.on_seen().on_copy(Size::square(50)).saliency(&map).unwrap();
    assert_eq!(small.len(), 2500);
    for (y, x) in [(0, 0), (10, 20), (40, 5)] {
        assert!((small[50 * y + x] - at(&saliency, 2 * y, 50 + 2 * x)).abs() < 0.05, "{y}, {x}");
    }
    assert!(placement.saliency(&[0.0; 5]).is_err());
}

/// The regions by a fill from each pixel: their bounds and sums, in the order of their first pixels.
fn filled(map: &[f32], size: Size, threshold: f32) -> Vec<(Rect, f64)> {
    let mut unseen: Vec<bool> = map.iter().map(|value| *value >= threshold).collect();
    let mut found = Vec::new();
    for start in 0..map.len() {
        let mut border = if std::mem::take(&mut unseen[start]) { vec![start] } else { continue };
        let (mut bounds, mut sum) = (Rect::pixel(start / size.width, start % size.width), 0.0);
        while let Some(at) = border.pop() {
            let (y, x) = (at / size.width, at % size.width);
            bounds = bounds.joined(Rect::pixel(y, x));
            sum += f64::from(map[at]);
            for y in y.saturating_sub(1)..(y + 2).min(size.height) {
                for x in x.saturating_sub(1)..(x + 2).min(size.width) {
                    let next = y * size.width + x;
                    if std::mem::take(&mut unseen[next]) {
                        border.push(next);
                    }
                }
            }
        }
        found.push((bounds, sum));
    }
    found
}

#[test]
fn regions_are_those_of_a_fill_from_each_pixel() {
    let mut random = Random::new(8);
    for round in 0..200 {
        let size = Size::new(1 + round % 23, 1 + round % 17);
        // From nearly nothing to nearly everything, with ties.
        let share = random.uniform();
        let mut pixel = || if random.uniform() < share { 1.0 + (4.0 * random.uniform() as f32).floor() } else { 0.0 };
        let map: Vec<f32> = (0..size.area()).map(|_| pixel()).collect();
        let maximum = map.iter().copied().fold(0.0, f32::max);
        let mut expected = filled(&map, size, 0.5 * maximum);
        let sum: f64 = map.iter().map(|value| f64::from(*value)).sum();
        if sum == 0.0 {
            expected.clear();
        }
        // Whole numbers, so that sums are exact.
        expected.sort_by(|a, b| b.1.total_cmp(&a.1));
        let found = regions(&map, size, 0.5).unwrap();
        let found: Vec<(Rect, f64)> = found.iter().map(|region| (region.bounds, region.share)).collect();
        let expected: Vec<(Rect, f64)> = expected.into_iter().map(|(bounds, part)| (bounds, part / sum)).collect();
        assert_eq!(found, expected, "{size}");
    }
}

#[test]
fn regions_are_boxes_by_their_share() {
    #[rustfmt::skip]
    let map = [
        0.1, 0.0, 0.0, 0.0, 0.5,
        0.0, 1.0, 0.0, 0.0, 0.0,
        0.0, 0.0, 0.6, 0.0, -9.0,
        0.0, 0.0, 0.0, 0.0, 0.8,
    ];
    let size = Size::new(4, 5);
    let found = |threshold| -> Vec<(Rect, f64)> {
        let round = |share: f64| (100.0 * share).round() / 100.0;
        regions(&map, size, threshold).unwrap().iter().map(|region| (region.bounds, round(region.share))).collect()
    };
    let [corner, dot, pair] = [Rect::pixel(3, 4), Rect::pixel(0, 4), Rect::new(1, 1, Size::square(2))];
    assert_eq!(found(0.5), [(pair, 0.53), (corner, 0.27), (dot, 0.17)]);
    assert_eq!(found(0.7), [(Rect::pixel(1, 1), 0.33), (corner, 0.27)]);
    assert_eq!(found(1.0), [(Rect::pixel(1, 1), 0.33)]);
    assert!(regions(&[0.0; 20], size, 0.5).unwrap().is_empty());
    assert!(regions(&[], Size::new(3, 0), 0.5).unwrap().is_empty());
    for wrong in [0.0, -0.5, 1.5, f32::NAN] {
        assert!(regions(&map, size, wrong).unwrap_err().to_string().contains("above 0 and at most 1"));
    }
    assert!(regions(&map[1..], size, 0.5).is_err());
}
