//! Questions about one place, about another photo, about values and sides: against what onnxruntime, torch, torchvision and Pillow answer (`tests/questions`).

use crate::common::{json, root};
use decomcam::encoders::image::Explained;
use decomcam::model::ModelOptions;
use decomcam::onnx::normal::Reading;
use decomcam::photo::{Filter, Framing, Placement, Rect, Upsampling};
use decomcam::score::boxes::{self, OVERLAP};
use decomcam::score::{BoxNumber, Region, Spot};
use decomcam::{Error, Options, Photo, Place, Prompt, Question, Session, SessionOptions, Side, Size};
use image::RgbImage;
use serde_json::Value;

/// Of numbers and gradients, relative to the largest: sums of a few hundred products in f32.
const ERROR: f64 = 1e-5;

fn floats(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

fn bytes(value: &Value) -> Vec<u8> {
    value.as_array().unwrap().iter().map(|number| number.as_u64().unwrap() as u8).collect()
}

fn size(value: &Value) -> Size {
    Size::new(value[0].as_u64().unwrap() as usize, value[1].as_u64().unwrap() as usize)
}

fn picture(levels: &Value, size: Size) -> RgbImage {
    RgbImage::from_raw(size.width as u32, size.height as u32, bytes(levels)).unwrap()
}

fn photo(reference: &Value) -> Photo {
    Photo::from_pixels("photo", picture(&reference["photo"], size(&reference["size"])))
}

/// A network of `tests/questions`, whose pictures are shares of 1.
fn open(name: &str, options: ModelOptions) -> decomcam::Result<Session> {
    let path = root("tests/questions").join(format!("{name}.onnx"));
    let options = options.mean([0.0; 3]).std([1.0; 3]);
    Session::open_with(path.to_str().unwrap(), &SessionOptions::new().model(options).margin(0).threads(1))
}

fn options() -> Options {
    Options::new().layer("layer").components(2).affinity(false)
}

fn close(found: f64, expected: f64, range: f64) -> bool {
    (found - expected).abs() <= ERROR * range.max(f64::MIN_POSITIVE)
}

/// Explains the photo, and holds the scores and the gradient to what onnxruntime and torch found.
fn check(session: &Session, photo: &Photo, prompt: &Prompt, asked: &Value, what: &str) {
    let explanation = session.explain(photo, prompt, &options()).unwrap_or_else(|error| panic!("{what}: {error}"));
    for (found, key) in [(&explanation.scores.reported, "reported"), (&explanation.scores.explained, "explained")] {
        let expected = asked[key].as_f64().unwrap();
        assert!(
            close(f64::from(found.value), expected, 1.0 + expected.abs()),
            "{what}, {key}: {found:?} for {expected}"
        );
    }
    let layer: &Explained = &explanation.parts.as_ref().unwrap().layer;
    let expected = floats(&asked["gradient"]);
    let range = expected.iter().fold(0.0f64, |range, value| range.max(value.abs()));
    assert_eq!(layer.gradients.len(), expected.len(), "{what}");
    for (found, expected) in layer.gradients.iter().zip(&expected) {
        assert!(close(f64::from(*found), *expected, range), "{what}: gradient {found} for {expected}");
    }
}

/// The place that a reference asks about.
fn place(asked: &Value, photo: Size) -> Place {
    let numbers = |key: &str| asked[key].as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as usize).collect();
    if asked.get("pixel").is_some() {
        let at: Vec<usize> = numbers("pixel");
        return Place::Pixel { row: at[0], column: at[1] };
    }
    if asked.get("rect").is_some() {
        let rect: Vec<usize> = numbers("rect");
        return Place::Within(Region::Rect(Rect::new(rect[0], rect[1], Size::new(rect[2], rect[3]))));
    }
    if asked.get("mask").is_some() {
        let packed = bytes(&asked["mask"]);
        let levels =
            (0..photo.area()).flat_map(|at| [if packed[at / 8] >> (7 - at % 8) & 1 == 1 { 255 } else { 0 }; 3]);
        let mask = RgbImage::from_raw(photo.width as u32, photo.height as u32, levels.collect()).unwrap();
        return Place::Within(Region::mask(&Photo::from_pixels("mask", mask)));
    }
    let ask = if asked["ask"] == "objectness" { BoxNumber::Objectness } else { BoxNumber::Class };
    Place::Box { number: asked["box"].as_u64().unwrap() as usize, ask, overlap: OVERLAP }
}

