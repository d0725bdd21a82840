//! Questions about one place: a pixel or a region of a segmentation, a box of a detector.
//!
//! A place is found once, on the photo as it is. Then the question is a vector that is one at the number that was asked about (or, of a region, shares that sum to
//! one) and zero elsewhere: its product with all numbers of the output is the score, so that it has a gradient, and is measured on masked photos like any other.

use super::boxes::{self, BoxForm, Corners, OVERLAP};
use crate::encoders::image::ImageVectors;
use crate::error::Sorted as _;
use crate::model::{Places, Reading};
use crate::photo::{Framing, Photo, Rect};
use crate::{Error, Result, Size};
use anyhow::{Context as _, bail, ensure};
use serde::Serialize;

/// A place that is asked about.
#[derive(Clone, Debug, PartialEq)]
pub enum Place {
    /// Of a segmentation, the class's number at a pixel of the photo.
    Pixel {
        /// Rows above it.
        row: usize,
        /// Columns to its left.
        column: usize,
    },
    /// Of a segmentation, the mean of the class's numbers over a region of the photo.
    Within(Region),
    /// Of a detector, a number of one of the class's boxes.
    Box {
        /// 1 for the class's best box, 2 for the next one that is not the same object's, and so on.
        number: usize,
        /// Which number of that box.
        ask: BoxNumber,
        /// Boxes that overlap by more, as intersection over union, are one object's.
        overlap: f64,
    },
}

impl Place {
    /// The class's number of its n-th best box.
    pub fn best_box(number: usize) -> Self {
        Self::Box { number, ask: BoxNumber::Class, overlap: OVERLAP }
    }
}

/// A region of a photo.
#[derive(Clone, Debug, PartialEq)]
pub enum Region {
    /// A rectangle, in pixels of the photo.
    Rect(Rect),
    /// A mask.
    Mask {
        /// Where it comes from.
        name: String,
        /// Height and width, those of the photo.
        size: Size,
        /// Whether each pixel is inside, row by row.
        inside: Vec<bool>,
    },
}

impl Region {
    /// The places where a picture is brighter than middle grey.
    pub fn mask(picture: &Photo) -> Self {
        let inside =
            picture.pixels.pixels().map(|pixel| pixel.0.iter().map(|level| u32::from(*level)).sum::<u32>() > 3 * 127);
        Self::Mask { name: picture.name.clone(), size: picture.size(), inside: inside.collect() }
    }
}

/// What is asked of a box.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum BoxNumber {
    /// The class's number.
    #[default]
    Class,
    /// How likely it is that there is anything.
    Objectness,
}

/// The place that was found, as reports have it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Spot {
    /// A pixel.
    Pixel {
        /// Rows of the photo above it.
        row: usize,
        /// Columns of the photo to its left.
        column: usize,
        /// Row of the output's number.
        output_row: usize,
        /// Column of the output's number.
        output_column: usize,
    },
    /// A region.
    Region {
        /// The file of the mask, if it is one.
        mask: Option<String>,
        /// The rectangle, in pixels of the photo, if it is one; else the smallest around the mask.
        rect: Rect,
        /// How many of the output's places it covers at least in part.
        places: usize,
    },
    /// A box.
    Box {
        /// 1 for the class's best one.
        number: usize,
        /// What is asked of it.
        ask: BoxNumber,
        /// Its place among all boxes of the output, from 0 on.
        index: usize,
        /// The class's number.
        class: f32,
        /// How likely it is that there is anything, if the detector says so.
        objectness: Option<f32>,
        /// What boxes are ranked by: the class's number, times objectness if there is one; of a detector with a class for no object, the class's share of the softmax.
        confidence: f32,
        /// Boxes that overlap by more are one object's.
        overlap: f64,
        /// How its four numbers are read; none if that is not known.
        form: Option<BoxForm>,
        /// Where it is, in pixels of the photo; none if that is not known.
        rect: Option<Rect>,
        /// Why it is not known.
        #[serde(skip_serializing_if = "Option::is_none")]
        unknown: Option<String>,
    },
}

impl Spot {
    /// The rectangle to draw on the photo.
    pub fn rect(&self) -> Option<Rect> {
        match self {
            Self::Pixel { row, column, .. } => Some(Rect::pixel(*row, *column)),
            Self::Region { rect, mask, .. } => Some(*rect).filter(|_| mask.is_none()),
            Self::Box { rect, .. } => *rect,
        }
    }

