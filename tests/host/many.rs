//! Many photos in one run: where their files go, what is left out, what goes on after a stop.

use crate::common::run::{Said, decomcam};
use crate::common::{cat, json, names};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A folder with photos of one stem, a damaged one, one without an ending, and what is no photo.
fn photos() -> TempDir {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join("photos").join(name);
    fs::create_dir_all(at("b")).unwrap();
    let picture = image::open(cat()).unwrap().thumbnail(96, 96);
    picture.save(at("cat.png")).unwrap();
    picture.fliph().save(at("b/cat.png")).unwrap();
    fs::copy(at("cat.png"), at("nameless")).unwrap();
    fs::write(at("damaged.jpg"), b"\xff\xd8\xff\xe0 nothing").unwrap();
    fs::write(at("notes.txt"), b"no photo").unwrap();
    place
}

fn explain(place: &TempDir, more: &[&str]) -> Said {
    let fast = ["explain", "--method", "grad-cam", "--no-check", "-t", "a cat"];
    decomcam(fast).args(more).within(place.path()).said()
}

fn lines(path: &Path) -> Vec<Value> {
    fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn paths(lines: &[Value]) -> Vec<&str> {
    lines.iter().map(|line| line["photo"]["path"].as_str().unwrap()).collect()
}

/// Every file below a folder.
fn files(folder: &Path) -> BTreeSet<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { BTreeSet::from([path]) }).collect()
}

#[test]
fn a_folder_is_explained_once_and_a_run_goes_on() {
    let place = photos();
    let out = place.path().join("maps");
    let journal = out.join("explanations.jsonl");
    let said = explain(&place, &["photos", "-o", "maps"]).exits_with(1);
    assert!(said.stderr.contains("damaged.jpg") && said.stderr.contains("1 of 4 photos"), "{said}");
    assert!(!said.stderr.contains("notes.txt") && said.stdout.contains("Explained 3 photos."), "{said}");
    let first = lines(&journal);
    assert_eq!(paths(&first), ["photos/b/cat.png", "photos/cat.png", "photos/nameless"]);
    for line in &first {
        let folder = out.join(line["directory"].as_str().unwrap());
        let alone = json(folder.join("explanation.json"));
        assert_eq!(
            (&alone["scores"], &alone["photo"], &alone["files"]),
            (&line["scores"], &line["photo"], &line["files"])
        );
        for file in line["files"].as_array().unwrap() {
            assert!(folder.join(file.as_str().unwrap()).is_file(), "{file}");
        }
    }
    let page = fs::read_to_string(out.join("index.html")).unwrap();
    assert!(page.contains("3 photos explained") && page.contains("src=\"cat-2/overlay.png\""), "{page}");

    // Killed while the last line was written, with a file half written: nothing is lost, nothing repeated.
    let all = files(&out);
    let text = fs::read_to_string(&journal).unwrap();
    fs::write(&journal, &text[..text.len() - 40]).unwrap();
    fs::write(out.join("nameless/.decomcam-x"), b"half").unwrap();
    let said = explain(&place, &["photos", "-o", "maps"]).exits_with(1);
    assert!(said.stderr.contains("2 of 4 photos were explained before"), "{said}");
    assert!(said.stdout.contains("Explained 1 photo, 2 more before."), "{said}");
    assert_eq!(paths(&lines(&journal)), paths(&first));
    assert_eq!(files(&out), all);

    // A photo that changed, and one whose files are gone, are explained anew; JSON lines are of all photos, each once.
    fs::copy(place.path().join("photos/b/cat.png"), place.path().join("photos/cat.png")).unwrap();
    fs::remove_dir_all(out.join("nameless")).unwrap();
    let said = explain(&place, &["photos", "-o", "maps", "--jsonl"]).exits_with(1);
    let printed: Vec<Value> = said.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(paths(&printed).into_iter().collect::<BTreeSet<_>>(), paths(&first).into_iter().collect());
    let last = lines(&journal);
    assert_eq!(paths(&last), paths(&first));
    assert_eq!(last[1]["photo"]["sha256"], last[0]["photo"]["sha256"]);
    assert_ne!(last[1]["photo"]["sha256"], first[1]["photo"]["sha256"]);

    // Other options replace everything that was written with the first ones.
    let said = explain(&place, &["photos/cat.png", "photos/nameless", "-o", "maps", "--versus", "a dog"]).exits_with(0);
    assert!(said.stderr.contains("3 photos were explained with other options"), "{said}");
    assert_eq!(paths(&lines(&journal)), ["photos/cat.png", "photos/nameless"]);
    assert!(!out.join("cat-2").exists() && out.join("cat/overlay.png").exists());
}

