//! The results as tables: for the terminal, `results.md`, `results.csv`.

use super::records::Knows;
use super::results::Results;
use crate::metrics::Metric;
use crate::stats::Estimate;
use std::fmt::Write as _;

impl Results {
    /// A table, a row a method, of what `cell` finds.
    fn rows(&self, methods: &[&'static str], cell: impl Fn(&'static str, Metric) -> Option<String>) -> String {
        let mut text = String::from("| method |");
        self.metrics.iter().for_each(|metric| text += &format!(" {} |", heading(*metric)));
        text += "\n|---|";
        text += &"---|".repeat(self.metrics.len());
        text.push('\n');
        for method in methods {
            let _ = write!(text, "| {method} |");
            for metric in &self.metrics {
                let _ = write!(text, " {} |", cell(method, *metric).unwrap_or_else(|| "-".into()));
            }
            text.push('\n');
        }
        text
    }

    /// All pairs.
    pub(super) fn table(&self) -> String {
        let mut text =
            format!("{} of photo and category, {}\n\n", counted(self.pairs, "pair"), counted(self.photos, "photo"));
        text += &self.rows(&self.order, |method, metric| {
            let Estimate { mean, low, high } = self.methods.get(method)?.get(metric.name())?.estimate;
            Some(format!("{mean:.3} [{low:.3}, {high:.3}]"))
        });
        text
    }

    /// The same by what the model knows; nothing if it knows all pairs alike.
    fn by_knowledge(&self) -> String {
        let mut text = String::new();
        if self.knowledge.len() < 2 {
            return text;
        }
        for knows in Knows::ALL {
            let Some(results) = self.knowledge.get(knows.name()) else { continue };
            let _ = write!(text, "\n{}, where {}:\n\n", counted(results.pairs, "pair"), knows.words());
            text += &self.rows(&self.order, |method, metric| {
                Some(format!("{:.3}", results.methods.get(method)?.get(metric.name())?))
            });
        }
        text
    }

    /// What the terminal shows.
    pub(super) fn text(&self) -> String {
        let mut text = self.table() + &self.by_knowledge();
        let _ = writeln!(text, "\nnot counted: {}; {} skipped", self.left_out.words(), self.skipped_count);
        text
    }

    pub(super) fn markdown(&self) -> String {
        let s = &self.settings;
        let mut text = format!(
            "# Methods compared\n\nMade by `decomcam eval`: model {} ({}), layer {}, explained score {}, reported score {} (the one that deletion, \
             insertion, drop, increase and ROAD measure), input {} pixels, fit {}, margin {}, prompt \"{}\", {} pixels a step.\n\n\
             Brackets: 95% interval, bootstrap over photos. Lower is better where the heading says so. ",
            s.model,
            s.model_sha256.get(..12).unwrap_or(&s.model_sha256),
            s.layer,
            s.explained,
            s.reported,
            s.size,
            s.fit,
            s.margin,
            s.prompt,
            s.step
        );
        text += &self.table();
        if let Some((first, others)) = self.order.split_first()
            && !others.is_empty()
        {
            let _ = write!(
                text,
                "\n## Difference of each method to {first}, pair by pair\n\nBold: the interval excludes zero.\n\n"
            );
            text += &self.rows(others, |method, metric| {
                let Estimate { mean, low, high } = *self.differences.get(method)?.get(metric.name())?;
                let bold = if low > 0.0 || high < 0.0 { "**" } else { "" };
                Some(format!("{bold}{mean:+.3} [{low:+.3}, {high:+.3}]{bold}"))
            });
        }
        let by_knowledge = self.by_knowledge();
        if !by_knowledge.is_empty() {
            let _ = write!(text, "\n## What the model knows\n{by_knowledge}");
        }
        if let Some(stages) = self.randomisation.values().next() {
            text += "\n## Weights shuffled, from the score downwards\n\nSpearman's correlation with the map of the network as it is. Near 1 the map \
                     does not depend on the weights that were shuffled.\n\n| method |";
            stages.iter().for_each(|stage| text += &format!(" {} |", stage.tensors));
            text += "\n|---|";
            text += &"---|".repeat(stages.len());
            for method in &self.order {
                let _ = write!(text, "\n| {method} |");
                let stages = self.randomisation.get(method).into_iter().flatten();
                stages.for_each(|stage| text += &format!(" {:.3} |", stage.estimate.mean));
            }
            text.push('\n');
        }
        if !self.parts.is_empty() {
            text += "\n## Parts\n\nPairs whose photo shows two objects or more. best_iou: the best IoU that any part has with an object. overlap: how much two parts \
                     overlap. energy: the largest share of a part that lies in one object.\n\n| parts | best_iou | overlap (lower) | energy | pairs |\n|---|---|---|---|---|\n";
            for (name, parts) in &self.parts {
                let cell = |e: &Estimate| format!("{:.3} [{:.3}, {:.3}]", e.mean, e.low, e.high);
                let cells = [&parts.best_iou, &parts.overlap, &parts.energy].map(cell);
                let _ = writeln!(text, "| {name} | {} | {} |", cells.join(" | "), parts.pairs);
            }
        }
        for (category, results) in &self.categories {
            let _ = write!(text, "\n## {category}, {}\n\n", counted(results.pairs, "pair"));
            text += &self.rows(&self.order, |method, metric| {
                Some(format!("{:.3}", results.methods.get(method)?.get(metric.name())?))
            });
        }
        let _ =
            write!(text, "\n## Not counted\n\nLeft out: {}. Skipped: {}.\n", self.left_out.words(), self.skipped_count);
        self.skipped.iter().for_each(|skipped| text += &format!("- {}\n", skipped.line()));
        text
    }

    /// `method,category,metric,mean,low,high,pairs`; the category is empty where it is all, the interval where it is one category.
    pub(super) fn csv(&self) -> String {
        let mut text = String::from("method,category,metric,mean,low,high,pairs\n");
        for method in &self.order {
            for metric in &self.metrics {
                if let Some(summary) = self.methods.get(method).and_then(|metrics| metrics.get(metric.name())) {
                    let Estimate { mean, low, high } = summary.estimate;
                    let _ = writeln!(text, "{method},,{},{mean},{low},{high},{}", metric.name(), summary.pairs);
                }
            }
        }
        for (category, results) in &self.categories {
            let quoted = format!("\"{}\"", category.replace('"', "\"\""));
            for method in &self.order {
                for metric in &self.metrics {
                    if let Some(mean) = results.methods.get(method).and_then(|metrics| metrics.get(metric.name())) {
                        let _ = writeln!(text, "{method},{quoted},{},{mean},,,{}", metric.name(), results.pairs);
                    }
                }
            }
        }
        text
    }
}

fn heading(metric: Metric) -> String {
    if metric.higher_is_better() { metric.name().into() } else { format!("{} (lower)", metric.name()) }
}

fn counted(count: usize, one: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {one}s") }
}
