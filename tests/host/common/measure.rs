//! The metrics of a map, from the definitions in `decomcam::metrics` and a session alone: what `eval` and `compare` must give of the same map.

use decomcam::dataset::Truth;
use decomcam::metrics::{self, Metric};
use decomcam::session::Purpose;
use decomcam::{Explanation, Options, Photo, Prompt, Session};
use serde_json::{Value, json};

/// A number as it reads from a file.
pub fn as_read(value: &Value) -> Value {
    serde_json::from_str(&value.to_string()).unwrap()
}

/// One metric of an explanation's map, as the records have it.
pub fn measured(
    metric: Metric,
    (session, photo, prompt): (&Session, &Photo, &Prompt),
    explanation: &Explanation,
    truth: Option<&Truth>,
    step: usize,
) -> Value {
    let (size, width) = (explanation.input_size, explanation.input_size.width);
    let map = explanation.map.saliency(size).unwrap();
    let request = Options::new().scales(1).resolve(&session.model().manifest).unwrap();
    let towers = session.towers(&[request], &prompt.explained().name, Purpose::Map).unwrap();
    let input = session.view().normalised(&session.view().planes(photo, explanation.framing, size, 1));
    let score = |input: &[f32]| prompt.reported_score(&towers.own.vectors(input)?);
    let scored = |input: &[f32]| f64::from(score(input).unwrap());
    let kept = || scored(&metrics::kept(&input, &map));
    let mask = || &truth.unwrap().mask[..];
    let value = match metric {
        Metric::Pointing => {
            let hit = metrics::pointing(&map, mask(), width, metrics::POINTING_TOLERANCE * width as f64 / 224.0);
            json!(f64::from(u8::from(hit)))
        }
        Metric::Energy => json!(metrics::energy(&map, mask())),
        Metric::BestIou => json!(metrics::best_iou(&map, mask())),
        Metric::MaxBoxAcc => json!(metrics::box_hits(&map, width, &truth.unwrap().boxes)),
        Metric::Pxap => json!(metrics::pxap(&map, mask())),
        // From the photo to nothing, and from the blurred photo to the photo.
        Metric::Deletion => {
            let nothing = vec![0.0; input.len()];
            json!(metrics::deletion_or_insertion(&map, &input, &nothing, step, &score).unwrap())
        }
        Metric::Insertion => {
            let blurred = metrics::blurred(&input, width);
            json!(metrics::deletion_or_insertion(&map, &blurred, &input, step, &score).unwrap())
        }
        Metric::AverageDrop => json!(metrics::average_drop(scored(&input), kept())),
        Metric::AverageIncrease => json!(metrics::average_increase(scored(&input), kept())),
        Metric::Road => json!(metrics::road(&map, &input, width, metrics::ROAD_NOISE, 0, &score).unwrap()),
    };
    as_read(&value)
}
