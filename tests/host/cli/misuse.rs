//! Bad input of every kind: what is said, the exit code, and that nothing is written.

use super::{SIZE, explain};
use crate::common::run::{Run, Said, decomcam};
use crate::common::{cat, names, root};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

#[test]
fn usage_errors_exit_with_2() {
    for (args, expected) in [
        (&["explain", "--text", "a cat", "--recipe", "magic"][..], "aligned"),
        (&["explain", "--text", "a cat", "--method", "magic"], "gscore-cam"),
        (&["explain", "--text", "a cat", "--sign", "magic"], "loading"),
        (&["explain", "--text", "a cat", "--fit", "magic"], "stretch"),
        (&["explain", "--text", "a cat", "--threads", "0"], "threads"),
        (&["explain", "--text", "a cat", "--components", "-1"], "-1"),
        (&["explain", "--text", "a cat", "--scales", "3"], "--scales"),
        (&["compare", "--text", "a cat", "--method", "magic"], "gscore-cam"),
        (&["compare"], "--text"),
        (&["bench", "--text", "a cat", "--repeat", "0"], "repeat"),
        (&["paint"], "paint"),
    ] {
        let here = TempDir::new().unwrap();
        decomcam(args).arg(cat()).within(&here).misused(&[expected]);
        // At most the directory of the results, which is made before anything is read.
        assert!(names(&here).iter().all(|made| names(here.path().join(made)).is_empty()), "{args:?}");
    }
}

/// Runs `explain` on a photo with more arguments into a directory of its own, to which nothing may have been written afterwards.
fn explaining(photo: &Path, more: &[&str], check: impl FnOnce(Run) -> Said) {
    let place = TempDir::new().unwrap();
    let out = place.path().join("explanation");
    check(decomcam(["explain"]).arg(photo).args(more).path("--out", &out));
    assert!(!out.exists() || names(&out).is_empty());
}

#[track_caller]
fn refused(photo: &Path, more: &[&str], expected: &[&str]) {
    explaining(photo, more, |run| run.refused(expected));
}

#[track_caller]
fn misused(more: &[&str], expected: &[&str]) {
    explaining(&cat(), more, |run| run.misused(expected));
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
    refused(&file("words.png", b"this is no photo"), &text, &["words.png", "JPEG, PNG, WebP, BMP, GIF, TIFF or ICO"]);
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
fn bad_prompts_are_refused() {
    let cat = cat();
    refused(&cat, &["--text", "12345 !!"], &["12345 !!"]);
    refused(&cat, &["--text", ""], &["\"\""]);
    refused(&cat, &["--text", "qzxvw"], &["qzxvw"]);
    refused(&cat, &["--text", "a cat", "--versus", "qzxvw"], &["qzxvw"]);
    refused(&cat, &["--text", "a cat", "--name-parts", "qzxvw"], &["qzxvw"]);
}

#[test]
fn options_out_of_range_exit_with_2() {
    misused(&["--text", "a cat", "--layer", "nowhere"], &["nowhere", "features", "block10"]);
    misused(&["--text", "a cat", "--score", "beauty"], &["beauty", "cosine", "evidence"]);
    misused(&["--text", "a cat", "--size", "96", "--channels", "0"], &["--channels 0", "1 to 1280"]);
    misused(&["--text", "a cat", "--size", "96", "--channels", "1281"], &["1281", "1 to 1280"]);
    misused(&["--text", "a cat", "--size", "96", "--components", "0"], &["--components 0", "1 to 35"]);
    misused(&["--text", "a cat", "--size", "96", "--components", "36"], &["--components 36", "1 to 35"]);
    misused(&["--text", "a cat", "--size", "32", "--scales", "1"], &["one position"]);
    misused(&["--text", "a cat", "--size", "100"], &["height", "multiple of 32", "100"]);
    misused(&["--text", "a cat", "--size", "1000000"], &["height", "1000000"]);
    refused(&cat(), &["--text", "a cat", "--model", "nothing"], &["nothing", "lite"]);
}

#[test]
fn damaged_models_are_refused() {
    let copy = || {
        let place = TempDir::new().unwrap();
        for file in ["image.onnx", "text.onnx", "vocab.txt", "classes.txt", "words.txt", "model.toml"] {
            fs::copy(root("models/lite").join(file), place.path().join(file)).unwrap();
        }
        place
    };
    let with = |place: &TempDir, expected: &[&str]| {
        refused(&cat(), &["--text", "a cat", "--size", "96", "--model", place.path().to_str().unwrap()], expected);
    };
    let place = copy();
    explain(&["--text", "a cat", "--out", "-"]).path("--model", place.path()).ok();

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
    let explain_into = |out: &Path| explain(&["--text", "a cat"]).path("--out", out);
    // Below a file no directory can be made, not even by root.
    let place = TempDir::new().unwrap();
    let file = place.path().join("file");
    fs::write(&file, "x").unwrap();
    for out in [file.clone(), file.join("below")] {
        explain_into(&out).refused(&["--out"]);
        decomcam(["compare", "--text", "a cat"]).args(SIZE).arg(cat()).path("--out", &out).refused(&["--out"]);
    }
    // A directory where a file should go: refused, and none of the others appears.
    let directory = place.path().join("out");
    fs::create_dir_all(directory.join("mask.png")).unwrap();
    explain_into(&directory).misused(&["mask.png"]);
    assert_eq!(names(&directory).len(), 1);
}
