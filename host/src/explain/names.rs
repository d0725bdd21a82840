//! Names for parts: the text whose score a part raises most.

use super::look::Look;
use super::masks::gains;
use crate::encoders::activations::Activations;
use crate::score::Prompt;
use crate::{Result, Size};
use serde::Serialize;
use std::fmt;

/// A text that fits a part.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Name {
    /// The text as it was understood.
    pub text: String,
    /// What the part adds to the text's explained score.
    pub gain: f32,
}

impl fmt::Display for Name {
    /// The text, and what the part adds to its score.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "\"{}\" {:+.2}", self.text, self.gain)
    }
}

impl Name {
    /// The text with the largest gain, if that is above zero.
    pub(crate) fn best(names: &[Prompt], gains: &[f32]) -> Option<Self> {
        let best = names.iter().zip(gains).reduce(|best, next| if next.1 > best.1 { next } else { best });
        let (name, gain) = best.filter(|(_, gain)| **gain > 0.0)?;
        Some(Self { text: name.text().to_owned(), gain: *gain })
    }
}

/// The name of each OSSM: the text whose explained score it raises most, in the layer kept where the OSSM is high and replaced by the channels' means
/// elsewhere, less the score of the means. None where it raises none.
pub(crate) fn names(
    look: &Look<'_>,
    layer: &Activations,
    (ossms, size): (&[&[f32]], Size),
    texts: &[Prompt],
) -> Result<Vec<Option<Name>>> {
    let prompts: Vec<&Prompt> = texts.iter().collect();
    let gains = gains(look.head()?, layer, (ossms, size), &prompts)?;
    Ok(gains.iter().map(|gains| Name::best(texts, gains)).collect())
}
