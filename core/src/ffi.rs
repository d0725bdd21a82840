//! The C interface: `include/decomcam.h`, generated from this file by cbindgen.
//!
//! Every `extern "C"` and every `unsafe` of the crate is here. A function takes what C lends, refuses null, misaligned and impossible buffers, calls the
//! safe function of the same name, and turns its error into a [`Status`]. What the safe function may write before it fails is computed once without
//! writing, or in the workspace: outputs change on success only.
#![allow(
    unsafe_code,
    reason = "C passes pointers, and exported names must be unique in the whole program: neither can be checked by the compiler"
)]
#![allow(
    clippy::missing_safety_doc,
    reason = "one contract holds for all functions and is stated once, at the top of the header"
)]

use crate::activations::{Layout, Maps, Quantisation};
use crate::cams::{self, Cam};
use crate::channels::{self, Channel};
use crate::decompose::{self, Parts, SignRule};
use crate::draw::{self, Overlay};
use crate::frame::Record;
use crate::head::{self, LinearHead, Question};
use crate::integrate::{self, ScoreFormula};
use crate::mask::{self, Mask, Range};
use crate::resample::{self, Bicubic, Tap};
use crate::svd::{self, Convergence};
use crate::{Error, affinity, maths};
use core::ffi::{c_char, c_void};
use core::ptr;
use core::slice;

// On a desktop the static library takes its panic handler from std, which it links; nothing else of std is used.
#[cfg(not(target_os = "none"))]
extern crate std;

/// A board has no std. This handler refers to a function that does not exist: a C program whose linker drops what is unreachable (`--gc-sections`)
/// links if no call of it is reachable, which proves that the library cannot panic.
#[cfg(all(feature = "panic-proof", target_os = "none"))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    unsafe extern "C" {
        safe fn decomcam_core_must_not_panic() -> !;
    }
    decomcam_core_must_not_panic()
}

/// What a function returns. Numbers never change and are never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Status {
    /// Success: all outputs are written.
    Ok = 0,
    /// A length, or a product of sizes, is zero, does not match or does not fit in memory; or there is no such class, channel, row or component.
    Shape = 1,
    /// A workspace is shorter than its macro says.
    WorkspaceTooSmall = 2,
    /// A value is NaN or infinite, or became so when it was weighted.
    NonFinite = 3,
    /// The Jacobi sweeps reached their cap before all pairs were orthogonal.
    NotConverged = 4,
    /// The number of channels P is zero or more than there are.
    Channels = 5,
    /// The number of components Q is zero or more than exist.
    Components = 6,
    /// A quantisation's scale is not finite, or its zero point is no byte.
    Quantisation = 7,
    /// Reserved, as are the next two.
    NotACapsule = 8,
    /// Reserved.
    CapsuleVersion = 9,
    /// Reserved.
    CapsuleDamaged = 10,
    /// Reserved, as are the next two.
    NotAFrame = 11,
    /// Reserved.
    FrameVersion = 12,
    /// Reserved.
    FrameDamaged = 13,
    /// A pointer is null. (Numbers from 100 on are the C interface's own.)
    NullPointer = 100,
    /// A pointer is not aligned for what it points to.
    Misaligned = 101,
    /// The caller's scorer or sink failed.
    Callback = 102,
    /// There is no element type, sign rule, formula or method of this number.
    UnknownOption = 103,
    /// The parts have been rectified: closed forms need the signs.
    Rectified = 104,
    /// A buffer that is written overlaps with another one.
    Overlap = 105,
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        match error {
            Error::Shape => Status::Shape,
            Error::WorkspaceTooSmall => Status::WorkspaceTooSmall,
            Error::NonFinite => Status::NonFinite,
            Error::NotConverged => Status::NotConverged,
            Error::Channels => Status::Channels,
            Error::Components => Status::Components,
            Error::Quantisation => Status::Quantisation,
            Error::NotACapsule => Status::NotACapsule,
            Error::CapsuleVersion => Status::CapsuleVersion,
            Error::CapsuleDamaged => Status::CapsuleDamaged,
            Error::NotAFrame => Status::NotAFrame,
            Error::FrameVersion => Status::FrameVersion,
            Error::FrameDamaged => Status::FrameDamaged,
        }
    }
}

/// How a value is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Element {
    /// float
    F32 = 0,
    /// uint8_t, quantised
    U8 = 1,
    /// int8_t, quantised
    I8 = 2,
}

/// Which side of a component is kept when negatives are cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Sign {
    /// The side that the score rewards. The usual choice.
    Score = 0,
    /// The largest channel loading is positive: scikit-learn since 1.5.
    LargestLoading = 1,
    /// The largest entry of the component is positive: scikit-learn before 1.5.
    LargestEntry = 2,
}

/// How the scores of masked photos become weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Formula {
    /// The paper's overview figure: min-max of the contributions.
    Paper = 0,
    /// The released notebook: contributions over their maximum, zero below 0.01.
    Notebook = 1,
    /// The first release: contributions times their softmax.
    V1 = 2,
    /// The last release: scores over their maximum, zero below 0.001.
    V25 = 3,
}

/// A class activation map that is a sum over channels. A is a channel's activation, G the gradient of the score there, sums run over positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Method {
    /// Grad-CAM: w A with w = mean G.
    GradCam = 0,
    /// Grad-CAM++: w A with w = sum of max(0, G) a and a = G^2 / (2 G^2 + G^3 sum A + 1e-6), 0 where G is.
    GradCamPlusPlus = 1,
    /// XGrad-CAM: w A with w = sum of G A / (sum A + 1e-7).
    XGradCam = 2,
    /// HiResCAM: G A.
    HiResCam = 3,
    /// LayerCAM: max(0, G) A.
    LayerCam = 4,
}

/// Numbers that C passes for the enumerations above: any number may come, so they are no Rust enums until they are checked.
type ElementNumber = u32;
type SignNumber = u32;
type FormulaNumber = u32;
type MethodNumber = u32;
type StatusNumber = i32;

fn sign_rule(number: SignNumber) -> Result<SignRule, Status> {
    const SCORE: u32 = Sign::Score as u32;
    const LARGEST_LOADING: u32 = Sign::LargestLoading as u32;
    const LARGEST_ENTRY: u32 = Sign::LargestEntry as u32;
    match number {
        SCORE => Ok(SignRule::Score),
        LARGEST_LOADING => Ok(SignRule::LargestLoading),
        LARGEST_ENTRY => Ok(SignRule::LargestEntry),
        _ => Err(Status::UnknownOption),
    }
}

fn score_formula(number: FormulaNumber) -> Result<ScoreFormula, Status> {
    const PAPER: u32 = Formula::Paper as u32;
    const NOTEBOOK: u32 = Formula::Notebook as u32;
    const V1: u32 = Formula::V1 as u32;
    const V25: u32 = Formula::V25 as u32;
    match number {
        PAPER => Ok(ScoreFormula::Paper),
        NOTEBOOK => Ok(ScoreFormula::Notebook),
        V1 => Ok(ScoreFormula::V1),
        V25 => Ok(ScoreFormula::V25),
        _ => Err(Status::UnknownOption),
    }
}

fn cam(number: MethodNumber) -> Result<Cam, Status> {
    const GRAD_CAM: u32 = Method::GradCam as u32;
    const GRAD_CAM_PLUS_PLUS: u32 = Method::GradCamPlusPlus as u32;
    const X_GRAD_CAM: u32 = Method::XGradCam as u32;
    const HI_RES_CAM: u32 = Method::HiResCam as u32;
    const LAYER_CAM: u32 = Method::LayerCam as u32;
    match number {
        GRAD_CAM => Ok(Cam::GradCam),
        GRAD_CAM_PLUS_PLUS => Ok(Cam::GradCamPlusPlus),
        X_GRAD_CAM => Ok(Cam::XGradCam),
        HI_RES_CAM => Ok(Cam::HiResCam),
        LAYER_CAM => Ok(Cam::LayerCam),
        _ => Err(Status::UnknownOption),
    }
}

