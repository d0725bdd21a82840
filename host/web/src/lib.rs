//! decomcam in the browser: the library as a WebAssembly module. A photo's bytes and a question go in; the report's page, its JSON and its pictures come out.
//!
//! The module opens the bundled model, or a network that somebody brings, and works on one thread. It is run in a Web Worker, which calls back through `progressed` and is ended when the work is
//! to be stopped.

use decomcam::board::capsule;
use decomcam::compare::{CompareOptions, compare};
use decomcam::model::{Labels, Model, ModelOptions};
use decomcam::report::{self, Outputs};
use decomcam::session::Purpose;
use decomcam::timings::Timings;
use decomcam::{Error, Explanation, Method, Options, Photo, Prompt, Question, Session, SessionOptions, files};
use serde::Deserialize;
use std::ops::ControlFlow;
use wasm_bindgen::prelude::*;

/// The bundled model.
const MODEL: &str = "lite";

#[wasm_bindgen]
extern "C" {
    /// Is told how far the work has come: what is counted, how many are done, how many there are.
    fn progressed(counted: &str, done: usize, total: usize);
}

/// Lets a panic say what happened: its message becomes an exception of JavaScript. The module cannot be used afterwards.
#[cfg(target_arch = "wasm32")]
#[wasm_bindgen(start)]
fn start() {
    std::panic::set_hook(Box::new(|info| wasm_bindgen::throw_val(format!("panic: {info}").into())));
}

fn thrown(error: Error) -> JsError {
    JsError::new(&error.to_string())
}

/// A question about a photo, as the page asks it. What is left out is left to the model.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Asked {
    /// What the model sees if nothing is given.
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    versus: Option<String>,
    #[serde(default)]
    method: Option<String>,
    #[serde(default)]
    scales: Option<usize>,
    #[serde(default)]
    affinity: Option<bool>,
    #[serde(default)]
    unchecked: bool,
}

impl Asked {
    fn read(json: &str) -> Result<Self, JsError> {
        Ok(serde_json::from_str(json)?)
    }

    fn prompt(&self, session: &Session, photo: &Photo) -> Result<Prompt, Error> {
        let seen = match &self.text {
            Some(_) => None,
            None => Some(session.predicted(photo, &self.options()?, None)?),
        };
        let text = self.text.as_ref().or(seen.as_ref()).map_or("", String::as_str);
        session.prompt(Question { text, versus: self.versus.as_deref(), score: None })
    }

    fn options(&self) -> Result<Options, Error> {
        let mut options = Options::new().method(self.method.as_deref().map_or(Ok(Method::default()), str::parse)?);
        (options.scales, options.affinity, options.unchecked) = (self.scales, self.affinity, self.unchecked);
        Ok(options)
    }

    /// The command that gives the same answer.
    fn command(&self, photo: &str, network: Option<&Network>) -> String {
        let quoted = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
        let mut command = format!("decomcam explain {}", quoted(photo));
        let options = [
            ("text", self.text.as_deref().map(quoted)),
            ("versus", self.versus.as_deref().map(quoted)),
            ("model", network.map(|network| quoted(&network.name))),
            ("labels", network.and_then(|network| network.labels.as_deref()).map(quoted)),
            ("method", self.method.clone()),
            ("scales", self.scales.map(|scales| scales.to_string())),
            ("affinity", self.affinity.map(|on| if on { "on" } else { "off" }.into())),
        ];
        for (name, value) in options {
            if let Some(value) = value {
                command += &format!(" --{name} {value}");
            }
        }
        command
    }
}

/// A network that somebody brought: the names of its file and of that with its labels.
struct Network {
    name: String,
    labels: Option<String>,
}

/// An open model. Its networks are loaded when they are first needed, and kept.
#[wasm_bindgen]
pub struct Engine {
    session: Session,
    network: Option<Network>,
}

#[wasm_bindgen]
impl Engine {
    /// Opens the bundled model, once its files are known to be whole.
    #[wasm_bindgen(constructor)]
    pub fn new() -> Result<Self, JsError> {
        let open = || {
            let model = Model::bundled(MODEL)?;
            model.verify()?;
            Self::of(model, None)
        };
        open().map_err(thrown)
    }

    /// Opens an ONNX or `.tflite` file, given as its bytes. The names of its classes are the text of a file, one on each line or as JSON; their numbers if not given.
    pub fn with_network(
        name: String,
        bytes: Vec<u8>,
        labels: Option<String>,
        text: Option<String>,
    ) -> Result<Self, JsError> {
        let open = || {
            let mut options = ModelOptions::new();
            options.labels = text.map(Labels::Text);
            let model = Model::from_network(&name, bytes, &options)?;
            Self::of(model, Some(Network { name, labels }))
        };
        open().map_err(thrown)
    }

    fn of(model: Model, network: Option<Network>) -> decomcam::Result<Self> {
        let session = Session::with_model(model, &SessionOptions::new().threads(1))?.watching(|progress| {
            progressed(progress.counted, progress.done, progress.total);
            ControlFlow::Continue(())
        });
        Ok(Self { session, network })
    }

