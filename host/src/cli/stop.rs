//! Ctrl-C during long runs.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// From now on Ctrl-C says how the run goes on. What is complete has been written by then, so the program ends at once, with the exit code that a shell gives to what a signal ended.
#[cfg(unix)]
pub fn say_how_to_go_on() {
    use signal_hook::consts::signal::{SIGINT, SIGTERM};
    const BY_SIGNAL: i32 = 128;
    // Without it the signal ends the program as ever.
    let Ok(mut signals) = signal_hook::iterator::Signals::new([SIGINT, SIGTERM]) else { return };
    std::thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            eprintln!("\nstopped: what is done is kept, and the same command goes on where it was");
            std::process::exit(BY_SIGNAL + signal);
        }
    });
}

/// Elsewhere Ctrl-C ends the program as ever.
#[cfg(not(unix))]
pub fn say_how_to_go_on() {}

/// Whether Ctrl-C was pressed since: the work ends soon then, without half a file. Pressed again, it ends the program at once.
#[cfg(unix)]
pub fn asked() -> Arc<AtomicBool> {
    use signal_hook::consts::signal::{SIGINT, SIGTERM};
    let stopped = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // Without these the signal ends the program as ever. In this order the first signal finds nothing set.
        let _ = signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&stopped));
        let _ = signal_hook::flag::register(signal, Arc::clone(&stopped));
    }
    stopped
}

/// Elsewhere Ctrl-C ends the program as ever.
#[cfg(not(unix))]
pub fn asked() -> Arc<AtomicBool> {
    Arc::default()
}
