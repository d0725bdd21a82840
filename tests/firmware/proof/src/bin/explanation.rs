//! The least that explains: channel weights, selection, decomposition, closed-form weights, one map.
#![no_std]
#![no_main]

use core::hint::black_box;
use decomcam_core::{Error, Maps, SignRule, channels, decompose, integrate};
use firmware_proof::{any, buffer};

#[unsafe(no_mangle)]
extern "C" fn _start() -> ! {
    loop {
        let _ = black_box(explain());
    }
}

fn explain() -> Result<(), Error> {
    let (activations, weights) = (Maps::chw(buffer(), any(), any(), any())?, buffer());
    channels::weights(&Maps::chw(buffer(), any(), any(), any())?, weights)?;
    let mut top = [0; 100];
    channels::top_into(weights, &mut top)?;
    let components = decompose::decompose(&activations, weights, &top, any(), SignRule::Score, buffer())?;
    let part_weights = buffer();
    integrate::aligned_weights(&components, part_weights)?;
    let ossms = components.rectify();
    let saliency = buffer();
    integrate::sum(ossms.maps(), part_weights, saliency)?;
    black_box(saliency);
    Ok(())
}
