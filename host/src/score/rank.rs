//! Prompts sorted by how well they fit a photo.

use super::{Prompt, Scores, Support};
use crate::Result;
use crate::encoders::image::ImageVectors;
use serde::Serialize;

/// A text and how well it fits a photo.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ranked {
    /// The text as it was understood.
    pub text: String,
    /// softmax over the texts of scale * reported score; absent if the model states no scale.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probability: Option<f64>,
    /// Reported and explained score.
    pub scores: Scores,
    /// Whether the model sees in the photo what the text asks for; none if nothing says what the model knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub support: Option<Support>,
    /// What a reader should know.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// The prompts sorted by reported score, highest first; equals stay in order.
///
/// # Errors
/// Image vectors of another model.
pub fn rank(prompts: &[Prompt], vectors: &ImageVectors) -> Result<Vec<Ranked>> {
    let ranked = prompts.iter().map(|prompt| {
        let support = prompt.support(vectors)?;
        let of_words = support.iter().flat_map(|support| support.word_warnings(prompt.text()));
        Ok(Ranked {
            text: prompt.text().to_owned(),
            probability: None,
            scores: prompt.scores(vectors)?,
            warnings: prompt.warnings().into_iter().chain(of_words).collect(),
            support,
        })
    });
    let mut ranked = ranked.collect::<Result<Vec<Ranked>>>()?;
    ranked.sort_by(|a, b| b.scores.reported.value.total_cmp(&a.scores.reported.value));
    let highest = ranked.first().map(|best| f64::from(best.scores.reported.value));
    if let Some((highest, scale)) = highest.zip(prompts.first().and_then(Prompt::scale)) {
        let odds = |r: &Ranked| (f64::from(scale) * (f64::from(r.scores.reported.value) - highest)).exp();
        let total: f64 = ranked.iter().map(odds).sum();
        // One text has all of the probability, whatever the scale.
        let assumed = prompts.first().filter(|_| prompts.len() > 1).and_then(Prompt::scale_warning);
        for entry in &mut ranked {
            entry.probability = Some(odds(entry) / total);
            entry.warnings.extend(assumed.clone());
        }
    }
    Ok(ranked)
}
