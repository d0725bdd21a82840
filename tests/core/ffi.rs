//! The C interface from Rust: what it computes has the bits of the safe functions, what it refuses leaves outputs alone. Runs under Miri as well
//! (`cargo +nightly miri test -p decomcam-core --features capi --test core ffi`). `tests/c` calls it from C.
#![allow(unsafe_code, reason = "the C interface takes pointers: here they are those of arrays that outlive the call")]

use core::ffi::c_void;
use core::mem::MaybeUninit;
use core::ptr::{null, null_mut};
use decomcam_core::cams::{self, Cam};
use decomcam_core::ffi::*;
use decomcam_core::head::{self, LinearHead, Question};
use decomcam_core::mask::{self, Mask, Range, blend};
use decomcam_core::resample::{Bicubic, Tap, scratch_len};
use decomcam_core::{
    Error, Layout, Maps, Quantisation, ScoreFormula, SignRule, affinity, channels, decompose, integrate, svd,
};
use std::fmt::Write as _;

struct Random(u32);

impl Random {
    fn bits(&mut self, bits: u32) -> i32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> (32 - bits)) as i32
    }

    /// Uniform in -1..1.
    fn vec(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.bits(24) as f32 / (1 << 23) as f32 - 1.0).collect()
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

/// The `len` floats that a result points to.
fn read(values: *const f32, len: usize) -> Vec<u32> {
    // SAFETY: into a workspace of the test that called.
    bits(unsafe { std::slice::from_raw_parts(values, len) })
}

fn data<T>(values: &[T]) -> *const c_void {
    values.as_ptr().cast()
}

const F32: u32 = Element::F32 as u32;
const U8: u32 = Element::U8 as u32;
const I8: u32 = Element::I8 as u32;

/// The methods by their numbers in C, and the names that `tests/c/explain.c` gives them.
const METHODS: [(Method, Cam, &str); 5] = [
    (Method::GradCam, Cam::GradCam, "grad_cam"),
    (Method::GradCamPlusPlus, Cam::GradCamPlusPlus, "grad_cam_plus_plus"),
    (Method::XGradCam, Cam::XGradCam, "x_grad_cam"),
    (Method::HiResCam, Cam::HiResCam, "hi_res_cam"),
    (Method::LayerCam, Cam::LayerCam, "layer_cam"),
];

/// A layer of 6 channels of 3 x 4 and a head of 3 classes on it.
struct Small {
    activations: Vec<f32>,
    weights: Vec<f32>,
    bias: Vec<f32>,
}

const C: usize = 6;
const N: usize = 12;
const CLASSES: usize = 3;

impl Small {
    fn new() -> Self {
        let mut random = Random(1);
        Self { activations: random.vec(C * N), weights: random.vec(CLASSES * C), bias: random.vec(CLASSES) }
    }

    fn maps(&self) -> CMaps {
        decomcam_maps_chw(F32, data(&self.activations), C * N, C, 3, 4)
    }

    fn head(&self) -> CHead {
        let weights = decomcam_maps_matrix(F32, data(&self.weights), CLASSES * C, CLASSES, C);
        CHead { weights, bias: self.bias.as_ptr(), bias_len: CLASSES }
    }

    fn safe_head(&self) -> LinearHead<'_> {
        LinearHead::new(Maps::chw(&self.weights, CLASSES, 1, C).unwrap(), Some(&self.bias)).unwrap()
    }
}

#[test]
fn an_explanation_has_the_bits_of_the_safe_function() {
    let small = Small::new();
    let (maps, linear) = (small.maps(), small.head());
    let len = decomcam_explain_workspace_len(N, C, 5, 3);
    let (mut workspace, mut floats, mut top) = (vec![0.0; len], vec![0.0; head::workspace_len(N, C, 5, 3)], [0; 5]);
    let safe_maps = Maps::chw(&small.activations, C, 3, 4).unwrap();
    for (versus, sign, rule) in [
        (None, Sign::Score, SignRule::Score),
        (Some(0), Sign::LargestLoading, SignRule::LargestLoading),
        (Some(1), Sign::LargestEntry, SignRule::LargestEntry),
    ] {
        let ask = Question { class: 2, versus, components: 3, sign: rule };
        let want = head::explain(&small.safe_head(), &safe_maps, &ask, &mut top, &mut floats).unwrap();
        let versus = versus.as_ref().map_or(null(), |versus| versus as *const usize);
        let question = CQuestion { class_index: 2, versus, channels: 5, components: 3, sign: sign as u32 };
        let mut got = MaybeUninit::uninit();
        let got = unsafe {
            let status = decomcam_explain(&linear, &maps, &question, workspace.as_mut_ptr(), len, got.as_mut_ptr());
            assert_eq!(status, Status::Ok);
            got.assume_init()
        };
        assert_eq!(got.score.to_bits(), want.score.to_bits());
        assert_eq!((got.parts.count, got.parts.positions, got.channels_len), (3, N, 5));
        assert_eq!(unsafe { std::slice::from_raw_parts(got.channels, 5) }, want.channels);
        assert_eq!(read(got.parts.components, 3 * N), bits(want.ossms.maps()));
        let singular_values = want.ossms.singular_values();
        assert_eq!(read(got.parts.singular_values, got.parts.singular_values_len), bits(singular_values));
        assert_eq!(read(got.parts.centred_first_order, N), bits(want.ossms.centred_first_order()));
        assert_eq!(read(got.predicted, 3), bits(want.predicted));
        assert_eq!(read(got.measured, 3), bits(want.measured));
        assert_eq!(read(got.weights, 3), bits(want.weights));
        assert_eq!(read(got.saliency, N), bits(want.saliency));
        assert_eq!(read(got.centred_first_order, N), bits(want.centred_first_order));
        assert_eq!(got.parts.convergence.converged, 1);
        assert_eq!(got.parts.convergence.sweeps, u32::from(want.ossms.convergence().sweeps));
    }
}

