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
    let of_the_directory = decomcam(["models"]).arg(root("models/lite")).ok().stdout;
    let of_the_hub = bundled.stdout.strip_prefix(&*of_the_directory).unwrap();
    for known in decomcam::model::KNOWN {
        assert!(of_the_hub.contains(&known.command()) && of_the_hub.contains(known.licence), "{of_the_hub}");
    }
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
