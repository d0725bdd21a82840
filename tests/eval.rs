//! `decomcam eval` and `compare` from end to end, on the repository's own photo.

mod program;

use program::{decomcam, numbers, said};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use tempfile::TempDir;

fn photos() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/photos")
}

/// The middle of the cat, as shares of the photo, called this.
fn object(category: &str) -> String {
    format!("{{\"category\": \"{category}\", \"polygon\": [0.4, 0.3, 0.6, 0.3, 0.65, 0.95, 0.35, 0.95]}}")
}

fn line(image: &str, objects: &[&str]) -> String {
    let objects: Vec<String> =
        objects.iter().map(|words| if words.starts_with('{') { (*words).into() } else { object(words) }).collect();
    format!("{{\"image\": \"{image}\", \"objects\": [{}]}}\n", objects.join(", "))
}

/// A place with annotations; a run of `eval` at a small size into `out`.
struct Place(TempDir);

impl Place {
    fn new(annotations: &str) -> Self {
        let place = TempDir::new().unwrap();
        fs::write(place.path().join("annotations.jsonl"), annotations).unwrap();
        Self(place)
    }

    fn eval(&self, out: &str, more: &[&str]) -> Output {
        let size: &[&str] = if more.contains(&"--size") { &[] } else { &["--size", "96"] };
        let args = [&["eval"], size, more].concat();
        let (photos, annotations) = (photos(), self.0.path().join("annotations.jsonl"));
        let out = self.0.path().join(out);
        decomcam(&args, &[("--photos", &photos), ("--annotations", &annotations), ("--out", &out)])
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.0.path().join(file)).unwrap()
    }

    fn results(&self, out: &str) -> Value {
        serde_json::from_str(&self.read(&format!("{out}/results.json"))).unwrap()
    }
}

const METHODS: [&str; 2] = ["--method", "aligned,grad-cam,uniform"];

#[test]
fn eval_writes_everything_and_goes_on_where_it_was_stopped() {
    let place = Place::new(&line("chelsea.png", &["cat", "sofa", "person"]));
    let all = [&METHODS[..], &["--metrics", "all", "--step", "1024", "--leave-out", "person"]].concat();
    let output = place.eval("whole", &all);
    assert!(output.status.success(), "{}", said(&output));
    let results = place.results("whole");
    assert_eq!((results["pairs"].as_u64(), results["left_out"]["by_category"].as_u64()), (Some(2), Some(1)));
    for metric in [
        "pointing",
        "energy",
        "best_iou",
        "max_box_acc",
        "pxap",
        "deletion",
        "insertion",
        "average_drop",
        "average_increase",
        "road",
    ] {
        for method in ["aligned", "grad-cam", "uniform"] {
            let number = |key: &str| results["methods"][method][metric][key].as_f64().unwrap();
            assert!(number("low") <= number("mean") && number("mean") <= number("high"), "{method} {metric}");
            let mean = (results["categories"]["cat"]["methods"][method][metric].as_f64().unwrap()
                + results["categories"]["sofa"]["methods"][method][metric].as_f64().unwrap())
                / 2.0;
            assert!((number("mean_over_categories") - mean).abs() < 1e-12);
        }
        let mean = |method: &str| results["methods"][method][metric]["mean"].as_f64().unwrap();
        let difference = results["differences"]["grad-cam"][metric]["mean"].as_f64().unwrap();
        assert!((difference - (mean("grad-cam") - mean("aligned"))).abs() < 1e-12, "{metric}");
    }
    for (file, expected) in [("results.md", "| aligned | "), ("results.csv", "grad-cam,\"sofa\",pxap,")] {
        assert!(place.read(&format!("whole/{file}")).contains(expected), "{file}");
    }

    // At a size at which the model knows a cat, the explanation is on it.
    let known = place.eval("known", &["--size", "224", "--method", "aligned,uniform", "--leave-out", "sofa,person"]);
    assert!(known.status.success(), "{}", said(&known));
    let known = place.results("known");
    let cat = |method: &str, metric: &str| known["methods"][method][metric]["mean"].as_f64().unwrap();
    assert!(cat("aligned", "pointing") == 1.0 && cat("aligned", "pxap") > 1.5 * cat("uniform", "pxap"));

    // The maps of a network with shuffled weights are other maps.
    let more =
        ["--size", "96", "--method", "grad-cam,eigen-cam", "--leave-out", "sofa,person", "--randomise", "5", "--parts"];
    assert!(place.eval("shuffled", &more).status.success());
    let shuffled = place.results("shuffled");
    let stages = |method: &str| numbers(&shuffled["randomisation"][method], "mean");
    assert!(stages("grad-cam").len() > 3 && stages("grad-cam").iter().all(|rho| rho.abs() < 0.999));
    // Eigen-CAM does not heed what comes after the layer.
    assert!(stages("eigen-cam")[0] > 0.999 && stages("eigen-cam").last().unwrap() < &0.999);

    for way in ["ossms", "k-means", "nmf"] {
        let share = |key: &str| shuffled["parts"][way][key]["mean"].as_f64().unwrap();
        assert!(["best_iou", "overlap", "energy"].iter().all(|key| (0.0..=1.0).contains(&share(key))), "{way}");
    }

    // First less of it; then a stop in the middle of a line; then all: the same bytes, and nothing is computed twice.
    let first = place.eval("parts", &["--method", "grad-cam", "--step", "1024", "--leave-out", "person"]);
    assert!(first.status.success(), "{}", said(&first));
    let records = place.0.path().join("parts/records.jsonl");
    let before = fs::read_to_string(&records).unwrap();
    assert_eq!(before.lines().count(), 2);
    fs::write(&records, &before[..before.len() - 20]).unwrap();
    assert!(place.eval("parts", &[&all[..], &["--threads", "1"]].concat()).status.success());
    let files = |out: &str| ["results.json", "results.md", "results.csv"].map(|f| place.read(&format!("{out}/{f}")));
    assert_eq!(files("parts"), files("whole"));
    let after = fs::read_to_string(&records).unwrap();
    assert!(after.starts_with(before.lines().next().unwrap()) && after.lines().count() == 1 + 6);
    assert!(place.eval("parts", &all).status.success());
    assert_eq!(fs::read_to_string(&records).unwrap(), after);
    assert_eq!(files("parts"), files("whole"));
    // Other settings do not take these records for theirs.
    assert!(
        place
            .eval("parts", &[&METHODS[..], &["--layer", "block10", "--leave-out", "person"]].concat())
            .status
            .success()
    );
    assert_eq!(fs::read_to_string(&records).unwrap().lines().count(), 1 + 6 + 6);
}

