//! An explanation's check of itself: what the score loses when the places that the map marks are hidden, beside what it loses when as much is hidden elsewhere.
//!
//! With s the explained score of the photo, s_b that of the photo blurred all over, and s_h that of the photo blurred at the places H alone, hiding H takes away the share
//!
//! ```text
//! lost(H) = (s - s_h) / (s - s_b)
//! ```
//!
//! of the score. A logit has no natural zero, so the score is counted from that of the blurred photo. Where the photo scores no higher than its blurred copy there is nothing
//! to take away and no share is stated, but the scores are, and so is whether the map passes.
//!
//! **What is hidden.** The brightest fifth of what the network saw of the photo, by the map at the size of the input; less if the map is above zero on less. It is blurred as
//! [`super::masks`] blurs what a part does not keep. A map without anything above zero marks nothing and is not checked. The map of an explanation whose
//! [`super::Parts::relative`] is set is checked in the same way.
//!
//! **Elsewhere** is the same shape, moved: within the part of the photo that was seen, by a random share of the height and width, with wrapping at the borders. The share is drawn
//! around each of the eight steps of a third that are not zero, so the moves are spread evenly and none is small. Random pixels or blocks would not be a fair
//! comparison: how much a network loses depends on the size of the hidden places, and that of a map's bright places differs from map to map.
//!
//! **A map passes** if hiding its brightest places lowers the score, and by more than the moved shapes lower it on average.

use super::look::Look;
use super::masks::Blurred;
use crate::methods::{Map, Recipe};
use crate::photo::{Placement, Planes, Rect};
use crate::progress::{Steps, Watch};
use crate::random::Random;
use crate::stats::falling;
use crate::timings::{Timings, timed};
use crate::{Result, workers};

/// The share of what the network saw that is hidden, or less if the map marks less.
pub const HIDDEN: f64 = 0.2;

/// How often the shape is moved: to every step of a third but none.
pub const MOVES: usize = 8;

/// Where the moves start from.
const SEED: u64 = 0;

/// A difference of two scores that is at most this share of the larger is rounding.
const ROUNDING: f32 = 1e-4;

/// What hiding the brightest places did to the score, beside hiding as much elsewhere.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Check {
    /// The share of what the network saw that was hidden, 0..=1.
    pub hidden: f32,
    /// The explained score of the photo.
    pub photo: f32,
    /// That of the photo blurred all over.
    pub blurred: f32,
    /// That of the photo with the brightest places hidden.
    pub brightest: f32,
    /// That of the photo with the same shape hidden elsewhere, for each move.
    pub elsewhere: Vec<f32>,
}

impl Check {
    /// The score that the photo adds to that of its blurred copy, if it adds any.
    fn evidence(&self) -> Option<f32> {
        let evidence = self.photo - self.blurred;
        (evidence > ROUNDING * self.photo.abs().max(self.blurred.abs())).then_some(evidence)
    }

    /// The mean of the scores with as much hidden elsewhere.
    fn mean_elsewhere(&self) -> f32 {
        let sum: f64 = self.elsewhere.iter().map(|score| f64::from(*score)).sum();
        (sum / self.elsewhere.len().max(1) as f64) as f32
    }

    /// The share of the score that hiding the brightest places takes away: negative if the score rises, above 1 if it falls below that of the blurred photo. None
    /// where the photo scores no higher than its blurred copy.
    pub fn lost(&self) -> Option<f32> {
        Some((self.photo - self.brightest) / self.evidence()?)
    }

    /// The share that hiding as much elsewhere takes away, on average.
    pub fn lost_elsewhere(&self) -> Option<f32> {
        Some((self.photo - self.mean_elsewhere()) / self.evidence()?)
    }

    /// Whether hiding the brightest places lowers the score, and by more than hiding as much elsewhere.
    pub fn passed(&self) -> bool {
        self.brightest < self.photo && self.brightest < self.mean_elsewhere()
    }
}

/// Checks a finished map; none if it marks nothing.
///
/// # Errors
/// A network that fails, and [`crate::Error::Cancelled`].
pub(crate) fn check(look: &Look<'_>, map: &Map, watch: &Watch<'_>, timings: &mut Timings) -> Result<Option<Check>> {
    let (size, seen) = (look.size(), look.seen());
    let upsampled = Placement::whole(map.size, size).upsampled(&map.values)?;
    let brightest = brightest(&upsampled, size.width, seen);
    if brightest.is_empty() {
        return Ok(None);
    }
    let photo = look.prompt().explained_score(look.vectors()?)?;
    let hidden: Vec<Vec<usize>> =
        [brightest.clone()].into_iter().chain(moves().map(|by| moved(&brightest, size.width, seen, by))).collect();
    let steps = Steps::new(watch, "passes of the check", hidden.len())?;
    // The recipe decides how far out the blur is summed; other methods blur as the default does.
    let blurred = Blurred::new(look, Recipe::default())?;
    let scored = workers::each(hidden.len(), look.threads(), |at| {
        let (input, hiding) =
            timed(|| look.view().into_normalised(with_hidden(look.planes(), &blurred.planes, &hidden[at])));
        let (score, scoring) = timed(|| look.explained_score(&input));
        steps.advance(1)?;
        Ok((score?, hiding, scoring))
    })?;
    timings.add("hide for the check", blurred.blurring + scored.iter().map(|(_, hiding, _)| *hiding).sum());
    timings.add_network("passes of the check", blurred.scoring + scored.iter().map(|(.., scoring)| *scoring).sum());
    Ok(Some(Check {
        hidden: (brightest.len() as f64 / seen.size.area() as f64) as f32,
        photo,
        blurred: blurred.score,
        brightest: scored[0].0,
        elsewhere: scored[1..].iter().map(|(score, ..)| *score).collect(),
    }))
}

