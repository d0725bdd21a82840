//! Compares what the targets reported, value for value, and tabulates what it cost them.
//!
//! `firmware-report COSTS DIRECTORY...`: each directory holds a target's `lines` and `values`, and a board's `flash`; the first is the reference. Fails
//! unless all are equal. COSTS is written: the table that `decomcam budget` prints.

use std::process::ExitCode;
use std::{env, error, fs, path::Path};

type Result<T> = std::result::Result<T, Box<dyn error::Error>>;

/// What a part of the program may take of an explanation on a Cortex-M4F: `cat7_p100`, 1280 channels of 7 x 7, P 100, Q 10.
const BAR: &str = "cat7_p100";
const BAR_TARGET: &str = "m4f";
const BAR_INSTRUCTIONS: u64 = 4_000_000;
const BAR_WORKSPACE_BYTES: usize = 24 * 1024;
const BAR_STACK_BYTES: usize = 2 * 1024;
/// The cases that a table of costs lists: what networks give, not what breaks programs.
const COSTED: [&str; 8] = ["cat7_p100", "cat7_i8", "dog7_p500", "random9", "bytes9", "random12", "few12", "cat14_p100"];
/// The stage that is a whole explanation, in one function as a program has it.
const WHOLE: &str = "whole";

fn main() -> ExitCode {
    match report() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("firmware-report: {error}");
            ExitCode::FAILURE
        }
    }
}

fn report() -> Result<bool> {
    let costs = env::args().nth(1).ok_or("no file for the costs")?;
    let targets = env::args().skip(2).map(|path| Target::read(&path)).collect::<Result<Vec<_>>>()?;
    let (reference, others) = targets.split_first().ok_or("no directories")?;
    println!("Bits, {} against {}: = where all are equal\n", names(others), reference.name);
    let equal = compare(reference, others);
    let measured: Vec<_> = others.iter().filter(|target| target.is_measured()).collect();
    println!("\nInstructions of {BAR}, by stage\n");
    instructions_by_stage(&measured);
    println!("\nInstructions and bytes of stack of a whole explanation, by case\n");
    costs_by_case(&measured);
    fs::write(&costs, table(&measured)).map_err(|e| format!("{costs}: {e}"))?;
    let within = bars(&measured);
    Ok(equal && within)
}

/// What one target reported.
struct Target {
    name: String,
    cases: Vec<Case>,
    /// Code and constants of the least program that explains; none on a desktop.
    flash_bytes: Option<usize>,
}

struct Case {
    name: String,
    shape: String,
    workspace_bytes: usize,
    stages: Vec<Stage>,
}

struct Stage {
    name: String,
    hash: String,
    values: Vec<u32>,
    instructions: u64,
    stack_bytes: usize,
}

impl Target {
    fn read(path: &str) -> Result<Self> {
        let path = Path::new(path);
        let read = |name| fs::read(path.join(name)).map_err(|e| format!("{}/{name}: {e}", path.display()));
        let lines = String::from_utf8(read("lines")?)?;
        let values = read("values")?;
        let mut values = values.as_chunks().0.iter().map(|bytes| u32::from_le_bytes(*bytes));
        let mut cases: Vec<Case> = Vec::new();
        for line in lines.lines() {
            match *line.split(' ').collect::<Vec<_>>() {
                ["case", name, channels, height, width, top, components, workspace_bytes] => cases.push(Case {
                    name: name.into(),
                    shape: format!("{channels}x{height}x{width} P {top} Q {components}"),
                    workspace_bytes: workspace_bytes.parse()?,
                    stages: Vec::new(),
                }),
                ["stage", case, name, hash, len, instructions, stack_bytes] => cases
                    .last_mut()
                    .filter(|last| last.name == case)
                    .ok_or_else(|| format!("{}: a stage outside its case: {line}", path.display()))?
                    .stages
                    .push(Stage {
                        name: name.into(),
                        hash: hash.into(),
                        values: values.by_ref().take(len.parse()?).collect(),
                        instructions: instructions.parse()?,
                        stack_bytes: stack_bytes.parse()?,
                    }),
                _ => return Err(format!("{}: {line}", path.display()).into()),
            }
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy().into();
        let flash = fs::read_to_string(path.join("flash")).ok();
        let flash_bytes = flash.map(|bytes| bytes.trim().parse()).transpose()?;
        Ok(Self { name, cases, flash_bytes })
    }

    fn case(&self, name: &str) -> Option<&Case> {
        self.cases.iter().find(|case| case.name == name)
    }

    fn is_measured(&self) -> bool {
        self.cases.iter().flat_map(|case| &case.stages).any(|stage| stage.instructions > 0)
    }
}

impl Case {
    fn stage(&self, name: &str) -> Option<&Stage> {
        self.stages.iter().find(|stage| stage.name == name)
    }

