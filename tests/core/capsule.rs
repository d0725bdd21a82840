//! Capsules: what is recorded is replayed bit by bit, and nothing damaged is accepted.

use decomcam_core::capsule::{Buffers, Capsule, Elements, Recording, Settings, Stage, compute, workspace_len};
use decomcam_core::resample::Tap;
use decomcam_core::{Error, Maps, ScoreFormula, SignRule, Weighing};

const SETTINGS: Settings = Settings {
    channels: 5,
    components: 3,
    weighing: Weighing::Aligned,
    sign: SignRule::Score,
    out_height: 7,
    out_width: 9,
};

fn values(count: usize) -> Vec<f32> {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32
    };
    (0..count).map(|_| next()).collect()
}

fn record(elements: Elements, channels_last: bool, settings: Settings) -> Result<Vec<u8>, Error> {
    let recording = Recording {
        shape: [6, 3, 4],
        channels_last,
        elements,
        weights: &[0.5, -1.0, 2.0, 0.25, 1.0, 0.75],
        scores: &[0.1, 0.4, 0.3, 0.2],
        settings,
    };
    let mut workspace = vec![0.0; workspace_len(3, 4, &settings)];
    let mut taps = [Tap::default(); 9];
    let mut bytes = Vec::new();
    recording
        .write::<8>(Buffers { workspace: &mut workspace, taps: &mut taps }, |part| bytes.extend_from_slice(part))?;
    Ok(bytes)
}

/// The stages that differ, of a capsule that must be readable.
fn replay(bytes: &[u8]) -> Vec<Stage> {
    let capsule = Capsule::parse(bytes).unwrap();
    let mut workspace = vec![0.0; capsule.workspace_len()];
    let mut taps = [Tap::default(); 9];
    let (mut differing, mut stages) = (Vec::new(), Vec::new());
    let buffers = Buffers { workspace: &mut workspace, taps: &mut taps };
    capsule
        .replay::<8>(buffers, |stage, difference| {
            stages.push(stage);
            differing.extend(difference.map(|_| stage));
        })
        .unwrap();
    assert_eq!(stages, Stage::ALL);
    differing
}

fn bytes_of(values: &[f32]) -> Vec<u8> {
    values.iter().map(|v| (v * 255.0) as u8).collect()
}

#[test]
fn what_is_recorded_is_replayed() {
    let floats = values(72);
    let bytes = bytes_of(&floats);
    let quantised = Elements::Bytes { bytes: &bytes, scale: 0.02, zero_point: 3 };
    let formulas = [ScoreFormula::Paper, ScoreFormula::Notebook, ScoreFormula::V1, ScoreFormula::V25];
    for weighing in formulas.map(Weighing::Scores).into_iter().chain([Weighing::Aligned, Weighing::Exact]) {
        for sign in [SignRule::Score, SignRule::LargestLoading, SignRule::LargestEntry] {
            for (elements, channels_last) in [(Elements::Floats(&floats), false), (quantised, true)] {
                let capsule = record(elements, channels_last, Settings { weighing, sign, ..SETTINGS }).unwrap();
                assert_eq!(capsule.len() % 4, 0);
                assert_eq!(replay(&capsule), []);
                let parsed = Capsule::parse(&capsule).unwrap();
                assert_eq!(*parsed.settings(), Settings { weighing, sign, ..SETTINGS });
            }
        }
    }
}

#[test]
fn another_result_is_found_and_located() {
    let floats = values(72);
    let capsule = record(Elements::Floats(&floats), false, SETTINGS).unwrap();
    // Every word after the inputs is an expected result (or a length): change one, mend the checksum, and its stage must be named.
    let inputs = 4 * (2 + 1 + 13 + 72 + 6 + 4);
    let mut at = inputs;
    for stage in Stage::ALL {
        let len = u32::from_le_bytes(capsule[at..at + 4].try_into().unwrap()) as usize;
        for index in [0, len - 1] {
            let mut changed = capsule.clone();
            changed[at + 4 + 4 * index] ^= 1;
            mend(&mut changed);
            assert_eq!(replay(&changed), [stage], "{}", stage.name());
        }
        at += 4 + 4 * len;
    }
    assert_eq!(at + 4, capsule.len());
}

