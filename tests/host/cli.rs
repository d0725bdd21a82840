//! The command line from end to end: what it writes, what it says, and every kind of bad input.

use serde_json::Value;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

fn decomcam() -> Command {
    Command::new(env!("CARGO_BIN_EXE_decomcam"))
}

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

fn cat() -> PathBuf {
    root("tests/photos/chelsea.png")
}

fn run(args: &[&str]) -> Output {
    decomcam().args(args).stdin(Stdio::null()).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// `explain` on the cat at a small size, with these arguments more, into a fresh directory.
fn explain(more: &[&str]) -> (TempDir, Output) {
    let out = TempDir::new().unwrap();
    let directory = out.path().join("new/explanation");
    let output = decomcam()
        .args(["explain", "--size", "96"])
        .arg(cat())
        .arg("--out")
        .arg(&directory)
        .args(more)
        .output()
        .unwrap();
    (out, output)
}

fn written(out: &TempDir) -> PathBuf {
    out.path().join("new/explanation")
}

fn json(out: &TempDir) -> Value {
    serde_json::from_slice(&fs::read(written(out).join("explanation.json")).unwrap()).unwrap()
}

/// Shape and values of a little-endian f32 .npy file.
fn npy(path: &Path) -> (Vec<u64>, Vec<f32>) {
    let file = npyz::NpyFile::new(fs::File::open(path).unwrap()).unwrap();
    (file.shape().to_vec(), file.into_vec().unwrap())
}

fn numbers(value: &Value, key: &str) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|part| part[key].as_f64().unwrap()).collect()
}

