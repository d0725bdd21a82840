//! Annotations in every form, and what is odd or wrong in them: one bad record never costs the others.

use decomcam::Size;
use decomcam::dataset::{self, Listed, Truth, by_folder};
use decomcam::photo::Framing;
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// A photo of 4 x 8 pixels, seen at a quarter of that.
const PHOTO: Size = Size::new(4, 8);
const SEEN: Size = Size::new(2, 4);

/// Files in a directory.
fn directory(files: &[(&str, &[u8])]) -> TempDir {
    let place = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        let path = place.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    place
}

/// What a file says, `name` having the ending of its form.
fn file(name: &str, text: impl AsRef<[u8]>) -> Listed {
    let place = directory(&[(name, text.as_ref())]);
    dataset::read(&place.path().join(name)).unwrap()
}

fn refusal(path: &Path) -> String {
    dataset::read(path).unwrap_err().to_string()
}

/// Every photo with its objects: their categories and masks.
fn shown(listed: &Listed) -> String {
    let photo = |photo: &dataset::Annotated| {
        let object = |object: &dataset::Object| {
            let truth = Truth::new(std::iter::once(object), Framing::whole(PHOTO), PHOTO, SEEN);
            let rows = truth.mask.chunks(SEEN.width);
            let rows: Vec<String> = rows.map(|row| row.iter().map(|i| if *i { '#' } else { '.' }).collect()).collect();
            format!("{}{} {}", object.category, if object.crowd { "s" } else { "" }, rows.join("/"))
        };
        let objects: Vec<String> = photo.objects.iter().map(object).collect();
        format!("{}: {}", photo.photo, objects.join(", "))
    };
    listed.photos.iter().map(photo).collect::<Vec<_>>().join("; ")
}

/// The right half of `a.jpg`.
const RIGHT: &str = "a.jpg: cat ..##/..##";

fn coco(annotation: &str) -> Listed {
    file("coco.json", coco_text(r#""id": 9, "file_name": "a.jpg", "width": 8, "height": 4"#, annotation))
}

fn coco_text(image: &str, annotation: &str) -> String {
    format!(
        r#"{{"images": [{{{image}}}], "categories": [{{"id": 3, "name": "cat"}}],
            "annotations": [{{"image_id": 9, "category_id": 3, {annotation}}}]}}"#
    )
}

const RIGHT_POLYGON: &str = r#""segmentation": [[4, 0, 8, 0, 8, 4, 4, 4]]"#;

#[test]
fn every_form_of_coco_s_shapes_means_the_same() {
    for annotation in [
        RIGHT_POLYGON,
        r#""segmentation": [[4, 0, 8, 0, 8, 4, 4, 4]], "bbox": []"#,
        r#""segmentation": [[4, 0, 8, 0, 8, 4, 4, 4]], "bbox": [0, 0, -1, -1], "iscrowd": false"#,
        r#""segmentation": [4, 0, 8, 0, 8, 4, 4, 4], "iscrowd": null"#,
        r#""segmentation": [[4, 0, 8, 0, 8, 4, 4, 4], [1, 1, 2, 2]], "iscrowd": "0""#,
        r#""segmentation": [[4, 0, 6, 0, 6, 4, 4, 4], [6, 0, 8, 0, 8, 4, 6, 4]]"#,
        r#""segmentation": [], "bbox": [4, 0, 4, 4]"#,
        r#""segmentation": [[]], "bbox": ["4", "0", "4.0", "4"]"#,
        r#""bbox": [4, 0, 4, 4], "area": NaN, "score": -Infinity"#,
        r#""segmentation": {"counts": [16, 16], "size": [4, 8]}"#,
        r#""segmentation": [{"counts": [16, 16], "size": [4, 8]}]"#,
        r#""segmentation": [{"counts": [16, 8, 8], "size": [4, 8]}, {"counts": [24, 8], "size": [4, 8]}]"#,
    ] {
        let listed = coco(annotation);
        assert_eq!(shown(&listed), RIGHT, "{annotation}");
        assert!(listed.skipped.is_empty(), "{annotation}: {:?}", listed.skipped);
    }
    for crowd in ["1", "true", "1.0", "\"1\""] {
        let listed = coco(&format!(r#""segmentation": {{"counts": [16, 16], "size": [4, 8]}}, "iscrowd": {crowd}"#));
        assert_eq!(shown(&listed), "a.jpg: cats ..##/..##", "{crowd}");
    }
}

#[test]
fn coco_s_ids_may_be_written_in_any_way() {
    for (image, category, of_image, of_category) in [
        ("9", "3", "9", "3"),
        ("9.0", "3", "9", "3.0"),
        ("\"9\"", "\"3\"", "9", "3"),
        ("\"a9\"", "3", "\"a9\"", "\"3\""),
    ] {
        let text = format!(
            r#"{{"images": [{{"id": {image}, "file_name": "a.jpg"}}], "categories": [{{"id": {category}, "name": "cat"}}],
                "annotations": [{{"image_id": {of_image}, "category_id": {of_category}, {RIGHT_POLYGON}}}]}}"#
        );
        assert_eq!(shown(&file("ids.json", &text)), RIGHT, "{text}");
    }
}