fn mend(capsule: &mut [u8]) {
    let end = capsule.len() - 4;
    let hash = capsule[..end].iter().fold(0x811c_9dc5u32, |h, b| (h ^ u32::from(*b)).wrapping_mul(0x0100_0193));
    capsule[end..].copy_from_slice(&hash.to_le_bytes());
}

#[test]
fn damaged_capsules_are_refused() {
    let floats = values(72);
    let capsule = record(Elements::Floats(&floats), false, SETTINGS).unwrap();
    let refused = |bytes: &[u8]| Capsule::parse(bytes).unwrap_err();
    assert_eq!(refused(b""), Error::NotACapsule);
    assert_eq!(refused(b"something else entirely"), Error::NotACapsule);
    for cut in [8, 11, 12, 60, 64, capsule.len() / 2, capsule.len() - 4, capsule.len() - 1] {
        assert_eq!(refused(&capsule[..cut]), Error::CapsuleDamaged, "{cut} bytes");
    }
    for at in 12..capsule.len() {
        let mut changed = capsule.clone();
        changed[at] ^= 0x10;
        assert_eq!(refused(&changed), Error::CapsuleDamaged, "byte {at}");
    }
    let mut other = capsule.clone();
    other[8] = 2;
    mend(&mut other);
    assert_eq!(refused(&other), Error::CapsuleVersion);
    // A right checksum over contradicting contents.
    for header in 0..13 {
        for value in [0u32, 7, 1 << 20, u32::MAX] {
            let mut changed = capsule.clone();
            changed[12 + 4 * header..16 + 4 * header].copy_from_slice(&value.to_le_bytes());
            mend(&mut changed);
            if let Ok(parsed) = Capsule::parse(&changed) {
                // What is readable may still be refused by the stages, but must not panic.
                let settings = parsed.settings();
                if settings.out_width.max(settings.out_height).max(settings.channels) < 1000 {
                    let mut workspace = vec![0.0; parsed.workspace_len()];
                    let mut taps = vec![Tap::default(); settings.out_width];
                    let _ = parsed.replay::<8>(Buffers { workspace: &mut workspace, taps: &mut taps }, |_, _| ());
                }
            }
        }
    }
    // Channels, components and the size of the output, each beyond what the others allow, with a right checksum.
    for (header, value) in [(7, 0), (7, 7), (8, 0), (8, 6), (11, 0), (12, 0), (11, 4097), (12, 4097)] {
        let mut changed = capsule.clone();
        changed[12 + 4 * header..16 + 4 * header].copy_from_slice(&u32::to_le_bytes(value));
        mend(&mut changed);
        assert_eq!(refused(&changed), Error::CapsuleDamaged, "word {header}: {value}");
    }
    let mut longer = capsule.clone();
    longer.extend_from_slice(&[0; 4]);
    mend(&mut longer);
    assert_eq!(refused(&longer), Error::CapsuleDamaged);
}

#[test]
fn recordings_of_wrong_lengths_are_refused() {
    let floats = values(72);
    assert_eq!(record(Elements::Floats(&floats[1..]), false, SETTINGS).unwrap_err(), Error::Shape);
    assert_eq!(
        record(Elements::Floats(&floats), false, Settings { components: 2, ..SETTINGS }).unwrap_err(),
        Error::Shape
    );
    assert_eq!(
        record(Elements::Floats(&floats), false, Settings { channels: 7, ..SETTINGS }).unwrap_err(),
        Error::Channels
    );
    assert_eq!(
        record(Elements::Floats(&floats), false, Settings { out_width: 10, ..SETTINGS }).unwrap_err(),
        Error::WorkspaceTooSmall
    );
}

