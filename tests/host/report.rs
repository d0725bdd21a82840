//! The page for the browser: it holds everything that it needs, and no text can become part of its markup.

use crate::common::run::decomcam;
use crate::common::{cat, json, npy};
use decomcam::draw::Style;
use decomcam::report::{Answer, Outputs};
use decomcam::timings::Timings;
use decomcam::{Options, Photo, Session};
use std::fs;
use tempfile::TempDir;

/// A page whose prompt, names and file name try to become markup.
fn hostile_page() -> String {
    let place = TempDir::new().unwrap();
    let photo = place.path().join("<b onload=alert(1)>&amp;\".png");
    fs::copy(cat(), &photo).unwrap();
    let attack = "a cat</script><script>alert(1)</script>\"' onmouseover=alert(2) {{ 7 * 7 }}";
    let out = place.path().join("out");
    decomcam(["explain", "--size", "96", "--text", attack, "--name-parts", "<i>fur</i> cat", "--out"])
        .arg(&out)
        .arg(&photo)
        .ok();
    fs::read_to_string(out.join("report.html")).unwrap()
}

#[test]
fn no_text_becomes_markup() {
    let page = hostile_page();
    assert_eq!(page.matches("<script>").count(), 1);
    assert_eq!(page.matches("</script>").count(), 1);
    for markup in ["<b onload", "<i>", "\"' onmouseover", "alert(1)</script>", "49 in "] {
        assert!(!page.contains(markup), "{markup}");
    }
    assert!(page.contains("&lt;&#x2f;script&gt;") && page.contains("{{ 7 * 7 }}"), "the prompt is shown as it is");
}

/// Pictures are in the page, the browser is forbidden to fetch anything, and nothing names a place to fetch from.
#[test]
fn the_page_is_self_contained() {
    let page = hostile_page();
    assert!(
        page.contains("content=\"default-src &#x27;none&#x27;; img-src data:;")
            || page.contains("content=\"default-src 'none'; img-src data:;")
    );
    for source in page.split(" src=\"").skip(1).chain(page.split("data-grey=\"").skip(1)) {
        assert!(source.starts_with("data:image/"), "{}", &source[..source.len().min(60)]);
    }
    for fetching in ["http://", "https://", "<link", "@import", "url(", "import(", "fetch(", "XMLHttpRequest"] {
        assert!(!page.contains(fetching), "{fetching}");
    }
    assert!(page.contains("lang=\"en\"") && page.contains("<main>") && page.contains("<h1>"));
}

/// A map that is not about what was asked does not look like one that is: it covers two fifths as much, without lines.
#[test]
fn what_the_model_does_not_see_is_drawn_faint() {
    let (session, photo) = (Session::open("lite").unwrap(), Photo::open(cat()).unwrap());
    let options = Options::new().scales(1).refine(false).components(1);
    let strongest = |text: &str| {
        let prompt = session.prompt(text).unwrap();
        let explanation = session.explain(&photo, &prompt, &options).unwrap();
        let drawn = |style: Style| {
            let mut outputs = Outputs::default();
            outputs.style = style;
            let (model, timings) = (session.model(), Timings::default());
            let answer = Answer {
                model,
                photo: &photo,
                prompt: &prompt,
                explanation: &explanation,
                timings: &timings,
                outputs: &outputs,
            };
            answer.overlay().unwrap()
        };
        let (bare, usual) = (Style::default().contours([]).alpha(0.0).unwrap(), Style::default());
        let (bare, usual) = (drawn(bare), drawn(usual));
        bare.as_raw().iter().zip(usual.as_raw()).map(|(bare, usual)| bare.abs_diff(*usual)).max().unwrap()
    };
    let (seen, unseen) = (strongest("a cat"), strongest("a volcano"));
    assert!(seen > 100, "{seen}");
    assert!((1..=(0.4 * 0.6 * 255.0) as u8 + 1).contains(&unseen), "{unseen}");
}

/// In which third of the height and of the width a map is highest.
fn third_of_peak(map: &[f32], height: usize, width: usize) -> String {
    let at = map.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).unwrap().0;
    let row = ["top", "", "bottom"][3 * (at / width) / height];
    let column = ["left", "", "right"][3 * (at % width) / width];
    match format!("{row} {column}").trim() {
        "" => "centre".to_owned(),
        words => words.to_owned(),
    }
}

/// What is said of where a part lies is where its map on the photo is highest, whatever of the photo the network saw and at whatever shape.
#[test]
fn where_a_part_lies_is_where_its_map_is_drawn() {
    let place = TempDir::new().unwrap();
    let photo = image::open(cat()).unwrap();
    let shapes = [("wide", photo.crop_imm(0, 60, 451, 120)), ("high", photo.crop_imm(120, 0, 80, 300))];
    let mut told = std::collections::BTreeSet::new();
    for (name, picture) in shapes {
        let path = place.path().join(format!("{name}.png"));
        picture.save(&path).unwrap();
        for fit in ["pad", "crop", "stretch"] {
            let out = place.path().join(format!("{name}-{fit}"));
            let asked = ["explain", "--size", "96", "-t", "a cat", "--fit", fit, "--arrays", "photo", "--no-check"];
            decomcam(asked).path("--out", &out).arg(&path).ok();
            let (shape, maps) = npy(out.join("ossms.npy"));
            let (height, width) = (shape[1] as usize, shape[2] as usize);
            for part in json(out.join("explanation.json"))["parts"].as_array().unwrap() {
                let number = part["number"].as_u64().unwrap() as usize;
                let map = &maps[(number - 1) * height * width..][..height * width];
                let drawn = third_of_peak(map, height, width);
                assert_eq!(part["place"], drawn.as_str(), "part {number} of {name} with {fit}");
                told.insert(drawn);
            }
        }
    }
    assert!(told.len() > 5, "places of many kinds are told: {told:?}");
}
