//! Names of parts: the text whose score a part raises most.

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
    /// By how much the part raises the text's explained score.
    pub gain: f32,
}

impl fmt::Display for Name {
    /// The text, and what the part adds to its score.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "\"{}\" {:+.2}", self.text, self.gain)
    }
}

impl Name {
    /// The text with the largest gain, if that gain is above zero.
    pub(crate) fn best(names: &[Prompt], gains: &[f32]) -> Option<Self> {
        let best = names.iter().zip(gains).reduce(|best, next| if next.1 > best.1 { next } else { best });
        let (name, gain) = best.filter(|(_, gain)| **gain > 0.0)?;
        Some(Self { text: name.text().to_owned(), gain: *gain })
    }
}

/// The name of each OSSM: the text whose explained score rises most when the layer is kept where the OSSM is high and replaced by the channel's mean
/// elsewhere, compared with the means alone. None where no score rises.
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