/// What is asked of one network.
fn questions_of(name: &str, options_of_model: ModelOptions) {
    let reference = json(root("tests/questions/questions.json"));
    let photo = photo(&reference);
    let session = open(name, options_of_model).unwrap_or_else(|error| panic!("{name}: {error}"));
    let list = reference["networks"][name].as_array().unwrap();
    assert!(!list.is_empty());
    for asked in list {
        let what = format!(
            "{name}, {}",
            serde_json::json!({"class": asked["class"], "box": asked["box"], "rect": asked["rect"], "pixel": asked["pixel"]})
        );
        let text = asked["class"].as_u64().map_or_else(String::new, |class| class.to_string());
        let place = place(asked, photo.size());
        let prompt = session.prompt_at(&photo, Question::from(text.as_str()), &place, &options());
        let prompt = prompt.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(prompt.text(), asked["answer"].to_string(), "{what}: the class");
        if let Spot::Box { index, confidence, rect, unknown, .. } = prompt.spot().unwrap() {
            assert_eq!(*index as u64, asked["index"].as_u64().unwrap(), "{what}");
            let expected = asked["confidence"].as_f64().unwrap();
            assert!(close(f64::from(*confidence), expected, 1.0 + expected.abs()), "{what}: confidence {confidence}");
            assert_eq!(rect.is_none(), unknown.is_some());
            match (rect, asked["corners"].as_array()) {
                (Some(rect), Some(_)) => {
                    let corners = floats(&asked["corners"]);
                    let inside = |at: f64, side: usize| at.round().clamp(0.0, side as f64) as usize;
                    let (top, left) = (inside(corners[1], photo.size().height), inside(corners[0], photo.size().width));
                    let bottom = inside(corners[3], photo.size().height);
                    let right = inside(corners[2], photo.size().width);
                    assert_eq!(*rect, Rect::new(top, left, Size::new(bottom - top, right - left)), "{what}");
                }
                (None, None) => assert!(prompt.warnings()[0].starts_with("no box is known: "), "{what}"),
                (found, expected) => panic!("{what}: box {found:?} for {expected:?}"),
            }
        }
        check(&session, &photo, &prompt, asked, &what);
    }
    // As many boxes as torchvision leaves, and not one more.
    if let Some(left) = list.iter().find(|asked| asked["class"] == 1).and_then(|asked| asked["left"].as_u64()) {
        let asked = session.prompt_at(&photo, Question::from("1"), &Place::best_box(left as usize + 1), &options());
        assert!(matches!(asked, Err(Error::Options(_))), "{name}: {asked:?}");
    }
}

/// Three class names, so that the number of classes is known.
fn three_labels() -> (tempfile::TempDir, ModelOptions) {
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("labels.txt");
    std::fs::write(&path, "0\n1\n2\n").unwrap();
    (folder, ModelOptions::new().labels(path))
}

#[test]
fn pixels_and_regions_of_a_segmentation() {
    questions_of("segmentation", ModelOptions::new());
    questions_of("channels_last", ModelOptions::new());
}

#[test]
fn boxes_of_yolo_with_the_boxes_along_either_axis() {
    questions_of("yolo", ModelOptions::new());
    let (_folder, labels) = three_labels();
    questions_of("yolo_rows", labels);
}

#[test]
fn boxes_of_yolox_before_its_decoding_and_their_objectness() {
    questions_of("yolox", ModelOptions::new());
}

#[test]
fn boxes_beside_scores() {
    questions_of("ssd", ModelOptions::new());
    questions_of("detr", ModelOptions::new());
    let (_folder, three_and_nothing) = three_labels();
    let session = open("detr", three_and_nothing).unwrap();
    assert!(session.prompt("no object").is_ok(), "the class that the labels leave out has a name");
}

#[test]
fn boxes_that_cannot_be_decoded_are_explained_by_their_place() {
    questions_of("unknown_boxes", ModelOptions::new());
}

#[test]
fn values_have_two_sides_and_outputs_have_names_and_numbers() {
    let reference = json(root("tests/questions/questions.json"));
    let photo = photo(&reference);
    for name in ["value", "two_values"] {
        for asked in reference["networks"][name].as_array().unwrap() {
            let output = asked["output"].as_str().unwrap();
            let index = usize::from(output == "gaze").to_string();
            for by in [output, &index] {
                let session = open(name, ModelOptions::new().output(by)).unwrap();
                let side = if asked["side"] == "against" { Side::Against } else { Side::For };
                let class = asked["class"].to_string();
                let prompt = session.prompt(class.as_str()).unwrap().side(side);
                check(&session, &photo, &prompt, asked, &format!("{name}, output {by}, {side:?}"));
                let headline = prompt.headline();
                assert_eq!(headline.starts_with("against "), side == Side::Against);
                if output == "age" {
                    let sign = if side == Side::Against { "minus value" } else { "value" };
                    assert!(headline.ends_with("\"age\""), "{headline}");
                    let explanation = session.explain(&photo, &prompt, &options()).unwrap();
                    assert_eq!(explanation.scores.explained.name, sign);
                }
            }
        }
    }
    let refused = open("two_values", ModelOptions::new()).unwrap_err().to_string();
    assert!(refused.contains("\"age\" of 1 x 1, \"gaze\" of 1 x 2; name one with --output"), "{refused}");
}

