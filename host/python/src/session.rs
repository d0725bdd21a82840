//! An open model, and explanations.

use crate::errors::{OptionsError, option, raised};
use decomcam::model::{ModelOptions, Preprocessing};
use decomcam::photo::Fit;
use decomcam::report::{Answer, Outputs, describe};
use decomcam::timings::Timings;
use decomcam::{Integrate, Method, Options, Photo, Prompt, Question, SessionOptions, Size};
use decomcam_core::SignRule;
use image::RgbImage;
use numpy::{PyArray1, PyArray2, PyArray3, PyArrayMethods as _, PyReadonlyArray3, PyUntypedArrayMethods as _};
use pyo3::prelude::*;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A method by its name.
pub fn method(name: &str) -> PyResult<Method> {
    name.parse().map_err(raised)
}

/// A sign rule by its name.
pub fn sign(name: &str) -> PyResult<SignRule> {
    let rules = [SignRule::Score, SignRule::LargestLoading, SignRule::LargestEntry];
    let names = rules.map(decomcam::methods::sign_name);
    rules
        .into_iter()
        .find(|rule| decomcam::methods::sign_name(*rule) == name)
        .map_or_else(|| option("sign", name, &names), Ok)
}

fn integrate(name: &str) -> PyResult<Integrate> {
    let places = [Integrate::Photo, Integrate::Features];
    let names = places.map(Integrate::name);
    places.into_iter().find(|place| place.name() == name).map_or_else(|| option("integrate", name, &names), Ok)
}

fn preset(name: &str) -> PyResult<Preprocessing> {
    let known = [
        ("imagenet", Preprocessing::IMAGENET),
        ("clip", Preprocessing::CLIP),
        ("half", Preprocessing::HALF),
        ("tf", Preprocessing::TF),
        ("raw", Preprocessing::RAW),
    ];
    let names = known.map(|(name, _)| name);
    known
        .into_iter()
        .find(|(known, _)| *known == name)
        .map_or_else(|| option("preset", name, &names), |(_, preset)| Ok(preset))
}

/// Pixels, or where they lie.
enum Source {
    Path(PathBuf),
    Bytes(Vec<u8>),
    Pixels(RgbImage),
}

impl Source {
    /// A path, the bytes of a file, or an array of height x width x 3 bytes; the package makes such an array of a picture of PIL.
    fn of(photo: &Bound<'_, PyAny>) -> PyResult<Self> {
        if let Ok(array) = photo.extract::<PyReadonlyArray3<'_, u8>>() {
            let &[height, width, 3] = array.shape() else {
                return Err(OptionsError::new_err(format!(
                    "photo: expected height x width x 3, found {:?}",
                    array.shape()
                )));
            };
            let values: Vec<u8> = array.as_array().iter().copied().collect();
            let sides = u32::try_from(width).ok().zip(u32::try_from(height).ok());
            let pixels = sides
                .filter(|_| !values.is_empty())
                .and_then(|(width, height)| RgbImage::from_raw(width, height, values));
            return pixels.map(Self::Pixels).ok_or_else(|| OptionsError::new_err("photo: an array without pixels"));
        }
        if let Ok(bytes) = photo.extract::<Vec<u8>>() {
            return Ok(Self::Bytes(bytes));
        }
        match photo.extract::<PathBuf>() {
            Ok(path) => Ok(Self::Path(path)),
            Err(_) => Err(OptionsError::new_err(format!(
                "photo: expected a path, bytes, a picture of PIL, or an array of height x width x 3 bytes (uint8); found {}",
                photo.get_type().name()?
            ))),
        }
    }

    /// Reads and decodes it; `name` is what one without a path is called.
    fn read(self, name: Option<&str>) -> decomcam::Result<Photo> {
        match self {
            Self::Path(path) => Photo::open(path),
            Self::Bytes(bytes) => Photo::from_bytes(name.unwrap_or("bytes"), &bytes),
            Self::Pixels(pixels) => Ok(Photo::from_pixels(name.unwrap_or("array"), pixels)),
        }
    }
}

/// Ends explanations on other threads, which no signal of Python's reaches.
#[pyclass(frozen, module = "decomcam._native")]
pub struct Stop(Arc<AtomicBool>);

#[pymethods]
impl Stop {
    #[new]
    fn new() -> Self {
        Self(Arc::default())
    }

