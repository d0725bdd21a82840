//! Which objects are where on which photos: JSON lines, COCO's JSON, Pascal VOC's XML, or the names of folders.
//!
//! Whatever the file, coordinates become shares of the photo's width and height, so that they fit the photo at any size.

use crate::metrics;
use crate::photo::Framing;
use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The objects on a photo.
#[derive(Clone, Debug, PartialEq)]
pub struct Annotated {
    /// The photo as the annotations name it: a path within the directory of photos.
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

/// Where an object is, in shares of the photo's width and height.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// The union of polygons, each x, y, x, y ..., filled by the even-odd rule.
    Polygons(Vec<Vec<[f64; 2]>>),
    /// One value a pixel of a picture of that height and width, column by column.
    Raster {
        /// Height and width.
        size: [usize; 2],
        /// Whether a pixel is the object's.
        inside: Vec<bool>,
    },
}

impl Shape {
    fn rectangle([left, top, right, bottom]: [f64; 4]) -> Self {
        Self::Polygons(vec![vec![[left, top], [right, top], [right, bottom], [left, bottom]]])
    }

    /// Whether there is nothing of it anywhere on the photo.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Polygons(polygons) => polygons.iter().all(|points| area(points) == 0.0),
            Self::Raster { inside, .. } => !inside.contains(&true),
        }
    }

    /// Marks the pixels of a `size` picture of `framing` whose centres are inside.
    fn draw(&self, framing: Framing, photo: [u32; 2], size: [usize; 2], mask: &mut [bool]) {
        let [height, width] = size;
        // A pixel's centre, as a share of the photo.
        let y_of = |y: f64| (framing.top as f64 + y / height as f64 * f64::from(framing.height)) / f64::from(photo[0]);
        let x_of = |x: f64| (framing.left as f64 + x / width as f64 * f64::from(framing.width)) / f64::from(photo[1]);
        match self {
            Self::Polygons(polygons) => {
                for points in polygons {
                    for (row, mask) in mask.chunks_exact_mut(width).enumerate() {
                        let mut crossings = crossings(points, y_of(row as f64 + 0.5));
                        crossings.sort_by(f64::total_cmp);
                        for span in crossings.chunks_exact(2) {
                            for (column, inside) in mask.iter_mut().enumerate() {
                                let x = x_of(column as f64 + 0.5);
                                *inside |= span[0] <= x && x < span[1];
                            }
                        }
                    }
                }
            }
            Self::Raster { size: [rows, columns], inside } => {
                for (at, mask) in mask.iter_mut().enumerate() {
                    let y = (y_of((at / width) as f64 + 0.5) * *rows as f64).floor();
                    let x = (x_of((at % width) as f64 + 0.5) * *columns as f64).floor();
                    if y >= 0.0 && x >= 0.0 && (y as usize) < *rows && (x as usize) < *columns {
                        *mask |= inside[x as usize * rows + y as usize];
                    }
                }
            }
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
fn area(points: &[[f64; 2]]) -> f64 {
    let edges = points.iter().zip(points.iter().cycle().skip(1));
    edges.map(|([ax, ay], [bx, by])| ax * by - bx * ay).sum::<f64>().abs()
}

/// The objects of one category on the network's input.
#[derive(Clone, Debug)]
pub struct Truth {
    /// Height x width: the union of the objects.
    pub mask: Vec<bool>,
    /// The box around what is seen of each object that is no crowd.
    pub boxes: Vec<metrics::Box>,
}

impl Truth {
    /// Draws objects on a `size` picture of `framing` of a photo of `photo` height and width.
    pub fn new<'a>(
        objects: impl Iterator<Item = &'a Object>,
        framing: Framing,
        photo: [u32; 2],
        size: [usize; 2],
    ) -> Self {
        let mut truth = Self { mask: vec![false; size[0] * size[1]], boxes: Vec::new() };
        for object in objects {
            let mut mask = vec![false; size[0] * size[1]];
            if let Some(shape) = &object.shape {
                shape.draw(framing, photo, size, &mut mask);
            }
            let pixels = mask.iter().enumerate().filter(|(_, inside)| **inside);
            let pixels = pixels.map(|(at, _)| metrics::Box::around(at / size[1], at % size[1]));
            truth.boxes.extend(pixels.reduce(metrics::Box::joined).filter(|_| !object.crowd));
            truth.mask.iter_mut().zip(mask).for_each(|(whole, inside)| *whole |= inside);
        }
        truth
    }

    /// The share of the picture that the mask covers.
    pub fn share(&self) -> f64 {
        self.mask.iter().filter(|inside| **inside).count() as f64 / self.mask.len() as f64
    }
}

/// Reads annotations: a file of JSON lines, COCO's JSON, one XML file of Pascal VOC or a directory of them. Photos named twice are joined.
///
/// # Errors
/// What cannot be read or is none of these; the message names the file and the line or field.
pub fn read(path: &Path) -> Result<Vec<Annotated>> {
    let listed = if path.is_dir() {
        let mut files = files_in(path)?;
        files.retain(|file| file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("xml")));
        ensure!(
            !files.is_empty(),
            "annotations `{}`: expected XML files in this directory, found none",
            path.display()
        );
        files.iter().map(|file| in_file(file, voc)).collect::<Result<_>>()?
    } else {
        in_file(path, |text| match text.trim_start() {
            "" => bail!("expected annotations, found an empty file"),
            start if start.starts_with('<') => Ok(vec![voc(text)?]),
            _ => match serde_json::from_str::<Coco>(text) {
                Ok(coco) => coco.listed(),
                Err(error) if text.contains("\"annotations\"") => {
                    Err(error).context("expected COCO's JSON: images, annotations and categories")
                }
                Err(_) => lines(text),
            },
        })?
    };
    let mut order: Vec<String> = Vec::new();
    let mut joined: BTreeMap<String, Vec<Object>> = BTreeMap::new();
    for Annotated { photo, objects } in listed {
        if !joined.contains_key(&photo) {
            order.push(photo.clone());
        }
        joined.entry(photo).or_default().extend(objects);
    }
    Ok(order.into_iter().map(|photo| Annotated { objects: joined.remove(&photo).unwrap_or_default(), photo }).collect())
}

