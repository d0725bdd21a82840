//! Sequences of frames: what is followed, what is written and when, and what is refused.

use crate::common::animation;
use crate::common::run::decomcam;
use crate::common::{cat, json, names};
use decomcam::frames::{self, Clip, FramesOptions, Wanted};
use decomcam::{Error, Session};
use image::imageops::{self, FilterType};
use image::{Rgb, RgbImage};
use serde_json::Value;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

const SIDE: u32 = 320;

/// Nothing that the model knows: stripes with some noise.
fn background() -> RgbImage {
    RgbImage::from_fn(SIDE, SIDE, |x, y| {
        let noise = ((x * 7919 + y * 104_729 + x * y) % 23) as u8;
        if (x / 20 + y / 50) % 2 == 0 { Rgb([90 + noise, 120, 100 + noise]) } else { Rgb([70, 80 + noise, 140]) }
    })
}

/// A cat's face, cut out and put here.
fn with_face(left: i64, top: i64) -> RgbImage {
    const DIAMETER: u32 = 150;
    let photo = image::open(cat()).unwrap().into_rgb8();
    let face = imageops::crop_imm(&photo, 60, 0, 300, 300).to_image();
    let face = imageops::resize(&face, DIAMETER, DIAMETER, FilterType::Triangle);
    let mut frame = background();
    for (x, y, pixel) in face.enumerate_pixels() {
        let (dx, dy) = (f64::from(x) - 74.5, f64::from(y) - 74.5);
        if dx.hypot(dy) < 75.0 {
            frame.put_pixel((left + i64::from(x)) as u32, (top + i64::from(y)) as u32, *pixel);
        }
    }
    frame
}

/// Where the face is in each frame of the sequence.
const PATH: [(i64, i64); 5] = [(10, 10), (45, 40), (85, 70), (125, 110), (160, 160)];

/// A face that moves over a background, and then something that has nothing to do with it.
fn moving(place: &TempDir) -> PathBuf {
    let mut pictures: Vec<RgbImage> = PATH.iter().map(|(left, top)| with_face(*left, *top)).collect();
    pictures.push(RgbImage::from_fn(SIDE, SIDE, |x, y| {
        let (dx, dy) = (f64::from(x) - 200.0, f64::from(y) - 120.0);
        let ring = (dx.hypot(dy) / 17.0) as u32 % 3;
        [Rgb([230, 40, 60]), Rgb([250, 250, 240]), Rgb([20, 20, 30])][ring as usize]
    }));
    let path = place.path().join("moving.png");
    fs::write(&path, animation::png(&pictures, 50)).unwrap();
    path
}

/// Small pictures that differ, as an animated PNG: quick to explain.
fn small(place: &TempDir, count: usize) -> PathBuf {
    let photo = image::open(cat()).unwrap().into_rgb8();
    let window = |at: usize| imageops::crop_imm(&photo, 10 * at as u32, 0, 300, 300).to_image();
    let pictures: Vec<RgbImage> =
        (0..count).map(|at| imageops::resize(&window(at), 96, 96, FilterType::Triangle)).collect();
    let path = place.path().join("small.png");
    fs::write(&path, animation::png(&pictures, 20)).unwrap();
    path
}

const QUICK: [&str; 7] = ["explain", "--frames", "all", "--size", "96", "--method", "grad-cam"];

fn list<'v>(value: &'v Value, key: &str) -> &'v Vec<Value> {
    value[key].as_array().unwrap()
}

#[test]
fn a_thing_that_moves_keeps_its_track_and_a_cut_ends_the_tracks() {
    let place = TempDir::new().unwrap();
    let said = decomcam(["explain", "-t", "a cat", "--frames", "all", "-o", "-"]).arg(moving(&place)).ok();
    let report = said.json();
    let found = list(&report, "frames");
    assert_eq!(found.len(), PATH.len() + 1);
    let first = &list(&found[0], "parts")[0];
    let track = &first["track"];
    for (frame, (left, top)) in found.iter().zip(PATH) {
        // The part that contributes most is the face in every frame, and it is the same track.
        let part = &list(frame, "parts")[0];
        assert_eq!(part["track"], *track, "{frame:#}");
        let region = &list(part, "regions")[0];
        let number = |key: &str| region[key].as_i64().unwrap();
        let (y, x) = (number("top") + number("height") / 2, number("left") + number("width") / 2);
        let from_middle = ((x - left - 75) as f64).hypot((y - top - 75) as f64);
        assert!(from_middle < 60.0, "the face is at {left}, {top}, the part at {region}");
    }
    // Behind the cut most parts begin tracks.
    let last = list(&found[PATH.len()], "parts");
    let begun = last.iter().filter(|part| part["cosine"].is_null()).count();
    assert!(begun * 10 >= last.len() * 8, "{begun} of {}", last.len());
    assert!(!last.iter().any(|part| part["track"] == *track), "{last:#?}");
    let told = list(&report, "tracks").iter().find(|told| told["track"] == *track).unwrap();
    assert_eq!((told["frames"].as_u64(), told["last"].as_f64()), (Some(PATH.len() as u64), Some(2.0)), "{told}");
}

