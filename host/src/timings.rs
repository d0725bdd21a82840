//! The time that each stage takes.

use std::time::Duration;
use web_time::Instant;

/// Time by stage, in the order in which the stages were run. For a stage on several threads the times of all threads are added up.
#[derive(Clone, Debug, Default)]
pub struct Timings {
    stages: Vec<Stage>,
}

/// One stage's time.
#[derive(Clone, Debug)]
pub struct Stage {
    /// The stage's name.
    pub name: &'static str,
    /// How long it took, the times of all threads added up.
    pub time: Duration,
    /// Whether this was the network itself (a forward pass or a gradient).
    pub network: bool,
}

impl Timings {
    /// Runs `work` and books its time under `name`.
    pub fn measure<T>(&mut self, name: &'static str, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = work();
        self.add(name, start.elapsed());
        result
    }

    /// Books time.
    pub fn add(&mut self, name: &'static str, time: Duration) {
        let network = false;
        self.stages.push(Stage { name, time, network });
    }

    /// Books time of the network.
    pub fn add_network(&mut self, name: &'static str, time: Duration) {
        let network = true;
        self.stages.push(Stage { name, time, network });
    }

    /// The stages of another record, after these.
    pub fn append(&mut self, other: &Timings) {
        self.stages.extend(other.stages.iter().cloned());
    }

    /// All stages.
    pub fn stages(&self) -> &[Stage] {
        &self.stages
    }

    /// Share of the time that was not spent in the network, 0..=1.
    pub fn share_outside_network(&self) -> f64 {
        let total: f64 = self.stages.iter().map(|s| s.time.as_secs_f64()).sum();
        let outside: f64 = self.stages.iter().filter(|s| !s.network).map(|s| s.time.as_secs_f64()).sum();
        if total > 0.0 { outside / total } else { 0.0 }
    }
}

/// The largest resident memory of this process so far, in bytes. None on systems other than Linux.
pub fn peak_memory_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// Runs something and measures its time.
pub fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let result = work();
    (result, start.elapsed())
}
