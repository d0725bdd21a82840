//! `decomcam rank`.

use crate::common::run::decomcam;
use crate::common::{cat, numbers, root};

#[test]
fn rank_sorts_texts() {
    let texts = ["--text", "a truck", "--text", "a cat", "--text", "a dog", "--text", "a volcano"];
    let rank = || decomcam(["rank"]).args(texts).arg(cat());
    let ranked = rank().args(["--json"]).ok().json();
    assert_eq!(ranked[0]["text"], "a cat");
    let probabilities = numbers(&ranked, "probability");
    assert!(
        (probabilities.iter().sum::<f64>() - 1.0).abs() < 1e-6 && probabilities.is_sorted_by(|a, b| a >= b),
        "{probabilities:?}"
    );
    let table = rank().ok().stdout;
    let texts: Vec<&str> =
        table.lines().skip(1).map(|line| line.split_at(line.find(" a ").unwrap()).1.trim()).collect();
    let expected: Vec<&str> = ranked.as_array().unwrap().iter().map(|entry| entry["text"].as_str().unwrap()).collect();
    assert_eq!(texts, expected, "{table}");
}

/// Probabilities are of the texts alone, and add up to one whatever the photo shows; what the model sees of it stands beside them.
#[test]
fn rank_says_what_is_not_there() {
    let rank = || decomcam(["rank", "--text", "a volcano", "--text", "a raccoon"]).arg(cat());
    let ranked = rank().args(["--json"]).ok().json();
    let verdict = |text: &str| {
        let mut entries = ranked.as_array().unwrap().iter();
        entries.find(|entry| entry["text"] == text).unwrap()["support"]["verdict"].clone()
    };
    assert_eq!(verdict("a volcano"), "not_seen", "{ranked}");
    rank().ok().prints(&["%  does not see a volcano", "%  knows no word of a raccoon"]);
}

/// What the model does not hear, has no class for, or tells apart is said of ranked texts as of an explained one.
#[test]
fn rank_warns_of_words() {
    let texts = ["-t", "not a cat", "-t", "a person", "-t", "a cat and a volcano"];
    let ranked = decomcam(["rank"]).args(texts).arg(cat()).ok();
    let ranked = ranked
        .prints(&["has no class for a person", "sees \"cat\" and does not see \"volcano\" (a cat and a volcano)"])
        .complains(&["stands for \"not\"", "has no class for \"person\"", "by its things alone"]);
    assert_eq!(ranked.stderr.matches("warning").count(), 4, "{}", ranked.stderr);
}

/// A photo of one colour has no answer; every command says so.
#[test]
fn a_photo_of_one_colour_is_named() {
    let place = tempfile::TempDir::new().unwrap();
    let blank = place.path().join("white.png");
    image::RgbImage::from_pixel(64, 48, image::Rgb([255, 254, 255])).save(&blank).unwrap();
    let said = ["all of one colour"];
    decomcam(["rank"]).arg(&blank).ok().complains(&said);
    let ranked = decomcam(["rank", "-t", "a cat", "-t", "a dog"]).arg(&blank).ok().complains(&said);
    assert_eq!(ranked.stderr.matches(said[0]).count(), 1, "{}", ranked.stderr);
    decomcam(["compare", "-t", "a cat", "--size", "96", "--method", "grad-cam"])
        .path("-o", place.path().join("c"))
        .arg(&blank)
        .ok()
        .complains(&said);
    let why = decomcam(["explain", "--size", "96", "--no-check"]).path("-o", place.path().join("e")).arg(&blank).ok();
    why.complains(&said).prints(&["all of one colour"]);
}

/// A photo of which next to nothing is left is explained all the same, and it is said that this means nothing.
#[test]
fn a_photo_that_padding_leaves_nothing_of_is_named() {
    let place = tempfile::TempDir::new().unwrap();
    let long = place.path().join("long.png");
    image::RgbImage::from_fn(6000, 1, |x, _| image::Rgb([(x % 251) as u8, 0, 90])).save(&long).unwrap();
    for (fit, said) in [("pad", &["less than one pixel"][..]), ("stretch", &[])] {
        let out = place.path().join(fit);
        let why =
            decomcam(["explain", "--size", "96", "--no-check", "-t", "a cat", "--fit", fit]).path("-o", out).arg(&long);
        let why = why.ok().complains(said);
        assert_eq!(why.stderr.contains("less than one pixel"), fit == "pad", "{why}");
    }
}

/// Without texts the likeliest classes are shown, of a classifier and of a model that knows its classes; the first is what is explained without a text.
#[test]
fn rank_without_texts_shows_classes() {
    let classes = decomcam(["rank", "--json"]).arg(cat()).ok().json();
    let first = classes[0]["name"].as_str().unwrap();
    assert_eq!(classes.as_array().map(Vec::len), Some(5), "{classes}");
    let shares = numbers(&classes, "probability");
    assert!(shares.is_sorted_by(|a, b| a >= b) && shares.iter().sum::<f64>() <= 1.0, "{classes}");
    let why = decomcam(["explain", "-o", "-", "--no-check"]).arg(cat()).ok().json();
    assert_eq!(why["text"].as_str(), Some(first), "{why}");
    assert_eq!(why["support"]["sees"][0]["name"].as_str(), Some(first), "{why}");
    // A network that ends in a sigmoid: the five likeliest classes.
    let network = root("tests/dialects/half_precision.onnx");
    let ranked = || decomcam(["rank"]).arg(cat()).path("--model", &network);
    let classes = ranked().args(["--json"]).ok().json();
    let (logits, shares) = (numbers(&classes, "logit"), numbers(&classes, "probability"));
    for (logit, share) in logits.iter().zip(&shares) {
        // In f32.
        assert!((1.0 / (1.0 + (-logit).exp()) - share).abs() < 1e-6, "{classes}");
    }
    assert!(logits.len() == 5 && logits.is_sorted_by(|a, b| a >= b), "{classes}");
    ranked().ok().prints(&[&format!("{:.1}%", 100.0 * shares[0])]);
}

#[test]
fn rank_reads_standard_input() {
    let ranked = |photo: &str| decomcam(["rank", "-t", "a cat", "-t", "a dog", "--json", "--size", "96"]).arg(photo);
    let file = std::fs::File::open(cat()).unwrap();
    let read = ranked("-").command().stdin(file).output().unwrap();
    assert_eq!(String::from_utf8(read.stdout).unwrap(), ranked(cat().to_str().unwrap()).ok().stdout);
}