#[test]
fn explain_writes_everything() {
    let (out, output) = explain(&["--text", "a cat", "--timings"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let mut names: Vec<String> =
        fs::read_dir(written(&out)).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["components.npy", "explanation.json", "ossms.npy", "ossms.png", "overlay.png", "saliency.npy"]);

    let report = json(&out);
    assert_eq!(report["schema_version"], 1);
    assert_eq!(report["text"], "a cat");
    assert_eq!(report["scores"]["reported"]["name"], "cosine");
    assert_eq!(report["scores"]["explained"]["name"], "posterior");
    assert_eq!(report["photo"]["sha256"], sha256(&cat()));
    assert_eq!(report["model"]["sha256"].as_str().unwrap().len(), 64);
    assert_eq!((report["photo"]["height"].as_u64(), report["photo"]["width"].as_u64()), (Some(300), Some(451)));
    let parts = report["parts"].as_array().unwrap();
    // 96 pixels give 3 x 3 positions, and twice that 6 x 6.
    let model = &report["model"];
    assert_eq!([&model["layer_height"], &model["grid_height"]].map(|side| side.as_u64()), [Some(3), Some(6)]);
    assert_eq!(parts.len(), 10);
    for (part, value) in parts.iter().zip(report["singular_values"].as_array().unwrap()) {
        assert_eq!(part["singular_value"], *value);
        let contribution = part["score"].as_f64().unwrap() - report["blurred_score"].as_f64().unwrap();
        assert!((part["contribution"].as_f64().unwrap() - contribution).abs() < 1e-5);
    }
    assert!(numbers(&report["parts"], "explained_variance").iter().sum::<f64>() <= 1.0 + 1e-6);

    let (shape, saliency) = npy(&written(&out).join("saliency.npy"));
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
    assert_eq!(npy(&written(&out).join("ossms.npy")).0, [10, 300, 451]);
    let (shape, components) = npy(&written(&out).join("components.npy"));
    assert_eq!(shape, [10, 300, 451]);
    // The saliency is the mean and the weighted sum of the components, clamped and scaled, where the model saw anything.
    let weights = numbers(&report["parts"], "weight");
    let mean = report["recipe"]["mean"].as_f64().unwrap();
    let mut sum: Vec<f64> = (0..300 * 451)
        .map(|at| {
            let parts =
                weights.iter().enumerate().map(|(q, w)| w * f64::from(components[q * 300 * 451 + at])).sum::<f64>();
            let inside = (0..10).any(|q| components[q * 300 * 451 + at] != 0.0);
            if inside { (mean + parts).max(0.0) } else { 0.0 }
        })
        .collect();
    let top = sum.iter().copied().fold(0.0, f64::max);
    sum.iter_mut().for_each(|value| *value /= top);
    assert!(sum.iter().zip(&saliency).all(|(a, b)| (a - f64::from(*b)).abs() < 1e-4));

    for (name, size) in [("overlay.png", Some((451, 300))), ("ossms.png", None)] {
        let picture = image::open(written(&out).join(name)).unwrap();
        assert!(size.is_none_or(|size| size == (picture.width(), picture.height())), "{name}");
    }
    let said = stdout(&output);
    for expected in ["a cat", "cosine", "explained: posterior", "#8", "explanation.json", "passes at both sizes"] {
        assert!(said.contains(expected), "{expected} is missing in:\n{said}");
    }
    // Standard error is not a terminal here: no progress bar.
    assert_eq!(stderr(&output), "");
}

fn sha256(path: &Path) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(fs::read(path).unwrap()).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_same_bits_on_any_number_of_threads() {
    let maps = |threads: &str| {
        let (out, output) = explain(&["--text", "a cat", "--threads", threads, "--recipe", "paper"]);
        assert!(output.status.success(), "{}", stderr(&output));
        (
            fs::read(written(&out).join("saliency.npy")).unwrap(),
            fs::read(written(&out).join("ossms.npy")).unwrap(),
            json(&out)["parts"].clone(),
        )
    };
    let one = maps("1");
    assert_eq!(maps("2"), one);
    assert_eq!(maps("7"), one);
}

#[test]
fn every_recipe_sign_fit_layer_and_score() {
    for recipe in ["aligned", "paper", "notebook", "v1", "v25"] {
        let (out, output) = explain(&["--text", "a cat", "--recipe", recipe]);
        assert!(output.status.success(), "{recipe}: {}", stderr(&output));
        let report = json(&out);
        assert_eq!(report["recipe"]["name"], recipe);
        assert_eq!(report["recipe"]["sign"], if recipe == "aligned" { "score" } else { "loading" });
        let channels = match recipe {
            "aligned" => 1280,
            "v25" => 500,
            _ => 100,
        };
        assert_eq!(report["recipe"]["channels"], channels);
    }
    for more in [
        &["--sign", "entry"][..],
        &["--fit", "pad"],
        &["--fit", "stretch"],
        &["--layer", "block10", "--components", "3"],
        &["--score", "cosine"],
        &["--integrate", "features"],
        &["--scales", "1"],
        &["--affinity", "off"],
        &["--integrate", "features", "--layer", "block10"],
        &["--channels", "5", "--components", "2"],
    ] {
        let (out, output) = explain(&[&["--text", "a cat"], more].concat());
        assert!(output.status.success(), "{more:?}: {}", stderr(&output));
        let report = json(&out);
        match more[0] {
            "--fit" => assert_eq!(
                (report["photo"]["seen"]["height"].as_u64(), report["photo"]["seen"]["width"].as_u64()),
                (Some(300), Some(451))
            ),
            "--layer" => assert_eq!(
                (report["model"]["layer_height"].as_u64(), report["parts"].as_array().unwrap().len()),
                (Some(6), 3),
                "{more:?}"
            ),
            "--integrate" => assert_eq!(report["recipe"]["integrate"], "features"),
            "--score" => assert_eq!(report["scores"]["explained"]["name"], "cosine"),
            "--channels" => assert_eq!(
                (report["recipe"]["channels"].as_u64(), report["parts"].as_array().unwrap().len()),
                (Some(5), 2)
            ),
            _ => {}
        }
    }
}

/// On a linear head the core has contributions in closed form: they must be what the desktop measures by running the head on blended features.
/// At the size that the model was calibrated for: elsewhere the clamp of a quantised pooling may bind, and the head is not linear.
#[test]
fn features_agree_with_the_core() {
    use decomcam_core::{Maps, head};
    let model = decomcam::model::Model::bundled("lite").unwrap();
    let text = decomcam::encoders::text::TextTower::load(&model).unwrap();
    // A score that is linear in the features.
    let prompt = decomcam::score::Prompt::new(&model, &text, "a cat", None, Some("evidence")).unwrap();
    let tower = decomcam::encoders::legacy::ImageTower::load_to_explain(&model, "features", (224, 224), "evidence");
    let tower = tower.unwrap().with_head(&model).unwrap();
    let photo = decomcam::photo::Photo::open(cat()).unwrap();
    let integrate = decomcam::explain::Integrate::Features;
    let request = decomcam::explain::Request { integrate, ..decomcam::explain::Request::new(2) };
    let e = decomcam::explain::explain(&model, &tower, &prompt, &photo, &request, &|_, _| ()).unwrap();
    let maps = Maps::chw(&e.layer.activations, 1280, 7, 7).unwrap();
    let (mut row, mut map) = ([0.0; 49], [0.0; 49]);
    head::first_order(&maps, &e.channel_weights, &mut row, &mut map).unwrap();
    let ossms: Vec<f32> = e.parts.iter().flat_map(|part| part.ossm.iter().copied()).collect();
    let mut want = vec![0.0; e.parts.len()];
    head::contributions(&ossms, &map, &mut row, &mut want).unwrap();
    let largest = want.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    for (part, want) in e.parts.iter().zip(want) {
        assert!(
            (part.contribution - want).abs() <= 1e-4 * largest.max(e.blurred_score.abs()),
            "{} {want}",
            part.contribution
        );
    }
}

#[test]
fn parts_get_names() {
    let (out, output) = explain(&["--text", "a cat", "--name-parts", "a cat", "a dog", "grass"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let report = json(&out);
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
    assert!(stdout(&output).contains(&format!("\"{}\" +", named[0]["text"].as_str().unwrap())));
    let (_, output) = explain(&["--text", "a cat", "--integrate", "photo", "--name-parts", "a dog"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("--integrate features"));
}

#[test]
fn versus_explains_the_difference() {
    let (out, output) = explain(&["--text", "a cat", "--versus", "a dog"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let report = json(&out);
    assert_eq!(report["versus"], "a dog");
    for score in ["reported", "explained"] {
        let value = |key: &str| report["scores"][score][key].as_f64().unwrap();
        assert!((value("text") - value("versus") - value("value")).abs() < 1e-5);
    }
    let (turned, _) = explain(&["--text", "a dog", "--versus", "a cat"]);
    let value = |report: &Value| report["scores"]["explained"]["value"].as_f64().unwrap();
    assert!((value(&report) + value(&json(&turned))).abs() < 1e-5);
    let (same, output) = explain(&["--text", "a cat", "--versus", "a cat"]);
    assert!(output.status.success());
    let warnings = json(&same)["warnings"].to_string();
    assert!(warnings.contains("no part has a positive weight"), "{warnings}");
}

#[test]
fn json_alone_on_standard_output() {
    let here = TempDir::new().unwrap();
    let output = decomcam()
        .current_dir(&here)
        .arg("explain")
        .arg(cat())
        .args(["--text", "a cat", "--size", "96", "--out", "-"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["text"], "a cat");
    assert_eq!(fs::read_dir(&here).unwrap().count(), 0);
}

#[test]
fn unknown_words_are_warned_of() {
    let (out, output) = explain(&["--text", "a cat qzxvw"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stdout(&output).contains("warning: unknown to the model"), "{}", stdout(&output));
    assert!(json(&out)["warnings"].to_string().contains("qzxvw"));
}

#[test]
fn rank_sorts_texts() {
    let photo = cat();
    let photo = photo.to_str().unwrap();
    let args = ["rank", photo, "--text", "a truck", "--text", "a cat", "--text", "a dog", "--text", "a volcano"];
    let output = run(&[&args[..], &["--json"]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    let ranked: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(ranked[0]["text"], "a cat");
    let probabilities = numbers(&ranked, "probability");
    assert!(
        (probabilities.iter().sum::<f64>() - 1.0).abs() < 1e-6 && probabilities.is_sorted_by(|a, b| a >= b),
        "{probabilities:?}"
    );
    let output = run(&args);
    let table = stdout(&output);
    let texts: Vec<&str> =
        table.lines().skip(1).map(|line| line.split_at(line.find("  a ").unwrap()).1.trim()).collect();
    assert_eq!(texts[0], "a cat", "{table}");
    assert_eq!(texts.len(), 4);
}

#[test]
fn models_lists_what_is_bundled() {
    let output = run(&["models"]);
    assert!(output.status.success());
    for expected in [
        "lite",
        "layer features: 1280 x 7 x 7, default",
        "block10: 112 x 14 x 14",
        "score posterior (explained)",
        "image.onnx",
        "Apache-2.0",
    ] {
        assert!(stdout(&output).contains(expected), "{expected} is missing in:\n{}", stdout(&output));
    }
    let directory = root("models/lite");
    let from_directory = run(&["models", directory.to_str().unwrap()]);
    assert_eq!(stdout(&from_directory), stdout(&output));
}

#[test]
fn bench_measures() {
    let photo = cat();
    let output = run(&["bench", photo.to_str().unwrap(), "--text", "a cat", "--size", "96", "--repeat", "2", "--json"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let bench: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(bench["repeats"], 2);
    assert!(bench["warm_ms"].as_f64().unwrap() > 0.0 && bench["cold_ms"].as_f64() > bench["warm_ms"].as_f64());
    assert!((0.0..1.0).contains(&bench["outside_network"].as_f64().unwrap()));
    let stages: Vec<&str> =
        bench["stages"].as_array().unwrap().iter().map(|stage| stage["stage"].as_str().unwrap()).collect();
    assert!(stages.contains(&"decompose") && stages.contains(&"masks"), "{stages:?}");
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let mut child = decomcam().arg("models").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(said, "");
}

#[test]
fn usage_errors_exit_with_2() {
    let photo = cat();
    let photo = photo.to_str().unwrap();
    for (args, expected) in [
        (&["explain", photo][..], "--text"),
        (&["explain", photo, "--text", "a cat", "--recipe", "magic"], "aligned"),
        (&["explain", photo, "--text", "a cat", "--sign", "magic"], "loading"),
        (&["explain", photo, "--text", "a cat", "--fit", "magic"], "stretch"),
        (&["explain", photo, "--text", "a cat", "--threads", "0"], "threads"),
        (&["explain", photo, "--text", "a cat", "--components", "-1"], "-1"),
        (&["bench", photo, "--text", "a cat", "--repeat", "0"], "repeat"),
        (&["rank", photo], "--text"),
        (&["paint", photo], "paint"),
    ] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(stderr(&output).contains(expected), "{args:?}: {}", stderr(&output));
    }
}

/// Runs `explain` with a photo and more arguments; it must fail with 1, one line that holds all of `expected`, and nothing written.
fn refused(photo: &Path, more: &[&str], expected: &[&str]) {
    let out = TempDir::new().unwrap();
    let directory = out.path().join("explanation");
    let output = decomcam().arg("explain").arg(photo).arg("--out").arg(&directory).args(more).output().unwrap();
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{more:?}: {said}");
    assert!(said.starts_with("decomcam: ") && said.trim_end().lines().count() == 1, "{more:?}: {said}");
    for expected in expected {
        assert!(said.contains(expected), "{expected} is missing in: {said}");
    }
    assert_eq!(stdout(&output), "");
    assert!(!directory.exists() || fs::read_dir(&directory).unwrap().count() == 0);
}

#[test]
fn bad_photos_are_refused() {
    let text = ["--text", "a cat"];
    let place = TempDir::new().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = place.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    refused(&place.path().join("missing.png"), &text, &["missing.png"]);
    refused(place.path(), &text, &["directory"]);
    refused(&file("empty.jpg", b""), &text, &["empty.jpg", "empty"]);
    refused(&file("words.png", b"this is no photo"), &text, &["words.png", "JPEG, PNG, WebP, BMP or GIF"]);
    let whole = fs::read(cat()).unwrap();
    refused(&file("cut.png", &whole[..whole.len() / 2]), &text, &["cut.png"]);
    // A header that announces 60,000 x 60,000 pixels: refused before memory is taken.
    let mut absurd = whole.clone();
    absurd[16..20].copy_from_slice(&60_000u32.to_be_bytes());
    absurd[20..24].copy_from_slice(&60_000u32.to_be_bytes());
    let crc = crc32(&absurd[12..29]);
    absurd[29..33].copy_from_slice(&crc.to_be_bytes());
    refused(&file("absurd.png", &absurd), &text, &["absurd.png", "60000"]);
}

/// The checksum of a PNG chunk, so that the changed header is a valid one.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 })
    })
}

#[test]
fn bad_requests_are_refused() {
    let cat = cat();
    refused(&cat, &["--text", "12345 !!"], &["12345 !!"]);
    refused(&cat, &["--text", ""], &["\"\""]);
    refused(&cat, &["--text", "qzxvw"], &["qzxvw"]);
    refused(&cat, &["--text", "a cat", "--versus", "qzxvw"], &["qzxvw"]);
    refused(&cat, &["--text", "a cat", "--layer", "nowhere"], &["nowhere", "features", "block10"]);
    refused(&cat, &["--text", "a cat", "--score", "beauty"], &["beauty", "cosine", "evidence"]);
    refused(&cat, &["--text", "a cat", "--size", "96", "--channels", "0"], &["--channels 0", "1 to 1280"]);
    refused(&cat, &["--text", "a cat", "--size", "96", "--channels", "1281"], &["1281", "1 to 1280"]);
    refused(&cat, &["--text", "a cat", "--size", "96", "--components", "0"], &["--components 0", "1 to 35"]);
    refused(&cat, &["--text", "a cat", "--size", "96", "--components", "36"], &["--components 36", "1 to 35"]);
    refused(&cat, &["--text", "a cat", "--size", "32", "--scales", "1"], &["one position"]);
    refused(&cat, &["--text", "a cat", "--size", "100"], &["--size", "multiple of 32", "100"]);
    refused(&cat, &["--text", "a cat", "--size", "1000000"], &["--size", "1000000"]);
    refused(&cat, &["--text", "a cat", "--model", "nothing"], &["nothing", "lite"]);
}

#[test]
fn damaged_models_are_refused() {
    let copy = || {
        let place = TempDir::new().unwrap();
        for file in ["image.onnx", "text.onnx", "vocab.txt", "model.toml"] {
            fs::copy(root("models/lite").join(file), place.path().join(file)).unwrap();
        }
        place
    };
    let with = |place: &TempDir, expected: &[&str]| {
        refused(&cat(), &["--text", "a cat", "--size", "96", "--model", place.path().to_str().unwrap()], expected);
    };
    let place = copy();
    let (out, output) = explain(&["--text", "a cat", "--model", place.path().to_str().unwrap()]);
    assert!(output.status.success() && written(&out).join("overlay.png").exists(), "{}", stderr(&output));

    fs::remove_file(place.path().join("vocab.txt")).unwrap();
    with(&place, &["vocab.txt"]);

    let place = copy();
    let whole = fs::read(place.path().join("image.onnx")).unwrap();
    fs::write(place.path().join("image.onnx"), &whole[..whole.len() / 2]).unwrap();
    with(&place, &["image.onnx", "SHA-256"]);

    let place = copy();
    fs::write(place.path().join("model.toml"), "schema = 1\nname = 7\n").unwrap();
    with(&place, &["model.toml"]);

    with(&TempDir::new().unwrap(), &["model.toml"]);
}

#[test]
fn bad_output_directories_are_refused() {
    let explain_into = |out: &Path| {
        decomcam()
            .arg("explain")
            .arg(cat())
            .args(["--text", "a cat", "--size", "96", "--out"])
            .arg(out)
            .output()
            .unwrap()
    };
    // Below a file no directory can be made, not even by root.
    let place = TempDir::new().unwrap();
    let file = place.path().join("file");
    fs::write(&file, "x").unwrap();
    for out in [file.clone(), file.join("below")] {
        let output = explain_into(&out);
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains("--out"), "{}", stderr(&output));
    }
    // A directory where a file should go: refused, and none of the others appears.
    let directory = place.path().join("out");
    fs::create_dir_all(directory.join("saliency.npy")).unwrap();
    let output = explain_into(&directory);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("saliency.npy"), "{}", stderr(&output));
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
}

#[test]
fn capture_and_replay() {
    let place = TempDir::new().unwrap();
    for more in [&["--floats"][..], &[], &["--recipe", "paper"], &["--layer", "block10", "--components", "4"]] {
        let capsule = place.path().join("cat.capsule");
        let output = decomcam()
            .arg("capture")
            .arg(cat())
            .args(["--text", "a cat", "--size", "96", "--out"])
            .arg(&capsule)
            .args(more)
            .output()
            .unwrap();
        assert!(output.status.success(), "{more:?}: {}", stderr(&output));
        let output = run(&["replay", capsule.to_str().unwrap()]);
        assert!(output.status.success(), "{more:?}: {}", stderr(&output));
        assert_eq!(stdout(&output).matches(" equal\n").count(), 10, "{}", stdout(&output));
    }
    let capsule = place.path().join("cat.capsule");
    let whole = fs::read(&capsule).unwrap();
    let replay_of = |bytes: &[u8]| {
        fs::write(&capsule, bytes).unwrap();
        let output = run(&["replay", capsule.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(1));
        stderr(&output)
    };
    assert!(replay_of(b"words").contains("no capsule"));
    assert!(replay_of(&whole[..whole.len() / 2]).contains("damaged"));
    let mut changed = whole.clone();
    changed[whole.len() / 2] ^= 1;
    assert!(replay_of(&changed).contains("damaged"));
    let mut other = whole.clone();
    other[8] = 9;
    assert!(replay_of(&other).contains("another version"));
    assert!(stderr(&run(&["replay", place.path().join("missing").to_str().unwrap()])).contains("missing"));
}

#[test]
fn budget_states_memory() {
    let output = run(&["budget", "--positions", "49", "--channels", "1280", "--top", "100", "--components", "10"]);
    assert!(output.status.success());
    let words = stdout(&output);
    let bytes: usize = words.lines().next().unwrap().split_whitespace().rev().nth(1).unwrap().parse().unwrap();
    assert_eq!(bytes, 4 * decomcam_core::decompose::workspace_len(49, 100));
    // The bar: 7 x 7 positions with Q 10 take at most 24 KB, whatever the channels.
    assert!(bytes <= 24 * 1024 && 4 * decomcam_core::decompose::workspace_len(49, 65_536) <= 24 * 1024);
    // What was measured on boards stands below.
    for wanted in ["Cortex-M4F", "RV32IMAC", "1280x7x7 P 100 Q 10, bytes", "flash, bytes", "stack with P 100, bytes"] {
        assert!(words.contains(wanted), "{wanted}: {words}");
    }
    assert!(!words.contains(" - "), "{words}");
    for (args, expected) in [(["--top", "2000"], "1 to 1280"), (["--components", "49"], "1 to 48")] {
        let output = run(&[&["budget"], &args[..]].concat());
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains(expected), "{}", stderr(&output));
    }
}