/// The capsules that the emulated boards replay.
const COMMITTED: [&str; 2] = ["cat7", "cat14"];

fn committed(name: &str) -> std::path::PathBuf {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/firmware/cases/capsules");
    folder.join(name).with_extension("capsule")
}

#[test]
#[cfg_attr(miri, ignore = "large")]
fn the_committed_capsules_are_replayed() {
    for name in COMMITTED {
        let bytes = std::fs::read(committed(name)).unwrap();
        let capsule = Capsule::parse(&bytes).unwrap();
        let mut workspace = vec![0.0; capsule.workspace_len()];
        let mut taps = vec![Tap::default(); capsule.settings().out_width];
        let buffers = Buffers { workspace: &mut workspace, taps: &mut taps };
        let report = |stage: Stage, difference| assert_eq!(difference, None, "{name}: {}", stage.name());
        capsule.replay::<100>(buffers, report).unwrap();
    }
}

/// Records the committed capsules again from their own inputs, where the bits of a stage have changed on purpose:
/// `cargo test -p decomcam-core --test core record_again -- --ignored`.
#[test]
#[ignore = "changes committed files"]
fn record_again() {
    for name in COMMITTED {
        let bytes = std::fs::read(committed(name)).unwrap();
        let capsule = Capsule::parse(&bytes).unwrap();
        let (maps, settings) = (*capsule.activations(), *capsule.settings());
        let (height, width) = maps.size();
        let word = |index: usize| u32::from_le_bytes(bytes[4 * index..4 * index + 4].try_into().unwrap());
        let values = maps.channels() * height * width;
        let (is_bytes, channels_last) = (word(6) == 1, word(7) == 1);
        let after = 16 + if is_bytes { values.div_ceil(4) } else { values };
        let floats =
            |from: usize, count: usize| (from..from + count).map(|k| f32::from_bits(word(k))).collect::<Vec<_>>();
        let stored = if is_bytes { Vec::new() } else { floats(16, values) };
        let elements = if is_bytes {
            let scale = f32::from_bits(word(8));
            Elements::Bytes { bytes: &bytes[64..64 + values], scale, zero_point: word(9) as u8 }
        } else {
            Elements::Floats(&stored)
        };
        let recording = Recording {
            shape: [maps.channels(), height, width],
            channels_last,
            elements,
            weights: &floats(after, maps.channels()),
            scores: &floats(after + maps.channels(), 1 + settings.components),
            settings,
        };
        let mut workspace = vec![0.0; workspace_len(height, width, &settings)];
        let mut taps = vec![Tap::default(); settings.out_width];
        let mut recorded = Vec::new();
        let buffers = Buffers { workspace: &mut workspace, taps: &mut taps };
        recording.write::<100>(buffers, |part| recorded.extend_from_slice(part)).unwrap();
        std::fs::write(committed(name), recorded).unwrap();
    }
}

/// As many components as there are, and no more; every stage has numbers.
#[test]
fn stages_of_every_number_of_components() {
    let floats = values(72);
    let maps = Maps::chw(&floats, 6, 3, 4).unwrap();
    let weights = [0.5, -1.0, 2.0, 0.25, 1.0, 0.75];
    for (components, want) in [(0, Err(Error::Components)), (1, Ok(())), (5, Ok(())), (6, Err(Error::Components))] {
        let settings = Settings { components, ..SETTINGS };
        let (mut workspace, mut taps) = (vec![0.0; workspace_len(3, 4, &settings)], [Tap::default(); 9]);
        let buffers = Buffers { workspace: &mut workspace, taps: &mut taps };
        let mut stages = Vec::new();
        let scores = &[0.5; 7][..components + 1];
        let done = compute::<8>(&maps, &weights, scores, &settings, buffers, |stage, numbers| {
            assert!(!numbers.is_empty(), "{}", stage.name());
            stages.push(stage);
        });
        assert_eq!(done, want, "{components}");
        assert_eq!(stages == Stage::ALL, want.is_ok());
    }
}
