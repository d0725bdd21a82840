//! Every map of the core's `cams` against the PyPI package `grad-cam` and the papers' formulas in float64 (`cams/make.py`).

use decomcam_core::cams::{self, Cam};
use decomcam_core::{Error, Maps, decompose};
use serde_json::Value;

fn fixture() -> Value {
    serde_json::from_str(include_str!("../cams/cams.json")).unwrap()
}

fn numbers(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap() as f32).collect()
}

/// Within 1e-5 of the largest value.
fn agree(name: &str, map: &[f32], want: &[f32]) {
    let largest = want.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
    assert!(largest > 0.0 && map.len() == want.len());
    for (at, (found, want)) in map.iter().zip(want).enumerate() {
        assert!((found - want).abs() <= 1e-5 * largest, "{name} at {at}: {found}, expected {want}");
    }
}

const SUMS: [(&str, Cam); 5] = [
    ("grad-cam", Cam::GradCam),
    ("grad-cam++", Cam::GradCamPlusPlus),
    ("xgrad-cam", Cam::XGradCam),
    ("hires-cam", Cam::HiResCam),
    ("layer-cam", Cam::LayerCam),
];

#[test]
fn every_cam_agrees_with_the_package_and_the_formula() {
    let data = fixture();
    let [c, h, w] = [0, 1, 2].map(|k| data["shape"][k].as_u64().unwrap() as usize);
    let (a, g) = (numbers(&data["activations"]), numbers(&data["gradients"]));
    let (a, g) = (Maps::chw(&a, c, h, w).unwrap(), Maps::chw(&g, c, h, w).unwrap());
    let mut map = vec![0.0; h * w];
    let check = |name: &str, map: &[f32]| {
        agree(name, map, &numbers(&data["package"][name]));
        agree(name, map, &numbers(&data["formula"][name]));
    };
    let mut scratch = vec![0.0; cams::scratch_len(h * w)];
    for (name, cam) in SUMS {
        cams::cam(cam, &a, &g, &mut scratch, &mut map).unwrap();
        check(name, &map);
    }
    let mut workspace = vec![0.0; decompose::workspace_len(h * w, c)];
    cams::eigen_cam(&a, &mut workspace, &mut map).unwrap();
    check("eigen-cam", &map);
    cams::eigen_grad_cam(&a, &g, &mut workspace, &mut map).unwrap();
    check("eigen-grad-cam", &map);
}

/// The formula of Grad-CAM++ in float64, for numbers whose cubes and sums leave the range of `f32`; where the result does, it is refused.
#[test]
fn grad_cam_plus_plus_is_its_formula_for_large_gradients() {
    let base = [[1.0, 0.5, 2.0, 0.0], [0.25, 3.0, 1.0, 1.5]];
    let slopes = [[1.0, -0.5, 0.75, 2.0], [0.5, 0.1, -1.0, 0.0]];
    for scale in [1e-5, 1.0, 1e5, 1e10, 1e15, 1e30] {
        for steepness in [1e-8, 1e-3, 1.0, 1e5, 1e10, 1e13, 1e20, 1e30, 1e38] {
            let a: Vec<f32> = base.concat().iter().map(|value| value * scale).collect();
            let g: Vec<f32> = slopes.concat().iter().map(|value| value * steepness).collect();
            let mut want = [0.0_f64; 4];
            for (a, g) in a.chunks(4).zip(g.chunks(4)) {
                let sum: f64 = a.iter().map(|a| f64::from(*a)).sum();
                let share = |g: f64| g.max(0.0) * g.powi(2) / (2.0 * g.powi(2) + g.powi(3) * sum + 1e-6);
                let weight: f64 = g.iter().map(|g| share(f64::from(*g))).sum();
                want.iter_mut().zip(a).for_each(|(want, a)| *want += weight * f64::from(*a));
            }
            let (mut scratch, mut map) = ([0.0; cams::scratch_len(4)], [0.0; 4]);
            let (a, g) = (Maps::chw(&a, 2, 2, 2).unwrap(), Maps::chw(&g, 2, 2, 2).unwrap());
            cams::cam(Cam::GradCamPlusPlus, &a, &g, &mut scratch, &mut map).unwrap();
            agree(&format!("{scale:e} {steepness:e}"), &map, &want.map(|value| value as f32));
        }
    }
    // A sum of activations beyond the range of f32 is no reason for a map of zeros.
    let (a, g) = ([3e38; 4], [1.0; 4]);
    let (a, g) = (Maps::chw(&a, 1, 2, 2).unwrap(), Maps::chw(&g, 1, 2, 2).unwrap());
    for cam in [Cam::GradCamPlusPlus, Cam::XGradCam] {
        let refused = cams::cam(cam, &a, &g, &mut [0.0; cams::scratch_len(4)], &mut [0.0; 4]);
        assert_eq!(refused, Err(Error::NonFinite));
    }
}

#[test]
fn what_does_not_fit_is_refused_before_anything_is_written() {
    let (a, g) = ([1.0_f32; 24], [1.0_f32; 24]);
    let maps = |c, h, w| Maps::chw(&a, c, h, w).unwrap();
    let (two, wide, three) = (maps(2, 3, 4), maps(2, 4, 3), maps(3, 2, 4));
    let gradients = Maps::chw(&g, 2, 3, 4).unwrap();
    let (mut scratch, mut map) = ([7.0; 24], [7.0; 12]);
    for other in [&wide, &three] {
        assert_eq!(cams::cam(Cam::GradCam, other, &gradients, &mut scratch, &mut map), Err(Error::Shape));
        let mut workspace = [0.0; decompose::workspace_len(12, 3)];
        assert_eq!(cams::eigen_grad_cam(other, &gradients, &mut workspace, &mut map), Err(Error::Shape));
    }
    assert_eq!(cams::cam(Cam::GradCam, &two, &gradients, &mut scratch, &mut map[..11]), Err(Error::Shape));
    assert_eq!(cams::cam(Cam::GradCam, &two, &gradients, &mut scratch[..23], &mut map), Err(Error::WorkspaceTooSmall));
    assert_eq!(cams::eigen_cam(&two, &mut scratch, &mut map), Err(Error::WorkspaceTooSmall));
    assert_eq!(map, [7.0; 12]);
    let mut nan = g;
    nan[5] = f32::NAN;
    let nan = Maps::chw(&nan, 2, 3, 4).unwrap();
    for (name, cam) in SUMS {
        assert_eq!(cams::cam(cam, &two, &nan, &mut scratch, &mut map), Err(Error::NonFinite), "{name}");
    }
}