fn in_file<T>(path: &Path, parse: impl FnOnce(&str) -> Result<T>) -> Result<T> {
    let named = || format!("annotations `{}`", path.display());
    let text = fs::read_to_string(path).with_context(|| {
        format!("{}: expected JSON lines, COCO's JSON or Pascal VOC's XML, found no such text file", named())
    })?;
    parse(&text).with_context(named)
}

fn files_in(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory).with_context(|| format!("cannot list `{}`", directory.display()))?;
    let mut files: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    files.sort();
    Ok(files)
}

/// Labels by folder: every file in `photos`/LABEL is of that category, `_` and `-` in LABEL standing for spaces.
///
/// # Errors
/// A directory that cannot be listed or has no folders with files.
pub fn by_folder(photos: &Path) -> Result<Vec<Annotated>> {
    let mut listed = Vec::new();
    for folder in files_in(photos)?.into_iter().filter(|path| path.is_dir()) {
        let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let label = name(&folder);
        for file in files_in(&folder)?.iter().filter(|file| file.is_file() && !name(file).starts_with('.')) {
            let category = label.replace(['_', '-'], " ");
            let objects = vec![Object { category, shape: None, crowd: false }];
            listed.push(Annotated { photo: format!("{label}/{}", name(file)), objects });
        }
    }
    ensure!(
        !listed.is_empty(),
        "--photos `{}`: without --annotations, expected folders of photos, each named after what they show; found none",
        photos.display()
    );
    Ok(listed)
}

#[derive(Deserialize)]
struct Line {
    image: String,
    objects: Vec<LineObject>,
}

#[derive(Deserialize)]
struct LineObject {
    category: String,
    polygon: Vec<f64>,
}

