//! What a reader should know before trusting an explanation.

use super::{Check, Explanation, Parts};
use crate::encoders::image::Explained;
use crate::methods::Method;
use crate::score::Prompt;
use decomcam_core::cams::Cam;

/// Below this relative gap to the next singular value, (s_q - s_{q+1}) / s_q, two components can turn into mixtures of each other.
const NEAR_EQUAL: f32 = 0.02;

/// If the gradient accounts for less than this share of the measured difference of scores, the score is saturated.
const SATURATED: f32 = 0.05;

/// A sum of products of gradients and activations that is less than this share of their magnitudes is nothing but rounding.
const CANCELLED: f32 = 1e-5;

/// Everything about this explanation that could mislead a reader.
pub(crate) fn of(explanation: &Explanation, prompt: &Prompt, layer: Option<&Explained>) -> Vec<String> {
    let mut warnings = Vec::new();
    if layer.is_some_and(|layer| layer.beyond_range) {
        warnings.push(
            "this photo drives the quantised network beyond the numbers that its integers can hold, where the gradient is zero; it is taken as if they could hold them. \
             Check that photos are prepared as the network wants them (--preset, --mean, --std)"
                .into(),
        );
    }
    let support = explanation.support.as_ref();
    warnings.extend(support.into_iter().flat_map(|support| support.warnings(prompt, explanation.scores.reported.text)));
    let dead = layer.is_some_and(|layer| layer.gradients.iter().all(|gradient| *gradient == 0.0));
    if dead {
        warnings.push(format!(
            "the gradient of the score is zero everywhere at layer \"{}\", so the map is empty; choose another --layer or another --score",
            explanation.request.layer
        ));
    }
    if explanation.request.method == Method::Cam(Cam::HiResCam)
        && layer.is_some_and(|layer| is_cancelled(&explanation.map.values, layer))
    {
        warnings.push(format!(
            "gradient times activation sums to nothing at every place of layer \"{}\", as it does before a normalisation, so the map is nothing but rounding; \
             choose another --layer or another --method",
            explanation.request.layer
        ));
    }
    if let Some(parts) = &explanation.parts {
        warnings.extend(spectrum(&parts.singular_values, parts.list.len()));
        warnings.extend(layer.filter(|_| !dead).and_then(|layer| saturation(explanation, parts, layer)));
    }
    if let (Some(guide), None) = (&explanation.request.guide, &explanation.refinement) {
        warnings.push(format!(
            "layer \"{guide}\" has too many positions at this size to refine the map, so the map is not refined"
        ));
    }
    if explanation.parts.as_ref().is_some_and(|parts| parts.relative) {
        warnings.push(
            "no place in the photo speaks for the score, so the map is relative to its mean: it shows where the photo speaks least against the score"
                .into(),
        );
    }
    if !dead && explanation.map.values.iter().all(|value| *value <= 0.0) {
        warnings.push(
            "no place in the photo raises the score, so the saliency map is empty: the model does not see this here"
                .into(),
        );
    }
    warnings.extend(explanation.check.as_ref().and_then(failed));
    warnings
}

/// Warns if the gradient accounts for hardly any of the score that masking takes away.
fn saturation(explanation: &Explanation, parts: &Parts, layer: &Explained) -> Option<String> {
    let first_order = first_order_score(layer).abs();
    let drop = (explanation.scores.explained.value - parts.baseline).abs();
    (first_order < SATURATED * drop).then(|| {
        format!(
            "the score `{}` is saturated: its gradient accounts for only {:.1}% of the score that is lost when the whole photo is hidden; another --score may give a better map",
            explanation.scores.explained.name,
            100.0 * first_order / drop
        )
    })
}

/// Whether a map is nothing beside what it is a sum of, over channels.
fn is_cancelled(map: &[f32], layer: &Explained) -> bool {
    let (activations, gradients) = (&layer.seen.activations, &layer.gradients);
    let mut magnitudes = vec![0.0_f32; activations.size.area()];
    let maps = activations.values.chunks_exact(magnitudes.len()).zip(gradients.chunks_exact(magnitudes.len()));
    for (activations, gradients) in maps {
        for ((sum, a), g) in magnitudes.iter_mut().zip(activations).zip(gradients) {
            *sum += (a * g).abs();
        }
    }
    let largest = |values: &[f32]| values.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
    largest(map) < CANCELLED * largest(&magnitudes)
}

/// Gradient times activation, summed: to first order, what the score would lose if all activations were zero.
fn first_order_score(layer: &Explained) -> f32 {
    let products = layer.seen.activations.values.iter().zip(&layer.gradients);
    products.map(|(a, g)| f64::from(*a) * f64::from(*g)).sum::<f64>() as f32
}

/// Warns of those of the first `count` components that are zero or nearly equal to the next, in one line each kind.
pub(crate) fn spectrum(singular_values: &[f32], count: usize) -> Vec<String> {
    let next = |q: usize| singular_values.get(q + 1).copied().unwrap_or(0.0);
    let zero = |q: &usize| singular_values[*q] <= 0.0;
    let near = |q: &usize| {
        let this = singular_values[*q];
        !zero(q) && (this - next(*q)) / this < NEAR_EQUAL && q + 1 < count
    };
    let mut warnings = Vec::new();
    let pairs: Vec<String> = (0..count).filter(near).map(|q| format!("#{} and #{}", q + 1, q + 2)).collect();
    if !pairs.is_empty() {
        warnings.push(format!(
            "parts {} are nearly equally large (their singular values differ by less than {:.0}%): a small change of the photo may mix them, so read them together",
            pairs.join(", "),
            100.0 * NEAR_EQUAL
        ));
    }
    let zeros: Vec<String> = (0..count).filter(zero).map(|q| format!("#{}", q + 1)).collect();
    if !zeros.is_empty() {
        let (parts, are) = if zeros.len() == 1 { ("part", "is") } else { ("parts", "are") };
        warnings.push(format!(
            "{parts} {} {are} empty: the channels that are used have fewer independent maps than --components asks for",
            zeros.join(", ")
        ));
    }
    warnings
}

/// Says that hiding what the map marks costs the score no more than hiding anything else.
fn failed(check: &Check) -> Option<String> {
    (!check.passed()).then(|| {
        "the map fails its own check: hiding its brightest places lowers the score no more than hiding as much elsewhere, so do not rely on it".into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_of_one_kind_are_one() {
        let found = spectrum(&[2.0, 1.99, 1.98, 1.0, 0.99, 0.5], 6);
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("parts #1 and #2, #2 and #3, #4 and #5 are nearly"), "{found:?}");
        assert!(spectrum(&[2.0, 1.0, 0.99], 2).is_empty(), "the next one is not shown");
        let found = spectrum(&[1.0, 0.0, 0.0], 3);
        assert!(found.len() == 1 && found[0].starts_with("parts #2, #3 are empty"), "{found:?}");
        assert!(spectrum(&[1.0, 0.0], 2)[0].starts_with("part #2 is empty"));
    }
}
