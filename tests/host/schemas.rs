//! What the command writes, against the schemas of `host/schemas`: one for all methods, and none of them lets anything pass.

use crate::common::run::decomcam;
use crate::common::schema::faults;
use crate::common::{cat, json, root};
use decomcam::Method;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

fn schema(name: &str) -> Value {
    json(root("host/schemas").join(format!("{name}.schema.json")))
}

#[track_caller]
fn conforms(name: &str, value: &Value) {
    let faults = faults(&schema(name), value);
    assert!(faults.is_empty(), "{name}: {faults:#?}\n{value:#}");
}

/// Every place of a value, and what a schema must not let stand there: nothing, something else, something more.
fn spoiled(value: &Value) -> Vec<(String, Value)> {
    fn places(value: &Value, at: &str, found: &mut Vec<String>) {
        found.push(at.into());
        match value {
            Value::Object(entries) => {
                entries.iter().for_each(|(key, v)| places(v, &format!("{at}/{}", key.replace('/', "~1")), found))
            }
            // One entry stands for all.
            Value::Array(entries) => entries.first().into_iter().for_each(|v| places(v, &format!("{at}/0"), found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    places(value, "", &mut found);
    let mut spoiled = Vec::new();
    for place in found {
        let mut other = value.clone();
        let spot = other.pointer_mut(&place).unwrap();
        *spot = if spot.is_object() { json!(true) } else { json!({ "surplus entry": 1 }) };
        spoiled.push((format!("{place} is another kind"), other));
        let mut more = value.clone();
        if let Some(entries) = more.pointer_mut(&place).unwrap().as_object_mut() {
            entries.insert("surplus entry".into(), json!(1));
            spoiled.push((format!("{place} has an entry more"), more));
        }
    }
    spoiled
}

/// Whether every spoiled copy of the value is refused.
#[track_caller]
fn is_strict(name: &str, value: &Value) {
    let schema = schema(name);
    for (what, spoiled) in spoiled(value) {
        assert!(!faults(&schema, &spoiled).is_empty(), "{name}: {what}, and passes");
    }
}

#[test]
fn one_schema_for_the_explanations_of_every_method() {
    for method in Method::all().filter(|method| *method != Method::ScoreCam) {
        let run = decomcam(["explain", "--text", "a cat", "--size", "96", "--out", "-", "--method", method.name()]);
        let run = if method == Method::Rise { run.args(["--rise-masks", "8"]) } else { run };
        let report = run.arg(cat()).ok().json();
        assert_eq!(report["method"], method.name());
        conforms("explanation", &report);
    }
    let all =
        ["explain", "--text", "a cat qzxvw", "--versus", "a dog", "--size", "96", "--integrate", "photo", "--out", "-"];
    let report = decomcam(all).arg(cat()).args(["--name-parts", "a cat", "a dog"]).ok().json();
    conforms("explanation", &report);
    is_strict("explanation", &report);
    // A recipe has parts and other methods have none.
    for (key, value) in [("method", json!("layer-cam")), ("decomposition", Value::Null), ("parts", json!([]))] {
        let mut other = report.clone();
        other[key] = value;
        assert!(!faults(&schema("explanation"), &other).is_empty(), "{key}");
    }
}

#[test]
fn frames_of_sequences() {
    let place = TempDir::new().unwrap();
    let photo = image::open(cat()).unwrap().into_rgb8();
    let clip = place.path().join("clip.png");
    fs::write(&clip, crate::common::animation::png(&[photo.clone(), image::imageops::flip_horizontal(&photo)], 20))
        .unwrap();
    let exact = ["explain", "-t", "a cat qzxvw", "--size", "96", "--frames", "all", "--check", "--name-parts", "a cat"];
    let report = decomcam(exact).path("-o", "-").arg(&clip).ok().json();
    conforms("frames", &report);
    is_strict("frames", &report);
    let other = [
        "explain", "-t", "a cat", "--versus", "a dog", "--size", "96", "--frames", "all", "--method", "grad-cam", "-o",
        "-",
    ];
    conforms("frames", &decomcam(other).arg(&clip).ok().json());
}

#[test]
fn comparisons() {
    let place = TempDir::new().unwrap();
    let run =
        decomcam(["compare", "--text", "a cat", "--versus", "a dog", "--size", "96", "--method", "exact,uniform"]);
    run.arg(cat()).path("--out", place.path()).ok();
    let report = json(place.path().join("comparison.json"));
    conforms("comparison", &report);
    is_strict("comparison", &report);
    assert_eq!(report["versus"], "a dog");
}

/// Photos of cats in folders, a damaged one among them; the cat and a sofa in annotations, and something that nobody knows.
fn data_set() -> TempDir {
    let place = TempDir::new().unwrap();
    fs::create_dir_all(place.path().join("photos/cat")).unwrap();
    for name in ["a", "b"] {
        fs::copy(cat(), place.path().join(format!("photos/cat/{name}.png"))).unwrap();
    }
    fs::write(place.path().join("photos/cat/broken.png"), "words").unwrap();
    let object = |category: &str, left: f32| {
        format!("{{\"category\": \"{category}\", \"polygon\": [{left}, 0.3, 0.6, 0.3, 0.65, 0.95, {left}, 0.95]}}")
    };
    let objects = [object("cat", 0.35), object("sofa", 0.45), object("qzxvw", 0.4)].join(", ");
    let lines = format!("{{\"image\": \"a.png\", \"objects\": [{objects}]}}\n");
    fs::write(place.path().join("annotations.jsonl"), lines).unwrap();
    place
}

fn results(place: &Path, args: &[&str], annotated: bool) -> Value {
    let out = place.join("out");
    let run =
        decomcam(["eval", "--size", "96", "--step", "2048"]).args(args).path("--photos", place.join("photos/cat"));
    let run = if annotated { run.path("--annotations", place.join("annotations.jsonl")) } else { run };
    run.path("--out", &out).said().exits_with(1).complains(&["skipped"]);
    json(out.join("results.json"))
}

#[test]
fn results_of_evaluations() {
    let place = data_set();
    let all = ["--method", "exact,grad-cam", "--metrics", "all", "--randomise", "1", "--parts"];
    let report = results(place.path(), &all, true);
    conforms("results", &report);
    is_strict("results", &report);
    for key in ["randomisation", "parts", "differences", "skipped"] {
        assert!(!report[key].is_null(), "{key}");
    }
    let chosen = ["--method", "exact", "--scales", "1", "--affinity", "off", "--channels", "9", "--components", "2"];
    conforms("results", &results(place.path(), &chosen, true));
}

#[test]
fn results_without_masks() {
    let place = data_set();
    let out = place.path().join("out");
    let run = decomcam(["eval", "--size", "96", "--step", "4096", "--method", "grad-cam"]);
    run.path("--photos", place.path().join("photos")).path("--out", &out).said().exits_with(1);
    let report = json(out.join("results.json"));
    assert!(report["settings"]["annotations_sha256"].is_null());
    conforms("results", &report);
}

#[test]
fn pools() {
    let place = data_set();
    let out = place.path().join("out");
    let run = decomcam(["pool", "cat", "--size", "96", "--name-parts", "a cat"]);
    run.path("--photos", place.path().join("photos"))
        .path("--out", &out)
        .said()
        .exits_with(1)
        .complains(&["broken.png"]);
    let report = json(out.join("cat.json"));
    conforms("pool", &report);
    is_strict("pool", &report);
}

/// The checker itself, on what it must refuse.
#[test]
fn the_checker_sees_every_fault() {
    let schema = json!({
        "type": "object", "required": ["a"], "additionalProperties": false, "propertyNames": {"maxLength": 3},
        "properties": {
            "a": {"type": "integer", "minimum": 2, "maximum": 4},
            "b": {"anyOf": [{"type": "null"}, {"enum": ["x", "y"]}]},
            "c": {"type": ["array", "null"], "minItems": 1, "maxItems": 2, "items": {"$ref": "#/$defs/word"}},
        },
        "$defs": {"word": {"type": "string", "minLength": 1}},
        "if": {"properties": {"a": {"const": 4}}}, "then": {"required": ["b"]}, "else": {"properties": {"b": {"type": "null"}}}
    });
    for good in [json!({"a": 2}), json!({"a": 4, "b": "x", "c": ["w"]}), json!({"a": 3, "b": null, "c": null})] {
        assert_eq!(faults(&schema, &good), [""; 0], "{good}");
    }
    for (bad, place) in [
        (json!([]), "/: type"),
        (json!({}), "a is missing"),
        (json!({"a": 1}), "/a: minimum"),
        (json!({"a": 5}), "/a: maximum"),
        (json!({"a": 2.5}), "/a: type"),
        (json!({"a": 2, "b": "z"}), "/b: anyOf"),
        (json!({"a": 2, "b": "x"}), "/b: type"),
        (json!({"a": 4}), "b is missing"),
        (json!({"a": 2, "c": []}), "/c: minItems"),
        (json!({"a": 2, "c": ["", "w", "w"]}), "/c: maxItems"),
        (json!({"a": 2, "c": ["w", ""]}), "/c/1: minLength"),
        (json!({"a": 2, "d": 1}), "/d: nothing may stand here"),
        (json!({"a": 2, "long": 1}), "/long: maxLength"),
    ] {
        let found = faults(&schema, &bad);
        assert!(found.iter().any(|fault| fault.contains(place)), "{bad}: {found:?}");
    }
    let unknown = std::panic::catch_unwind(|| faults(&json!({"multipleOf": 2}), &json!(3)));
    assert!(unknown.is_err(), "a keyword that is not checked must not pass");
}
