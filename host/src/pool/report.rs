//! What the photos of a category share, as JSON, words and pictures.

use super::{Gains, Member, Pool, Shared, SharedComponent};
use crate::dataset::plan::{LeftOut, Skipped, Tally};
use crate::draw::{self, Row, Rows, Style, Tile};
use crate::explain::{Name, warnings};
use crate::photo::{Photo, Placement};
use crate::program::{PROGRAM, SCHEMA_VERSION};
use crate::score::Prompt;
use crate::{Result, Size};
use decomcam_core::sums;
use image::RgbImage;
use serde::Serialize;
use std::fmt::Write as _;
use std::path::Path;

impl Pool<'_> {
    pub(super) fn report(
        &self,
        category: &str,
        prompt: &Prompt,
        members: &[Member],
        shared: &Shared,
        tally: &Tally,
    ) -> Result<PoolReport> {
        let gains = self.gains(members, shared, prompt)?;
        let (model, view) = (self.session.model(), self.session.view());
        let components = shared.components.iter().enumerate();
        let components = components.map(|(q, component)| self.component(q, component, members, gains.as_ref()));
        Ok(PoolReport {
            schema_version: SCHEMA_VERSION,
            program: PROGRAM,
            category: category.into(),
            text: prompt.text().into(),
            model: model.manifest.name.clone(),
            model_sha256: model.sha256(),
            layer: self.request.layer.clone(),
            explained: self.score.clone(),
            size: view.size(),
            fit: view.fit().name(),
            margin: view.margin(),
            grid: members.first().map_or(Size::default(), |member| member.grid),
            photos: members.len(),
            components: components.collect(),
            singular_values: shared.singular_values.clone(),
            warnings: warnings::spectrum(&shared.singular_values, shared.components.len()),
            left_out: tally.left_out,
            skipped_count: tally.skipped.len(),
            skipped: tally.skipped.clone(),
        })
    }

    fn component(
        &self,
        q: usize,
        component: &SharedComponent,
        members: &[Member],
        gains: Option<&Gains>,
    ) -> ComponentReport {
        let means = gains.map(|gains| gains.means(q));
        let photos = members.iter().enumerate().map(|(index, member)| PhotoReport {
            photo: member.photo.clone(),
            typicality: component.typicality[index],
            explained_variance: sums::dot(&component.maps[index], &component.maps[index]),
            contribution: gains.map(|gains| gains.contribution(index, q)),
            index,
        });
        let mut photos: Vec<PhotoReport> = photos.collect();
        photos.sort_by(|a, b| b.typicality.total_cmp(&a.typicality));
        ComponentReport {
            number: q + 1,
            explained_variance: component.explained_variance,
            singular_value: component.singular_value,
            weight: component.weight,
            contribution: means.as_ref().map(|means| means[0]),
            name: means.and_then(|means| Name::best(&self.names, &means[1..])),
            photos,
        }
    }

    /// The part of a photo that the network saw, scaled to a tile, and the OSSM of a component on it.
    fn tile(&self, member: &Member, ossm: &[f32]) -> Result<(RgbImage, Vec<f32>)> {
        let photo = Photo::open(&member.path)?;
        let seen = member.framing.seen(photo.size());
        let picture = draw::row_tile(&photo.pixels, seen);
        let copy = Size::new(picture.height() as usize, picture.width() as usize);
        let placement = Placement::new(member.grid, member.framing, photo.size()).on_seen().on_copy(copy);
        let mut map = placement.upsampled(ossm)?;
        map.iter_mut().for_each(|value| *value = value.max(0.0));
        Ok((picture, map))
    }

    pub(super) fn picture(&self, report: &PoolReport, members: &[Member], shared: &Shared) -> Result<RgbImage> {
        let most_typical = |(component, maps): (&ComponentReport, &SharedComponent)| {
            let shown = component.photos.iter().take(self.asked.typical);
            shown.map(|photo| self.tile(&members[photo.index], &maps.ossm(photo.index))).collect()
        };
        let tiles: Vec<Vec<(RgbImage, Vec<f32>)>> =
            report.components.iter().zip(&shared.components).map(most_typical).collect::<Result<_>>()?;
        let contributions = report.components.iter().filter_map(|component| component.contribution);
        let strongest = contributions.map(f32::abs).fold(0.0, f32::max);
        draw::rows(&Rows {
            style: &Style::default(),
            title: &report.title(),
            subtitle: vec![report.subtitle()],
            rows: report
                .components
                .iter()
                .zip(&tiles)
                .map(|(component, tiles)| component.row(tiles, strongest))
                .collect(),
            notes: vec![
                format!(
                    "Each row is one shared part, the photos most typical of it first. The bold number is its contribution, at the left the mean over all photos: \
                     the score ({}) of the layer kept where the part is high and replaced by each channel's mean elsewhere, less that of the means alone. \
                     Typical is the share of the photo's first-order map that the part makes; 1 is all of it in a mean photo. Dim: the part speaks \
                     against the score.",
                    report.explained
                ),
                "Each photo is cut to what the model saw.".into(),
            ],
        })
    }
}

