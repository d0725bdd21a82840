//! A photo in; its class, the parts that speak for it and where they lie out: on a display of 240 x 240 pixels, wholly on a Cortex-M. The display's memory and the
//! numbers are left as files on the machine that emulates.
#![no_std]
#![no_main]

mod display;

use common::board::{self, Console, File};
use core::fmt::Write as _;

include!(concat!(env!("OUT_DIR"), "/modules.rs"));

use network::{ARENA, INPUT, PICTURE};
use why::{FEATURES, HEIGHT, WIDTH};

/// All that the network, its explanation and the display need.
struct Memory {
    arena: [i8; ARENA],
    features: [i8; FEATURES],
    why: why::Memory,
    display: display::Display,
}

static mut MEMORY: Memory =
    Memory { arena: [0; ARENA], features: [0; FEATURES], why: why::Memory::new(), display: display::Display::new() };

fn run(memory: &mut Memory) -> Result<(), &'static str> {
    let Memory { arena, features, why: workspace, display } = memory;
    // The photo as a camera would leave it, in the network's input.
    let camera = &self_test::PICTURE;
    let start = instructions();
    arena.iter_mut().skip(INPUT).zip(camera).for_each(|(to, from)| *to = *from);
    network::run(arena, features).map_err(|_| "the network was refused")?;
    let class = network::predicted(arena);
    let answered = instructions();
    let found = why::why(features, class, workspace).map_err(|_| "the explanation was refused")?;
    let explained = instructions();
    let photo = display::Photo { pixels: camera, shape: PICTURE };
    display.draw(&photo, &found, (HEIGHT, WIDTH), why::NAMES[class]).map_err(|_| "the display was refused")?;
    let drawn = instructions();
    for (name, numbers) in [(c"saliency", found.saliency), (c"ossms", found.ossms.maps())] {
        let file = File::create(name);
        numbers.iter().for_each(|number| file.write(&number.to_le_bytes()));
        file.close();
    }
    let file = File::create(c"display");
    display.pixels.iter().for_each(|pixel| file.write(&pixel.to_le_bytes()));
    file.close();
    let mut out = Console;
    let _ = writeln!(out, "class {class} {}, score {:.3}", why::NAMES[class], found.score);
    if TICK > 0 {
        let _ = writeln!(
            out,
            "instructions: {} network, {} explanation, {} display",
            answered - start,
            explained - answered,
            drawn - explained
        );
    }
    let _ = writeln!(
        out,
        "bytes of memory: {ARENA} arena, {FEATURES} features, {} explanation, {} display",
        size_of::<why::Memory>(),
        size_of::<display::Display>()
    );
    // The same once more, compared with the desktop's bits.
    self_test::self_test_of_network(arena, features, workspace)
}

#[cortex_m_rt::entry]
fn main() -> ! {
    if TICK > 0 {
        // SAFETY: registers of the timer; nothing else uses it.
        unsafe {
            ((TIMER + 4) as *mut u32).write_volatile(u32::MAX);
            ((TIMER + 8) as *mut u32).write_volatile(u32::MAX);
            (TIMER as *mut u32).write_volatile(1);
        }
    }
    // SAFETY: nothing else uses it.
    let done = run(unsafe { &mut *(&raw mut MEMORY) });
    let _ = writeln!(Console, "self-test: {}", done.err().unwrap_or("all bits are the desktop's"));
    board::exit(done.is_ok())
}

/// A timer that counts down: its address, and instructions a tick under `-icount shift=0`, where one takes a nanosecond; none a tick is no timer.
const TIMER: usize = number(env!("TIMER"));
const TICK: u64 = number(env!("TICK")) as u64;

const fn number(text: &str) -> usize {
    let (mut number, mut at) = (0, 0);
    while at < text.len() {
        number = 10 * number + (text.as_bytes()[at] - b'0') as usize;
        at += 1;
    }
    number
}

fn instructions() -> u64 {
    if TICK == 0 {
        return 0;
    }
    // SAFETY: a register of the timer.
    u64::from(u32::MAX - unsafe { ((TIMER + 4) as *const u32).read_volatile() }) * TICK
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    board::exit(false)
}
