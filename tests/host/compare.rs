//! `decomcam compare`: what it draws, tabulates and writes.

use crate::common::measure::measured;
use crate::common::run::decomcam;
use crate::common::{cat, json};
use decomcam::metrics::Metric;
use decomcam::{Method, Options, Photo, Question, Session, SessionOptions, Size};
use tempfile::TempDir;

#[test]
fn compare_draws_and_tabulates() {
    let place = TempDir::new().unwrap();
    let out = place.path().join("out");
    let compare = || decomcam(["compare", "--text", "a cat", "--size", "96"]).arg(cat()).path("--out", &out);
    let output = compare().args(["--method", "aligned", "--method", "grad-cam,rise", "--rise-masks", "8"]).ok();
    let report = json(out.join("comparison.json"));
    let rows = report["methods"].as_array().unwrap();
    let names: Vec<&str> = rows.iter().map(|row| row["method"].as_str().unwrap()).collect();
    assert_eq!(names, ["aligned", "grad-cam", "rise"]);
    for row in rows {
        assert!(["deletion", "insertion", "average_drop", "ms"].iter().all(|key| row[key].is_f64()), "{row}");
        assert!(output.stdout.contains(row["method"].as_str().unwrap()), "{output}");
    }
    assert!(image::open(out.join("comparison.png")).unwrap().width() > 600);
    // A method is compared once, in the order in which they were first named; without any, with the usual ones.
    compare().args(["--method", "uniform,grad-cam", "--method", "uniform"]).ok();
    let rows = json(out.join("comparison.json"))["methods"].clone();
    assert_eq!((rows[0]["method"].as_str(), rows[1]["method"].as_str()), (Some("uniform"), Some("grad-cam")));
    assert_eq!(rows.as_array().map(Vec::len), Some(2));
}

/// Of several photos each is compared as it is alone, and the means are over all; a damaged one is named.
#[test]
fn several_photos_are_compared_and_their_means_told() {
    let place = TempDir::new().unwrap();
    let at = |name: &str| place.path().join(name);
    std::fs::create_dir(at("photos")).unwrap();
    image::open(cat()).unwrap().save(at("photos/cat.png")).unwrap();
    image::open(cat()).unwrap().fliph().save(at("photos/turned.png")).unwrap();
    std::fs::write(at("photos/damaged.png"), b"\x89PNG\r\n\x1a\n").unwrap();
    let compare = || decomcam(["compare", "-t", "a cat", "--size", "96", "--method", "grad-cam"]).within(place.path());
    let said =
        compare().args(["photos", "-o", "all"]).said().exits_with(1).complains(&["damaged.png", "1 of 3 photos"]);
    compare().args(["photos/turned.png", "-o", "alone"]).ok();
    let numbers = |out: &str| json(at(out).join("comparison.json"))["methods"][0]["deletion"].as_f64().unwrap();
    assert_eq!(numbers("all/turned"), numbers("alone"));
    let mean = (numbers("all/turned") + numbers("all/cat")) / 2.0;
    said.prints(&["Means over 2 photos", &format!("grad-cam        {mean:>8.3}")]);
}

/// Every number of the table is that of the map which `explain` gives of the same part of the photo, at one size and at two.
#[test]
fn every_number_is_of_explain_s_map() {
    let photo = Photo::open(cat()).unwrap();
    for (scales, args, view) in [
        (2, &["--scales", "2"][..], SessionOptions::new()),
        (1, &["--scales", "1", "--margin", "24"], SessionOptions::new().margin(24)),
    ] {
        let place = TempDir::new().unwrap();
        let compare = decomcam(["compare", "--text", "a cat", "--versus", "a dog", "--size", "96", "--step", "1024"]);
        let methods = ["--method", "exact,layer-cam,rise", "--rise-masks", "8", "--seed", "5"];
        let said = compare.args(methods).args(args).arg(cat()).path("--out", place.path()).ok();
        said.prints(&["\"a cat\" and not \"a dog\"", "with 1024 pixels at each step"]);
        let report = json(place.path().join("comparison.json"));
        assert_eq!((report["text"].as_str(), report["versus"].as_str()), (Some("a cat"), Some("a dog")));

        let session = Session::open_with("lite", &view.size(Size::square(96))).unwrap();
        let prompt = session.prompt(Question { text: "a cat", versus: Some("a dog"), score: None }).unwrap();
        for row in report["methods"].as_array().unwrap() {
            let method: Method = row["method"].as_str().unwrap().parse().unwrap();
            let options = Options::new().scales(scales).rise_masks(8).seed(5).of_method(method);
            let explanation = session.explain(&photo, &prompt, &options).unwrap();
            for metric in [Metric::Deletion, Metric::Insertion, Metric::AverageDrop] {
                let expected = measured(metric, (&session, &photo, &prompt), &explanation, None, 1024);
                assert_eq!(row[metric.name()], expected, "{scales}, {}, {}", method.name(), metric.name());
            }
        }
    }
}
