//! The library's errors as exceptions, one kind each.

use pyo3::create_exception;
use pyo3::exceptions::{PyException, PyKeyboardInterrupt};
use pyo3::prelude::*;

create_exception!(decomcam, DecomcamError, PyException, "Why something was refused or failed, in a sentence.");
create_exception!(decomcam, PhotoError, DecomcamError, "A photo that cannot be read or decoded.");
create_exception!(
    decomcam,
    ModelError,
    DecomcamError,
    "A model that is missing, damaged, or uses what this program cannot do."
);
create_exception!(
    decomcam,
    PromptError,
    DecomcamError,
    "A text in which the model knows no word, or a class that it does not have."
);
create_exception!(
    decomcam,
    OptionsError,
    DecomcamError,
    "An option that is out of range, has no effect, or contradicts another one."
);
create_exception!(decomcam, ExplanationError, DecomcamError, "The network failed, or its answer cannot be explained.");
create_exception!(decomcam, DatasetError, DecomcamError, "Annotations or photos of a data set.");
create_exception!(decomcam, OutputError, DecomcamError, "A file or directory that cannot be written.");

/// The exception of an error.
pub fn raised(error: decomcam::Error) -> PyErr {
    let message = error.to_string();
    match error {
        decomcam::Error::Photo(_) => PhotoError::new_err(message),
        decomcam::Error::Model(_) => ModelError::new_err(message),
        decomcam::Error::Prompt(_) => PromptError::new_err(message),
        decomcam::Error::Options(_) => OptionsError::new_err(message),
        decomcam::Error::Explanation(_) => ExplanationError::new_err(message),
        decomcam::Error::Dataset(_) => DatasetError::new_err(message),
        decomcam::Error::Output(_) => OutputError::new_err(message),
        // Who asks to stop is Ctrl-C, or a `Stop`, whose explanation nobody waits for.
        decomcam::Error::Cancelled => PyKeyboardInterrupt::new_err(message),
        _ => DecomcamError::new_err(message),
    }
}

/// Refuses an option's value.
pub fn option<T>(name: &str, found: &str, known: &[&str]) -> PyResult<T> {
    Err(OptionsError::new_err(format!("{name}: expected one of {}; found \"{found}\"", known.join(", "))))
}
