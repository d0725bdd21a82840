//! An explanation as the terminal shows it.

use super::Answer;
use super::json::{StageReport, baseline_of};
use crate::Size;
use crate::explain::Parts;
use crate::methods::sign_name;
use crate::score::{Ranked, Scores, Spot};
use crate::timings::Timings;
use std::fmt::Write as _;

impl Answer<'_> {
    /// The scores, the parts and the warnings.
    pub fn summary(&self) -> String {
        let mut text = format!("{}: {}\n{}\n", self.photo.name, self.prompt.headline(), self.head_lines().join("\n"));
        if let Some(parts) = &self.explanation.parts {
            text += &self.part_table(parts);
        }
        for warning in &self.explanation.warnings {
            let _ = write!(text, "\nwarning: {warning}");
        }
        if !self.explanation.warnings.is_empty() {
            text.push('\n');
        }
        text
    }

    fn part_table(&self, parts: &Parts) -> String {
        let mut text = String::from("\npart  contribution  predicted  weight  variance  where\n");
        for (q, part) in parts.list.iter().enumerate() {
            let component = &part.component;
            let _ = writeln!(
                text,
                "{:>4}  {:>+12.3}  {:>+9.2}  {:>6.2}  {:>7.1}%  {}{}",
                format!("#{}", q + 1),
                part.contribution,
                component.predicted,
                part.weight,
                100.0 * component.explained_variance,
                place(&component.ossm, parts.size),
                part.name.as_ref().map_or_else(String::new, |name| format!("  {name}")),
            );
        }
        text
    }

    /// The scores, the place that was asked about, the method.
    pub(super) fn head_lines(&self) -> Vec<String> {
        let place = self.prompt.spot().and_then(Spot::line);
        [Some(self.score_line()), place, Some(self.method_line())].into_iter().flatten().collect()
    }

    /// Both scores in one line.
    pub(super) fn score_line(&self) -> String {
        let line = self.explanation.scores.line();
        match &self.explanation.parts {
            Some(parts) => line + &format!(", of {} {:.3}", baseline_of(parts.integrate), parts.baseline),
            None => line,
        }
    }

    pub(super) fn method_line(&self) -> String {
        let e = self.explanation;
        let model = &self.model.manifest.name;
        let method = e.request.method.name();
        let Some(layer) = &e.layer else {
            return format!("model {model}, method {method}: one map, without parts");
        };
        let grid = e.parts.as_ref().map_or(layer.size, |parts| parts.size);
        let model = format!("model {model}, layer {} ({grid})", layer.name);
        match &e.parts {
            Some(parts) => {
                let (sign, selected) = (sign_name(parts.sign), parts.selected);
                format!("{model}, recipe {method}, {selected} of {} channels, sign by {sign}", layer.channels)
            }
            None => format!("{model}, method {method}: one map, without parts"),
        }
    }
}

/// Where a map has its largest value, in words.
fn place(map: &[f32], Size { height, width }: Size) -> String {
    let Some((at, _)) = map.iter().enumerate().filter(|(_, value)| **value > 0.0).max_by(|a, b| a.1.total_cmp(b.1))
    else {
        return "nowhere".into();
    };
    let third = |position: usize, size: usize| (3 * position + 1) / size.max(1);
    let row = ["top", "middle", "bottom"][third(at / width, height).min(2)];
    let column = ["left", "centre", "right"][third(at % width, width).min(2)];
    match (row, column) {
        ("middle", "centre") => "centre".into(),
        ("middle", side) => side.into(),
        (row, "centre") => row.into(),
        (row, side) => format!("{row} {side}"),
    }
}

/// Ranked texts as a table.
pub fn ranking(ranked: &[Ranked]) -> String {
    let Some(first) = ranked.first() else {
        return String::new();
    };
    let Scores { reported, explained } = &first.scores;
    let mut text = format!("probability  {:>9}  {:>9}  text\n", reported.name, explained.name);
    for entry in ranked {
        let probability = entry.probability.map_or_else(|| "-".into(), |p| format!("{:.1}%", 100.0 * p));
        let _ = writeln!(
            text,
            "{probability:>11}  {:>9.3}  {:>9.3}  {}",
            entry.scores.reported.value, entry.scores.explained.value, entry.text
        );
    }
    for warning in ranked.iter().flat_map(|entry| &entry.warnings) {
        let _ = writeln!(text, "warning: {warning}");
    }
    text
}

/// The stages as a table.
pub fn timing_table(timings: &Timings) -> String {
    let stages: Vec<StageReport> = timings.stages().iter().map(Into::into).collect();
    stage_lines(&stages)
}

pub(super) fn stage_lines(stages: &[StageReport]) -> String {
    let mut text = String::new();
    for stage in stages {
        let network = if stage.network { "  network" } else { "" };
        let _ = writeln!(text, "  {:<36} {:>9.1} ms{network}", stage.stage, stage.ms);
    }
    text
}
