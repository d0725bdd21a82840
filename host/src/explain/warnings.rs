//! What a reader should know before trusting a picture.

use super::{Explanation, Parts};
use crate::encoders::image::Explained;

/// Below this relative gap to the next singular value, a component can turn into its neighbour: (s_q - s_{q+1}) / s_q.
const NEAR_EQUAL: f32 = 0.02;

/// Below this share of the measured score difference, the gradient does not explain the score: it has saturated.
const SATURATED: f32 = 0.05;

/// Everything that would mislead a reader of this explanation.
pub(crate) fn of(explanation: &Explanation, layer: Option<&Explained>) -> Vec<String> {
    let mut warnings = Vec::new();
    let dead = layer.is_some_and(|layer| layer.gradients.iter().all(|gradient| *gradient == 0.0));
    if dead {
        warnings.push(format!(
            "the gradient of the score is zero everywhere at layer \"{}\", so the map says nothing: choose another --layer, or another --score",
            explanation.layer
        ));
    }
    if let Some(parts) = &explanation.parts {
        warnings.extend(spectrum(&parts.singular_values, parts.list.len()));
        warnings.extend(layer.filter(|_| !dead).and_then(|layer| saturation(explanation, parts, layer)));
    }
    if let (Some(guide), None) = (&explanation.request.guide, &explanation.refinement) {
        warnings.push(format!(
            "layer \"{guide}\" has too many positions at this size to refine the map: it was left as it is"
        ));
    }
    if !dead && explanation.map.values.iter().all(|value| *value <= 0.0) {
        warnings.push("nothing in the photo speaks for the text: the saliency map is empty".into());
    }
    warnings
}

/// Says that the score is saturated, if the gradient accounts for hardly anything of what masking takes away.
fn saturation(explanation: &Explanation, parts: &Parts, layer: &Explained) -> Option<String> {
    let first_order = first_order_score(layer).abs();
    let drop = (explanation.scores.explained.value - parts.baseline).abs();
    (first_order < SATURATED * drop).then(|| {
        format!(
            "the score `{}` is saturated: its gradient accounts for {:.1}% of what masking the whole photo takes away; another --score may point better",
            explanation.scores.explained.name,
            100.0 * first_order / drop
        )
    })
}

/// Gradient times activation, summed: what the score would lose, to first order, were the layer silent.
fn first_order_score(layer: &Explained) -> f32 {
    let products = layer.seen.activations.values.iter().zip(&layer.gradients);
    products.map(|(a, g)| f64::from(*a) * f64::from(*g)).sum::<f64>() as f32
}

/// Says which of the first `count` components are zero, or may turn into their neighbours.
pub(crate) fn spectrum(singular_values: &[f32], count: usize) -> Vec<String> {
    let warning = |q: usize| {
        let (this, next) = (singular_values[q], singular_values.get(q + 1).copied().unwrap_or(0.0));
        if this <= 0.0 {
            return Some(format!(
                "component #{} is zero: the selected channels have fewer independent maps than were asked for",
                q + 1
            ));
        }
        ((this - next) / this < NEAR_EQUAL && q + 1 < count).then(|| {
            format!(
                "components #{} and #{} have nearly equal singular values ({this:.4}, {next:.4}): they may turn into each other, read them together",
                q + 1,
                q + 2
            )
        })
    };
    (0..count).filter_map(warning).collect()
}