    /// Explanations that were given this end before their next pass.
    fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// An open model. Networks are loaded when they are first needed, once.
#[pyclass(frozen, module = "decomcam._native")]
pub struct Session(Arc<decomcam::Session>);

/// How one explanation is made beside others.
struct Beside {
    threads: usize,
    stop: Option<Arc<AtomicBool>>,
}

#[pymethods]
impl Session {
    #[new]
    #[pyo3(signature = (model="lite", *, size=None, fit=None, margin=None, threads=None, labels=None, output=None, preset_name=None, mean=None, std=None, precision=None, layer=None, layerless=false, faithful=false))]
    #[expect(clippy::too_many_arguments, reason = "keywords of Python")]
    fn new(
        py: Python<'_>,
        model: &str,
        size: Option<(usize, usize)>,
        fit: Option<&str>,
        margin: Option<usize>,
        threads: Option<usize>,
        labels: Option<PathBuf>,
        output: Option<String>,
        preset_name: Option<&str>,
        mean: Option<[f32; 3]>,
        std: Option<[f32; 3]>,
        precision: Option<String>,
        layer: Option<String>,
        layerless: bool,
        faithful: bool,
    ) -> PyResult<Self> {
        let mut of_model = ModelOptions::new().faithful(faithful);
        of_model.labels = labels.map(Into::into);
        of_model.output = output;
        of_model.preset = preset_name.map(preset).transpose()?;
        (of_model.mean, of_model.std) = (mean, std);
        of_model.precision = precision;
        of_model.layer = layer;
        of_model.layerless = layerless;
        let mut options = SessionOptions::new().model(of_model);
        options.size = size.map(|(height, width)| Size::new(height, width));
        options.fit = fit.map(str::parse::<Fit>).transpose().map_err(raised)?;
        (options.margin, options.threads) = (margin, threads);
        let session = py.detach(|| decomcam::Session::open_with(model, &options)).map_err(raised)?;
        Ok(Self(Arc::new(session.watching(|_| {
            // Ctrl-C: Python notes the signal and acts on it when it is asked.
            match Python::attach(|py| py.check_signals()) {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            }
        }))))
    }

    /// Name, layers, classes and preparation, as text.
    fn describe(&self) -> PyResult<String> {
        describe(self.0.model()).map_err(raised)
    }

    /// The names of the layers that can be explained.
    #[getter]
    fn layers(&self) -> Vec<String> {
        self.0.model().manifest.image.layers.iter().map(|layer| layer.name.clone()).collect()
    }

    /// How many threads it was opened with.
    #[getter]
    fn threads(&self) -> usize {
        self.0.threads()
    }

    /// The SHA-256 of the model's files.
    #[getter]
    fn model_sha256(&self) -> String {
        self.0.model().sha256()
    }

    #[pyo3(signature = (photo, text=None, *, versus=None, score=None, method_name="exact", layer=None, components=None, channels=None, scales=None, affinity=None, refine=None, one_sided=None, sign_rule=None, integrate_in=None, names=Vec::new(), rise_masks=None, seed=0, check=true, photo_name=None, threads=None, stop=None))]
    #[expect(clippy::too_many_arguments, reason = "keywords of Python")]
    fn explain(
        &self,
        py: Python<'_>,
        photo: &Bound<'_, PyAny>,
        text: Option<String>,
        versus: Option<String>,
        score: Option<String>,
        method_name: &str,
        layer: Option<String>,
        components: Option<usize>,
        channels: Option<usize>,
        scales: Option<usize>,
        affinity: Option<bool>,
        refine: Option<bool>,
        one_sided: Option<bool>,
        sign_rule: Option<&str>,
        integrate_in: Option<&str>,
        names: Vec<String>,
        rise_masks: Option<usize>,
        seed: u64,
        check: bool,
        photo_name: Option<&str>,
        threads: Option<usize>,
        stop: Option<&Stop>,
    ) -> PyResult<Explanation> {
        let mut options = Options::new().method(method(method_name)?).names(names).seed(seed);
        (options.layer, options.components, options.channels) = (layer, components, channels);
        (options.scales, options.affinity, options.refine, options.rise_masks) = (scales, affinity, refine, rise_masks);
        options.one_sided = one_sided;
        options.unchecked = !check;
        options.sign = sign_rule.map(sign).transpose()?;
        options.integrate = integrate_in.map(integrate).transpose()?;
        let source = Source::of(photo)?;
        let session = Arc::clone(&self.0);
        let beside = Beside {
            threads: threads.unwrap_or_else(|| session.threads()),
            stop: stop.map(|stop| Arc::clone(&stop.0)),
        };
        py.detach(|| {
            let photo = source.read(photo_name)?;
            Explanation::new(session, photo, text, versus.as_deref(), score.as_deref(), &options, &beside)
        })
        .map_err(raised)
    }

