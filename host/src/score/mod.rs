//! Prompts, encoded once, and the scores of a photo against them.

use crate::encoders::image::ImageVectors;
use crate::encoders::text::{TextTower, TextVectors};
use crate::model::{Model, Score, ScoreKind};
use anyhow::{Context, Result, ensure};
use serde::Serialize;

/// A prompt, or one prompt against another, ready to be compared with photos.
pub struct Prompt {
    text: Encoded,
    versus: Option<Encoded>,
    reported: Score,
    explained: Score,
    /// The explained score's text vector: of `text`, less that of `versus` if there is one.
    evidence: Vec<f32>,
}

struct Encoded {
    typed: String,
    vectors: TextVectors,
}

/// A score of a photo.
#[derive(Clone, Debug, Serialize)]
pub struct Value {
    /// The score's name in the manifest.
    pub name: String,
    /// Of the text.
    pub text: f32,
    /// Of the other text, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub versus: Option<f32>,
    /// Of the text, less that of the other text.
    pub value: f32,
}

/// The two numbers that an explanation is about.
#[derive(Clone, Debug, Serialize)]
pub struct Scores {
    /// The score that the model is known by.
    pub reported: Value,
    /// The score whose gradient and differences the explanation is made of.
    pub explained: Value,
}

impl Scores {
    /// Both in one line, the explained one named as such.
    pub fn line(&self) -> String {
        let Self { reported, explained } = self;
        let line = format!("{} {:.3}", reported.name, reported.value);
        if reported.name == explained.name {
            line + " (explained)"
        } else {
            line + &format!(", explained: {} {:.3}", explained.name, explained.value)
        }
    }
}

impl Prompt {
    /// Encodes a prompt, and another one that it is held against. `explained` names the score to explain; the manifest's choice if not given.
    ///
    /// # Errors
    /// A prompt without a known word, or an unknown score.
    pub fn new(
        model: &Model,
        tower: &TextTower,
        text: &str,
        versus: Option<&str>,
        explained: Option<&str>,
    ) -> Result<Self> {
        let manifest = &model.manifest;
        let explained = manifest.score(explained.unwrap_or(&manifest.explain.explained))?.clone();
        let encode = |typed: &str| -> Result<Encoded> {
            let vectors = tower.encode(typed)?;
            Ok(Encoded { typed: vectors.meant.clone(), vectors })
        };
        let text = encode(text)?;
        let versus = versus.map(encode).transpose()?;
        let evidence = match &versus {
            Some(versus) => text.vectors.for_score_versus(&versus.vectors, &explained)?,
            None => text.vectors.for_score(&explained)?,
        };
        Ok(Self { text, versus, reported: manifest.score(&manifest.explain.reported)?.clone(), explained, evidence })
    }

    /// The explained score's text vector, whatever the photo.
    pub fn evidence(&self) -> &[f32] {
        &self.evidence
    }

    /// Whether the vector that stands for the explained score in the gradient depends on what the photo shows.
    pub fn depends_on_photo(&self) -> bool {
        self.explained.kind == ScoreKind::Posterior
    }

    /// The vector t whose product with the image vector has the explained score's gradient. For a posterior it follows from the photo's vectors, of which
    /// the mean is taken if the network looked several times.
    ///
    /// # Errors
    /// Image vectors of another model.
    pub fn target(&self, seen: &[&ImageVectors]) -> Result<Vec<f32>> {
        if !self.depends_on_photo() {
            return Ok(self.evidence.clone());
        }
        let of = |encoded: &Encoded| {
            posterior(&encoded.vectors.for_score(&self.explained)?, &self.explained.mean_vector(seen)?)
        };
        let mut target = of(&self.text)?.0;
        if let Some(versus) = &self.versus {
            target.iter_mut().zip(of(versus)?.0).for_each(|(ours, theirs)| *ours -= theirs);
        }
        Ok(target)
    }

    /// The score that is explained.
    pub fn explained(&self) -> &Score {
        &self.explained
    }

    /// The prompts as typed: the text, and what it is held against.
    pub fn typed(&self) -> (&str, Option<&str>) {
        (&self.text.typed, self.versus.as_ref().map(|versus| versus.typed.as_str()))
    }