#[test]
fn a_gradient_that_integers_hold_back_everywhere_passes_their_ends_and_that_is_said() {
    let reference = json(root("tests/questions/questions.json"));
    let photo = photo(&reference);
    let session = open("beyond_range", ModelOptions::new()).unwrap();
    for asked in reference["networks"]["beyond_range"].as_array().unwrap() {
        let prompt = session.prompt(asked["class"].to_string().as_str()).unwrap();
        check(&session, &photo, &prompt, asked, "beyond_range");
        let warnings = session.explain(&photo, &prompt, &options()).unwrap().warnings;
        assert!(warnings.iter().any(|warning| warning.contains("beyond the numbers that its integers can hold")));
    }
    let session = open("value", ModelOptions::new()).unwrap();
    let explanation = session.explain(&photo, &session.prompt("0").unwrap(), &options()).unwrap();
    assert!(!explanation.warnings.iter().any(|warning| warning.contains("integers")));
}

#[test]
fn another_photo_is_asked_about_by_embeddings_or_by_what_the_last_matrix_reads() {
    let reference = json(root("tests/questions/questions.json"));
    let photo = photo(&reference);
    let mirrored = Photo::from_pixels("mirrored", image::imageops::flip_horizontal(&photo.pixels));
    for name in ["classifier", "embedding"] {
        let session = open(name, ModelOptions::new().alike(true)).unwrap();
        let prompt = session.prompt_like(&mirrored, None, &options()).unwrap();
        check(&session, &photo, &prompt, &reference["networks"][name][0], name);
        assert_eq!(prompt.headline(), "likeness to \"mirrored\"");
        // Of the photo itself the cosine is one, and its gradient nothing but rounding.
        let same = session.prompt_like(&photo, None, &options()).unwrap();
        match session.explain(&photo, &same, &options()) {
            Ok(explanation) => assert!(explanation.warnings.iter().any(|warning| warning.contains("says nothing"))),
            Err(error) => assert!(error.to_string().contains("zero at every position"), "{error}"),
        }
    }
    let refused = open("classifier", ModelOptions::new()).unwrap().prompt_like(&mirrored, None, &options());
    assert!(refused.unwrap_err().to_string().contains("has no vector that stands for a photo"));
}

#[test]
fn questions_that_a_network_cannot_be_asked_are_refused() {
    let reference = json(root("tests/questions/questions.json"));
    let photo = photo(&reference);
    let refused = |name: &str, place: Place| {
        let session = open(name, ModelOptions::new()).unwrap();
        session.prompt_at(&photo, Question::from("0"), &place, &options()).unwrap_err().to_string()
    };
    let pixel = |row, column| Place::Pixel { row, column };
    assert!(refused("classifier", pixel(20, 20)).contains("has one number for each class"));
    assert!(refused("yolo", pixel(20, 20)).contains("answers with boxes"));
    assert!(refused("segmentation", Place::best_box(1)).contains("has a number for each pixel"));
    assert!(refused("segmentation", pixel(48, 0)).contains("expected a row below 48"));
    assert!(refused("segmentation", pixel(2, 0)).contains("does not see this pixel"));
    let region = |rect| Place::Within(Region::Rect(rect));
    assert!(refused("segmentation", region(Rect::new(40, 0, Size::new(9, 2)))).contains("within the photo of 48 x 32"));
    assert!(refused("segmentation", region(Rect::new(0, 0, Size::new(8, 32)))).contains("sees nothing of this region"));
    let small = Photo::from_pixels("small.png", RgbImage::from_pixel(3, 4, image::Rgb([255; 3])));
    assert!(
        refused("segmentation", Place::Within(Region::mask(&small)))
            .contains("small.png: expected a mask of the photo's 48 x 32")
    );
    let black = Photo::from_pixels("black.png", RgbImage::new(32, 48));
    assert!(refused("segmentation", Place::Within(Region::mask(&black))).contains("no pixel brighter than grey"));
    let white = Photo::from_pixels("white.png", RgbImage::from_pixel(32, 48, image::Rgb([255; 3])));
    assert!(refused("segmentation", Place::Within(Region::mask(&white))).contains("all of it brighter than grey"));
    let objectness = Place::Box { number: 1, ask: BoxNumber::Objectness, overlap: OVERLAP };
    assert!(refused("yolo", objectness).contains("has no such number"));
    let wide = Place::Box { number: 1, ask: BoxNumber::Class, overlap: 1.5 };
    assert!(refused("yolo", wide).contains("expected a share from 0 to 1"));
    let session = open("segmentation", ModelOptions::new()).unwrap();
    let asked = session.prompt(Question { text: "0", versus: None, score: Some("logit there") });
    assert!(asked.unwrap_err().to_string().contains("give --at, --within or --box"));
}