/// `{"image": PATH, "objects": [{"category": WORDS, "polygon": [x, y, ...]}]}` a line, coordinates as shares of the photo.
fn lines(text: &str) -> Result<Vec<Annotated>> {
    let numbered = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let read = |(number, line): (usize, &str)| -> Result<Annotated> {
        let line: Line = serde_json::from_str(line).with_context(|| {
            format!(
                "line {}: expected {{\"image\": PATH, \"objects\": [{{\"category\": WORDS, \"polygon\": [x, y, ...]}}]}}, or \
                 COCO's JSON, or Pascal VOC's XML",
                number + 1
            )
        })?;
        let objects = line.objects.into_iter().map(|object| {
            let shape = Some(Shape::Polygons(vec![points(&object.polygon, [1.0, 1.0])]));
            Object { category: object.category, shape, crowd: false }
        });
        Ok(Annotated { photo: line.image, objects: objects.collect() })
    };
    numbered.map(read).collect()
}

fn points(flat: &[f64], [width, height]: [f64; 2]) -> Vec<[f64; 2]> {
    flat.as_chunks::<2>().0.iter().map(|[x, y]| [x / width, y / height]).collect()
}

#[derive(Deserialize)]
struct Coco {
    images: Vec<CocoImage>,
    annotations: Vec<CocoObject>,
    categories: Vec<CocoCategory>,
}

#[derive(Deserialize)]
struct CocoImage {
    id: u64,
    file_name: String,
    width: f64,
    height: f64,
}

#[derive(Deserialize)]
struct CocoCategory {
    id: u64,
    name: String,
}