/// Borrowed maps: channels x height x width numbers in memory that somebody else owns. Value (c, y, x) is element
/// c * channel_stride + y * row_stride + x * column_stride of data.
///
/// Fill it with decomcam_maps_chw(), decomcam_maps_hwc() or decomcam_maps_matrix(), then set scale and zero_point if the elements are bytes.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct CMaps {
    /// The first element.
    pub data: *const c_void,
    /// Elements (not bytes) in data.
    pub len: usize,
    /// How an element is stored.
    pub element: ElementNumber,
    /// Number of maps.
    pub channels: usize,
    /// Rows of a map.
    pub height: usize,
    /// Columns of a map.
    pub width: usize,
    /// Elements from one channel to the next.
    pub channel_stride: usize,
    /// Elements from one row to the next.
    pub row_stride: usize,
    /// Elements from one column to the next.
    pub column_stride: usize,
    /// Bytes stand for (byte - zero_point) * scale. Not read if the elements are floats.
    pub scale: f32,
    /// In the range of the bytes.
    pub zero_point: i32,
    /// If not null, bytes are quantised per channel: one scale for each channel, instead of scale.
    pub scales: *const f32,
    /// With scales: one zero point for each channel, instead of zero_point; null if all are zero.
    pub zero_points: *const i16,
}

/// How far the sweeps of the Jacobi SVD got.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct CConvergence {
    /// Sweeps done, the last one (which only confirmed) included.
    pub sweeps: u32,
    /// Rotations in the last sweep. A few may be left when the sweeps have converged: those of pairs that were orthogonal but for rounding.
    pub rotations: u32,
    /// Largest |cosine| between two columns met in the last sweep.
    pub largest_cosine: f32,
    /// 1 if in the last sweep no pair was further from orthogonal than rounding explains, largest_cosine <= 4 sqrt(rows) 2^-23; else 0.
    pub converged: u32,
}

/// What decomcam_decompose() found. The pointers are into its workspace: valid until that is used again.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct CParts {
    /// The signed components, count x H x W; after decomcam_rectify() the OSSMs (orthogonal sub-saliency maps).
    pub components: *mut f32,
    /// Q.
    pub count: usize,
    /// H W, the values in one map.
    pub positions: usize,
    /// Singular values, descending: at least Q, and one more if it exists, so that the gap behind the last component is known.
    pub singular_values: *const f32,
    /// How many singular values.
    pub singular_values_len: usize,
    /// H x W: the first-order map of the score over the selected channels, less its mean over positions.
    pub centred_first_order: *const f32,
    /// 0 for signed components, 1 after decomcam_rectify(): the closed forms, which need the signs, are refused then.
    pub rectified: u32,
    /// How far the sweeps got.
    pub convergence: CConvergence,
}

/// Bicubic resampling of height x width maps to out_height x out_width, one row at a time. Filled by decomcam_bicubic_init().
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct CBicubic {
    /// Rows of a map.
    pub height: usize,
    /// Columns of a map.
    pub width: usize,
    /// Rows of a resampled map.
    pub out_height: usize,
    /// Columns of a resampled map.
    pub out_width: usize,
    /// The caller's: out_width taps.
    pub taps: *const Tap,
}

/// The range of a map's values, gathered row by row, for min-max scaling.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct CRange {
    /// The smallest value.
    pub low: f32,
    /// The largest value.
    pub high: f32,
}

/// A saliency map over a picture. Filled by decomcam_overlay_init().
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct COverlay {
    /// From the layer's size to the picture's.
    pub bicubic: *const CBicubic,
    /// H x W of the layer.
    pub saliency: *const f32,
    /// H W.
    pub saliency_len: usize,
    /// Of the resampled saliency, negatives cut off.
    pub range: CRange,
}

/// Where the bytes of a frame go: a serial port, a socket, a file. Called with a few bytes at a time, in order. Returns 0 on success; any other number ends
/// the frame.
pub type Sink = Option<unsafe extern "C" fn(context: *mut c_void, bytes: *const u8, len: usize) -> i32>;

/// The mask of one OSSM at the size of the network's input, given to a scorer. Its rows are made when decomcam_mask_row() asks for them.
#[derive(Debug)]
pub struct MaskRows<'a> {
    mask: &'a Mask<'a>,
    scratch: &'a mut [f32],
    /// What the call that scores was lent.
    lent: &'a Lent,
}

/// The caller's network: blends the photo with the blurred photo where the mask is low (decomcam_mask_row(), decomcam_blend()), runs, and writes the
/// score. A null mask asks for the score of the wholly blurred photo. Returns 0 on success; any other number ends the scoring. Must return: neither a
/// C++ exception nor longjmp() may leave it.
pub type Scorer = Option<unsafe extern "C" fn(context: *mut c_void, mask: *mut MaskRows<'_>, score: *mut f32) -> i32>;

/// A linear head: logit_k = bias_k + sum over channels of weight_kc * (mean of map c).
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct CHead {
    /// Classes x channels, from decomcam_maps_matrix(). Scales per channel of these maps are scales per class.
    pub weights: CMaps,
    /// One for each class; null if there is none. Only scores depend on it, not explanations.
    pub bias: *const f32,
    /// Number of biases: the classes, or 0.
    pub bias_len: usize,
}

/// What decomcam_explain() is asked. Zero is the usual choice where there is one.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct CQuestion {
    /// The class whose logit is explained.
    pub class_index: usize,
    /// If not null, the class whose logit is subtracted: why the one rather than the other.
    pub versus: *const usize,
    /// P, the channels to be selected.
    pub channels: usize,
    /// Q, the components.
    pub components: usize,
    /// Which side of a component is kept.
    pub sign: SignNumber,
}

/// What decomcam_decompose() is asked: which channels, with which weights, and how many components.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct CSelection {
    /// The weight of every channel of the layer, C.
    pub weights: *const f32,
    /// C.
    pub weights_len: usize,
    /// The selected channels, P, as decomcam_top_channels() gives them.
    pub channels: *const Channel,
    /// P.
    pub channels_len: usize,
    /// Q, the components.
    pub components: usize,
    /// Which side of a component is kept.
    pub sign: SignNumber,
}

/// What decomcam_mask_scores() is asked: the maps that mask, and the network that scores.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct CMasking {
    /// Q x H x W.
    pub ossms: *const f32,
    /// Q H W.
    pub ossms_len: usize,
    /// From H x W to the size of the network's input.
    pub bicubic: *const CBicubic,
    /// The network, called 1 + Q times.
    pub scorer: Scorer,
    /// Handed to the scorer.
    pub context: *mut c_void,
}

/// What decomcam_explain() found. The pointers are into its workspace: valid until that is used again.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct CExplanation {
    /// The logit of the class, less that of the other if there is one: what is explained.
    pub score: f32,
    /// OSSMs (components, rectified) and singular values.
    pub parts: CParts,
    /// Q: the contribution of each OSSM that the gradient predicts, over the largest: -1..1.
    pub predicted: *const f32,
    /// Q: the contribution of each OSSM as it is measured, in the unit of the score.
    pub measured: *const f32,
    /// Q: the weight of each OSSM in the saliency, 0..1.
    pub weights: *const f32,
    /// H x W: the weighted sum of the OSSMs, not scaled.
    pub saliency: *const f32,
    /// H x W: the plain class activation map less its mean over positions, over all channels.
    pub centred_first_order: *const f32,
    /// P: the selected channels, largest weight first.
    pub channels: *const Channel,
    /// P.
    pub channels_len: usize,
}

/// The library's version: major * 65536 + minor * 256 + patch, as DECOMCAM_VERSION is the header's.
#[unsafe(no_mangle)]
pub extern "C" fn decomcam_version() -> u32 {
    const fn number(text: &str) -> u32 {
        match u32::from_str_radix(text, 10) {
            Ok(number) => number,
            Err(_) => u32::MAX,
        }
    }
    const MAJOR: u32 = number(env!("CARGO_PKG_VERSION_MAJOR"));
    const MINOR: u32 = number(env!("CARGO_PKG_VERSION_MINOR"));
    const PATCH: u32 = number(env!("CARGO_PKG_VERSION_PATCH"));
    const { assert!(MAJOR < 256 && MINOR < 256 && PATCH < 256) };
    MAJOR << 16 | MINOR << 8 | PATCH
}

