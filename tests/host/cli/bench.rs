//! `decomcam bench`.

use super::SIZE;
use crate::common::cat;
use crate::common::run::decomcam;

#[test]
fn bench_measures() {
    let bench = || decomcam(["bench", "--text", "a cat", "--repeat", "2"]).args(SIZE).arg(cat());
    let report = bench().args(["--json"]).ok().json();
    assert_eq!(report["repeats"], 2);
    assert!(report["warm_ms"].as_f64().unwrap() > 0.0 && report["cold_ms"].as_f64() > report["warm_ms"].as_f64());
    assert!((0.0..1.0).contains(&report["outside_network"].as_f64().unwrap()));
    let stages: Vec<&str> =
        report["stages"].as_array().unwrap().iter().map(|stage| stage["stage"].as_str().unwrap()).collect();
    assert!(stages.contains(&"decompose") && stages.contains(&"masks"), "{stages:?}");
    bench().ok().prints(&["decompose", "warm, each further explanation", "(median of 2,"]);
    // Another method has no parts to measure.
    let map = bench().args(["--method", "grad-cam", "--json"]).ok().json();
    let of_map: Vec<&str> =
        map["stages"].as_array().unwrap().iter().map(|stage| stage["stage"].as_str().unwrap()).collect();
    assert!(of_map.contains(&"map") && !of_map.contains(&"decompose"), "{of_map:?}");
    bench().args(["--method", "eigen-cam", "--affinity", "on"]).misused(&["--affinity"]);
}
