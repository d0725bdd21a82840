//! Scores: numbers that say how well a photo and a prompt fit together.

pub mod boxes;
mod classes;
mod knowledge;
pub mod place;
mod prompt;
mod rank;
mod support;

pub use classes::{Class, SHOWN, Standing};
pub use knowledge::{Knowledge, KnownWords, Words};
pub use place::{BoxNumber, Place, Region, Sight, Spot};
pub use prompt::{Likeness, Prompt, Question, ScoreValue, Scores, Side, predicted_class};
pub use rank::{Ranked, rank};
pub use support::{SeenClass, Support, ThingSeen, Verdict};

use crate::encoders::image::ImageVectors;
use crate::error::Sorted as _;
use crate::model::{Score, ScoreKind};
use crate::{Error, Result};
use anyhow::{Context, ensure};

impl Score {
    /// The image vector that the score is made of.
    ///
    /// # Errors
    /// Vectors of another model.
    pub fn vector<'a>(&self, image: &'a ImageVectors) -> Result<&'a [f32]> {
        let found = image.get(&self.image).with_context(|| {
            format!("the image tower has no output \"{}\", which score \"{}\" needs", self.image, self.name)
        });
        found.kind(Error::Model)
    }

    /// The mean over several image vectors of the one that the score is made of.
    ///
    /// # Errors
    /// No pictures, or vectors of another model.
    pub fn mean_vector(&self, images: &[&ImageVectors]) -> Result<Vec<f32>> {
        let first = images.first().context("no picture was looked at").kind(Error::Explanation)?;
        let mut mean = self.vector(first)?.to_vec();
        for image in &images[1..] {
            mean.iter_mut().zip(self.vector(image)?).for_each(|(sum, value)| *sum += value);
        }
        mean.iter_mut().for_each(|sum| *sum /= images.len() as f32);
        Ok(mean)
    }

    /// The score of a picture for a prompt's text vector t, or for the difference of two.
    ///
    /// With v the image vector: a dot score is sum(v t), a cosine is sum(v t) / |v| with t already of length one, and 0 if v = 0. Both are linear in t.
    /// A posterior is [`posterior`]'s. Sums run in f64, in order.
    ///
    /// # Errors
    /// Vectors of another model: a missing output, two lengths.
    pub fn value(&self, image: &ImageVectors, text: &[f32]) -> Result<f32> {
        let vector = self.vector(image)?;
        same_length(&self.name, vector, text).kind(Error::Model)?;
        let sum_of = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
        let dot = sum_of(vector, text);
        Ok(match self.kind {
            ScoreKind::Posterior => posterior(text, vector)?.log_mass,
            ScoreKind::Dot => dot as f32,
            ScoreKind::Cosine => match sum_of(vector, vector).sqrt() {
                length if length > 0. => (dot / length) as f32,
                _ => 0.,
            },
        })
    }
}

fn same_length(name: &str, image: &[f32], text: &[f32]) -> anyhow::Result<()> {
    ensure!(
        image.len() == text.len(),
        "score \"{name}\": expected image and text vectors of one length, found {} and {} numbers",
        image.len(),
        text.len()
    );
    Ok(())
}

/// Classes whose evidence is below this share of the largest are ignored: the prompt does not mean them.
const LEAST_EVIDENCE: f32 = 1.0 / 32.0;

/// Whether a class with this evidence is one that the prompt may mean.
fn kept(evidence: &[f32]) -> impl Fn(f32) -> bool + use<> {
    let least = LEAST_EVIDENCE * evidence.iter().copied().fold(0.0, f32::max);
    move |e| e > 0.0 && e >= least
}

/// Which of the classes that a prompt may mean a photo shows.
#[derive(Clone, Debug, PartialEq)]
pub struct Posterior {
    /// q_c = e_c exp(l_c) / sum over kept classes: the posterior of the classes, with the prompt's evidence e_c as the prior.
    pub shares: Vec<f32>,
    /// log sum e_c exp(l_c), whose gradient by l is `shares`.
    pub log_mass: f32,
}

/// The posterior of the classes l_c of a photo, with a prompt's evidence e_c as the prior. Classes with less than a 32nd of the largest evidence get
/// zero. Without any evidence all shares and the logarithm are zero.
///
/// # Errors
/// Vectors of two lengths.
pub fn posterior(evidence: &[f32], logits: &[f32]) -> Result<Posterior> {
    same_length("posterior", logits, evidence).kind(Error::Model)?;
    let kept = kept(evidence);
    let high =
        evidence.iter().zip(logits).filter(|(e, _)| kept(**e)).fold(f32::NEG_INFINITY, |high, (_, l)| high.max(*l));
    if high == f32::NEG_INFINITY {
        return Ok(Posterior { shares: vec![0.0; evidence.len()], log_mass: 0.0 });
    }
    let mass = |(&e, &l): (&f32, &f32)| if kept(e) { f64::from(e) * f64::from(l - high).exp() } else { 0.0 };
    let masses: Vec<f64> = evidence.iter().zip(logits).map(mass).collect();
    let total: f64 = masses.iter().sum();
    let shares = masses.iter().map(|mass| (mass / total) as f32).collect();
    Ok(Posterior { shares, log_mass: (f64::from(high) + total.ln()) as f32 })
}