#[test]
fn bad_annotations_are_counted_named_and_skipped() {
    let empty = object("dog").replace("0.6, 0.3, 0.65, 0.95, 0.35, 0.95", "0.4, 0.3, 0.4, 0.3");
    let annotations = [
        line("chelsea.png", &["cat", "qzxvw", &empty]),
        line("README.md", &["cat"]),
        line("gone.png", &["cat"]),
        line("chelsea-ossms.png", &[r#"{"category": "cat", "polygon": [0.5, 0.5, 0.51, 0.5, 0.51, 0.51]}"#]),
    ];
    let place = Place::new(&annotations.concat());
    let output = place.eval("out", &METHODS);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let results = place.results("out");
    assert_eq!((results["pairs"].as_u64(), results["skipped_count"].as_u64()), (Some(1), Some(4)));
    assert_eq!(results["left_out"]["mask_too_small"], 1);
    for (problem, name) in [
        ("missing_photo", "gone.png"),
        ("undecodable_photo", "README.md"),
        ("unknown_category", "qzxvw"),
        ("empty_mask", "dog"),
    ] {
        let skipped = results["skipped"].as_array().unwrap().iter().find(|skipped| skipped["problem"] == problem);
        assert!(skipped.is_some_and(|skipped| skipped.to_string().contains(name)), "{problem}");
        assert!(said(&output).contains(name), "{}", said(&output));
    }
    assert!(said(&output).contains("4 skipped, as named above"), "{}", said(&output));

    // Nothing to measure, and things that are no annotations: refused, and no results appear.
    for (annotations, more, expected) in [
        (&annotations[2][..], &[][..], "gone.png"),
        (&annotations[0][..], &["--leave-out", "cat", "--leave-out", "dog", "--leave-out", "qzxvw"], "3 left out"),
        ("", &[], "empty file"),
        ("not json\n", &[], "line 1"),
        ("{\"image\": \"a.png\"}\n", &[], "line 1"),
        ("{\"images\": [], \"annotations\": 7}", &[], "COCO"),
        ("<annotation></annotation>", &[], "<size>"),
        (&annotations[0][..], &["--prompt", "a cat"], "--prompt"),
        (&annotations[0][..], &["--layer", "nowhere"], "nowhere"),
    ] {
        let place = Place::new(annotations);
        let output = place.eval("out", more);
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        assert!(said(&output).contains(expected), "{expected} is missing in: {}", said(&output));
        assert!(!place.0.path().join("out/results.json").exists());
    }
    let damaged = Place::new(&annotations[0]);
    fs::create_dir(damaged.0.path().join("out")).unwrap();
    fs::write(damaged.0.path().join("out/records.jsonl"), "words\n").unwrap();
    assert!(said(&damaged.eval("out", &METHODS)).contains("records.jsonl`, line 1"));
}

#[test]
fn labels_by_folder_have_no_masks() {
    let place = TempDir::new().unwrap();
    fs::create_dir_all(place.path().join("photos/tabby_cat")).unwrap();
    fs::copy(photos().join("chelsea.png"), place.path().join("photos/tabby_cat/a.png")).unwrap();
    let (photos, out) = (place.path().join("photos"), place.path().join("out"));
    let paths = [("--photos", photos.as_path()), ("--out", &out)];
    let args = ["eval", "--size", "96", "--method", "grad-cam", "--step", "4096"];
    let output = decomcam(&args, &paths);
    assert!(output.status.success(), "{}", said(&output));
    let results: Value = serde_json::from_slice(&fs::read(out.join("results.json")).unwrap()).unwrap();
    assert!(results["methods"]["grad-cam"]["insertion"]["mean"].is_f64());
    assert!(results["methods"]["grad-cam"]["pxap"].is_null() && results["categories"]["tabby cat"].is_object());
    let output = decomcam(&[&args[..], &["--metrics", "pxap"]].concat(), &paths);
    assert!(output.status.code() == Some(1) && said(&output).contains("--annotations"), "{}", said(&output));
}

#[test]
fn explain_by_another_method() {
    let place = TempDir::new().unwrap();
    let cat = photos().join("chelsea.png");
    let args = ["explain", cat.to_str().unwrap(), "--text", "a cat", "--size", "96", "--method"];
    let output = decomcam(&[&args[..], &["ablation-cam"]].concat(), &[("--out", place.path())]);
    assert!(output.status.success(), "{}", said(&output));
    let report: Value = serde_json::from_slice(&fs::read(place.path().join("explanation.json")).unwrap()).unwrap();
    assert_eq!((report["method"].as_str(), report["text"].as_str()), (Some("ablation-cam"), Some("a cat")));
    let file = npyz::NpyFile::new(fs::File::open(place.path().join("saliency.npy")).unwrap()).unwrap();
    assert_eq!(file.shape(), [300, 451]);
    let values: Vec<f32> = file.into_vec().unwrap();
    assert!(values.contains(&1.0) && values.iter().all(|value| (0.0..=1.0).contains(value)));
    assert_eq!(image::open(place.path().join("overlay.png")).unwrap().width(), 451);
    // A recipe's name is a method's too.
    let output = decomcam(&[&args[..], &["paper", "--out", "-"]].concat(), &[]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["recipe"]["name"], "paper");
}

#[test]
fn compare_draws_and_tabulates() {
    let place = TempDir::new().unwrap();
    let cat = photos().join("chelsea.png");
    let out = place.path().join("out");
    let args = ["compare", cat.to_str().unwrap(), "--text", "a cat", "--size", "96"];
    let methods = ["--method", "aligned", "--method", "grad-cam,rise", "--rise-masks", "8"];
    let output = decomcam(&[&args[..], &methods].concat(), &[("--out", &out)]);
    assert!(output.status.success(), "{}", said(&output));
    let report: Value = serde_json::from_slice(&fs::read(out.join("comparison.json")).unwrap()).unwrap();
    let rows = report["methods"].as_array().unwrap();
    let names: Vec<&str> = rows.iter().map(|row| row["method"].as_str().unwrap()).collect();
    assert_eq!(names, ["aligned", "grad-cam", "rise"]);
    for row in rows {
        assert!(["deletion", "insertion", "average_drop", "ms"].iter().all(|key| row[key].is_f64()), "{row}");
        assert!(said(&output).contains(row["method"].as_str().unwrap()));
    }
    assert!(image::open(out.join("comparison.png")).unwrap().width() > 600);
    let output = decomcam(&[&args[..], &["--method", "magic"]].concat(), &[("--out", &out)]);
    assert!(output.status.code() == Some(2) && said(&output).contains("gscore-cam"), "{}", said(&output));
}