/// What `CATEGORY.json` holds.
#[derive(Debug, Serialize)]
pub(super) struct PoolReport {
    schema_version: u32,
    program: &'static str,
    category: String,
    /// The prompt.
    text: String,
    model: String,
    model_sha256: String,
    layer: String,
    explained: String,
    size: Size,
    fit: &'static str,
    margin: usize,
    /// Height and width of a photo's maps.
    grid: Size,
    /// Photos decomposed together.
    photos: usize,
    components: Vec<ComponentReport>,
    /// Of the components, and the next one if it exists.
    singular_values: Vec<f32>,
    warnings: Vec<String>,
    left_out: LeftOut,
    skipped_count: usize,
    skipped: Vec<Skipped>,
}

#[derive(Debug, Serialize)]
pub(super) struct ComponentReport {
    number: usize,
    /// s_q^2 over the sum of all squares: the mean over photos of theirs.
    explained_variance: f32,
    singular_value: f32,
    weight: f32,
    /// The mean over photos; none if something bypasses the layer.
    contribution: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<Name>,
    /// All of them, the most typical first.
    photos: Vec<PhotoReport>,
}

#[derive(Debug, Serialize)]
pub(super) struct PhotoReport {
    photo: String,
    /// Of [`SharedComponent::typicality`].
    typicality: f32,
    /// |c_qk|^2, a share of the photo's.
    explained_variance: f32,
    /// The score of the photo's layer kept where the OSSM is high and replaced by the channels' means elsewhere, less that of the means; none if something bypasses the layer.
    contribution: Option<f32>,
    #[serde(skip)]
    index: usize,
}

impl ComponentReport {
    /// The component as a row of the picture, `tiles` being its first photos and their maps.
    fn row<'a>(&self, tiles: &'a [(RgbImage, Vec<f32>)], strongest: f32) -> Row<'a> {
        let number = format!("#{}", self.number);
        let label = [self.contribution.map_or_else(|| number.clone(), |mean| format!("{number}  {mean:+.3}"))];
        let variance = format!("variance {:.1}%", 100.0 * self.explained_variance);
        let tile = |((picture, map), photo): (&'a (RgbImage, Vec<f32>), &PhotoReport)| {
            (picture, Tile { map, lines: photo.lines(), bar: None, dimmed: photo.typicality <= 0.0 })
        };
        Row {
            label: Tile {
                lines: label.into_iter().chain([variance]).chain(self.name.as_ref().map(Name::to_string)).collect(),
                bar: self.contribution.filter(|_| strongest > 0.0).map(|mean| mean / strongest),
                ..Tile::default()
            },
            tiles: tiles.iter().zip(&self.photos).map(tile).collect(),
        }
    }
}

impl PhotoReport {
    fn lines(&self) -> Vec<String> {
        let name =
            Path::new(&self.photo).file_name().map_or_else(|| self.photo.clone(), |name| name.to_string_lossy().into());
        let typical = format!("typical {:+.3}", self.typicality);
        self.contribution.map(|value| format!("{value:+.3}")).into_iter().chain([typical, name]).collect()
    }
}

impl PoolReport {
    fn title(&self) -> String {
        match self.photos {
            1 => format!("\"{}\": 1 photo", self.text),
            photos => format!("\"{}\": what {photos} photos share", self.text),
        }
    }

    fn subtitle(&self) -> String {
        let variance = self.components.iter().map(|component| component.explained_variance).sum::<f32>();
        format!(
            "model {}, layer {} ({}), score {}, {:.1}% of the variance in {} parts",
            self.model,
            self.layer,
            self.grid,
            self.explained,
            100.0 * variance,
            self.components.len()
        )
    }

    /// What the terminal shows.
    pub(super) fn table(&self) -> String {
        let mut text = format!("{}\n{}\n", self.title(), self.subtitle());
        text += &format!("left out: {}\n\n", self.left_out.words());
        text += "part  contribution  variance  most typical photos\n";
        for component in &self.components {
            let photos: Vec<&str> = component.photos.iter().take(3).map(|photo| photo.photo.as_str()).collect();
            let _ = writeln!(
                text,
                "{:>4}  {:>12}  {:>7.1}%  {}{}",
                format!("#{}", component.number),
                component.contribution.map_or_else(|| "-".into(), |mean| format!("{mean:+.3}")),
                100.0 * component.explained_variance,
                photos.join(", "),
                component.name.as_ref().map_or_else(String::new, |name| format!("  {name}")),
            );
        }
        self.warnings.iter().for_each(|warning| text += &format!("warning: {warning}\n"));
        text
    }
}
