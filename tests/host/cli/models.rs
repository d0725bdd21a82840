//! `decomcam models`.

use crate::common::root;
use crate::common::run::decomcam;
use std::io::Read;
use std::process::Stdio;

#[test]
fn models_lists_what_is_bundled() {
    let bundled = decomcam(["models"]).ok().prints(&[
        "lite",
        "layer features: 1280 x 7 x 7, default",
        "block10: 112 x 14 x 14",
        "score posterior (explained)",
        "image.onnx",
        "Apache-2.0",
    ]);
    assert_eq!(decomcam(["models"]).arg(root("models/lite")).ok().stdout, bundled.stdout);
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let mut child = decomcam(["models"]).command().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(said, "");
}
