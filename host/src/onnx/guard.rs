//! What is done with a network that may be damaged: a panic of the runtime becomes an error, and numbers are known to be finite.

use crate::arithmetic::processor::settle;
use anyhow::{Context, Result, anyhow, ensure};
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;
use tract_onnx::tract_hir::internal::*;

thread_local! {
    static CONTAINED: Cell<bool> = const { Cell::new(false) };
}

/// Runs something that may panic on a damaged model, and turns a panic into an error.
///
/// The panic's usual report is not printed. A program built with `panic = "abort"` still dies.
///
/// # Errors
/// Those of `work`, and a panic.
pub fn contained<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let report = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !CONTAINED.get() {
                report(info);
            }
        }));
    });
    let outer = CONTAINED.replace(true);
    let outcome = panic::catch_unwind(AssertUnwindSafe(work));
    CONTAINED.set(outer);
    // Kernels run when a network is read, too.
    settle();
    outcome.unwrap_or_else(|panic| {
        let said = (panic.downcast_ref::<&str>().copied())
            .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("without a message");
        Err(anyhow!("the model makes its runtime fail ({said}); it is damaged or uses something the runtime cannot do"))
    })
}

/// The numbers of a tensor of f32, once all are known to be finite.
///
/// # Errors
/// Another type, and a number that is not finite.
pub fn finite(tensor: &TValue) -> Result<Vec<f32>> {
    let values = tensor.try_as_plain_ram()?.as_slice::<f32>()?.to_vec();
    ensure_finite(&values).context("the model is damaged")?;
    Ok(values)
}

/// Refuses NaN and infinities.
///
/// # Errors
/// The first number that is not finite.
pub fn ensure_finite(values: &[f32]) -> Result<()> {
    let strange = values.iter().find(|value| !value.is_finite());
    ensure!(strange.is_none(), "expected finite numbers, found {}", strange.unwrap_or(&f32::NAN));
    Ok(())
}
