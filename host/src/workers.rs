//! Work that several threads share.

use crate::error::Sorted as _;
use crate::{Error, Result};
use anyhow::anyhow;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Does `work(0)` to `work(count - 1)` on several threads, each by the first that is free, and returns the results in this order.
///
/// # Errors
/// The error of the smallest number whose work failed. After a failure no more work is begun.
pub fn each<T: Send>(count: usize, threads: usize, work: impl Fn(usize) -> Result<T> + Sync) -> Result<Vec<T>> {
    let next = AtomicUsize::new(0);
    let labour = || {
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= count {
                return done;
            }
            let result = work(at);
            if result.is_err() {
                next.store(count, Ordering::Relaxed);
            }
            done.push((at, result));
        }
    };
    let mut done = std::thread::scope(|scope| -> Result<_> {
        let others: Vec<_> = (1..threads.min(count)).map(|_| scope.spawn(labour)).collect();
        let mut done = labour();
        for other in others {
            done.extend(joined(other)?);
        }
        Ok(done)
    })?;
    done.sort_unstable_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}

/// Both results, computed at the same time if there are two threads.
///
/// # Errors
/// The error of the first, or else that of the second.
pub fn both<A, B: Send>(
    threads: usize,
    a: impl FnOnce() -> Result<A>,
    b: impl FnOnce() -> Result<B> + Send,
) -> Result<(A, B)> {
    if threads < 2 {
        return Ok((a()?, b()?));
    }
    std::thread::scope(|scope| {
        let b = scope.spawn(b);
        let a = a();
        let b = joined(b)?;
        Ok((a?, b?))
    })
}

fn joined<T>(thread: std::thread::ScopedJoinHandle<'_, T>) -> Result<T> {
    let stopped = "a worker thread stopped unexpectedly; this is a fault of the program: please report it";
    thread.join().map_err(|_| anyhow!(stopped)).kind(Error::Explanation)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;

    #[test]
    fn results_are_in_order_whoever_finds_them() {
        for threads in [0, 1, 2, 7] {
            assert_eq!(each(5, threads, |at| Ok(at * at)).unwrap(), [0, 1, 4, 9, 16]);
        }
        assert!(each(0, 2, Ok).unwrap().is_empty());
    }

    #[test]
    fn work_is_done_at_the_same_time() {
        let meeting = Barrier::new(2);
        each(2, 2, |_| Ok(meeting.wait().is_leader())).unwrap();
        both(2, || Ok(meeting.wait().is_leader()), || Ok(meeting.wait().is_leader())).unwrap();
    }

    #[test]
    fn nothing_is_begun_after_a_failure() {
        let begun = AtomicUsize::new(0);
        let work = |at| {
            begun.fetch_add(1, Ordering::Relaxed);
            if at == 3 { Err(anyhow!("number {at} failed")).kind(Error::Explanation) } else { Ok(at) }
        };
        assert_eq!(each(100, 1, work).unwrap_err().to_string(), "number 3 failed");
        assert_eq!(begun.into_inner(), 4);
    }
}
