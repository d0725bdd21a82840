//! Work that several threads share, and the steps of it that have to be done in order.

use crate::{Error, Result};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Something that is changed in turn: by number zero first, then by number one, whoever is ready first.
pub(super) struct Turns<T> {
    state: Mutex<State<T>>,
    moved: Condvar,
}

struct State<T> {
    next: usize,
    stopped: bool,
    kept: T,
}

impl<T> Turns<T> {
    pub(super) fn new(kept: T) -> Self {
        Self { state: Mutex::new(State { next: 0, stopped: false, kept }), moved: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until all smaller numbers are done, and works then. [`Error::Cancelled`] if one of them failed.
    pub(super) fn take<R>(&self, number: usize, work: impl FnOnce(&mut T) -> Result<R>) -> Result<R> {
        let waiting = |state: &mut State<T>| state.next != number && !state.stopped;
        let mut state = self.moved.wait_while(self.lock(), waiting).unwrap_or_else(PoisonError::into_inner);
        if state.stopped {
            return Err(Error::Cancelled);
        }
        let result = work(&mut state.kept);
        match result {
            Ok(_) => state.next += 1,
            Err(_) => state.stopped = true,
        }
        drop(state);
        self.moved.notify_all();
        result
    }

    /// Nobody waits any more: one failed before its turn.
    pub(super) fn stop(&self) {
        self.lock().stopped = true;
        self.moved.notify_all();
    }

    pub(super) fn into_kept(self) -> T {
        self.state.into_inner().unwrap_or_else(PoisonError::into_inner).kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workers;

    #[test]
    fn turns_are_taken_in_order_and_a_failure_ends_all() {
        let turns = Turns::new(Vec::new());
        workers::each(40, 4, |at| {
            turns.take(at, |kept| {
                kept.push(at);
                Ok(())
            })
        })
        .unwrap();
        assert_eq!(turns.into_kept(), (0..40).collect::<Vec<_>>());

        // The third fails before its turn: those that wait for it go home.
        let turns = Turns::new(());
        let ended = workers::each(4, 4, |at| match at {
            2 => {
                turns.stop();
                Err(Error::Cancelled)
            }
            _ => turns.take(at, |()| Ok(())),
        });
        assert!(ended.is_err());
    }
}