/// The status in words, for any number; never null.
#[unsafe(no_mangle)]
pub extern "C" fn decomcam_status_name(status: StatusNumber) -> *const c_char {
    let name = match status {
        0 => c"success",
        1 => c"a length is zero or does not match the shape",
        2 => c"the workspace is too small",
        3 => c"a value is NaN or infinite",
        4 => c"the Jacobi SVD did not converge within its sweep cap",
        5 => c"the number of channels is zero or more than exist",
        6 => c"the number of components is zero or more than exist",
        7 => c"a scale is not finite or a zero point is no byte",
        8 => c"not a capsule",
        9 => c"a capsule of another version",
        10 => c"a damaged capsule",
        11 => c"not a frame",
        12 => c"a frame of another version",
        13 => c"a damaged frame",
        100 => c"a pointer is null",
        101 => c"a pointer is misaligned",
        102 => c"the scorer or sink failed",
        103 => c"no such element type, sign rule, formula or method",
        104 => c"the parts have been rectified",
        105 => c"buffers overlap",
        _ => c"unknown status",
    };
    name.as_ptr()
}

/// 1 if the arithmetic is as the same bits everywhere need it: rounded to nearest, subnormal numbers kept (on Arm: FPSCR bits 22 to 24 zero); else 0.
#[unsafe(no_mangle)]
pub extern "C" fn decomcam_environment_ok() -> u32 {
    crate::environment_ok().into()
}

/// Maps of floats or bytes in the order channels x height x width, row-major: ONNX, PyTorch. len is the number of elements in data. Scale is 1 and zero
/// point 0 at first. Nothing is checked here: the functions that read the maps do.
#[unsafe(no_mangle)]
pub extern "C" fn decomcam_maps_chw(
    element: ElementNumber,
    data: *const c_void,
    len: usize,
    channels: usize,
    height: usize,
    width: usize,
) -> CMaps {
    let (channel_stride, row_stride, column_stride) = (height.wrapping_mul(width), width, 1);
    let (scale, zero_point, scales, zero_points) = (1.0, 0, ptr::null(), ptr::null());
    CMaps {
        data,
        len,
        element,
        channels,
        height,
        width,
        channel_stride,
        row_stride,
        column_stride,
        scale,
        zero_point,
        scales,
        zero_points,
    }
}

/// The same in the order height x width x channels: TensorFlow Lite.
#[unsafe(no_mangle)]
pub extern "C" fn decomcam_maps_hwc(
    element: ElementNumber,
    data: *const c_void,
    len: usize,
    height: usize,
    width: usize,
    channels: usize,
) -> CMaps {
    let (channel_stride, row_stride, column_stride) = (1, width.wrapping_mul(channels), channels);
    let maps = decomcam_maps_chw(element, data, len, channels, height, width);
    CMaps { channel_stride, row_stride, column_stride, ..maps }
}

/// The same for a matrix of rows x columns, one row after the other: the weights of a linear head, a row for each class.
#[unsafe(no_mangle)]
pub extern "C" fn decomcam_maps_matrix(
    element: ElementNumber,
    data: *const c_void,
    len: usize,
    rows: usize,
    columns: usize,
) -> CMaps {
    decomcam_maps_chw(element, data, len, rows, 1, columns)
}

/// Floats of workspace for decomcam_decompose(): DECOMCAM_WORKSPACE_LEN() as a function.
#[unsafe(no_mangle)]
pub extern "C" fn decomcam_workspace_len(positions: usize, channels: usize) -> usize {
    decompose::workspace_len(positions, channels)
}

/// Floats of workspace for decomcam_explain(): DECOMCAM_EXPLAIN_WORKSPACE_LEN() as a function.
#[unsafe(no_mangle)]
pub extern "C" fn decomcam_explain_workspace_len(
    positions: usize,
    channels: usize,
    top_channels: usize,
    components: usize,
) -> usize {
    // Two channel indices take the place of one float.
    head::workspace_len(positions, channels, top_channels, components).saturating_add(top_channels.div_ceil(2))
}

/// Floats of workspace for decomcam_mask_scores(): DECOMCAM_MASK_WORKSPACE_LEN() as a function.
#[unsafe(no_mangle)]
pub extern "C" fn decomcam_mask_workspace_len(width: usize, out_width: usize, components: usize) -> usize {
    decomcam_bicubic_scratch_len(width).saturating_add(out_width).saturating_add(components)
}

/// Floats of scratch for decomcam_bicubic_row(): DECOMCAM_BICUBIC_SCRATCH_LEN() as a function.
#[unsafe(no_mangle)]
pub extern "C" fn decomcam_bicubic_scratch_len(width: usize) -> usize {
    if width > usize::from(u16::MAX) { usize::MAX } else { resample::scratch_len(width) }
}

/// Floats of scratch for decomcam_cam(): DECOMCAM_CAM_SCRATCH_LEN() as a function.
#[unsafe(no_mangle)]
pub extern "C" fn decomcam_cam_scratch_len(positions: usize) -> usize {
    // The map is computed in the scratch: its last values may turn out not to be finite.
    cams::scratch_len(positions).saturating_add(positions)
}

/// Floats of scratch for decomcam_affinity(): DECOMCAM_AFFINITY_SCRATCH_LEN() as a function.
#[unsafe(no_mangle)]
pub extern "C" fn decomcam_affinity_scratch_len(positions: usize) -> usize {
    affinity::scratch_len(positions)
}

/// Components that exist of so many positions and selected channels: DECOMCAM_COMPONENTS_MAX() as a function.
#[unsafe(no_mangle)]
pub extern "C" fn decomcam_components_max(positions: usize, channels: usize) -> usize {
    decompose::components_max(positions, channels)
}

/// Everything about one score of a linear head (global average pooling, then a linear layer), from the activations that are pooled: which channels
/// speak for it, the OSSMs, what each contributes (predicted and measured) and the saliency at the layer's size. No gradient and no second pass through
/// the network.
///
/// The workspace takes DECOMCAM_EXPLAIN_WORKSPACE_LEN(H * W, C, P, Q) floats; the explanation points into it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn decomcam_explain(
    head: *const CHead,
    activations: *const CMaps,
    question: *const CQuestion,
    workspace: *mut f32,
    workspace_len: usize,
    explanation: *mut CExplanation,
) -> Status {
    // SAFETY: the header's contract.
    let lent = unsafe { lent_to_explain(head, activations, question, (workspace, workspace_len), explanation) };
    let found = match lent {
        Ok(Asked { head, activations, question, top, floats }) => {
            head::explain(&head, &activations, &question, top, floats)
        }
        Err(status) => return status,
    };
    let found = match found {
        Ok(found) => found,
        Err(error) => return error.into(),
    };
    let place = |values: &[f32]| workspace.with_addr(values.as_ptr().addr()).cast_const();
    let found = CExplanation {
        score: found.score,
        parts: CParts { rectified: 1, ..pieces(&found.ossms, workspace) },
        predicted: place(found.predicted),
        measured: place(found.measured),
        weights: place(found.weights),
        saliency: place(found.saliency),
        centred_first_order: place(found.centred_first_order),
        channels: workspace.with_addr(found.channels.as_ptr().addr()).cast_const().cast(),
        channels_len: found.channels.len(),
    };
    // SAFETY: the header's contract; it has been looked at.
    unsafe { explanation.write(found) };
    Status::Ok
}

/// What decomcam_explain() is given.
struct Asked<'c> {
    head: LinearHead<'c>,
    activations: Maps<'c>,
    question: Question,
    top: &'c mut [Channel],
    floats: &'c mut [f32],
}