/// The positions of the brightest places of a map of this width, within `seen`.
fn brightest(map: &[f32], width: usize, seen: Rect) -> Vec<usize> {
    let most = (HIDDEN * seen.size.area() as f64) as usize;
    let marked = |at: &usize| map[*at] > 0.0 && seen.contains(at / width, at % width);
    falling(map).into_iter().map(|at| at as usize).filter(marked).take(most).collect()
}

/// Shares of the height and the width to move by: near each step of a third, but for the step of none.
fn moves() -> impl Iterator<Item = [f64; 2]> {
    let mut random = Random::new(SEED);
    (1..=MOVES).map(move |cell| [cell / 3, cell % 3].map(|third| (third as f64 + random.uniform() - 0.5) / 3.0))
}

/// The positions moved down and right by shares of `seen`, coming in again on the other side.
fn moved(positions: &[usize], width: usize, seen: Rect, by: [f64; 2]) -> Vec<usize> {
    let along = |at: usize, start: usize, side: usize, share: f64| {
        let by = (share * side as f64).round() as i64;
        start + ((at - start) as i64 + by).rem_euclid(side as i64) as usize
    };
    let place = |at: &usize| {
        let y = along(at / width, seen.top, seen.size.height, by[0]);
        y * width + along(at % width, seen.left, seen.size.width, by[1])
    };
    positions.iter().map(place).collect()
}

/// The photo, blurred at these positions.
fn with_hidden(photo: &Planes, blurred: &Planes, hidden: &[usize]) -> Planes {
    let mut planes = photo.clone();
    let plane = planes.size.area();
    for (data, blurred) in planes.data.chunks_exact_mut(plane).zip(blurred.data.chunks_exact(plane)) {
        hidden.iter().for_each(|&at| data[at] = blurred[at]);
    }
    planes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Size;

    #[test]
    fn only_marked_places_within_what_was_seen_are_hidden() {
        // Two rows of the input show the photo: ten places, of which two are a fifth.
        let seen = Rect::new(1, 0, Size::new(2, 5));
        let mut map = [0.0; 20];
        (map[0], map[7], map[12], map[9]) = (9.0, 1.0, 3.0, 2.0);
        assert_eq!(brightest(&map, 5, seen), [12, 9]);
        assert_eq!(brightest(&map.map(|value| if value == 3.0 { value } else { -value }), 5, seen), [12]);
        assert!(brightest(&[0.0; 20], 5, seen).is_empty());
    }

    #[test]
    fn moves_are_spread_keep_the_shape_and_stay_within_what_was_seen() {
        let seen = Rect::new(2, 1, Size::new(9, 6));
        let shape = [2 * 8 + 1, 2 * 8 + 2, 3 * 8 + 1];
        let all: Vec<_> = moves().collect();
        assert_eq!(all.len(), MOVES);
        for by in all {
            assert!(by.iter().any(|share| share.abs() >= 1.0 / 6.0 && share.abs() < 1.0), "{by:?}");
            let at = moved(&shape, 8, seen, by);
            assert!(at.iter().all(|at| seen.contains(at / 8, at % 8)), "{by:?}: {at:?}");
        }
        assert_eq!(moved(&shape, 8, seen, [1.0 / 9.0, 5.0 / 6.0]), [3 * 8 + 6, 3 * 8 + 1, 4 * 8 + 6]);
    }

    fn of(brightest: f32, elsewhere: f32, blurred: f32) -> Check {
        Check { hidden: 0.2, photo: -1.0, blurred, brightest, elsewhere: vec![elsewhere - 0.5, elsewhere + 0.5] }
    }

    #[test]
    fn shares_are_of_what_the_photo_adds_to_its_blurred_copy() {
        let check = of(-4.0, -2.0, -5.0);
        assert_eq!((check.lost(), check.lost_elsewhere(), check.passed()), (Some(0.75), Some(0.25), true));
        assert!(!of(-2.0, -4.0, -5.0).passed(), "as much elsewhere takes away more");
        assert!(!of(0.0, 1.0, -5.0).passed(), "the score rises");
        for blurred in [-1.0, 0.0, -1.00001] {
            assert_eq!(of(-4.0, -2.0, blurred).lost(), None, "{blurred}");
        }
    }
}
