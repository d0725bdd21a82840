//! Every stage of every case: the one program that runs on each target, the desktop included.
//!
//! Each stage is run by [`Target::measured`] and its result reported twice: as a line with its hash and cost, and as the values themselves, so that
//! the first difference between two targets can be named.
#![no_std]

#[cfg(target_os = "none")]
pub mod board;
mod report;

use cases::{BLURRED, Buffer, CAPSULES, CASES, Case, PHOTO};
use decomcam_core::cams::{self, Cam};
use decomcam_core::capsule::{Buffers, Capsule};
use decomcam_core::channels::{self, Channel};
use decomcam_core::draw::{self, Overlay};
use decomcam_core::head::{self, LinearHead};
use decomcam_core::mask::{self, Mask};
use decomcam_core::resample::{self, Bicubic, Tap};
use decomcam_core::{Error, Layout, Maps, ScoreFormula, affinity, decompose, integrate, svd};
use report::{Line, Report};

/// What a target offers the program.
pub trait Target {
    /// Appends to what is compared and tabulated: lines of text.
    fn line(&mut self, text: &[u8]);

    /// Appends to what is looked at when hashes differ: the values, in the order of the lines.
    fn values(&mut self, bytes: &[u8]);

    /// Calls `stage` and measures what that cost.
    fn measured<T>(&mut self, stage: impl FnOnce() -> T) -> (T, Cost);
}

/// What a stage cost: zero where the target cannot measure.
#[derive(Clone, Copy, Default)]
pub struct Cost {
    pub instructions: u64,
    pub stack_bytes: usize,
}

/// Buffers for the largest case. A real program needs only what its own layer asks for: see `workspace` in the report.
pub struct Memory {
    weights: [f32; CHANNELS],
    pooled: [f32; CHANNELS],
    top: [Channel; TOP],
    workspace: [f32; WORKSPACE],
    part_weights: [f32; COMPONENTS],
    saliency: [f32; POSITIONS],
    positions: [f32; POSITIONS],
    taps: [Tap; DISPLAY],
    scratch: [f32; resample::scratch_len(14)],
    row: [f32; LARGE],
    picture: [f32; DISPLAY * DISPLAY],
    framebuffer: [u16; DISPLAY * DISPLAY],
}

const CHANNELS: usize = 1280;
const TOP: usize = 500;
const COMPONENTS: usize = 10;
const POSITIONS: usize = 14 * 14;
const WORKSPACE: usize = decompose::workspace_len(POSITIONS, 100);
/// Sides of the upsampled pictures.
const SMALL: usize = 56;
const LARGE: usize = 224;
/// Side of a display.
const DISPLAY: usize = 240;

