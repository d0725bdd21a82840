//! Photos decomposed together (`decomcam pool`): on matrices, against the core's SVD of them side by side; and from end to end.

use crate::common::random::Random;
use crate::common::run::decomcam;
use crate::common::{json, names, numbers};
use decomcam::Size;
use decomcam::pool::{self, Shared, SharedComponent};
use decomcam_core::svd;
use std::fs;
use tempfile::TempDir;

/// What the core promises of a component (`decompose`, Accuracy), relative to the largest entry, which is below one here as every photo has norm one.
const COMPONENT: f32 = 1e-5;

/// What it leaves of a sum of `components` maps, each times the sum of a unit vector of `channels` entries, which is at most their root.
fn tolerance(components: usize, channels: usize) -> f32 {
    COMPONENT * ((components * channels) as f32).sqrt()
}

const GRID: Size = Size::new(2, 3);
const POSITIONS: usize = GRID.area();

/// Values around zero.
fn noise(count: usize, random: &mut Random) -> Vec<f32> {
    (0..count).map(|_| random.uniform() as f32 - 0.5).collect()
}

/// Photos without structure, their channels weighed with both signs.
fn photos(count: usize, channels: usize) -> Vec<Vec<f32>> {
    let mut random = Random::new(7);
    let weights: Vec<f32> = (0..channels).map(|channel| 1.0 / (1 + channel) as f32 - 0.15).collect();
    (0..count).map(|_| pool::photo_matrix(&noise(channels * POSITIONS, &mut random), &weights).unwrap()).collect()
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// u_q = sum_k X_k c_qk / s_q^2.
fn directions(photos: &[Vec<f32>], shared: &Shared) -> Vec<Vec<f32>> {
    let direction = |component: &SharedComponent| {
        let channels = photos[0].len() / POSITIONS;
        let entry = |channel: usize| -> f32 {
            let rows = photos.iter().map(|x| &x[channel * POSITIONS..(channel + 1) * POSITIONS]);
            rows.zip(&component.maps).map(|(row, map)| dot(row, map)).sum::<f32>()
        };
        (0..channels).map(|channel| entry(channel) / component.singular_value.powi(2)).collect()
    };
    shared.components.iter().map(direction).collect()
}

#[test]
fn all_components_sum_to_each_photo() {
    // More positions than channels, and fewer; centring leaves each photo one dimension less than positions.
    for (channels, count) in [(7, 3), (40, 3)] {
        let photos = photos(count, channels);
        let rank = channels.min(count * (POSITIONS - 1));
        let shared = pool::shared(&photos, channels, GRID, rank).unwrap();
        let directions = directions(&photos, &shared);
        let bar = tolerance(rank, channels);
        for (k, photo) in photos.iter().enumerate() {
            let norm: f32 = dot(photo, photo);
            assert!((norm - 1.0).abs() < 1e-5, "photo {k}: {norm}");
            for position in 0..POSITIONS {
                let mut first_order = 0.0;
                for channel in 0..channels {
                    let value = photo[channel * POSITIONS + position];
                    let parts = shared.components.iter().zip(&directions);
                    let sum: f32 = parts.map(|(part, u)| u[channel] * part.maps[k][position]).sum();
                    assert!((sum - value).abs() < bar, "photo {k}, channel {channel}: {sum}, expected {value}");
                    first_order += value;
                }
                let sum: f32 = shared.components.iter().map(|part| part.weight * part.maps[k][position]).sum();
                assert!((sum - first_order).abs() < bar, "photo {k}: {sum}, expected {first_order}");
            }
        }
        let typical: f32 = shared.components.iter().flat_map(|part| &part.typicality).sum();
        assert!((typical / count as f32 - 1.0).abs() < bar, "{typical} of {count} photos");
    }
}

#[test]
fn components_are_those_of_the_matrices_side_by_side() {
    let (channels, count, wanted) = (9, 4, 6);
    let photos = photos(count, channels);
    let shared = pool::shared(&photos, channels, GRID, wanted).unwrap();
    // X', a row of N P positions for each channel, to U diag(s) by rotations alone.
    let row = |channel: usize| photos.iter().flat_map(move |x| &x[channel * POSITIONS..(channel + 1) * POSITIONS]);
    let mut columns: Vec<f32> = (0..channels).flat_map(row).copied().collect();
    let mut values = vec![0.0; channels];
    assert!(svd::orthogonalise(&mut columns, count * POSITIONS, &mut values, None).unwrap().converged);
    let total: f32 = values.iter().map(|value| value * value).sum();
    assert!((total - count as f32).abs() < 1e-4, "every photo weighs the same: {total}");
    assert_eq!(shared.singular_values.len(), wanted + 1);
    for (q, (part, column)) in shared.components.iter().zip(columns.chunks_exact(count * POSITIONS)).enumerate() {
        assert!((part.singular_value - values[q]).abs() < 2e-6 * values[0], "{q}: {}", part.singular_value);
        assert!((part.explained_variance - values[q].powi(2) / total).abs() < 1e-5);
        let map = part.maps.concat();
        let sign = dot(&map, column).signum();
        for (found, expected) in map.iter().zip(column) {
            assert!((found - sign * expected).abs() < COMPONENT * values[0], "{q}: {found}, expected {expected}");
        }
    }
}

#[test]
fn a_planted_direction_comes_first_with_one_sign_for_all_photos() {
    let channels = 12;
    let mut random = Random::new(3);
    // Two categories, each with channels of its own and one in common; in the second photo the side with the largest entry is the negative one.
    for own in [[0, 3, 5], [1, 3, 8]] {
        let places =
            [[3.0, 0.0, 0.0, -1.0, -1.0, -1.0], [-3.0, 0.0, 0.0, 1.0, 1.0, 1.0], [0.0, 2.0, 0.0, 0.0, 0.0, -2.0]];
        let photo = |(k, place): (usize, &[f32; POSITIONS])| {
            let mut maps = noise(channels * POSITIONS, &mut random);
            maps.iter_mut().for_each(|value| *value *= 0.2);
            for channel in own {
                maps[channel * POSITIONS..(channel + 1) * POSITIONS].iter_mut().zip(place).for_each(|(m, p)| *m += p);
            }
            // However strong the activations of a photo are.
            maps.iter_mut().for_each(|value| *value *= [1.0, 1000.0, 0.01][k]);
            pool::photo_matrix(&maps, &vec![1.0; channels]).unwrap()
        };
        let photos: Vec<Vec<f32>> = places.iter().enumerate().map(photo).collect();
        let shared = pool::shared(&photos, channels, GRID, 2).unwrap();
        let first = &shared.components[0];
        assert!(first.explained_variance > 0.9, "{}", first.explained_variance);
        let direction = &directions(&photos, &shared)[0];
        let planted: f32 = own.iter().map(|channel| direction[*channel]).sum::<f32>() / 3.0_f32.sqrt();
        assert!(planted > 0.98, "{planted}: {direction:?}");
        for (place, map) in places.iter().zip(&first.maps) {
            let cosine = dot(place, map) / (dot(place, place) * dot(map, map)).sqrt();
            assert!(cosine > 0.98, "{cosine}: {map:?}");
        }
        assert!(first.typicality.iter().all(|share| (0.5..1.5).contains(share)), "{:?}", first.typicality);
    }
}

#[test]
fn a_photo_without_structure_is_refused() {
    assert!(pool::photo_matrix(&[2.0; 3 * POSITIONS], &[1.0; 3]).is_none());
    let channels = decomcam::explain::CHANNELS_MAX + 1;
    let refused = pool::shared(&[vec![0.0; channels]], channels, Size::square(1), 1).unwrap_err().to_string();
    assert!(refused.contains("4097 channels") && refused.contains("--layer"), "{refused}");
}

/// Photos of the repository's cat in folders: whole, mirrored, and one that is no photo.
fn folders() -> TempDir {
    let place = TempDir::new().unwrap();
    for folder in ["photos/cat", "photos/tabby_cat", "photos/qzxvw"] {
        fs::create_dir_all(place.path().join(folder)).unwrap();
    }
    let cat = crate::common::cat();
    fs::copy(&cat, place.path().join("photos/tabby_cat/only.png")).unwrap();
    fs::copy(&cat, place.path().join("photos/cat/whole.png")).unwrap();
    fs::copy(&cat, place.path().join("photos/qzxvw/whole.png")).unwrap();
    image::open(&cat).unwrap().fliph().save(place.path().join("photos/cat/mirrored.png")).unwrap();
    fs::write(place.path().join("photos/cat/broken.png"), "words").unwrap();
    place
}

#[test]
fn pool_decomposes_a_category() {
    let place = folders();
    let (photos, out) = (place.path().join("photos"), place.path().join("out"));
    let run =
        |more: &[&str]| decomcam(["pool", "--size", "96"]).args(more).path("--photos", &photos).path("--out", &out);
    // 6 x 6 positions of two photos, each centred: 70 components are all there are.
    let all = ["cat", "Cat", "unicorn", "qzxvw", "--components", "70", "--typical", "1", "--name-parts", "fur"];
    let named = ["broken.png, cat", "unicorn: no photo", "cat, qzxvw, tabby cat", "qzxvw/whole.png, qzxvw"];
    run(&all).said().exits_with(1).complains(&named).prints(&["wrote"]);
    assert_eq!(names(&out), ["cat.json", "cat.png"]);
    let report = json(out.join("cat.json"));
    assert_eq!((report["photos"].as_u64(), report["skipped_count"].as_u64()), (Some(2), Some(1)));
    let components = report["components"].as_array().unwrap();
    assert_eq!(components.len(), 70);
    let bar = f64::from(tolerance(70, 1280));
    assert!((numbers(&report["components"], "explained_variance").iter().sum::<f64>() - 1.0).abs() < bar);
    let mut typical = std::collections::BTreeMap::<&str, f64>::new();
    for component in components {
        let shares = numbers(&component["photos"], "typicality");
        assert!(shares[0] >= shares[1], "the most typical photo comes first: {component}");
        let mean = numbers(&component["photos"], "contribution").iter().sum::<f64>() / 2.0;
        assert!((mean - component["contribution"].as_f64().unwrap()).abs() < 1e-5, "{component}");
        for (photo, share) in component["photos"].as_array().unwrap().iter().zip(shares) {
            *typical.entry(photo["photo"].as_str().unwrap()).or_default() += share;
        }
    }
    assert_eq!(typical.len(), 2);
    assert!((typical.values().sum::<f64>() / 2.0 - 1.0).abs() < bar, "{typical:?}");
    assert!(components.iter().any(|component| component["name"]["text"] == "fur"), "{report}");
    assert_eq!(image::open(out.join("cat.png")).unwrap().width(), 640);

    // One photo alone: what `explain` finds in it, in the same part of the photo.
    run(&["tabby cat"]).ok();
    let pooled = json(out.join("tabby cat.json"));
    let explain = decomcam(["explain", "--text", "a tabby cat", "--size", "96", "--components", "5", "--out", "-"]);
    let explained = explain.arg(photos.join("tabby_cat/only.png")).ok().json();
    for key in ["explained_variance", "contribution"] {
        let (found, expected) = (numbers(&pooled["components"], key), numbers(&explained["parts"], key));
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(&expected) {
            assert!((found - expected).abs() < 1e-4, "{key}: {found}, expected {expected}");
        }
    }

    // Nothing to pool, and what does not go together: refused, and no files appear.
    fs::remove_dir_all(&out).unwrap();
    run(&["unicorn"]).refused(&["unicorn: no photo"]);
    run(&["qzxvw"]).refused(&["qzxvw"]);
    run(&["cat", "--components", "72"]).misused(&["expected 1 to 71"]);
    run(&["cat", "--method", "aligned"]).misused(&["--method"]);
    run(&["--typical", "2"]).misused(&["CATEGORY"]);
    assert!(names(&out).is_empty());
}
