//! `decomcam budget`.

use crate::common::run::decomcam;
use decomcam_core::decompose;

#[test]
fn budget_states_memory() {
    let budget = |more: &[&str]| decomcam(["budget"]).args(more);
    let words = budget(&["--positions", "49", "--channels", "1280", "--top", "100", "--components", "10"]).ok().stdout;
    let bytes: usize = words.lines().next().unwrap().split_whitespace().rev().nth(1).unwrap().parse().unwrap();
    assert_eq!(bytes, 4 * decompose::workspace_len(49, 100));
    // The bar: 7 x 7 positions with Q 10 take at most 24 KB, whatever the channels.
    assert!(bytes <= 24 * 1024 && 4 * decompose::workspace_len(49, 65_536) <= 24 * 1024);
    // What was measured on boards stands below.
    for wanted in ["Cortex-M4F", "Cortex-M0+", "RV32IMAC", "1280x7x7 P 100 Q 10, bytes", "flash", "stack (1)"] {
        assert!(words.contains(wanted), "{wanted}: {words}");
    }
    assert!(!words.contains(" - "), "{words}");
    budget(&["--top", "2000"]).misused(&["1 to 1280"]);
    budget(&["--components", "49"]).misused(&["1 to 48"]);
}