#[test]
fn a_pattern_names_one_file_a_photo_and_never_overwrites() {
    let place = photos();
    let said = explain(&place, &["photos/cat.png", "photos/b/cat.png", "-o", "maps/{stem}.png"]).exits_with(0);
    let names: BTreeSet<_> =
        fs::read_dir(place.path().join("maps")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["cat-2.png", "cat.png", "explanations.jsonl", "index.html"].map(Into::into).into(), "{said}");
    explain(&place, &["photos/cat.png", "-o", "photos/{stem}.png"]).exits_with(2).complains(&["would be overwritten"]);
    // Among the photos: what was written is no photo in the next run.
    fs::remove_file(place.path().join("photos/damaged.jpg")).unwrap();
    for _ in 0..2 {
        explain(&place, &["photos", "-o", "photos/{stem}-map.png"]).exits_with(0);
        assert_eq!(lines(&place.path().join("photos/explanations.jsonl")).len(), 3);
    }
}

/// Two patterns of one directory are two sets of files: neither takes the other's for its own, and neither removes them.
#[test]
fn patterns_stand_side_by_side() {
    let place = photos();
    let of = |pattern: &str| explain(&place, &["photos/cat.png", "photos/b/cat.png", "-o", pattern]).exits_with(0);
    for pattern in ["maps/{stem}-map.png", "maps/{stem}_x.png", "maps/{stem}.html", "maps/{stem}.json", "maps"] {
        of(pattern).prints(&["Explained 2 photos."]);
    }
    let out = place.path().join("maps");
    let files = ["cat-map.png", "cat-2-map.png", "cat_x.png", "cat-2_x.png", "cat.html", "cat.json", "cat/overlay.png"];
    for file in files {
        assert!(out.join(file).is_file(), "{file}");
    }
    assert_eq!(lines(&out.join("explanations.jsonl")).len(), 5 * 2);
    // Each goes on where it was, and other options replace its own files alone.
    of("maps/{stem}_x.png").prints(&["Explained 0 photos, 2 more before."]);
    explain(&place, &["photos/cat.png", "-o", "maps/{stem}_x.png", "--versus", "a dog"]).exits_with(0);
    assert!(!out.join("cat-2_x.png").exists());
    of("maps/{stem}.html").prints(&["Explained 0 photos, 2 more before."]);
    assert!(files.iter().filter(|file| **file != "cat-2_x.png").all(|file| out.join(file).is_file()));
}

/// Maps among photos are left out, photos among maps are not.
#[test]
fn only_what_was_written_is_left_out() {
    let place = photos();
    let at = |name: &str| place.path().join(name);
    fs::remove_file(at("photos/damaged.jpg")).unwrap();
    explain(&place, &["photos/b", "-o", "photos/b"]).exits_with(0);
    fs::copy(at("photos/cat.png"), at("photos/b/cat/mine.png")).unwrap();
    let said = explain(&place, &["photos", "-o", "maps"]).exits_with(0);
    let found = lines(&at("maps/explanations.jsonl"));
    assert_eq!(paths(&found), ["photos/b/cat/mine.png", "photos/b/cat.png", "photos/cat.png", "photos/nameless"]);
    assert!(said.stderr.contains("pictures were left out: decomcam wrote them"), "{said}");
    // What is refused leaves nothing behind.
    explain(&place, &["photos/cat.png", "-o", "photos/{stem}.png"]).exits_with(2);
    assert!(!at("photos/explanations.jsonl").exists());
}

