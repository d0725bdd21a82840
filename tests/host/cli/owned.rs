//! What a command reads, and what others wrote, is never replaced: refused with exit code 2 and the file, and every byte stays.

use super::SIZE;
use crate::common::run::{Run, decomcam};
use crate::common::{animation, cat, json, names};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const FAST: [&str; 6] = ["--method", "grad-cam", "-t", "a cat", "--size", "96"];

/// A folder with a small photo of this name.
fn with_photo(name: &str) -> (TempDir, PathBuf) {
    let place = TempDir::new().unwrap();
    let photo = place.path().join(name);
    image::open(cat()).unwrap().thumbnail(96, 96).save(&photo).unwrap();
    (place, photo)
}

/// Refused, and the file has the bytes that it had.
#[track_caller]
fn spares(run: Run, file: &Path) {
    let before = fs::read(file).unwrap();
    let name = file.file_name().unwrap().to_str().unwrap();
    run.misused(&[name, "would be overwritten", "choose another"]);
    assert_eq!(fs::read(file).unwrap(), before, "{name}");
}

fn explain(photo: &Path, out: &Path) -> Run {
    decomcam(["explain", "--no-check"]).args(FAST).arg(photo).path("--out", out)
}

#[test]
fn no_command_replaces_its_photo() {
    for name in ["overlay.png", "heatmap.png"] {
        let (place, photo) = with_photo(name);
        spares(explain(&photo, place.path()), &photo);
        assert_eq!(names(&place), [name], "nothing else appears");
    }
    let (place, photo) = with_photo("comparison.png");
    spares(decomcam(["compare"]).args(FAST).arg(&photo).path("--out", place.path()), &photo);
    let (_place, photo) = with_photo("x.png");
    spares(decomcam(["capture", "-t", "a cat"]).args(SIZE).arg(&photo).path("--out", &photo), &photo);

    let (place, photo) = with_photo("cat.png");
    let photos = place.path().join("cat");
    fs::create_dir(&photos).unwrap();
    fs::copy(&photo, photos.join("one.png")).unwrap();
    let pool = decomcam(["pool", "cat"]).args(SIZE).path("--photos", place.path()).path("--out", place.path());
    spares(pool, &photo);

    let (place, photo) = with_photo("overlay.png");
    let capsule = place.path().join("a.capsule");
    decomcam(["capture", "-t", "a cat"]).args(SIZE).arg(&photo).path("--out", &capsule).ok();
    let replay = |out: &Path| decomcam(["replay"]).arg(&capsule).path("--out", out).path("--photo", &photo);
    let before = fs::read(&photo).unwrap();
    replay(place.path()).said().exits_with(2).complains(&["overlay.png", "would be overwritten"]);
    assert_eq!(fs::read(&photo).unwrap(), before);
    // Into a folder of its own it may, again and again.
    for _ in 0..2 {
        replay(&place.path().join("drawn")).ok();
    }
}

#[test]
fn an_animation_is_not_replaced_by_its_film() {
    let place = TempDir::new().unwrap();
    let clip = place.path().join("overlay.gif");
    let pictures = [1, 2].map(|at| image::RgbImage::from_pixel(96, 96, image::Rgb([60 * at, 90, 30])));
    fs::write(&clip, animation::png(&pictures, 20)).unwrap();
    let frames = decomcam(["explain", "--frames"]).args(FAST).arg(&clip).path("--out", place.path());
    spares(frames, &clip);
    assert_eq!(names(&place), ["overlay.gif"]);
}

/// A link at the place of a file of ours: through it the photo would be lost, or the link would.
#[cfg(unix)]
#[test]
fn links_to_the_photo_are_spared() {
    let (place, photo) = with_photo("photo.png");
    for hard in [false, true] {
        let out = place.path().join(if hard { "hard" } else { "soft" });
        fs::create_dir(&out).unwrap();
        let link = out.join("overlay.png");
        let linked = if hard { fs::hard_link(&photo, &link) } else { std::os::unix::fs::symlink(&photo, &link) };
        linked.unwrap();
        spares(explain(&photo, &out), &link);
    }
}

/// What decomcam wrote may be replaced, but not while it is what is explained.
#[test]
fn files_of_ours_are_replaced_unless_they_are_read() {
    let (place, photo) = with_photo("photo.png");
    let out = place.path().join("out");
    for _ in 0..2 {
        explain(&photo, &out).args(["--arrays", "grid"]).ok();
    }
    spares(explain(&out.join("overlay.png"), &out), &out.join("overlay.png"));
    // Arrays have no place for a mark: explanation.json names them.
    fs::write(out.join("components.npy"), "mine").unwrap();
    explain(&photo, &out).args(["--arrays", "grid"]).ok();
    let exact = decomcam(["explain", "--no-check", "-t", "a cat", "--arrays", "grid"]).args(SIZE).arg(&photo);
    spares(exact.path("--out", &out), &out.join("components.npy"));
    // The same file twice, as scripts do.
    let capsule = place.path().join("why.capsule");
    for _ in 0..2 {
        decomcam(["capture", "-t", "a cat"]).args(SIZE).arg(&photo).path("--out", &capsule).ok();
    }
}

#[test]
fn files_of_others_are_not_replaced() {
    let (place, photo) = with_photo("photo.png");
    for name in ["mask.png", "report.html", "explanation.json"] {
        let out = place.path().join(name.replace('.', "-"));
        fs::create_dir(&out).unwrap();
        fs::write(out.join(name), "mine").unwrap();
        spares(explain(&photo, &out), &out.join(name));
        assert_eq!(names(&out), [name]);
    }
    for name in ["results.json", "results.csv", "report.html", "records.jsonl"] {
        let out = place.path().join(format!("eval-{name}"));
        let photos = place.path().join("photos/cat");
        fs::create_dir_all(&photos).unwrap();
        fs::copy(&photo, photos.join("one.png")).unwrap();
        fs::create_dir(&out).unwrap();
        fs::write(out.join(name), "mine").unwrap();
        let eval = decomcam(["eval", "--method", "uniform", "--metrics", "average_drop"]).args(SIZE);
        let said = eval.path("--photos", place.path().join("photos")).path("--out", &out).said();
        assert!(said.code != Some(0) && said.stderr.contains(name), "{said}");
        assert_eq!(fs::read_to_string(out.join(name)).unwrap(), "mine");
    }
    let page = place.path().join("photo.html");
    fs::write(&page, "mine").unwrap();
    spares(explain(&photo, &place.path().join("{stem}.html")), &page);
    let index = place.path().join("index.html");
    fs::write(&index, "mine").unwrap();
    spares(explain(&photo, &place.path().join("{stem}-map.png")), &index);
    assert!(!place.path().join("explanations.jsonl").exists(), "what is refused leaves nothing");
}

/// The mark of a picture survives: JSON, pages and pictures name the program.
#[test]
fn files_of_ours_bear_a_mark() {
    let (place, photo) = with_photo("photo.png");
    let out = place.path().join("out");
    explain(&photo, &out).ok();
    for file in json(out.join("explanation.json"))["files"].as_array().unwrap() {
        let path = out.join(file.as_str().unwrap());
        assert!(decomcam::owned::is_marked(&path), "{}", path.display());
    }
}
