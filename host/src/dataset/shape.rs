//! What is where on a photo.

use crate::Size;
use crate::photo::{Framing, Rect};
use anyhow::{Result, ensure};

/// The objects on a photo.
#[derive(Clone, Debug, PartialEq)]
pub struct Annotated {
    /// The photo as the annotations name it; [`super::Photos::find`] finds the file.
    pub photo: String,
    /// In the file's order; none for a photo that is only listed.
    pub objects: Vec<Object>,
}

/// Something on a photo.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// What it is, in words.
    pub category: String,
    /// Where it is; none if only the photo's label is known.
    pub shape: Option<Shape>,
    /// Whether it is a crowd, which has a mask and no box.
    pub crowd: bool,
}

impl Object {
    /// Whether its place can be one on a photo of this size.
    ///
    /// # Errors
    /// A place that counts in a picture of other proportions, or lies beside the photo; and shares of the photo where pixels are expected.
    pub(crate) fn check_on(&self, photo: Size) -> Result<()> {
        self.shape.as_ref().map_or(Ok(()), |shape| shape.check_on(photo))
    }
}

/// Where an object is.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// The union of polygons, each filled by the even-odd rule.
    Polygons {
        /// The corners, x and y, in pixels counted from the upper left corner.
        polygons: Vec<Vec<[f64; 2]>>,
        /// The size of the picture whose pixels those are: 1 x 1 for shares of the photo; none for the photo's own size.
        of: Option<Size>,
    },
    /// One value a pixel of a picture of that size, column by column.
    Raster {
        /// Height and width.
        size: Size,
        /// Whether a pixel is the object's.
        inside: Vec<bool>,
    },
}

impl Shape {
    /// The rectangle between two corners.
    pub(super) fn rectangle([left, top, right, bottom]: [f64; 4], of: Option<Size>) -> Self {
        Self::Polygons { polygons: vec![vec![[left, top], [right, top], [right, bottom], [left, bottom]]], of }
    }

    /// Whether there is nothing of it anywhere on the photo.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Polygons { polygons, .. } => polygons.iter().all(|points| area(points) == 0.0),
            Self::Raster { inside, .. } => !inside.contains(&true),
        }
    }

    fn check_on(&self, photo: Size) -> Result<()> {
        match self {
            Self::Raster { size, .. } => check_proportions(*size, photo),
            Self::Polygons { polygons, of } => {
                let of = of.unwrap_or(photo);
                let shares = of == SHARES;
                if !shares {
                    check_proportions(of, photo)?;
                }
                let [left, top, right, bottom] = bounds(polygons);
                let outside = right <= 0.0 || bottom <= 0.0 || left >= of.width as f64 || top >= of.height as f64;
                let unit = if shares { ", as shares of it" } else { "" };
                ensure!(
                    !outside,
                    "expected a place on the photo of {of} (height x width{unit}), found one beside it: columns {left} to {right}, rows {top} to {bottom}"
                );
                ensure!(
                    shares || of.area() == 1 || left < 0.0 || top < 0.0 || right > 1.0 || bottom > 1.0,
                    "expected pixels of a photo of {of} (height x width), found {left} to {right} and {top} to {bottom}, which is within a single one; \
                     are these shares of the photo?"
                );
                Ok(())
            }
        }
    }

    /// Marks the pixels of `view` whose centres are inside.
    fn draw(&self, view: &View, mask: &mut [bool]) {
        match self {
            Self::Polygons { polygons, of } => {
                let view = view.counted_in(of.unwrap_or(view.photo));
                polygons.iter().for_each(|points| fill(points, &view, mask));
            }
            Self::Raster { size, inside } => {
                let view = view.counted_in(*size);
                for (at, mask) in mask.iter_mut().enumerate() {
                    let (y, x) = (view.y(at / view.size.width).floor(), view.x(at % view.size.width).floor());
                    if y >= 0.0 && x >= 0.0 && (y as usize) < size.height && (x as usize) < size.width {
                        *mask |= inside[x as usize * size.height + y as usize];
                    }
                }
            }
        }
    }
}

/// The size of the photo in coordinates that are shares of it.
pub(super) const SHARES: Size = Size::square(1);

/// Left, top, right and bottom of everything.
fn bounds(polygons: &[Vec<[f64; 2]>]) -> [f64; 4] {
    let nothing = [f64::INFINITY, f64::INFINITY, f64::NEG_INFINITY, f64::NEG_INFINITY];
    polygons
        .iter()
        .flatten()
        .fold(nothing, |[left, top, right, bottom], [x, y]| [left.min(*x), top.min(*y), right.max(*x), bottom.max(*y)])
}

