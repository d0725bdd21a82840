//! Progress: how long work tells its caller how far it has come, and how the caller stops it.

use crate::{Error, Result};
use std::ops::ControlFlow;

/// How far one piece of work has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// What is counted, such as "forward passes".
    pub counted: &'static str,
    /// How many are done.
    pub done: usize,
    /// How many there are.
    pub total: usize,
}

/// Is told of every step, from any thread; [`ControlFlow::Break`] ends the work with [`Error::Cancelled`].
pub type Watch<'a> = dyn Fn(Progress) -> ControlFlow<()> + Send + Sync + 'a;

/// So many seconds as people say them.
pub(crate) fn in_words(seconds: f64) -> String {
    match seconds {
        seconds if seconds < 90.0 => format!("about {seconds:.0} seconds"),
        seconds if seconds < 5400.0 => format!("about {:.0} minutes", seconds / 60.0),
        seconds => format!("about {:.1} hours", seconds / 3600.0),
    }
}

/// A [`Watch`] to keep.
#[derive(Clone)]
pub struct Watcher(std::sync::Arc<Watch<'static>>);

impl Watcher {
    /// Keeps a callback.
    pub fn new(watch: impl Fn(Progress) -> ControlFlow<()> + Send + Sync + 'static) -> Self {
        Self(std::sync::Arc::new(watch))
    }

    /// The callback.
    pub fn watch(&self) -> &Watch<'static> {
        &*self.0
    }
}

impl std::fmt::Debug for Watcher {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Watcher")
    }
}

/// Steps of one stretch of work, counted for a [`Watch`].
pub struct Steps<'a> {
    watch: &'a Watch<'a>,
    counted: &'static str,
    done: std::sync::atomic::AtomicUsize,
    total: usize,
}

impl<'a> Steps<'a> {
    /// None of `total` steps done.
    ///
    /// # Errors
    /// [`Error::Cancelled`].
    pub fn new(watch: &'a Watch<'a>, counted: &'static str, total: usize) -> Result<Self> {
        let steps = Self { watch, counted, done: 0.into(), total };
        steps.advance(0)?;
        Ok(steps)
    }

    /// One more is done, with this result.
    ///
    /// # Errors
    /// That of the work, or else [`Error::Cancelled`].
    pub fn counted<T>(&self, result: Result<T>) -> Result<T> {
        let value = result?;
        self.advance(1)?;
        Ok(value)
    }

    /// So many more are done.
    ///
    /// # Errors
    /// [`Error::Cancelled`].
    pub fn advance(&self, steps: usize) -> Result<()> {
        let done = self.done.fetch_add(steps, std::sync::atomic::Ordering::Relaxed) + steps;
        match (self.watch)(Progress { counted: self.counted, done, total: self.total }) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(Error::Cancelled),
        }
    }
}
