//! Every C function on hostile numbers: NaN, infinity, the ends of the range of `f32`, subnormal numbers, lengths that do not fit, buffers that overlap.
//! A success has finite results and a refusal leaves outputs alone. Two seconds in the gate; for longer:
//!
//! `DECOMCAM_HOSTILE_SECONDS=600 cargo test --release -p decomcam-core --features capi --test core hostile -- --nocapture`
#![allow(unsafe_code, reason = "the C interface takes pointers: here they are those of arrays that outlive the call")]

use core::ffi::c_void;
use core::mem::MaybeUninit;
use core::ptr::{null, null_mut};
use decomcam_core::ffi::*;
use decomcam_core::frame::Frame;
use decomcam_core::resample::Tap;
use std::time::{Duration, Instant};

struct Random(u64);

impl Random {
    fn bits(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 32) as u32
    }

    fn below(&mut self, count: usize) -> usize {
        self.bits() as usize % count
    }

    /// A kind of numbers for a whole buffer, so that some buffers are all tame and some all huge.
    fn buffer(&mut self, len: usize) -> Vec<f32> {
        let kind = self.below(9);
        let mut values: Vec<f32> = (0..len).map(|_| self.number(kind)).collect();
        if self.below(12) == 0 {
            let at = self.below(len);
            values[at] = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY][self.below(3)];
        }
        values
    }

    fn number(&mut self, kind: usize) -> f32 {
        let tame = self.bits() as f32 / (1u64 << 31) as f32 - 1.0;
        match kind {
            0..=2 => tame,
            3 => [3e38, -3e38, f32::MAX, f32::MIN, 0.0, 1.0][self.below(6)],
            4 => tame * 1e-42,
            5 => tame * 2_f32.powi(self.below(250) as i32 - 125),
            6 => [0.0, -0.0, 1.0, 2.0][self.below(4)],
            7 => 3e38 + tame * 1e37,
            // Any bits but those of NaN and infinity.
            _ => Some(f32::from_bits(self.bits())).filter(|value| value.is_finite()).unwrap_or(0.0),
        }
    }
}

const MARK: f32 = 12345.0;

/// What a function made of its outputs: finite on success, untouched otherwise.
fn judge(name: &str, status: Status, outputs: &[&[f32]]) {
    for output in outputs {
        if status == Status::Ok {
            assert!(output.iter().all(|value| value.is_finite()), "{name}: {output:?}");
        } else {
            assert!(output.iter().all(|value| *value == MARK), "{name}: {status:?} and {output:?}");
        }
    }
}

/// Maps of these numbers, as floats in either order, or as bytes with a hostile scale.
fn maps(random: &mut Random, floats: &[f32], bytes: &[u8], [c, h, w]: [usize; 3]) -> CMaps {
    let len = c * h * w;
    let data = |bytes: bool, b: &[u8], f: &[f32]| -> *const c_void {
        if bytes { b.as_ptr().cast() } else { f.as_ptr().cast() }
    };
    let element = random.below(5) as u32 % 3;
    let pointer = data(element > 0, bytes, floats);
    let mut maps = if random.below(2) == 0 {
        decomcam_maps_chw(element, pointer, len, c, h, w)
    } else {
        decomcam_maps_hwc(element, pointer, len, h, w, c)
    };
    if element > 0 {
        let kind = random.below(9);
        maps.scale = random.number(kind);
        maps.zero_point = random.below(256) as i32 - if element == 2 { 128 } else { 0 };
    }
    if random.below(20) == 0 {
        maps.channel_stride = random.below(3);
        maps.row_stride = random.below(3);
    }
    if random.below(60) == 0 {
        // Would never return if each value were visited.
        maps.height = usize::MAX / 2;
        maps.row_stride = 0;
    }
    maps
}

