//! An int8 network and its explanation, wholly on the board: a picture in; features, answer, score and saliency out. The same on the desktop.
#![cfg_attr(target_os = "none", no_std, no_main)]

use core::fmt::Write;
use decomcam_core::{Layout, Maps, Quantisation, SignRule, channels::Channel, head};
use decomcam_int8::Network;

#[allow(clippy::excessive_precision, clippy::unreadable_literal)]
mod network {
    include!(concat!(env!("OUT_DIR"), "/network.rs"));
}
use network::*;

const POSITIONS: usize = SHAPE[0] * SHAPE[1];
const CHANNELS: usize = SHAPE[2];
/// Channels that are decomposed, and parts that are kept.
const TOP: usize = if CHANNELS < 64 { CHANNELS } else { 64 };
const PARTS: usize = 4;
const WORKSPACE: usize = head::workspace_len(POSITIONS, CHANNELS, TOP, PARTS);

/// All that the network and its explanation need.
struct Memory {
    arena: [i8; ARENA],
    features: [i8; FEATURES_LENGTH],
    top: [Channel; TOP],
    workspace: [f32; WORKSPACE],
}

/// What came of a picture, as hashes of the bits.
struct Answer {
    class: usize,
    output: u64,
    features: u64,
    score: u32,
    saliency: u64,
}

/// FNV-1a.
fn hash(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

fn explain(network: &Network, memory: &mut Memory) -> Option<Answer> {
    let Memory { arena, features, top, workspace } = memory;
    network
        .run_seeing(arena, |operator, arena| {
            if operator == LAYER
                && let Some(seen) = arena.get(FEATURES..FEATURES + FEATURES_LENGTH)
            {
                features.copy_from_slice(seen);
            }
        })
        .ok()?;
    let output = arena.get(OUTPUT..OUTPUT + CLASSES)?;
    let class = (0..CLASSES).rev().max_by_key(|class| output.get(*class))?;
    let quantisation = Quantisation::PerTensor { scale: SCALE, zero_point: ZERO };
    let maps = Maps::i8(features, Layout::hwc(SHAPE[0], SHAPE[1], CHANNELS), quantisation).ok()?;
    let per_class = Quantisation::PerChannel { scales: &HEAD_SCALES, zero_points: &[] };
    let weights = Maps::i8(&HEAD_WEIGHTS, Layout::chw(HEAD_SCALES.len(), 1, CHANNELS), per_class).ok()?;
    let head = head::LinearHead::new(weights, Some(&HEAD_BIAS)).ok()?;
    let question = head::Question { class, versus: None, components: PARTS, sign: SignRule::Score };
    let why = head::explain(&head, &maps, &question, top, workspace).ok()?;
    Some(Answer {
        class,
        output: hash(output.iter().map(|q| *q as u8)),
        features: hash(features.iter().map(|q| *q as u8)),
        score: why.score.to_bits(),
        saliency: hash(why.saliency.iter().flat_map(|value| value.to_bits().to_le_bytes())),
    })
}

/// A picture that is the same everywhere: noise, and waves.
fn fill(input: &mut [i8], picture: usize) {
    let mut state = 1u64;
    for (at, to) in input.iter_mut().enumerate() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let wave = (at as i32).wrapping_mul(37 + 8 * picture as i32) >> 4;
        *to = if picture == 0 { (state >> 56) as i8 } else { wave as i8 };
    }
}

/// One line for each picture, the same on all machines, and its cost.
fn run(memory: &mut Memory, out: &mut impl Write, clock: fn() -> u64) -> Option<()> {
    let network = Network::new(&OPERATORS, ARENA).ok()?;
    for picture in 0..2 {
        fill(memory.arena.get_mut(INPUT..INPUT + INPUT_LENGTH)?, picture);
        let before = clock();
        let answer = explain(&network, memory)?;
        let instructions = clock().wrapping_sub(before);
        let Answer { class, output, features, score, saliency } = answer;
        writeln!(out, "picture {picture} class {class} output {output:016x} features {features:016x} score {score:08x} saliency {saliency:016x}").ok()?;
        writeln!(
            out,
            "# {instructions} instructions, {} bytes of memory: {ARENA} of tensors, {} of the workspace",
            size_of::<Memory>(),
            4 * WORKSPACE
        )
        .ok()?;
    }
    Some(())
}

static mut MEMORY: Memory =
    Memory { arena: [0; ARENA], features: [0; FEATURES_LENGTH], top: [0; TOP], workspace: [0.0; WORKSPACE] };

#[cfg(target_os = "none")]
mod target {
    use common::board;

    #[cfg_attr(target_arch = "arm", cortex_m_rt::entry)]
    #[cfg_attr(target_arch = "riscv32", riscv_rt::entry)]
    fn main() -> ! {
        #[cfg(target_arch = "arm")]
        // SAFETY: registers of the timer; nothing else uses it.
        unsafe {
            ((TIMER + 4) as *mut u32).write_volatile(u32::MAX);
            ((TIMER + 8) as *mut u32).write_volatile(u32::MAX);
            (TIMER as *mut u32).write_volatile(1);
        }
        // SAFETY: nothing else uses it.
        let memory = unsafe { &mut *(&raw mut super::MEMORY) };
        board::exit(super::run(memory, &mut board::Console, instructions).is_some())
    }

    /// The first timer of Arm's Cortex-M System Design Kit, which counts down.
    #[cfg(target_arch = "arm")]
    const TIMER: usize = 0x4000_0000;

    /// Under `-icount shift=0` an instruction takes one nanosecond, and a tick is 40 of them.
    #[cfg(target_arch = "arm")]
    fn instructions() -> u64 {
        // SAFETY: a register of the timer.
        u64::from(u32::MAX - unsafe { ((TIMER + 4) as *const u32).read_volatile() }) * 40
    }

    /// The lower half of the cycle counter, which counts instructions under `-icount`: what is measured takes fewer than 2^32.
    #[cfg(target_arch = "riscv32")]
    fn instructions() -> u64 {
        let count: u32;
        // SAFETY: reads a register.
        unsafe { core::arch::asm!("csrr {}, mcycle", out(reg) count, options(nomem, nostack)) };
        u64::from(count)
    }

    #[panic_handler]
    fn panic(_: &core::panic::PanicInfo) -> ! {
        board::exit(false)
    }
}

#[cfg(not(target_os = "none"))]
fn main() {
    let mut text = String::new();
    // SAFETY: nothing else uses it.
    let memory = unsafe { &mut *(&raw mut MEMORY) };
    let done = run(memory, &mut text, || 0);
    print!("{text}");
    assert!(done.is_some(), "refused");
}
