//! A network as Rust source, for a board that runs it with `decomcam-int8` and explains it with `decomcam-core`: all that is known ahead, as constants.

use super::file::{File, Operator};
use super::float;
use super::program::{self, Program, code, quantised, weight_scales};
use anyhow::{Context, Result, bail, ensure};
use decomcam_int8::{Place, Work};
use std::fmt::Write as _;

/// The head behind a layer: an average over all places, and a linear layer.
struct Head {
    weights: Vec<i8>,
    /// For each class.
    scales: Vec<f32>,
    /// For each class, in real numbers.
    bias: Vec<f32>,
}

/// The source for a file and one of its layers, behind which an average over all places and a linear layer follow.
///
/// # Errors
/// A file that cannot be read, an unknown layer, another end.
pub fn rust(bytes: &[u8], layer: &str) -> Result<String> {
    let file = File::read(bytes)?;
    let program = Program::of(&file)?;
    let written = float::write(&file)?;
    let named =
        written.tensors.iter().find(|named| named.name == layer).with_context(|| format!("no layer \"{layer}\""))?;
    let [1, height, width, channels] = file.tensors[named.tensor].shape[..] else {
        bail!(
            "\"{layer}\": expected one picture of height x width x channels, found {:?}",
            file.tensors[named.tensor].shape
        );
    };
    let head = head(&file, named.tensor).with_context(|| format!("behind layer \"{layer}\""))?;
    let place = |tensor: usize| program.place(tensor).context("a tensor that is not computed");
    let ((input, input_length), (output, classes)) = (place(program.input())?, place(file.outputs[0])?);
    let (features, length) = place(named.tensor)?;
    let after = program.shown().iter().find(|(_, tensor)| *tensor == named.tensor).map_or(0, |(after, _)| *after);
    ensure!(after > 0, "\"{layer}\" is the input");
    let operators = program.operators();
    let mut text = String::new();
    let numbers = |numbers: &dyn std::fmt::Debug| format!("{numbers:?}");
    let _ = write!(
        text,
        "// Written by decomcam from a .tflite file: the network for decomcam-int8, and the head behind layer \"{layer}\".\n\
         #[allow(unused_imports)]\nuse decomcam_int8::{{fixed::Multiplier, *}};\n\
         /// Bytes of the arena.\npub const ARENA: usize = {};\n\
         /// Where the picture lies, less 128, and its length.\npub const INPUT: usize = {input};\npub const INPUT_LENGTH: usize = {input_length};\n\
         /// Where the answer lies.\npub const OUTPUT: usize = {output};\npub const CLASSES: usize = {classes};\n\
         /// The number of the operator that finishes the layer, and where it lies then.\npub const LAYER: usize = {};\npub const FEATURES: usize = {features};\n\
         pub const FEATURES_LENGTH: usize = {length};\n\
         /// Height, width and channels.\npub const SHAPE: [usize; 3] = {:?};\n\
         pub const SCALE: f32 = {:?};\npub const ZERO: i16 = {};\n\
         pub static HEAD_WEIGHTS: [i8; {}] = {};\npub static HEAD_SCALES: [f32; {}] = {};\npub static HEAD_BIAS: [f32; {}] = {};\n\
         pub static OPERATORS: [Operator<'static>; {}] = [\n",
        program.arena(),
        after - 1,
        [height, width, channels],
        named.quantised.scale,
        named.quantised.zero_point,
        head.weights.len(),
        numbers(&head.weights),
        head.scales.len(),
        numbers(&head.scales),
        head.bias.len(),
        numbers(&head.bias),
        operators.len(),
    );
    for operator in &operators {
        let [first, second] = operator.inputs.map(place_of);
        let _ = writeln!(
            text,
            "    Operator {{ inputs: [{first}, {second}], output: {}, work: {} }},",
            operator.output,
            work_of(&operator.work)
        );
    }
    text += "];\n";
    Ok(text)
}

