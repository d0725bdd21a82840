//! Numbers that look random and are the same on every machine: the library's generator, and what tests draw from it.

pub use decomcam::random::Random;

/// A value in -1..1.
pub fn value(random: &mut Random) -> f64 {
    2.0 * random.uniform() - 1.0
}

/// Values in -1..1.
pub fn values(random: &mut Random, count: usize) -> Vec<f32> {
    (0..count).map(|_| value(random) as f32).collect()
}
