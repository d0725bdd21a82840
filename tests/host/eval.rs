//! `decomcam eval` from end to end, on the repository's own photo.

use crate::common::measure::measured;
use crate::common::run::{Said, decomcam};
use crate::common::{cat, json, numbers, root};
use decomcam::dataset::{self, Truth};
use decomcam::metrics::Metric;
use decomcam::photo::Fit;
use decomcam::{Method, Options, Photo, Session, SessionOptions, Size};
use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use tempfile::TempDir;

fn photos() -> PathBuf {
    root("tests/photos")
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

    fn eval(&self, out: &str, more: &[&str]) -> Said {
        let size: &[&str] = if more.contains(&"--size") { &[] } else { &["--size", "96"] };
        decomcam(["eval"])
            .args(size)
            .args(more)
            .path("--photos", photos())
            .path("--annotations", self.0.path().join("annotations.jsonl"))
            .path("--out", self.0.path().join(out))
            .said()
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.0.path().join(file)).unwrap()
    }

    fn results(&self, out: &str) -> Value {
        json(self.0.path().join(out).join("results.json"))
    }
}

const METHODS: [&str; 2] = ["--method", "aligned,grad-cam,uniform"];

#[test]
fn eval_writes_everything_and_goes_on_where_it_was_stopped() {
    let place = Place::new(&line("chelsea.png", &["cat", "sofa", "person"]));
    let all = [&METHODS[..], &["--metrics", "all", "--step", "1024", "--leave-out", "person"]].concat();
    place.eval("whole", &all).exits_with(0);
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
    for (file, expected) in [
        ("results.md", "| aligned | "),
        ("results.csv", "grad-cam,\"sofa\",pxap,"),
        ("report.html", "Best and worst maps of aligned"),
    ] {
        assert!(place.read(&format!("whole/{file}")).contains(expected), "{file}");
    }

    // At a size at which the model knows a cat, the explanation is on it.
    let args = ["--size", "224", "--method", "aligned,uniform", "--leave-out", "sofa,person"];
    place.eval("known", &args).exits_with(0);
    let known = place.results("known");
    let cat = |method: &str, metric: &str| known["methods"][method][metric]["mean"].as_f64().unwrap();
    assert!(cat("aligned", "pointing") == 1.0 && cat("aligned", "pxap") > 1.5 * cat("uniform", "pxap"));

    // The maps of a network with shuffled weights are other maps.
    let more =
        ["--size", "96", "--method", "grad-cam,eigen-cam", "--leave-out", "sofa,person", "--randomise", "5", "--parts"];
    place.eval("shuffled", &more).exits_with(0);
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
    place.eval("parts", &["--method", "grad-cam", "--step", "1024", "--leave-out", "person"]).exits_with(0);
    let records = place.0.path().join("parts/records.jsonl");
    let before = fs::read_to_string(&records).unwrap();
    assert_eq!(before.lines().count(), 2);
    fs::write(&records, &before[..before.len() - 20]).unwrap();
    let said = place.eval("parts", &[&all[..], &["--threads", "1"]].concat()).exits_with(0);
    assert!(!said.stderr.contains("were done before"), "a pair is done once all its numbers are there: {said}");
    let files = |out: &str| ["results.json", "results.md", "results.csv"].map(|f| place.read(&format!("{out}/{f}")));
    assert_eq!(files("parts"), files("whole"));
    let after = fs::read_to_string(&records).unwrap();
    assert!(after.starts_with(before.lines().next().unwrap()) && after.lines().count() == 1 + 6);
    let said = place.eval("parts", &all).exits_with(0);
    assert!(said.stderr.contains("2 pairs of a photo and a category were done before\n"), "{said}");
    assert_eq!(fs::read_to_string(&records).unwrap(), after);
    assert_eq!(files("parts"), files("whole"));
    // Other settings do not take these records for theirs.
    place.eval("parts", &[&METHODS[..], &["--layer", "block10", "--leave-out", "person"]].concat()).exits_with(0);
    assert_eq!(fs::read_to_string(&records).unwrap().lines().count(), 1 + 6 + 6);
}

