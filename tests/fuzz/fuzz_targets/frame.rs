//! Any bytes as a frame: refused or read, never a panic, never a number that is not finite.
#![no_main]

use decomcam_core::frame::{Frame, HEADER_LEN, frame_len};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // With a right beginning, length and checksum, so that the fuzzer gets behind them.
    let mut made = b"DCFR\x01\0".to_vec();
    made.extend_from_slice(bytes);
    made.resize(made.len().max(HEADER_LEN), 0);
    if let Ok(len) = frame_len(&made)
        && len < 1 << 16
    {
        made.resize(len - 4, 0);
        let step = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
        let crc = !made.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step));
        made.extend_from_slice(&crc.to_le_bytes());
    }
    for bytes in [bytes, &made] {
        if let Ok(frame) = Frame::parse(bytes) {
            let values = frame.parts().flat_map(|part| part.map.values()).chain(frame.saliency().values());
            assert!(values.into_iter().all(f32::is_finite) && frame.score().is_finite());
        }
    }
});
