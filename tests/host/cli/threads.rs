//! `--threads`: how many there are while the command runs, as the system counts them.

use crate::common::run::decomcam;
use std::path::Path;
use tempfile::TempDir;

/// The most threads that `rank` ever has. It resizes the photo and runs the network once: resizing is all that threads share.
fn most_threads(photo: &Path, threads: &str) -> usize {
    let mut child = decomcam(["rank", "--text", "a cat", "--threads", threads])
        .arg(photo)
        .command()
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let tasks = format!("/proc/{}/task", child.id());
    let mut most = 0;
    while child.try_wait().unwrap().is_none() {
        most = most.max(std::fs::read_dir(&tasks).map_or(0, Iterator::count));
    }
    assert!(child.wait().unwrap().success());
    most
}

#[test]
fn resizing_heeds_threads() {
    let place = TempDir::new().unwrap();
    let photo = place.path().join("large.bmp");
    image::RgbImage::from_fn(4000, 4000, |x, y| image::Rgb([(x % 251) as u8, (y % 241) as u8, 90]))
        .save(&photo)
        .unwrap();
    assert_eq!(most_threads(&photo, "1"), 1);
    // The one that waits for the three is there too.
    let most = most_threads(&photo, "3");
    assert!((2..=4).contains(&most), "{most}");
}