#[test]
fn bad_annotations_are_counted_named_and_skipped() {
    let empty = object("dog").replace("0.6, 0.3, 0.65, 0.95, 0.35, 0.95", "0.4, 0.3, 0.4, 0.3");
    let annotations = [
        line("chelsea.png", &["cat", "qzxvw", &empty]),
        line("README.md", &["cat"]),
        line("gone.png", &["cat"]),
        line("chelsea-parts.png", &[r#"{"category": "cat", "polygon": [0.5, 0.5, 0.51, 0.5, 0.51, 0.51]}"#]),
    ];
    let place = Place::new(&annotations.concat());
    let output = place.eval("out", &METHODS).exits_with(1).complains(&["4 skipped and named above"]);
    let results = place.results("out");
    assert_eq!((results["pairs"].as_u64(), results["skipped_count"].as_u64()), (Some(1), Some(4)));
    assert_eq!(results["left_out"]["mask_too_small"], 1);
    for (problem, name) in [
        ("missing_photo", "gone.png"),
        ("undecodable_photo", "README.md"),
        ("unknown_category", "qzxvw"),
        ("bad_record", "dog"),
    ] {
        let skipped = results["skipped"].as_array().unwrap().iter().find(|skipped| skipped["problem"] == problem);
        assert!(skipped.is_some_and(|skipped| skipped.to_string().contains(name)), "{problem}");
        assert!(output.stderr.contains(name), "{output}");
    }

    // Nothing to measure, and things that are no annotations: refused, and no results appear.
    for (annotations, more, expected) in [
        (&annotations[2][..], &[][..], "gone.png"),
        (&annotations[0][..], &["--leave-out", "cat", "--leave-out", "dog", "--leave-out", "qzxvw"], "2 left out"),
        ("", &[], "empty file"),
        ("not json\n", &[], "found something else"),
        ("{\"image\": \"a.png\"}\n", &[], "LabelMe's"),
        ("{\"images\": [], \"annotations\": 7}", &[], "COCO"),
        ("<annotation></annotation>", &[], "no such photo"),
    ] {
        let place = Place::new(annotations);
        place.eval("out", more).exits_with(1).complains(&[expected]);
        assert!(!place.0.path().join("out/results.json").exists());
    }
    for (more, expected) in [
        (["--prompt", "a cat"], "--prompt"),
        (["--layer", "nowhere"], "nowhere"),
        (["--least-mask", "0.9"], "--most-mask"),
    ] {
        let place = Place::new(&annotations[0]);
        place.eval("out", &more).exits_with(2).complains(&[expected]);
        assert!(!place.0.path().join("out/results.json").exists());
    }
    let damaged = Place::new(&annotations[0]);
    fs::create_dir(damaged.0.path().join("out")).unwrap();
    fs::write(damaged.0.path().join("out/records.jsonl"), "words\n").unwrap();
    damaged.eval("out", &METHODS).exits_with(1).complains(&["records.jsonl`: line 1"]);
}

/// A category has its own prompt from the command line or from a file, and what a classifier's words match stands together; what is left out is said.
#[test]
fn categories_have_prompts_of_their_own() {
    let place = Place::new(&line("chelsea.png", &["cat", "couch", "person", "raccoon"]));
    let file = place.0.path().join("prompts.txt");
    fs::write(&file, "\u{feff}couch = a studio couch\n\nPerson=a diver\n").unwrap();
    let file = file.to_str().unwrap();
    let common = ["--size", "224", "--method", "grad-cam,uniform", "--least-mask", "0.01"];
    let own = ["--prompt", "cat=a tabby", "--prompt", "the {}", "--prompts", file, "--leave-out", "raccoon"];
    place.eval("own", &[&common[..], &own].concat()).exits_with(0).prints(&["not counted: 1 by category", "0 skipped"]);
    let results = place.results("own");
    for (category, text) in [("cat", "a tabby"), ("couch", "a studio couch"), ("person", "a diver")] {
        assert_eq!(results["prompts"][category]["text"], text);
    }
    let used = &results["used"]["grad-cam"];
    assert_eq!((&used["scales"], &used["affinity"], &used["layer"]), (&1.into(), &false.into(), &"features".into()));
    assert!(results["used"]["uniform"]["layer"].is_null());

    // The results are given once more by what the model knows: it sees a cat, and has no class for a raccoon.
    place.eval("known", &common).exits_with(0).prints(&["the model has no class for the category"]);
    let knowledge = &place.results("known")["knowledge"];
    let pairs = |group: &str| knowledge[group]["pairs"].as_u64().unwrap_or_default();
    assert_eq!(pairs("seen") + pairs("doubtful") + pairs("not_seen"), 2, "{knowledge}");
    assert_eq!((pairs("no_class"), pairs("seen") >= 1), (2, true), "{knowledge}");
    let pxap = |of: &Value| of["methods"]["grad-cam"]["pxap"].as_f64().unwrap();
    assert!(pxap(&knowledge["seen"]) > 0.0);

    for (bad, said) in [("=a tabby", "CATEGORY=WORDS"), ("cat=", "CATEGORY=WORDS"), ("tabby", "{}")] {
        place.eval("bad", &["--prompt", bad]).exits_with(2).complains(&["--prompt", said]);
    }
    let network = root("models/lite/image.onnx");
    let labels = place.0.path().join("labels.txt");
    let names: String =
        (0..1000).map(|c| format!("{}\n", if c < 2 { format!("big cat {c}") } else { c.to_string() })).collect();
    fs::write(&labels, names).unwrap();
    let classifier = ["--output", "logits", "--layer", "features", "--leave-out", "couch,person,raccoon"];
    let classifier =
        [&classifier[..], &["--model", network.to_str().unwrap(), "--labels", labels.to_str().unwrap()]].concat();
    place.eval("classifier", &[&common[..], &classifier].concat()).exits_with(0);
    assert_eq!(place.results("classifier")["prompts"]["cat"]["text"], "big cat 0 or big cat 1");
}

/// What has no effect on these annotations is refused, with what there is.
#[test]
fn categories_that_there_are_not_are_refused() {
    let place = Place::new(&line("chelsea.png", &["cat", "person"]));
    for more in [["--leave-out", "persn"], ["--leave-out", "cat,persn"], ["--prompt", "persn=a diver"]] {
        place.eval("out", &more).exits_with(2).complains(&[more[0], "\"persn\"", "expected one of: person, cat"]);
    }
}

/// A photo of other proportions than its annotations, a mask with its sides interchanged, a place beside the photo, shares in place of pixels.
#[test]
fn places_that_cannot_be_on_the_photo_are_skipped_and_named() {
    let place = TempDir::new().unwrap();
    let photos = place.path().join("photos");
    fs::create_dir(&photos).unwrap();
    for name in ["a.png", "turned.png", "other.png"] {
        fs::copy(cat(), photos.join(name)).unwrap();
    }
    let image = |id: u32, name: &str, [width, height]: [u32; 2]| {
        format!(r#"{{"id": {id}, "file_name": "{name}", "width": {width}, "height": {height}}}"#)
    };
    let images = [image(1, "a.png", [451, 300]), image(2, "turned.png", [300, 451]), image(3, "other.png", [640, 640])];
    let names = ["cat", "dog", "sofa", "car"];
    let categories: Vec<String> =
        names.iter().enumerate().map(|(id, name)| format!(r#"{{"id": {id}, "name": "{name}"}}"#)).collect();
    let middle = r#""bbox": [100, 50, 160, 200]"#;
    let annotations: Vec<String> = [
        (1, 0, middle),
        (2, 0, middle),
        (3, 0, middle),
        (1, 1, r#""segmentation": {"counts": [60000, 40000, 35300], "size": [451, 300]}"#),
        (1, 2, r#""segmentation": [[500, 10, 600, 10, 600, 90, 500, 90]]"#),
        (1, 3, r#""bbox": [0.2, 0.2, 0.4, 0.4]"#),
    ]
    .iter()
    .map(|(image, category, shape)| format!(r#"{{"image_id": {image}, "category_id": {category}, {shape}}}"#))
    .collect();
    let text = format!(
        r#"{{"images": [{}], "categories": [{}], "annotations": [{}]}}"#,
        images.join(", "),
        categories.join(", "),
        annotations.join(", ")
    );
    fs::write(place.path().join("coco.json"), text).unwrap();
    let eval = decomcam(["eval", "--size", "96", "--method", "uniform"]).path("--photos", &photos);
    let said =
        eval.path("--annotations", place.path().join("coco.json")).path("--out", place.path().join("out")).said();
    said.exits_with(1).complains(&[
        "turned.png, cat: expected annotations of a photo of 300 x 451",
        "before it was turned upright",
        "other.png, cat: expected annotations",
        "are they of another photo",
        "a.png, dog: expected annotations",
        "a.png, sofa: expected a place on the photo",
        "a.png, car: expected pixels of a photo",
    ]);
    let results = json(place.path().join("out/results.json"));
    assert_eq!(results["pairs"], 1, "{results}");
}

/// A photo under several names is one: its objects are joined, and each counts once.
#[test]
fn names_of_one_file_are_one_photo() {
    let place = Place::new(
        &[line("chelsea.png", &["cat"]), line("./chelsea.png", &["Cat "]), line("CHELSEA.PNG", &["sofa"])].concat(),
    );
    place.eval("out", &["--method", "uniform"]).exits_with(0);
    let results = place.results("out");
    assert_eq!((&results["pairs"], results["categories"].as_object().unwrap().len()), (&2.into(), 2), "{results}");
    assert_eq!(place.read("out/records.jsonl").matches("\"photo\":\"chelsea.png\"").count(), 2);
}

#[test]
fn labels_by_folder_have_no_masks() {
    let place = TempDir::new().unwrap();
    fs::create_dir_all(place.path().join("photos/tabby_cat")).unwrap();
    fs::copy(photos().join("chelsea.png"), place.path().join("photos/tabby_cat/a.png")).unwrap();
    let (photos, out) = (place.path().join("photos"), place.path().join("out"));
    let eval = || {
        let run = decomcam(["eval", "--size", "96", "--method", "grad-cam", "--step", "4096"]);
        run.path("--photos", &photos).path("--out", &out)
    };
    eval().ok();
    let results = json(out.join("results.json"));
    assert!(results["methods"]["grad-cam"]["insertion"]["mean"].is_f64());
    assert!(results["methods"]["grad-cam"]["pxap"].is_null() && results["categories"]["tabby cat"].is_object());
    // What needs masks is refused without them, alone or beside what does not, and so is what shapes them; of all metrics those are meant that there can be.
    for more in [&["--metrics", "pxap"][..], &["--metrics", "pxap,deletion"], &["--least-mask", "0.1"], &["--parts"]] {
        eval().args(more).misused(&[more[0], "--annotations"]);
    }
    eval().args(["--metrics", "all"]).ok();
}

/// One pipeline and one framing: every number of `records.jsonl` is that of the map which `explain` gives, at one size and at two, whatever of the photo is
/// seen. And no metric stands under another's name.
#[test]
fn every_record_is_of_explain_s_map() {
    type Case = (&'static str, &'static [&'static str], fn(SessionOptions) -> SessionOptions, fn(Options) -> Options);
    let same: fn(SessionOptions) -> SessionOptions = |session| session;
    let cases: [Case; 6] = [
        ("two sizes", &[], same, |options| options),
        ("one size", &["--scales", "1"], same, |options| options.scales(1)),
        ("with affinity, few parts", &["--affinity", "on", "--scales", "2", "--components", "4"], same, |options| {
            options.affinity(true).scales(2).components(4)
        }),
        ("a margin", &["--margin", "24"], |session| session.margin(24), |options| options),
        ("not refined", &["--refine", "off"], same, |options| options.refine(false)),
        (
            "padded, few parts",
            &["--fit", "pad", "--components", "3"],
            |session| session.fit(Fit::Pad),
            |options| options.components(3),
        ),
    ];
    let place = Place::new(&line("chelsea.png", &["cat"]));
    let annotated = dataset::read(&place.0.path().join("annotations.jsonl")).unwrap();
    let photo = Photo::open(cat()).unwrap();
    let mut of_exact = Vec::new();
    for (name, args, view, tuning) in cases {
        let methods = ["--method", "exact,layer-cam", "--metrics", "all", "--step", "2048"];
        place.eval(name, &[&methods, args].concat()).exits_with(0);
        let session = Session::open_with("lite", &view(SessionOptions::new().size(Size::square(96)))).unwrap();
        let prompt = session.prompt("a cat").unwrap();
        let records = place.read(&format!("{name}/records.jsonl"));
        let records: Vec<Value> = records.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(records.len(), 2);
        for record in records {
            let method: Method = record["method"].as_str().unwrap().parse().unwrap();
            let options = tuning(Options::new()).of_method(method);
            let explanation = session.explain(&photo, &prompt, &options).unwrap();
            let objects = annotated.photos[0].objects.iter();
            let truth = Truth::new(objects, explanation.framing, photo.size(), explanation.input_size);
            assert_eq!(record["mask"].as_f64(), Some(truth.share()));
            for metric in Metric::ALL {
                let expected = measured(metric, (&session, &photo, &prompt), &explanation, Some(&truth), 2048);
                assert_eq!(record["metrics"][metric.name()], expected, "{name}, {}, {}", method.name(), metric.name());
            }
            assert_eq!(record["metrics"].as_object().unwrap().len(), Metric::ALL.len());
            if method == Method::default() {
                of_exact.push(record["metrics"].clone());
            }
        }
    }
    for (at, metrics) in of_exact.iter().enumerate() {
        assert!(!of_exact[..at].contains(metrics), "the case makes no difference: {}", cases[at].0);
        assert_ne!(metrics["deletion"], metrics["insertion"]);
    }
}

/// Records are of a photo's bytes, not of its name: another photo under the same name is measured anew, also where records are merged.
#[test]
fn records_of_other_bytes_do_not_count() {
    let place = TempDir::new().unwrap();
    let at = |name: &str| place.path().join(name);
    fs::create_dir_all(at("photos/cat")).unwrap();
    fs::create_dir_all(at("photos/dog")).unwrap();
    let photo = image::open(cat()).unwrap();
    photo.save(at("photos/cat/one.png")).unwrap();
    photo.save(at("photos/dog/two.png")).unwrap();
    let eval = |out: &str, more: &[&str]| {
        let fast = ["eval", "--size", "96", "--method", "grad-cam", "--metrics", "deletion", "--step", "1024"];
        decomcam(fast).args(more).path("--photos", at("photos")).path("--out", at(out)).said().exits_with(0)
    };
    let results = |out: &str| fs::read_to_string(at(out).join("results.json")).unwrap();
    eval("first", &[]);
    let old = results("first");
    photo.crop_imm(150, 0, 300, 300).save(at("photos/cat/one.png")).unwrap();
    let said = eval("first", &[]);
    let before = "pairs of a photo and a category were done before";
    let anew = "1 of 2 photos are not those that were measured before under these names: they are measured anew";
    assert!(said.stderr.contains(anew) && said.stderr.contains(&format!("1 {before}")), "{said}");
    eval("fresh", &[]);
    assert_ne!(results("first"), old);
    assert_eq!(results("first"), results("fresh"));
    assert!(eval("first", &[]).stderr.contains(&format!("2 {before}")));

    // The share was measured with the other photo.
    photo.save(at("photos/cat/one.png")).unwrap();
    let share = at("fresh").display().to_string();
    let said = eval("merged", &["--merge", &share]);
    assert!(said.stderr.contains(anew), "{said}");
    assert_eq!(results("merged"), old);

    // A record that does not say of which bytes it is may be of any.
    let records = fs::read_to_string(at("fresh/records.jsonl")).unwrap();
    let unsaid: String = records
        .lines()
        .map(|line| {
            let mut record: Value = serde_json::from_str(line).unwrap();
            record.as_object_mut().unwrap().remove("photo_sha256").unwrap();
            format!("{record}\n")
        })
        .collect();
    fs::write(at("fresh/records.jsonl"), unsaid).unwrap();
    assert!(eval("fresh", &[]).stderr.contains("2 of 2 photos are not those"));
    assert_eq!(results("fresh"), old);
}

/// Shares, each measured alone, merge to the results of one run, to the last digit; a share that is missing is measured, and records of other settings are refused.
#[test]
fn shares_merge_to_the_results_of_one_run() {
    let files = ["chelsea.png", "chelsea-parts.png"];
    let place = Place::new(&files.map(|file| line(file, &["cat", "sofa"])).concat());
    let all = [&METHODS[..], &["--metrics", "pointing,pxap"]].concat();
    place.eval("whole", &all).exits_with(0);
    let shares = ["1/3", "2/3", "3/3"];
    let mut measured = Vec::new();
    for (at, share) in shares.into_iter().enumerate() {
        let out = format!("share{at}");
        let said = place.eval(&out, &[&all[..], &["--shard", share]].concat()).exits_with(0);
        let lines = place.read(&format!("{out}/records.jsonl")).lines().count();
        if lines == 0 {
            said.prints(&[&format!("none of the photos belongs to share {share}")]);
        }
        measured.push(lines);
    }
    // Two photos, two categories, three methods: each photo in one share.
    assert_eq!(measured.iter().sum::<usize>(), 2 * 2 * 3, "{measured:?}");
    let directories: Vec<String> =
        (0..3).map(|at| place.0.path().join(format!("share{at}")).display().to_string()).collect();
    let directories: Vec<&str> = directories.iter().map(String::as_str).collect();
    place.eval("merged", &[&all[..], &["--merge"], &directories].concat()).exits_with(0);
    assert_eq!(place.read("merged/results.json"), place.read("whole/results.json"));
    assert_eq!(place.read("merged/records.jsonl").lines().count(), 12);

    // Photos of a share that are not there are a failure, not an empty share.
    let lost = Place::new(&line("lost.png", &["cat"]));
    lost.eval("all", &[&all[..], &["--shard", "1/1"]].concat()).exits_with(1).complains(&["lost.png"]);

    let some = measured.iter().position(|lines| *lines > 0).unwrap();
    let last: Vec<&str> = directories.iter().enumerate().filter(|(at, _)| *at != some).map(|(_, out)| *out).collect();
    place.eval("lacking", &[&all[..], &["--merge"], &last].concat()).exits_with(0);
    assert_eq!(place.read("lacking/results.json"), place.read("whole/results.json"));

    place
        .eval("other", &[&all[..], &["--margin", "8", "--merge"], &directories[some..=some]].concat())
        .exits_with(2)
        .complains(&["records", "measured with other settings"]);
    place
        .eval("none", &[&all[..], &["--merge", "nowhere"]].concat())
        .exits_with(1)
        .complains(&["nowhere", "records.jsonl"]);
}
