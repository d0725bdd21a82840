//! `report.html`: one file that a browser opens from the disk, with everything in it and nothing fetched.
//!
//! The page is a template (`page.html`) in which every text is escaped (only the pictures, which are written here as base64, are not), a style sheet (`page.css`) and a script (`page.js`) without anything to build. Maps are
//! grey pictures; the script colours them, so that its sliders can change opacity and threshold. A content security policy in the page forbids the browser to fetch anything.

use super::Answer;
use super::matter::{Told, percent, told};
use super::words::check_line;
use crate::draw::{self, ColourMap};
use crate::error::Sorted as _;
use crate::files;
use crate::photo::size_of;
use crate::program::PROGRAM;
use crate::{Error, Result, Size};
use base64::Engine as _;
use image::codecs::jpeg::JpegEncoder;
use minijinja::{Environment, context};
use serde::Serialize;

/// Longer sides of the pictures in the page, at most, in pixels: of the photo, of its map, of a part's map.
const PHOTO: usize = 1200;
const MAP: usize = 600;
const PART: usize = 300;
const JPEG_QUALITY: u8 = 88;

#[derive(Serialize)]
struct PartOnPage {
    number: usize,
    place: &'static str,
    name: Option<String>,
    side: Option<String>,
    share: String,
    /// Of the bar: percent of half its width, and whether it goes to the left.
    length: f32,
    against: bool,
    matters: bool,
    map: String,
    contribution: String,
    predicted: String,
    weight: String,
    variance: String,
}