#[test]
fn films_keep_the_times_and_the_numbers_do_not_depend_on_threads() {
    let place = TempDir::new().unwrap();
    let clip = small(&place, 5);
    let mut reports = Vec::new();
    for threads in ["1", "3"] {
        let out = place.path().join(threads);
        let said = decomcam(["explain", "--size", "96", "-t", "a cat", "--frames=4", "--threads", threads]).arg(&clip);
        let said =
            said.path("--out", &out).ok().prints(&["of 4 frames. Track #", "overlay.gif", "curve.png", "frames.json"]);
        assert!(said.stderr.contains("5 frames in 1.00 seconds: 4 are explained"), "{said}");
        assert_eq!(names(&out), ["curve.png", "frames.json", "overlay.gif"]);
        let mut decoder =
            gif::DecodeOptions::new().read_info(fs::File::open(out.join("overlay.gif")).unwrap()).unwrap();
        let mut delays = Vec::new();
        while let Some(frame) = decoder.read_next_frame().unwrap() {
            delays.push(frame.delay);
        }
        // Of four quarters of a second the first frames: those at 0, 0.4, 0.6 and 0.8.
        assert_eq!(delays, [40, 20, 20, 20]);
        reports.push(json(out.join("frames.json")));
    }
    assert_eq!(reports[0], reports[1]);
    let times: Vec<f64> = list(&reports[0], "frames").iter().map(|frame| frame["time"].as_f64().unwrap()).collect();
    assert!(times.iter().zip([0.0, 0.4, 0.6, 0.8]).all(|(time, expected)| (time - expected).abs() < 1e-9), "{times:?}");
}

#[test]
fn each_frame_has_the_numbers_of_its_photo() {
    let place = TempDir::new().unwrap();
    let report = decomcam(QUICK).args(["-t", "a cat", "--check", "-o", "-"]).arg(small(&place, 2)).ok().json();
    let photo = decomcam(["explain", "-t", "a cat", "--size", "96", "--method", "grad-cam", "-o", "-"]);
    let photo = photo.arg(small(&place, 2)).ok().json();
    let first = &list(&report, "frames")[0];
    assert_eq!((&first["scores"], &first["check"]), (&photo["scores"], &photo["check"]));
    assert_eq!(first["regions"], photo["map"]["regions"]);
    assert!(list(first, "parts").is_empty() && list(&report, "tracks").is_empty());
}

#[test]
fn what_is_seen_first_is_asked_of_all() {
    let place = TempDir::new().unwrap();
    let report = decomcam(QUICK).args(["-o", "-"]).arg(small(&place, 3)).ok().json();
    let photo = decomcam(["explain", "--size", "96", "--method", "grad-cam", "-o", "-"]).arg(small(&place, 3)).ok();
    assert_eq!(report["text"], photo.json()["text"]);
}

#[test]
fn an_animation_without_frames_is_a_photo_and_says_so() {
    let place = TempDir::new().unwrap();
    let quick = ["explain", "--size", "96", "--method", "grad-cam", "--no-check", "-t", "a cat"];
    decomcam(quick).arg(small(&place, 2)).path("--out", place.path().join("out")).ok().complains(&[
        "the file is an animation, of which the first frame was explained; --frames explains the others too",
    ]);
}

#[test]
fn damage_ends_a_sequence_and_one_picture_is_none() {
    let place = TempDir::new().unwrap();
    let clip = small(&place, 4);
    let bytes = fs::read(&clip).unwrap();
    fs::write(&clip, &bytes[..bytes.len() * 3 / 4]).unwrap();
    let out = place.path().join("out");
    let said = decomcam(QUICK).args(["-t", "a cat"]).arg(&clip).path("--out", &out).ok();
    assert!(said.stderr.contains("small.png`: it is damaged behind these frames ("), "{said}");
    let report = json(out.join("frames.json"));
    assert_eq!(report["clip"]["explained"], report["clip"]["frames"]);
    let one = "expected two pictures or more, found one";
    fs::write(&clip, &bytes[..bytes.len() / 3]).unwrap();
    decomcam(QUICK).arg(&clip).path("--out", &out).refused(&[one, "that is followed by damage"]);
    decomcam(QUICK).arg(cat()).path("--out", &out).refused(&[one, "leave --frames out to explain it as a photo"]);
}