#[test]
fn the_stages_have_the_bits_of_the_safe_functions() {
    let small = Small::new();
    let (maps, linear, safe_head) = (small.maps(), small.head(), small.safe_head());
    let safe_maps = Maps::chw(&small.activations, C, 3, 4).unwrap();
    let one = 1;
    unsafe {
        let (mut got, mut want) = ([0.0; C], [0.0; C]);
        assert_eq!(decomcam_channel_weights(&maps, got.as_mut_ptr(), C), Status::Ok);
        channels::weights(&safe_maps, &mut want).unwrap();
        assert_eq!(bits(&got), bits(&want));
        let mut pooled = [0.0; C];
        assert_eq!(decomcam_pool(&maps, pooled.as_mut_ptr(), C), Status::Ok);
        assert_eq!(bits(&pooled), bits(&want));

        let (mut logits, mut safe_logits) = ([0.0; CLASSES], [0.0; CLASSES]);
        let status = decomcam_head_logits(&linear, pooled.as_ptr(), C, logits.as_mut_ptr(), CLASSES);
        assert_eq!(status, Status::Ok);
        safe_head.logits(&pooled, &mut safe_logits).unwrap();
        assert_eq!(bits(&logits), bits(&safe_logits));
        for (versus, safe) in [(null(), None), (&raw const one, Some(1))] {
            let status = decomcam_head_channel_weights(&linear, 2, versus, N, got.as_mut_ptr(), C);
            assert_eq!(status, Status::Ok);
            safe_head.channel_weights(2, safe, N, &mut want).unwrap();
            assert_eq!(bits(&got), bits(&want));
        }

        let (mut scratch, mut map, mut safe_map) = ([0.0; 2 * N], [0.0; N], [0.0; N]);
        let (space, place, weights) = (scratch.as_mut_ptr(), map.as_mut_ptr(), got.as_ptr());
        assert_eq!(decomcam_centred_first_order(&maps, weights, C, space, 2 * N, place, N), Status::Ok);
        head::centred_first_order(&safe_maps, &want, &mut [0.0; N], &mut safe_map).unwrap();
        assert_eq!(read(place, N), bits(&safe_map));
        assert_eq!(decomcam_uncentred_first_order(&maps, weights, C, space, 2 * N, place, N), Status::Ok);
        head::uncentred_first_order(&safe_maps, &want, &mut [0.0; N], &mut safe_map).unwrap();
        assert_eq!(read(place, N), bits(&safe_map));
        assert_eq!(decomcam_first_order_mean(&maps, weights, C, place), Status::Ok);
        assert_eq!(read(place, 1), bits(&[head::first_order_mean(&safe_maps, &want).unwrap()]));

        let mut top = [0; 5];
        assert_eq!(decomcam_top_channels(got.as_ptr(), C, top.as_mut_ptr(), 5), Status::Ok);
        let safe_top = channels::top::<5>(&want, 5).unwrap();
        assert_eq!(top, *safe_top);

        let (mut workspace, mut safe_workspace) =
            ([0.0; decompose::workspace_len(N, 5)], [0.0; decompose::workspace_len(N, 5)]);
        assert_eq!(workspace.len(), decomcam_workspace_len(N, 5));
        let (mut parts, mut whole) = (MaybeUninit::uninit(), MaybeUninit::<CExplanation>::uninit());
        let selection = CSelection {
            weights: got.as_ptr(),
            weights_len: C,
            channels: top.as_ptr(),
            channels_len: 5,
            components: 4,
            sign: 0,
        };
        let status = decomcam_decompose(&maps, &selection, workspace.as_mut_ptr(), workspace.len(), parts.as_mut_ptr());
        assert_eq!(status, Status::Ok);
        let mut parts = parts.assume_init();
        let safe = decompose::decompose(&safe_maps, &want, &safe_top, 4, SignRule::Score, &mut safe_workspace).unwrap();
        assert_eq!(read(parts.components, 4 * N), bits(safe.maps()));
        for q in 0..4 {
            let mut alignment = 0.0;
            assert_eq!(decomcam_alignment(&parts, q, &mut alignment), Status::Ok);
            assert_eq!(alignment.to_bits(), safe.alignment(q).unwrap().to_bits());
        }
        let (mut got, mut want) = ([0.0; 4], [0.0; 4]);
        assert_eq!(decomcam_predicted(&parts, got.as_mut_ptr(), 4), Status::Ok);
        integrate::predicted(&safe, &mut want).unwrap();
        assert_eq!(bits(&got), bits(&want));
        assert_eq!(decomcam_aligned_weights(&parts, got.as_mut_ptr(), 4), Status::Ok);
        integrate::aligned_weights(&safe, &mut want).unwrap();
        assert_eq!(bits(&got), bits(&want));
        assert_eq!(decomcam_exact_weights(&parts, got.as_mut_ptr(), 4), Status::Ok);
        integrate::exact_weights(&safe, &mut want).unwrap();
        assert_eq!(bits(&got), bits(&want));
        assert_eq!(decomcam_rectify(&mut parts), Status::Ok);
        assert_eq!(read(parts.components, 4 * N), bits(safe.rectify().maps()));
        // The closed forms need the signs.
        let rectified = got;
        assert_eq!(decomcam_predicted(&parts, got.as_mut_ptr(), 4), Status::Rectified);
        assert_eq!(decomcam_aligned_weights(&parts, got.as_mut_ptr(), 4), Status::Rectified);
        assert_eq!(decomcam_exact_weights(&parts, got.as_mut_ptr(), 4), Status::Rectified);
        assert_eq!(decomcam_alignment(&parts, 0, got.as_mut_ptr()), Status::Rectified);
        assert_eq!(bits(&got), bits(&rectified));
        let question = CQuestion { class_index: 0, versus: null(), channels: 5, components: 3, sign: 0 };
        let mut space = vec![0.0; decomcam_explain_workspace_len(N, C, 5, 3)];
        let (space, len) = (space.as_mut_ptr(), space.len());
        let status = decomcam_explain(&linear, &maps, &question, space, len, whole.as_mut_ptr());
        assert_eq!((status, whole.assume_init().parts.rectified), (Status::Ok, 1));
    }
}

