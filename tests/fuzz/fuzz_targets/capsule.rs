//! Any bytes as a capsule: refused or replayed, never a panic.
#![no_main]

use decomcam_core::capsule::{Buffers, Capsule};
use decomcam_core::resample::Tap;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // With a right beginning, length and checksum, so that the fuzzer gets behind them.
    let mut capsule = b"DECOMCAM\x01\0\0\0".to_vec();
    capsule.extend_from_slice(bytes);
    capsule.resize(capsule.len().next_multiple_of(4), 0);
    let hash = capsule.iter().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    capsule.extend_from_slice(&hash.to_le_bytes());
    for bytes in [bytes, &capsule] {
        let Ok(capsule) = Capsule::parse(bytes) else { continue };
        let settings = capsule.settings();
        // Larger ones are legal and only slow.
        if capsule.activations().positions() > 64 || settings.out_width.max(settings.out_height) > 64 {
            continue;
        }
        let mut workspace = vec![0.0; capsule.workspace_len()];
        let mut taps = vec![Tap::default(); settings.out_width];
        let _ = capsule.replay::<64>(Buffers { workspace: &mut workspace, taps: &mut taps }, |_, _| ());
    }
});