/// The other run's files, complete or not, are left alone.
#[cfg(unix)]
#[test]
fn a_second_run_in_a_directory_is_refused() {
    let place = TempDir::new().unwrap();
    let out = place.path().join("out");
    fs::create_dir(&out).unwrap();
    let half = out.join(".decomcam-half");
    fs::write(&half, b"half").unwrap();
    let first = fs::File::open(&out).unwrap();
    first.lock().unwrap();
    let call = || decomcam(QUICK).args(["-t", "a cat"]).arg(small(&place, 2)).path("--out", &out);
    call().refused(&["another run is writing it; choose another --out"]);
    assert!(half.exists());
    drop(first);
    call().ok();
    assert_eq!(names(&out), ["curve.png", "frames.json", "overlay.gif"]);
}

#[test]
fn what_does_not_go_with_frames_is_refused() {
    let place = TempDir::new().unwrap();
    let clip = small(&place, 2);
    for (more, expected) in [
        (&["other.png"][..], "several files: give one file in each command"),
        (&["--list", "list.txt"], "--list"),
        (&["--shard", "1/2"], "--shard"),
        (&["--jsonl"], "--jsonl"),
        (&["--arrays", "grid"], "--arrays"),
        (&["--no-check"], "--no-check"),
        (&["-o", "maps/{stem}.png"], "a pattern in --out"),
    ] {
        decomcam(QUICK).arg(&clip).args(more).misused(&[&format!("--frames does not go with {expected}")]);
    }
    decomcam(["explain", "-t", "a cat", "--check"]).arg(&clip).misused(&["--frames"]);
    decomcam(["explain", "-t", "a cat", "--frames"])
        .arg(&clip)
        .misused(&["for the usual number put --frames behind the file"]);
    decomcam(["explain", "-t", "a cat", "--frames", "1"])
        .arg(&clip)
        .misused(&["expected a number of frames from 2 on, or all"]);
}