#[test]
fn which_numbers_are_a_box() {
    let reading = |objectness| Reading::Boxes { transposed: false, before: 4 + usize::from(objectness), objectness };
    let input = Size::new(32, 64);
    let decoded = |numbers: &[[f32; 4]]| boxes::decoded(numbers, reading(false), "boxes", input);
    let corners = decoded(&[[0.0, 0.0, 0.5, 0.5], [0.25, 0.5, 1.0, 1.0]]).unwrap().1;
    assert_eq!(corners, [[0.0, 0.0, 32.0, 16.0], [16.0, 16.0, 64.0, 32.0]], "corners, shares of the input");
    let rows_first = boxes::decoded(&[[0.0, 0.5, 1.0, 1.0]; 2], reading(false), "detection_boxes", input).unwrap().1;
    assert_eq!(rows_first[0], [32.0, 0.0, 64.0, 32.0]);
    let centres = decoded(&[[20.0, 10.0, 8.0, 4.0], [60.0, 30.0, 9.0, 3.0]]).unwrap().1;
    assert_eq!(centres[0], [16.0, 8.0, 24.0, 12.0], "centre and size in pixels");
    assert!(decoded(&[[900.0, 10.0, 8.0, 4.0], [60.0, 300.0, 9.0, 3.0]]).unwrap_err().contains("beside the picture"));
    assert!(decoded(&[[0.3, 0.2, -0.1, 0.4]]).unwrap_err().contains("neither corners nor centres"));
    assert!(decoded(&[[f32::NAN, 0.2, 0.1, 0.4]]).unwrap_err().contains("not finite"));
    assert!(decoded(&[]).is_err());
}

#[test]
fn pillow_resizes_alike_with_each_of_its_filters() {
    for case in json(root("tests/questions/filters.json")).as_array().unwrap() {
        let from = size(&case["size"]);
        let photo = Photo::from_pixels("random", picture(&case["picture"], from));
        let edges: Vec<i64> = floats(&case["box"]).iter().map(|edge| *edge as i64).collect();
        let part = Size::new((edges[3] - edges[1]) as usize, (edges[2] - edges[0]) as usize);
        let framing = Framing { top: edges[1], left: edges[0], size: part };
        let to = size(&case["to"]);
        for filter in Filter::ALL {
            let expected = bytes(&case["resized"][filter.name()]);
            let planes = photo.network_input(framing, to, filter, [0; 3], 1);
            for (at, expected) in expected.iter().enumerate() {
                let found = (255.0 * planes.data[at % 3 * to.area() + at / 3]).round();
                // Weights in f32 here and in 22 bits there: a sum on the border between two levels may fall to either side.
                let off = (found - f32::from(*expected)).abs();
                assert!(off <= 1.0, "{} from {from} to {to}, sample {at}: {found} for {expected}", filter.name());
            }
        }
    }
    for (number, filter) in
        [(0, "nearest"), (1, "lanczos"), (2, "bilinear"), (3, "bicubic"), (4, "box"), (5, "hamming")]
    {
        assert_eq!(Filter::of_pillow(number).unwrap().name(), filter);
    }
    assert_eq!(Filter::of_pillow(6), None);
}

#[test]
fn bilinear_maps_are_those_of_the_package_grad_cam() {
    for case in json(root("tests/questions/upsampled.json")).as_array().unwrap() {
        let map: Vec<f32> = floats(&case["map"]).iter().map(|value| *value as f32).collect();
        let (from, to) = (size(&case["size"]), size(&case["to"]));
        let placement = Placement::whole(from, to).upsampled_by(Upsampling::Bilinear);
        let found = placement.saliency(&map).unwrap();
        // Its scaling divides by the largest value and 1e-7.
        for (found, expected) in found.iter().zip(floats(&case["saliency"])) {
            assert!((f64::from(*found) - expected).abs() < 2e-6, "{from} to {to}: {found} for {expected}");
        }
        assert!(placement.saliency(&map[1..]).is_err());
    }
}

/// A selection as editors export it: white on nothing.
#[test]
fn a_transparent_place_is_outside_of_a_mask() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("mask.png");
    let mut picture = image::RgbaImage::from_pixel(4, 2, image::Rgba([255, 255, 255, 0]));
    picture.put_pixel(1, 0, image::Rgba([255; 4]));
    picture.put_pixel(2, 0, image::Rgba([255, 255, 255, 100]));
    picture.save(&path).unwrap();
    let Region::Mask { inside, .. } = Region::mask(&Photo::open_mask(&path).unwrap()) else { panic!("a mask") };
    assert_eq!(inside, [false, true, false, false, false, false, false, false]);
}
