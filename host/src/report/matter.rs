//! Which parts matter, and where they lie: the parts in the order in which a reader meets them.

use crate::explain::{Part, Parts};
use crate::score::Prompt;

/// A part below this share of the evidence is not listed.
pub(super) const LEAST: f32 = 0.05;

/// Parts that a sentence names carry together at least this share of the evidence, if so few do.
const MOST: f32 = 0.6;

/// A sentence names at most so many parts.
const NAMED: usize = 3;

/// A part as it is told of.
pub(crate) struct Told<'a> {
    pub(crate) number: usize,
    pub(crate) part: &'a Part,
    /// Its share of the evidence: its contribution divided by the sum of those above zero, or of a difference by the sum of their sizes. Negative if it speaks against
    /// the score. None where there is no evidence.
    pub(crate) share: Option<f32>,
    pub(crate) place: &'static str,
}

/// All parts by falling contribution, equal ones in their order. Of a difference of two texts the evidence is what speaks for either.
pub(crate) fn told(parts: &Parts, signed: bool) -> Vec<Told<'_>> {
    let counted = |part: &Part| if signed { part.contribution.abs() } else { part.contribution.max(0.0) };
    let evidence: f32 = parts.list.iter().map(counted).sum();
    let share = |part: &Part| (evidence > 0.0).then(|| part.contribution / evidence);
    let numbered = parts.list.iter().enumerate();
    let mut told: Vec<Told<'_>> = numbered
        .map(|(q, part)| Told { number: q + 1, part, share: share(part), place: part.peak.map_or("nowhere", place) })
        .collect();
    told.sort_by(|a, b| b.part.contribution.total_cmp(&a.part.contribution));
    told
}

impl Told<'_> {
    /// The part's name if it has one, or its place.
    pub(super) fn called(&self) -> String {
        match &self.part.name {
            Some(name) => format!("the part \"{}\" at the {}", name.text, self.place),
            None => format!("the part at the {}", self.place),
        }
    }

    /// What a part speaks for, where that needs saying.
    pub(super) fn side(&self, prompt: &Prompt) -> Option<String> {
        let share = self.share?;
        match prompt.versus() {
            Some(_) if share > 0.0 => Some(format!("for \"{}\"", prompt.text())),
            Some(versus) if share < 0.0 => Some(format!("for \"{versus}\"")),
            None if share < 0.0 => Some("speaks against it".into()),
            _ => None,
        }
    }

    /// Whether it carries, or takes away, enough to be listed.
    pub(crate) fn matters(&self) -> bool {
        self.share.is_some_and(|share| share.abs() >= LEAST)
    }
}

/// Which parts carry most of the score, as a sentence. Of a difference: those of the text that more speaks for.
pub(super) fn sentence(told: &[Told<'_>], prompt: &Prompt) -> String {
    let speaks_for =
        |side: f32| told.iter().filter_map(|told| told.share).map(|share| (side * share).max(0.0)).sum::<f32>();
    let against = prompt.versus().filter(|_| speaks_for(-1.0) > speaks_for(1.0));
    let side = if against.is_some() { -1.0 } else { 1.0 };
    let what = match (prompt.versus(), against) {
        (_, Some(versus)) => format!("for \"{versus}\""),
        (Some(_), None) => format!("for \"{}\"", prompt.text()),
        (None, _) => "for it".into(),
    };
    let all = speaks_for(side);
    let mut falling: Vec<(&Told<'_>, f32)> = told
        .iter()
        .filter_map(|told| Some((told, side * told.share? / all)))
        .filter(|(_, share)| *share >= LEAST)
        .collect();
    falling.sort_by(|a, b| b.1.total_cmp(&a.1));
    let (mut named, mut sum) = (Vec::new(), 0.0);
    for (part, share) in falling.iter().take(NAMED) {
        if sum >= MOST {
            break;
        }
        sum += share;
        named.push(format!("{} (#{})", part.called(), part.number));
    }
    let (verb, list) = match &named[..] {
        [] => return "No part raises the score when it is kept alone.".into(),
        [one] => ("carries", one.clone()),
        [first @ .., last] => ("carry", format!("{} and {last}", first.join(", "))),
    };
    format!("{} {verb} {} of what speaks {what}.", capitalised(&list), percent(sum))
}

/// The same text, beginning with a capital letter.
pub(super) fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// A share in whole per cent, and in tenths below one.
pub(crate) fn percent(share: f32) -> String {
    let percent = 100.0 * f64::from(share);
    match percent.abs() {
        0.0 => "0%".into(),
        size if size < 0.1 => "less than 0.1%".into(),
        size if size < 0.95 => format!("{percent:.1}%"),
        _ => format!("{percent:.0}%"),
    }
}

/// Where a place of the photo lies, in words: which third of its height and which of its width.
fn place(at: [f64; 2]) -> &'static str {
    const PLACES: [[&str; 3]; 3] =
        [["top left", "top", "top right"], ["left", "centre", "right"], ["bottom left", "bottom", "bottom right"]];
    let [row, column] = at.map(|share| ((3.0 * share) as usize).min(2));
    PLACES[row][column]
}