#[test]
fn class_activation_maps_and_affinity_have_the_bits_of_the_safe_functions() {
    let small = Small::new();
    let slopes = Random(5).vec(C * N);
    let (maps, gradients) = (small.maps(), decomcam_maps_chw(F32, data(&slopes), C * N, C, 3, 4));
    let (safe_maps, safe_gradients) =
        (Maps::chw(&small.activations, C, 3, 4).unwrap(), Maps::chw(&slopes, C, 3, 4).unwrap());
    let (mut got, mut want) = ([0.0; N], [0.0; N]);
    let map = got.as_mut_ptr();
    unsafe {
        let (mut scratch, mut safe_scratch) = (vec![0.0; decomcam_cam_scratch_len(N)], vec![0.0; cams::scratch_len(N)]);
        let (space, len) = (scratch.as_mut_ptr(), scratch.len());
        for (number, (method, cam, _)) in METHODS.into_iter().enumerate() {
            assert_eq!(method as usize, number);
            assert_eq!(decomcam_cam(method as u32, &maps, &gradients, space, len, map, N), Status::Ok);
            cams::cam(cam, &safe_maps, &safe_gradients, &mut safe_scratch, &mut want).unwrap();
            assert_eq!(read(map, N), bits(&want));
        }
        let status = decomcam_cam(METHODS.len() as u32, &maps, &gradients, space, len, map, N);
        assert_eq!((status, read(map, N)), (Status::UnknownOption, bits(&want)));
        // Activations and gradients that are finite, and a last value that is not.
        let mut huge = small.activations.clone();
        huge[C * N - 1] = f32::MAX;
        let huge = decomcam_maps_chw(F32, data(&huge), C * N, C, 3, 4);
        let status = decomcam_cam(Method::HiResCam as u32, &huge, &huge, space, len, map, N);
        assert_eq!((status, read(map, N)), (Status::NonFinite, bits(&want)));

        let mut workspace = vec![0.0; decompose::workspace_len(N, C)];
        let mut safe_workspace = workspace.clone();
        let (space, len) = (workspace.as_mut_ptr(), workspace.len());
        assert_eq!(decomcam_eigen_cam(&maps, space, len, map, N), Status::Ok);
        cams::eigen_cam(&safe_maps, &mut safe_workspace, &mut want).unwrap();
        assert_eq!(read(map, N), bits(&want));
        assert_eq!(decomcam_eigen_grad_cam(&maps, &gradients, space, len, map, N), Status::Ok);
        cams::eigen_grad_cam(&safe_maps, &safe_gradients, &mut safe_workspace, &mut want).unwrap();
        assert_eq!(read(map, N), bits(&want));

        let (mut scratch, mut matrix) = ([0.0; affinity::scratch_len(N)], [0.0; N * N]);
        let (mut safe_matrix, mut shared, mut safe_shared) = ([0.0; N * N], [0.0; N], [0.0; N]);
        assert_eq!(decomcam_affinity_scratch_len(N), scratch.len());
        let (space, len) = (scratch.as_mut_ptr(), scratch.len());
        assert_eq!(decomcam_affinity(&maps, space, len, matrix.as_mut_ptr(), N * N), Status::Ok);
        affinity::affinity(&safe_maps, &mut safe_matrix, &mut scratch).unwrap();
        assert_eq!(bits(&matrix), bits(&safe_matrix));
        assert_eq!(decomcam_share(matrix.as_ptr(), N * N, map, shared.as_mut_ptr(), N), Status::Ok);
        affinity::share(&safe_matrix, &want, &mut safe_shared).unwrap();
        assert_eq!(bits(&shared), bits(&safe_shared));
    }
}