/// Looks at it in a function of its own, whose part of the stack is free again when the work begins.
///
/// # Safety
/// The header's contract.
#[inline(never)]
unsafe fn lent_to_explain<'c>(
    head: *const CHead,
    activations: *const CMaps,
    question: *const CQuestion,
    (workspace, workspace_len): (*mut f32, usize),
    explanation: *mut CExplanation,
) -> Result<Asked<'c>, Status> {
    let lent = &mut Lent::new();
    // SAFETY: this function's contract.
    unsafe {
        let (head, activations) = (lent.borrow(head)?.view(lent)?, lent.borrow(activations)?.view(lent)?);
        let CQuestion { class_index, versus, channels, components, sign } = *lent.borrow(question)?;
        let versus = if versus.is_null() { None } else { Some(*lent.borrow(versus)?) };
        let sign = sign_rule(sign)?;
        let floats = lent.slice_mut(workspace, workspace_len)?;
        lent.writable(explanation)?;

        if channels > activations.channels() {
            return Err(Status::Channels);
        }
        let own = floats.len().checked_sub(channels.div_ceil(2)).ok_or(Status::WorkspaceTooSmall)?;
        let (floats, rest) = floats.split_at_mut_checked(own).ok_or(Status::WorkspaceTooSmall)?;
        // SAFETY: `channels` indices take at most the bytes of the floats that they replace, need less alignment, and may have any bits.
        let top = slice::from_raw_parts_mut(rest.as_mut_ptr().cast::<Channel>(), channels);
        let question = Question { class: class_index, versus, components, sign };
        Ok(Asked { head, activations, question, top, floats })
    }
}

/// Channel weights from gradients: weights_c = mean over positions of d score / d activation_c. gradients C x H x W; weights C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn decomcam_channel_weights(gradients: *const CMaps, weights: *mut f32, len: usize) -> Status {
    // SAFETY: the header's contract.
    status(|lent| unsafe { means(lent.borrow(gradients)?.view(lent)?, lent.slice_mut(weights, len)?) })
}

/// The len channels with the largest signed weight, largest first; equal weights in the order of their index. At most 65536 weights.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn decomcam_top_channels(
    weights: *const f32,
    weights_len: usize,
    channels: *mut Channel,
    len: usize,
) -> Status {
    // SAFETY: the header's contract.
    status(|lent| unsafe {
        let (weights, channels) = (lent.slice(weights, weights_len)?, lent.slice_mut(channels, len)?);
        Ok(channels::top_into(weights, channels)?)
    })
}

/// The first components of the weighted, centred maps of the selected channels: matrix X = U diag(s) V' of positions x channels, components U diag(s).
///
/// activations C x H x W. The workspace takes DECOMCAM_WORKSPACE_LEN(H * W, P) floats; parts points into it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn decomcam_decompose(
    activations: *const CMaps,
    selection: *const CSelection,
    workspace: *mut f32,
    workspace_len: usize,
    parts: *mut CParts,
) -> Status {
    // SAFETY: the header's contract.
    status(|lent| unsafe {
        let activations = lent.borrow(activations)?.view(lent)?;
        let CSelection { weights, weights_len, channels, channels_len, components, sign } = *lent.borrow(selection)?;
        let (weights, channels) = (lent.slice(weights, weights_len)?, lent.slice(channels, channels_len)?);
        let (sign, memory) = (sign_rule(sign)?, lent.slice_mut(workspace, workspace_len)?);
        lent.writable(parts)?;
        let found = decompose::decompose(&activations, weights, channels, components, sign, memory)?;
        parts.write(pieces(&found, workspace));
        Ok(())
    })
}

/// The share of component q in the centred first-order map: the closed form of its contribution. Refused after decomcam_rectify().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn decomcam_alignment(parts: *const CParts, q: usize, alignment: *mut f32) -> Status {
    // SAFETY: the header's contract.
    status(|lent| unsafe {
        let (components, first_order) = lent.borrow(parts)?.signed(lent)?;
        let share = integrate::alignment(components, first_order, q)?;
        lent.writable(alignment)?;
        alignment.write(share);
        Ok(())
    })
}

/// The contributions that the gradient predicts, over the largest among them: -1..1. Refused after decomcam_rectify(). len at
/// most Q.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn decomcam_predicted(parts: *const CParts, predicted: *mut f32, len: usize) -> Status {
    // SAFETY: the header's contract.
    status(|lent| unsafe {
        let parts = lent.borrow(parts)?;
        let ((components, first_order), predicted) = (parts.signed(lent)?, lent.slice_mut(predicted, len)?);
        parts.has(len)?;
        Ok(integrate::shares(components, first_order, predicted)?)
    })
}

/// The weights of the closed form: what decomcam_predicted() says, zero where that is negative. Refused after decomcam_rectify(). len at most
/// Q.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn decomcam_aligned_weights(parts: *const CParts, weights: *mut f32, len: usize) -> Status {
    // SAFETY: the header's contract.
    status(|lent| unsafe {
        let parts = lent.borrow(parts)?;
        let ((components, first_order), weights) = (parts.signed(lent)?, lent.slice_mut(weights, len)?);
        parts.has(len)?;
        Ok(integrate::aligned(components, first_order, weights)?)
    })
}

/// Weights with which the signed components sum to the centred first-order map, if all that exist are there, and to the nearest that so many come to it
/// otherwise: decomcam_integrate_sum() of the components, to which decomcam_first_order_mean() is added. Zero for a component below 1e-6 of the largest.
/// Refused after decomcam_rectify(). len at most Q.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn decomcam_exact_weights(parts: *const CParts, weights: *mut f32, len: usize) -> Status {
    // SAFETY: the header's contract.
    status(|lent| unsafe {
        let parts = lent.borrow(parts)?;
        let ((components, first_order), weights) = (parts.signed(lent)?, lent.slice_mut(weights, len)?);
        let singular_values = lent.slice(parts.singular_values, parts.singular_values_len)?;
        parts.has(len)?;
        finite(singular_values)?;
        Ok(integrate::exact(components, singular_values, first_order, weights)?)
    })
}

/// Cuts negatives off: the components become OSSMs.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn decomcam_rectify(parts: *mut CParts) -> Status {
    // SAFETY: the header's contract.
    status(|lent| unsafe {
        let parts = lent.borrow_mut(parts)?;
        let components = lent.slice_mut(parts.components, parts.len()?)?;
        finite(components)?;
        decompose::rectify(components);
        parts.rectified = 1;
        Ok(())
    })
}

/// Weights of the OSSMs from the scores of the photos that they mask and the score of the wholly blurred photo. scores and weights len each.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn decomcam_score_weights(
    formula: FormulaNumber,
    scores: *const f32,
    blurred: f32,
    weights: *mut f32,
    len: usize,
) -> Status {
    // SAFETY: the header's contract.
    status(|lent| unsafe {
        let (scores, weights) = (lent.slice(scores, len)?, lent.slice_mut(weights, len)?);
        Ok(integrate::score_weights(score_formula(formula)?, scores, blurred, weights)?)
    })
}

/// saliency = sum over q of weight_q * OSSM_q, at the layer's size. ossms Q x H x W; weights Q; saliency H x W.
///
/// Resampling is linear, so one upsampling of this sum serves for all: clamp the resampled rows at zero and scale them with decomcam_range_scale().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn decomcam_integrate_sum(
    ossms: *const f32,
    ossms_len: usize,
    weights: *const f32,
    weights_len: usize,
    saliency: *mut f32,
    saliency_len: usize,
) -> Status {
    // SAFETY: the header's contract.
    status(|lent| unsafe {
        let (ossms, weights) = (lent.slice(ossms, ossms_len)?, lent.slice(weights, weights_len)?);
        let saliency = lent.slice_mut(saliency, saliency_len)?;
        Ok(integrate::sum(ossms, weights, saliency)?)
    })
}

