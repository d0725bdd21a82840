//! A plan as Rust source, for a board that runs it with `decomcam-int8`.

use decomcam_int8::{Operator, Place, Work};
use std::fmt::Write as _;

/// The operators of a plan, one a line: what stands between the brackets of a `[decomcam_int8::Operator; N]`.
pub fn operators(operators: &[Operator]) -> String {
    let mut text = String::new();
    for operator in operators {
        let [first, second] = operator.inputs.map(place_of);
        let work = work_of(&operator.work);
        let _ = writeln!(
            text,
            "    Operator {{ inputs: [{first}, {second}], output: {}, work: {work} }},",
            operator.output
        );
    }
    text
}

/// Bytes that the operators take in flash: their numbers, without the code.
pub fn bytes(operators: &[Operator]) -> usize {
    let of = |operator: &Operator| {
        let constants = operator.inputs.iter().map(|place| match place {
            Place::Constant(numbers) => numbers.len(),
            Place::Arena(_) => 0,
        });
        let held = match operator.work {
            Work::Convolution(work) | Work::Depthwise(work) => {
                work.weights.len() + 4 * (work.bias.len() + work.multipliers.len()) + work.shifts.len()
            }
            Work::Table { .. } => 256,
            Work::Nearest(work) => 4 * (work.rows.len() + work.columns.len()),
            _ => 0,
        };
        size_of::<Operator>() + constants.sum::<usize>() + held
    };
    operators.iter().map(of).sum()
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
