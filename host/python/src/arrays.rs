//! The method on activations and gradients that another program computed.

use crate::errors::{OptionsError, raised};
use crate::session::{method, sign};
use decomcam::explain::{self, GivenLayer, OfGivenLayer};
use decomcam::{Options, Size};
use numpy::{IntoPyArray as _, PyArray1, PyArrayMethods as _, PyReadonlyArray3, PyUntypedArrayMethods as _};
use pyo3::prelude::*;
use pyo3::types::PyDict;

fn made(
    py: Python<'_>,
    activations: &PyReadonlyArray3<'_, f32>,
    gradients: &PyReadonlyArray3<'_, f32>,
    options: &Options,
) -> PyResult<OfGivenLayer> {
    let &[channels, height, width] = activations.shape() else {
        return Err(OptionsError::new_err("expected three axes"));
    };
    if gradients.shape() != activations.shape() {
        let message = format!(
            "expected gradients of the activations' shape {:?}, found {:?}",
            activations.shape(),
            gradients.shape()
        );
        return Err(OptionsError::new_err(message));
    }
    let layer = GivenLayer {
        activations: activations.as_slice()?,
        gradients: gradients.as_slice()?,
        channels,
        size: Size::new(height, width),
    };
    py.detach(|| explain::given_layer(layer, options)).map_err(raised)
}

/// The parts of a layer, as a dict of arrays; `decomcam.decompose` makes its result of it.
#[pyfunction]
#[pyo3(signature = (activations, gradients, *, recipe="exact", channels=None, components=None, sign_rule=None, affinity=None))]
#[expect(clippy::too_many_arguments, reason = "keywords of Python")]
pub fn decompose<'py>(
    py: Python<'py>,
    activations: PyReadonlyArray3<'py, f32>,
    gradients: PyReadonlyArray3<'py, f32>,
    recipe: &str,
    channels: Option<usize>,
    components: Option<usize>,
    sign_rule: Option<&str>,
    affinity: Option<bool>,
) -> PyResult<Bound<'py, PyDict>> {
    let mut options = Options::new().method(method(recipe)?);
    (options.channels, options.components, options.affinity) = (channels, components, affinity);
    options.sign = sign_rule.map(sign).transpose()?;
    let OfGivenLayer { map, parts } = made(py, &activations, &gradients, &options)?;
    let Some((decomposition, weights)) = parts else {
        return Err(OptionsError::new_err(format!(
            "recipe: \"{recipe}\" is a method without parts; call decomcam.cam"
        )));
    };
    let size = map.size;
    let of =
        |number: fn(&explain::Component) -> f32| -> Vec<f32> { decomposition.components.iter().map(number).collect() };
    let maps = |values: fn(&explain::Component) -> &[f32]| {
        let all: Vec<f32> = decomposition.components.iter().flat_map(values).copied().collect();
        all.into_pyarray(py).reshape([decomposition.components.len(), size.height, size.width])
    };
    let made = PyDict::new(py);
    made.set_item("saliency", map.values.clone().into_pyarray(py).reshape([size.height, size.width])?)?;
    made.set_item("components", maps(|component| &component.values)?)?;
    made.set_item("ossms", maps(|component| &component.ossm)?)?;
    made.set_item("weights", weights.into_pyarray(py))?;
    made.set_item("singular_values", of(|component| component.singular_value).into_pyarray(py))?;
    made.set_item("explained_variance", of(|component| component.explained_variance).into_pyarray(py))?;
    made.set_item("predicted", of(|component| component.predicted).into_pyarray(py))?;
    made.set_item("channel_weights", decomposition.channel_weights.clone().into_pyarray(py))?;
    made.set_item("mean", decomposition.mean)?;
    Ok(made)
}

/// The map of a method that needs a layer's activations and gradients alone.
#[pyfunction]
pub fn cam<'py>(
    py: Python<'py>,
    name: &str,
    activations: PyReadonlyArray3<'py, f32>,
    gradients: PyReadonlyArray3<'py, f32>,
) -> PyResult<Bound<'py, numpy::PyArray2<f32>>> {
    let map = made(py, &activations, &gradients, &Options::new().method(method(name)?))?.map;
    PyArray1::from_vec(py, map.values).reshape([map.size.height, map.size.width])
}
