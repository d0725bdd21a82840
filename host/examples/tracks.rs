//! How well a part's direction tells what is the same thing: `cargo run --release --example tracks -- FOLDER`, with photos that have nothing to do with each
//! other.
//!
//! Prints quantiles of the cosines of the best one-to-one matching: between photos of the folder, and between frames in which a cat's face, cut out, moves over
//! them. The threshold of `decomcam::frames::tracks` stands between.

use anyhow::{Context, Result};
use decomcam::frames::tracks::matched;
use decomcam::{Options, Photo, Session};
use image::RgbImage;
use image::imageops::{self, FilterType};
use std::path::PathBuf;

/// The direction of each part, and its share of the evidence.
type Parts = Vec<(Vec<f32>, f32)>;

fn parts(session: &Session, photo: &Photo) -> Result<Parts> {
    let why = session.explain(photo, &session.prompt("a cat")?, &Options::new().unchecked())?;
    let list = why.parts.context("parts")?.list;
    let evidence: f32 = list.iter().map(|part| part.contribution.max(0.0)).sum();
    Ok(list.into_iter().map(|part| (part.component.direction, part.contribution / evidence)).collect())
}

/// The cosine that each part of the first has to its match, with its share.
fn cosines(one: &Parts, other: &Parts) -> Vec<(f32, f32)> {
    let directions = |parts: &Parts| parts.iter().map(|(direction, _)| direction.clone()).collect::<Vec<_>>();
    let found = matched(&directions(one), &directions(other), -1.0);
    found.into_iter().zip(one).filter_map(|(found, (_, share))| Some((found?.1, *share))).collect()
}

fn quantiles(name: &str, mut cosines: Vec<f32>) {
    cosines.sort_by(f32::total_cmp);
    let at = |share: f64| cosines[((cosines.len() - 1) as f64 * share) as usize];
    println!(
        "{name}: {} parts, 10% {:.2}, 25% {:.2}, median {:.2}, 90% {:.2}, largest {:.2}",
        cosines.len(),
        at(0.1),
        at(0.25),
        at(0.5),
        at(0.9),
        at(1.0)
    );
}

fn main() -> Result<()> {
    const SIDE: u32 = 320;
    const FACE: u32 = 150;
    let folder = std::env::args().nth(1).context("expected FOLDER")?;
    let session = Session::open("lite")?;
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    files.sort();
    let mut unrelated = Vec::new();
    for pair in files.chunks_exact(2).take(25) {
        let [one, other] = [&pair[0], &pair[1]].map(|path| parts(&session, &Photo::open(path)?));
        unrelated.extend(cosines(&one?, &other?).into_iter().map(|(cosine, _)| cosine));
    }
    quantiles("unrelated photos", unrelated);

    let cat = Photo::open(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/photos/chelsea.png"))?.pixels;
    let face =
        imageops::resize(&imageops::crop_imm(&cat, 60, 0, 300, 300).to_image(), FACE, FACE, FilterType::Triangle);
    let (mut moving, mut large) = (Vec::new(), Vec::new());
    for (number, file) in files.iter().step_by(6).take(10).enumerate() {
        let background = imageops::resize(&Photo::open(file)?.pixels, SIDE, SIDE, FilterType::Triangle);
        let mut before: Option<Parts> = None;
        for step in 0..5 {
            let (left, top) = (20 + 16 * step, 80 + 20 * (number as u32 % 3));
            let mut frame: RgbImage = background.clone();
            for (x, y, pixel) in face.enumerate_pixels() {
                let (dx, dy) = (f64::from(x) - 74.5, f64::from(y) - 74.5);
                if dx.hypot(dy) < 75.0 {
                    frame.put_pixel(left + x, top + y, *pixel);
                }
            }
            let now = parts(&session, &Photo::from_pixels("frame", frame))?;
            if let Some(before) = &before {
                let found = cosines(before, &now);
                moving.extend(found.iter().map(|(cosine, _)| *cosine));
                large.extend(found.iter().filter(|(_, share)| *share > 0.1).map(|(cosine, _)| *cosine));
            }
            before = Some(now);
        }
    }
    quantiles("a face that moves, all parts", moving);
    quantiles("a face that moves, parts with more than a tenth of the evidence", large);
    Ok(())
}
