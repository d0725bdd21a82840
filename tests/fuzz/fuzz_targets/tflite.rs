//! Any bytes as a `.tflite` network: read, planned, written as ONNX and run, or refused; never a panic, a hang or gigabytes:
//! `cargo +nightly fuzz run --fuzz-dir tests/fuzz tflite CORPUS tests/tflite -- -rss_limit_mb=2048 -timeout=20`.
#![no_main]

use decomcam::tflite::{File, Program, float};
use decomcam_int8::int16;
use decomcam_int8::{Convolution, Number, Pool, Sum, Work};
use libfuzzer_sys::fuzz_target;

/// More bytes or products than these are legal and only slow.
const MOST_BYTES: usize = 1 << 20;
const MOST_PRODUCTS: usize = 1 << 24;

fuzz_target!(|bytes: &[u8]| {
    let Ok(file) = File::read(bytes) else { return };
    let Ok(program) = Program::of(&file) else { return };
    let _ = float::write(&file, &program);
    if program.arena() > MOST_BYTES || products(&program) > MOST_PRODUCTS {
        return;
    }
    let (_, length) = program.place(program.input()).expect("the input has a place");
    program.run(&vec![1; length], |_, _| ()).expect("what is planned runs");
});

/// Products of numbers, about.
fn products(program: &Program) -> usize {
    fn of<N: Number, S: Sum>(work: Convolution<N, S>, depthwise: bool) -> usize {
        let [rows, columns, outputs] = work.output;
        let places = work.batch.saturating_mul(rows).saturating_mul(columns);
        let taps = work.weights.len() / if depthwise { 1 } else { outputs.max(1) };
        places.saturating_mul(taps).saturating_mul(if depthwise { 1 } else { outputs })
    }
    fn of_pool<N: Number>(pool: Pool<N>) -> usize {
        let all = [pool.batch, pool.output[0], pool.output[1], pool.input[2], pool.window[0], pool.window[1]];
        all.into_iter().fold(1usize, usize::saturating_mul)
    }
    let products = program.operators().into_iter().map(|operator| match operator.work {
        int16::Work::Eight(Work::Convolution(work)) => of(work, false),
        int16::Work::Eight(Work::Depthwise(work)) => of(work, true),
        int16::Work::Eight(Work::AveragePool(pool) | Work::MaxPool(pool)) => of_pool(pool),
        int16::Work::Convolution(work) => of(work, false),
        int16::Work::NarrowConvolution(work) => of(work, false),
        int16::Work::Depthwise(work) => of(work, true),
        int16::Work::AveragePool(pool) | int16::Work::MaxPool(pool) => of_pool(pool),
        _ => 0,
    });
    products.fold(0, usize::saturating_add)
}
