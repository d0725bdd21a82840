//! An explanation as the terminal shows it: what was found first, then the parts that matter, then the check. The numbers behind them are [`Answer::details`].

use super::Answer;
use super::json::StageReport;
use super::matter::{LEAST, Told, capitalised, percent, sentence, told};
use crate::explain::{Check, Parts};
use crate::methods::sign_name;
use crate::score::{Class, Ranked, Scores, Side, Spot, Standing, Support, Verdict, Words};
use crate::timings::Timings;
use std::fmt::Write as _;

impl Answer<'_> {
    /// What was found: a sentence, the likeliest classes of a classifier, the parts that matter, and the check.
    pub fn summary(&self) -> String {
        let mut text = self.sentence() + "\n";
        if let Some(standing) = &self.explanation.standing {
            text += "\n";
            text += &classes(&standing.top);
        }
        if let Some(parts) = &self.explanation.parts {
            text += &self.short_table(parts);
        }
        if let Some(check) = &self.explanation.check {
            let _ = writeln!(text, "\n{}", check_line(check));
        }
        text
    }

    /// What the model says of the photo, and which parts that comes from.
    pub fn sentence(&self) -> String {
        let e = self.explanation;
        if self.is_unsupported() {
            return format!("{} The map below is not about it.", self.found());
        }
        let parts = match &e.parts {
            Some(parts) if parts.relative && !self.is_signed() => {
                "No place speaks for it; the map shows where the photo speaks least against it.".into()
            }
            Some(parts) => sentence(&told(parts, self.is_signed()), self.prompt),
            None => format!("The map of {} shows where that comes from.", e.request.method.name()),
        };
        format!("{} {parts}", self.found())
    }

    /// Whether the model does not see the thing, so that no part of the map speaks for it.
    pub(super) fn is_unsupported(&self) -> bool {
        let support = self.explanation.support.as_ref();
        self.prompt.versus().is_none() && support.is_some_and(|support| support.supported == Some(false))
    }

    /// What the model says of the photo.
    pub(crate) fn found(&self) -> String {
        match &self.explanation.meaningless {
            Some(why) => format!("{}. {}", capitalised(why), self.answered()),
            None => self.answered(),
        }
    }

    fn answered(&self) -> String {
        let support = self.explanation.support.as_ref();
        match (self.prompt.versus(), &self.explanation.standing, support) {
            _ if self.is_special() => self.special(),
            (Some(versus), ..) => self.difference(versus),
            (None, Some(standing), _) => classified(standing),
            (None, None, Some(support)) => self.supported(support),
            (None, None, None) => {
                format!("The model scores this photo for {}: {}.", self.prompt.headline(), self.score())
            }
        }
    }

    /// Whether the question is about a place, another photo, or what speaks against something.
    fn is_special(&self) -> bool {
        let prompt = self.prompt;
        prompt.spot().is_some() || prompt.likeness().is_some() || prompt.asked_side() == Side::Against
    }

    fn special(&self) -> String {
        let (reported, headline) = (&self.explanation.scores.reported, self.prompt.headline());
        let place = self.prompt.spot().and_then(Spot::facts).map_or_else(String::new, |facts| format!(" ({facts})"));
        let score = format!("{}, is {}", reported.name, digits(reported.value));
        match self.prompt.asked_side() {
            Side::Against => {
                format!("The score of this photo{place}, {score}. What is explained is the evidence {headline}.")
            }
            Side::For if self.prompt.likeness().is_some() => {
                format!("To the model this photo is like \"{}\" by {}.", self.prompt.text(), self.score())
            }
            Side::For => format!("The score of this photo for {headline}{place}, {score}."),
        }
    }

    /// What the model says of what was asked for, and what it sees instead if it does not see all of that.
    fn supported(&self, support: &Support) -> String {
        let (found, score) = (support.found(&self.prompt.headline()), self.score());
        match (support.verdict, support.words) {
            (Verdict::Seen, Words::NoClass) => {
                format!(
                    "The model {found} ({score}): it reads it as {}, and sees that in this photo.",
                    support.reads_as()
                )
            }
            (Verdict::Seen | Verdict::Mixed, _) => format!("The model {found} in this photo ({score})."),
            (Verdict::NotSeen, Words::NoClass) | (Verdict::UnknownWords, _) => {
                format!("The model {found} ({score}): here it sees {}.", support.instead())
            }
            _ => format!("The model {found} here ({score}): it sees {}.", support.instead()),
        }
    }

    fn difference(&self, versus: &str) -> String {
        let value = &self.explanation.scores.explained;
        let (text, other) = (self.prompt.text(), versus);
        match value.value {
            difference if difference > 0.0 => {
                format!(
                    "The model finds more of \"{text}\" than of \"{other}\" in this photo (by {}).",
                    digits(difference)
                )
            }
            difference if difference < 0.0 => {
                format!(
                    "The model finds more of \"{other}\" than of \"{text}\" in this photo (by {}).",
                    digits(-difference)
                )
            }
            _ => format!("The model finds as much of \"{text}\" as of \"{other}\" in this photo."),
        }
    }

    /// The reported score with its name.
    fn score(&self) -> String {
        let reported = &self.explanation.scores.reported;
        format!("{} {}", reported.name, digits(reported.value))
    }

    /// Every number of the explanation, for readers who know the method: the scores, the recipe, and a table of all parts.
    pub fn details(&self) -> String {
        let mut text = format!("{}: {}\n{}\n", self.photo.name, self.prompt.headline(), self.head_lines().join("\n"));
        if let Some(parts) = &self.explanation.parts {
            text += &long_table(parts);
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
            Some(parts) => line + &format!(", with no part kept {:.3}", parts.baseline),
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
                let sides = if parts.one_sided {
                    "one-sided parts".into()
                } else {
                    format!("sign by {}", sign_name(parts.sign))
                };
                format!("{model}, recipe {method}, {} of {} channels, {sides}", parts.selected, layer.channels)
            }
            None => format!("{model}, method {method}: one map, without parts"),
        }
    }

    /// The parts that matter, by falling share.
    fn short_table(&self, parts: &Parts) -> String {
        let told = told(parts, self.is_signed());
        let listed: Vec<&Told<'_>> = told.iter().filter(|told| told.matters()).collect();
        if listed.is_empty() {
            return String::new();
        }
        let mut text = String::from("\n  part   share of the score   where\n");
        for told in &listed {
            let share = told.share.unwrap_or_default();
            let name = match (&told.part.name, parts.named) {
                (Some(name), _) => format!(", \"{}\"", name.text),
                (None, true) => ", no clear name".into(),
                (None, false) => String::new(),
            };
            let side = told.side(self.prompt).map_or_else(String::new, |side| format!(", {side}"));
            let number = format!("#{}", told.number);
            let _ =
                writeln!(text, "  {number:>4}   {:>5} {:<12}   {}{name}{side}", percent(share), bar(share), told.place);
        }
        let rest = told.len() - listed.len();
        if rest > 0 {
            let (parts, are) = if rest == 1 { ("part", "is") } else { ("parts", "are each") };
            let _ = writeln!(text, "  {rest} more {parts} {are} below {}", percent(LEAST));
        }
        text
    }
}

