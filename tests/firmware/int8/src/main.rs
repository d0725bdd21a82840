//! What `decomcam firmware --network` wrote, wholly on the board: its self-test, and two pictures of which features, answer, score and saliency come out. The same on
//! the desktop and in WebAssembly.
#![cfg_attr(any(target_os = "none", target_arch = "wasm32"), no_std, no_main)]

use core::fmt::Write;

include!(concat!(env!("OUT_DIR"), "/modules.rs"));

use network::{ARENA, INPUT, INPUT_LENGTH, OUTPUT, OUTPUT_LENGTH};
use why::FEATURES;

/// All that the network and its explanation need.
struct Memory {
    arena: [i8; ARENA],
    features: [i8; FEATURES],
    why: why::Memory,
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

fn explain(memory: &mut Memory) -> Option<Answer> {
    let Memory { arena, features, why: workspace } = memory;
    network::run(arena, features).ok()?;
    let class = network::predicted(arena);
    let output = arena.get(OUTPUT..OUTPUT + OUTPUT_LENGTH)?;
    let why = why::why(features, class, workspace).ok()?;
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

/// The self-test, then one line for each picture, the same on all machines, and its cost.
fn run(memory: &mut Memory, out: &mut impl Write, clock: fn() -> u64) -> Option<()> {
    let tested = self_test::self_test_of_network(&mut memory.arena, &mut memory.features, &mut memory.why);
    writeln!(out, "self-test: {}", tested.err().unwrap_or("all bits are the desktop's")).ok()?;
    tested.ok()?;
    for picture in 0..2 {
        fill(memory.arena.get_mut(INPUT..INPUT + INPUT_LENGTH)?, picture);
        let before = clock();
        let answer = explain(memory)?;
        let instructions = clock().wrapping_sub(before);
        let Answer { class, output, features, score, saliency } = answer;
        writeln!(out, "picture {picture} class {class} output {output:016x} features {features:016x} score {score:08x} saliency {saliency:016x}").ok()?;
        let (all, workspace) = (size_of::<Memory>(), size_of::<why::Memory>());
        writeln!(
            out,
            "# {instructions} instructions, {all} bytes of memory: {ARENA} of tensors, {workspace} of the explanation"
        )
        .ok()?;
    }
    Some(())
}

static mut MEMORY: Memory = Memory { arena: [0; ARENA], features: [0; FEATURES], why: why::Memory::new() };

#[cfg(target_os = "none")]
mod target {
    use common::board;

    #[cfg_attr(target_arch = "arm", cortex_m_rt::entry)]
    #[cfg_attr(target_arch = "riscv32", riscv_rt::entry)]
    fn main() -> ! {
        #[cfg(target_arch = "arm")]
        start();
        // SAFETY: nothing else uses it.
        let memory = unsafe { &mut *(&raw mut super::MEMORY) };
        board::exit(super::run(memory, &mut board::Console, instructions).is_some())
    }

    /// A timer that counts down: its address, and instructions a tick under `-icount shift=0`, where one takes a nanosecond. No instructions a tick: no timer.
    #[cfg(target_arch = "arm")]
    const TIMER: (usize, u64) = (number(env!("TIMER")), number(env!("TICK")) as u64);

    #[cfg(target_arch = "arm")]
    const fn number(text: &str) -> usize {
        let (mut number, mut at) = (0, 0);
        while at < text.len() {
            number = 10 * number + (text.as_bytes()[at] - b'0') as usize;
            at += 1;
        }
        number
    }

    #[cfg(target_arch = "arm")]
    fn start() {
        if TIMER.1 > 0 {
            // SAFETY: registers of the timer; nothing else uses it.
            unsafe {
                ((TIMER.0 + 4) as *mut u32).write_volatile(u32::MAX);
                ((TIMER.0 + 8) as *mut u32).write_volatile(u32::MAX);
                (TIMER.0 as *mut u32).write_volatile(1);
            }
        }
    }

    #[cfg(target_arch = "arm")]
    fn instructions() -> u64 {
        if TIMER.1 == 0 {
            return 0;
        }
        // SAFETY: a register of the timer.
        u64::from(u32::MAX - unsafe { ((TIMER.0 + 4) as *const u32).read_volatile() }) * TIMER.1
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

#[cfg(target_arch = "wasm32")]
mod target {
    use core::fmt::Write;

    #[link(wasm_import_module = "host")]
    unsafe extern "C" {
        /// Appends to `lines` (0).
        fn append(file: u32, bytes: *const u8, len: usize);
    }

    struct Lines;

    impl Write for Lines {
        fn write_str(&mut self, text: &str) -> core::fmt::Result {
            // SAFETY: reads the bytes.
            unsafe { append(0, text.as_ptr(), text.len()) };
            Ok(())
        }
    }

    /// 0 on success.
    #[unsafe(no_mangle)]
    pub extern "C" fn run() -> u32 {
        // SAFETY: nothing else uses it.
        let memory = unsafe { &mut *(&raw mut super::MEMORY) };
        super::run(memory, &mut Lines, || 0).is_none().into()
    }

    #[panic_handler]
    fn panic(_: &core::panic::PanicInfo) -> ! {
        core::arch::wasm32::unreachable()
    }
}

#[cfg(not(any(target_os = "none", target_arch = "wasm32")))]
fn main() {
    let mut text = String::new();
    // SAFETY: nothing else uses it.
    let memory = unsafe { &mut *(&raw mut MEMORY) };
    let done = run(memory, &mut text, || 0);
    print!("{text}");
    assert!(done.is_some(), "the self-test or a picture failed");
}
