//! Questions about places, other photos and sides, from the command line: `explain` and `compare`.

use crate::common::run::{Run, decomcam};
use crate::common::schema::faults;
use crate::common::{cat, json, names, root};
use serde_json::Value;
use std::path::Path;
use tempfile::TempDir;

fn asked(command: &str, network: &str, out: &Path, more: &[&str]) -> Run {
    let model = root("tests/questions").join(format!("{network}.onnx"));
    decomcam([command]).arg(cat()).path("--model", model).path("--out", out).args(more)
}

/// The report, which fits its schema.
fn report(out: &Path, name: &str) -> Value {
    let report = json(out.join(format!("{name}.json")));
    let schema = json(root("host/schemas").join(format!("{name}.schema.json")));
    assert_eq!(faults(&schema, &report), Vec::<String>::new());
    report
}

#[test]
fn places_and_sides_are_said_and_reported() {
    let place = TempDir::new().unwrap();
    let out = place.path().join("out");
    let said = asked("explain", "yolo", &out, &["--class", "1", "--box", "2"]).ok();
    let found = report(&out, "explanation");
    assert_eq!((&found["place"]["kind"], &found["place"]["number"]), (&"box".into(), &2.into()));
    assert!(found["place"]["rect"]["height"].as_u64().unwrap() > 0);
    let top = format!("top {}", found["place"]["rect"]["top"]);
    assert!(said.stdout.contains("\"1\", box 2") && said.stdout.contains(&top), "{said}");

    // A detector is asked about its best box unless told otherwise.
    asked("explain", "yolo", &out, &["--method", "grad-cam"]).ok();
    assert_eq!(report(&out, "explanation")["place"]["number"], 1);
    asked("compare", "yolo", &out, &["--class", "1", "--method", "grad-cam", "--upsample", "bilinear"]).ok();
    let compared = report(&out, "comparison");
    assert_eq!((&compared["place"]["kind"], &compared["upsampling"]), (&"box".into(), &"bilinear".into()));

    let said = asked("explain", "unknown_boxes", &out, &["--method", "grad-cam"]).ok();
    assert!(said.stderr.contains("no box is known: "), "{said}");
    assert_eq!(report(&out, "explanation")["place"]["rect"], Value::Null);

    asked("explain", "segmentation", &out, &["--at", "150,200", "--method", "grad-cam"]).ok();
    assert_eq!(report(&out, "explanation")["place"]["row"], 150);
    asked("explain", "segmentation", &out, &["--within", "10,120,100,80", "--method", "grad-cam"]).ok();
    assert_eq!(report(&out, "explanation")["place"]["rect"]["width"], 80);
    let mask = cat().display().to_string();
    asked("explain", "segmentation", &out, &["--within", &mask, "--method", "grad-cam"]).ok();
    assert_eq!(report(&out, "explanation")["place"]["mask"], mask);

    let said = asked("explain", "value", &out, &["--side", "against", "--method", "grad-cam"]).ok();
    assert!(said.stdout.contains("evidence against \"age\""), "{said}");
    assert_eq!(report(&out, "explanation")["side"], "against");
}

#[test]
fn what_makes_two_photos_alike_is_shown_in_both() {
    let place = TempDir::new().unwrap();
    let out = place.path().join("out");
    let other = root("tests/photos/progressive.jpg").display().to_string();
    for network in ["classifier", "embedding"] {
        let said = asked("explain", network, &out, &["--like", &other, "--components", "2"]).ok();
        assert!(said.stdout.contains("progressive.jpg") && said.stdout.contains("cosine"), "{said}");
        let [first, second] = [report(&out, "explanation"), report(&out.join("like"), "explanation")];
        assert_eq!(first["like"]["path"], other);
        assert_eq!(second["photo"]["path"], other);
        assert_eq!(second["like"]["sha256"], first["photo"]["sha256"]);
        let value = |report: &Value| report["scores"]["explained"]["value"].as_f64().unwrap();
        assert!((value(&first) - value(&second)).abs() < 1e-5, "the cosine is the same from either side");
        assert!(names(&out).contains(&"alike.png".to_owned()));
    }
    asked("compare", "classifier", &out, &["--like", &other, "--method", "grad-cam,layer-cam"]).ok();
    assert_eq!(report(&out, "comparison")["like"]["path"], other);
    // A photo and itself: whether a gradient of rounding is left or none, that is said.
    let itself = cat().display().to_string();
    for model in ["classifier", "embedding"] {
        asked("explain", model, &out, &["--like", &itself]).said().complains(&["the same to the network"]);
    }
    let asked = decomcam(["explain", "--size", "96", "--like", &itself]).arg(&itself).path("--out", &out);
    asked.said().complains(&["the same to the network"]);
}

#[test]
fn questions_that_contradict_each_other_are_misused() {
    let place = TempDir::new().unwrap();
    let out = place.path().join("out");
    for (more, expected) in [
        (&["--at", "1,2", "--box", "1"][..], "--box"),
        (&["--at", "1"], "row and the column"),
        (&["--like", "a.png", "--text", "0"], "--text"),
        (&["--within", "no-such-file.png"], "top,left,height,width"),
        (&["--at", "1,2", "--ask", "class"], "--ask has no effect"),
        (&["--box", "0"], "--box"),
        (&["--side", "left"], "against"),
        (&["--upsample", "magic"], "bilinear"),
    ] {
        asked("explain", "segmentation", &out, more).misused(&[expected]);
    }
}