#[derive(Deserialize)]
struct CocoObject {
    image_id: u64,
    category_id: u64,
    #[serde(default)]
    segmentation: Option<Segmentation>,
    #[serde(default)]
    bbox: Option<[f64; 4]>,
    #[serde(default)]
    iscrowd: u8,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Segmentation {
    Polygons(Vec<Vec<f64>>),
    Runs { counts: Counts, size: [usize; 2] },
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Counts {
    Numbers(Vec<usize>),
    Packed(String),
}

impl Coco {
    fn listed(self) -> Result<Vec<Annotated>> {
        let names: BTreeMap<u64, &str> = self.categories.iter().map(|c| (c.id, c.name.as_str())).collect();
        let mut places = BTreeMap::new();
        let mut listed = Vec::new();
        for image in &self.images {
            ensure!(
                image.width > 0.0 && image.height > 0.0,
                "image {}: expected a width and a height, found {} and {}",
                image.id,
                image.width,
                image.height
            );
            places.insert(image.id, (listed.len(), [image.width, image.height]));
            listed.push(Annotated { photo: image.file_name.clone(), objects: Vec::new() });
        }
        for (number, object) in self.annotations.iter().enumerate() {
            let at = || format!("annotation {number} (image {})", object.image_id);
            let category = names.get(&object.category_id).with_context(|| {
                format!("{}: expected a category of the list, found id {}", at(), object.category_id)
            })?;
            let (place, size) =
                places.get(&object.image_id).with_context(|| format!("{}: its image is not listed", at()))?;
            let shape = match (&object.segmentation, object.bbox) {
                (Some(Segmentation::Polygons(polygons)), _) if !polygons.is_empty() => {
                    Shape::Polygons(polygons.iter().map(|flat| points(flat, *size)).collect())
                }
                (Some(Segmentation::Runs { counts, size }), _) => counts.raster(*size).with_context(at)?,
                (_, Some([left, top, width, height])) => {
                    let [w, h] = size;
                    Shape::rectangle([left / w, top / h, (left + width) / w, (top + height) / h])
                }
                _ => Shape::Polygons(Vec::new()),
            };
            let object = Object { category: (*category).to_owned(), shape: Some(shape), crowd: object.iscrowd != 0 };
            listed[*place].objects.push(object);
        }
        Ok(listed)
    }
}

impl Counts {
    /// Runs of outside and inside, column by column; packed as pycocotools does: five bits a letter from `0` on, the sixth for more to come, each
    /// number from the fourth on as a difference to the one two before.
    fn raster(&self, size: [usize; 2]) -> Result<Shape> {
        let runs = match self {
            Self::Numbers(runs) => runs.clone(),
            Self::Packed(text) => {
                let mut runs: Vec<i64> = Vec::new();
                let (mut value, mut shift) = (0i64, 0);
                for byte in text.bytes() {
                    ensure!((48..112).contains(&byte) && shift < 60, "expected packed run lengths, found {text:?}");
                    let bits = i64::from(byte - 48);
                    value |= (bits & 31) << shift;
                    shift += 5;
                    if bits & 32 == 0 {
                        if bits & 16 != 0 {
                            value |= -1 << shift;
                        }
                        let before = if runs.len() > 2 { runs[runs.len() - 2] } else { 0 };
                        runs.push(value + before);
                        (value, shift) = (0, 0);
                    }
                }
                runs.into_iter().map(usize::try_from).collect::<Result<_, _>>().context("a run length below zero")?
            }
        };
        let pixels = size[0].checked_mul(size[1]).filter(|pixels| *pixels <= crate::photo::MAX_PIXELS as usize);
        let pixels = pixels.with_context(|| format!("expected the size of a photo, found {size:?}"))?;
        let total = runs.iter().try_fold(0usize, |total, run| total.checked_add(*run));
        ensure!(total == Some(pixels), "expected run lengths that add up to {} x {} pixels", size[0], size[1]);
        let inside = runs.iter().enumerate().flat_map(|(at, run)| std::iter::repeat_n(at % 2 == 1, *run)).collect();
        Ok(Shape::Raster { size, inside })
    }
}

/// One photo of Pascal VOC: boxes whose pixels count from 1 and include both ends.
fn voc(text: &str) -> Result<Annotated> {
    let document = roxmltree::Document::parse(text).context("expected XML")?;
    let root = document.root_element();
    let child = |node: roxmltree::Node<'_, '_>, name: &str| -> Result<String> {
        let found = node.children().find(|child| child.has_tag_name(name)).and_then(|child| child.text());
        Ok(found.with_context(|| format!("expected <{name}> in <{}>", node.tag_name().name()))?.trim().to_owned())
    };
    let number = |node, name: &str| -> Result<f64> {
        let text = child(node, name)?;
        text.parse().with_context(|| format!("<{name}>: expected a number, found `{text}`"))
    };
    let part = |node: roxmltree::Node<'_, '_>, name: &str| {
        let found = node.children().find(|child| child.has_tag_name(name)).map(|child| child.id());
        found.with_context(|| format!("expected <{name}> in <{}>", node.tag_name().name()))
    };
    let node = |id| document.get_node(id).context("the document changed");
    let size = node(part(root, "size")?)?;
    let (width, height) = (number(size, "width")?, number(size, "height")?);
    ensure!(width > 0.0 && height > 0.0, "<size>: expected a width and a height, found {width} and {height}");
    let mut objects = Vec::new();
    for object in root.children().filter(|child| child.has_tag_name("object")) {
        let bounds = node(part(object, "bndbox")?)?;
        let [left, top, right, bottom] = [
            (number(bounds, "xmin")? - 1.0) / width,
            (number(bounds, "ymin")? - 1.0) / height,
            number(bounds, "xmax")? / width,
            number(bounds, "ymax")? / height,
        ];
        let shape = Some(Shape::rectangle([left, top, right, bottom]));
        objects.push(Object { category: child(object, "name")?, shape, crowd: false });
    }
    Ok(Annotated { photo: child(root, "filename")?, objects })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(height: u32, width: u32) -> Framing {
        Framing { top: 0, left: 0, height, width }
    }

    fn drawn(objects: &[Object], framing: Framing, photo: [u32; 2], size: [usize; 2]) -> String {
        let truth = Truth::new(objects.iter(), framing, photo, size);
        let rows = truth.mask.chunks(size[1]).map(|row| row.iter().map(|i| if *i { '#' } else { '.' }).collect());
        rows.collect::<Vec<String>>().join(" ")
    }

    fn written(name: &str, text: &str) -> Vec<Annotated> {
        let place = tempfile::TempDir::new().unwrap();
        let path = place.path().join(name);
        fs::write(&path, text).unwrap();
        read(&path).unwrap()
    }

    #[test]
    fn polygons_fill_by_the_even_odd_rule_and_follow_the_framing() {
        // A square with a hole, drawn in one line.
        let ring = "0,0, 1,0, 1,1, 0,1, 0,0, 0.25,0.25, 0.75,0.25, 0.75,0.75, 0.25,0.75, 0.25,0.25";
        let listed = written(
            "a.jsonl",
            &format!(
                "{{\"image\": \"a.png\", \"objects\": [{{\"category\": \"ring\", \"polygon\": [{ring}]}}]}}\n\n\
                 {{\"image\": \"b.png\", \"objects\": []}}\n\
                 {{\"image\": \"a.png\", \"objects\": [{{\"category\": \"dot\", \"polygon\": [0.5,0.5, 0.5,0.5, 0.5,0.5]}}]}}\n"
            ),
        );
        assert_eq!(listed.len(), 2);
        let objects = &listed[0].objects;
        assert_eq!((objects.len(), listed[1].objects.len()), (2, 0));
        assert_eq!(drawn(&objects[..1], whole(8, 8), [8, 8], [4, 4]), "#### #..# #..# ####");
        // The lower right quarter of the photo.
        let quarter = Framing { top: 4, left: 4, height: 4, width: 4 };
        assert_eq!(drawn(&objects[..1], quarter, [8, 8], [4, 4]), "..## ..## #### ####");
        assert!(objects[1].shape.as_ref().unwrap().is_empty() && !objects[0].shape.as_ref().unwrap().is_empty());
        let truth = Truth::new(objects.iter(), whole(8, 8), [8, 8], [4, 4]);
        assert_eq!(truth.boxes, [metrics::Box { top: 0, left: 0, bottom: 4, right: 4 }]);
        assert_eq!(truth.share(), 0.75);
    }

    #[test]
    fn coco_and_voc_mean_the_same() {
        // 4 x 2 pixels; the right half as polygon, as box, as runs of columns, as packed runs, and as VOC's box.
        let coco = |what: &str| {
            let text = format!(
                r#"{{"images": [{{"id": 9, "file_name": "a.jpg", "width": 4, "height": 2}}], "categories": [{{"id": 3, "name": "cat"}}],
                "annotations": [{{"image_id": 9, "category_id": 3, {what}}}]}}"#
            );
            written("coco.json", &text)
        };
        let voc = written(
            "a.xml",
            "<annotation><filename>a.jpg</filename><size><width>4</width><height>2</height></size><object><name>cat</name>\
             <bndbox><xmin>3</xmin><ymin>1</ymin><xmax>4</xmax><ymax>2</ymax></bndbox></object></annotation>",
        );
        for listed in [
            coco(r#""segmentation": [[2, 0, 4, 0, 4, 2, 2, 2]], "bbox": [0, 0, 1, 1]"#),
            coco(r#""bbox": [2, 0, 2, 2]"#),
            coco(r#""segmentation": {"counts": [4, 4], "size": [2, 4]}, "iscrowd": 1"#),
            coco(r#""segmentation": {"counts": "44", "size": [2, 4]}"#),
            voc,
        ] {
            assert_eq!((listed[0].photo.as_str(), listed[0].objects[0].category.as_str()), ("a.jpg", "cat"));
            assert_eq!(drawn(&listed[0].objects, whole(2, 4), [2, 4], [2, 4]), "..## ..##");
            let truth = Truth::new(listed[0].objects.iter(), whole(2, 4), [2, 4], [2, 4]);
            assert_eq!(truth.boxes.is_empty(), listed[0].objects[0].crowd);
        }
        // Numbers above 15 and differences below zero: 20 20 3 17 20, packed as pycocotools packs them.
        let packed = Counts::Packed("d0d03Ma0".into()).raster([8, 10]).unwrap();
        assert_eq!(packed, Counts::Numbers(vec![20, 20, 3, 17, 20]).raster([8, 10]).unwrap());
        assert!(Counts::Numbers(vec![20, 20]).raster([8, 10]).is_err());
    }
}