#[test]
fn quantised_maps_have_the_bits_of_the_safe_views() {
    let mut random = Random(2);
    let bytes: Vec<u8> = (0..C * N).map(|_| random.bits(8) as u8).collect();
    let signed: Vec<i8> = bytes.iter().map(|b| b.wrapping_sub(128) as i8).collect();
    let scales = random.vec(C);
    let (zero_points, above) = ([-3, 0, 5, 7, -128, 127], [125, 128, 133, 135, 0, 255]);
    let means = |maps: &CMaps| {
        let mut means = [0.0; C];
        assert_eq!(unsafe { decomcam_pool(maps, means.as_mut_ptr(), C) }, Status::Ok);
        bits(&means)
    };
    let safe = |maps: Maps| {
        let mut means = [0.0; C];
        head::pool(&maps, &mut means).unwrap();
        bits(&means)
    };
    let hwc = Layout::hwc(3, 4, C);
    let mut maps = decomcam_maps_hwc(I8, data(&signed), C * N, 3, 4, C);
    (maps.scale, maps.zero_point) = (0.25, -7);
    let one = Quantisation::PerTensor { scale: 0.25, zero_point: -7 };
    assert_eq!(means(&maps), safe(Maps::i8(&signed, hwc, one).unwrap()));
    maps.scales = scales.as_ptr();
    let symmetric = Quantisation::PerChannel { scales: &scales, zero_points: &[] };
    assert_eq!(means(&maps), safe(Maps::i8(&signed, hwc, symmetric).unwrap()));
    let zeros = Quantisation::PerChannel { scales: &scales, zero_points: &[0; C] };
    assert_eq!(means(&maps), safe(Maps::i8(&signed, hwc, zeros).unwrap()));
    maps.zero_points = zero_points.as_ptr();
    let each = Quantisation::PerChannel { scales: &scales, zero_points: &zero_points };
    assert_eq!(means(&maps), safe(Maps::i8(&signed, hwc, each).unwrap()));
    let want = means(&maps);
    let mut maps = decomcam_maps_hwc(U8, data(&bytes), C * N, 3, 4, C);
    (maps.scales, maps.zero_points) = (scales.as_ptr(), above.as_ptr());
    assert_eq!(means(&maps), want);
    maps.scales = null();
    maps.zero_point = 128;
    let one = Quantisation::PerTensor { scale: 1.0, zero_point: 128 };
    assert_eq!(means(&maps), safe(Maps::u8(&bytes, hwc, one).unwrap()));
    for zero_point in [-1, 256, 1 << 20, -1 << 20] {
        maps.zero_point = zero_point;
        assert_eq!(unsafe { decomcam_pool(&maps, [0.0; C].as_mut_ptr(), C) }, Status::Quantisation);
    }
}

/// A scorer that asks for a row of its mask in memory that the scoring works with.
#[test]
fn a_mask_s_row_lies_in_no_buffer_of_the_scoring() {
    unsafe extern "C" fn greedy(context: *mut c_void, mask: *mut MaskRows<'_>, score: *mut f32) -> i32 {
        let places = unsafe { &*context.cast::<[*mut f32; 4]>() };
        for place in places.iter().filter(|_| !mask.is_null()) {
            assert_eq!(unsafe { decomcam_mask_row(mask, 0, *place, 5) }, Status::Overlap);
        }
        unsafe { score.write(0.5) };
        0
    }
    let mut ossms = Random(3).vec(2 * 6);
    let (mut taps, mut bicubic) = ([Tap::default(); 5], MaybeUninit::uninit());
    let mut workspace = vec![0.0; decomcam_mask_workspace_len(3, 5, 2)];
    let (mut scores, mut blurred) = ([0.0; 2], 0.0);
    unsafe {
        assert_eq!(decomcam_bicubic_init(bicubic.as_mut_ptr(), 2, 3, 4, 5, taps.as_mut_ptr()), Status::Ok);
        let bicubic = bicubic.assume_init();
        let memory = workspace.as_mut_ptr();
        let mut places = [ossms.as_mut_ptr(), ossms.as_mut_ptr().add(7), memory, memory.add(workspace.len() - 5)];
        let context = (&raw mut places).cast();
        let masking =
            CMasking { ossms: ossms.as_ptr(), ossms_len: 12, bicubic: &bicubic, scorer: Some(greedy), context };
        let status = decomcam_mask_scores(&masking, memory, workspace.len(), scores.as_mut_ptr(), 2, &mut blurred);
        assert_eq!((status, scores), (Status::Ok, [0.5; 2]));
    }
}

#[test]
fn masks_and_scores() {
    let ossms = Random(3).vec(2 * 6);
    let mut taps = [Tap::default(); 5];
    let mut bicubic = MaybeUninit::uninit();
    unsafe extern "C" fn corner(context: *mut c_void, mask: *mut MaskRows<'_>, score: *mut f32) -> i32 {
        let calls = unsafe { &mut *context.cast::<u32>() };
        *calls += 1;
        if mask.is_null() {
            unsafe { score.write(0.5) };
            return 0;
        }
        let mut row = [0.0; 5];
        let status = unsafe { decomcam_mask_row(mask, 3, row.as_mut_ptr(), 5) };
        assert_eq!(unsafe { decomcam_mask_row(mask, 4, row.as_mut_ptr(), 5) }, Status::Shape);
        assert_eq!(unsafe { decomcam_mask_row(mask, 3, row.as_mut_ptr(), 4) }, Status::Shape);
        unsafe { score.write(row[1]) };
        status as i32
    }
    unsafe extern "C" fn failing(context: *mut c_void, mask: *mut MaskRows<'_>, score: *mut f32) -> i32 {
        let fails = unsafe { *context.cast::<u32>() } > 0;
        unsafe { score.write(if fails { 0.5 } else { f32::NAN }) };
        i32::from(fails && !mask.is_null())
    }
    unsafe {
        assert_eq!(decomcam_bicubic_init(bicubic.as_mut_ptr(), 2, 3, 4, 5, taps.as_mut_ptr()), Status::Ok);
        let bicubic = bicubic.assume_init();
        let mut workspace = vec![0.0; decomcam_mask_workspace_len(3, 5, 2)];
        let (mut scores, mut blurred, mut calls) = ([7.0; 2], 7.0, 0_u32);
        let mut run = |scorer: Scorer, calls: &mut u32, short: usize| {
            let context = (calls as *mut u32).cast();
            let masking = CMasking { ossms: ossms.as_ptr(), ossms_len: 12, bicubic: &bicubic, scorer, context };
            let status = decomcam_mask_scores(
                &masking,
                workspace.as_mut_ptr(),
                workspace.len() - short,
                scores.as_mut_ptr(),
                2,
                &mut blurred,
            );
            (status, scores, blurred)
        };
        let untouched = ([7.0; 2], 7.0);
        for (scorer, calls, short, want) in [
            (None, 0, 0, Status::NullPointer),
            (Some(corner as _), 0, 1, Status::WorkspaceTooSmall),
            (Some(failing as _), 0, 0, Status::NonFinite),
            (Some(failing as _), 1, 0, Status::Callback),
        ] {
            let mut calls = calls;
            let (status, scores, blurred) = run(scorer, &mut calls, short);
            assert_eq!((status, (scores, blurred)), (want, untouched));
        }
        let (status, scores, blurred) = run(Some(corner), &mut calls, 0);
        assert_eq!((status, blurred, calls), (Status::Ok, 0.5, 3));

        let mut safe_taps = [Tap::default(); 5];
        let safe = Bicubic::new(2, 3, 4, &mut safe_taps).unwrap();
        let (mut scratch, mut row) = ([0.0; scratch_len(3)], [0.0; 5]);
        for (q, score) in scores.iter().enumerate() {
            let mask = Mask::new(&safe, &ossms[6 * q..][..6], &mut scratch, &mut row).unwrap();
            mask.row(3, &mut scratch, &mut row).unwrap();
            assert_eq!(score.to_bits(), row[1].to_bits());
        }
        // Damaged taps, as C could make them, are refused, not followed.
        taps.as_mut_ptr().add(4).cast::<u16>().write(0xffff);
        let mut row = [0.0; 5];
        let status = decomcam_bicubic_row(&bicubic, ossms.as_ptr(), 6, 0, scratch.as_mut_ptr(), 7, row.as_mut_ptr(), 5);
        assert_eq!(status, Status::Shape);
    }
}

