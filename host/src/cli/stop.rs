//! Ctrl-C during a run that goes on where it was stopped.

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