impl Memory {
    pub fn new() -> Self {
        Self {
            weights: [0.0; _],
            pooled: [0.0; _],
            top: [0; _],
            workspace: [0.0; _],
            part_weights: [0.0; _],
            saliency: [0.0; _],
            positions: [0.0; _],
            taps: [Tap::default(); _],
            scratch: [0.0; _],
            row: [0.0; _],
            picture: [0.0; _],
            framebuffer: [0; _],
        }
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

/// Runs all cases.
///
/// # Errors
/// The first refusal by the core, after a line that names the case.
pub fn run(memory: &mut Memory, target: &mut impl Target) -> Result<(), Error> {
    if !decomcam_core::environment_ok() {
        target.line(Line::new("environment").end());
        return Err(Error::NonFinite);
    }
    for case in CASES {
        run_case(case, memory, target).inspect_err(|error| {
            let mut line = Line::new("refused");
            line.word(case.name).number(*error as u64);
            target.line(line.end());
        })?;
    }
    let recorded = if cfg!(feature = "micromath") { &[][..] } else { &CAPSULES[..] };
    for &(name, bytes) in recorded {
        replay(name, bytes, memory, target).inspect_err(|error| {
            let mut line = Line::new("refused");
            line.word(name).number(*error as u64);
            target.line(line.end());
        })?;
    }
    Ok(())
}

/// Computes what the desktop recorded; a stage that differs is a refusal.
fn replay(name: &'static str, bytes: &[u8], memory: &mut Memory, target: &mut impl Target) -> Result<(), Error> {
    let capsule = Capsule::parse(bytes)?;
    let workspace = first(&mut memory.picture, capsule.workspace_len())?;
    let mut report = Report::new(name, target);
    let (settings, (height, width)) = (capsule.settings(), capsule.activations().size());
    let shape = [capsule.activations().channels(), height, width];
    report.case(shape, settings.channels, settings.components, size_of_val(workspace));
    let (mut stages, mut differing) = (0, 0);
    report.measured(|| {
        capsule.replay::<100>(Buffers { workspace, taps: &mut memory.taps }, |_, difference| {
            stages += 1;
            differing += i32::from(difference.is_some());
        })
    })?;
    report.stage("replay", &[stages as f32, differing as f32]);
    if differing == 0 { Ok(()) } else { Err(Error::CapsuleDamaged) }
}

fn run_case(case: &Case, memory: &mut Memory, target: &mut impl Target) -> Result<(), Error> {
    let positions = case.height * case.width;
    let weights = first(&mut memory.weights, case.channels)?;
    let top = first(&mut memory.top, case.top)?;
    let workspace = first(&mut memory.workspace, decompose::workspace_len(positions, case.top))?;
    let part_weights = first(&mut memory.part_weights, case.components)?;
    let saliency = first(&mut memory.saliency, positions)?;
    let mut report = Report::new(case.name, target);
    let shape = [case.channels, case.height, case.width];
    report.case(shape, case.top, case.components, size_of_val(workspace));

    let gradients = Maps::f32(case.gradients, case.layout)?;
    let activations = activations(case)?;
    // The guide's sequence in one function, as a program has it: its cost, and with its caller's frame the stack.
    report.measured(|| {
        let buffers = (&mut *weights, &mut *workspace, &mut *part_weights, &mut *saliency);
        match case.top {
            100 => whole::<100>(case, &gradients, &activations, buffers),
            48 => whole::<48>(case, &gradients, &activations, buffers),
            _ => whole::<TOP>(case, &gradients, &activations, buffers),
        }
    })?;
    report.stage("whole", saliency);
    report.measured(|| channels::weights(&gradients, weights))?;
    report.stage("weights", weights);
    report.measured(|| top_channels(weights, top))?;
    for (number, channel) in memory.picture.iter_mut().zip(&*top) {
        *number = f32::from(*channel);
    }
    report.stage("top_channels", first(&mut memory.picture, top.len())?);

    let parts =
        report.measured(|| decompose::decompose(&activations, weights, top, case.components, case.sign, workspace))?;
    report.stage("components", parts.maps());
    report.stage("singular_values", parts.singular_values());
    report.stage("first_order", parts.centred_first_order());

    for (stage, formula) in FORMULAS {
        report.measured(|| integrate::score_weights(formula, case.scores, case.score_blurred, part_weights))?;
        report.stage(stage, part_weights);
    }
    report.measured(|| integrate::aligned_weights(&parts, part_weights))?;
    report.stage("aligned_weights", part_weights);
    report.measured(|| integrate::exact_weights(&parts, part_weights))?;
    report.stage("exact_weights", part_weights);
    let mean = head::first_order_mean(&activations, weights)?;
    report.measured(|| integrate::exact_sum(mean, parts.maps(), part_weights, saliency))?;
    report.stage("exact_sum", saliency);
    integrate::aligned_weights(&parts, part_weights)?;
    let ossms = report.measured(|| parts.rectify());
    report.stage("ossms", ossms.maps());
    report.measured(|| integrate::sum(ossms.maps(), part_weights, saliency))?;
    report.stage("saliency", saliency);

    let scratch = first(&mut memory.scratch, resample::scratch_len(case.width))?;
    for (stage, side) in [("saliency_224", LARGE), ("saliency_56", SMALL)] {
        let taps = first(&mut memory.taps, side)?;
        let rows = first(&mut memory.picture, side * side)?;
        report.measured(|| {
            let bicubic = Bicubic::new(case.height, case.width, side, taps)?;
            each_row(side, rows, |y, row| bicubic.row(saliency, y, scratch, row))
        })?;
        report.stage(stage, rows);
    }

    // A photo of bands on a display of 240 x 240, and the saliency over it.
    let taps = first(&mut memory.taps, DISPLAY)?;
    let workspace_of_row = first(&mut memory.pooled, draw::workspace_len(case.width, DISPLAY))?;
    for (index, pixel) in memory.framebuffer.iter_mut().enumerate() {
        *pixel = (((index % DISPLAY) / 8) << 11 | ((index / DISPLAY) / 4) << 5 | 12) as u16;
    }
    report.measured(|| {
        let bicubic = Bicubic::new(case.height, case.width, DISPLAY, taps)?;
        let overlay = Overlay::new(&bicubic, saliency, workspace_of_row)?;
        let mut rows = memory.framebuffer.chunks_exact_mut(DISPLAY).enumerate();
        rows.try_for_each(|(y, row)| overlay.rgb565(y, workspace_of_row, row))
    })?;
    for (number, pixel) in memory.picture.iter_mut().zip(&memory.framebuffer) {
        *number = f32::from(*pixel);
    }
    report.stage("overlay_240", &memory.picture);

    let matrix = first(&mut memory.picture, positions * positions)?;
    let scratch_of_two = first(&mut memory.pooled, affinity::scratch_len(positions))?;
    let shared = first(&mut memory.positions, positions)?;
    report.measured(|| affinity::affinity(&activations, matrix, scratch_of_two))?;
    report.stage("affinity", matrix);
    report.measured(|| affinity::share(matrix, ossms.centred_first_order(), shared))?;
    report.stage("shared", shared);

    let scratch_of_two = first(&mut memory.pooled, cams::scratch_len(positions))?;
    let map = first(&mut memory.positions, positions)?;
    for (stage, cam) in CAMS {
        report.measured(|| cams::cam(cam, &activations, &gradients, scratch_of_two, map))?;
        report.stage(stage, map);
    }
    let all_channels = first(&mut memory.picture, decompose::workspace_len(positions, case.channels))?;
    report.measured(|| cams::eigen_cam(&activations, all_channels, map))?;
    report.stage("eigen_cam", map);
    report.measured(|| cams::eigen_grad_cam(&activations, &gradients, all_channels, map))?;
    report.stage("eigen_grad_cam", map);

    let bicubic = Bicubic::new(case.height, case.width, SMALL, first(&mut memory.taps, SMALL)?)?;
    let ossm = ossms.iter().next().ok_or(Error::Shape)?;
    let row = first(&mut memory.row, SMALL)?;
    let rows = first(&mut memory.picture, SMALL * SMALL)?;
    report.measured(|| {
        let mask = Mask::new(&bicubic, ossm, scratch, row)?;
        each_row(SMALL, rows, |y, row| mask.row(y, scratch, row))
    })?;
    report.stage("mask_56", rows);
    let middle = rows.get(rows.len() / 2..).ok_or(Error::Shape)?;
    report.measured(|| mask::blend(PHOTO, BLURRED, middle, row));
    report.stage("blend_row", row);

    // The gradients' numbers as the weights of a linear head with one class for each position.
    let head = LinearHead::new(Maps::f32(case.gradients, Layout::chw(positions, 1, case.channels))?, None)?;
    let pooled = first(&mut memory.pooled, case.channels)?;
    report.measured(|| head::pool(&activations, pooled))?;
    report.stage("pooled", pooled);
    let map = first(&mut memory.positions, positions)?;
    report.measured(|| head.logits(pooled, map))?;
    report.stage("logits", map);
    report.measured(|| head.channel_weights(1, Some(0), positions, weights))?;
    report.stage("head_weights", weights);
    let row = first(&mut memory.row, positions)?;
    report.measured(|| head::uncentred_first_order(&activations, weights, row, map))?;
    report.stage("head_uncentred", map);
    report.measured(|| head::centred_first_order(&activations, weights, row, map))?;
    report.stage("head_first_order", map);
    report.measured(|| head::contributions(ossms.maps(), map, row, part_weights))?;
    report.stage("contributions", part_weights);

    let matrix = case.gradients.as_chunks::<8>().0.first_chunk::<8>().ok_or(Error::Shape)?;
    let svd = report.measured(|| svd::svd(matrix))?;
    report.stage("svd_u", svd.u.as_flattened());
    report.stage("svd_values", &svd.singular_values);
    report.stage("svd_v", svd.v.as_flattened());
    Ok(())
}

/// The formulas by the name of their stage.
const FORMULAS: [(&str, ScoreFormula); 4] = [
    ("weights_paper", ScoreFormula::Paper),
    ("weights_notebook", ScoreFormula::Notebook),
    ("weights_v1", ScoreFormula::V1),
    ("weights_v25", ScoreFormula::V25),
];

/// The class activation maps that are sums over channels, by the name of their stage.
const CAMS: [(&str, Cam); 5] = [
    ("grad_cam", Cam::GradCam),
    ("grad_cam_plus_plus", Cam::GradCamPlusPlus),
    ("x_grad_cam", Cam::XGradCam),
    ("hi_res_cam", Cam::HiResCam),
    ("layer_cam", Cam::LayerCam),
];

fn activations(case: &Case) -> Result<Maps<'_>, Error> {
    match case.activations {
        Buffer::F32(values) => Maps::f32(values, case.layout),
        Buffer::I8(values, quantisation) => Maps::i8(values, case.layout, quantisation),
        Buffer::U8(values, quantisation) => Maps::u8(values, case.layout, quantisation),
    }
}

#[inline(never)]
fn whole<const P: usize>(
    case: &Case,
    gradients: &Maps,
    activations: &Maps,
    (weights, workspace, part_weights, saliency): (&mut [f32], &mut [f32], &mut [f32], &mut [f32]),
) -> Result<(), Error> {
    channels::weights(gradients, weights)?;
    let mut top = [0; P];
    let top = first(&mut top, case.top)?;
    channels::top_into(weights, top)?;
    let components = decompose::decompose(activations, weights, top, case.components, case.sign, workspace)?;
    integrate::aligned_weights(&components, part_weights)?;
    let ossms = components.rectify();
    integrate::sum(ossms.maps(), part_weights, saliency)
}

/// The capacity of [`channels::top`] is a constant, so a program picks the one it needs.
fn top_channels(weights: &[f32], top: &mut [Channel]) -> Result<(), Error> {
    if top.len() <= 100 { top_of::<100>(weights, top) } else { top_of::<TOP>(weights, top) }
}

#[inline(never)]
fn top_of<const P: usize>(weights: &[f32], top: &mut [Channel]) -> Result<(), Error> {
    let chosen = channels::top::<P>(weights, top.len())?;
    for (slot, channel) in top.iter_mut().zip(&chosen) {
        *slot = *channel;
    }
    Ok(())
}

fn each_row(
    width: usize,
    rows: &mut [f32],
    mut f: impl FnMut(usize, &mut [f32]) -> Result<(), Error>,
) -> Result<(), Error> {
    rows.chunks_exact_mut(width.max(1)).enumerate().try_for_each(|(y, row)| f(y, row))
}

fn first<T>(buffer: &mut [T], len: usize) -> Result<&mut [T], Error> {
    buffer.get_mut(..len).ok_or(Error::WorkspaceTooSmall)
}
