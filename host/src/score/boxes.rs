//! A detector's boxes: what four numbers say, which boxes are the same object's, and where a box is on the photo.

use crate::photo::{Framing, Rect};
use crate::{Size, onnx::normal::Reading};
use serde::Serialize;

/// Boxes that overlap by more than this share, as intersection over union, are one object's unless something else is asked for.
pub const OVERLAP: f64 = 0.5;

/// Left, top, right, bottom, in pixels of the network's input.
pub type Corners = [f32; 4];

/// How the four numbers of a box are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum BoxForm {
    /// Centre x, centre y, width, height.
    Centre,
    /// Left, top, right, bottom.
    Corners,
    /// Top, left, bottom, right, as TensorFlow's detectors have them.
    CornersRowsFirst,
    /// YOLOX before its decoding: offsets from cells of 8, 16 and 32 pixels, and logarithms of sizes.
    Yolox,
}

/// Strides of YOLO's grids, in pixels.
const STRIDES: [usize; 3] = [8, 16, 32];

/// Numbers up to this size are shares of the input, larger ones pixels.
const LARGEST_SHARE: f32 = 2.0;

/// Finds out how boxes are meant and reads them.
///
/// Evidence decides. If right >= left and bottom >= top in all boxes they are corners; else, if no size is negative, centres and sizes; else, if they have an
/// objectness and are as many as the cells of YOLO's three grids, YOLOX's. Numbers of at most two are shares of the input. Boxes are refused if the centres of
/// less than half of them lie on the picture, because then they are something else, such as offsets from boxes that only the program knows.
///
/// # Errors
/// Why no box is known, as the end of a sentence.
pub fn decoded(
    numbers: &[[f32; 4]],
    reading: Reading,
    tensor: &str,
    input: Size,
) -> Result<(BoxForm, Vec<Corners>), String> {
    if numbers.is_empty() || numbers.iter().flatten().any(|number| !number.is_finite()) {
        return Err("the numbers of its boxes are not finite".into());
    }
    let has_objectness = matches!(reading, Reading::Boxes { objectness: true, .. });
    let form = if numbers.iter().all(|[a, b, c, d]| c >= a && d >= b) && numbers.len() > 1 {
        if tensor.contains("detection_boxes") { BoxForm::CornersRowsFirst } else { BoxForm::Corners }
    } else if numbers.iter().all(|[_, _, width, height]| *width >= 0.0 && *height >= 0.0) {
        BoxForm::Centre
    } else if has_objectness && cells(input).count() == numbers.len() {
        BoxForm::Yolox
    } else {
        return Err("the numbers of its boxes are neither corners nor centres and sizes".into());
    };
    let (height, width) = (input.height as f32, input.width as f32);
    let is_share = form != BoxForm::Yolox && numbers.iter().flatten().all(|number| number.abs() <= LARGEST_SHARE);
    let (down, across) = if is_share { (height, width) } else { (1.0, 1.0) };
    let centred = |x: f32, y: f32, w: f32, h: f32| [x - w / 2.0, y - h / 2.0, x + w / 2.0, y + h / 2.0];
    let boxes: Vec<Corners> = match form {
        BoxForm::Centre => {
            numbers.iter().map(|[x, y, w, h]| centred(x * across, y * down, w * across, h * down)).collect()
        }
        BoxForm::Corners => numbers.iter().map(|[l, t, r, b]| [l * across, t * down, r * across, b * down]).collect(),
        BoxForm::CornersRowsFirst => {
            numbers.iter().map(|[t, l, b, r]| [l * across, t * down, r * across, b * down]).collect()
        }
        BoxForm::Yolox => (numbers.iter().zip(cells(input)))
            .map(|([x, y, w, h], (row, column, stride))| {
                let stride = stride as f32;
                let at = |offset: f32, cell: usize| (offset + cell as f32) * stride;
                centred(at(*x, column), at(*y, row), w.exp() * stride, h.exp() * stride)
            })
            .collect(),
    };
    let is_on_picture = |corners: &&Corners| {
        let (x, y) = ((corners[0] + corners[2]) / 2.0, (corners[1] + corners[3]) / 2.0);
        (0.0..=width).contains(&x) && (0.0..=height).contains(&y)
    };
    if 2 * boxes.iter().filter(is_on_picture).count() < boxes.len() {
        return Err("most of its boxes would lie beside the picture, so they are offsets from something that the file does not say".into());
    }
    Ok((form, boxes))
}

/// Row, column and stride of the cells of YOLO's grids, in the order of their boxes.
fn cells(input: Size) -> impl Iterator<Item = (usize, usize, usize)> {
    STRIDES.into_iter().flat_map(move |stride| {
        let (rows, columns) = (input.height / stride, input.width / stride);
        (0..rows).flat_map(move |row| (0..columns).map(move |column| (row, column, stride)))
    })
}

/// The boxes that are left where of those that overlap by more than a share the best alone is kept, the best first. Of equal scores the first box comes first.
///
/// # Reference
/// Greedy non-maximum suppression, as `torchvision.ops.nms`.
pub fn suppressed(boxes: &[Corners], scores: &[f32], overlap: f64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..boxes.len().min(scores.len())).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    let mut kept: Vec<usize> = Vec::new();
    for at in order {
        if kept.iter().all(|&better| iou(&boxes[better], &boxes[at]) <= overlap) {
            kept.push(at);
        }
    }
    kept
}

/// Intersection over union.
fn iou(a: &Corners, b: &Corners) -> f64 {
    let area = |corners: &Corners| f64::from(corners[2] - corners[0]) * f64::from(corners[3] - corners[1]);
    let across = f64::from(a[2].min(b[2]) - a[0].max(b[0])).max(0.0);
    let down = f64::from(a[3].min(b[3]) - a[1].max(b[1])).max(0.0);
    let both = across * down;
    let union = area(a) + area(b) - both;
    if union > 0.0 { both / union } else { 0.0 }
}

/// A box on the photo, in whole pixels; what sticks out of the photo is cut off.
pub fn on_photo(corners: &Corners, framing: Framing, input: Size, photo: Size) -> Rect {
    let pixel = |at: f32, input: usize, side: usize, start: i64, photo: usize| {
        let at = f64::from(at) * side as f64 / input as f64 + start as f64;
        at.round().clamp(0.0, photo as f64) as usize
    };
    let column = |x: f32| pixel(x, input.width, framing.size.width, framing.left, photo.width);
    let row = |y: f32| pixel(y, input.height, framing.size.height, framing.top, photo.height);
    let (top, left) = (row(corners[1]), column(corners[0]));
    let size = Size::new(row(corners[3]).saturating_sub(top), column(corners[2]).saturating_sub(left));
    Rect { top, left, size }
}
