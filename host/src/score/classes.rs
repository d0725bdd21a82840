//! What a classifier says of a photo: its classes, the likeliest first.

use crate::Result;
use crate::encoders::image::ImageVectors;
use crate::model::{Manifest, Score};
use serde::Serialize;

/// How many classes are shown.
pub const SHOWN: usize = 5;

/// A class of a classifier.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Class {
    /// Its number, from 0.
    pub number: usize,
    /// Its name; its number, if the model has no names.
    pub name: String,
    /// The number that the network gives it: before a softmax or a sigmoid.
    pub logit: f32,
    /// How likely it is, 0..=1; none where the network gives several numbers for each class, such as one for each pixel, and no probabilities, or where nobody
    /// knows what its numbers are.
    pub probability: Option<f64>,
}

/// The class that is explained, among all.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Standing {
    /// 1 for the class with the largest number.
    pub rank: usize,
    /// How many classes there are.
    pub of: usize,
    /// The class that is explained.
    pub explained: Class,
    /// The likeliest classes, at most [`SHOWN`].
    pub top: Vec<Class>,
}

/// How the numbers of a network become probabilities.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reading {
    explained: Score,
    reported: Score,
    /// Whether each class has one number alone.
    single: bool,
}

impl Reading {
    pub(crate) fn new(manifest: &Manifest, explained: &Score) -> Result<Self> {
        let reported = manifest.score(&manifest.explain.reported)?.clone();
        Ok(Self { explained: explained.clone(), reported, single: manifest.image.readings.is_empty() })
    }

    /// Every class by falling number, equal ones in their order. The probability is what the network reports as such, or else softmax(logits).
    ///
    /// # Errors
    /// Image vectors of another model.
    pub(crate) fn classes(&self, labels: &[String], vectors: &ImageVectors) -> Result<Vec<Class>> {
        let logits = self.explained.vector(vectors)?;
        let reported = self.reported.vector(vectors)?;
        let high = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let odds = |logit: f32| f64::from(logit - high).exp();
        let total: f64 = logits.iter().map(|logit| odds(*logit)).sum();
        let probability = |number: usize| match self.reported.name.as_str() {
            "probability" => reported.get(number).map(|share| f64::from(*share)),
            "log-probability" => reported.get(number).map(|log| f64::from(*log).exp()),
            // Numbers of a kind that is not known.
            "value" => None,
            _ => self.single.then(|| odds(logits[number]) / total),
        };
        let class = |(number, logit): (usize, &f32)| Class {
            number,
            name: labels.get(number).cloned().unwrap_or_else(|| number.to_string()),
            logit: *logit,
            probability: probability(number),
        };
        let mut classes: Vec<Class> = logits.iter().enumerate().map(class).collect();
        classes.sort_by(|a, b| b.logit.total_cmp(&a.logit));
        Ok(classes)
    }
}

impl Standing {
    /// Where a class stands among all.
    pub(crate) fn of(number: usize, mut classes: Vec<Class>) -> Option<Self> {
        let rank = classes.iter().position(|class| class.number == number)?;
        let (of, explained) = (classes.len(), classes[rank].clone());
        classes.truncate(SHOWN);
        Some(Self { rank: rank + 1, of, explained, top: classes })
    }
}