#[test]
fn orthogonalise_in_place() {
    let mut columns = Random(4).vec(12);
    let mut safe = columns.clone();
    let (mut v, mut safe_v) = ([1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0], [0.0; 9]);
    safe_v.copy_from_slice(&v);
    let (mut values, mut safe_values) = ([0.0; 3], [0.0; 3]);
    let mut convergence = MaybeUninit::uninit();
    let want = svd::orthogonalise(&mut safe, 4, &mut safe_values, Some((&mut safe_v, 3))).unwrap();
    unsafe {
        let (columns, v) = (columns.as_mut_ptr(), v.as_mut_ptr());
        let status = decomcam_orthogonalise(columns, 12, 4, v, 9, 3, values.as_mut_ptr(), 3, convergence.as_mut_ptr());
        assert_eq!(status, Status::Ok);
        let convergence: CConvergence = convergence.assume_init();
        assert_eq!((convergence.converged, convergence.sweeps), (1, u32::from(want.sweeps)));
        assert_eq!(read(columns, 12), bits(&safe));
        assert_eq!(read(v, 9), bits(&safe_v));
    }
    assert_eq!(bits(&values), bits(&safe_values));
}

#[test]
fn refused_before_anything_is_touched() {
    let small = Small::new();
    let (maps, linear) = (small.maps(), small.head());
    let no_class = CLASSES;
    let mut out = [7.0_f32; C];
    let place = out.as_mut_ptr();
    unsafe {
        assert_eq!(decomcam_pool(null(), place, C), Status::NullPointer);
        assert_eq!(decomcam_pool(&maps, null_mut(), C), Status::NullPointer);
        assert_eq!(decomcam_pool(&maps, place.byte_add(1), C - 1), Status::Misaligned);
        assert_eq!(decomcam_pool(&maps, place, C - 1), Status::Shape);
        assert_eq!(decomcam_pool(&maps, place, usize::MAX / 4), Status::Shape);
        let with = |change: fn(&mut CMaps)| {
            let mut maps = maps;
            change(&mut maps);
            decomcam_pool(&maps, place, C)
        };
        assert_eq!(with(|maps| maps.data = null()), Status::NullPointer);
        assert_eq!(with(|maps| maps.data = maps.data.byte_add(2)), Status::Misaligned);
        assert_eq!(with(|maps| maps.len -= 1), Status::Shape);
        assert_eq!(with(|maps| maps.len = usize::MAX), Status::Shape);
        assert_eq!(with(|maps| maps.channel_stride = usize::MAX), Status::Shape);
        assert_eq!(with(|maps| maps.height = 0), Status::Shape);
        assert_eq!(with(|maps| maps.element = 3), Status::UnknownOption);
        // The last channel, when the others would have been written.
        for bad in [f32::NAN, f32::INFINITY, f32::MAX] {
            let mut activations = small.activations.clone();
            // Finite values have a finite mean.
            activations[(C - 1) * N..].fill(if bad == f32::MAX { f32::INFINITY } else { bad });
            let maps = decomcam_maps_chw(F32, data(&activations), C * N, C, 3, 4);
            assert_eq!(decomcam_channel_weights(&maps, place, C), Status::NonFinite);
            let mut scratch = [0.0; 2 * N];
            let mut map = [7.0; N];
            let (scratch, space) = (scratch.as_mut_ptr(), map.as_mut_ptr());
            let status = decomcam_centred_first_order(&maps, small.weights.as_ptr(), C, scratch, 2 * N, space, N);
            assert_eq!(status, Status::NonFinite);
            assert_eq!(map, [7.0; N]);
            let mut weights = small.weights.clone();
            weights[CLASSES * C - 1] = bad;
            weights[C - 1] = -bad;
            let matrix = decomcam_maps_matrix(F32, data(&weights), CLASSES * C, CLASSES, C);
            let linear = CHead { weights: matrix, ..linear };
            let zero = 0;
            assert_eq!(decomcam_head_channel_weights(&linear, 2, &zero, 1, place, C), Status::NonFinite);
            let mut logits = [7.0; CLASSES];
            let pooled = [4.0; C];
            let status = decomcam_head_logits(&linear, pooled.as_ptr(), C, logits.as_mut_ptr(), CLASSES);
            assert_eq!((status, logits), (Status::NonFinite, [7.0; CLASSES]));
        }
        for (class, versus, positions) in [(3, null(), N), (0, &raw const no_class, N), (0, null(), 0)] {
            let status = decomcam_head_channel_weights(&linear, class, versus, positions, place, C);
            assert_eq!(status, Status::Shape);
        }
    }
    assert_eq!(out, [7.0; C]);
}

