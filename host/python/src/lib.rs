//! The Python module `decomcam._native`. It turns Python's values into those of the library `decomcam` and back; what it explains, the library explains. The
//! package `decomcam` around it adds what is more easily said in Python.

mod arrays;
mod command;
mod errors;
mod many;
mod session;

use pyo3::prelude::*;

#[pymodule]
mod _native {
    #[pymodule_export]
    use super::arrays::{cam, decompose};
    #[pymodule_export]
    use super::command::command;
    #[pymodule_export]
    use super::errors::{
        DatasetError, DecomcamError, ExplanationError, ModelError, OptionsError, OutputError, PhotoError, PromptError,
    };
    #[pymodule_export]
    use super::many::{named_as_photo, photos, share_of};
    #[pymodule_export]
    use super::session::{Explanation, Session, Stop};
    use super::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
