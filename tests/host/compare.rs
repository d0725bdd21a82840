//! `decomcam compare`: what it draws, tabulates and writes.

use crate::common::run::decomcam;
use crate::common::{cat, json};
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
    compare().args(["--method", "magic"]).misused(&["gscore-cam"]);
}