/// Prepares the resampling of height x width maps to out_height x out_width. taps: out_width places, filled here; they must live as long as bicubic.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn decomcam_bicubic_init(
    bicubic: *mut CBicubic,
    height: usize,
    width: usize,
    out_height: usize,
    out_width: usize,
    taps: *mut Tap,
) -> Status {
    // SAFETY: the header's contract.
    status(|lent| unsafe {
        lent.writable(bicubic)?;
        Bicubic::new(height, width, out_height, lent.slice_mut(taps, out_width)?)?;
        bicubic.write(CBicubic { height, width, out_height, out_width, taps: taps.cast_const() });
        Ok(())
    })
}

/// Row y of the resampled map. map H x W; row out_width; scratch DECOMCAM_BICUBIC_SCRATCH_LEN(width) floats.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn decomcam_bicubic_row(
    bicubic: *const CBicubic,
    map: *const f32,
    map_len: usize,
    y: usize,
    scratch: *mut f32,
    scratch_len: usize,
    row: *mut f32,
    row_len: usize,
) -> Status {
    // SAFETY: the header's contract.
    status(|lent| unsafe {
        let (bicubic, map) = (lent.borrow(bicubic)?.view(lent)?, lent.slice(map, map_len)?);
        let (scratch, row) = (lent.slice_mut(scratch, scratch_len)?, lent.slice_mut(row, row_len)?);
        Ok(bicubic.row(map, y, scratch, row)?)
    })
}

/// The range before any value.
#[unsafe(no_mangle)]
pub extern "C" fn decomcam_range_empty() -> CRange {
    let Range { low, high } = Range::EMPTY;
    CRange { low, high }
}

/// Widens the range to hold these values.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn decomcam_range_include(range: *mut CRange, values: *const f32, len: usize) -> Status {
    // SAFETY: the header's contract.
    status(|lent| unsafe {
        let values = lent.slice(values, len)?;
        let place = lent.borrow_mut(range)?;
        let mut range = place.view()?;
        finite(values)?;
        range.include(values);
        *place = CRange { low: range.low, high: range.high };
        Ok(())
    })
}

/// (value - low) / (high - low) in place, 0..1; all zero where the range is empty or one value. What is outside of the range becomes 0 or 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn decomcam_range_scale(range: *const CRange, values: *mut f32, len: usize) -> Status {
    // SAFETY: the header's contract.
    status(|lent| unsafe {
        let range = lent.borrow(range)?.view()?;
        let values = lent.slice_mut(values, len)?;
        finite(values)?;
        range.scale(values);
        Ok(())
    })
}

/// out = max(photo * mask, blurred * (1 - mask)): the photo where the mask is high, the blurred photo where it is low. All len long.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn decomcam_blend(
    photo: *const f32,
    blurred: *const f32,
    mask: *const f32,
    out: *mut f32,
    len: usize,
) -> Status {
    // SAFETY: the header's contract.
    status(|lent| unsafe {
        let (photo, blurred, mask) = (lent.slice(photo, len)?, lent.slice(blurred, len)?, lent.slice(mask, len)?);
        let out = lent.slice_mut(out, len)?;
        for inputs in [photo, blurred, mask] {
            finite(inputs)?;
        }
        // A mask beyond 0..1 may take the result out of range.
        for ((photo, blurred), mask) in photo.iter().zip(blurred).zip(mask) {
            let mut result = [0.0];
            mask::blend(&[*photo], &[*blurred], &[*mask], &mut result);
            finite(&result)?;
        }
        mask::blend(photo, blurred, mask, out);
        Ok(())
    })
}

/// Scores of the photo masked by each OSSM, and of the wholly blurred photo, by a network that the caller runs.
///
/// scores Q. The workspace takes DECOMCAM_MASK_WORKSPACE_LEN(width, out_width, Q) floats.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn decomcam_mask_scores(
    masking: *const CMasking,
    workspace: *mut f32,
    workspace_len: usize,
    scores: *mut f32,
    scores_len: usize,
    blurred: *mut f32,
) -> Status {
    // SAFETY: the header's contract.
    status(|lent| unsafe {
        let CMasking { ossms, ossms_len, bicubic, scorer, context } = *lent.borrow(masking)?;
        let (ossms, bicubic) = (lent.slice(ossms, ossms_len)?, lent.borrow(bicubic)?.view(lent)?);
        let scorer = scorer.ok_or(Status::NullPointer)?;
        let (memory, scores) = (lent.slice_mut(workspace, workspace_len)?, lent.slice_mut(scores, scores_len)?);
        lent.writable(blurred)?;
        finite(ossms)?;
        let (small, lent) = (Status::WorkspaceTooSmall, &*lent);
        let (scratch, rest) =
            memory.split_at_mut_checked(resample::scratch_len(bicubic.source_width())).ok_or(small)?;
        let (row, rest) = rest.split_at_mut_checked(bicubic.out_width()).ok_or(small)?;
        let found = rest.get_mut(..scores.len()).ok_or(small)?;
        let of_blurred = mask::scores(ossms, &bicubic, scratch, row, found, |mask, scratch, _| {
            let mut score = f32::NAN;
            let code = match mask {
                // SAFETY: the caller's function, by the header's contract; the rows outlive the call.
                Some(mask) => scorer(context, &mut MaskRows { mask, scratch, lent }, &mut score),
                // SAFETY: the caller's function, by the header's contract.
                None => scorer(context, ptr::null_mut(), &mut score),
            };
            if code == 0 { Ok(score) } else { Err(Status::Callback) }
        })?;
        copy(found, scores);
        blurred.write(of_blurred);
        Ok(())
    })
}

/// Row y of a mask, 0..1. row as long as the mask is wide, and in no buffer that the scoring was given. Only in a scorer, with the mask that it was given.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn decomcam_mask_row(mask: *mut MaskRows<'_>, y: usize, row: *mut f32, len: usize) -> Status {
    // SAFETY: the header's contract.
    status(|lent| unsafe {
        let MaskRows { mask, scratch, lent: of_scoring } = lent.borrow_mut(mask)?;
        lent.areas = of_scoring.areas;
        (lent.written, lent.count) = (of_scoring.written, of_scoring.count);
        Ok(mask.row(y, scratch, lent.slice_mut(row, len)?)?)
    })
}

/// Floats of workspace for the functions of an overlay: DECOMCAM_OVERLAY_WORKSPACE_LEN() as a function.
#[unsafe(no_mangle)]
pub extern "C" fn decomcam_overlay_workspace_len(width: usize, out_width: usize) -> usize {
    draw::workspace_len(width, out_width)
}

/// Prepares the drawing of a saliency map (H x W of the layer, as decomcam_explain() gives it) over a picture of bicubic's size, row by row: goes over the
/// resampled map once to find its range. bicubic and saliency must live as long as the overlay.
///
/// The workspace takes DECOMCAM_OVERLAY_WORKSPACE_LEN(width, out_width) floats.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn decomcam_overlay_init(
    overlay: *mut COverlay,
    bicubic: *const CBicubic,
    saliency: *const f32,
    saliency_len: usize,
    workspace: *mut f32,
    workspace_len: usize,
) -> Status {
    // SAFETY: the header's contract.
    status(|lent| unsafe {
        lent.writable(overlay)?;
        let (view, map) = (lent.borrow(bicubic)?.view(lent)?, lent.slice(saliency, saliency_len)?);
        let Range { low, high } = Overlay::new(&view, map, lent.slice_mut(workspace, workspace_len)?)?.range();
        overlay.write(COverlay { bicubic, saliency, saliency_len, range: CRange { low, high } });
        Ok(())
    })
}

/// Row y of the overlay, in place of that row of the picture: red, green and blue of each pixel, a byte each. len is 3 * out_width.
///
/// A pixel becomes (1 - a) picture + a colour(s), with s the saliency in 0..1, its colour in inferno, and a = 0.85 s^0.7. Pixels are those of the desktop.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn decomcam_overlay_rgb888(
    overlay: *const COverlay,
    y: usize,
    workspace: *mut f32,
    workspace_len: usize,
    pixels: *mut u8,
    len: usize,
) -> Status {
    // SAFETY: the header's contract.
    status(|lent| unsafe {
        let COverlay { bicubic, saliency, saliency_len, range } = *lent.borrow(overlay)?;
        let (view, map) = (lent.borrow(bicubic)?.view(lent)?, lent.slice(saliency, saliency_len)?);
        let (workspace, bytes) = (lent.slice_mut(workspace, workspace_len)?, lent.slice_mut(pixels, len)?);
        let (pixels, []) = bytes.as_chunks_mut::<3>() else {
            return Err(Status::Shape);
        };
        Ok(Overlay::with_range(&view, map, range.view()?).rgb888(y, workspace, pixels)?)
    })
}