#[test]
fn a_film_that_is_stopped_leaves_nothing() {
    let place = TempDir::new().unwrap();
    let clip = Clip::open(&small(&place, 6)).unwrap();
    let out = place.path().join("out");
    let session = Session::open("lite").unwrap().watching(|step| {
        if step.counted == "frames" && step.done == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    let mut asked = FramesOptions::new(Some(out.clone()));
    asked.options = asked.options.method("grad-cam".parse().unwrap()).unchecked();
    let stopped = frames::explain(&session, &clip, &asked, &|_| session.prompt("a cat"));
    assert!(matches!(stopped, Err(Error::Cancelled)), "{stopped:?}");
    assert_eq!(names(&out), [""; 0]);
}

/// Ctrl-C has the exit code that shells give it, whatever it stops.
#[cfg(unix)]
#[test]
fn a_signal_has_its_exit_code() {
    use std::process::{Command, Stdio};
    let place = TempDir::new().unwrap();
    let clip = small(&place, 14);
    for (signal, code) in [("-INT", 130), ("-TERM", 143)] {
        let run = decomcam(["explain", "--frames", "all", "--check", "-t", "a cat"]).arg(&clip);
        let run = run.path("-o", place.path().join("out"));
        let mut command = run.command();
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        // The first line is said once the signals are waited for.
        let mut told = std::io::BufReader::new(child.stderr.take().unwrap());
        std::io::BufRead::read_line(&mut told, &mut String::new()).unwrap();
        assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
        let mut rest = String::new();
        std::io::Read::read_to_string(&mut told, &mut rest).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(code), "{rest}");
        assert!(rest.contains("stopped; nothing was written"), "{rest}");
        assert_eq!(names(place.path().join("out")), [""; 0]);
    }
}

/// Whether ffmpeg is there; where it is not, a test says so and ends.
fn ffmpeg(args: &[&str], file: &Path) -> bool {
    match Command::new("ffmpeg").args(["-v", "error", "-y"]).args(args).arg(file).status() {
        Ok(status) => {
            assert!(status.success());
            true
        }
        Err(_) => {
            eprintln!("skipped: ffmpeg is not installed");
            false
        }
    }
}

const BARS: [&str; 6] = ["-f", "lavfi", "-i", "testsrc=size=64x48:rate=10:duration=2", "-pix_fmt", "yuv420p"];

#[test]
fn frames_of_a_video_come_with_their_times_and_upright() {
    let place = TempDir::new().unwrap();
    let video = place.path().join("-bars:1.mp4");
    if !ffmpeg(&BARS, &video) {
        return;
    }
    let clip = Clip::open(&video).unwrap();
    assert_eq!((clip.count(), clip.seconds()), (20, 2.0));
    let times = |wanted: Wanted| -> Vec<f64> {
        let mut times = Vec::new();
        let damage = clip.each(wanted, |frame| {
            assert_eq!((frame.number, frame.photo.pixels.dimensions()), (times.len(), (64, 48)));
            times.push((10.0 * frame.time).round());
            ControlFlow::Continue(())
        });
        assert_eq!(damage.unwrap(), None);
        assert_eq!(times.len(), clip.chosen(wanted));
        times
    };
    assert_eq!(times(Wanted::All), (0..20).map(f64::from).collect::<Vec<_>>());
    assert_eq!(times(Wanted::AtMost(4)), [0.0, 5.0, 10.0, 15.0]);

    let turned = place.path().join("turned.mp4");
    let source = video.to_str().unwrap().replace("/-bars", "/./-bars");
    ffmpeg(&["-i", &format!("file:{source}"), "-metadata:s:v", "rotate=90", "-c", "copy"], &turned);
    let probe = ["-v", "error", "-show_entries", "stream_side_data=rotation", "-of", "csv=p=0"];
    let probed = Command::new("ffprobe").args(probe).arg(&turned).output().unwrap();
    if String::from_utf8_lossy(&probed.stdout).contains("90") {
        let mut sizes = Vec::new();
        let look = Clip::open(&turned).unwrap().each(Wanted::All, |frame| {
            sizes.push(frame.photo.pixels.dimensions());
            ControlFlow::Break(())
        });
        assert_eq!((look.unwrap(), sizes), (None, vec![(48, 64)]));
    } else {
        eprintln!("skipped: this ffmpeg does not write a rotation in this way");
    }
}

#[test]
fn a_video_makes_a_video_and_takes_the_place_of_a_gif() {
    let place = TempDir::new().unwrap();
    let video = place.path().join("bars.mp4");
    if !ffmpeg(&BARS, &video) {
        return;
    }
    let out = place.path().join("out");
    decomcam(QUICK).args(["-t", "a cat"]).arg(small(&place, 2)).path("--out", &out).ok();
    assert_eq!(names(&out), ["curve.png", "frames.json", "overlay.gif"]);
    let quick = ["explain", "-t", "a cat", "--size", "96", "--method", "grad-cam", "--frames=4"];
    decomcam(quick).arg(&video).path("--out", &out).ok().prints(&["overlay.mp4"]);
    assert_eq!(names(&out), ["curve.png", "frames.json", "overlay.mp4"]);
    let film = Clip::open(&out.join("overlay.mp4")).unwrap();
    assert_eq!((film.count(), film.seconds()), (4, 2.0));
}

#[test]
fn without_ffmpeg_a_sentence_says_what_to_install() {
    let place = TempDir::new().unwrap();
    let video = place.path().join("film.mkv");
    fs::write(&video, b"\x1a\x45\xdf\xa3 what a video begins with").unwrap();
    let mut command = decomcam(QUICK).args(["-t", "a cat"]).arg(&video).command();
    command.env("PATH", place.path());
    let said = crate::common::run::Run::from(command);
    said.refused(&[
        "film.mkv",
        "ffprobe, which is not installed: install ffmpeg (Debian and Ubuntu: apt install ffmpeg",
    ]);
    decomcam(["explain", "-t", "a cat"]).arg(&video).refused(&["or give --frames if it is a video"]);
}

#[test]
fn what_ffmpeg_cannot_read_is_told_with_its_words() {
    let place = TempDir::new().unwrap();
    let video = place.path().join("film.mp4");
    if !ffmpeg(&BARS, &video) {
        return;
    }
    let bytes = fs::read(&video).unwrap();
    fs::write(&video, &bytes[..bytes.len() / 2]).unwrap();
    decomcam(QUICK).args(["-t", "a cat"]).arg(&video).refused(&[
        "film.mp4",
        "a file that ffmpeg cannot read (",
        "Invalid data",
    ]);
}

#[test]
fn damage_that_ffmpeg_goes_on_with_is_told() {
    let place = TempDir::new().unwrap();
    let video = place.path().join("film.mkv");
    if !ffmpeg(&BARS, &video) {
        return;
    }
    let bytes = fs::read(&video).unwrap();
    fs::write(&video, &bytes[..bytes.len() * 9 / 10]).unwrap();
    decomcam(QUICK).args(["-t", "a cat", "-o", "-"]).arg(&video).ok().complains(&["film.mkv`: ffmpeg found damage"]);
}