/// A number with three digits that count.
pub(crate) fn digits(value: f32) -> String {
    let decimals = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        _ => 3,
    };
    let text = format!("{value:.decimals$}");
    // What rounds to zero has no sign.
    match text.strip_prefix('-') {
        Some(size) if size.bytes().all(|byte| matches!(byte, b'0' | b'.')) => size.to_owned(),
        _ => text,
    }
}

/// What a classifier says of the class that is explained.
fn classified(standing: &Standing) -> String {
    let Standing { rank, of, explained, top } = standing;
    let likely = |class: &Class| class.probability.map_or_else(String::new, |p| format!(", {}", percent(p as f32)));
    match top.first() {
        Some(first) if *rank > 1 => format!(
            "The model sees {} (first of {of} classes{}). What is explained is {}, {} of them{}.",
            first.name,
            likely(first),
            explained.name,
            ordinal(*rank),
            likely(explained)
        ),
        _ => format!("The model sees {} (first of {of} classes{}).", explained.name, likely(explained)),
    }
}

fn ordinal(rank: usize) -> String {
    match rank {
        1 => "first".into(),
        2 => "second".into(),
        3 => "third".into(),
        4 => "fourth".into(),
        5 => "fifth".into(),
        _ => format!("number {rank}"),
    }
}