/// The same for pixels of 16 bits, five of red, six of green, five of blue from the highest bit down, in the machine's byte order. len is out_width.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn decomcam_overlay_rgb565(
    overlay: *const COverlay,
    y: usize,
    workspace: *mut f32,
    workspace_len: usize,
    pixels: *mut u16,
    len: usize,
) -> Status {
    // SAFETY: the header's contract.
    status(|lent| unsafe {
        let COverlay { bicubic, saliency, saliency_len, range } = *lent.borrow(overlay)?;
        let (view, map) = (lent.borrow(bicubic)?.view(lent)?, lent.slice(saliency, saliency_len)?);
        let (workspace, pixels) = (lent.slice_mut(workspace, workspace_len)?, lent.slice_mut(pixels, len)?);
        Ok(Overlay::with_range(&view, map, range.view()?).rgb565(y, workspace, pixels)?)
    })
}

/// Bytes of a frame of H x W positions and Q parts; 0 if there is none of this size.
#[unsafe(no_mangle)]
pub extern "C" fn decomcam_frame_len(height: usize, width: usize, components: usize) -> usize {
    crate::frame::len(height, width, components).unwrap_or(0)
}

/// Packs what decomcam_explain() found into a frame, which `decomcam show` draws: decomcam_frame_len() bytes, given to sink a few at a time.
///
/// question is what was asked; height and width are H and W of the layer; context is handed to sink. Numbers that are not finite are refused before the
/// first byte.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn decomcam_frame_write(
    explanation: *const CExplanation,
    question: *const CQuestion,
    height: usize,
    width: usize,
    sink: Sink,
    context: *mut c_void,
) -> Status {
    // SAFETY: the header's contract.
    status(|lent| unsafe {
        let (why, question) = (lent.borrow(explanation)?, lent.borrow(question)?);
        let sink = sink.ok_or(Status::NullPointer)?;
        let class = |index: usize| u32::try_from(index).map_err(|_| Status::Shape);
        let versus = if question.versus.is_null() { None } else { Some(class(*lent.borrow(question.versus)?)?) };
        let CParts { components, count, positions, singular_values, singular_values_len, .. } = why.parts;
        let record = Record {
            height,
            width,
            class: class(question.class_index)?,
            versus,
            score: why.score,
            saliency: lent.slice(why.saliency, positions)?,
            ossms: lent.slice(components.cast_const(), why.parts.len()?)?,
            singular_values: lent.slice(singular_values, singular_values_len)?,
            predicted: lent.slice(why.predicted, count)?,
            measured: lent.slice(why.measured, count)?,
            weights: lent.slice(why.weights, count)?,
        };
        record.write(|bytes| {
            // SAFETY: the caller's function, by the header's contract.
            if sink(context, bytes.as_ptr(), bytes.len()) == 0 { Ok(()) } else { Err(Status::Callback) }
        })
    })
}

/// pooled_c = mean over positions of activation_c. activations C x H x W; pooled C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn decomcam_pool(activations: *const CMaps, pooled: *mut f32, len: usize) -> Status {
    // SAFETY: the header's contract.
    status(|lent| unsafe { means(lent.borrow(activations)?.view(lent)?, lent.slice_mut(pooled, len)?) })
}

/// The logits of pooled activations. pooled C; logits one for each class.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn decomcam_head_logits(
    head: *const CHead,
    pooled: *const f32,
    pooled_len: usize,
    logits: *mut f32,
    logits_len: usize,
) -> Status {
    // SAFETY: the header's contract.
    status(|lent| unsafe {
        let (head, pooled) = (lent.borrow(head)?.view(lent)?, lent.slice(pooled, pooled_len)?);
        let logits = lent.slice_mut(logits, logits_len)?;
        if pooled.len() != head.channels() || logits.len() != head.classes() {
            return Err(Status::Shape);
        }
        for class in 0..head.classes() {
            head.logit(class, pooled)?;
        }
        Ok(head.logits(pooled, logits)?)
    })
}

/// Channel weights of the logit of a class, or of it less the logit of another (versus, may be null), on a layer of so many positions (H W). weights C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn decomcam_head_channel_weights(
    head: *const CHead,
    class_index: usize,
    versus: *const usize,
    positions: usize,
    weights: *mut f32,
    len: usize,
) -> Status {
    // SAFETY: the header's contract.
    status(|lent| unsafe {
        let head = lent.borrow(head)?.view(lent)?;
        let versus = if versus.is_null() { None } else { Some(*lent.borrow(versus)?) };
        let weights = lent.slice_mut(weights, len)?;
        if weights.len() != head.channels() || positions == 0 {
            return Err(Status::Shape);
        }
        for channel in 0..head.channels() {
            head.channel_weight(class_index, versus, positions, channel)?;
        }
        Ok(head.channel_weights(class_index, versus, positions, weights)?)
    })
}

/// map = sum over all channels of weight_c * activation_c: the first-order map of the score, its mean included; the plain class activation map.
///
/// activations C x H x W; weights C; map H x W; scratch 2 H W.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn decomcam_uncentred_first_order(
    activations: *const CMaps,
    weights: *const f32,
    weights_len: usize,
    scratch: *mut f32,
    scratch_len: usize,
    map: *mut f32,
    map_len: usize,
) -> Status {
    // SAFETY: the header's contract.
    status(|lent| unsafe {
        let (activations, weights) = (lent.borrow(activations)?.view(lent)?, lent.slice(weights, weights_len)?);
        let (scratch, map) = (lent.slice_mut(scratch, scratch_len)?, lent.slice_mut(map, map_len)?);
        first_order(head::uncentred_first_order, &activations, weights, scratch, map)
    })
}

/// map = sum over all channels of weight_c * (activation_c - its mean): the first-order map of the score less its mean over positions.
///
/// activations C x H x W; weights C; map H x W; scratch 2 H W.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn decomcam_centred_first_order(
    activations: *const CMaps,
    weights: *const f32,
    weights_len: usize,
    scratch: *mut f32,
    scratch_len: usize,
    map: *mut f32,
    map_len: usize,
) -> Status {
    // SAFETY: the header's contract.
    status(|lent| unsafe {
        let (activations, weights) = (lent.borrow(activations)?.view(lent)?, lent.slice(weights, weights_len)?);
        let (scratch, map) = (lent.slice_mut(scratch, scratch_len)?, lent.slice_mut(map, map_len)?);
        first_order(head::centred_first_order, &activations, weights, scratch, map)
    })
}

/// The mean over positions of decomcam_uncentred_first_order(): add it to the sum of components weighted by decomcam_exact_weights().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn decomcam_first_order_mean(
    activations: *const CMaps,
    weights: *const f32,
    weights_len: usize,
    mean: *mut f32,
) -> Status {
    // SAFETY: the header's contract.
    status(|lent| unsafe {
        let (activations, weights) = (lent.borrow(activations)?.view(lent)?, lent.slice(weights, weights_len)?);
        lent.writable(mean)?;
        mean.write(head::first_order_mean(&activations, weights)?);
        Ok(())
    })
}

