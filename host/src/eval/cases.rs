//! `report.html` of an evaluation: the tables, and the maps of the first method that did best and worst.

use super::records::MetricValue;
use super::run::Run;
use crate::dataset::Truth;
use crate::dataset::plan::Work;
use crate::draw::{self, Row, Rows, Style, Tile};
use crate::error::Sorted as _;
use crate::explain;
use crate::files;
use crate::metrics::Metric;
use crate::photo::{Framing, Photo, Placement, size_of};
use crate::program::PROGRAM;
use crate::{Error, Result, workers};
use base64::Engine as _;
use image::RgbImage;
use minijinja::{Environment, context};
use serde::Serialize;

/// So many of the best and of the worst are shown.
const SHOWN: usize = 6;

/// What best and worst go by, the first of these that was measured: those that say most of a single map come first.
const BY: [Metric; 9] = [
    Metric::Pxap,
    Metric::BestIou,
    Metric::Energy,
    Metric::Insertion,
    Metric::Deletion,
    Metric::AverageDrop,
    Metric::Road,
    Metric::Pointing,
    Metric::AverageIncrease,
];

/// The best and the worst cases, drawn.
pub(super) struct Cases {
    pub(super) metric: Metric,
    pub(super) method: &'static str,
    picture: RgbImage,
}

/// A pair with its number.
struct Case<'a> {
    work: &'a Work,
    category: &'a str,
    value: f64,
}

impl Run<'_> {
    /// The cases, if a number of single maps was measured.
    pub(super) fn cases(&self) -> Result<Option<Cases>> {
        let Some(metric) = BY.into_iter().find(|metric| self.metrics.contains(metric)) else { return Ok(None) };
        let Some(request) = self.requests.first() else { return Ok(None) };
        let pairs =
            self.work.iter().flat_map(|work| work.pairs.iter().map(move |(category, _)| (work, category.as_str())));
        let counted = pairs.filter(|(work, category)| self.counted(&work.photo, category));
        let mut cases: Vec<Case<'_>> = counted
            .filter_map(|(work, category)| {
                match self.records.value(&work.photo, category, request.method, metric.name())? {
                    MetricValue::Number(value) => Some(Case { work, category, value }),
                    MetricValue::Hits(_) | MetricValue::Undefined(()) => None,
                }
            })
            .collect();
        let side = if metric.higher_is_better() { 1.0 } else { -1.0 };
        cases.sort_by(|a, b| (side * b.value).total_cmp(&(side * a.value)));
        let best = SHOWN.min(cases.len().div_ceil(2));
        let worst = cases.len().saturating_sub(SHOWN).max(best);
        let shown: Vec<&Case<'_>> = cases[..best].iter().chain(cases[worst..].iter().rev()).collect();
        if shown.is_empty() {
            return Ok(None);
        }
        // Of a photo that has gone since it was measured the caption alone is drawn.
        let drawn = workers::each(shown.len(), self.workers, |at| Ok(self.drawn(shown[at]).unwrap_or_default()))?;
        let tiles: Vec<(&RgbImage, Tile<'_>)> = drawn
            .iter()
            .zip(&shown)
            .map(|((picture, map), case)| {
                let lines = vec![
                    format!("{} {:.3}", metric.name(), case.value),
                    case.category.to_owned(),
                    case.work.photo.clone(),
                ];
                (picture, Tile { map, lines, ..Tile::default() })
            })
            .collect();
        let (best, worst) = tiles.split_at(best);
        let rows = [("Best", best), ("Worst", worst)].into_iter().filter(|(_, tiles)| !tiles.is_empty());
        let label = |words: &str| vec![words.to_owned(), format!("by {}", metric.name())];
        let row = |(words, tiles): (&str, &[_])| Row {
            label: Tile { lines: label(words), ..Tile::default() },
            tiles: tiles.to_vec(),
        };
        let rows = rows.map(row).collect();
        let method = request.method.name();
        let picture = draw::rows(&Rows {
            title: &format!("Best and worst maps of {method}"),
            subtitle: vec![metric.help().to_owned()],
            rows,
            notes: vec!["Yellow: a box around what is seen of each object.".to_owned()],
            style: &Style::default(),
        })?;
        Ok(Some(Cases { metric, method, picture }))
    }

    /// What the model saw of the photo, with the objects' boxes, and the map.
    fn drawn(&self, case: &Case<'_>) -> Result<(RgbImage, Vec<f32>)> {
        let Some(request) = self.requests.first() else { return Ok(Default::default()) };
        let photo = Photo::open(&case.work.path)?;
        let map = explain::map(&self.look(self.session, &self.towers, &photo, case.category)?, request)?;
        let framing = self.session.view().framing(photo.size());
        let seen = framing.seen(photo.size());
        let mut picture = draw::row_tile(&photo.pixels, seen);
        let tile = size_of(&picture);
        let map = Placement::new(map.size, framing, photo.size()).on_seen().on_copy(tile).saliency(&map.values)?;
        let objects =
            case.work.pairs.iter().filter(|(category, _)| category == case.category).flat_map(|(_, objects)| objects);
        let on_tile = Framing { top: seen.top as i64, left: seen.left as i64, size: seen.size };
        for bounds in Truth::new(objects, on_tile, photo.size(), tile).boxes {
            picture = draw::marked(&picture, bounds);
        }
        Ok((picture, map))
    }
}

/// A paragraph, or a table, of the results' Markdown.
#[derive(Debug, PartialEq, Serialize)]
struct Block<'t> {
    text: &'t str,
    /// Cells, row by row, headings first; none in a paragraph. Bold is left to the page.
    table: Vec<Vec<&'t str>>,
}

impl<'t> Block<'t> {
    fn new(text: &'t str) -> Self {
        let rows = text.lines().filter(|line| line.starts_with('|') && !line.starts_with("|---"));
        Self { text, table: rows.map(cells).collect() }
    }
}

fn cells(row: &str) -> Vec<&str> {
    row.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('*')).collect()
}

/// Paragraphs and tables, in order.
fn blocks(markdown: &str) -> Vec<Block<'_>> {
    markdown.split("\n\n").map(str::trim).filter(|text| !text.is_empty()).map(Block::new).collect()
}

/// The page.
pub(super) fn page(tables: &str, cases: Option<&Cases>, skipped: &[String]) -> Result<String> {
    let picture = cases
        .map(|cases| -> Result<String> {
            let mut bytes = Vec::new();
            files::write_png(&mut bytes, &cases.picture)?;
            Ok(format!("data:image/png;base64,{}", base64::engine::general_purpose::STANDARD.encode(bytes)))
        })
        .transpose()?;
    let render = || {
        let mut environment = Environment::new();
        // Its name says that what goes into it is escaped for HTML.
        environment.add_template("report.html", include_str!("report.html"))?;
        let (method, metric) = (cases.map(|cases| cases.method), cases.map(|cases| cases.metric.name()));
        environment
            .get_template("report.html")?
            .render(context! { blocks => blocks(tables), picture, method, metric, skipped, program => PROGRAM })
    };
    render().map_err(|error: minijinja::Error| error.into()).kind(Error::Output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_told_from_paragraphs() {
        let found = blocks("two pairs\n\n| method | pxap |\n|---|---|\n| exact | **0.5** |\n\nnot counted: 1\n");
        let text: Vec<&str> = found.iter().filter(|block| block.table.is_empty()).map(|block| block.text).collect();
        assert_eq!(text, ["two pairs", "not counted: 1"]);
        assert_eq!(found[1].table, [["method", "pxap"], ["exact", "0.5"]]);
    }
}
