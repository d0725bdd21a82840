//! `decomcam explain`: what it writes and what it says.

use super::{SIZE, explain};
use crate::common::run::decomcam;
use crate::common::{cat, json, names, npy, numbers, sha256};
use serde_json::Value;
use std::fs;
use tempfile::TempDir;

#[test]
fn explain_writes_everything() {
    let place = TempDir::new().unwrap();
    let out = place.path().join("new/explanation");
    let said = explain(&["--text", "a cat", "--timings", "--verbose", "--arrays", "photo"]).path("--out", &out).ok();
    assert_eq!(
        names(&out),
        [
            "components.npy",
            "explanation.json",
            "heatmap.png",
            "mask.png",
            "ossms.npy",
            "overlay.png",
            "parts.png",
            "report.html",
            "saliency.npy"
        ]
    );

    let report = json(out.join("explanation.json"));
    assert_eq!(report["schema_version"], 2);
    assert_eq!(report["text"], "a cat");
    assert_eq!(report["scores"]["reported"]["name"], "cosine");
    assert_eq!(report["scores"]["explained"]["name"], "posterior");
    assert_eq!(report["photo"]["sha256"], sha256(cat()));
    assert_eq!(report["model"]["sha256"].as_str().unwrap().len(), 64);
    assert_eq!((report["photo"]["height"].as_u64(), report["photo"]["width"].as_u64()), (Some(300), Some(451)));
    let parts = report["parts"].as_array().unwrap();
    // 96 pixels give 3 x 3 positions, and twice that 6 x 6.
    let decomposition = &report["decomposition"];
    let heights = [&report["model"]["layer_height"], &decomposition["grid_height"]];
    assert_eq!(heights.map(Value::as_u64), [Some(3), Some(6)]);
    assert_eq!(parts.len(), 10);
    for (part, value) in parts.iter().zip(decomposition["singular_values"].as_array().unwrap()) {
        assert_eq!(part["singular_value"], *value);
        let contribution = part["score"].as_f64().unwrap() - decomposition["baseline"]["score"].as_f64().unwrap();
        assert!((part["contribution"].as_f64().unwrap() - contribution).abs() < 1e-5);
    }
    assert!(numbers(&report["parts"], "explained_variance").iter().sum::<f64>() <= 1.0 + 1e-6);

    let (shape, saliency) = npy(out.join("saliency.npy"));
    assert_eq!(shape, [300, 451]);
    assert_eq!(saliency.iter().copied().fold(f32::MAX, f32::min), 0.0);
    assert_eq!(saliency.iter().copied().fold(0.0, f32::max), 1.0);
    // What the model did not see has no saliency; what it saw is where the report says.
    let seen = |key: &str| report["photo"]["seen"][key].as_u64().unwrap() as usize;
    assert!(seen("width") < 451);
    for (at, value) in saliency.iter().enumerate() {
        let (y, x) = (at / 451, at % 451);
        let inside = (seen("top")..seen("top") + seen("height")).contains(&y)
            && (seen("left")..seen("left") + seen("width")).contains(&x);
        assert!(inside || *value == 0.0, "({y}, {x})");
    }
    assert_eq!(npy(out.join("ossms.npy")).0, [10, 300, 451]);
    let (shape, components) = npy(out.join("components.npy"));
    assert_eq!(shape, [10, 300, 451]);
    // The saliency is the mean and the weighted sum of the components, clamped and scaled to 0..=1, where the model saw anything.
    let weights = numbers(&report["parts"], "weight");
    let mean = decomposition["mean"].as_f64().unwrap();
    let sum = |at: usize| -> f64 {
        let parts = weights.iter().enumerate().map(|(q, w)| w * f64::from(components[q * 300 * 451 + at]));
        (mean + parts.sum::<f64>()).max(0.0)
    };
    let inside: Vec<usize> =
        (0..300 * 451).filter(|at| (seen("left")..seen("left") + seen("width")).contains(&(at % 451))).collect();
    assert_eq!((seen("top"), seen("height")), (0, 300));
    let (low, high) =
        inside.iter().fold((f64::MAX, 0.0_f64), |(low, high), at| (low.min(sum(*at)), high.max(sum(*at))));
    for at in inside {
        let expected = (sum(at) - low) / (high - low);
        assert!((expected - f64::from(saliency[at])).abs() < 1e-4, "{at}: {expected}, found {}", saliency[at]);
    }

    // The heat map is the saliency in 256 levels, the mask the upper half of it, the boxes surround the mask.
    let grey = |name: &str| image::open(out.join(name)).unwrap().into_luma8();
    let (heat, mask) = (grey("heatmap.png"), grey("mask.png"));
    assert_eq!((heat.dimensions(), mask.dimensions()), ((451, 300), (451, 300)));
    for ((heat, mask), value) in heat.iter().zip(mask.iter()).zip(&saliency) {
        assert!((f32::from(*heat) - 255.0 * value).abs() <= 0.51, "{heat} {value}");
        assert!(*mask == if *value >= 0.5 { 255 } else { 0 } || (*value - 0.5).abs() < 1e-6, "{mask} {value}");
    }
    assert_eq!(report["map"]["threshold"], 0.5);
    let regions = report["map"]["regions"].as_array().unwrap();
    let inside = |region: &Value, at: usize| {
        let edge = |key: &str| region[key].as_u64().unwrap() as usize;
        let (y, x) = (at / 451, at % 451);
        (edge("top")..edge("top") + edge("height")).contains(&y)
            && (edge("left")..edge("left") + edge("width")).contains(&x)
    };
    for (at, value) in saliency.iter().enumerate() {
        assert!(*value < 0.5 || regions.iter().any(|region| inside(region, at)), "{at}");
    }
    assert!(parts.iter().all(|part| !part["regions"].as_array().unwrap().is_empty()));
    let shares = numbers(&report["parts"], "share");
    assert!((shares.iter().map(|share| share.max(0.0)).sum::<f64>() - 1.0).abs() < 1e-5, "{shares:?}");
    for name in ["overlay.png", "parts.png"] {
        assert!(image::open(out.join(name)).unwrap().width() > 451, "{name}");
    }
    let named: Vec<&str> = report["files"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert_eq!(
        named.iter().copied().collect::<std::collections::BTreeSet<_>>().into_iter().collect::<Vec<_>>(),
        names(&out)
    );
    let said = said.prints(&[
        "The model sees \"a cat\" in this photo (cosine 0.",
        "of what speaks for it",
        "Check: hiding the brightest 20%",
        "explained: posterior",
        "#8",
        "explanation.json",
        "passes at both sizes",
        "passes of the check",
    ]);
    // Standard error is not a terminal here: no progress bar.
    assert_eq!(said.stderr, "");
}

/// Threads share rows of the photo, passes and masks; no bit depends on how.
#[test]
fn the_same_bits_on_any_number_of_threads() {
    let files = |threads: &str| {
        let out = TempDir::new().unwrap();
        let given = ["--text", "a cat", "--threads", threads, "--recipe", "paper", "--arrays", "photo"];
        explain(&given).path("--out", out.path()).ok();
        let bytes = ["saliency.npy", "ossms.npy", "overlay.png", "parts.png", "heatmap.png"]
            .map(|file| fs::read(out.path().join(file)).unwrap());
        (bytes, json(out.path().join("explanation.json"))["parts"].clone())
    };
    let one = files("1");
    assert_eq!(files("2"), one);
    assert_eq!(files("7"), one);
}

#[test]
fn recipes_choose_channels_and_sign() {
    for (recipe, channels, sign) in [
        ("exact", 1280, "score"),
        ("aligned", 1280, "score"),
        ("paper", 100, "loading"),
        ("notebook", 100, "loading"),
        ("v1", 100, "loading"),
        ("v25", 500, "loading"),
    ] {
        let report = explain(&["--text", "a cat", "--out", "-", "--recipe", recipe]).ok().json();
        assert_eq!(report["method"], recipe);
        assert_eq!(report["decomposition"]["sign"], sign, "{recipe}");
        assert_eq!(report["decomposition"]["channels"], channels, "{recipe}");
    }
}

/// Every option that shapes an explanation, what the report must say of it, and that its numbers are others than without it.
#[test]
fn options_are_heeded() {
    let report = |more: &[&str]| explain(&["--text", "a cat", "--out", "-"]).args(more).ok().json();
    let plain = report(&[]);
    let numbers_of =
        |report: &Value| ["singular_value", "contribution", "weight"].map(|key| numbers(&report["parts"], key));
    let at = |report: &Value, path: &str| report.pointer(path).unwrap_or_else(|| panic!("{path}: {report}")).clone();
    type Case<'c> = (&'c [&'c str], &'c [(&'c str, Value)]);
    let cases: [Case<'_>; 14] = [
        (
            &["--one-sided", "on"],
            &[("/decomposition/one_sided", true.into()), ("/decomposition/sign", "larger".into())],
        ),
        (&["--sign", "entry"], &[("/decomposition/sign", "entry".into())]),
        (&["--sign", "loading"], &[("/decomposition/sign", "loading".into())]),
        (&["--fit", "pad"], &[("/photo/seen/width", 451.into())]),
        (&["--fit", "stretch"], &[("/photo/seen/width", 451.into())]),
        (&["--margin", "32"], &[("/photo/seen/height", 225.into()), ("/photo/seen/width", 225.into())]),
        (&["--refine", "off"], &[("/map/refined_by", Value::Null), ("/map/height", 6.into())]),
        (&["--layer", "block10"], &[("/model/layer", "block10".into()), ("/model/layer_height", 6.into())]),
        (&["--score", "cosine"], &[("/scores/explained/name", "cosine".into())]),
        (
            &["--integrate", "photo"],
            &[("/decomposition/integrate", "photo".into()), ("/decomposition/baseline/of", "the blurred photo".into())],
        ),
        (&["--scales", "1"], &[("/decomposition/scales", 1.into()), ("/decomposition/grid_height", 3.into())]),
        (&["--affinity", "off"], &[("/decomposition/affinity", false.into())]),
        (&["--channels", "5"], &[("/decomposition/channels", 5.into())]),
        (&["--components", "2"], &[("/parts/1/number", 2.into())]),
    ];
    for (more, expected) in cases {
        let report = report(more);
        for (path, value) in expected {
            assert_ne!(
                plain.pointer(path),
                (*path != "/parts/1/number").then_some(value),
                "{more:?}, {path}: the default"
            );
            assert_eq!(at(&report, path), *value, "{more:?}, {path}");
        }
        // What refines the finished map leaves the parts alone.
        assert_eq!(numbers_of(&report) == numbers_of(&plain), more[0] == "--refine", "{more:?}");
    }
    assert_eq!(at(&report(&["--components", "2"]), "/parts").as_array().map(Vec::len), Some(2));
    // Of both signs of a component one is kept: signs are those of the photo's own parts.
    let flipped = report(&["--sign", "entry"]);
    let singular = |report: &Value| numbers(&report["parts"], "singular_value");
    assert_eq!(singular(&flipped), singular(&plain));
}

#[test]
fn parts_get_names() {
    let place = TempDir::new().unwrap();
    let said =
        explain(&["--text", "a cat", "--name-parts", "a cat", "a dog", "grass"]).path("--out", place.path()).ok();
    let report = json(place.path().join("explanation.json"));
    let parts = report["parts"].as_array().unwrap();
    let named: Vec<&Value> = parts.iter().map(|part| &part["name"]).filter(|name| !name.is_null()).collect();
    assert!(!named.is_empty());
    assert!(named.iter().all(|name| name["gain"].as_f64().unwrap() > 0.0));
    // On its own score a name gains what the part contributes.
    for part in parts.iter().filter(|part| part["name"]["text"] == "a cat") {
        let (gain, contribution) = (part["name"]["gain"].as_f64().unwrap(), part["contribution"].as_f64().unwrap());
        assert!((gain - contribution).abs() < 1e-4, "{part}");
    }
    assert!(named.iter().any(|name| name["text"] == "a cat"));
    said.prints(&[&format!("\"{}\"", named[0]["text"].as_str().unwrap())]);
    // Names are measured in the layer, wherever contributions are.
    let photo = ["--text", "a cat", "--out", "-", "--integrate", "photo", "--name-parts", "a cat", "a dog", "grass"];
    let elsewhere = explain(&photo).ok().json();
    let names = |report: &Value| -> Vec<Value> {
        report["parts"].as_array().unwrap().iter().map(|part| part["name"].clone()).collect()
    };
    assert_eq!(names(&elsewhere), names(&report));
}

/// The difference of two texts: in the report, on the terminal and in numbers, for recipes and other methods alike.
#[test]
fn versus_explains_the_difference() {
    for method in ["exact", "layer-cam", "uniform"] {
        let place = TempDir::new().unwrap();
        let run = |text, versus| explain(&["--method", method, "--text", text, "--versus", versus]);
        let said = run("a cat", "a dog").path("--out", place.path()).ok();
        said.prints(&["The model finds more of \"a cat\" than of \"a dog\" in this photo"]);
        let report = json(place.path().join("explanation.json"));
        assert_eq!((&report["text"], &report["versus"]), (&Value::from("a cat"), &Value::from("a dog")));
        for score in ["reported", "explained"] {
            let value = |key: &str| report["scores"][score][key].as_f64().unwrap();
            assert!((value("text") - value("versus") - value("value")).abs() < 1e-5, "{method}");
        }
        let turned = run("a dog", "a cat").args(["--out", "-"]).ok().json();
        let value = |report: &Value| report["scores"]["explained"]["value"].as_f64().unwrap();
        assert!(value(&report).abs() > 1e-3 && (value(&report) + value(&turned)).abs() < 1e-5, "{method}");
    }
    let same = explain(&["--text", "a cat", "--versus", "a cat", "--out", "-"]).ok().json();
    let warnings = same["warnings"].to_string();
    assert!(warnings.contains("gradient of the score is zero everywhere"), "{warnings}");
    assert!(explain(&["--text", "a cat", "--out", "-"]).ok().json()["versus"].is_null());
}

#[test]
fn json_alone_on_standard_output() {
    let here = TempDir::new().unwrap();
    let said = explain(&["--text", "a cat", "--out", "-"]).within(&here).ok();
    assert_eq!(said.json()["text"], "a cat");
    assert_eq!((names(&here).len(), &*said.stderr), (0, ""));
}

#[test]
fn unknown_words_are_warned_of() {
    let place = TempDir::new().unwrap();
    let said = explain(&["--text", "a cat qzxvw"]).path("--out", place.path()).ok();
    said.complains(&["warning: the model does not know these words of", "qzxvw"]);
    assert!(json(place.path().join("explanation.json"))["warnings"].to_string().contains("qzxvw"));
}

/// Other methods write the same report, their map and its picture; there are no parts.
#[test]
fn another_method_gives_one_map() {
    let place = TempDir::new().unwrap();
    let said = explain(&["--text", "a cat", "--method", "ablation-cam"]).path("--out", place.path()).ok();
    said.prints(&["The map of ablation-cam shows where that comes from."]);
    let pictures = ["explanation.json", "heatmap.png", "mask.png", "overlay.png", "report.html"];
    assert_eq!(names(&place), pictures);
    let report = json(place.path().join("explanation.json"));
    assert_eq!((report["method"].as_str(), report["text"].as_str()), (Some("ablation-cam"), Some("a cat")));
    assert!(report["decomposition"].is_null() && report["parts"].as_array().unwrap().is_empty());
    // Arrays of other sizes: of the input, and of the map as it was computed, which is then upsampled.
    for (arrays, expected) in [("input", [96, 96]), ("grid", [3, 3])] {
        let given = ["--text", "a cat", "--method", "ablation-cam", "--arrays", arrays];
        explain(&given).path("--out", place.path()).ok();
        let (shape, values) = npy(place.path().join("saliency.npy"));
        assert_eq!(shape, expected);
        assert!(arrays == "grid" || (values.contains(&1.0) && values.iter().all(|value| (0.0..=1.0).contains(value))));
    }
    // What the last explanation left and this one does not write goes away; what is not the program's stays.
    fs::write(place.path().join("notes.npy"), "mine").unwrap();
    explain(&["--text", "a cat", "--method", "grad-cam"]).path("--out", place.path()).ok();
    let left: Vec<String> = names(&place);
    assert_eq!(left, ["explanation.json", "heatmap.png", "mask.png", "notes.npy", "overlay.png", "report.html"]);
    // A recipe's name is a method's too.
    let [recipe, method] =
        ["--recipe", "--method"].map(|option| explain(&["--text", "a cat", "--out", "-", option, "paper"]).ok().json());
    assert_eq!((&recipe["method"], &recipe["parts"]), (&method["method"], &method["parts"]));
    decomcam(["explain", "--text", "a cat", "--method", "paper", "--recipe", "v1"])
        .args(SIZE)
        .arg(cat())
        .misused(&["--recipe"]);
}

/// Control characters of a prompt, which could steer a terminal, are shown as the sign for an unknown letter, or escaped in JSON.
#[test]
fn a_prompt_cannot_steer_the_terminal() {
    let prompt = "a cat\u{1b}[31m\u{9b}2J\u{202e}";
    let steers =
        |text: &str| text.chars().any(|letter| (letter.is_control() && letter != '\n') || letter == '\u{202e}');
    let place = TempDir::new().unwrap();
    let said = explain(&["--text", prompt, "--verbose"]).path("--out", place.path()).ok();
    assert!(!steers(&said.stdout) && !steers(&said.stderr), "{said}");
    let said = explain(&["--text", prompt, "--out", "-"]).ok();
    assert!(!steers(&said.stdout), "{said}");
    assert_eq!(said.json()["text"], prompt, "nothing is lost");
    let said = explain(&["--text", "qzxvw\u{1b}[31m", "--out", "-"]).said().exits_with(1);
    assert!(!steers(&said.stderr), "{said}");
}

/// The check is part of every explanation unless it is left out, and a map that marks nothing has none.
#[test]
fn the_check_is_reported_and_can_be_left_out() {
    let report = |more: &[&str]| explain(&["--text", "a cat", "--out", "-"]).args(more).ok().json();
    let check = &report(&[])["check"];
    let scores = &check["scores"];
    let score = |key: &str| scores[key].as_f64().unwrap();
    let lost = (score("photo") - score("brightest_hidden")) / (score("photo") - score("blurred"));
    assert!((check["lost"].as_f64().unwrap() - lost).abs() < 1e-5, "{check}");
    assert!(report(&["--no-check"])["check"].is_null());
    assert!(report(&["--method", "uniform"])["check"].is_null());
}

/// With `--versus` the map has two sides: white and black in the heat map, and boxes for both.
#[test]
fn a_difference_has_two_sides() {
    let place = TempDir::new().unwrap();
    let given = ["--text", "a cat", "--versus", "a sofa", "--threshold", "0.05", "--arrays", "photo"];
    explain(&given).path("--out", place.path()).ok().prints(&["for \"a cat\""]);
    let heat = image::open(place.path().join("heatmap.png")).unwrap().into_luma8();
    let report = json(place.path().join("explanation.json"));
    let boxes = |key: &str| report["map"][key].as_array().unwrap().len();
    let (low, high) = (heat.iter().min().unwrap(), heat.iter().max().unwrap());
    assert!(*low == 1 || *high == 255, "{low} {high}");
    assert_eq!((boxes("regions") > 0, boxes("regions_versus") > 0), (*high > 135, *low < 121), "{low} {high}");
    let (_, values) = npy(place.path().join("saliency.npy"));
    for (heat, value) in heat.iter().zip(&values) {
        assert!((f32::from(*heat) - 128.0 - 127.0 * value).abs() <= 0.51, "{heat} {value}");
    }
    // What was not seen is neither.
    assert_eq!(heat.get_pixel(0, 150).0, [128]);
    explain(&["--text", "a cat", "--threshold", "0", "--out", "-"]).misused(&["--threshold"]);
    explain(&["--text", "a cat", "--alpha", "2", "--out", "-"]).misused(&["opacity"]);
    explain(&["--text", "a cat", "--colormap", "jet", "--out", "-"]).misused(&["inferno"]);
}

/// Boxes of long and narrow photos surround what the mask marks, as exactly as those of others, and never what the model did not see.
#[test]
fn boxes_fit_long_and_narrow_photos() {
    let place = TempDir::new().unwrap();
    let photo = place.path().join("narrow.png");
    let cat = image::open(cat()).unwrap();
    for (height, width) in [(1200, 12), (20, 2000)] {
        cat.resize_exact(width, height, image::imageops::FilterType::Triangle).save(&photo).unwrap();
        for fit in ["stretch", "crop"] {
            let out = place.path().join(fit);
            let given = ["explain", "--text", "a cat", "--no-check", "--arrays", "photo", "--fit", fit];
            decomcam(given).args(SIZE).arg(&photo).path("--out", &out).ok();
            let (report, (_, saliency)) = (json(out.join("explanation.json")), npy(out.join("saliency.npy")));
            let edges = |of: &Value| ["top", "left", "height", "width"].map(|key| of[key].as_u64().unwrap() as usize);
            let inside = |[top, left, height, width]: [usize; 4], (y, x): (usize, usize)| {
                (top..top + height).contains(&y) && (left..left + width).contains(&x)
            };
            let at = |index: usize| (index / width as usize, index % width as usize);
            let marked: Vec<usize> = (0..saliency.len()).filter(|index| saliency[*index] >= 0.5).collect();
            let seen = edges(&report["photo"]["seen"]);
            let least = seen[2].max(seen[3]) as f64 / 512.0 + 1.0;
            let sum: f64 = saliency.iter().map(|value| f64::from(*value)).sum();
            let mut share = 0.0;
            for region in report["map"]["regions"].as_array().unwrap() {
                let bounds = edges(region);
                let mine: Vec<usize> = marked.iter().copied().filter(|index| inside(bounds, at(*index))).collect();
                let (rows, columns) = (mine.iter().map(|index| at(*index).0), mine.iter().map(|index| at(*index).1));
                let extents = [
                    (bounds[0], rows.clone().min()),
                    (bounds[0] + bounds[2] - 1, rows.max()),
                    (bounds[1], columns.clone().min()),
                    (bounds[1] + bounds[3] - 1, columns.max()),
                ];
                for (said, found) in extents {
                    assert!(
                        found.is_some_and(|found| (said as f64 - found as f64).abs() <= least),
                        "{fit}: {said}, {found:?}"
                    );
                }
                share += region["share"].as_f64().unwrap();
            }
            assert!(marked.iter().all(|index| {
                let regions = report["map"]["regions"].as_array().unwrap();
                inside(seen, at(*index)) && regions.iter().any(|region| inside(edges(region), at(*index)))
            }));
            let expected = marked.iter().map(|index| f64::from(saliency[*index])).sum::<f64>() / sum;
            assert!((share - expected).abs() < 0.02, "{fit}: {share}, expected {expected}");
        }
    }
}

/// A limit of the shell on the length of files is told as a full disk is, and nothing half stays behind.
#[cfg(unix)]
#[test]
fn files_that_may_not_grow_are_refused_in_words() {
    let place = TempDir::new().unwrap();
    let program = explain(&["--text", "a cat", "--no-check", "--out", "out"]).command();
    let mut limited = std::process::Command::new("sh");
    limited.args(["-c", "ulimit -f 4; exec \"$0\" \"$@\""]).arg(program.get_program()).args(program.get_args());
    let limited = crate::common::run::Run::from(limited).within(&place);
    limited.refused(&["cannot write `out/", "is there space on the disk?", "File too large"]);
    assert!(names(place.path().join("out")).is_empty());
}