    /// The place, as words after the name of a class.
    pub(super) fn words(&self) -> String {
        match self {
            Self::Pixel { row, column, .. } => format!(" at row {row}, column {column}"),
            Self::Region { mask: Some(mask), .. } => format!(" within {mask}"),
            Self::Region { rect, .. } => format!(" within {}", told(rect)),
            Self::Box { number, ask: BoxNumber::Class, .. } => format!(", box {number}"),
            Self::Box { number, ask: BoxNumber::Objectness, .. } => format!(", objectness of box {number}"),
        }
    }

    /// What is known of a box: where it is and its numbers; nothing of other places, whose headline says all.
    pub fn facts(&self) -> Option<String> {
        let Self::Box { index, class, objectness, confidence, overlap, rect, .. } = self else { return None };
        let place = rect.map_or_else(|| format!("number {index} of the output"), |rect| told(&rect));
        let objectness = objectness.map_or_else(String::new, |objectness| format!(", objectness {objectness:.3}"));
        let overlap =
            if rect.is_some() { format!("; boxes that overlap by more than {overlap} are one") } else { String::new() };
        Some(format!("{place}; class {class:.3}{objectness}, confidence {confidence:.3}{overlap}"))
    }

    /// The same as a line of its own.
    pub fn line(&self) -> Option<String> {
        let Self::Box { number, .. } = self else { return None };
        self.facts().map(|facts| format!("box {number}: {facts}"))
    }

    /// What a reader should know.
    pub(super) fn warning(&self) -> Option<String> {
        let Self::Box { index, unknown: Some(why), .. } = self else { return None };
        Some(format!(
            "no box is known: {why}. The numbers at place {index} of the output are explained; none were left out as another box of the same object"
        ))
    }
}

/// A rectangle in words.
fn told(rect: &Rect) -> String {
    let Rect { top, left, size } = rect;
    format!("top {top}, left {left}, height {}, width {}", size.height, size.width)
}

/// How a photo lies in a network's input.
#[derive(Clone, Copy, Debug)]
pub struct Sight {
    /// The part of the photo that is seen.
    pub framing: Framing,
    /// Height and width of the input.
    pub input: Size,
    /// Height and width of the photo.
    pub photo: Size,
}

/// The numbers of all places that a network gave for a photo.
pub struct Seen<'a> {
    /// Where they are.
    pub places: &'a Places,
    /// The outputs.
    pub vectors: &'a ImageVectors,
    /// Lengths of the axes of an output.
    pub shape: &'a dyn Fn(&str) -> Option<Vec<usize>>,
    /// How the photo lies in the input.
    pub sight: Sight,
}

/// A place and what is read there: shares of the numbers of each class.
pub(super) struct Found {
    pub(super) spot: Spot,
    layout: Layout,
    shares: Vec<(usize, f32)>,
    objectness: bool,
}

impl Found {
    /// The vector whose product with all numbers is the one asked for.
    pub(super) fn evidence(&self, class: usize) -> Vec<f32> {
        let mut evidence = vec![0.0; self.layout.places * self.layout.numbers];
        let number = if self.objectness { self.layout.before - 1 } else { self.layout.before + class };
        for &(place, share) in &self.shares {
            evidence[self.layout.index(place, number)] = share;
        }
        evidence
    }
}

/// Where the numbers of a place are.
#[derive(Clone, Copy)]
struct Layout {
    places: usize,
    /// Rows and columns of the places, of a segmentation.
    size: Size,
    numbers: usize,
    /// Numbers before those of the classes.
    before: usize,
    /// Whether all numbers of a place stand together.
    together: bool,
}

impl Layout {
    fn index(&self, place: usize, number: usize) -> usize {
        if self.together { place * self.numbers + number } else { number * self.places + place }
    }

    fn classes(&self) -> usize {
        self.numbers - self.before
    }
}

