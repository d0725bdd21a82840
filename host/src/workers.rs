//! Work that several threads share.
//!
//! Independent pieces of work, such as photos, go to threads of their own ([`each`], [`both`]). Where one piece of work is all there is, its loops are shared:
//! [`shared`] says among how many threads, and `portions`, deep inside it, shares. Loops that nobody said this of run on the thread that calls them, so that
//! in a batch each photo has one. What is computed never depends on the number of threads.

use crate::error::Sorted as _;
use crate::{Error, Result};
use anyhow::anyhow;
use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

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

/// Runs `work`; so many threads share its loops. The threads are kept for the next time.
pub fn shared<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
    match pool(threads) {
        Some(pool) => pool.install(work),
        None => work(),
    }
}

/// Both results, computed at the same time by so many threads: one that is done with its own helps with the [`portions`] of the other. Without a second thread,
/// `b` comes first.
///
/// # Errors
/// The error of the first, or else that of the second.
pub(crate) fn together<A: Send, B: Send>(
    threads: usize,
    a: impl FnOnce() -> Result<A> + Send,
    b: impl FnOnce() -> Result<B> + Send,
) -> Result<(A, B)> {
    let (a, b) = match pool(threads) {
        Some(pool) => pool.install(|| rayon::join(a, b)),
        None => {
            let b = b();
            (a(), b)
        }
    };
    Ok((a?, b?))
}

/// Waits in the first work of [`together`] for what the second has to tell, and helps others meanwhile: the second may not have been begun.
pub(crate) fn wait<T>(mut told: impl FnMut() -> Option<T>) -> T {
    loop {
        if let Some(told) = told() {
            return told;
        }
        if rayon::yield_now() != Some(rayon::Yield::Executed) {
            std::thread::sleep(Duration::from_micros(20));
        }
    }
}

/// How many threads share the [`portions`] of the work that this is called in.
pub(crate) fn sharing() -> usize {
    if rayon::current_thread_index().is_some() { rayon::current_num_threads() } else { 1 }
}

/// Does `work` for each portion of so many numbers, with the number of the portion; the last may be shorter.
///
/// # Errors
/// One of those of `work`.
pub(crate) fn portions<T: Send, E: Send>(
    data: &mut [T],
    length: usize,
    work: impl Fn(usize, &mut [T]) -> Result<(), E> + Sync,
) -> Result<(), E> {
    let length = length.max(1);
    if sharing() == 1 || data.len() <= length {
        return data.chunks_mut(length).enumerate().try_for_each(|(at, portion)| work(at, portion));
    }
    data.par_chunks_mut(length).enumerate().with_max_len(1).try_for_each(|(at, portion)| work(at, portion))
}

/// How many of `count` things a portion has, a multiple of `unit`: all of them, if one thread does the work or if it is not worth sharing, as it takes only so
/// many `operations`; else so many that each thread gets `each` portions.
pub(crate) fn portion(count: usize, unit: usize, each: usize, operations: usize) -> usize {
    /// A thread that sleeps takes some microseconds to come.
    const WORTH_SHARING: usize = 200_000;
    let portions = if operations < WORTH_SHARING { 1 } else { sharing() };
    if portions == 1 { count } else { count.div_ceil(portions * each).next_multiple_of(unit) }
}

/// The threads that share loops; none if one is enough, or if the system gives no more.
fn pool(threads: usize) -> Option<Arc<ThreadPool>> {
    static POOLS: Mutex<Vec<Arc<ThreadPool>>> = Mutex::new(Vec::new());
    if threads < 2 {
        return None;
    }
    let mut pools = POOLS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(pool) = pools.iter().find(|pool| pool.current_num_threads() == threads) {
        return Some(Arc::clone(pool));
    }
    let pool = Arc::new(ThreadPoolBuilder::new().num_threads(threads).build().ok()?);
    pools.push(Arc::clone(&pool));
    Some(pool)
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
    fn loops_are_shared_only_where_somebody_said_so() {
        let doubled = || {
            let mut numbers: Vec<usize> = (0..100).collect();
            let double = |at: usize, portion: &mut [usize]| {
                assert_eq!(portion[0], 7 * at);
                portion.iter_mut().for_each(|number| *number *= 2);
                Ok::<_, ()>(())
            };
            portions(&mut numbers, 7, double).unwrap();
            (numbers, sharing())
        };
        let expected: Vec<usize> = (0..100).map(|number| 2 * number).collect();
        assert_eq!(doubled(), (expected.clone(), 1));
        for threads in [1, 2, 3] {
            assert_eq!(shared(threads, doubled), (expected.clone(), threads));
        }
    }

    #[test]
    fn the_first_may_wait_for_the_second() {
        let meet = |threads: usize| {
            let (tell, told) = std::sync::mpsc::channel();
            let waited = together(threads, move || Ok(wait(|| told.try_recv().ok())), || Ok(tell.send(5).is_ok()));
            waited.unwrap()
        };
        for threads in [1, 2, 3] {
            assert_eq!(meet(threads), (5, true));
        }
        // However many there are, each waits for its own.
        std::thread::scope(|scope| (0..8).for_each(|_| drop(scope.spawn(|| assert_eq!(meet(2), (5, true))))));
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
