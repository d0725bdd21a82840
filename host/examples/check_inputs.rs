//! Checks photos and annotations that people have against what they should give: `check_inputs CASES PHOTOS`.
//!
//! `CASES/photos` holds photos and `expected.json`: 8 x 8 pixels a photo, three planes in 0..=255, or null where a refusal is right. `CASES/annotations` holds
//! annotations of photos in `PHOTOS`; what each should give is written below. Prints one line for each that differs, and the counts.

use anyhow::{Context as _, Result, ensure};
use decomcam::Size;
use decomcam::dataset::{self, Listed, Photos, Truth};
use decomcam::photo::{Filter, Framing, Photo};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

fn main() -> Result<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    let [cases, photos] =
        [arguments.next(), arguments.next()].map(|path| path.context("usage: check_inputs CASES PHOTOS"));
    let (cases, photos) = (cases?, photos?);
    let [good, all] = check_photos(&Path::new(&cases).join("photos"))?;
    println!("photos: {good} of {all} as expected, or refused by a sentence that names their kind");
    let [well, whole] = check_annotations(&Path::new(&cases).join("annotations"), Path::new(&photos))?;
    println!("annotations: {well} of {whole} as expected");
    Ok(if good == all && well == whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

type Thumbnail = [[[f32; 8]; 8]; 3];

fn check_photos(directory: &Path) -> Result<[usize; 2]> {
    let expected: BTreeMap<String, Option<Thumbnail>> =
        serde_json::from_str(&std::fs::read_to_string(directory.join("expected.json"))?)?;
    let mut good = 0;
    for (name, expected) in &expected {
        let verdict = match (Photo::open(directory.join(name)), expected) {
            (Ok(photo), Some(expected)) => looks_like(&photo, expected),
            (Ok(_), None) => Err(anyhow::anyhow!("expected a refusal")),
            (Err(_), None) => Ok(()),
            // No kept decoder in Rust reads these two: the sentence has to say which they are.
            (Err(error), Some(_)) => {
                let message = error.to_string();
                let named = ["bytes of AVIF", "arithmetic coding"].iter().any(|kind| message.contains(kind));
                if named {
                    println!("{name}: {message}");
                    Ok(())
                } else {
                    Err(error.into())
                }
            }
        };
        match verdict {
            Ok(()) => good += 1,
            Err(error) => println!("{name}: {error:#}"),
        }
    }
    Ok([good, expected.len()])
}

fn looks_like(photo: &Photo, expected: &Thumbnail) -> Result<()> {
    const TOLERANCE: f32 = 6.0;
    let found = photo.network_input(Framing::whole(photo.size()), Size::square(8), Filter::Bicubic, [0; 3], 1);
    let expected = expected.iter().flatten().flatten();
    let worst = found.data.iter().zip(expected).map(|(found, level)| (255.0 * found - level).abs()).fold(0.0, f32::max);
    ensure!(worst <= TOLERANCE, "expected the picture, found one that differs by {worst} of 255");
    Ok(())
}

/// What annotations should give.
enum Wanted {
    /// What another file gives, all of it.
    As(&'static str),
    /// The same without one object, which is named.
    Without(&'static str, usize),
    /// The same without the objects of the first photo.
    WithoutFirst(&'static str),
    /// What another file gives, with the boxes around its shapes for these.
    Boxes(&'static str),
    /// A half of the first photo.
    Half,
    Refused(&'static str),
}

fn check_annotations(directory: &Path, photos: &Path) -> Result<[usize; 2]> {
    use Wanted::{As, Boxes, Half, Refused, Without, WithoutFirst};
    const BASE: &str = "coco/base.json";
    const BOXES: &str = "coco/box_only.json";
    let wanted = [
        (BASE, As(BASE)),
        ("coco/string_ids.json", As(BASE)),
        ("coco/float_ids.json", As(BASE)),
        ("coco/iscrowd_boolean.json", As(BASE)),
        ("coco/iscrowd_null.json", As(BASE)),
        ("coco/no_width_height.json", As(BASE)),
        ("coco/one_width_minus_1.json", As(BASE)),
        ("coco/flat_polygon.json", As(BASE)),
        ("coco/two_point_polygon.json", Without(BASE, 1)),
        ("coco/empty_bbox.json", As(BASE)),
        ("coco/empty_bbox_no_polygon.json", Without(BASE, 1)),
        (BOXES, Boxes(BASE)),
        ("coco/dangling_image.json", Without(BASE, 1)),
        ("coco/dangling_category.json", Without(BASE, 1)),
        ("coco/backslash_name.json", As(BASE)),
        ("coco/upper_case_extension.json", As(BASE)),
        ("coco/url_name.json", As(BASE)),
        ("coco/byte_order_mark.json", As(BASE)),
        ("coco/nan_area.json", As(BASE)),
        ("coco/no_categories.json", Refused("categories")),
        ("coco/list_of_rle.json", Half),
        ("voc/base", As(BOXES)),
        ("voc/size_zero", As(BOXES)),
        ("voc/no_size", As(BOXES)),
        ("voc/no_extension", As(BOXES)),
        ("voc/windows_path", As(BOXES)),
        ("voc/min_after_max", WithoutFirst(BOXES)),
        ("voc/one_cut_file", WithoutFirst(BOXES)),
        ("voc/utf16", As(BOXES)),
        ("yolo", As(BASE)),
        ("labelme", As(BASE)),
    ];
    let photos = Photos::new(photos)?;
    let mut good = 0;
    for (name, wanted) in &wanted {
        let listed = dataset::read(&directory.join(name));
        let verdict = || -> Result<()> {
            let other = |name: &str| seen(&dataset::read(&directory.join(name))?, &photos);
            let (expected, skipped) = match wanted {
                Refused(word) => {
                    let error = listed.err().context("expected a refusal")?.to_string();
                    ensure!(error.contains(word), "expected the refusal to name {word}: {error}");
                    return Ok(());
                }
                As(name) | Boxes(name) => (other(name)?, 0),
                Without(name, skipped) => (other(name)?.into_iter().skip(1).collect(), *skipped),
                WithoutFirst(name) => {
                    let all = other(name)?;
                    let first = all[0].photo.clone();
                    (all.into_iter().filter(|seen| seen.photo != first).collect::<Vec<_>>(), 0)
                }
                Half => {
                    let listed = listed?;
                    let found = seen(&listed, &photos)?;
                    let share =
                        found[0].mask.iter().filter(|inside| **inside).count() as f64 / found[0].mask.len() as f64;
                    ensure!((share - 0.5).abs() < 0.02 && listed.skipped.is_empty(), "found {share} of the photo");
                    return Ok(());
                }
            };
            let listed = listed?;
            let found = seen(&listed, &photos)?;
            listed.skipped.iter().for_each(|record| println!("{name}: skipped: {}", record.line()));
            match wanted {
                WithoutFirst(_) => ensure!(!listed.skipped.is_empty(), "expected the skipped to be named"),
                _ => ensure!(listed.skipped.len() == skipped, "expected {skipped} skipped, found {:?}", listed.skipped),
            }
            ensure!(found.len() == expected.len(), "expected {} objects, found {}", expected.len(), found.len());
            let by_box = matches!(wanted, Boxes(_));
            for expected in &expected {
                let alike = |found: &Seen| found.is_like(expected, by_box);
                ensure!(found.iter().any(alike), "no object is like {} on {}", expected.category, expected.photo);
            }
            Ok(())
        };
        match verdict() {
            Ok(()) => good += 1,
            Err(error) => println!("{name}: {error:#}"),
        }
    }
    Ok([good, wanted.len()])
}

/// An object as it is drawn.
struct Seen {
    photo: String,
    category: String,
    mask: Vec<bool>,
    truth: Truth,
}

impl Seen {
    /// The same but for a pixel in a hundred of either, or with the same box but for a pixel.
    fn is_like(&self, other: &Self, by_box: bool) -> bool {
        let near = if by_box {
            let boxes = self.truth.boxes.iter().zip(&other.truth.boxes);
            boxes.clone().count() == 1 && boxes.into_iter().all(|(a, b)| a.iou(*b) > 0.95)
        } else {
            let either = self.mask.iter().zip(&other.mask).filter(|(a, b)| **a || **b).count();
            let one = self.mask.iter().zip(&other.mask).filter(|(a, b)| a != b).count();
            one * 50 <= either
        };
        self.photo == other.photo && self.category == other.category && near
    }
}

fn seen(listed: &Listed, photos: &Photos) -> Result<Vec<Seen>> {
    const SIZE: Size = Size::square(224);
    let mut seen = Vec::new();
    for annotated in &listed.photos {
        let path = photos.find(&annotated.photo)?;
        let photo = Photo::open(&path)?;
        for object in &annotated.objects {
            let truth = Truth::new(std::iter::once(object), Framing::whole(photo.size()), photo.size(), SIZE);
            let (photo, category) = (path.display().to_string(), object.category.clone());
            seen.push(Seen { photo, category, mask: truth.mask.clone(), truth });
        }
    }
    Ok(seen)
}