    /// The texts by how well they fit the photo, as JSON.
    fn rank(&self, py: Python<'_>, photo: &Bound<'_, PyAny>, texts: Vec<String>) -> PyResult<String> {
        let source = Source::of(photo)?;
        let ranked = py.detach(|| {
            let prompts = texts.iter().map(|text| self.0.prompt(&text[..])).collect::<decomcam::Result<Vec<_>>>()?;
            self.0.rank(&source.read(None)?, &prompts)
        });
        json(&ranked.map_err(raised)?)
    }
}

fn json(value: &impl serde::Serialize) -> PyResult<String> {
    serde_json::to_string(value).map_err(|error| OptionsError::new_err(error.to_string()))
}

/// Why a photo got its score.
#[pyclass(frozen, module = "decomcam._native")]
pub struct Explanation {
    session: Arc<decomcam::Session>,
    photo: Photo,
    prompt: Prompt,
    explanation: decomcam::Explanation,
    timings: Timings,
    outputs: Outputs,
}

impl Explanation {
    fn new(
        session: Arc<decomcam::Session>,
        photo: Photo,
        text: Option<String>,
        versus: Option<&str>,
        score: Option<&str>,
        options: &Options,
        beside: &Beside,
    ) -> decomcam::Result<Self> {
        let text = match text {
            Some(text) => text,
            None => session.predicted(&photo, options, score)?,
        };
        let prompt = session.prompt(Question { text: &text, versus, score })?;
        let watch = |progress| match &beside.stop {
            Some(stop) if stop.load(Ordering::Relaxed) => ControlFlow::Break(()),
            _ => session.watch()(progress),
        };
        let explanation = session.explain_on(&photo, &prompt, options, (beside.threads, &watch))?;
        let mut timings = session.loading();
        timings.append(&explanation.timings);
        Ok(Self { session, photo, prompt, explanation, timings, outputs: Outputs::default() })
    }

    fn answer(&self) -> Answer<'_> {
        Answer {
            model: self.session.model(),
            photo: &self.photo,
            prompt: &self.prompt,
            explanation: &self.explanation,
            timings: &self.timings,
            outputs: &self.outputs,
        }
    }
}

#[pymethods]
impl Explanation {
    /// height x width of the photo, from 0 to 1.
    #[getter]
    fn saliency<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let size = self.photo.size();
        let values = py.detach(|| self.explanation.saliency(&self.photo)).map_err(raised)?;
        PyArray1::from_vec(py, values).reshape([size.height, size.width])
    }

    /// The map before it is upsampled, height x width of its grid; with `exact` negative where the photo speaks against the score.
    #[getter]
    fn grid<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let map = &self.explanation.map;
        PyArray1::from_slice(py, &map.values).reshape([map.size.height, map.size.width])
    }

    /// Parts x height x width of their grid, one OSSM each; none for methods without parts.
    #[getter]
    fn ossms<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyArray3<f32>>>> {
        let Some(parts) = &self.explanation.parts else { return Ok(None) };
        let values: Vec<f32> = parts.list.iter().flat_map(|part| &part.component.ossm).copied().collect();
        PyArray1::from_vec(py, values).reshape([parts.list.len(), parts.size.height, parts.size.width]).map(Some)
    }

    /// Top, left, height and width of the rectangle of the photo that grids cover, in pixels; it may reach beyond the photo.
    #[getter]
    fn framing(&self) -> (i64, i64, usize, usize) {
        let framing = self.explanation.framing;
        (framing.top, framing.left, framing.size.height, framing.size.width)
    }

    /// The map of the part of this number, refined if the saliency map is, on the photo: height x width, not negative, not scaled.
    fn part_saliency<'py>(&self, py: Python<'py>, number: usize) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let parts = self.explanation.parts.iter().flat_map(|parts| &parts.list);
        let part = parts
            .into_iter()
            .nth(number.wrapping_sub(1))
            .ok_or_else(|| OptionsError::new_err(format!("no part of number {number}")))?;
        let size = self.photo.size();
        let values = py.detach(|| {
            let refined = self.explanation.refined(&part.component.ossm)?;
            let mut values = self.explanation.placement(&self.photo).upsampled(&refined.values)?;
            values.iter_mut().for_each(|value| *value = value.max(0.0));
            Ok(values)
        });
        PyArray1::from_vec(py, values.map_err(raised)?).reshape([size.height, size.width])
    }

    /// The photo that was explained, upright: height x width x 3.
    #[getter]
    fn photo<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArray3<u8>>> {
        let size = self.photo.size();
        PyArray1::from_slice(py, self.photo.pixels.as_raw()).reshape([size.height, size.width, 3])
    }

    /// What `explanation.json` holds.
    fn json(&self) -> PyResult<String> {
        json(&self.answer().report(&[]).map_err(raised)?)
    }

    /// What the command prints.
    fn summary(&self) -> String {
        self.answer().summary()
    }

    /// Writes the files that the command writes, and returns their paths.
    fn save(&self, py: Python<'_>, directory: PathBuf) -> PyResult<Vec<PathBuf>> {
        py.detach(|| {
            decomcam::files::prepare_directory(&directory)?;
            self.answer().write(&directory)
        })
        .map_err(raised)
    }
}
