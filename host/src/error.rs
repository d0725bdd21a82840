//! What can go wrong, sorted by where the remedy lies.

use std::fmt;

/// What every public function of this library answers with.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why something was refused or failed. The message is one sentence or two that name the file or option, what was expected, what was found and what to
/// do; the variant says where the remedy lies.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A photo that cannot be read or decoded.
    #[error("{0}")]
    Photo(Cause),
    /// A model's folder, manifest, network or labels: missing, damaged, or using what this program cannot do.
    #[error("{0}")]
    Model(Cause),
    /// A prompt in which the model knows no word, or a class that it does not have.
    #[error("{0}")]
    Prompt(Cause),
    /// An option that is out of range, has no effect, or contradicts another one.
    #[error("{0}")]
    Options(Cause),
    /// The network failed, or its answer cannot be explained.
    #[error("{0}")]
    Explanation(Cause),
    /// Annotations or photos of a data set.
    #[error("{0}")]
    Dataset(Cause),
    /// A capsule or another recording for boards.
    #[error("{0}")]
    Board(Cause),
    /// A file or directory that cannot be written.
    #[error("{0}")]
    Output(Cause),
    /// The caller's progress callback asked to stop.
    #[error("stopped on request")]
    Cancelled,
}

/// The message of an [`Error`], causes included.
#[derive(Debug)]
pub struct Cause(anyhow::Error);

impl fmt::Display for Cause {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:#}", self.0)
    }
}

/// Sorts the failures of a room: `work().kind(Error::Photo)`. What another room has sorted already keeps its kind.
pub(crate) trait Sorted<T> {
    /// The same result, its failure of this kind.
    fn kind(self, kind: fn(Cause) -> Error) -> Result<T>;
}

impl<T> Sorted<T> for anyhow::Result<T> {
    fn kind(self, kind: fn(Cause) -> Error) -> Result<T> {
        self.map_err(|cause| match cause.chain().find_map(|error| error.downcast_ref::<Error>()) {
            Some(Error::Cancelled) => Error::Cancelled,
            Some(sorted) => sorted.constructor()(Cause(cause)),
            None => kind(Cause(cause)),
        })
    }
}

impl From<decomcam_core::Error> for Error {
    fn from(cause: decomcam_core::Error) -> Self {
        Self::Explanation(Cause(cause.into()))
    }
}

impl Error {
    fn constructor(&self) -> fn(Cause) -> Self {
        match self {
            Self::Photo(_) => Self::Photo,
            Self::Model(_) => Self::Model,
            Self::Prompt(_) => Self::Prompt,
            Self::Options(_) => Self::Options,
            Self::Explanation(_) => Self::Explanation,
            Self::Dataset(_) => Self::Dataset,
            Self::Board(_) => Self::Board,
            Self::Output(_) => Self::Output,
            Self::Cancelled => |_| Self::Cancelled,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::{Context as _, anyhow};

    #[test]
    fn the_innermost_room_sorts_and_the_message_stays_whole() {
        let inner: Result<()> = Err(anyhow!("no such file")).kind(Error::Photo);
        let outer = inner.context("cat.jpg").kind(Error::Explanation).unwrap_err();
        assert!(matches!(outer, Error::Photo(_)), "{outer:?}");
        assert_eq!(outer.to_string(), "cat.jpg: no such file");
        let stopped: Result<()> = Err(Error::Cancelled);
        assert!(matches!(stopped.context("photo 3").kind(Error::Output), Err(Error::Cancelled)));
    }
}