#[test]
fn sizes_that_do_not_fit_are_not_wrapped() {
    assert_eq!(decomcam_workspace_len(usize::MAX / 4, usize::MAX), usize::MAX);
    assert_eq!(decomcam_explain_workspace_len(9, usize::MAX, 4, 4), usize::MAX);
    assert_eq!(decomcam_mask_workspace_len(usize::MAX, 9, 4), usize::MAX);
    assert_eq!(decomcam_bicubic_scratch_len(usize::MAX), usize::MAX);
    assert_eq!(decomcam_bicubic_scratch_len(1 << 16), usize::MAX);
    assert_eq!(decomcam_bicubic_scratch_len((1 << 16) - 1), scratch_len((1 << 16) - 1));
    assert_eq!(decomcam_cam_scratch_len(usize::MAX / 2), usize::MAX);
    assert_eq!(decomcam_affinity_scratch_len(usize::MAX / 2 + 1), usize::MAX);
    assert_eq!(decomcam_components_max(0, 4), 0);
    let mut taps = [Tap::default(); 4];
    let mut bicubic = MaybeUninit::uninit();
    for (height, width, out_height) in [(usize::MAX, 4, 4), (1 << 16, 4, 4), (4, 1 << 16, 4), (4, 4, 0), (0, 4, 4)] {
        let status =
            unsafe { decomcam_bicubic_init(bicubic.as_mut_ptr(), height, width, out_height, 4, taps.as_mut_ptr()) };
        assert_eq!(status, Status::Shape);
    }
    assert_eq!(taps, [Tap::default(); 4]);
}

#[test]
fn errors_have_their_numbers() {
    for (error, status) in [
        (Error::Shape, Status::Shape),
        (Error::WorkspaceTooSmall, Status::WorkspaceTooSmall),
        (Error::NonFinite, Status::NonFinite),
        (Error::NotConverged, Status::NotConverged),
        (Error::Channels, Status::Channels),
        (Error::Components, Status::Components),
        (Error::Quantisation, Status::Quantisation),
        (Error::NotACapsule, Status::NotACapsule),
        (Error::CapsuleVersion, Status::CapsuleVersion),
        (Error::CapsuleDamaged, Status::CapsuleDamaged),
        (Error::NotAFrame, Status::NotAFrame),
        (Error::FrameVersion, Status::FrameVersion),
        (Error::FrameDamaged, Status::FrameDamaged),
    ] {
        assert_eq!(Status::from(error), status);
        assert_eq!(error as i32, status as i32);
    }
    let name = |number| unsafe { std::ffi::CStr::from_ptr(decomcam_status_name(number)) }.to_str().unwrap();
    for number in (0..=13).chain(100..=105) {
        assert_ne!(name(number), name(-1), "{number}");
    }
    assert_eq!(name(14), name(-1));
}

/// FNV-1a, 64 bits, as in `tests/c/explain.c`.
fn hash(bytes: impl IntoIterator<Item = u8>) -> u64 {
    bytes.into_iter().fold(0xcbf2_9ce4_8422_2325, |hash, b| (hash ^ u64::from(b)).wrapping_mul(0x100_0000_01b3))
}