/// Refuses coordinates in a picture that cannot be a smaller or larger copy of the photo. The sides of the smaller one are rounded, by less than a pixel.
fn check_proportions(of: Size, photo: Size) -> Result<()> {
    let alike = |of: Size| {
        let (small, large) = if of.area() <= photo.area() { (of, photo) } else { (photo, of) };
        let crosswise = [small.height * large.width, small.width * large.height];
        crosswise[0].abs_diff(crosswise[1]) <= large.height + large.width
    };
    let turned = if alike(Size::new(of.width, of.height)) {
        "do they count in the photo before it was turned upright as its EXIF data say, or with rows and columns interchanged?"
    } else {
        "are they of another photo, or of one that was cut or stretched?"
    };
    ensure!(
        alike(of),
        "expected annotations of a photo of {photo} (height x width), found those of a picture of {of}; {turned}"
    );
    Ok(())
}

/// A picture of `size` that shows `framing` of a photo, and where its pixels' centres lie in the coordinates of annotations.
#[derive(Clone, Copy)]
struct View {
    framing: Framing,
    photo: Size,
    size: Size,
    /// The size of the photo in the annotations' coordinates.
    extent: Size,
}

impl View {
    fn counted_in(&self, extent: Size) -> Self {
        Self { extent, ..*self }
    }

    fn y(&self, row: usize) -> f64 {
        let on_photo = (row as f64 + 0.5) / self.size.height as f64 * self.framing.size.height as f64;
        (self.framing.top as f64 + on_photo) / self.photo.height as f64 * self.extent.height as f64
    }

    fn x(&self, column: usize) -> f64 {
        let on_photo = (column as f64 + 0.5) / self.size.width as f64 * self.framing.size.width as f64;
        (self.framing.left as f64 + on_photo) / self.photo.width as f64 * self.extent.width as f64
    }
}

/// Marks the pixels whose centres a polygon encloses.
fn fill(points: &[[f64; 2]], view: &View, mask: &mut [bool]) {
    let centres: Vec<f64> = (0..view.size.width).map(|column| view.x(column)).collect();
    for (row, mask) in mask.chunks_exact_mut(view.size.width).enumerate() {
        let mut crossings = crossings(points, view.y(row));
        crossings.sort_by(f64::total_cmp);
        for span in crossings.chunks_exact(2) {
            let first = centres.partition_point(|x| *x < span[0]);
            let end = centres.partition_point(|x| *x < span[1]);
            mask[first..end.max(first)].fill(true);
        }
    }
}

/// Where a polygon's edges cross a row. Each edge has its upper end and not its lower one, so that corners count once.
fn crossings(points: &[[f64; 2]], y: f64) -> Vec<f64> {
    let edges = points.iter().zip(points.iter().cycle().skip(1));
    edges
        .filter(|([_, a], [_, b])| (*a <= y) != (*b <= y))
        .map(|([ax, ay], [bx, by])| ax + (y - ay) / (by - ay) * (bx - ax))
        .collect()
}

/// Twice the area between edges and axis: zero for a point, a line, or fewer than three corners.
pub(super) fn area(points: &[[f64; 2]]) -> f64 {
    let edges = points.iter().zip(points.iter().cycle().skip(1));
    edges.map(|([ax, ay], [bx, by])| ax * by - bx * ay).sum::<f64>().abs()
}

/// The objects of one category on the network's input.
#[derive(Clone, Debug)]
pub struct Truth {
    /// Height x width: the union of the objects.
    pub mask: Vec<bool>,
    /// The box around what is seen of each object that is no crowd.
    pub boxes: Vec<Rect>,
}