/// The measured contribution of each OSSM on a linear head: the score of the features kept where the OSSM is high and blended towards their mean
/// elsewhere, less the score of the features wholly blended. ossms Q x H x W; centred_first_order H x W (decomcam_centred_first_order()); scratch H W;
/// contributions Q.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn decomcam_contributions(
    ossms: *const f32,
    ossms_len: usize,
    centred_first_order: *const f32,
    centred_first_order_len: usize,
    scratch: *mut f32,
    scratch_len: usize,
    contributions: *mut f32,
    contributions_len: usize,
) -> Status {
    // SAFETY: the header's contract.
    status(|lent| unsafe {
        let (ossms, first_order) =
            (lent.slice(ossms, ossms_len)?, lent.slice(centred_first_order, centred_first_order_len)?);
        let scratch = lent.slice_mut(scratch, scratch_len)?;
        let contributions = lent.slice_mut(contributions, contributions_len)?;
        let mask = scratch.get_mut(..first_order.len()).ok_or(Status::WorkspaceTooSmall)?;
        Ok(head::contributions(ossms, first_order, mask, contributions)?)
    })
}

/// The map of one of the methods that DecomCAM is held against, from activations and gradients alone, neither clamped nor scaled.
///
/// activations and gradients C x H x W; scratch DECOMCAM_CAM_SCRATCH_LEN(H * W) floats; map H x W.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn decomcam_cam(
    method: MethodNumber,
    activations: *const CMaps,
    gradients: *const CMaps,
    scratch: *mut f32,
    scratch_len: usize,
    map: *mut f32,
    map_len: usize,
) -> Status {
    // SAFETY: the header's contract.
    status(|lent| unsafe {
        let (activations, gradients) = (lent.borrow(activations)?.view(lent)?, lent.borrow(gradients)?.view(lent)?);
        let (scratch, map) = (lent.slice_mut(scratch, scratch_len)?, lent.slice_mut(map, map_len)?);
        let method = cam(method)?;
        let (found, rest) = scratch.split_at_mut_checked(map.len()).ok_or(Status::WorkspaceTooSmall)?;
        cams::cam(method, &activations, &gradients, rest, found)?;
        copy(found, map);
        Ok(())
    })
}

/// Eigen-CAM: the first principal component of the activations, on the side on which their sum is above its mean. No score is in it.
///
/// activations C x H x W; the workspace takes DECOMCAM_WORKSPACE_LEN(H * W, C) floats; map H x W.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn decomcam_eigen_cam(
    activations: *const CMaps,
    workspace: *mut f32,
    workspace_len: usize,
    map: *mut f32,
    map_len: usize,
) -> Status {
    // SAFETY: the header's contract.
    status(|lent| unsafe {
        let activations = lent.borrow(activations)?.view(lent)?;
        let (workspace, map) = (lent.slice_mut(workspace, workspace_len)?, lent.slice_mut(map, map_len)?);
        Ok(cams::eigen_cam(&activations, workspace, map)?)
    })
}

/// EigenGrad-CAM: the first principal component of gradient times activation, on the side that the score rewards.
///
/// activations and gradients C x H x W; the workspace takes DECOMCAM_WORKSPACE_LEN(H * W, C) floats; map H x W.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn decomcam_eigen_grad_cam(
    activations: *const CMaps,
    gradients: *const CMaps,
    workspace: *mut f32,
    workspace_len: usize,
    map: *mut f32,
    map_len: usize,
) -> Status {
    // SAFETY: the header's contract.
    status(|lent| unsafe {
        let (activations, gradients) = (lent.borrow(activations)?.view(lent)?, lent.borrow(gradients)?.view(lent)?);
        let (workspace, map) = (lent.slice_mut(workspace, workspace_len)?, lent.slice_mut(map, map_len)?);
        Ok(cams::eigen_grad_cam(&activations, &gradients, workspace, map)?)
    })
}

/// How similar the activations of each two positions are: max(0, cosine of their channels)^2, 1 on the diagonal, scaled so that rows and columns sum
/// to one.
///
/// activations C x H x W; scratch DECOMCAM_AFFINITY_SCRATCH_LEN(H * W) floats; matrix H W x H W.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn decomcam_affinity(
    activations: *const CMaps,
    scratch: *mut f32,
    scratch_len: usize,
    matrix: *mut f32,
    matrix_len: usize,
) -> Status {
    // SAFETY: the header's contract.
    status(|lent| unsafe {
        let activations = lent.borrow(activations)?.view(lent)?;
        let (scratch, matrix) = (lent.slice_mut(scratch, scratch_len)?, lent.slice_mut(matrix, matrix_len)?);
        Ok(affinity::affinity(&activations, matrix, scratch)?)
    })
}

/// shared = matrix * map: each position gets the average over positions with similar activations; the mean of the map stays. matrix from
/// decomcam_affinity(); map and shared len each.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn decomcam_share(
    matrix: *const f32,
    matrix_len: usize,
    map: *const f32,
    shared: *mut f32,
    len: usize,
) -> Status {
    // SAFETY: the header's contract.
    status(|lent| unsafe {
        let (matrix, map) = (lent.slice(matrix, matrix_len)?, lent.slice(map, len)?);
        let shared = lent.slice_mut(shared, len)?;
        Ok(affinity::share(matrix, map, shared)?)
    })
}

/// Jacobi SVD in place: len columns of so many rows, one after the other, become U diag(s), and singular_values (len) descend.
///
/// columns, follow and singular_values are changed in place, except by a call that finds a NaN or infinity among the columns. follow may be null:
/// otherwise len vectors of follow_rows entries that are rotated and sorted along; start with the identity to get V. Success does not mean that the
/// sweeps converged: read convergence, which must not be null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn decomcam_orthogonalise(
    columns: *mut f32,
    columns_len: usize,
    rows: usize,
    follow: *mut f32,
    follow_len: usize,
    follow_rows: usize,
    singular_values: *mut f32,
    len: usize,
    convergence: *mut CConvergence,
) -> Status {
    // SAFETY: the header's contract.
    status(|lent| unsafe {
        let (columns, singular_values) = (lent.slice_mut(columns, columns_len)?, lent.slice_mut(singular_values, len)?);
        let follow = if follow.is_null() { None } else { Some((lent.slice_mut(follow, follow_len)?, follow_rows)) };
        lent.writable(convergence)?;
        convergence.write(svd::orthogonalise(columns, rows, singular_values, follow)?.into());
        Ok(())
    })
}

/// Runs the body of a function and says how it ended.
fn status(body: impl FnOnce(&mut Lent) -> Result<(), Status>) -> Status {
    match body(&mut Lent::new()) {
        Ok(()) => Status::Ok,
        Err(status) => status,
    }
}

/// Means of all maps, written only if all are finite, which they are if the values are.
fn means(maps: Maps, means: &mut [f32]) -> Result<(), Status> {
    if means.len() != maps.channels() {
        return Err(Status::Shape);
    }
    if !maps.is_finite() {
        return Err(Status::NonFinite);
    }
    Ok(channels::weights(&maps, means)?)
}

/// A first-order map, written only if all of it is finite.
fn first_order(
    of: impl Fn(&Maps, &[f32], &mut [f32], &mut [f32]) -> Result<(), Error>,
    activations: &Maps,
    weights: &[f32],
    scratch: &mut [f32],
    map: &mut [f32],
) -> Result<(), Status> {
    let (row, rest) = scratch.split_at_mut_checked(map.len()).ok_or(Status::WorkspaceTooSmall)?;
    let found = rest.get_mut(..map.len()).ok_or(Status::WorkspaceTooSmall)?;
    of(activations, weights, row, found)?;
    copy(found, map);
    Ok(())
}

/// Copies as much as fits. (`copy_from_slice` would panic if the lengths differed.)
fn copy(from: &[f32], to: &mut [f32]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
}

fn finite(values: &[f32]) -> Result<(), Status> {
    if maths::largest_magnitude(values).is_finite() { Ok(()) } else { Err(Status::NonFinite) }
}

/// Whether `len` elements from `data` on can exist at all.
fn possible<T>(data: *const T, len: usize) -> Result<(), Status> {
    if data.is_null() {
        return Err(Status::NullPointer);
    }
    if !data.is_aligned() {
        return Err(Status::Misaligned);
    }
    let bytes = len.checked_mul(size_of::<T>()).filter(|bytes| *bytes <= isize::MAX as usize);
    match bytes.and_then(|bytes| data.addr().checked_add(bytes)) {
        Some(_) => Ok(()),
        None => Err(Status::Shape),
    }
}