    /// Reported and explained score of a photo.
    pub fn scores(&self, vectors: &ImageVectors) -> Result<Scores> {
        Ok(Scores { reported: self.value(&self.reported, vectors)?, explained: self.value(&self.explained, vectors)? })
    }

    /// The explained number alone.
    pub fn explained_score(&self, vectors: &ImageVectors) -> Result<f32> {
        Ok(self.value(&self.explained, vectors)?.value)
    }

    fn value(&self, score: &Score, image: &ImageVectors) -> Result<Value> {
        let of = |encoded: &Encoded| score.value(image, &encoded.vectors.for_score(score)?);
        let text = of(&self.text)?;
        let versus = self.versus.as_ref().map(of).transpose()?;
        Ok(Value { name: score.name.clone(), text, versus, value: text - versus.unwrap_or(0.0) })
    }

    /// One warning for each prompt that has words the model does not know.
    pub fn warnings(&self) -> Vec<String> {
        [Some(&self.text), self.versus.as_ref()]
            .into_iter()
            .flatten()
            .filter(|encoded| !encoded.vectors.tokens.unknown_words.is_empty())
            .map(|encoded| {
                format!(
                    "unknown to the model in \"{}\": {}; the score may not mean what was asked",
                    encoded.typed,
                    encoded.vectors.tokens.unknown_words.join(", ")
                )
            })
            .collect()
    }
}

impl Score {
    fn vector<'a>(&self, image: &'a ImageVectors) -> Result<&'a [f32]> {
        image.get(&self.image).with_context(|| {
            format!("the image tower has no output \"{}\", which score \"{}\" needs", self.image, self.name)
        })
    }

    /// The mean of the image vectors that the score is made of.
    ///
    /// # Errors
    /// No pictures, or vectors of another model.
    pub fn mean_vector(&self, images: &[&ImageVectors]) -> Result<Vec<f32>> {
        let mut mean = self.vector(images.first().context("no picture was looked at")?)?.to_vec();
        for image in &images[1..] {
            mean.iter_mut().zip(self.vector(image)?).for_each(|(sum, value)| *sum += value);
        }
        mean.iter_mut().for_each(|sum| *sum /= images.len() as f32);
        Ok(mean)
    }

    /// The score of a picture for a prompt's text vector t, or for the difference of two.
    ///
    /// With v the image vector: a dot score is sum(v t), a cosine is sum(v t) / |v| with t already of length one, and 0
    /// if v = 0. Both are linear in t. A posterior is [`posterior`]'s. Sums run in f64, in order.
    ///
    /// # Errors
    /// Vectors of another model: a missing output, two lengths.
    pub fn value(&self, image: &ImageVectors, text: &[f32]) -> Result<f32> {
        let vector = self.vector(image)?;
        ensure!(
            vector.len() == text.len(),
            "score \"{}\": expected image and text vectors of one length, found {} and {} numbers",
            self.name,
            vector.len(),
            text.len()
        );
        let sum_of = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
        let dot = sum_of(vector, text);
        Ok(match self.kind {
            ScoreKind::Posterior => posterior(text, vector)?.1,
            ScoreKind::Dot => dot as f32,
            ScoreKind::Cosine => match sum_of(vector, vector).sqrt() {
                length if length > 0. => (dot / length) as f32,
                _ => 0.,
            },
        })
    }
}

/// Evidence below this share of the largest says nothing of what the prompt means.
const LEAST_EVIDENCE: f32 = 1.0 / 32.0;