impl Truth {
    /// Draws objects on a picture of `size` that shows `framing` of a photo.
    pub fn new<'a>(objects: impl Iterator<Item = &'a Object>, framing: Framing, photo: Size, size: Size) -> Self {
        let view = View { framing, photo, size, extent: photo };
        let mut truth = Self { mask: vec![false; size.area()], boxes: Vec::new() };
        for object in objects {
            let mut mask = vec![false; size.area()];
            if let Some(shape) = &object.shape {
                shape.draw(&view, &mut mask);
            }
            let pixels = mask.iter().enumerate().filter(|(_, inside)| **inside);
            let pixels = pixels.map(|(at, _)| Rect::pixel(at / size.width, at % size.width));
            truth.boxes.extend(pixels.reduce(Rect::joined).filter(|_| !object.crowd));
            truth.mask.iter_mut().zip(mask).for_each(|(whole, inside)| *whole |= inside);
        }
        truth
    }

    /// The share of the picture that the mask covers.
    pub fn share(&self) -> f64 {
        self.mask.iter().filter(|inside| **inside).count() as f64 / self.mask.len() as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(shape: Shape, framing: Framing, photo: Size, size: Size) -> String {
        let object = Object { category: "thing".into(), shape: Some(shape), crowd: false };
        let truth = Truth::new(std::iter::once(&object), framing, photo, size);
        let rows = truth.mask.chunks(size.width).map(|row| row.iter().map(|i| if *i { '#' } else { '.' }).collect());
        rows.collect::<Vec<String>>().join(" ")
    }

    #[test]
    fn polygons_fill_by_the_even_odd_rule_and_follow_the_framing() {
        // A square with a hole, drawn in one line.
        let ring = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [0.0, 0.0]];
        let hole = [[0.25, 0.25], [0.75, 0.25], [0.75, 0.75], [0.25, 0.75], [0.25, 0.25]];
        let points: Vec<[f64; 2]> = ring.into_iter().chain(hole).collect();
        let shape = Shape::Polygons { polygons: vec![points], of: Some(Size::square(1)) };
        let (photo, size) = (Size::square(8), Size::square(4));
        assert_eq!(drawn(shape.clone(), Framing::whole(photo), photo, size), "#### #..# #..# ####");
        // The lower right quarter of the photo.
        let quarter = Framing { top: 4, left: 4, size: Size::square(4) };
        assert_eq!(drawn(shape.clone(), quarter, photo, size), "..## ..## #### ####");
        let truth = Truth::new(
            [Object { category: String::new(), shape: Some(shape.clone()), crowd: false }].iter(),
            Framing::whole(photo),
            photo,
            size,
        );
        assert_eq!((&truth.boxes[..], truth.share()), (&[Rect::whole(size)][..], 0.75));
        assert!(!shape.is_empty());
        let dot = Shape::Polygons { polygons: vec![vec![[0.5, 0.5]; 3]], of: None };
        assert!(dot.is_empty());
    }

    #[test]
    fn coordinates_count_in_the_picture_that_they_are_of() {
        // The right half of a photo of 4 x 8, in its own pixels, in those of a copy, and in shares.
        let (photo, size) = (Size::new(4, 8), Size::new(2, 4));
        for (right, of) in [(8.0, None), (16.0, Some(Size::new(8, 16))), (1.0, Some(Size::square(1)))] {
            let shape = Shape::rectangle([right / 2.0, 0.0, right, right], of);
            assert_eq!(drawn(shape, Framing::whole(photo), photo, size), "..## ..##", "{of:?}");
        }
        let shape = Shape::Raster { size: Size::new(1, 2), inside: vec![false, true] };
        assert_eq!(drawn(shape, Framing::whole(photo), photo, size), "..## ..##");
    }

    #[test]
    fn a_place_is_refused_that_cannot_be_on_the_photo() {
        let photo = Size::new(300, 451);
        let check = |bounds: [f64; 4], of: Option<Size>| Shape::rectangle(bounds, of).check_on(photo);
        let on = [50.0, 50.0, 150.0, 250.0];
        // The photo itself, copies whose sides are rounded, a photo of no known size, and shares.
        for of in [photo, Size::new(150, 225), Size::new(150, 226), Size::new(600, 902), Size::new(213, 320)] {
            check(on, Some(of)).unwrap();
        }
        check(on, None).unwrap();
        check([-20.0, -20.0, 500.0, 150.0], None).unwrap();
        check([0.1, 0.1, 0.2, 0.2], Some(SHARES)).unwrap();
        let refused = |bounds, of| check(bounds, of).unwrap_err().to_string();
        assert!(refused(on, Some(Size::new(451, 300))).contains("before it was turned upright"));
        assert!(refused(on, Some(Size::new(640, 640))).contains("are they of another photo"));
        assert!(refused(on, Some(Size::new(225, 150))).contains("before it was turned upright"));
        for beside in [[451.0, 0.0, 460.0, 9.0], [-9.0, 0.0, 0.0, 9.0], [0.0, 300.0, 9.0, 400.0], [0.0, -9.0, 9.0, 0.0]]
        {
            assert!(refused(beside, None).contains("found one beside it"), "{beside:?}");
        }
        assert!(refused([1.0, 0.2, 1.05, 0.4], Some(SHARES)).contains("found one beside it"));
        assert!(refused([0.2, 0.2, 0.6, 0.7], Some(photo)).contains("are these shares of the photo?"));
        let raster = Shape::Raster { size: Size::new(451, 300), inside: Vec::new() };
        assert!(raster.check_on(photo).unwrap_err().to_string().contains("rows and columns interchanged"));
    }
}
