//! `decomcam capture` and `decomcam replay`.

use super::SIZE;
use crate::common::cat;
use crate::common::run::{Run, decomcam};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

fn capture(capsule: &Path, more: &[&str]) -> Run {
    decomcam(["capture", "--text", "a cat"]).args(SIZE).args(more).arg(cat()).path("--out", capsule)
}

fn replay(capsule: &Path) -> Run {
    decomcam(["replay"]).arg(capsule)
}

#[test]
fn what_is_captured_is_replayed_bit_by_bit() {
    let place = TempDir::new().unwrap();
    let capsule = place.path().join("cat.capsule");
    let plain = ["--recipe", "exact", "--scales", "1", "--affinity", "off"];
    for more in [&["--floats"][..], &[], &["--recipe", "paper"], &plain, &["--layer", "block10", "--components", "4"]] {
        capture(&capsule, more).ok().prints(&["\"a cat\"", "Recorded: ", " channels of layer "]);
        let said = replay(&capsule).ok();
        assert_eq!(said.stdout.matches(" equal\n").count(), 10, "{said}");
    }
}

#[test]
fn a_replay_is_drawn() {
    let place = TempDir::new().unwrap();
    let capsule = place.path().join("cat.capsule");
    capture(&capsule, &["--components", "3"]).ok();
    let drawn = |out: &str, more: &[&str]| {
        let out = place.path().join(out);
        replay(&capsule).path("--out", &out).args(more).ok().prints(&["overlay.png", "parts.png"]);
        image::open(out.join("overlay.png")).unwrap().into_rgb8()
    };
    let (plain, photo) = (drawn("plain", &[]), drawn("photo", &["--photo", cat().to_str().unwrap()]));
    assert_eq!(photo.dimensions(), image::open(cat()).unwrap().into_rgb8().dimensions());
    assert_ne!(plain.dimensions(), photo.dimensions());
    replay(&capsule).args(["--photo", "x.png"]).misused(&["--out"]);
    replay(&capsule).path("--out", place.path().join("no photo")).args(["--text", "a cat"]).misused(&["--photo"]);
}

/// The same photo and question: both maps rank most places alike, a board's of another thing does not.
#[test]
fn a_replay_is_drawn_beside_the_desktop_s_map() {
    let place = TempDir::new().unwrap();
    let alike = |text: &str| -> f64 {
        let (capsule, out) = (place.path().join("a.capsule"), place.path().join("out"));
        decomcam(["capture", "--text", text]).arg(cat()).path("--out", &capsule).ok();
        let beside = replay(&capsule).path("--out", &out).path("--photo", cat()).args(["--text", "a cat"]).ok();
        assert!(beside.stdout.contains("beside.png") && out.join("beside.png").exists(), "{beside}");
        let (_, number) = beside.stdout.split_once("Rank correlation of the two maps: ").unwrap();
        number.split_once(' ').unwrap().0.parse().unwrap()
    };
    let (same, other) = (alike("a cat"), alike("a volcano"));
    assert!(same > 0.7 && other < 0.3, "{same} {other}");
}

/// A map is drawn on the photo that the capsule is of, in the place that was seen; or it is said that nobody knows.
#[test]
fn a_replay_on_another_photo_or_place_is_told() {
    let place = TempDir::new().unwrap();
    let at = |name: &str| place.path().join(name);
    let photo = image::open(cat()).unwrap();
    photo.crop_imm(0, 80, 451, 150).save(at("wide.png")).unwrap();
    photo.rotate180().save(at("other.png")).unwrap();
    let capsule = at("wide.capsule");
    decomcam(["capture", "-t", "a cat", "--fit", "pad"]).arg(at("wide.png")).path("--out", &capsule).ok();
    let drawn =
        |photo: &str, more: &[&str]| replay(&capsule).path("--out", at("out")).path("--photo", at(photo)).args(more);
    let unknown = "does not say of which photo it is, nor how that was made to fit";
    drawn("wide.png", &[]).ok().complains(&[unknown, "--fit crop"]);
    drawn("wide.png", &["--fit", "pad"]).ok().complains(&[unknown, "--fit pad"]);
    let known = drawn("wide.png", &["--fit", "pad", "-t", "a cat"]).ok();
    assert!(!known.stderr.contains(unknown), "{known}");
    for (photo, more) in [("wide.png", &["-t", "a cat"][..]), ("other.png", &["--fit", "pad", "-t", "a cat"])] {
        let said = drawn(photo, more)
            .said()
            .exits_with(1)
            .complains(&["expected the activations of this photo, found others"]);
        assert!(!said.stdout.contains("wrote"), "{said}");
    }
}

#[test]
fn damaged_capsules_are_refused() {
    let place = TempDir::new().unwrap();
    let capsule = place.path().join("cat.capsule");
    capture(&capsule, &["--components", "2"]).ok();
    let whole = fs::read(&capsule).unwrap();
    let changed = |at: usize, value: u8| {
        let mut bytes = whole.clone();
        bytes[at] = value;
        bytes
    };
    let flipped = changed(whole.len() / 2, whole[whole.len() / 2] ^ 1);
    for (bytes, expected) in [
        (b"words".to_vec(), "found 5 bytes of another kind"),
        (fs::read(cat()).unwrap(), "expected a capsule, as `decomcam capture` writes it, found a PNG picture"),
        (whole[..whole.len() / 2].to_vec(), "damaged"),
        (flipped, "damaged"),
        (changed(8, 9), "another version"),
    ] {
        fs::write(&capsule, bytes).unwrap();
        replay(&capsule).refused(&["cat.capsule", expected]);
    }
    replay(&place.path().join("missing")).refused(&["missing"]);
}

/// A capsule holds the decomposition of one pass: more is refused, before the network runs.
#[test]
fn what_no_capsule_can_hold_is_refused() {
    let place = TempDir::new().unwrap();
    let capsule = place.path().join("cat.capsule");
    for more in [&["--recipe", "exact"][..], &["--scales", "2"], &["--affinity", "on"]] {
        capture(&capsule, more).misused(&["one pass", "--scales 1"]);
        assert!(!capsule.exists());
    }
    capture(&capsule, &["--refine", "on"]).misused(&["--refine has no effect with a capsule"]);
}