    /// Loads the networks that an explanation needs, before somebody asks for one. What is wrong with them is said when somebody does.
    pub fn load(&self) {
        let manifest = &self.session.model().manifest;
        let load = || {
            let request = Options::new().resolve(manifest)?;
            self.session.towers(&[request], &manifest.explain.explained, Purpose::Explanation)?;
            self.session.prompt("a photo")
        };
        drop(load());
    }

    /// Explains a photo, given as the bytes of its file; `asked` is an object as JSON.
    pub fn explain(&self, name: &str, photo: &[u8], asked: &str) -> Result<Answer, JsError> {
        let asked = Asked::read(asked)?;
        let work = || {
            let photo = Photo::from_bytes(name, photo)?;
            let prompt = asked.prompt(&self.session, &photo)?;
            let explanation = self.session.explain(&photo, &prompt, &asked.options()?)?;
            let mut timings = self.session.loading();
            timings.append(&explanation.timings);
            let mut outputs = Outputs::default();
            outputs.command = Some(asked.command(name, self.network.as_ref()));
            Answer::new(&self.session, (photo, prompt, explanation), &timings, &outputs)
        };
        work().map_err(thrown)
    }

    /// The usual methods side by side on a photo.
    pub fn compare(&self, name: &str, photo: &[u8], asked: &str) -> Result<Comparison, JsError> {
        let asked = Asked::read(asked)?;
        let work = || {
            let photo = Photo::from_bytes(name, photo)?;
            let mut options = CompareOptions::default();
            options.options = asked.options()?.method(Method::default());
            options.options.unchecked = false;
            let compared = compare(&self.session, &photo, &asked.prompt(&self.session, &photo)?, &options)?;
            let mut png = Vec::new();
            files::write_png(&mut png, &compared.picture(&photo)?)?;
            Ok(Comparison { png, table: compared.table(), json: json(&compared)? })
        };
        work().map_err(thrown)
    }
}

/// Why a photo got its score, in the forms that the page shows and saves.
#[wasm_bindgen]
pub struct Answer {
    page: String,
    json: String,
    overlay: Vec<u8>,
    explanation: Explanation,
}

impl Answer {
    fn new(
        session: &Session,
        (photo, prompt, explanation): (Photo, Prompt, Explanation),
        timings: &Timings,
        outputs: &Outputs,
    ) -> decomcam::Result<Self> {
        let (model, photo, prompt) = (session.model(), &photo, &prompt);
        let answer = report::Answer { model, photo, prompt, explanation: &explanation, timings, outputs };
        let mut overlay = Vec::new();
        files::write_png(&mut overlay, &answer.overlay()?)?;
        Ok(Self { page: answer.page()?, json: json(&answer.report(&[])?)?, overlay, explanation })
    }
}

#[wasm_bindgen]
impl Answer {
    /// `report.html`.
    pub fn page(&self) -> String {
        self.page.clone()
    }

    /// `explanation.json`.
    pub fn json(&self) -> String {
        self.json.clone()
    }

    /// `overlay.png`.
    pub fn overlay(&self) -> Vec<u8> {
        self.overlay.clone()
    }

    /// The map before it is upsampled.
    pub fn grid(&self) -> Vec<f32> {
        self.explanation.map.values.clone()
    }

    /// The maps of all parts before they are upsampled, one after the other; empty for methods without parts.
    pub fn ossms(&self) -> Vec<f32> {
        let parts = self.explanation.parts.iter().flat_map(|parts| &parts.list);
        parts.flat_map(|part| part.component.ossm.iter().copied()).collect()
    }

    /// What the core computed, to be computed again elsewhere: the capsule that `decomcam replay` reads. Of an explanation of one pass of the network.
    pub fn capsule(&self) -> Result<Vec<u8>, JsError> {
        capsule::record(&self.explanation, true).map_err(thrown)
    }
}

/// Several methods on one photo.
#[wasm_bindgen]
pub struct Comparison {
    png: Vec<u8>,
    table: String,
    json: String,
}

#[wasm_bindgen]
impl Comparison {
    /// `comparison.png`.
    pub fn png(&self) -> Vec<u8> {
        self.png.clone()
    }

    /// What the terminal shows.
    pub fn table(&self) -> String {
        self.table.clone()
    }

    /// `comparison.json`.
    pub fn json(&self) -> String {
        self.json.clone()
    }
}

/// Every method as JSON: name, what it is, and whether its map can be taken at one size or two.
#[wasm_bindgen]
pub fn methods() -> String {
    let described = Method::all().map(|method| (method.name(), method.help(), method.takes_grid()));
    serde_json::json!(described.collect::<Vec<_>>()).to_string()
}

/// The name and version of the program.
#[wasm_bindgen]
pub fn program() -> String {
    decomcam::program::PROGRAM.into()
}

/// Computes a capsule again, and says of each stage whether every bit is equal.
#[wasm_bindgen]
pub fn replay(bytes: &[u8]) -> Result<String, JsError> {
    capsule::replay_bytes(bytes).map(|replay| capsule::table(&replay)).map_err(thrown)
}

/// Panics, for the tests of what the page does then.
#[wasm_bindgen]
pub fn fail() {
    panic!("asked to fail");
}

fn json(value: &impl serde::Serialize) -> decomcam::Result<String> {
    let mut text = Vec::new();
    files::write_json(&mut text, value)?;
    Ok(String::from_utf8(text).unwrap_or_default())
}