#[test]
fn photos_come_from_standard_input_lists_and_patterns() {
    let place = photos();
    let call = |args: &[&str], input: &[u8]| {
        use std::io::Write as _;
        use std::process::Stdio;
        let fast = ["explain", "--method", "grad-cam", "--no-check", "-t", "a cat", "-o", "-"];
        let mut command = decomcam(fast).args(args).within(place.path()).command();
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{args:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let alone: Value =
        serde_json::from_str(&call(&["-"], &fs::read(place.path().join("photos/cat.png")).unwrap())).unwrap();
    assert_eq!(alone["photo"]["path"], "standard input");
    let listed = call(&["--list", "-"], b"photos/cat.png\nphotos/b/cat.png\n");
    assert_eq!(listed.lines().count(), 2);
    let matching = call(&["photos/*.png"], b"");
    let line: Value = serde_json::from_str(&matching).unwrap();
    assert_eq!((&line["photo"]["path"], &line["scores"]), (&"photos/cat.png".into(), &alone["scores"]));
    assert!(!place.path().join("explanation").exists(), "nothing is written");
}

/// Shares divide the photos: each is explained once, under the name that it has in a run over all.
#[test]
fn shares_divide_the_photos() {
    let place = photos();
    fs::remove_file(place.path().join("photos/damaged.jpg")).unwrap();
    explain(&place, &["photos", "-o", "maps"]).exits_with(0);
    let of = |out: &str| -> BTreeSet<(String, String)> {
        let lines = lines(&place.path().join(out).join("explanations.jsonl"));
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        lines.iter().map(|line| (text(&line["photo"]["path"]), text(&line["directory"]))).collect()
    };
    // By their paths two photos belong to the second share and one to the fourth.
    let mut all = BTreeSet::new();
    for (out, share) in [("one", "1/4"), ("two", "2/4"), ("three", "3/4"), ("four", "4/4")] {
        explain(&place, &["photos", "-o", out, "--shard", share]).exits_with(0);
        let here = of(out);
        assert!(here.len() < 3 && all.is_disjoint(&here), "{share}: {here:?}");
        all.extend(here);
    }
    assert_eq!(all, of("maps"));
    explain(&place, &["photos", "-o", "five", "--shard", "5/4"]).exits_with(2).complains(&["a share from 1/4 to 4/4"]);
}

/// Whatever photos are called, each has a place of its own below the directory that was asked for.
#[test]
fn names_of_photos_lead_nowhere_else() {
    let place = photos();
    let at = |name: &str| place.path().join(name);
    for name in ["..png", "...png"] {
        fs::copy(at("photos/cat.png"), at("photos").join(name)).unwrap();
    }
    explain(&place, &["photos/..png", "photos/...png", "-o", "maps/inner"]).exits_with(0);
    assert_eq!(names(at("maps")), ["inner"]);
    assert_eq!(names(at("maps/inner")), ["explanations.jsonl", "index.html", "photo", "photo-2"]);
    // Nor does a name that a line of a damaged journal gives.
    let given = ["photos/cat.png", "photos/b/cat.png", "-o", "given"];
    explain(&place, &given).exits_with(0);
    let journal = at("given/explanations.jsonl");
    let line = fs::read_to_string(&journal).unwrap();
    fs::write(&journal, line.replace(r#""directory":"cat""#, r#""directory":"../cat""#)).unwrap();
    explain(&place, &given).exits_with(0).prints(&["Explained 1 photo, 1 more before."]);
    assert!(at("given/cat/overlay.png").is_file() && !at("cat").exists());
    for pattern in ["pp/{stem}/../x.json", "pp/{stem}/./x.json"] {
        let said = explain(&place, &["photos/cat.png", "photos/b/cat.png", "-o", pattern]).exits_with(2);
        assert!(said.stderr.contains("expected names behind {stem}, found `.` or `..`"), "{said}");
        assert!(!at("pp").exists());
    }
}

#[test]
fn a_photo_that_is_named_in_three_ways_is_explained_once() {
    let place = photos();
    let given = ["photos/cat.png", "./photos/cat.png", "photos/b/../cat.png", "photos/../photos/cat.png"];
    for said in ["Explained 1 photo.", "Explained 0 photos, 1 more before."] {
        explain(&place, &[&given[..], &["-o", "maps"]].concat()).exits_with(0).prints(&[said]);
        assert_eq!(paths(&lines(&place.path().join("maps/explanations.jsonl"))), ["photos/cat.png"]);
    }
}

/// Names that are no text are told apart, now and in later runs.
#[cfg(target_os = "linux")]
#[test]
fn photos_whose_names_are_no_text_are_told_apart() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;
    let place = photos();
    let strange = place.path().join("strange");
    fs::create_dir(&strange).unwrap();
    for (name, photo) in [(&b"\xff.png"[..], "photos/cat.png"), (b"\xfe.png", "photos/b/cat.png")] {
        fs::copy(place.path().join(photo), strange.join(OsStr::from_bytes(name))).unwrap();
    }
    for said in ["Explained 2 photos.", "Explained 0 photos, 2 more before."] {
        explain(&place, &["strange", "-o", "maps"]).exits_with(0).prints(&[said]);
        let lines = lines(&place.path().join("maps/explanations.jsonl"));
        assert_eq!(paths(&lines), [r#""strange/\xFE.png""#, r#""strange/\xFF.png""#]);
        assert_ne!(lines[0]["directory"], lines[1]["directory"]);
    }
}

/// What is said of a photo that was damaged since is said no more, anywhere.
#[test]
fn a_photo_that_was_damaged_since_is_in_no_line_and_on_no_page() {
    let place = photos();
    let at = |name: &str| place.path().join(name);
    let given = ["photos/cat.png", "photos/nameless"];
    for (out, gone, stays) in
        [("maps", "maps/cat", "maps/nameless/overlay.png"), ("maps/{stem}.png", "maps/cat.png", "maps/nameless.png")]
    {
        let call = [&given[..], &["-o", out]].concat();
        explain(&place, &call).exits_with(0);
        let photo = fs::read(at("photos/cat.png")).unwrap();
        fs::write(at("photos/cat.png"), b"hello").unwrap();
        for _ in 0..2 {
            let said = explain(&place, &call).exits_with(1).complains(&["skipped: ", "cat.png", "1 of 2 photos"]);
            let lines = lines(&at("maps/explanations.jsonl"));
            assert_eq!(paths(&lines), vec!["photos/nameless"; lines.len()], "{said}");
            let page = fs::read_to_string(at("maps/index.html")).unwrap();
            assert!(page.contains("1 photo explained") && !page.contains("cat.png"), "{page}");
            assert!(!at(gone).exists() && at(stays).is_file());
        }
        fs::write(at("photos/cat.png"), photo).unwrap();
        explain(&place, &call).exits_with(0).prints(&["Explained 1 photo, 1 more before."]);
        assert!(at(gone).exists());
        fs::remove_dir_all(at("maps")).unwrap();
    }
}

/// The other run's files, complete or not, are left alone.
#[cfg(unix)]
#[test]
fn a_second_run_in_a_directory_is_refused_and_the_first_goes_on() {
    let place = photos();
    let out = place.path().join("maps");
    fs::create_dir(&out).unwrap();
    let half = out.join(".decomcam-half");
    fs::write(&half, b"half").unwrap();
    let first = fs::File::open(&out).unwrap();
    first.lock().unwrap();
    let call = ["photos/cat.png", "photos/b/cat.png", "-o", "maps"];
    explain(&place, &call)
        .exits_with(1)
        .complains(&["directory `maps`", "another run is writing it; choose another --out"]);
    assert!(half.exists());
    drop(first);
    explain(&place, &call).exits_with(0);
    assert!(!half.exists(), "nobody writes it any more");
}
