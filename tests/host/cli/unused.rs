//! Options that would have no effect are refused with exit code 2 and the reason, before anything is read or written.

use super::SIZE;
use crate::common::run::{Run, decomcam};
use crate::common::{cat, json, names, root};
use tempfile::TempDir;

/// Methods of every kind that give one map without parts.
const ONE_MAP: [&str; 7] = ["layer-cam", "grad-cam", "eigen-cam", "gscore-cam", "ablation-cam", "rise", "uniform"];

/// Options that only recipes of DecomCAM heed, and why others do not.
const OF_PARTS: [(&str, &str, &str); 2] =
    [("--components", "3", "one map, without parts"), ("--channels", "5", "it selects no channels")];

/// Options that only recipes, grad-cam and layer-cam heed.
const OF_GRIDS: [(&str, &str, &str); 2] =
    [("--affinity", "off", "it averages over no positions"), ("--scales", "1", "at the network's own size")];

/// Those of them that only `explain` has.
const OF_PARTS_IN_EXPLAIN: [(&str, &str, &str); 3] = [
    ("--sign", "score", "one map, without parts"),
    ("--integrate", "photo", "one map, without parts"),
    ("--name-parts", "a cat", "one map, without parts"),
];

/// Runs it in a folder of its own: refused with the option, the methods and the reason; nothing is written.
#[track_caller]
fn unused(run: Run, option: &str, methods: &str, why: &str) {
    let here = TempDir::new().unwrap();
    run.within(&here).misused(&[&format!("{option} has no effect with {methods}: "), why]);
    assert!(names(&here).is_empty(), "{option} {methods}");
}

fn explain(method: &str) -> Run {
    decomcam(["explain", "--text", "a cat", "--method", method]).args(SIZE).arg(cat())
}

fn compare(methods: &str) -> Run {
    decomcam(["compare", "--text", "a cat", "--method", methods]).args(SIZE).arg(cat())
}

fn eval(methods: &str) -> Run {
    decomcam(["eval", "--method", methods]).args(SIZE).path("--photos", root("tests"))
}

#[test]
fn explain_refuses_what_its_method_ignores() {
    for method in ONE_MAP {
        for (option, value, why) in OF_PARTS.into_iter().chain(OF_PARTS_IN_EXPLAIN) {
            unused(explain(method).args([option, value]), option, method, why);
        }
    }
    for method in ["eigen-cam", "grad-cam++", "gscore-cam", "ablation-cam", "rise", "uniform"] {
        for (option, value, why) in OF_GRIDS {
            unused(explain(method).args([option, value]), option, method, why);
        }
    }
    for method in ["rise", "uniform"] {
        for (option, value) in [("--layer", "block10"), ("--refine", "on")] {
            unused(explain(method).args([option, value]), option, method, "it looks at no layer");
        }
    }
    for method in ["exact", "v25", "grad-cam", "uniform", "score-cam"] {
        unused(explain(method).args(["--rise-masks", "9"]), "--rise-masks", method, "only rise draws masks");
    }
}

#[test]
fn compare_and_eval_refuse_what_all_their_methods_ignore() {
    for run in [compare, eval] {
        for (option, value, why) in OF_PARTS {
            unused(run("layer-cam,rise").args([option, value]), option, "layer-cam, rise", why);
        }
        for (option, value, why) in OF_GRIDS {
            unused(run("eigen-cam,rise").args([option, value]), option, "eigen-cam, rise", why);
        }
        for (option, value) in [("--layer", "block10"), ("--refine", "off")] {
            unused(run("rise,uniform").args([option, value]), option, "rise, uniform", "it looks at no layer");
        }
        unused(run("exact,grad-cam").args(["--rise-masks", "9"]), "--rise-masks", "exact, grad-cam", "only rise");
    }
    // One method that heeds it is enough.
    let place = TempDir::new().unwrap();
    let more = ["--components", "3", "--layer", "block10"];
    compare("uniform,aligned").args(more).path("--out", place.path()).ok();
    assert_eq!(json(place.path().join("comparison.json"))["layer"], "block10");
}

/// What a model with a manifest says itself cannot be said again.
#[test]
fn a_model_with_a_manifest_refuses_what_describes_a_bare_network() {
    let labels = root("tests/photos/README.md");
    let labels = labels.to_str().unwrap();
    for (option, value) in
        [("--labels", labels), ("--mean", "0.5"), ("--std", "0.5"), ("--preset", "clip"), ("--output", "logits")]
    {
        for run in [explain("exact"), compare("exact"), eval("exact"), decomcam(["rank", "--text", "a cat"]).arg(cat())]
        {
            let here = TempDir::new().unwrap();
            run.within(&here).args([option, value]).misused(&[option, "would have no effect", "files of \"lite\""]);
        }
    }
}

#[test]
fn what_nothing_is_drawn_with_and_what_is_not_printed() {
    compare("exact,grad-cam").args(["--seed", "3"]).misused(&["--seed has no effect", "rise"]);
    explain("exact").args(["--timings", "--out", "-"]).misused(&["--timings has no effect with --out -"]);
    for (option, value) in [("--arrays", "grid"), ("--colormap", "grey"), ("--alpha", "0.5")] {
        for out in ["-", "maps/{stem}.json"] {
            let here = TempDir::new().unwrap();
            let run = explain("exact").within(&here).args([option, value, "--out", out]);
            run.misused(&[&format!("{option} has no effect with --out {out}")]);
            assert!(names(&here).is_empty(), "{option} {out}");
        }
    }
    explain("exact").args(["--arrays", "grid", "--out", "maps/{stem}.png"]).misused(&["--arrays has no effect"]);
}

/// Padding shows the whole photo, so nothing is left to cut off.
#[test]
fn a_margin_has_no_place_beside_padding() {
    explain("exact").args(["--out", "-", "--fit", "pad", "--margin", "8"]).misused(&["--margin", "pad"]);
}
