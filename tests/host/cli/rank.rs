//! `decomcam rank`.

use crate::common::run::decomcam;
use crate::common::{cat, numbers};

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
        table.lines().skip(1).map(|line| line.split_at(line.find("  a ").unwrap()).1.trim()).collect();
    let expected: Vec<&str> = ranked.as_array().unwrap().iter().map(|entry| entry["text"].as_str().unwrap()).collect();
    assert_eq!(texts, expected, "{table}");
}
