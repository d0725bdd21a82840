//! Names of parts: the text whose score a part raises most.

use super::look::Look;
use super::masks::gains;
use crate::encoders::activations::Activations;
use crate::score::Prompt;
use crate::{Result, Size};
use serde::Serialize;
use std::fmt;

/// By which share of its own gain a text must beat every other one to name a part.
pub const MARGIN: f32 = 0.25;

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
    /// The text with the largest gain, if that gain is above zero and every other text's gain is smaller by [`MARGIN`] of it.
    pub(crate) fn best(names: &[Prompt], gains: &[f32]) -> Option<Self> {
        let at = clear_best(gains)?;
        Some(Self { text: names[at].text().to_owned(), gain: gains[at] })
    }
}

/// Which number is above zero and above all others by [`MARGIN`] of itself.
fn clear_best(gains: &[f32]) -> Option<usize> {
    let at = (0..gains.len()).reduce(|best, next| if gains[next] > gains[best] { next } else { best })?;
    let others = || gains.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, gain)| *gain);
    (gains[at] > 0.0 && others().all(|gain| gain <= (1.0 - MARGIN) * gains[at])).then_some(at)
}

/// The name of each OSSM: the text whose explained score rises most when the layer is kept where the OSSM is high and replaced by the channel's mean
/// elsewhere, compared with the means alone. None where no score rises, or none rises clearly more than the others.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clear_winner_names_a_part() {
        for (gains, best) in [
            (&[][..], None),
            (&[0.5], Some(0)),
            (&[-0.5, -1.0], None),
            (&[0.0], None),
            (&[0.7, 1.0, -3.0], Some(1)),
            (&[0.8, 1.0], None),
            (&[1.0, 1.0], None),
        ] {
            assert_eq!(clear_best(gains), best, "{gains:?}");
        }
    }
}