impl Answer<'_> {
    /// `report.html`.
    ///
    /// # Errors
    /// A map whose values are not finite.
    pub fn page(&self) -> Result<String> {
        let e = self.explanation;
        let mut environment = Environment::new();
        let template = |environment: &mut Environment<'static>| -> Result<(), minijinja::Error> {
            environment.add_template("page.css", include_str!("page.css"))?;
            environment.add_template("page.js", include_str!("page.js"))?;
            // Its name says that what goes into it is escaped for HTML.
            environment.add_template("page.html", include_str!("page.html"))
        };
        template(&mut environment).map_err(Into::into).kind(Error::Output)?;
        let style = self.style();
        let photo = draw::copy(&self.picture(), PHOTO);
        let seen = self.explanation.placement(self.photo).seen();
        let size = self.photo.size();
        let per_cent = |part: usize, whole: usize| format!("{:.2}%", 100.0 * part as f64 / whole.max(1) as f64);
        let check = e.check.as_ref().map(|check| {
            context! {
                line => check_line(check).trim_start_matches("Check: "),
                passed => check.passed(),
                bars => [("the brightest places hidden", check.lost()), ("as much hidden elsewhere", check.lost_elsewhere())]
                    .map(|(what, lost)| context! { what, lost => lost.map(percent), length => lost.map(|lost| 100.0 * lost.clamp(0.0, 1.0)) }),
            }
        });
        let page = environment.get_template("page.html").and_then(|template| {
            template.render(context! {
                title => self.prompt.headline(),
                photo_name => self.photo.name,
                sentence => self.sentence(),
                text => self.prompt.text(),
                versus => self.prompt.versus(),
                photo => jpeg(&photo)?,
                width => size_of(&photo).width,
                height => size_of(&photo).height,
                unseen => self.unseen(),
                frame => context! {
                    top => per_cent(seen.top, size.height), left => per_cent(seen.left, size.width),
                    height => per_cent(seen.size.height, size.height), width => per_cent(seen.size.width, size.width),
                },
                map => self.grey_map().map_err(of_template)?,
                colours => colours(style.colours),
                signed => self.is_signed(),
                opacity => (100.0 * style.alpha).round() as u8,
                parts => self.parts_on_page().map_err(of_template)?,
                named => e.parts.as_ref().is_some_and(|parts| parts.named),
                classes => e.standing.as_ref().map(|standing| &standing.top),
                check => check,
                warnings => e.warnings,
                scores => e.scores,
                score_line => self.score_line(),
                method_line => self.method_line(),
                command => self.outputs.command,
                model => self.model.manifest.name,
                photo_size => size.to_string(),
                photo_sha256 => self.photo.sha256,
                input_size => e.input_size.to_string(),
                program => PROGRAM,
            })
        });
        page.map_err(Into::into).kind(Error::Output)
    }

    fn grey_map(&self) -> Result<String> {
        let size = draw::copy_size(self.photo.size(), MAP);
        let mut map = self.saliency(size)?;
        if self.is_signed() {
            map.iter_mut().for_each(|value| *value = 0.5 * (*value + 1.0));
        }
        grey(&map, size)
    }

    fn parts_on_page(&self) -> Result<Vec<PartOnPage>> {
        let Some(parts) = &self.explanation.parts else { return Ok(Vec::new()) };
        let told = told(parts, self.is_signed());
        let strongest = told.iter().filter_map(|told| told.share).map(f32::abs).fold(0.0, f32::max);
        told.iter().map(|told| self.part_on_page(told, strongest)).collect()
    }

    fn part_on_page(&self, told: &Told<'_>, strongest: f32) -> Result<PartOnPage> {
        let size = draw::copy_size(self.photo.size(), PART);
        let mut map = self.part(told.part, size)?;
        let largest = map.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
        let unit = if largest > 0.0 { largest } else { 1.0 };
        let signed = self.is_signed();
        map.iter_mut().for_each(|value| *value = if signed { 0.5 * (*value / unit + 1.0) } else { *value / unit });
        let component = &told.part.component;
        Ok(PartOnPage {
            number: told.number,
            place: told.place,
            name: told.part.name.as_ref().map(|name| name.text.clone()),
            side: told.side(self.prompt).filter(|_| told.matters()),
            share: told.share.map_or_else(|| "none".into(), percent),
            length: if strongest > 0.0 { 50.0 * told.share.unwrap_or_default().abs() / strongest } else { 0.0 },
            against: told.share.is_some_and(|share| share < 0.0),
            matters: told.matters(),
            map: grey(&map, size)?,
            contribution: format!("{:+.3}", told.part.contribution),
            predicted: format!("{:+.2}", component.predicted),
            weight: format!("{:.2}", told.part.weight),
            variance: format!("{:.1}%", 100.0 * component.explained_variance),
        })
    }
}

fn of_template(error: Error) -> minijinja::Error {
    minijinja::Error::new(minijinja::ErrorKind::InvalidOperation, error.to_string())
}

fn data(kind: &str, bytes: &[u8]) -> String {
    format!("data:image/{kind};base64,{}", base64::engine::general_purpose::STANDARD.encode(bytes))
}

fn jpeg(picture: &image::RgbImage) -> Result<String, minijinja::Error> {
    let mut bytes = Vec::new();
    let written = JpegEncoder::new_with_quality(&mut bytes, JPEG_QUALITY).encode_image(picture);
    written.map_err(|error| minijinja::Error::new(minijinja::ErrorKind::InvalidOperation, error.to_string()))?;
    Ok(data("jpeg", &bytes))
}

fn grey(map: &[f32], size: Size) -> Result<String> {
    let mut bytes = Vec::new();
    files::write_grey_png(&mut bytes, &draw::heatmap(map, size)?)?;
    Ok(data("png", &bytes))
}

/// The colour of each of 256 levels, from -1 or 0 to 1, as six hexadecimal digits.
fn colours(map: ColourMap) -> String {
    let colour = |level: u32| {
        let share = level as f32 / 255.0;
        let [red, green, blue] = map.colour(if map.is_signed() { 2.0 * share - 1.0 } else { share });
        format!("{red:02x}{green:02x}{blue:02x}")
    };
    (0..256).map(colour).collect()
}
