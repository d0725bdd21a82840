//! What an engineer links so that a board explains a network: its linear head as constants and one call, in C and in Rust, with a self-test.
//!
//! | file | what |
//! |---|---|
//! | [`ending`] | the average and the linear layer behind a layer, of a `.tflite` or an ONNX file |
//! | [`test`](mod@test) | the recording that a board computes again |
//! | `text` | numbers as source code |
//! | `*.jinja` | the files that are written |

pub mod ending;
pub mod test;
mod text;

use crate::error::Sorted as _;
use crate::explain::CHANNELS_MAX;
use crate::hash::sha256_hex;
use crate::program::PROGRAM;
use crate::tflite::{Program, tables};
use crate::{Error, Photo, Result, Session};
use anyhow::{Context as _, ensure};
use decomcam_core::{channels::Channel, decompose, head};
use ending::{Ending, Numbers};
use minijinja::{Environment, Value, context};
use std::path::Path;
use test::Recorded;
use text::{Source, words};

/// Channels that are decomposed unless another number is asked for, and parts.
const USUAL: (usize, usize) = (100, 10);

/// What is asked for.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Wanted<'a> {
    /// The layer; the one that is averaged, if not given.
    pub layer: Option<&'a str>,
    /// P, the channels that are decomposed; 100 or all, if not given.
    pub channels: Option<usize>,
    /// Q, the parts; 10 or as many as exist, if not given.
    pub components: Option<usize>,
    /// Whether the network is written, too.
    pub network: bool,
    /// The photo of the self-test; noise in its place, if not given.
    pub photo: Option<&'a Photo>,
}

impl Wanted<'_> {
    /// All left to the network.
    pub fn new() -> Self {
        Self::default()
    }
}

/// What was written, in words and as files.
#[derive(Debug)]
pub struct Firmware {
    /// Names and contents.
    pub files: Vec<(String, Vec<u8>)>,
    /// Sizes, and what the self-test is.
    pub summary: String,
}

/// The templates, by the names of the files that they become.
const TEMPLATES: [(&str, &str); 7] = [
    ("README.md", include_str!("README.md.jinja")),
    ("why.h", include_str!("why.h.jinja")),
    ("why.c", include_str!("why.c.jinja")),
    ("self_test.c", include_str!("self_test.c.jinja")),
    ("why.rs", include_str!("why.rs.jinja")),
    ("self_test.rs", include_str!("self_test.rs.jinja")),
    (NETWORK, include_str!("network.rs.jinja")),
];

/// The file that is written only if it is asked for.
pub const NETWORK: &str = "network.rs";

/// Writes the firmware of a network.
///
/// # Errors
/// A network with another end than an average over all places of a layer and one linear layer, a layer that is not the one that is averaged, P or Q that do not
/// exist, the whole network of an ONNX file.
pub fn write(session: &Session, wanted: &Wanted) -> Result<Firmware> {
    let origin = session.model().origin();
    let ending = Ending::of(session, wanted.layer)
        .with_context(|| format!("{origin}: cannot be explained by firmware"))
        .kind(Error::Board)?;
    written(session, wanted, &ending)
}

/// Sizes of an explanation.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    /// P.
    pub top: usize,
    /// Q.
    pub parts: usize,
    /// Floats of workspace.
    pub workspace: usize,
}

impl Sizes {
    fn of(wanted: &Wanted, ending: &Ending) -> anyhow::Result<Self> {
        let [height, width, channels] = ending.shape;
        let positions = height * width;
        let top = wanted.channels.unwrap_or_else(|| channels.min(USUAL.0));
        ensure!(
            (1..=channels.min(CHANNELS_MAX)).contains(&top),
            "--channels {top} is out of range: expected 1 to {}, the channels of the layer",
            channels.min(CHANNELS_MAX)
        );
        let most = decompose::components_max(positions, top);
        ensure!(most > 0, "layer \"{}\" has one position only, so it has no parts", ending.layer);
        let parts = wanted.components.unwrap_or(most.min(USUAL.1));
        ensure!(
            (1..=most).contains(&parts),
            "--components {parts} is out of range: expected 1 to {most}, as many as exist with {top} channels of {positions} positions"
        );
        Ok(Self { top, parts, workspace: head::workspace_len(positions, channels, top, parts) })
    }

    /// Bytes in C, where the channels' numbers lie in the workspace; two of them take a float.
    fn c_workspace(&self) -> usize {
        4 * self.c_floats()
    }

    fn c_floats(&self) -> usize {
        self.workspace + self.top.div_ceil(2)
    }

    /// Bytes of `Memory` in Rust.
    fn memory(&self) -> usize {
        let bytes = 4 * self.workspace + self.top * size_of::<Channel>();
        bytes.next_multiple_of(4)
    }
}

