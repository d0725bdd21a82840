//! A network of which nothing is known: its check, and its run.
#![no_std]
#![no_main]

use core::hint::black_box;
use decomcam_int8::{Network, Operator, int16, tables};
use firmware_proof::{any, buffer, number};

#[unsafe(no_mangle)]
extern "C" fn _start() -> ! {
    loop {
        let operators: &[Operator] = buffer();
        if let Ok(network) = Network::new(operators, any()) {
            let _ = black_box(network.run_seeing(buffer(), |operator, arena| {
                black_box((operator, arena));
            }));
        }
        let operators: &[Operator<int16::Work>] = buffer();
        if let Ok(network) = Network::new(operators, any()) {
            let _ = black_box(network.run(buffer()));
        }
        let steps = || tables::Quantised { scale: number(), zero_point: any() as i32 };
        black_box(tables::requantise(steps(), steps()));
        black_box(tables::relu(steps(), steps()));
        black_box(tables::clamp(steps(), number(), number()));
        black_box(tables::leaky_relu(steps(), steps(), number()));
        black_box(tables::logistic(steps()));
        black_box(tables::tanh(steps()));
        black_box(tables::hard_swish(steps(), steps()));
    }
}