/// What `tests/c/explain.c` prints, computed by the safe functions from the same input. `tests/c/run` compares the two.
#[test]
#[cfg_attr(miri, ignore = "too large for Miri, and writes a file")]
fn the_reference_for_c() {
    const CHANNELS: usize = 1280;
    const SIDE: usize = 7;
    const POSITIONS: usize = SIDE * SIDE;
    const CLASSES: usize = 10;
    const TOP: usize = 100;
    const Q: usize = 10;
    const OUT: usize = 56;
    let mut random = Random(1);
    let mut activations = vec![0; POSITIONS * CHANNELS];
    for c in 0..CHANNELS {
        let kind = (c % 5) as i32;
        let strength = random.bits(5);
        let (row, column) = (kind + random.bits(1), 3 * kind % 7 + random.bits(1));
        for position in 0..POSITIONS {
            let (y, x) = ((position / SIDE) as i32, (position % SIDE) as i32);
            let near = 4 - (y - row).abs() - (x - column).abs();
            activations[position * CHANNELS + c] = (near.max(0) * strength + random.bits(4) - 128) as i8;
        }
    }
    let (mut weights, mut scales, mut bias) = (Vec::new(), Vec::new(), Vec::new());
    for k in 0..CLASSES {
        weights.extend((0..CHANNELS).map(|c| (if c % 5 == k % 5 { 40 } else { 0 } + random.bits(6) - 32) as i8));
        scales.push((k + 16) as f32 / 8192.0);
        bias.push((k as f32 - 5.0) / 8.0);
    }
    let quantisation = Quantisation::PerTensor { scale: 0.0235, zero_point: -128 };
    let maps = Maps::i8(&activations, Layout::hwc(SIDE, SIDE, CHANNELS), quantisation).unwrap();
    let quantisation = Quantisation::PerChannel { scales: &scales, zero_points: &[] };
    let matrix = Maps::i8(&weights, Layout::chw(CLASSES, 1, CHANNELS), quantisation).unwrap();
    let linear = LinearHead::new(matrix, Some(&bias)).unwrap();

    let mut lines = String::new();
    let bytes_of = |values: &[f32]| -> Vec<u8> { values.iter().flat_map(|v| v.to_le_bytes()).collect() };
    let mut report = |names: &[&str], bytes: &[u8]| {
        for name in names {
            writeln!(lines, "{name} {:016x}", hash(bytes.iter().copied())).unwrap();
        }
    };

    let (mut pooled, mut logits, mut channel_weights) = ([0.0; CHANNELS], [0.0; CLASSES], [0.0; CHANNELS]);
    head::pool(&maps, &mut pooled).unwrap();
    report(&["pooled"], &bytes_of(&pooled));
    linear.logits(&pooled, &mut logits).unwrap();
    report(&["logits"], &bytes_of(&logits));
    report(&["score"], &bytes_of(&[logits[2] - logits[1]]));
    linear.channel_weights(2, Some(1), POSITIONS, &mut channel_weights).unwrap();
    report(&["channel_weights"], &bytes_of(&channel_weights));
    let top = channels::top::<TOP>(&channel_weights, TOP).unwrap();
    let indices: Vec<u8> = top.iter().flat_map(|c| c.to_le_bytes()).collect();
    report(&["top_channels", "explain_channels"], &indices);
    let mut workspace = [0.0; decompose::workspace_len(POSITIONS, TOP)];
    let parts = decompose::decompose(&maps, &channel_weights, &top, Q, SignRule::Score, &mut workspace).unwrap();
    report(&["components"], &bytes_of(parts.maps()));
    report(&["singular_values", "explain_singular_values"], &bytes_of(parts.singular_values()));
    report(&["first_order_of_top"], &bytes_of(parts.centred_first_order()));
    let (mut predicted, mut aligned, mut measured) = ([0.0; Q], [0.0; Q], [0.0; Q]);
    integrate::predicted(&parts, &mut predicted).unwrap();
    report(&["predicted", "explain_predicted"], &bytes_of(&predicted));
    integrate::aligned_weights(&parts, &mut aligned).unwrap();
    report(&["aligned_weights", "explain_weights"], &bytes_of(&aligned));
    let mut exact = [0.0; Q];
    integrate::exact_weights(&parts, &mut exact).unwrap();
    report(&["exact_weights"], &bytes_of(&exact));
    let ossms = parts.rectify();
    report(&["ossms", "explain_ossms"], &bytes_of(ossms.maps()));
    let (mut row, mut map, mut saliency) = ([0.0; POSITIONS], [0.0; POSITIONS], [0.0; POSITIONS]);
    integrate::sum(ossms.maps(), &aligned, &mut saliency).unwrap();
    report(&["saliency", "explain_saliency"], &bytes_of(&saliency));
    head::uncentred_first_order(&maps, &channel_weights, &mut row, &mut map).unwrap();
    report(&["uncentred_first_order"], &bytes_of(&map));
    report(&["first_order_mean"], &bytes_of(&[head::first_order_mean(&maps, &channel_weights).unwrap()]));
    head::centred_first_order(&maps, &channel_weights, &mut row, &mut map).unwrap();
    report(&["centred_first_order", "explain_first_order"], &bytes_of(&map));
    head::contributions(ossms.maps(), &map, &mut row, &mut measured).unwrap();
    report(&["measured", "explain_measured"], &bytes_of(&measured));

    let mut taps = [Tap::default(); OUT];
    let bicubic = Bicubic::new(SIDE, SIDE, OUT, &mut taps).unwrap();
    let (mut scratch, mut row) = ([0.0; scratch_len(SIDE)], [0.0; OUT]);
    let (mut range, mut rows) = (Range::EMPTY, Vec::new());
    for y in 0..OUT {
        bicubic.row(&saliency, y, &mut scratch, &mut row).unwrap();
        rows.extend(row.map(|value| value.max(0.0)));
    }
    range.include(&rows);
    range.scale(&mut rows);
    report(&["upsampled"], &bytes_of(&rows));

    let photo = [(); OUT].map(|_| random.bits(8) as f32 / 256.0);
    let score = |mask: Option<&Mask>, scratch: &mut [f32], row: &mut [f32]| {
        let Some(mask) = mask else { return Ok::<f32, Error>(0.125) };
        mask.row(OUT / 2, scratch, row)?;
        let mut masked = [0.0; OUT];
        blend(&photo, &[0.25; OUT], row, &mut masked);
        Ok(masked[OUT / 2])
    };
    let mut scores = [0.0; Q];
    let blurred = mask::scores(ossms.maps(), &bicubic, &mut scratch, &mut row, &mut scores, score).unwrap();
    report(&["scores"], &bytes_of(&scores));
    for (name, formula) in [
        ("weights_paper", ScoreFormula::Paper),
        ("weights_notebook", ScoreFormula::Notebook),
        ("weights_v1", ScoreFormula::V1),
        ("weights_v25", ScoreFormula::V25),
    ] {
        integrate::score_weights(formula, &scores, blurred, &mut aligned).unwrap();
        report(&[name], &bytes_of(&aligned));
    }

    let slopes: Vec<i8> = (0..POSITIONS * CHANNELS).map(|_| (random.bits(8) - 128) as i8).collect();
    let quantisation = Quantisation::PerTensor { scale: 0.001, zero_point: -16 };
    let gradients = Maps::i8(&slopes, Layout::hwc(SIDE, SIDE, CHANNELS), quantisation).unwrap();
    let mut scratch = [0.0; cams::scratch_len(POSITIONS)];
    for (_, cam, name) in METHODS {
        cams::cam(cam, &maps, &gradients, &mut scratch, &mut map).unwrap();
        report(&[name], &bytes_of(&map));
    }
    let mut workspace = [0.0; decompose::workspace_len(POSITIONS, CHANNELS)];
    cams::eigen_cam(&maps, &mut workspace, &mut map).unwrap();
    report(&["eigen_cam"], &bytes_of(&map));
    cams::eigen_grad_cam(&maps, &gradients, &mut workspace, &mut map).unwrap();
    report(&["eigen_grad_cam"], &bytes_of(&map));
    let (mut matrix, mut shared) = ([0.0; POSITIONS * POSITIONS], [0.0; POSITIONS]);
    affinity::affinity(&maps, &mut matrix, &mut scratch).unwrap();
    report(&["affinity"], &bytes_of(&matrix));
    affinity::share(&matrix, &map, &mut shared).unwrap();
    report(&["shared"], &bytes_of(&shared));
    std::fs::write(concat!(env!("CARGO_TARGET_TMPDIR"), "/explanation.txt"), lines).unwrap();
}