/// The likeliest classes, a line each.
pub fn classes(top: &[Class]) -> String {
    let mut text = String::new();
    for class in top {
        let likely = match class.probability {
            Some(probability) => format!("{:>5.1}%", 100.0 * probability),
            None => format!("logit {:>7.2}", class.logit),
        };
        let _ = writeln!(text, "  {likely}  {}", class.name);
    }
    text
}

/// A share as a bar of twelve places.
fn bar(share: f32) -> String {
    let length = (12.0 * share.abs().min(1.0)).round() as usize;
    (if share < 0.0 { "-" } else { "#" }).repeat(length.max(1))
}

/// Every part with every number, by falling variance.
fn long_table(parts: &Parts) -> String {
    let mut text = String::from("\npart  contribution  predicted  weight  variance  where\n");
    let mut told = told(parts, false);
    told.sort_by_key(|told| told.number);
    for Told { number, part, place, .. } in told {
        let component = &part.component;
        let _ = writeln!(
            text,
            "{:>4}  {:>+12.3}  {:>+9.2}  {:>6.2}  {:>7.1}%  {place}{}",
            format!("#{number}"),
            part.contribution,
            component.predicted,
            part.weight,
            100.0 * component.explained_variance,
            part.name.as_ref().map_or_else(String::new, |name| format!("  {name}")),
        );
    }
    text
}

/// The check in a sentence.
pub(super) fn check_line(check: &Check) -> String {
    let hidden = percent(check.hidden);
    let (Some(lost), Some(elsewhere)) = (check.lost(), check.lost_elsewhere()) else {
        let more = if check.passed() { "more than" } else { "no more than" };
        return format!(
            "Check: the photo scores no higher than its blurred copy. Hiding its brightest {hidden} lowers the score {more} hiding as much elsewhere."
        );
    };
    format!(
        "Check: hiding the brightest {hidden} {}; hiding as much elsewhere {}.",
        loses(lost, "the score"),
        loses(elsewhere, "it")
    )
}

/// What hiding does to the score, in words.
fn loses(share: f32, score: &str) -> String {
    match share {
        share if share > 1.0 => format!("takes away all of {score}"),
        share if share >= 0.005 => format!("takes away {} of {score}", percent(share)),
        share if share <= -0.005 => format!("raises {score} by {}", percent(-share)),
        _ => format!("leaves {score} as it is"),
    }
}

/// Ranked texts as a table.
pub fn ranking(ranked: &[Ranked]) -> String {
    let Some(first) = ranked.first() else {
        return String::new();
    };
    let Scores { reported, explained } = &first.scores;
    let last = if first.support.is_some() { " share  the model" } else { "text" };
    let mut text = format!("probability  {:>9}  {:>9}  {last}\n", reported.name, explained.name);
    for entry in ranked {
        let probability = entry.probability.map_or_else(|| "-".into(), |p| format!("{:.1}%", 100.0 * p));
        let found = entry.support.as_ref().map(|support| {
            let share = format!("{:.1}%", 100.0 * support.share);
            let asked = if support.composed { format!(" ({})", entry.text) } else { String::new() };
            format!("{share:>6}  {}{asked}", support.found(&entry.text))
        });
        let _ = writeln!(
            text,
            "{probability:>11}  {:>9.3}  {:>9.3}  {}",
            entry.scores.reported.value,
            entry.scores.explained.value,
            found.unwrap_or_else(|| entry.text.clone())
        );
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