/// What a prompt means in a photo: q_c = e_c exp(l_c) / sum over kept classes, the posterior of the classes l_c of the photo with the prompt's evidence
/// e_c as the prior, and log sum e_c exp(l_c), whose gradient by l it is. Classes with less than [`LEAST_EVIDENCE`] of the largest evidence get zero. No
/// evidence at all: all zero.
///
/// # Errors
/// Vectors of two lengths.
pub fn posterior(evidence: &[f32], logits: &[f32]) -> Result<(Vec<f32>, f32)> {
    ensure!(
        evidence.len() == logits.len(),
        "expected as many classes in the photo as in the prompt, found {} and {}",
        logits.len(),
        evidence.len()
    );
    let least = LEAST_EVIDENCE * evidence.iter().copied().fold(0.0, f32::max);
    let kept = |e: f32| e > 0.0 && e >= least;
    let high =
        evidence.iter().zip(logits).filter(|(e, _)| kept(**e)).fold(f32::NEG_INFINITY, |high, (_, l)| high.max(*l));
    if high == f32::NEG_INFINITY {
        return Ok((vec![0.0; evidence.len()], 0.0));
    }
    let mass = |(&e, &l): (&f32, &f32)| if kept(e) { f64::from(e) * f64::from(l - high).exp() } else { 0.0 };
    let masses: Vec<f64> = evidence.iter().zip(logits).map(mass).collect();
    let total: f64 = masses.iter().sum();
    let shares = masses.iter().map(|mass| (mass / total) as f32).collect();
    Ok((shares, (f64::from(high) + total.ln()) as f32))
}

/// The class with the largest output.
///
/// # Errors
/// An image tower without the score's output.
pub fn predicted_class(vectors: &ImageVectors, score: &Score) -> Result<usize> {
    let outputs = vectors.get(&score.image).with_context(|| format!("no output \"{}\"", score.image))?;
    let best = outputs.iter().enumerate().reduce(|best, next| if next.1 > best.1 { next } else { best });
    Ok(best.context("no class")?.0)
}

/// A text and how well it fits a photo.
#[derive(Clone, Debug, Serialize)]
pub struct Ranked {
    /// The text as typed.
    pub text: String,
    /// softmax over the texts of scale * reported score; absent if the model states no scale.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probability: Option<f64>,
    /// Reported and explained score.
    pub scores: Scores,
    /// What a reader should know.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// The prompts sorted by reported score, highest first; equals stay in order.
pub fn rank(prompts: &[Prompt], vectors: &ImageVectors) -> Result<Vec<Ranked>> {
    let mut ranked: Vec<Ranked> = prompts
        .iter()
        .map(|prompt| {
            Ok(Ranked {
                text: prompt.text.typed.clone(),
                probability: None,
                scores: prompt.scores(vectors)?,
                warnings: prompt.warnings(),
            })
        })
        .collect::<Result<_>>()?;
    ranked.sort_by(|a, b| b.scores.reported.value.total_cmp(&a.scores.reported.value));
    if let Some((best, scale)) = ranked
        .first()
        .map(|best| f64::from(best.scores.reported.value))
        .zip(prompts.first().and_then(|prompt| prompt.reported.scale))
    {
        let odds = |r: &Ranked| (f64::from(scale) * (f64::from(r.scores.reported.value) - best)).exp();
        let total: f64 = ranked.iter().map(odds).sum();
        for entry in &mut ranked {
            entry.probability = Some(odds(entry) / total);
        }
    }
    Ok(ranked)
}

/// The ranking as a table.
pub fn table(ranked: &[Ranked]) -> String {
    let Some(first) = ranked.first() else {
        return String::new();
    };
    let Scores { reported, explained } = &first.scores;
    let mut text = format!("probability  {:>9}  {:>9}  text\n", reported.name, explained.name);
    for entry in ranked {
        let probability = entry.probability.map_or_else(|| "-".into(), |p| format!("{:.1}%", 100.0 * p));
        text += &format!(
            "{probability:>11}  {:>9.3}  {:>9.3}  {}\n",
            entry.scores.reported.value, entry.scores.explained.value, entry.text
        );
    }
    for warning in ranked.iter().flat_map(|entry| &entry.warnings) {
        text += &format!("warning: {warning}\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cosine_divides_by_the_length_of_the_image_vector() {
        let image = ImageVectors::new(&["output".to_string()], vec![vec![6., 8.]]);
        let score = |kind| {
            let name = || "output".to_string();
            Score { name: name(), kind, image: name(), text: name(), scale: None, description: name() }
        };
        assert_eq!(score(ScoreKind::Dot).value(&image, &[1., -1.]).unwrap(), -2.);
        assert_eq!(score(ScoreKind::Cosine).value(&image, &[1., -1.]).unwrap(), -0.2);
        let dark = ImageVectors::new(&["output".to_string()], vec![vec![0., 0.]]);
        assert_eq!(score(ScoreKind::Cosine).value(&dark, &[1., -1.]).unwrap(), 0.);
    }
}
