//! Signals: Ctrl-C during long runs, and files that may grow no further.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The exit code of what a signal ended is that of the signal and this, as shells have it.
const BY_SIGNAL: usize = 128;

/// The work ended because a signal asked for it.
#[derive(Debug)]
pub struct Stopped {
    signal: usize,
}

impl fmt::Display for Stopped {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("stopped; nothing was written")
    }
}

impl std::error::Error for Stopped {}

impl Stopped {
    /// The exit code.
    pub fn code(&self) -> u8 {
        u8::try_from(BY_SIGNAL + self.signal).unwrap_or(u8::MAX)
    }
}

/// The signal that asked to stop, once one did.
#[derive(Clone, Default)]
pub struct Asked(Arc<AtomicUsize>);

impl Asked {
    /// What ends the work, if a signal asked for it.
    pub fn stopped(&self) -> Option<Stopped> {
        let signal = self.0.load(Ordering::Relaxed);
        (signal > 0).then_some(Stopped { signal })
    }
}

/// From now on Ctrl-C says how the run goes on. What is complete has been written by then, so the program ends at once, with the exit code that a shell gives to what a signal ended.
#[cfg(unix)]
pub fn say_how_to_go_on() {
    use signal_hook::consts::signal::{SIGINT, SIGTERM};
    // Without it the signal ends the program as ever.
    let Ok(mut signals) = signal_hook::iterator::Signals::new([SIGINT, SIGTERM]) else { return };
    std::thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            eprintln!("\nstopped: what is done is kept, and the same command goes on where it was");
            std::process::exit(Stopped { signal: signal.unsigned_abs() as usize }.code().into());
        }
    });
}

/// Elsewhere Ctrl-C ends the program as ever.
#[cfg(not(unix))]
pub fn say_how_to_go_on() {}

/// Whether Ctrl-C was pressed since: the work ends soon then, without half a file. Pressed again, it ends the program at once.
#[cfg(unix)]
pub fn asked() -> Asked {
    use signal_hook::consts::signal::{SIGINT, SIGTERM};
    use std::sync::atomic::AtomicBool;
    let asked = Asked::default();
    let again = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        let number = signal.unsigned_abs() as usize;
        // Without these the signal ends the program as ever. In this order the first signal finds nothing set.
        let _ = signal_hook::flag::register_conditional_shutdown(signal, BY_SIGNAL as i32 + signal, Arc::clone(&again));
        let _ = signal_hook::flag::register(signal, Arc::clone(&again));
        let _ = signal_hook::flag::register_usize(signal, Arc::clone(&asked.0), number);
    }
    asked
}

/// Elsewhere Ctrl-C ends the program as ever.
#[cfg(not(unix))]
pub fn asked() -> Asked {
    Asked::default()
}

/// A file that grows over the limit of `ulimit -f` is an error where it is written, which says so and leaves no half file, not the end of the program.
#[cfg(unix)]
pub fn outlive_limits_of_files() {
    use signal_hook::consts::signal::SIGXFSZ;
    // A signal with a handler ends nothing, and the system then refuses to write. Without it the signal ends the program as ever.
    let _ = signal_hook::flag::register(SIGXFSZ, Arc::default());
}

/// Elsewhere no signal tells of it.
#[cfg(not(unix))]
pub fn outlive_limits_of_files() {}