fn call(random: &mut Random) {
    let (c, h, w) = (random.below(6) + 1, random.below(4) + 1, random.below(4) + 1);
    let n = h * w;
    let (p, q) = (random.below(c) + 1, random.below(4) + 1);
    let (activations, gradients) = (random.buffer(c * n), random.buffer(c * n));
    let bytes: Vec<u8> = (0..c * n).map(|_| random.bits() as u8).collect();
    let shape = [c, h, w];
    let (maps, slopes) = (maps(random, &activations, &bytes, shape), maps(random, &gradients, &bytes, shape));
    let mut out = vec![MARK; c.max(n).max(q)];
    let place = out.as_mut_ptr();
    unsafe {
        match random.below(25) {
            0 => judge("channel_weights", decomcam_channel_weights(&maps, place, c), &[&out]),
            1 => judge("pool", decomcam_pool(&maps, place, c), &[&out]),
            2 => {
                let weights = random.buffer(c);
                let mut top = vec![9_u16; p];
                let status = decomcam_top_channels(weights.as_ptr(), c, top.as_mut_ptr(), p);
                assert!(status != Status::Ok || top.iter().all(|channel| usize::from(*channel) < c));
            }
            3 | 4 => parts(random, &maps, [c, n, p, q]),
            5 => {
                let (scores, blurred) = (random.buffer(q), random.buffer(1)[0]);
                let formula = random.below(4) as u32;
                let status = decomcam_score_weights(formula, scores.as_ptr(), blurred, place, q);
                judge(&format!("score_weights {formula} {scores:?} {blurred}"), status, &[&out]);
            }
            6 => {
                let (ossms, weights) = (random.buffer(q * n), random.buffer(q));
                let status = decomcam_integrate_sum(ossms.as_ptr(), q * n, weights.as_ptr(), q, place, n);
                judge("integrate_sum", status, &[&out]);
            }
            7 | 8 => resample(random, [h, w]),
            9 => {
                let mut values = random.buffer(n);
                let mut range = decomcam_range_empty();
                let status = decomcam_range_include(&mut range, values.as_ptr(), n);
                assert!(status != Status::Ok || (range.low.is_finite() && range.high.is_finite()));
                if random.below(2) == 0 {
                    values = random.buffer(n);
                }
                if random.below(4) == 0 {
                    let ends = random.buffer(2);
                    range = CRange { low: ends[0], high: ends[1] };
                }
                if decomcam_range_scale(&range, values.as_mut_ptr(), n) == Status::Ok {
                    assert!(values.iter().all(|value| (0.0..=1.0).contains(value)), "{range:?} {values:?}");
                }
            }
            10 => {
                let (photo, blurred, mask) = (random.buffer(n), random.buffer(n), random.buffer(n));
                let status = decomcam_blend(photo.as_ptr(), blurred.as_ptr(), mask.as_ptr(), place, n);
                judge("blend", status, &[&out]);
            }
            11..=13 => head(random, &maps, [c, n, p, q]),
            14 => {
                let weights = random.buffer(c);
                let mut scratch = vec![0.0; 2 * n];
                let space = scratch.as_mut_ptr();
                let status = match random.below(3) {
                    0 => decomcam_centred_first_order(&maps, weights.as_ptr(), c, space, 2 * n, place, n),
                    1 => decomcam_uncentred_first_order(&maps, weights.as_ptr(), c, space, 2 * n, place, n),
                    _ => decomcam_first_order_mean(&maps, weights.as_ptr(), c, place),
                };
                judge("first order", status, &[&out]);
            }
            15 => {
                let (ossms, map) = (random.buffer(q * n), random.buffer(n));
                let mut scratch = vec![0.0; n];
                let status =
                    decomcam_contributions(ossms.as_ptr(), q * n, map.as_ptr(), n, scratch.as_mut_ptr(), n, place, q);
                judge("contributions", status, &[&out]);
            }
            16 => {
                let mut scratch = vec![0.0; decomcam_cam_scratch_len(n)];
                let (space, len) = (scratch.as_mut_ptr(), scratch.len());
                let method = random.below(6) as u32;
                judge("cam", decomcam_cam(method, &maps, &slopes, space, len, place, n), &[&out]);
            }
            17 => {
                let mut workspace = vec![0.0; decomcam_workspace_len(n, c)];
                let (space, len) = (workspace.as_mut_ptr(), workspace.len());
                let status = if random.below(2) == 0 {
                    decomcam_eigen_cam(&maps, space, len, place, n)
                } else {
                    decomcam_eigen_grad_cam(&maps, &slopes, space, len, place, n)
                };
                judge("eigen", status, &[&out]);
            }
            18 => {
                let mut scratch = vec![0.0; decomcam_affinity_scratch_len(n)];
                let mut matrix = vec![MARK; n * n];
                let status = decomcam_affinity(&maps, scratch.as_mut_ptr(), 2 * n, matrix.as_mut_ptr(), n * n);
                judge("affinity", status, &[&matrix]);
            }
            19 => {
                let (matrix, map) = (random.buffer(n * n), random.buffer(n));
                judge("share", decomcam_share(matrix.as_ptr(), n * n, map.as_ptr(), place, n), &[&out]);
            }
            20 => overlapping(random, [n, q]),
            21 => sizes(random),
            _ => {
                let (mut columns, mut v) = (random.buffer(q * n), random.buffer(q * q));
                let mut values = vec![MARK; q];
                let mut found = MaybeUninit::<CConvergence>::uninit();
                let along = if random.below(2) == 0 { null_mut() } else { v.as_mut_ptr() };
                let (place, into) = (columns.as_mut_ptr(), values.as_mut_ptr());
                let status = decomcam_orthogonalise(place, q * n, n, along, q * q, q, into, q, found.as_mut_ptr());
                // In place: a refusal may have changed them.
                if status == Status::Ok {
                    judge("orthogonalise", status, &[&columns, &values]);
                    assert!(along.is_null() || v.iter().all(|value| value.is_finite()));
                    assert!(found.assume_init().largest_cosine.is_finite());
                }
            }
        }
    }
}