impl Seen<'_> {
    fn layout(&self) -> anyhow::Result<Layout> {
        let shape = (self.shape)(&self.places.reported).unwrap_or_default();
        let layout = match (self.places.reading, &shape[..]) {
            (Reading::Pixels { channels_last: false }, &[1, numbers, height, width]) => {
                let size = Size::new(height, width);
                Layout { places: size.area(), size, numbers, before: 0, together: false }
            }
            (Reading::Pixels { channels_last: true }, &[1, height, width, numbers]) => {
                let size = Size::new(height, width);
                Layout { places: size.area(), size, numbers, before: 0, together: true }
            }
            (Reading::Boxes { transposed, before, .. }, &[1, first, second]) => {
                let (places, numbers) = if transposed { (second, first) } else { (first, second) };
                Layout { places, size: Size::new(1, places), numbers, before, together: !transposed }
            }
            (_, shape) => bail!(
                "\"{}\": expected numbers at many places of one picture, found shape {shape:?}",
                self.places.reported
            ),
        };
        ensure!(
            layout.numbers > layout.before && (self.shape)(&self.places.explained).as_ref() == Some(&shape),
            "\"{}\": expected a number for each class, and the shape of \"{}\"; found {shape:?}",
            self.places.reported,
            self.places.explained
        );
        Ok(layout)
    }

    fn reported(&self) -> anyhow::Result<&[f32]> {
        self.vectors.get(&self.places.reported).with_context(|| format!("no output \"{}\"", self.places.reported))
    }

    /// The class to ask about if none is given: at a pixel or in a region the one with the largest number, of a detector that of the best box.
    pub(super) fn predicted(&self, place: &Place) -> Result<usize> {
        let largest = || -> anyhow::Result<usize> {
            let (layout, reported) = (self.layout()?, self.reported()?);
            let value: Box<dyn Fn(usize) -> f32> = match place {
                Place::Box { .. } => {
                    let nothing = self.nothing(layout, reported);
                    Box::new(move |class| {
                        if Some(class) == nothing {
                            return f32::NEG_INFINITY;
                        }
                        self.confidences(layout, reported, class).into_iter().fold(f32::NEG_INFINITY, f32::max)
                    })
                }
                _ => {
                    let (shares, _) = self.shares(layout, place)?;
                    Box::new(move |class| {
                        shares
                            .iter()
                            .map(|&(place, share)| share * reported[layout.index(place, layout.before + class)])
                            .sum()
                    })
                }
            };
            let values = (0..layout.classes()).map(|class| (class, value(class)));
            Ok(values.reduce(|best, next| if next.1 > best.1 { next } else { best }).context("no class")?.0)
        };
        largest().kind(Error::Explanation)
    }

    /// Finds a place; of a detector, a box of a class.
    pub(super) fn find(&self, place: &Place, class: usize) -> Result<Found> {
        self.found(place, class).kind(Error::Options)
    }

    fn found(&self, place: &Place, class: usize) -> anyhow::Result<Found> {
        let layout = self.layout()?;
        ensure!(class < layout.classes(), "expected one of {} classes, found number {class}", layout.classes());
        let is_detector = matches!(self.places.reading, Reading::Boxes { .. });
        let &Place::Box { number, ask, overlap } = place else {
            ensure!(
                !is_detector,
                "--at and --within ask about pixels, but this network answers with boxes; give --box N instead"
            );
            let (shares, spot) = self.shares(layout, place)?;
            return Ok(Found { spot, layout, shares, objectness: false });
        };
        ensure!(
            is_detector,
            "--box asks a detector, but this network has a number for each pixel; give --at or --within instead"
        );
        let (index, spot) = self.nth_box(layout, class, (number, ask, overlap))?;
        Ok(Found { spot, layout, shares: vec![(index, 1.0)], objectness: ask == BoxNumber::Objectness })
    }

    /// The output's places that a region covers, each with its share of the region, and what to report.
    fn shares(&self, layout: Layout, place: &Place) -> anyhow::Result<(Vec<(usize, f32)>, Spot)> {
        let Sight { photo, .. } = self.sight;
        match place {
            Place::Pixel { row, column } => {
                ensure!(
                    *row < photo.height && *column < photo.width,
                    "--at: expected a row below {} and a column below {}, found {row},{column}",
                    photo.height,
                    photo.width
                );
                let place = self.place_of(layout.size, *row, *column).with_context(|| {
                    format!("--at {row},{column}: the network does not see this pixel; choose one within the frame, or --fit pad or stretch")
                })?;
                let [output_row, output_column] = place;
                let spot = Spot::Pixel { row: *row, column: *column, output_row, output_column };
                Ok((vec![(output_row * layout.size.width + output_column, 1.0)], spot))
            }
            Place::Within(region) => {
                let (mask, rect, inside): (_, _, Box<dyn Fn(usize, usize) -> bool>) = match region {
                    Region::Rect(rect) => {
                        ensure!(
                            rect.size.area() > 0 && rect.bottom() <= photo.height && rect.right() <= photo.width,
                            "--within: expected a rectangle within the photo of {photo} pixels, found {}",
                            told(rect)
                        );
                        (None, *rect, Box::new(|y, x| rect.contains(y, x)))
                    }
                    Region::Mask { name, size, inside } => {
                        ensure!(
                            *size == photo,
                            "{name}: expected a mask of the photo's {photo} pixels, found one of {size}"
                        );
                        let rect = around(inside, photo).with_context(|| {
                            format!(
                                "{name}: expected a mask that is white inside and black or transparent outside, found no pixel brighter than grey; \
                                 paint the region white, whatever colours stand for classes"
                            )
                        })?;
                        ensure!(
                            inside.contains(&false),
                            "{name}: expected a mask that is white inside and black or transparent outside, found all of it brighter than grey; \
                             for the whole photo give --within 0,0,{},{}",
                            photo.height,
                            photo.width
                        );
                        (Some(name.clone()), rect, Box::new(|y, x| inside[y * photo.width + x]))
                    }
                };
                let shares = self.covered(layout.size, rect, &inside);
                ensure!(
                    !shares.is_empty(),
                    "--within: the network sees nothing of this region; choose one within the frame, or --fit pad or stretch"
                );
                let spot = Spot::Region { mask, rect, places: shares.len() };
                Ok((shares, spot))
            }
            Place::Box { .. } => bail!("a box is no region of pixels"),
        }
    }

    /// Row and column of the output's place that holds the middle of a pixel.
    fn place_of(&self, places: Size, row: usize, column: usize) -> Option<[usize; 2]> {
        let Framing { top, left, size } = self.sight.framing;
        let at = |pixel: usize, start: i64, side: usize, places: usize| {
            let share = (pixel as f64 + 0.5 - start as f64) / side as f64;
            (0.0..1.0).contains(&share).then(|| ((share * places as f64) as usize).min(places - 1))
        };
        Some([at(row, top, size.height, places.height)?, at(column, left, size.width, places.width)?])
    }

    /// The area of each of the output's places that is inside, divided by all of it.
    fn covered(&self, places: Size, rect: Rect, inside: &dyn Fn(usize, usize) -> bool) -> Vec<(usize, f32)> {
        let Framing { top, left, size } = self.sight.framing;
        // For each pixel along an axis the places that it overlaps, and by how much.
        let overlaps = |first: usize, end: usize, start: i64, side: usize, places: usize| -> Vec<Vec<(usize, f64)>> {
            let scale = places as f64 / side as f64;
            let overlap = |pixel: usize| {
                let low = ((pixel as f64 - start as f64) * scale).clamp(0.0, places as f64);
                let high = ((pixel as f64 + 1.0 - start as f64) * scale).clamp(0.0, places as f64);
                let cells = low.floor() as usize..(high.ceil() as usize).min(places);
                cells
                    .map(|cell| (cell, high.min(cell as f64 + 1.0) - low.max(cell as f64)))
                    .filter(|(_, by)| *by > 0.0)
                    .collect()
            };
            (first..end).map(overlap).collect()
        };
        let rows = overlaps(rect.top, rect.bottom(), top, size.height, places.height);
        let columns = overlaps(rect.left, rect.right(), left, size.width, places.width);
        let mut areas = vec![0.0f64; places.area()];
        for (y, rows) in (rect.top..).zip(&rows) {
            for (_, columns) in (rect.left..).zip(&columns).filter(|(x, _)| inside(y, *x)) {
                for (row, down) in rows {
                    for (column, across) in columns {
                        areas[row * places.width + column] += down * across;
                    }
                }
            }
        }
        let all: f64 = areas.iter().sum();
        let shares = areas.into_iter().enumerate().filter(|(_, area)| *area > 0.0);
        shares.map(|(place, area)| (place, (area / all) as f32)).collect()
    }

    /// A box of a class, and what to report of it.
    fn nth_box(
        &self,
        layout: Layout,
        class: usize,
        (number, ask, overlap): (usize, BoxNumber, f64),
    ) -> anyhow::Result<(usize, Spot)> {
        ensure!(number >= 1, "--box: expected 1 for the best box, or more; found 0");
        ensure!((0.0..=1.0).contains(&overlap), "--overlap: expected a share from 0 to 1, found {overlap}");
        let has_objectness = matches!(self.places.reading, Reading::Boxes { objectness: true, .. });
        ensure!(
            ask == BoxNumber::Class || has_objectness,
            "--ask objectness: this detector has no such number beside those of its classes; leave it out"
        );
        let reported = self.reported()?;
        let confidences = self.confidences(layout, reported, class);
        let Sight { framing, input, photo } = self.sight;
        let decoded = self.boxes(layout, reported).and_then(|numbers| {
            let tensor = self.places.boxes.as_ref().unwrap_or(&self.places.reported);
            boxes::decoded(&numbers, self.places.reading, tensor, input)
        });
        let order = match &decoded {
            Ok((_, corners)) => boxes::suppressed(corners, &confidences, overlap),
            Err(_) => boxes::suppressed(&vec![Corners::default(); confidences.len()], &confidences, 1.0),
        };
        let index = *order.get(number - 1).with_context(|| {
            format!("--box {number}: expected at most {}, the boxes that are left when those that overlap by more than {overlap} are one", order.len())
        })?;
        let rect = decoded.as_ref().ok().map(|(_, corners)| boxes::on_photo(&corners[index], framing, input, photo));
        let spot = Spot::Box {
            number,
            ask,
            index,
            class: reported[layout.index(index, layout.before + class)],
            objectness: has_objectness.then(|| reported[layout.index(index, layout.before - 1)]),
            confidence: confidences[index],
            overlap,
            form: decoded.as_ref().ok().map(|(form, _)| *form),
            rect,
            unknown: decoded.err(),
        };
        Ok((index, spot))
    }

    /// The four numbers of every box.
    fn boxes(&self, layout: Layout, reported: &[f32]) -> std::result::Result<Vec<[f32; 4]>, String> {
        let Some(tensor) = &self.places.boxes else {
            if layout.before < 4 {
                return Err("the file has no boxes beside the numbers of its classes".into());
            }
            let number = |place: usize| std::array::from_fn(|at| reported[layout.index(place, at)]);
            return Ok((0..layout.places).map(number).collect());
        };
        let found = self.vectors.get(tensor).filter(|numbers| numbers.len() == 4 * layout.places);
        found
            .map(|numbers| numbers.as_chunks().0.to_vec())
            .ok_or_else(|| format!("\"{tensor}\" does not hold four numbers for each box"))
    }

    /// What the boxes of a class are ranked by.
    fn confidences(&self, layout: Layout, reported: &[f32], class: usize) -> Vec<f32> {
        let number = |place: usize, class: usize| reported[layout.index(place, layout.before + class)];
        let has_objectness = matches!(self.places.reading, Reading::Boxes { objectness: true, .. });
        let softmax = !is_probability(reported, layout) && self.nothing(layout, reported) == Some(layout.classes() - 1);
        (0..layout.places)
            .map(|place| {
                let own = number(place, class);
                if has_objectness {
                    return own * reported[layout.index(place, layout.before - 1)];
                }
                if softmax {
                    let all: f64 = (0..layout.classes()).map(|other| f64::from(number(place, other) - own).exp()).sum();
                    return (1.0 / all) as f32;
                }
                own
            })
            .collect()
    }

    /// The class that stands for no object: the first or the last one, if the boxes are beside the numbers and it is likely and the likeliest of more than half of them.
    fn nothing(&self, layout: Layout, reported: &[f32]) -> Option<usize> {
        self.places.boxes.as_ref()?;
        let likely = if is_probability(reported, layout) { 0.5 } else { 0.0 };
        let last = layout.classes() - 1;
        [last, 0].into_iter().find(|&candidate| {
            let wins = |place: &usize| {
                let number = |class: usize| reported[layout.index(*place, layout.before + class)];
                let own = number(candidate);
                own > likely && (0..layout.classes()).all(|class| class == candidate || number(class) < own)
            };
            layout.classes() > 1 && 2 * (0..layout.places).filter(wins).count() > layout.places
        })
    }
}

/// Whether all numbers of classes lie in 0..=1.
fn is_probability(reported: &[f32], layout: Layout) -> bool {
    let mut places =
        (0..layout.places).flat_map(|place| (layout.before..layout.numbers).map(move |number| (place, number)));
    places.all(|(place, number)| (0.0..=1.0).contains(&reported[layout.index(place, number)]))
}

/// The smallest rectangle around a mask.
fn around(inside: &[bool], Size { height, width }: Size) -> Option<Rect> {
    let rows = |y: &usize| inside[y * width..(y + 1) * width].iter().any(|inside| *inside);
    let columns = |x: &usize| (0..height).any(|y| inside[y * width + x]);
    let (top, bottom) = ((0..height).find(rows)?, (0..height).rev().find(rows)?);
    let (left, right) = ((0..width).find(columns)?, (0..width).rev().find(columns)?);
    Some(Rect { top, left, size: Size::new(bottom + 1 - top, right + 1 - left) })
}
