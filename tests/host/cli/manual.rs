//! `decomcam completions` and `decomcam man`.

use crate::common::run::decomcam;
use std::fs;
use tempfile::TempDir;

#[test]
fn shells_and_man_know_every_command() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        decomcam(["completions", shell]).ok().prints(&["explain", "name-parts", "completions"]);
    }
    decomcam(["completions", "tcsh"]).misused(&["bash", "fish"]);
    let place = TempDir::new().unwrap();
    let pages = place.path().join("man1");
    decomcam(["man"]).arg(&pages).ok().prints(&["decomcam.1", "decomcam-explain.1"]);
    let page = fs::read_to_string(pages.join("decomcam-explain.1")).unwrap();
    for wanted in [".TH decomcam-explain", "name\\-parts", ".SH ADVANCED", "by hiding everything but one part"] {
        assert!(page.contains(wanted), "{wanted}: {page}");
    }
}