/// The decomposition and what is asked of it; sometimes of parts that no decomposition gives.
unsafe fn parts(random: &mut Random, maps: &CMaps, [c, n, p, q]: [usize; 4]) {
    let weights = random.buffer(c);
    let channels: Vec<u16> = (0..p as u16).collect();
    let mut workspace = vec![0.0; decomcam_workspace_len(n, p)];
    let selection = CSelection {
        weights: weights.as_ptr(),
        weights_len: c,
        channels: channels.as_ptr(),
        channels_len: p,
        components: q,
        sign: random.below(3) as u32,
    };
    let mut found = MaybeUninit::<CParts>::uninit();
    let (mut components, mut first_order, mut values) = (random.buffer(q * n), random.buffer(n), random.buffer(q));
    unsafe {
        let (space, len) = (workspace.as_mut_ptr(), workspace.len());
        let status = decomcam_decompose(maps, &selection, space, len, found.as_mut_ptr());
        let mut parts = if status == Status::Ok && random.below(3) > 0 {
            let parts = found.assume_init();
            let read = |values: *const f32, len: usize| std::slice::from_raw_parts(values, len);
            judge(
                "decompose",
                status,
                &[
                    read(parts.components, q * n),
                    read(parts.singular_values, parts.singular_values_len),
                    read(parts.centred_first_order, n),
                ],
            );
            parts
        } else {
            CParts {
                components: components.as_mut_ptr(),
                count: q,
                positions: n,
                singular_values: values.as_mut_ptr(),
                singular_values_len: q,
                centred_first_order: first_order.as_mut_ptr(),
                rectified: 0,
                convergence: CConvergence { sweeps: 0, rotations: 0, largest_cosine: 0.0, converged: 0 },
            }
        };
        let mut out = vec![MARK; q];
        let place = out.as_mut_ptr();
        let status = match random.below(4) {
            0 => decomcam_alignment(&parts, random.below(q + 1), place),
            1 => decomcam_predicted(&parts, place, q),
            2 => decomcam_aligned_weights(&parts, place, q),
            _ => decomcam_exact_weights(&parts, place, q),
        };
        judge("parts", status, &[&out]);
        if decomcam_rectify(&mut parts) == Status::Ok {
            let ossms = std::slice::from_raw_parts(parts.components, q * n);
            assert!(ossms.iter().all(|value| value.is_finite() && *value >= 0.0));
        }
    }
}

