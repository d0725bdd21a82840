//! A whole explanation on a linear head: `cargo run -p decomcam-core --example explain`.
//!
//! The network is made up, so that the program is complete: a layer of 24 channels of 7 x 7 whose channels fire at the animal they know, as signed bytes
//! in the order of TensorFlow Lite, and a head of two classes. Everything but `main` and the printing is what firmware would do.

use decomcam_core::head::{self, LinearHead, Question};
use decomcam_core::{Error, Layout, Maps, Quantisation, SignRule};

const SIDE: usize = 7;
const CHANNELS: usize = 24;
const CLASSES: [&str; 2] = ["cat", "dog"];
/// P, the channels that are decomposed, and Q, the parts.
const TOP: usize = 12;
const PARTS: usize = 3;

/// What the inference left in memory: channels that know cats fire at the top left, the others at the bottom right.
fn layer() -> [i8; SIDE * SIDE * CHANNELS] {
    core::array::from_fn(|index| {
        let (position, channel) = (index / CHANNELS, index % CHANNELS);
        let (y, x) = (position / SIDE, position % SIDE);
        let (row, column) = if channel % 2 == 0 { (1 + channel % 3, 2) } else { (5, 4 + channel % 3) };
        let distance = y.abs_diff(row) + x.abs_diff(column);
        [60 + channel as i8, 30, 10].get(distance).copied().unwrap_or(0)
    })
}

fn main() -> Result<(), Error> {
    let tensor = layer();
    let activations =
        Maps::i8(&tensor, Layout::hwc(SIDE, SIDE, CHANNELS), Quantisation::PerTensor { scale: 0.05, zero_point: 0 })?;
    // Classes x channels, a scale a class.
    let weights: [i8; 2 * CHANNELS] =
        core::array::from_fn(|index| if index / CHANNELS == index % CHANNELS % 2 { 90 } else { -30 });
    let quantisation = Quantisation::PerChannel { scales: &[0.01, 0.012], zero_points: &[] };
    let head = LinearHead::new(Maps::i8(&weights, Layout::chw(CLASSES.len(), 1, CHANNELS), quantisation)?, None)?;

    let mut top = [0; TOP];
    let mut workspace = [0.0; head::workspace_len(SIDE * SIDE, CHANNELS, TOP, PARTS)];
    for (class, name) in CLASSES.iter().enumerate() {
        let question = Question { class, versus: Some(1 - class), components: PARTS, sign: SignRule::Score };
        let why = head::explain(&head, &activations, &question, &mut top, &mut workspace)?;

        println!("{name} rather than {}: {:.2}", CLASSES[1 - class], why.score);
        for (q, contribution) in why.measured.iter().enumerate() {
            println!("  part {q} adds {contribution:.2}");
        }
        let largest = why.saliency.iter().fold(f32::MIN_POSITIVE, |largest, value| largest.max(*value));
        for row in why.saliency.chunks(SIDE) {
            let shade = |value: &f32| [' ', '.', 'o', '#'][(value / largest * 3.0).max(0.0) as usize];
            println!("  {}", row.iter().map(shade).collect::<String>());
        }
    }
    Ok(())
}
