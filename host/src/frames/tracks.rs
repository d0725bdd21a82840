//! Which part of one frame is which part of the next: tracks.
//!
//! A part has a direction in channel space, [`Component::direction`](crate::explain::Component): of a component the right singular vector. The channels are the
//! same in every frame and positions are summed away, so the direction says what a part shows, not where. It stays when a thing moves.
//!
//! ```text
//! c(t, q) = v_t' v_q                              v_t: the direction of the part that continued track t last
//! maximise sum over matched (t, q) of c(t, q) - LEAST     over one-to-one matchings of tracks and parts
//! ```
//!
//! Pairs at or below [`LEAST`] are never matched: a part that no track takes begins a track. A track is open for [`PATIENCE`] frames after it was last
//! continued, so that a thing that is hidden for a moment, or a component that shows its other side for a moment, comes back under its number. The assignment
//! is optimal, in O(n^3).
//!
//! **Why 1/2.** Directions of unrelated things are nearly orthogonal in so many channels, and those of one thing nearly parallel. With `lite`, between photos
//! of COCO that have nothing to do with each other the best matching has cosines of 0.05 at the median and 0.31 at most (250 parts); between frames in which a
//! cut-out moves, 0.84 at the median of all parts and 0.94 of those with more than a tenth of the evidence (`host/examples/tracks.rs` measures it). 1/2 stands
//! between, nearer to what moves. A part that shows the other side of its component has about -0.9: it marks another place, and so it is another track.

use decomcam_core::sums;

/// A part continues a track only above this cosine.
pub const LEAST: f32 = 0.5;

/// A track that no part has continued for so many frames has ended.
pub const PATIENCE: usize = 8;

/// What a part continues.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Followed {
    /// The track's number, from 1 on in the order in which tracks begin.
    pub track: usize,
    /// The cosine of the part's direction and the track's last one; none if the track begins here.
    pub cosine: Option<f32>,
}

/// The tracks of a sequence so far.
#[derive(Debug, Default)]
pub struct Tracks {
    open: Vec<Open>,
    begun: usize,
    frames: usize,
}

#[derive(Debug)]
struct Open {
    number: usize,
    direction: Vec<f32>,
    seen: usize,
}

impl Tracks {
    /// What each part of the next frame continues. New tracks are numbered in the order of the parts.
    ///
    /// # Shapes
    /// A direction has as many entries as the layer has channels, and length one, or length zero if the part is nothing: that one begins a track of its own.
    pub fn follow(&mut self, directions: &[&[f32]]) -> Vec<Followed> {
        let last: Vec<&[f32]> = self.open.iter().map(|open| &open.direction[..]).collect();
        let mut taken = vec![None; directions.len()];
        for (at, found) in matched(&last, directions, LEAST).into_iter().enumerate() {
            if let Some((part, cosine)) = found {
                taken[part] = Some((at, cosine));
            }
        }
        let frame = self.frames;
        let mut followed = Vec::with_capacity(directions.len());
        for (taken, direction) in taken.into_iter().zip(directions) {
            followed.push(match taken {
                Some((at, cosine)) => {
                    let open = &mut self.open[at];
                    (open.direction, open.seen) = (direction.to_vec(), frame);
                    Followed { track: open.number, cosine: Some(cosine) }
                }
                None => {
                    self.begun += 1;
                    self.open.push(Open { number: self.begun, direction: direction.to_vec(), seen: frame });
                    Followed { track: self.begun, cosine: None }
                }
            });
        }
        self.frames += 1;
        self.open.retain(|open| frame - open.seen < PATIENCE);
        followed
    }
}

/// The best one-to-one matching of directions above a cosine: of each of the first its partner among the others and their cosine, if it has one. What the
/// cosines have above `least`, summed, is as large as it can be.
pub fn matched<D: AsRef<[f32]>>(first: &[D], others: &[D], least: f32) -> Vec<Option<(usize, f32)>> {
    let cosine = |one: &D, other: &D| sums::dot(one.as_ref(), other.as_ref());
    let cosines: Vec<Vec<f32>> =
        first.iter().map(|one| others.iter().map(|other| cosine(one, other)).collect()).collect();
    let gain = |cosine: &f32| f64::from((cosine - least).max(0.0));
    let gains: Vec<Vec<f64>> = cosines.iter().map(|row| row.iter().map(gain).collect()).collect();
    let found = assigned(&gains, others.len()).into_iter().enumerate();
    found
        .map(|(one, other)| {
            let other = other.filter(|other| gains[one][*other] > 0.0)?;
            Some((other, cosines[one][other]))
        })
        .collect()
}

