//! Places in the arena: tensors that are needed at the same time do not overlap.

/// A tensor's memory: its length, and the first and last step that needs it.
#[derive(Clone, Copy, Debug)]
pub struct Storage {
    /// Bytes.
    pub length: usize,
    /// The step that writes it first.
    pub first: usize,
    /// The last step that reads it.
    pub last: usize,
}

/// The place of each storage, and the bytes of the arena: from the longest storage on, each takes the first gap between those that live when it does.
pub fn places(storages: &[Storage]) -> (Vec<usize>, usize) {
    let mut order: Vec<usize> = (0..storages.len()).collect();
    order.sort_by_key(|&at| (std::cmp::Reverse(storages[at].length), storages[at].first));
    let mut places = vec![0; storages.len()];
    let mut placed: Vec<usize> = Vec::new();
    for at in order {
        let own = storages[at];
        let mut taken: Vec<(usize, usize)> = placed
            .iter()
            .filter(|&&other| storages[other].first <= own.last && own.first <= storages[other].last)
            .map(|&other| (places[other], places[other] + storages[other].length))
            .collect();
        taken.sort_unstable();
        let mut from = 0;
        for (start, end) in taken {
            if start >= from + own.length {
                break;
            }
            from = from.max(end);
        }
        places[at] = from;
        placed.push(at);
    }
    let ends = places.iter().zip(storages).map(|(place, storage)| place + storage.length);
    let arena = ends.max().unwrap_or(0);
    (places, arena)
}
