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
    // One total, of a model's layer as of its numbers, and whether it fits.
    let totals = |more: &[&str]| budget(more).args(["--json"]).said();
    let own = totals(&["--model", "lite"]).exits_with(0).json();
    assert_eq!(own, totals(&["--positions", "49", "--channels", "1280"]).json());
    let needed = own["ram_bytes"].as_u64().unwrap();
    assert!(needed > own["workspace_bytes"].as_u64().unwrap() && own["fits"].is_null(), "{own}");
    assert!(own["flash_bytes"]["Cortex-M4F"].as_u64().unwrap() > 1000, "{own}");
    assert_eq!(totals(&["--ram", &needed.to_string()]).exits_with(0).json()["fits"], true);
    let short = totals(&["--ram", &(needed - 1).to_string()]).exits_with(1);
    assert!(short.stderr.contains("does not fit") && short.json()["fits"] == false, "{short}");
    budget(&["--ram", "64K"]).ok().prints(&["fits into 65536 bytes"]);
    budget(&["--ram", "64 apples"]).misused(&["expected bytes"]);
    // Of a small layer there are fewer: 3 x 3 positions have eight components, and twenty channels are all.
    let small = totals(&["--positions", "9", "--channels", "20"]).exits_with(0).json();
    assert_eq!((&small["top"], &small["components"]), (&20.into(), &8.into()), "{small}");
    budget(&["--top", "2000"]).misused(&["1 to 1280"]);
    budget(&["--components", "49"]).misused(&["1 to 48"]);
}