    fn explanation(&self) -> u64 {
        self.stage(WHOLE).map_or(0, |stage| stage.instructions)
    }

    /// The stack of an explanation, the frame of its caller included.
    fn stack_bytes(&self) -> usize {
        self.stage(WHOLE).map_or(0, |stage| stage.stack_bytes)
    }
}

/// One row a stage, one column a case; then each difference.
fn compare(reference: &Target, others: &[Target]) -> bool {
    let mut differences = Vec::new();
    let mut heading = vec![String::new()];
    heading.extend(reference.cases.iter().map(|case| case.name.clone()));
    let mut rows = vec![heading];
    for stage in stages(reference) {
        let mut row = vec![stage.to_string()];
        for case in &reference.cases {
            let before = differences.len();
            for target in others {
                let theirs = target.case(&case.name).and_then(|case| case.stage(stage));
                if let Some(difference) = difference(case.stage(stage), theirs, &reference.name, &target.name) {
                    differences.push(format!("{} {stage}: {difference}", case.name));
                }
            }
            let asked = case.stage(stage).is_some();
            row.push(
                if differences.len() > before {
                    "DIFFERS"
                } else if asked {
                    "="
                } else {
                    ""
                }
                .into(),
            );
        }
        rows.push(row);
    }
    print(&rows);
    println!();
    for difference in &differences {
        println!("{difference}");
    }
    let count: usize = reference.cases.iter().map(|case| case.stages.len()).sum();
    println!("{} of {} comparisons differ", differences.len(), count * others.len());
    differences.is_empty() && count > 0 && !others.is_empty()
}

fn difference(ours: Option<&Stage>, theirs: Option<&Stage>, our_name: &str, their_name: &str) -> Option<String> {
    // A stage that this case does not have, on neither.
    if ours.is_none() && theirs.is_none() {
        return None;
    }
    let (Some(ours), Some(theirs)) = (ours, theirs) else {
        return Some(format!("{our_name} or {their_name} does not report it"));
    };
    if ours.hash == theirs.hash && ours.values == theirs.values {
        return None;
    }
    let index = ours.values.iter().zip(&theirs.values).position(|(a, b)| a != b);
    let show = |stage: &Stage| {
        index.and_then(|index| stage.values.get(index)).map_or(format!("{} values", stage.values.len()), |bits| {
            format!("{bits:08x} ({:e})", f32::from_bits(*bits))
        })
    };
    let place = index.map_or("hash or length".into(), |index| format!("value {index}"));
    Some(format!("{place} is {} on {our_name}, {} on {their_name}", show(ours), show(theirs)))
}

fn instructions_by_stage(targets: &[&Target]) {
    let mut rows = vec![heading("stage", targets.iter().map(|target| target.name.clone()))];
    let Some(first) = targets.first() else { return };
    for stage in stages(first) {
        let counts: Vec<u64> = targets
            .iter()
            .map(|target| target.case(BAR).and_then(|case| case.stage(stage)).map_or(0, |stage| stage.instructions))
            .collect();
        if counts.iter().any(|count| *count > 0) {
            rows.push(heading(stage, counts.into_iter().map(thousands)));
        }
    }
    print(&rows);
}

fn costs_by_case(targets: &[&Target]) {
    let Some(first) = targets.first() else { return };
    let mut rows = vec![heading("case", ["shape".into(), "workspace".into()])];
    for target in targets {
        rows[0].extend([format!("{} instructions", target.name), format!("{} stack", target.name)]);
    }
    for case in &first.cases {
        let mut row = heading(&case.name, [case.shape.clone(), thousands(case.workspace_bytes as u64)]);
        for case in targets.iter().filter_map(|target| target.case(&case.name)) {
            row.extend([thousands(case.explanation()), thousands(case.stack_bytes() as u64)]);
        }
        rows.push(row);
    }
    print(&rows);
}

/// What real layers cost on each board, tab-separated: a line of names, then a line a board and case.
fn table(targets: &[&Target]) -> String {
    let mut text = String::from("target\tcase\tlayer\tworkspace_bytes\tflash_bytes\tstack_bytes\tinstructions\n");
    for target in targets {
        for case in COSTED.iter().filter_map(|name| target.case(name)) {
            let flash = target.flash_bytes.unwrap_or(0);
            let (name, shape, workspace, stack) = (&case.name, &case.shape, case.workspace_bytes, case.stack_bytes());
            let line = [&target.name, name, shape].map(String::as_str).join("\t");
            // Rounded: two runs differ by some dozens on Arm.
            let instructions = case.explanation().div_ceil(10_000) * 10_000;
            text += &format!("{line}\t{workspace}\t{flash}\t{stack}\t{instructions}\n");
        }
    }
    text
}

/// Whether the case of the bars stays below them.
fn bars(targets: &[&Target]) -> bool {
    let Some(target) = targets.iter().find(|target| target.name == BAR_TARGET) else {
        println!("\nThe bars are for {BAR_TARGET}, which was not run");
        return true;
    };
    let Some(case) = target.case(BAR) else {
        println!("\n{BAR} was not measured on {BAR_TARGET}");
        return false;
    };
    let stack_bytes = case.stack_bytes();
    println!("\nBars, {BAR} on {BAR_TARGET}\n");
    let mut within = true;
    for (what, taken, bar) in [
        ("instructions", case.explanation(), BAR_INSTRUCTIONS),
        ("workspace bytes", case.workspace_bytes as u64, BAR_WORKSPACE_BYTES as u64),
        ("stack bytes", stack_bytes as u64, BAR_STACK_BYTES as u64),
    ] {
        let verdict = if taken <= bar { "within" } else { "OVER" };
        println!("{what}: {} {verdict} {}", thousands(taken), thousands(bar));
        within &= taken <= bar;
    }
    within
}

/// Every stage that some case has, each once, in the order of appearance.
fn stages(target: &Target) -> Vec<&str> {
    let mut names = Vec::new();
    for stage in target.cases.iter().flat_map(|case| &case.stages) {
        if !names.contains(&stage.name.as_str()) {
            names.push(stage.name.as_str());
        }
    }
    names
}

fn names(targets: &[Target]) -> String {
    targets.iter().map(|target| target.name.as_str()).collect::<Vec<_>>().join(", ")
}

fn heading(first: &str, others: impl IntoIterator<Item = String>) -> Vec<String> {
    [first.to_string()].into_iter().chain(others).collect()
}

fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(",")
}

/// Prints rows in columns as wide as their widest entry.
fn print(rows: &[Vec<String>]) {
    let width = |column| rows.iter().filter_map(|row| row.get(column)).map(|cell: &String| cell.len()).max();
    for row in rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            line += &format!("{cell:<0$}", width(column).unwrap_or(0) + 2);
        }
        println!("{}", line.trim_end());
    }
}