/// A row of a resampled map, and a range: what no other test here asks of C.
#[test]
fn rows_and_ranges_have_the_bits_of_the_safe_functions() {
    let map = Random(50).vec(6);
    let (mut taps, mut safe_taps) = ([Tap::default(); 8], [Tap::default(); 8]);
    let safe = Bicubic::new(2, 3, 9, &mut safe_taps).unwrap();
    let (mut scratch, mut want) = ([0.0; scratch_len(3)], [0.0; 8]);
    let (mut range, mut safe_range) = (decomcam_range_empty(), Range::EMPTY);
    unsafe {
        // A range that has seen nothing.
        let mut nothing = [1.0, -2.0];
        assert_eq!(decomcam_range_scale(&range, nothing.as_mut_ptr(), 2), Status::Ok);
        assert_eq!(nothing, [0.0; 2]);
        for (low, high) in [(f32::NAN, 1.0), (0.0, f32::INFINITY), (f32::NEG_INFINITY, 0.0)] {
            let mut values = [1.0, 2.0];
            assert_eq!(decomcam_range_scale(&CRange { low, high }, values.as_mut_ptr(), 2), Status::NonFinite);
            assert_eq!(values, [1.0, 2.0]);
        }
        let mut bicubic = MaybeUninit::uninit();
        assert_eq!(decomcam_bicubic_init(bicubic.as_mut_ptr(), 2, 3, 9, 8, taps.as_mut_ptr()), Status::Ok);
        let bicubic = bicubic.assume_init();
        for y in 0..9 {
            let mut row = [0.0; 8];
            let space = scratch.as_mut_ptr();
            let status = decomcam_bicubic_row(&bicubic, map.as_ptr(), 6, y, space, scratch_len(3), row.as_mut_ptr(), 8);
            assert_eq!(status, Status::Ok);
            safe.row(&map, y, &mut scratch, &mut want).unwrap();
            assert_eq!(bits(&row), bits(&want));
            assert_eq!(decomcam_range_include(&mut range, row.as_ptr(), 8), Status::Ok);
            safe_range.include(&want);
        }
        let mut scaled = want;
        assert_eq!(decomcam_range_scale(&range, scaled.as_mut_ptr(), 8), Status::Ok);
        safe_range.scale(&mut want);
        assert_eq!(bits(&scaled), bits(&want));
    }
}

/// Buffers that touch, but do not overlap, in either order; every channel asked for; no parts at all.
#[test]
fn what_is_just_possible_is_done() {
    let small = Small::new();
    let mut behind = [small.activations.clone(), vec![7.0; C]].concat();
    let mut before = [vec![7.0; C], small.activations.clone()].concat();
    let mut want = [0.0; C];
    head::pool(&Maps::chw(&small.activations, C, 3, 4).unwrap(), &mut want).unwrap();
    unsafe {
        let place = behind.as_mut_ptr();
        let maps = decomcam_maps_chw(F32, place.cast(), C * N, C, 3, 4);
        assert_eq!(decomcam_pool(&maps, place.add(C * N), C), Status::Ok);
        let place = before.as_mut_ptr();
        let maps = decomcam_maps_chw(F32, place.add(C).cast(), C * N, C, 3, 4);
        assert_eq!(decomcam_pool(&maps, place, C), Status::Ok);
        assert_eq!(decomcam_pool(&maps, place.add(1), C), Status::Overlap);
    }
    assert_eq!((&behind[C * N..], &before[..C]), (&want[..], &want[..]));

    let (maps, linear) = (small.maps(), small.head());
    let len = decomcam_explain_workspace_len(N, C, C + 1, 3);
    let mut workspace = vec![0.0; len];
    let mut explain = |channels| {
        let question = CQuestion { class_index: 2, versus: null(), channels, components: 3, sign: Sign::Score as u32 };
        let mut got = MaybeUninit::uninit();
        let status =
            unsafe { decomcam_explain(&linear, &maps, &question, workspace.as_mut_ptr(), len, got.as_mut_ptr()) };
        (status, got)
    };
    assert_eq!(explain(C + 1).0, Status::Channels);
    let (status, got) = explain(C);
    assert_eq!(status, Status::Ok);
    let mut parts = unsafe { got.assume_init() }.parts;
    parts.count = 0;
    assert_eq!(unsafe { decomcam_rectify(&mut parts) }, Status::Shape);

    let mut logits = [7.0; CLASSES + 1];
    for (pooled, classes) in [(C - 1, CLASSES), (C, CLASSES - 1), (C, CLASSES + 1)] {
        let status = unsafe { decomcam_head_logits(&linear, want.as_ptr(), pooled, logits.as_mut_ptr(), classes) };
        assert_eq!((status, logits), (Status::Shape, [7.0; CLASSES + 1]));
    }
}
