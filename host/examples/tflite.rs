//! Runs `.tflite` networks in integers and writes the FNV-1a hash of every tensor, for `tests/tflite/compare.py`:
//! `cargo run --release --example tflite -- NET.tflite INPUTS.bin`, with INPUTS.bin the bytes of one or more inputs. One line for each input and tensor:
//! number of the input, number of the tensor, its bytes, hash.
//!
//! `-- NET.tflite --time` prints the least time of 300 runs instead, in milliseconds, for `tests/tflite/speed.py`.

use anyhow::{Context, Result};
use decomcam::tflite::{File, Program};
use std::io::Write as _;

fn main() -> Result<()> {
    let given: Vec<String> = std::env::args().skip(1).collect();
    if let [net, option] = &given[..]
        && option == "--time"
    {
        return time(net);
    }
    let [net, inputs] = &given[..] else {
        anyhow::bail!("expected NET.tflite INPUTS.bin");
    };
    let bytes = std::fs::read(net)?;
    let file = File::read(&bytes)?;
    let program = Program::of(&file)?;
    let inputs: Vec<i8> = std::fs::read(inputs)?.into_iter().map(|byte| byte as i8).collect();
    let (_, length) = program.place(program.input()).context("no input")?;
    let mut out = std::io::stdout().lock();
    for (at, input) in inputs.chunks_exact(length).enumerate() {
        let mut lines = Vec::new();
        program.run(input, |tensor, numbers| {
            let hash = numbers.iter().fold(0xcbf2_9ce4_8422_2325u64, |hash, number| {
                (hash ^ u64::from(*number as u8)).wrapping_mul(0x100_0000_01b3)
            });
            lines.push(format!("{at} {tensor} {} {hash:016x}", numbers.len()));
        })?;
        for line in lines {
            writeln!(out, "{line}")?;
        }
    }
    Ok(())
}

/// The least time of many runs.
fn time(net: &str) -> Result<()> {
    let bytes = std::fs::read(net)?;
    let program = Program::of(&File::read(&bytes)?)?;
    let (_, length) = program.place(program.input()).context("no input")?;
    let input: Vec<i8> = (0..length).map(|at| ((at * 37) >> 3) as i8).collect();
    let mut least = f64::INFINITY;
    for _ in 0..300 {
        let start = std::time::Instant::now();
        program.run(&input, |_, _| ())?;
        least = least.min(1e3 * start.elapsed().as_secs_f64());
    }
    println!("{least:.3}");
    Ok(())
}