/// Lends that one call may have: more than any function takes.
const LENDS: usize = 16;

/// What C lends for one call. Nothing that is written may overlap with anything else.
#[derive(Debug)]
struct Lent {
    /// First address, and the one behind the last.
    areas: [(usize, usize); LENDS],
    written: [bool; LENDS],
    count: usize,
}

impl Lent {
    const fn new() -> Self {
        Self { areas: [(0, 0); LENDS], written: [false; LENDS], count: 0 }
    }

    fn lend<T>(&mut self, data: *const T, len: usize, write: bool) -> Result<(), Status> {
        possible(data, len)?;
        let area = (data.addr(), data.addr() + len * size_of::<T>());
        for (other, written) in self.areas.iter().zip(self.written).take(self.count) {
            if (write || written) && area.0 < other.1 && other.0 < area.1 {
                return Err(Status::Overlap);
            }
        }
        let (place, written) =
            self.areas.get_mut(self.count).zip(self.written.get_mut(self.count)).ok_or(Status::Shape)?;
        (*place, *written) = (area, write);
        self.count += 1;
        Ok(())
    }

    /// Whether `*place` can be written.
    fn writable<T>(&mut self, place: *mut T) -> Result<(), Status> {
        self.lend(place, 1, true)
    }

    /// What C lends for reading during a call.
    ///
    /// # Safety
    /// If it is possible, `data` points to `len` elements that nobody writes meanwhile. C's memory holds some bits, and every `T` used here may have any.
    unsafe fn slice<'c, T>(&mut self, data: *const T, len: usize) -> Result<&'c [T], Status> {
        self.lend(data, len, false)?;
        // SAFETY: neither null nor misaligned, no longer than an object may be; the rest is this function's contract.
        Ok(unsafe { slice::from_raw_parts(data, len) })
    }

    /// What C lends for writing during a call.
    ///
    /// # Safety
    /// That of [`Lent::slice`], and nobody else reads it meanwhile.
    unsafe fn slice_mut<'c, T>(&mut self, data: *mut T, len: usize) -> Result<&'c mut [T], Status> {
        self.lend(data, len, true)?;
        // SAFETY: as in `slice`; nothing else of this call overlaps.
        Ok(unsafe { slice::from_raw_parts_mut(data, len) })
    }

    /// One object for reading.
    ///
    /// # Safety
    /// That of [`Lent::slice`].
    unsafe fn borrow<'c, T>(&mut self, place: *const T) -> Result<&'c T, Status> {
        self.lend(place, 1, false)?;
        // SAFETY: as in `slice`.
        Ok(unsafe { &*place })
    }

    /// One object for writing.
    ///
    /// # Safety
    /// That of [`Lent::slice_mut`].
    unsafe fn borrow_mut<'c, T>(&mut self, place: *mut T) -> Result<&'c mut T, Status> {
        self.lend(place, 1, true)?;
        // SAFETY: as in `slice_mut`.
        Ok(unsafe { &mut *place })
    }
}

impl CMaps {
    /// # Safety
    /// That of [`Lent::slice`], for each of the pointers.
    unsafe fn view<'c>(&self, lent: &mut Lent) -> Result<Maps<'c>, Status> {
        let shape = [self.channels, self.height, self.width];
        let layout = Layout::strided(shape, [self.channel_stride, self.row_stride, self.column_stride]);
        const F32: u32 = Element::F32 as u32;
        const U8: u32 = Element::U8 as u32;
        const I8: u32 = Element::I8 as u32;
        // SAFETY: this function's contract; the element says what the data are.
        Ok(unsafe {
            match self.element {
                F32 => Maps::f32(lent.slice(self.data.cast(), self.len)?, layout)?,
                U8 => Maps::u8(lent.slice(self.data.cast(), self.len)?, layout, self.quantisation(lent)?)?,
                I8 => Maps::i8(lent.slice(self.data.cast(), self.len)?, layout, self.quantisation(lent)?)?,
                _ => return Err(Status::UnknownOption),
            }
        })
    }

    /// # Safety
    /// That of [`Lent::slice`], for the scales and zero points.
    unsafe fn quantisation<'c>(&self, lent: &mut Lent) -> Result<Quantisation<'c>, Status> {
        if self.scales.is_null() {
            let zero_point = i16::try_from(self.zero_point).map_err(|_| Status::Quantisation)?;
            return Ok(Quantisation::PerTensor { scale: self.scale, zero_point });
        }
        // SAFETY: this function's contract.
        let scales = unsafe { lent.slice(self.scales, self.channels)? };
        if self.zero_points.is_null() {
            return Ok(Quantisation::PerChannel { scales, zero_points: &[] });
        }
        // SAFETY: this function's contract.
        Ok(Quantisation::PerChannel { scales, zero_points: unsafe { lent.slice(self.zero_points, self.channels)? } })
    }
}

impl CHead {
    /// # Safety
    /// That of [`Lent::slice`], for each of the pointers.
    unsafe fn view<'c>(&self, lent: &mut Lent) -> Result<LinearHead<'c>, Status> {
        // SAFETY: this function's contract.
        let bias = if self.bias.is_null() { None } else { Some(unsafe { lent.slice(self.bias, self.bias_len)? }) };
        // SAFETY: this function's contract.
        Ok(LinearHead::new(unsafe { self.weights.view(lent)? }, bias)?)
    }
}

impl CBicubic {
    /// # Safety
    /// That of [`Lent::slice`], for the taps.
    unsafe fn view<'c>(&self, lent: &mut Lent) -> Result<Bicubic<'c>, Status> {
        // SAFETY: this function's contract.
        let taps = unsafe { lent.slice(self.taps, self.out_width)? };
        if !taps.iter().all(|tap| tap.is_for(self.width)) {
            return Err(Status::Shape);
        }
        Ok(Bicubic::with_taps(self.height, self.width, self.out_height, taps)?)
    }
}

impl CRange {
    /// A range that has seen nothing, or finite values.
    fn view(&self) -> Result<Range, Status> {
        let range = Range { low: self.low, high: self.high };
        if range == Range::EMPTY || (range.low.is_finite() && range.high.is_finite()) {
            Ok(range)
        } else {
            Err(Status::NonFinite)
        }
    }
}

impl CParts {
    /// Signed components and the centred first-order map, for reading.
    ///
    /// # Safety
    /// That of [`Lent::slice`], for these two pointers.
    unsafe fn signed<'c>(&self, lent: &mut Lent) -> Result<(&'c [f32], &'c [f32]), Status> {
        if self.rectified != 0 {
            return Err(Status::Rectified);
        }
        // SAFETY: this function's contract.
        Ok(unsafe {
            (lent.slice(self.components, self.len()?)?, lent.slice(self.centred_first_order, self.positions)?)
        })
    }

    /// Floats of all components.
    fn len(&self) -> Result<usize, Status> {
        self.count.checked_mul(self.positions).filter(|len| *len > 0).ok_or(Status::Shape)
    }

    /// Whether so many components exist.
    fn has(&self, count: usize) -> Result<(), Status> {
        if count <= self.count { Ok(()) } else { Err(Status::Components) }
    }
}

/// Parts as C sees them, by pointers made from C's own one into the workspace.
fn pieces<Kind>(parts: &Parts<'_, Kind>, workspace: *mut f32) -> CParts {
    let place = |values: &[f32]| workspace.with_addr(values.as_ptr().addr());
    CParts {
        components: place(parts.maps()),
        count: parts.count(),
        positions: parts.positions(),
        singular_values: place(parts.singular_values()),
        singular_values_len: parts.singular_values().len(),
        centred_first_order: place(parts.centred_first_order()),
        rectified: 0,
        convergence: parts.convergence().into(),
    }
}

impl From<Convergence> for CConvergence {
    fn from(convergence: Convergence) -> Self {
        let Convergence { sweeps, rotations, largest_cosine, converged } = convergence;
        Self { sweeps: sweeps.into(), rotations, largest_cosine, converged: converged.into() }
    }
}