#[test]
fn sizes_that_a_file_does_not_know_are_the_photo_s() {
    for size in ["", r#", "width": -1, "height": 4"#, r#", "width": 0, "height": 0"#, r#", "width": null, "height": 4"#]
    {
        let image = format!(r#""id": 9, "file_name": "a.jpg"{size}"#);
        assert_eq!(shown(&file("coco.json", coco_text(&image, RIGHT_POLYGON))), RIGHT, "{size}");
    }
    // A copy of the photo was annotated.
    let image = r#""id": 9, "file_name": "a.jpg", "width": 16, "height": 8"#;
    assert_eq!(shown(&file("coco.json", coco_text(image, r#""bbox": [8, 0, 8, 8]"#))), RIGHT);
}

#[test]
fn bad_records_of_coco_are_named_and_the_others_count() {
    let text = |bad: &str| {
        format!(
            r#"{{"images": [{{"id": 9, "file_name": "a.jpg", "width": 8, "height": 4}}], "categories": [{{"id": 3, "name": "cat"}}],
                "annotations": [{bad}, {{"image_id": 9, "category_id": 3, {RIGHT_POLYGON}}}]}}"#
        )
    };
    let with = |shape: &str| format!(r#"{{"image_id": 9, "category_id": 3, {shape}}}"#);
    let cases = [
        (with(r#""segmentation": [[1, 1, 2, 2]]"#), "at least three corners, found 2"),
        (with(r#""segmentation": [[1, 1, 2, 2, 3]]"#), "x and y of each corner, found 5 numbers"),
        (with(r#""segmentation": [[1, 1, 2, 2, 3, 3]]"#), "enclose nothing"),
        (with(r#""segmentation": [[1, 1, 2, 2, 3, null]]"#), "expected a number, found null"),
        (with(r#""segmentation": [[1, 1, 2, 2, 3, NaN]]"#), "expected a number, found null"),
        (with(r#""segmentation": "none""#), "expected polygons or run lengths"),
        (with(r#""segmentation": [], "bbox": []"#), "expected a segmentation or a bbox, found neither"),
        (with(r#""area": 1"#), "expected a segmentation or a bbox, found neither"),
        (with(r#""bbox": [1, 1, -2, 2]"#), "above zero, found -2 and 2"),
        (with(r#""bbox": [1, 1, 0, 2]"#), "above zero, found 0 and 2"),
        (with(r#""bbox": [1, 1, 2]"#), "expected four numbers"),
        (with(r#""segmentation": {"counts": [16, 15], "size": [4, 8]}"#), "add up to 4 x 8 pixels"),
        (with(r#""segmentation": {"counts": [32], "size": [4, 8]}"#), "enclose nothing"),
        (with(r#""segmentation": {"counts": [1], "size": [4000000000, 8000000000]}"#), "expected the size of a photo"),
        (
            r#"{"image_id": 999, "category_id": 3, "bbox": [1, 1, 2, 2]}"#.into(),
            "expected an image of the list, found id 999",
        ),
        (
            r#"{"image_id": 9, "category_id": 99, "bbox": [1, 1, 2, 2]}"#.into(),
            "expected a category of the list, found id 99",
        ),
        (r#"{"category_id": 3, "bbox": [1, 1, 2, 2]}"#.into(), "missing field `image_id`"),
        ("7".into(), "invalid type"),
        ("null".into(), "invalid type"),
    ];
    for (bad, reason) in cases {
        let listed = file("coco.json", text(&bad));
        assert_eq!(shown(&listed), RIGHT, "{bad}");
        let [skipped] = &listed.skipped[..] else { panic!("{bad}: {:?}", listed.skipped) };
        assert!(skipped.at == "annotation 1" && skipped.reason.contains(reason), "{bad}: {}", skipped.line());
        assert!(skipped.file.ends_with("coco.json") && skipped.line().contains(", annotation 1"));
    }
    let listed = file(
        "coco.json",
        format!(
            r#"{{"images": [{{"id": 9, "file_name": "a.jpg"}}, {{"id": 10}}, {{"file_name": "b.jpg"}}], "categories": [{{"id": 3, "name": "cat"}}, {{"id": 4}}],
                "annotations": [{{"image_id": 9, "category_id": 3, {RIGHT_POLYGON}}}]}}"#
        ),
    );
    assert_eq!(shown(&listed), RIGHT);
    let places: Vec<&str> = listed.skipped.iter().map(|record| record.at.as_str()).collect();
    assert_eq!(places, ["category 2", "image 2", "image 3"]);
}

/// Files that were joined without giving new ids.
#[test]
fn an_id_that_stands_for_two_names_is_none() {
    let text = |images: &str, categories: &str| {
        format!(
            r#"{{"images": [{images}], "categories": [{categories}],
                "annotations": [{{"image_id": 9, "category_id": 3, {RIGHT_POLYGON}}}, {{"image_id": 8, "category_id": 4, {RIGHT_POLYGON}}}]}}"#
        )
    };
    let image = |id: u32, name: &str| format!(r#"{{"id": {id}, "file_name": "{name}"}}"#);
    let category = |id: u32, name: &str| format!(r#"{{"id": {id}, "name": "{name}"}}"#);
    let images = [image(9, "b.jpg"), image(9, "c.jpg"), image(8, "a.jpg"), image(8, "a.jpg")].join(", ");
    let listed = file("coco.json", text(&images, &[category(3, "dog"), category(4, "cat")].join(", ")));
    assert_eq!(shown(&listed), "b.jpg: ; c.jpg: ; a.jpg: cat ..##/..##");
    let lines = |listed: &Listed| listed.skipped.iter().map(|record| record.line()).collect::<Vec<_>>();
    let [line] = &lines(&listed)[..] else { panic!("{:?}", listed.skipped) };
    assert!(line.contains("annotation 1") && line.contains("image id 9 stands for b.jpg and for c.jpg"), "{line}");

    let images = [image(9, "b.jpg"), image(8, "a.jpg")].join(", ");
    let categories = [category(3, "dog"), category(3, "hen"), category(4, "cat")].join(", ");
    let listed = file("coco.json", text(&images, &categories));
    assert_eq!(shown(&listed), "b.jpg: ; a.jpg: cat ..##/..##");
    assert!(lines(&listed)[0].contains("category id 3 stands for dog and for hen"), "{:?}", lines(&listed));
    assert_eq!(listed.categories, ["dog", "hen", "cat"]);
}

#[test]
fn boxes_that_count_in_something_else_are_named() {
    let line = |listed: &Listed| listed.skipped.first().map(|record| record.line()).unwrap_or_default();
    // Two corners in place of a corner and a size.
    let listed = coco(r#""bbox": [4, 0, 8, 4]"#);
    assert!(line(&listed).contains("found 4, 0, 8, 4") && line(&listed).contains("two corners"), "{}", line(&listed));
    // Pixels in place of shares.
    let lines = r#"{"image": "a.jpg", "objects": [{"category": "cat", "polygon": [4,0, 8,0, 8,4, 4,4]}]}"#;
    assert!(line(&file("lines.jsonl", lines)).contains("are these pixels?"));
    let csv = "ImageID,LabelName,XMin,XMax,YMin,YMax\na,cat,4,8,0,4\n";
    assert!(line(&file("boxes.csv", csv)).contains("found 4; are these pixels?"));
    for numbers in ["4 2 4 4", "4 0 8 0 8 4", "0.5 0.5 1.4 0.5", "-0.5 0.5 0.5 0.5"] {
        let place = directory(&[("classes.txt", b"cat"), ("labels/a.txt", format!("0 {numbers}\n").as_bytes())]);
        let listed = dataset::read(place.path()).unwrap();
        assert_eq!(shown(&listed), "a: ");
        assert!(line(&listed).contains("are these pixels?"), "{numbers}: {}", line(&listed));
    }
}

#[test]
fn one_category_may_be_written_in_several_ways() {
    let text = r#"{"image": "a.jpg", "objects": [{"category": "cat", "polygon": [0.5,0, 1,0, 1,1, 0.5,1]},
        {"category": " Cat ", "polygon": [0,0, 0.5,0, 0.5,1, 0,1]}, {"category": " ", "polygon": [0,0, 0.5,0, 0.5,1, 0,1]}]}"#;
    let listed = file("lines.jsonl", text.replace('\n', ""));
    assert_eq!(shown(&listed), "a.jpg: cat ..##/..##, cat ##../##..");
    assert!(listed.skipped[0].line().contains("expected a category, found an empty name"));
    assert_eq!(listed.categories, ["cat"]);
}

#[test]
fn forms_that_are_not_read_are_called_by_their_names() {
    for (name, text, kind) in [
        ("a.json", r#"[{"id": 1, "data": {"image": "a.jpg"}, "annotations": []}]"#, "Label Studio's JSON"),
        ("a.json", r#"[{"image_id": 1, "category_id": 3, "bbox": [1, 1, 2, 2], "score": 0.9}]"#, "COCO's results"),
        ("a.json", r#"{"a.jpg123": {"filename": "a.jpg", "size": 123, "regions": []}}"#, "VGG Image Annotator"),
        ("a.json", r#"{"_via_settings": {}, "_via_img_metadata": {}}"#, "VGG Image Annotator"),
        ("a.json", r#"{"info": {}, "categories": {"label": {"labels": []}}, "items": []}"#, "Datumaro's JSON"),
        (
            "a.json",
            r#"{"description": "", "tags": [], "size": {"height": 4, "width": 8}, "objects": []}"#,
            "Supervisely's JSON",
        ),
        (
            "a.jsonl",
            "{\"file_name\": \"a.jpg\", \"objects\": {\"bbox\": []}}\n{\"file_name\": \"b.jpg\", \"objects\": {}}\n",
            "metadata.jsonl",
        ),
        (
            "a.json",
            r#"{"images": [], "categories": [], "annotations": [{"image_id": 1, "file_name": "a.png", "segments_info": [{"id": 1}]}]}"#,
            "COCO's panoptic segmentation",
        ),
        ("a.csv", "filename,width,height,class,xmin,ymin,xmax,ymax\na.jpg,8,4,cat,4,0,8,4\n", "TensorFlow's CSV"),
    ] {
        let place = directory(&[(name, text.as_bytes())]);
        let message = refusal(&place.path().join(name));
        assert!(message.contains(kind) && message.contains("export"), "{message}");
    }
}

#[test]
fn what_is_no_annotation_is_refused_and_says_what_is_missing() {
    let place = directory(&[
        ("empty.json", b""),
        ("no_categories.json", br#"{"images": [], "annotations": []}"#),
        ("no_images.json", br#"{"categories": [], "annotations": []}"#),
        ("other.json", br#"{"version": 1, "boxes": []}"#),
        ("list.json", br#"[{"a": 1}]"#),
        ("cut.json", br#"{"images": [{"id": 1"#),
        ("page.xml", b"<html></html>"),
        ("words.txt", b"some words\n"),
        ("other.csv", b"a,b\n1,2\n"),
        ("bad_line.jsonl", br#"{"image": "a.jpg", "objects": [{"category": "cat"}]}"#),
        ("nothing/readme.md", b"hello"),
    ]);
    for (name, reason) in [
        ("empty.json", "found an empty file"),
        ("no_categories.json", "found no list named categories"),
        ("no_images.json", "found no list named images"),
        ("other.json", "found the keys boxes, version"),
        ("list.json", "found another list"),
        ("cut.json", "expected JSON"),
        ("page.xml", "found <html>"),
        ("words.txt", "found something else"),
        ("other.csv", "found something else"),
        ("nothing", "expected XML, JSON or CSV files"),
        ("missing.json", "expected a text file"),
    ] {
        let message = refusal(&place.path().join(name));
        assert!(
            message.starts_with("annotations `") && message.contains(name) && message.contains(reason),
            "{message}"
        );
    }
}

#[test]
fn json_lines_skip_what_is_bad() {
    let good = r#"{"image": "a.jpg", "objects": [{"category": "cat", "polygon": [0.5,0, 1,0, 1,1, 0.5,1]}]}"#;
    let text = format!(
        "{good}\n\n{{\"image\": \"b.jpg\", \"objects\": [{{\"category\": \"dot\", \"polygon\": [0.5,0.5, 0.5,0.5, 0.5,0.5]}}, 7]}}\nnonsense\n\
         {{\"image\": \"a.jpg\", \"objects\": []}}\n"
    );
    let listed = file("lines.jsonl", &text);
    assert_eq!(shown(&listed), format!("{RIGHT}; b.jpg: "));
    let places: Vec<&str> = listed.skipped.iter().map(|record| record.at.as_str()).collect();
    assert_eq!(places, ["line 3", "line 3", "line 4"]);
    assert_eq!(shown(&file("lines.jsonl", format!("\u{feff}{good}\r\n"))), RIGHT);
    assert_eq!(
        shown(&file("lines.jsonl", format!("nonsense\n{{}}\n{good}\n").replace("nonsense", "{\"image\": 1}"))),
        RIGHT
    );
}

fn voc(filename: &str, size: &str, bounds: [f64; 4]) -> String {
    let [left, top, right, bottom] = bounds;
    format!(
        "<annotation>{filename}{size}<object><name>cat</name><bndbox><xmin>{left}</xmin><ymin>{top}</ymin><xmax>{right}</xmax>\
         <ymax>{bottom}</ymax></bndbox></object></annotation>"
    )
}

#[test]
fn pascal_voc() {
    let right = [5.0, 1.0, 8.0, 4.0];
    for size in [
        "<size><width>8</width><height>4</height></size>",
        "<size><width>0</width><height>0</height></size>",
        "<size><width></width></size>",
        "",
    ] {
        assert_eq!(shown(&file("x.xml", voc("<filename>a.jpg</filename>", size, right))), RIGHT, "{size}");
    }
    assert_eq!(shown(&file("a.xml", voc("", "", right))), "a: cat ..##/..##", "a photo without a name has the file's");
    assert_eq!(shown(&file("a.xml", voc("<filename/>", "", right))), "a: cat ..##/..##");
    let utf16 = format!("<?xml version=\"1.0\" encoding=\"UTF-16\"?>{}", voc("<filename>a.jpg</filename>", "", right));
    let utf16: Vec<u8> = [0xff, 0xfe].into_iter().chain(utf16.encode_utf16().flat_map(u16::to_le_bytes)).collect();
    assert_eq!(shown(&file("x.xml", utf16)), RIGHT);

    let good = voc("<filename>a.jpg</filename>", "", right);
    let two = good.replace(
        "<object>",
        "<object><name>dog</name><bndbox><xmin>9</xmin><ymin>1</ymin><xmax>2</xmax><ymax>4</ymax></bndbox></object>\
         <object><name>cow</name><bndbox><xmin>one</xmin><ymin>1</ymin><xmax>2</xmax><ymax>4</ymax></bndbox></object>\
         <object><name>hen</name></object><object>",
    );
    let place = directory(&[
        ("1.xml", two.as_bytes()),
        ("2.xml", &good.as_bytes()[..60]),
        ("3.xml", b""),
        ("4.xml", b"<html/>"),
        ("in/5.XML", voc("<filename>b.jpg</filename>", "", [1.0, 1.0, 4.0, 4.0]).as_bytes()),
        ("notes.md", b"no annotation"),
    ]);
    let listed = dataset::read(place.path()).unwrap();
    assert_eq!(shown(&listed), format!("{RIGHT}; b.jpg: cat ##../##.."));
    let lines: Vec<String> = listed.skipped.iter().map(|record| record.line()).collect();
    for (line, parts) in lines.iter().zip([
        ["1.xml, object 1 (a.jpg, dog)", "found 8 to 2"],
        ["1.xml, object 2 (a.jpg, cow)", "found `one`"],
        ["1.xml, object 3 (a.jpg, hen)", "expected <bndbox>"],
        ["2.xml", "expected XML"],
        ["3.xml", "empty file"],
        ["4.xml", "found <html>"],
    ]) {
        assert!(parts.iter().all(|part| line.contains(part)), "{line}");
    }
    assert_eq!(lines.len(), 6);
}

#[test]
fn yolo() {
    let yaml = b"path: ../data\ntrain: images/train\nnc: 2\nnames:\n  0: dog\n  1: cat\n";
    for (names, classes) in [
        ("data.yaml", &yaml[..]),
        ("data.yml", b"names: [dog, cat]\n"),
        ("classes.txt", b"dog\r\ncat\r\n"),
        ("obj.names", b"dog\ncat\n"),
    ] {
        let place = directory(&[
            (names, classes),
            ("labels/train/a.txt", b"1 0.75 0.5 0.5 1.0\n"),
            ("labels/train/b.txt", b"1 0.5 0 1 0 1 1 0.5 1\r\n\r\n0 0.25 0.5 0.5 1 0.9\n"),
            ("labels/train/empty.txt", b""),
            ("readme.txt", b"How to use this.\n"),
        ]);
        let listed = dataset::read(place.path()).unwrap();
        let expected = "train/a: cat ..##/..##; train/b: cat ..##/..##, dog ##../##..; train/empty: ";
        assert_eq!(shown(&listed), expected, "{names}");
        assert!(listed.skipped.is_empty(), "{:?}", listed.skipped);
        if names.ends_with("yaml") {
            assert_eq!(dataset::read(&place.path().join(names)).unwrap(), listed);
        }
    }
    let place = directory(&[
        ("data.yaml", b"names: {0: cat}\nkpt_shape: [2, 3]\n"),
        ("a.txt", b"0 0.75 0.5 0.5 1.0 0.1 0.1 2 0.9 0.9 1\n7 0.5 0.5 0.5 0.5\n0 0.5 0.5 -0.5 0.5\n0 0.5 0.5\nx 1 1 1 1\n0 0.5 0.5 nan 1\n-1 0 0 1 1\n"),
    ]);
    let listed = dataset::read(place.path()).unwrap();
    assert_eq!(shown(&listed), "a: cat ..##/..##", "key points are no polygon");
    let reasons: Vec<&str> = listed.skipped.iter().map(|record| record.reason.as_str()).collect();
    let expected = [
        "expected one of 1 classes, found number 7",
        "above zero, found -0.5 and 0.5",
        "at least three corners, found 1",
        "expected the number of a class first, found `x`",
        "expected numbers, found `nan`",
        "expected the number of a class first, found `-1`",
    ];
    assert_eq!(reasons.len(), expected.len(), "{reasons:?}");
    for (reason, expected) in reasons.iter().zip(expected) {
        assert!(reason.contains(expected), "{reason}");
    }
    let place = directory(&[("labels/a.txt", b"0 0.5 0.5 1 1\n")]);
    assert!(refusal(place.path()).contains("data.yaml or classes.txt; found neither"));
}

/// Every text below `labels`, or beside a photo of its name, is a label file, whatever is in it.
#[test]
fn a_label_file_that_is_none_is_named() {
    for (text, reason) in [
        ("0 0.5 0.5\n", "at least three corners, found 1"),
        ("0 0.7\n", "x and y of each corner, found 1 numbers"),
        ("cat 0.4 0.4 0.2 0.2\n", "found `cat 0.4 0.4 0.2 0.2`"),
        ("0,0.4,0.4,0.2,0.2\n", "found `0,0.4,0.4,0.2,0.2`"),
        ("# class x y w h\n0 0.75 0.5 0.5 1\n", "found `#`"),
        ("0 0,4 0,4 0,2 0,2\n", "expected numbers, found `0,4`"),
    ] {
        let files: [&[(&str, &[u8])]; 2] =
            [&[("labels/a.txt", text.as_bytes())], &[("a.txt", text.as_bytes()), ("a.jpg", b"")]];
        for own in files {
            let others: [(&str, &[u8]); 4] = [
                ("data.yaml", b"names: [cat]"),
                ("b.txt", b"0 0.75 0.5 0.5 1\n"),
                ("train.txt", b"./images/a.jpg\n./images/b.jpg\n"),
                ("README.roboflow.txt", b"Exported.\n"),
            ];
            let listed = dataset::read(directory(&[own, &others].concat()).path()).unwrap();
            let [record] = &listed.skipped[..] else { panic!("{text}: {:?}", listed.skipped) };
            assert!(
                record.photo.as_deref() == Some("a") && record.line().contains(reason),
                "{text}: {}",
                record.line()
            );
        }
    }
    // Beside a directory of labels other texts are none, unless they hold numbers.
    let place = directory(&[
        ("data.yaml", b"names: [cat]"),
        ("labels/a.txt", b"0 0.75 0.5 0.5 1\n"),
        ("log.txt", b"epoch 1\n"),
        ("b.txt", b"0 0.75 0.5 0.5 1\n"),
    ]);
    let listed = dataset::read(place.path()).unwrap();
    assert_eq!((shown(&listed).as_str(), listed.skipped.len()), ("b: cat ..##/..##; a: cat ..##/..##", 0));
    // Annotations of another form are not passed over in silence.
    let coco = coco_text(r#""id": 9, "file_name": "b.jpg""#, RIGHT_POLYGON);
    let place = directory(&[
        ("data.yaml", b"names: [cat]"),
        ("labels/a.txt", b"0 0.75 0.5 0.5 1\n"),
        ("instances.json", coco.as_bytes()),
        ("notes.json", b"{\"categories\": []}"),
    ]);
    let listed = dataset::read(place.path()).unwrap();
    let [record] = &listed.skipped[..] else { panic!("{:?}", listed.skipped) };
    assert!(
        shown(&listed) == "a: cat ..##/..##"
            && record.line().starts_with("instances.json: annotations of another form")
    );
    // Notes beside VOC's files are no labels.
    let voc = voc("<filename>a.jpg</filename>", "", [5.0, 1.0, 8.0, 4.0]);
    let place = directory(&[
        ("a.xml", voc.as_bytes()),
        ("classes.txt", b"cat\n"),
        ("remarks.txt", b"Checked.\n"),
        ("none.txt", b""),
    ]);
    assert_eq!(shown(&dataset::read(place.path()).unwrap()), RIGHT);
}

#[test]
fn the_yaml_file_that_is_named_is_the_one_that_counts() {
    let label: (&str, &[u8]) = ("labels/a.txt", b"0 0.75 0.5 0.5 1\n");
    let place = directory(&[("a.yaml", b"names: [dog]"), ("data.yaml", b"names: [cat]"), label]);
    let expected = |category: &str| format!("a: {category} ..##/..##");
    for (path, category) in [("", "cat"), ("data.yaml", "cat"), ("a.yaml", "dog")] {
        let path = if path.is_empty() { place.path().to_owned() } else { place.path().join(path) };
        assert_eq!(shown(&dataset::read(&path).unwrap()), expected(category), "{}", path.display());
    }
    let place = directory(&[("a.yaml", b"names: [dog]"), ("b.yaml", b"names: [cat]"), ("c.yaml", b"epochs: 3"), label]);
    let message = refusal(place.path());
    assert!(["a.yaml", "b.yaml", "which differ"].iter().all(|part| message.contains(part)), "{message}");
    assert!(refusal(&place.path().join("c.yaml")).contains("expected the names of YOLO's classes"));
    let place = directory(&[("a/classes.txt", b"dog"), ("b/classes.txt", b"cat"), label]);
    assert!(refusal(place.path()).contains("which differ"));
    let place = directory(&[("_darknet.labels", b"cat\n"), label]);
    assert_eq!(shown(&dataset::read(place.path()).unwrap()), expected("cat"));
}

/// As Roboflow lays data sets out: labels and photos of each split side by side, under the same names.
#[test]
fn labels_stand_for_images_wherever_they_stand() {
    let label = b"0 0.75 0.5 0.5 1\n";
    let place = directory(&[
        ("data.yaml", b"names: [cat]"),
        ("train/labels/x.txt", label),
        ("valid/labels/x.txt", label),
        ("train/images/x.jpg", b""),
        ("valid/images/x.jpg", b""),
    ]);
    let listed = dataset::read(place.path()).unwrap();
    let photos = dataset::Photos::new(place.path()).unwrap();
    for (annotated, split) in listed.photos.iter().zip(["train", "valid"]) {
        let expected = place.path().join(split).join("images/x.jpg");
        assert_eq!(photos.find(&annotated.photo).unwrap(), expected);
    }
    assert_eq!(listed.photos.len(), 2);
}

#[test]
fn labelme() {
    let text = |shape: &str| {
        format!(
            r#"{{"version": "5.0.1", "imagePath": "a.jpg", "imageHeight": 4, "imageWidth": 8, "imageData": null, "shapes": [{{"label": "cat", {shape}}}]}}"#
        )
    };
    let polygon = r#""points": [[4, 0], [8, 0], [8, 4], [4, 4]]"#;
    // A white picture of 4 x 4 pixels, 1 bit grey, as PNG in base64.
    let mask = {
        let mut bytes = Vec::new();
        image::GrayImage::from_pixel(4, 4, image::Luma([255]))
            .write_to(&mut std::io::Cursor::new(&mut bytes), image::ImageFormat::Png)
            .unwrap();
        const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let quads = bytes.chunks(3).map(|three| {
            let number =
                three.iter().fold(0u32, |number, byte| number << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
            let letter = |place: usize| {
                if place <= three.len() { LETTERS[(number >> (18 - 6 * place) & 63) as usize] as char } else { '=' }
            };
            [0, 1, 2, 3].map(letter).iter().collect::<String>()
        });
        format!(r#""shape_type": "mask", "points": [[4, 0], [7, 3]], "mask": "{}""#, quads.collect::<String>())
    };
    for shape in [
        format!(r#""shape_type": "polygon", {polygon}"#),
        polygon.to_owned(),
        format!(r#""shape_type": "rectangle", {polygon}"#),
        r#""shape_type": "rectangle", "points": [[4, 0], [8, 4]]"#.to_owned(),
        r#""shape_type": "rectangle", "points": [[8, 4], [4, 0]]"#.to_owned(),
        r#""shape_type": "circle", "points": [[6, 2], [6, 4.9]]"#.to_owned(),
        format!(r#""shape_type": "rotation", {polygon}"#),
        mask.clone(),
    ] {
        let listed = file("a.json", text(&shape));
        assert_eq!(shown(&listed), RIGHT, "{shape}");
        assert!(listed.skipped.is_empty());
    }
    for (shape, reason) in [
        (r#""shape_type": "line", "points": [[4, 0], [8, 4]]"#, "found a line, which encloses nothing"),
        (r#""shape_type": "point", "points": [[4, 0]]"#, "found a point"),
        (r#""shape_type": "cuboid", "points": [[4, 0]]"#, "found a cuboid, which is not read"),
        (r#""shape_type": "polygon", "points": [[4, 0], [8, 4]]"#, "at least three corners"),
        (r#""shape_type": "rectangle", "points": [[4, 0], [4, 4]]"#, "found 4 to 4"),
        (r#""shape_type": "rectangle", "points": [[4, 0]]"#, "found 1 points"),
        (r#""shape_type": "mask", "points": [[4, 0], [7, 3]], "mask": "?""#, "base64"),
        (r#""shape_type": "mask", "points": [[4, 0], [7, 3]]"#, "found none"),
        (&mask.replace("[4, 0], [7, 3]", "[1e300, 1e300], [2e300, 2e300]"), "some of the photo inside"),
        (r#""points": "none""#, "invalid type"),
    ] {
        let listed = file("a.json", text(shape));
        assert_eq!((shown(&listed).as_str(), listed.skipped.len()), ("a.jpg: ", 1), "{shape}");
        assert!(listed.skipped[0].reason.contains(reason), "{}", listed.skipped[0].line());
    }
    let place = directory(&[
        ("a.json", text(polygon).replace("a.jpg", "..\\\\images\\\\a.jpg").as_bytes()),
        ("b.json", b"{\"shapes\": [}"),
        ("c.json", text(polygon).replace("\"imagePath\": \"a.jpg\", ", "").as_bytes()),
    ]);
    let listed = dataset::read(place.path()).unwrap();
    assert_eq!(shown(&listed), "..\\images\\a.jpg: cat ..##/..##; c: cat ..##/..##");
    assert_eq!(listed.skipped.len(), 1);
    assert!(listed.skipped[0].line().starts_with("b.json: expected JSON"), "{}", listed.skipped[0].line());
}

#[test]
fn create_ml() {
    let text = r#"[{"image": "a.jpg", "annotations": [{"label": "cat", "coordinates": {"x": 6, "y": 2, "width": 4, "height": 4}},
        {"label": "dog", "coordinates": {"x": 6, "y": 2, "width": -4, "height": 4}}, {"label": "hen"}]},
        {"imagefilename": "b.jpg", "annotation": []}, 7]"#;
    let listed = file("createml.json", text);
    assert_eq!(shown(&listed), format!("{RIGHT}; b.jpg: "));
    let places: Vec<&str> = listed.skipped.iter().map(|record| record.at.as_str()).collect();
    assert_eq!(places, ["photo 1, annotation 2", "photo 1, annotation 3", "photo 3"]);
}

#[test]
fn open_images() {
    let header = "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside\n";
    let rows = "a,xclick,/m/01yrx,1,0.5,1,0,1,0,0,0,0,0\na,xclick,/m/01yrx,1,0,0.5,0,1,0,0,1,0,0\n\
                b,xclick,/m/01yrx,1,0.9,0.1,0,1,0,0,0,0,0\nb,xclick,/m/unknown,1,0.1,0.9,0,1,0,0,0,0,0\nb,xclick,/m/01yrx,1\n\
                ,xclick,/m/01yrx,1,0,0.5,0,1,0,0,0,0,0\n";
    let text = [header, rows].concat();
    let names = b"/m/01yrx,cat\n/m/0bt9lr,\"dog, any\"\n";
    let place = directory(&[("boxes.csv", text.as_bytes()), ("class-descriptions-boxable.csv", names)]);
    for path in [place.path().join("boxes.csv"), place.path().to_owned()] {
        let listed = dataset::read(&path).unwrap();
        assert_eq!(shown(&listed), "a: cat ..##/..##, cats ##../##..; b: ");
        let places: Vec<&str> = listed.skipped.iter().map(|record| record.at.as_str()).collect();
        assert_eq!(places, ["line 4", "line 5", "line 6", "line 7"]);
        assert!(listed.skipped[1].reason.contains("class-descriptions-boxable.csv"));
    }
}

#[test]
fn cvat() {
    let text = |shapes: &str| {
        format!(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?><annotations><version>1.1</version><meta/>\
             <image id=\"0\" name=\"a.jpg\" width=\"8\" height=\"4\">{shapes}<tag label=\"indoors\"/></image></annotations>"
        )
    };
    for shape in [
        r#"<box label="cat" xtl="4" ytl="0" xbr="8" ybr="4" occluded="0"/>"#,
        r#"<box label="cat" xtl="4" ytl="0" xbr="8" ybr="4" rotation="90.0"/>"#,
        r#"<polygon label="cat" points="4,0;8,0;8,4;4,4"><attribute name="age">3</attribute></polygon>"#,
        r#"<mask label="cat" rle="0, 16" left="4" top="0" width="4" height="4"/>"#,
        r#"<ellipse label="cat" cx="6" cy="2" rx="2.9" ry="2.9"/>"#,
    ] {
        let listed = file("cvat.xml", text(shape));
        assert_eq!(shown(&listed), RIGHT, "{shape}");
        assert!(listed.skipped.is_empty(), "{:?}", listed.skipped);
    }
    let row_by_row = r#"<mask label="cat" rle="0, 2, 2, 2, 2, 2, 2, 2, 2" left="2" top="0" width="4" height="4"/>"#;
    assert_eq!(shown(&file("cvat.xml", text(row_by_row))), "a.jpg: cat .#../.#..");
    for (shape, reason) in [
        (r#"<box label="cat" xtl="8" ytl="0" xbr="4" ybr="4"/>"#, "found 8 to 4"),
        (r#"<box label="cat" xtl="8" ytl="0" xbr="4"/>"#, "expected ybr"),
        (r#"<polygon label="cat" points="4,0;8,x"/>"#, "found `x`"),
        (r#"<polyline label="cat" points="4,0;8,0;8,4"/>"#, "found <polyline>, which encloses nothing"),
        (r#"<cuboid label="cat" xtl1="4"/>"#, "found <cuboid>, which is not read"),
        (r#"<mask label="cat" rle="0,17" left="4" top="0" width="4" height="4"/>"#, "at most 4 x 4 pixels"),
        (
            r#"<mask label="cat" rle="0,16" left="1e300" top="0" width="1e300" height="1e300"/>"#,
            "within the photo of 4 x 8",
        ),
        (r#"<mask label="cat" rle="0,16" left="5" top="0" width="4" height="4"/>"#, "within the photo of 4 x 8"),
    ] {
        let listed = file("cvat.xml", text(shape));
        assert_eq!((shown(&listed).as_str(), listed.skipped.len()), ("a.jpg: ", 1), "{shape}");
        assert!(listed.skipped[0].reason.contains(reason), "{}", listed.skipped[0].line());
    }
    let both = text(r#"<box label="cat" xtl="4" ytl="0" xbr="8" ybr="4"/>"#)
        .replace("</annotations>", "<track label=\"dog\"/></annotations>");
    let listed = file("cvat.xml", both);
    assert_eq!(shown(&listed), RIGHT);
    assert!(listed.skipped[0].line().contains("track 1 (dog): a track of a video"), "{}", listed.skipped[0].line());
    let place = directory(&[("video.xml", b"<annotations><track label=\"cat\"/></annotations>")]);
    assert!(refusal(&place.path().join("video.xml")).contains("found that of a video"));
}

#[test]
fn folders_are_labels_and_only_photos_count() {
    let place = directory(&[
        ("red_panda/a.jpg", b""),
        ("red_panda/Thumbs.db", b""),
        ("red_panda/.hidden.jpg", b""),
        ("snow-leopard/b.PNG", b""),
        ("readme.txt", b""),
    ]);
    let listed = by_folder(place.path()).unwrap();
    let found: Vec<(&str, &str)> =
        listed.photos.iter().map(|photo| (photo.photo.as_str(), photo.objects[0].category.as_str())).collect();
    assert_eq!(found, [("red_panda/a.jpg", "red panda"), ("snow-leopard/b.PNG", "snow leopard")]);
    let empty = directory(&[("readme.txt", b"")]);
    assert!(by_folder(empty.path()).unwrap_err().to_string().contains("expected folders of photos"));
}