unsafe extern "C" fn scorer(context: *mut c_void, mask: *mut MaskRows<'_>, score: *mut f32) -> i32 {
    let mut row = [MARK; 64];
    unsafe {
        let scores = &mut *context.cast::<(f32, usize)>();
        if !mask.is_null() {
            let status = decomcam_mask_row(mask, 0, row.as_mut_ptr(), scores.1);
            assert!(status != Status::Ok || row[..scores.1].iter().all(|value| (0.0..=1.0).contains(value)));
        }
        *score = scores.0;
    }
    0
}

unsafe fn resample(random: &mut Random, [h, w]: [usize; 2]) {
    let (out_height, out_width, q) = (random.below(9) + 1, random.below(9) + 1, random.below(3) + 1);
    let mut taps = vec![Tap::ZERO; out_width];
    let mut bicubic = MaybeUninit::<CBicubic>::uninit();
    unsafe {
        let status = decomcam_bicubic_init(bicubic.as_mut_ptr(), h, w, out_height, out_width, taps.as_mut_ptr());
        assert_eq!(status, Status::Ok);
        let mut bicubic = bicubic.assume_init();
        let maps = random.buffer(q * h * w);
        if random.below(8) == 0 {
            // As C could damage them.
            let at = taps.as_mut_ptr().add(random.below(out_width));
            at.cast::<u16>().write(random.bits() as u16);
            at.cast::<f32>().add(1 + random.below(4)).write(random.buffer(1)[0]);
        }
        if random.below(30) == 0 {
            bicubic.out_height = usize::MAX;
        }
        let mut out = vec![MARK; out_width];
        let mut scratch = vec![0.0; w + 4];
        let (space, y) = (scratch.as_mut_ptr(), random.below(out_height));
        let status = decomcam_bicubic_row(&bicubic, maps.as_ptr(), h * w, y, space, w + 4, out.as_mut_ptr(), out_width);
        judge("bicubic_row", status, &[&out]);
        let mut workspace = vec![0.0; decomcam_mask_workspace_len(w, out_width, q)];
        let mut context = (random.buffer(1)[0], out_width);
        let (mut scores, mut blurred) = (vec![MARK; q], [MARK]);
        let masking = CMasking {
            ossms: maps.as_ptr(),
            ossms_len: q * h * w,
            bicubic: &bicubic,
            scorer: Some(scorer),
            context: (&raw mut context).cast(),
        };
        let (space, len) = (workspace.as_mut_ptr(), workspace.len());
        let status = decomcam_mask_scores(&masking, space, len, scores.as_mut_ptr(), q, blurred.as_mut_ptr());
        judge("mask_scores", status, &[&scores, &blurred]);
        overlay(random, &bicubic, &maps[..h * w]);
    }
}

/// Rows of pixels under a saliency: changed on success only, whatever C made of the overlay.
unsafe fn overlay(random: &mut Random, bicubic: &CBicubic, saliency: &[f32]) {
    let (width, rows) = (bicubic.out_width, bicubic.out_height);
    let mut workspace = vec![0.0; decomcam_overlay_workspace_len(bicubic.width, width)];
    let space = workspace.as_mut_ptr();
    let len = workspace.len() - usize::from(random.below(12) == 0);
    let (mut bytes, mut words) = (vec![0xa5_u8; 3 * width], vec![0xa5a5_u16; width]);
    let mut overlay = COverlay {
        bicubic,
        saliency: saliency.as_ptr(),
        saliency_len: saliency.len(),
        range: CRange { low: MARK, high: MARK },
    };
    unsafe {
        let status = decomcam_overlay_init(&mut overlay, bicubic, saliency.as_ptr(), saliency.len(), space, len);
        judge("overlay_init", status, &[&[overlay.range.low, overlay.range.high]]);
        assert!(status != Status::Ok || (overlay.range.low >= 0.0 && overlay.range.low <= overlay.range.high));
        if random.below(3) == 0 {
            let ends = random.buffer(2);
            overlay.range = CRange { low: ends[0], high: ends[1] };
        }
        if random.below(12) == 0 {
            overlay.saliency_len -= 1;
        }
        let y = random.below(rows.min(9) + 1);
        let short = usize::from(random.below(12) == 0);
        let statuses = [
            decomcam_overlay_rgb888(&overlay, y, space, len, bytes.as_mut_ptr(), 3 * width - short),
            decomcam_overlay_rgb565(&overlay, y, space, len, words.as_mut_ptr(), width - short),
        ];
        assert_eq!(statuses[0] == Status::Ok, statuses[1] == Status::Ok);
        let refused = short > 0 || y >= rows || len < workspace.len() || overlay.saliency_len < saliency.len();
        assert!(!refused || statuses[0] != Status::Ok);
        if statuses[0] != Status::Ok {
            assert!(bytes.iter().all(|byte| *byte == 0xa5) && words.iter().all(|word| *word == 0xa5a5));
        }
        // A framebuffer that is the workspace.
        let status = decomcam_overlay_rgb565(&overlay, y, space, len, space.cast(), width);
        assert_ne!(status, Status::Ok);
    }
}