fn written(session: &Session, wanted: &Wanted, ending: &Ending) -> Result<Firmware> {
    let origin = session.model().origin();
    let sizes = Sizes::of(wanted, ending).kind(Error::Options)?;
    let flashed = session.model().flashed();
    if wanted.network && flashed.is_none() {
        let refusal = || -> anyhow::Result<Firmware> {
            anyhow::bail!(
                "--network writes int8 networks of TensorFlow Lite, found {origin}, which is ONNX; leave it out"
            )
        };
        return refusal().kind(Error::Options);
    }
    let network = match flashed.filter(|_| wanted.network) {
        Some(bytes) => Some(network(bytes, ending).with_context(|| origin.to_owned()).kind(Error::Board)?),
        None => None,
    };
    let recorded = Recorded::of(session, wanted, ending, &sizes)?;
    let bytes = match flashed {
        Some(bytes) => bytes,
        None => session.model().file(&session.model().manifest.image.file)?,
    };
    let context = values(session, ending, &sizes, &recorded, network.as_ref(), &sha256_hex(bytes));
    let files = rendered(&context, network.is_some()).kind(Error::Board)?;
    let mut files: Vec<(String, Vec<u8>)> =
        files.into_iter().map(|(name, text)| (name.to_owned(), text.into_bytes())).collect();
    files.push(("decomcam.h".into(), decomcam_core::C_HEADER.into()));
    files.push(("why.capsule".into(), recorded.capsule.clone()));
    let [height, width, channels] = ending.shape;
    let mut summary = format!(
        "layer \"{}\": {height} x {width} places, {channels} channels, {} of them decomposed into {} parts; classes: {}\n\
         flash: {} bytes of the linear layer; RAM: {} bytes of workspace in C, {} in Rust\n",
        ending.layer,
        sizes.top,
        sizes.parts,
        ending.bias.len(),
        ending.bytes(),
        sizes.c_workspace(),
        sizes.memory()
    );
    if let Some(network) = &network {
        summary += &format!("network: {} bytes of flash, {} bytes of arena\n", network.flash, network.arena);
    }
    summary += &format!("self-test: {}. {}\n", recorded.what, recorded.same);
    Ok(Firmware { files, summary })
}

/// The whole network, for the template.
#[derive(Debug)]
struct Network {
    arena: usize,
    flash: usize,
    values: Value,
}

fn network(bytes: &[u8], ending: &Ending) -> anyhow::Result<Network> {
    let file = crate::tflite::File::read(bytes)?;
    let program = Program::of(&file)?;
    let layer = ending.tensor.context("no layer")?;
    let place = |tensor: usize| program.place(tensor).context("a tensor that is not computed");
    let (input, input_length) = place(program.input())?;
    let (output, output_length) = place(*file.outputs.first().context("no output")?)?;
    let (features, _) = place(layer)?;
    let after = program.shown().iter().find(|(_, tensor)| *tensor == layer).map_or(0, |(after, _)| *after);
    ensure!(after > 0, "the layer is the network's input");
    let operators = program.operators_of_bytes().context("expected a network of int8, found numbers of int16")?;
    let values = context! {
        arena => program.arena(), input, input_length, output, output_length, features, layer => after - 1,
        picture => format!("{:?}", &file.tensors[program.input()].shape[1..]),
        count => operators.len(), operators => tables::operators(&operators),
    };
    Ok(Network { arena: program.arena(), flash: tables::bytes(&operators), values })
}

fn values(
    session: &Session,
    ending: &Ending,
    sizes: &Sizes,
    recorded: &Recorded,
    network: Option<&Network>,
    sha256: &str,
) -> Value {
    let [height, width, channels] = ending.shape;
    let model = Path::new(session.model().origin()).file_name().map(|name| name.to_string_lossy().into_owned());
    let bytes = matches!(ending.numbers, Numbers::Bytes { .. });
    let hwc = ending.channels_last;
    let (weights, scales) = match &ending.numbers {
        Numbers::Bytes { weights, scales, .. } => (Source::of_bytes(weights), Source::of_floats(scales)),
        Numbers::Floats { weights } => (Source::of_floats(weights), Source::default()),
    };
    let steps = match &ending.numbers {
        Numbers::Bytes { features, .. } => context! {
            c_scale => text::float_c(features.scale), rust_scale => format!("{:?}", features.scale), zero => features.zero_point,
        },
        Numbers::Floats { .. } => Value::from(false),
    };
    let mut tested_first = recorded.what.clone();
    if let Some(first) = tested_first.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    context! {
        program => PROGRAM, version => env!("CARGO_PKG_VERSION"), model => words(&model.unwrap_or_default()), layer => words(&ending.layer), sha256,
        height, width, channels, features => height * width * channels, classes => ending.bias.len(),
        top => sizes.top, parts => sizes.parts, workspace => sizes.workspace, c_workspace => sizes.c_floats(), memory => sizes.memory(),
        tensor => ending.tensor, steps,
        order => if hwc { "height x width x channels" } else { "channels x height x width" },
        layout => if hwc { "hwc" } else { "chw" },
        c_lengths => if hwc { "WHY_HEIGHT, WHY_WIDTH, WHY_CHANNELS" } else { "WHY_CHANNELS, WHY_HEIGHT, WHY_WIDTH" },
        rust_lengths => if hwc { "HEIGHT, WIDTH, CHANNELS" } else { "CHANNELS, HEIGHT, WIDTH" },
        c_type => if bytes { "int8_t" } else { "float" }, rust_type => if bytes { "i8" } else { "f32" },
        c_element => if bytes { "DECOMCAM_ELEMENT_I8" } else { "DECOMCAM_ELEMENT_F32" },
        weights, scales, bias => Source::of_floats(&ending.bias), names => Source::of_names(&ending.names),
        tested => words(&recorded.what), tested_first => words(&tested_first), class => recorded.class, same => recorded.same,
        test => recorded.values(),
        network => network.map_or(Value::from(false), |network| network.values.clone()),
        sizes => context! {
            head => ending.bytes(), c_workspace => sizes.c_workspace(), features => recorded.features_bytes(),
            network => network.map_or(0, |network| network.flash), test => recorded.bytes(),
        },
    }
}

fn rendered(context: &Value, network: bool) -> anyhow::Result<Vec<(&'static str, String)>> {
    let mut environment = Environment::new();
    environment.set_keep_trailing_newline(true);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    let wanted = TEMPLATES.iter().filter(|(name, _)| network || *name != NETWORK);
    wanted.map(|(name, template)| Ok((*name, environment.render_named_str(name, template, context)?))).collect()
}