/// The column of each row, each at most once, so that the sum of gains is as large as it can be; none for rows without one. No gain may be negative.
///
/// The Hungarian method: rows are taken in one after the other, along the shortest path of changes by the prices that are known so far.
fn assigned(gains: &[Vec<f64>], columns: usize) -> Vec<Option<usize>> {
    let rows = gains.len();
    // As many columns as rows, at least: those that are added gain nothing.
    let width = columns.max(rows);
    let cost = |row: usize, column: usize| gains[row].get(column).map_or(0.0, |gain| -gain);
    let (mut row_prices, mut prices) = (vec![0.0; rows], vec![0.0; width]);
    // The row of each column.
    let mut owners: Vec<Option<usize>> = vec![None; width];
    for row in 0..rows {
        let mut nearest = vec![(f64::INFINITY, None); width];
        let mut passed = vec![false; width];
        let (mut at, mut through) = (row, None);
        let free = loop {
            let (mut step, mut next) = (f64::INFINITY, 0);
            for column in (0..width).filter(|column| !passed[*column]) {
                let reduced = cost(at, column) - row_prices[at] - prices[column];
                if reduced < nearest[column].0 {
                    nearest[column] = (reduced, through);
                }
                if nearest[column].0 < step {
                    (step, next) = (nearest[column].0, column);
                }
            }
            row_prices[row] += step;
            for column in 0..width {
                match (passed[column], owners[column]) {
                    (true, Some(owner)) => {
                        row_prices[owner] += step;
                        prices[column] -= step;
                    }
                    _ => nearest[column].0 -= step,
                }
            }
            match owners[next] {
                None => break next,
                Some(owner) => {
                    passed[next] = true;
                    (at, through) = (owner, Some(next));
                }
            }
        };
        let mut column = free;
        while let Some(before) = nearest[column].1 {
            owners[column] = owners[before];
            column = before;
        }
        owners[column] = Some(row);
    }
    let mut columns_of = vec![None; rows];
    for (column, owner) in owners.into_iter().enumerate().take(columns) {
        if let Some(row) = owner {
            columns_of[row] = Some(column);
        }
    }
    columns_of
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    fn sum(gains: &[Vec<f64>], columns: &[Option<usize>]) -> f64 {
        columns.iter().zip(gains).filter_map(|(column, row)| column.map(|column| row[column])).sum()
    }

    /// The largest sum, by trying every matching.
    fn largest(gains: &[Vec<f64>], taken: &mut Vec<bool>) -> f64 {
        let Some((row, rest)) = gains.split_first() else { return 0.0 };
        let mut best = largest(rest, taken);
        for column in 0..row.len() {
            if !taken[column] {
                taken[column] = true;
                best = best.max(row[column] + largest(rest, taken));
                taken[column] = false;
            }
        }
        best
    }

    #[test]
    fn no_matching_gains_more() {
        let mut random = Random::new(7);
        for (rows, columns) in [(0, 3), (1, 1), (3, 3), (5, 5), (2, 6), (6, 2), (4, 0)] {
            for _ in 0..50 {
                // Many ties and zeros, as between tracks that have nothing in common.
                let gains: Vec<Vec<f64>> = (0..rows)
                    .map(|_| {
                        (0..columns)
                            .map(|_| (6.0 * random.uniform()).floor() / 10.0)
                            .map(|g: f64| g.max(0.2) - 0.2)
                            .collect()
                    })
                    .collect();
                let found = assigned(&gains, columns);
                let mut taken = vec![false; columns];
                for column in found.iter().flatten() {
                    assert!(!std::mem::replace(&mut taken[*column], true), "{gains:?}: {found:?}");
                }
                let best = largest(&gains, &mut vec![false; columns]);
                assert!((sum(&gains, &found) - best).abs() < 1e-12, "{gains:?}: {found:?}, {best}");
            }
        }
    }

    fn numbers(followed: &[Followed]) -> Vec<usize> {
        followed.iter().map(|followed| followed.track).collect()
    }

    #[test]
    fn a_track_takes_what_is_like_it_best_for_all_together() {
        let mut tracks = Tracks::default();
        assert_eq!(numbers(&tracks.follow(&[&[1.0, 0.0, 0.0], &[0.0, 1.0, 0.0]])), [1, 2]);
        // Both fit track 1; the second fits nothing else, and the first fits track 2 as well.
        let followed = tracks.follow(&[&[0.7, 0.714, 0.0], &[0.8, 0.0, 0.6]]);
        assert_eq!(numbers(&followed), [2, 1]);
        assert_eq!(followed[1].cosine, Some(0.8));
        // Turned by more than 60 degrees, or the other side of a component: another track.
        let followed = tracks.follow(&[&[0.1, 0.1, 0.99], &[-0.7, -0.714, 0.0]]);
        assert_eq!(numbers(&followed), [1, 3]);
        assert_eq!(numbers(&tracks.follow(&[&[0.7, 0.714, 0.0], &[0.0, 0.0, 0.0]])), [2, 4], "it comes back");
    }

    #[test]
    fn a_track_waits_and_then_ends() {
        for (hidden, number) in [(PATIENCE - 1, 1), (PATIENCE, 2)] {
            let mut tracks = Tracks::default();
            tracks.follow(&[&[1.0, 0.0]]);
            (0..hidden).for_each(|_| drop(tracks.follow(&[])));
            assert_eq!(numbers(&tracks.follow(&[&[1.0, 0.0]])), [number], "{hidden}");
        }
    }
}