/// What a sink has got, and how many calls it takes before it fails.
struct Sent {
    bytes: Vec<u8>,
    calls: usize,
}

unsafe extern "C" fn sink(context: *mut c_void, bytes: *const u8, len: usize) -> i32 {
    unsafe {
        let sent = &mut *context.cast::<Sent>();
        if sent.calls == 0 {
            return 7;
        }
        sent.calls -= 1;
        sent.bytes.extend_from_slice(std::slice::from_raw_parts(bytes, len));
    }
    0
}

/// A frame of an explanation, sometimes of one that C has damaged: whole and readable, or refused before its first byte, or ended by the sink.
unsafe fn frame(random: &mut Random, found: &CExplanation, question: &CQuestion, [h, w, q]: [usize; 3]) {
    let mut found = *found;
    let mut question = *question;
    let (numbers, maps) = (random.buffer(q + 1), random.buffer(q * h * w));
    let mut height = h;
    match random.below(8) {
        0 => found.saliency = maps.as_ptr(),
        1 => found.parts.components = maps.as_ptr().cast_mut(),
        2 => found.parts.singular_values = numbers.as_ptr(),
        3 => found.weights = numbers.as_ptr(),
        4 => found.score = numbers[0],
        5 => match random.below(5) {
            0 => height = usize::MAX / 2,
            1 => found.parts.singular_values_len = q - 1,
            2 => question.class_index = usize::MAX,
            3 => found.predicted = null(),
            _ => height += 1,
        },
        _ => (),
    }
    let mut sent = Sent { bytes: Vec::new(), calls: if random.below(6) == 0 { random.below(60) } else { usize::MAX } };
    let fails = sent.calls < usize::MAX;
    let context = (&raw mut sent).cast();
    let status = unsafe { decomcam_frame_write(&found, &question, height, w, Some(sink), context) };
    match status {
        Status::Ok => {
            assert_eq!(sent.bytes.len(), decomcam_frame_len(h, w, q));
            let read = Frame::parse(&sent.bytes).unwrap();
            assert_eq!((read.height(), read.width(), read.parts().count()), (h, w, q));
        }
        Status::Callback => assert!(fails),
        _ => assert!(sent.bytes.is_empty(), "{status:?}"),
    }
}

