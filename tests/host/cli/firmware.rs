//! `decomcam firmware`. What it writes is compiled and run by `tests/firmware/int8/run`.

use crate::common::run::{Run, decomcam};
use crate::common::{cat, root};
use std::path::Path;

fn firmware(network: impl AsRef<Path>, out: &Path, more: &[&str]) -> Run {
    decomcam(["firmware"]).arg(network.as_ref()).path("--out", out).args(more)
}

/// What is committed is what `tests/firmware/int8/run` compiles where nothing else is given.
#[test]
fn what_is_committed_is_what_it_writes() {
    let folder = tempfile::tempdir().unwrap();
    let written = firmware(root("tests/tflite/grey.tflite"), folder.path(), &["--network"]).path("--photo", cat());
    written.ok().prints(&["saliency and parts have the bits of `decomcam explain`, all"]);
    for name in ["why.h", "why.c", "why.rs", "self_test.c", "self_test.rs", "network.rs"] {
        let committed = root(&format!("tests/firmware/int8/grey/{name}"));
        let found = std::fs::read_to_string(folder.path().join(name)).unwrap();
        assert!(
            found == std::fs::read_to_string(&committed).unwrap(),
            "{} differs; if that is meant: cargo run --release -- firmware tests/tflite/grey.tflite --network --photo tests/photos/chelsea.png --out tests/firmware/int8/grey",
            committed.display()
        );
    }
    let replayed = decomcam(["replay"]).arg(folder.path().join("why.capsule")).ok();
    assert_eq!(replayed.stdout.matches(" equal").count(), 10, "{}", replayed.stdout);
}

/// The gradient of `explain` is that of the linear layer's weights, to the bit: with 12 x 12 places a quotient of the graph rounds otherwise.
#[test]
fn a_board_has_the_bits_of_explain() {
    let folder = tempfile::tempdir().unwrap();
    let written = firmware(root("tests/firmware/demo/net.tflite"), folder.path(), &[]).path("--photo", cat());
    written.ok().prints(&["have the bits of `decomcam explain`, all 1584 numbers"]);
}

/// Floats, a linear layer with a bias, and a photo: the board's numbers are those of `explain`.
#[test]
fn an_onnx_file_with_the_usual_head_is_written_in_floats() {
    let folder = tempfile::tempdir().unwrap();
    let said =
        firmware(root("tests/questions/value.onnx"), folder.path(), &["--components", "3"]).path("--photo", cat());
    said.ok().prints(&["layer \"layer\": 8 x 8 places", "of `decomcam explain`"]);
    let source = std::fs::read_to_string(folder.path().join("why.c")).unwrap();
    assert!(
        source.contains("static const float weights") && source.contains("decomcam_maps_chw(DECOMCAM_ELEMENT_F32"),
        "{source}"
    );
    assert!(!folder.path().join("network.rs").exists());
}

#[test]
fn other_ends_and_options_without_effect_are_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path();
    let refused =
        |network: &str, more: &[&str], expected: &[&str]| firmware(root(network), out, more).refused(expected);
    refused("tests/questions/classifier.onnx", &[], &["an average over all places", "found Relu"]);
    refused("tests/questions/segmentation.onnx", &[], &["one number for each class"]);
    firmware("lite", out, &[]).refused(&["expected a classifier"]);
    refused("tests/tflite/unsigned.tflite", &[], &["expected a network of int8, found one of uint8"]);
    let grey = "tests/tflite/grey.tflite";
    refused(grey, &["--layer", "first"], &["--layer \"second\"", "found \"first\""]);
    firmware(root("tests/questions/value.onnx"), out, &["--network"]).misused(&["--network", "ONNX"]);
    firmware(root(grey), out, &["--components", "11"]).misused(&["--components 11", "expected 1 to 10"]);
    firmware(root(grey), out, &["--channels", "11"]).misused(&["--channels 11", "expected 1 to 10"]);
    assert_eq!(std::fs::read_dir(out).unwrap().count(), 0, "nothing is written if something is refused");
}