fn place_of(place: Place) -> String {
    match place {
        Place::Arena(at) => format!("Place::Arena({at})"),
        Place::Constant([]) => "Place::NONE".into(),
        Place::Constant(numbers) => format!("Place::Constant(&{numbers:?})"),
    }
}

/// As `Debug` has it, with what that leaves out: slices are borrowed, variants belong to their types.
fn work_of(work: &Work) -> String {
    let lists = |text: String, names: &[&str]| {
        names.iter().fold(text, |text, name| text.replace(&format!("{name}: ["), &format!("{name}: &[")))
    };
    const SLICES: [&str; 4] = ["weights", "bias", "multipliers", "shifts"];
    match work {
        Work::Convolution(work) => format!("Work::Convolution({})", lists(format!("{work:?}"), &SLICES)),
        Work::Depthwise(work) => format!("Work::Depthwise({})", lists(format!("{work:?}"), &SLICES)),
        Work::AveragePool(work) => format!("Work::AveragePool({work:?})"),
        Work::MaxPool(work) => format!("Work::MaxPool({work:?})"),
        Work::Mean(work) => format!("Work::Mean({work:?})"),
        Work::Arithmetic(work) => {
            format!("Work::Arithmetic({})", format!("{work:?}").replace("combination: ", "combination: Combination::"))
        }
        Work::Table { length, table } => format!("Work::Table {{ length: {length}, table: &{table:?} }}"),
        Work::Softmax(work) => format!("Work::Softmax({work:?})"),
        Work::Fill { length, value } => format!("Work::Fill {{ length: {length}, value: {value} }}"),
        Work::Move(work) => format!("Work::Move({work:?})"),
        Work::Bilinear(work) => format!("Work::Bilinear({work:?})"),
        Work::Nearest(work) => format!("Work::Nearest({})", lists(format!("{work:?}"), &["rows", "columns"])),
    }
}

fn head(file: &File, layer: usize) -> Result<Head> {
    const WANTED: &str = "expected an average over all places and a linear layer";
    let mut at = layer;
    let mut averaged = false;
    for _ in 0..file.operators.len() {
        let mut readers = file.operators.iter().filter(|operator| operator.inputs.contains(&Some(at)));
        let (Some(reader), None) = (readers.next(), readers.next()) else { bail!("{WANTED}, found several ways") };
        let shape = &file.tensors[at].shape;
        let output = *reader.outputs.first().context(WANTED)?;
        match reader.code {
            code::AVERAGE_POOL_2D | code::MEAN if !averaged => {
                let one = file.tensors[output].numbers() == *shape.last().context(WANTED)?;
                let means = reader.code == code::AVERAGE_POOL_2D
                    || program::axes(file.input(reader, 1)?, shape.len())? == [1, 2];
                ensure!(one && means, "{WANTED}, found {}", reader.name);
                averaged = true;
            }
            code::RESHAPE | code::SQUEEZE | code::EXPAND_DIMS if averaged => (),
            code::CONV_2D | code::FULLY_CONNECTED if averaged => return linear(file, reader, at),
            _ => bail!("{WANTED}, found {}", reader.name),
        }
        at = output;
    }
    bail!(WANTED)
}

fn linear(file: &File, operator: &Operator, pooled: usize) -> Result<Head> {
    let weights = file.input(operator, 1)?;
    let classes = *weights.shape.first().context("no weights")?;
    let scales = weight_scales(weights, 0, classes)?;
    let scales: Vec<f32> =
        (0..classes).map(|class| if scales.len() == 1 { scales[0] } else { scales[class] }).collect();
    let steps = quantised(&file.tensors[pooled])?;
    let bias = match operator.inputs.get(2).copied().flatten() {
        Some(bias) => file.tensors[bias].integers()?,
        None => vec![0; classes],
    };
    let real = |(q, scale): (i32, &f32)| (f64::from(q) * f64::from(steps.scale) * f64::from(*scale)) as f32;
    Ok(Head { weights: weights.bytes()?, bias: bias.into_iter().zip(&scales).map(real).collect(), scales })
}