unsafe fn head(random: &mut Random, activations: &CMaps, [c, n, p, q]: [usize; 4]) {
    let classes = random.below(3) + 1;
    let (weights, bias, pooled) = (random.buffer(classes * c), random.buffer(classes), random.buffer(c));
    let bytes: Vec<u8> = (0..classes * c).map(|_| random.bits() as u8).collect();
    let mut matrix = maps(random, &weights, &bytes, [classes, 1, c]);
    if matrix.element == 0 {
        matrix = decomcam_maps_matrix(0, weights.as_ptr().cast(), classes * c, classes, c);
    }
    let with_bias = random.below(2) == 0;
    let head = CHead {
        weights: matrix,
        bias: if with_bias { bias.as_ptr() } else { null() },
        bias_len: if with_bias { classes } else { 0 },
    };
    let (class, other) = (random.below(classes), random.below(classes + 1));
    let versus = if random.below(2) == 0 { null() } else { &raw const other };
    let (mut logits, mut out) = (vec![MARK; classes], vec![MARK; c]);
    unsafe {
        let status = decomcam_head_logits(&head, pooled.as_ptr(), c, logits.as_mut_ptr(), classes);
        judge("head_logits", status, &[&logits]);
        let status = decomcam_head_channel_weights(&head, class, versus, n, out.as_mut_ptr(), c);
        judge("head_channel_weights", status, &[&out]);
        let question =
            CQuestion { class_index: class, versus, channels: p, components: q, sign: random.below(3) as u32 };
        let mut workspace = vec![0.0; decomcam_explain_workspace_len(n, c, p, q)];
        let mut found = MaybeUninit::<CExplanation>::uninit();
        let (space, len) = (workspace.as_mut_ptr(), workspace.len());
        let status = decomcam_explain(&head, activations, &question, space, len, found.as_mut_ptr());
        if status == Status::Ok {
            let found = found.assume_init();
            let read = |values: *const f32, len: usize| std::slice::from_raw_parts(values, len);
            judge(
                "explain",
                status,
                &[
                    &[found.score],
                    read(found.parts.components, q * n),
                    read(found.parts.singular_values, found.parts.singular_values_len),
                    read(found.predicted, q),
                    read(found.measured, q),
                    read(found.weights, q),
                    read(found.saliency, n),
                    read(found.centred_first_order, n),
                ],
            );
            frame(random, &found, &question, [activations.height, activations.width, q]);
        }
    }
}

/// Functions of numbers alone: any sizes are answered, and a size that is too large to exist is never answered by a small one.
fn sizes(random: &mut Random) {
    let mut any = || {
        let bits = (u64::from(random.bits()) << 32 | u64::from(random.bits())) as usize;
        bits.checked_shr(random.below(70) as u32).unwrap_or(0)
    };
    let (n, c, p, q) = (any(), any(), any(), any());
    assert!(decomcam_workspace_len(n, p) >= n);
    assert!(decomcam_explain_workspace_len(n, c, p, q) >= c.max(n));
    assert!(decomcam_mask_workspace_len(n, c, q) >= c.max(n).max(q));
    assert!(decomcam_bicubic_scratch_len(n) >= n && decomcam_overlay_workspace_len(n, c) >= c.max(n));
    assert!(decomcam_cam_scratch_len(n) >= n && decomcam_affinity_scratch_len(n) >= n);
    assert!(decomcam_components_max(n, p) <= n.min(p));
    let len = decomcam_frame_len(n, c, q);
    assert!(len == 0 || len > n.saturating_mul(c).saturating_mul(q));
    assert!(!decomcam_status_name(n as i32).is_null());
    assert!(decomcam_environment_ok() == 1 && decomcam_version() > 0);
}

/// One buffer for input and output, whole or in part.
unsafe fn overlapping(random: &mut Random, [n, q]: [usize; 2]) {
    let mut memory = random.buffer(n * n + 4 * n + q * n + q + 1);
    let before: Vec<u32> = memory.iter().map(|value| value.to_bits()).collect();
    let place = memory.as_mut_ptr();
    unsafe {
        let at = place.add(random.below(n));
        let statuses = [
            decomcam_share(place, n * n, place, at, n),
            decomcam_share(place.add(n), n * n, at, at, n),
            decomcam_integrate_sum(place, q * n, place.add(q * n), q, at, n),
            decomcam_blend(place, place, place, at, n),
            decomcam_score_weights(0, place, 0.0, place, q),
        ];
        assert_eq!(statuses, [Status::Overlap; 5]);
    }
    assert!(memory.iter().zip(before).all(|(value, before)| value.to_bits() == before));
}

#[test]
fn hostile_numbers() {
    let seconds = std::env::var("DECOMCAM_HOSTILE_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(2);
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut random = Random(if seconds > 2 { std::process::id().into() } else { 1 });
    let (mut calls, least) = (0_u64, if cfg!(miri) { 40 } else { 1000 });
    while calls < least || (!cfg!(miri) && Instant::now() < end) {
        call(&mut random);
        calls += 1;
    }
    println!("{calls} calls");
}
