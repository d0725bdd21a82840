//! Help texts, messages and the commands of the READMEs, word for word.
//!
//! A block ```` ```console ```` of a README or of `tests/host/snapshots/*.trycmd` holds calls (`$ decomcam ...`) and what they print; `...` alone on a line stands for
//! any lines, `[..]` for any words, which numbers need that differ between machines. After a change, write them anew and read the difference:
//!
//! ```sh
//! TRYCMD=overwrite cargo test --release -p decomcam --test host snapshots
//! ```

#![cfg(unix)]

use crate::common::root;
use std::path::Path;

#[test]
fn snapshots() {
    // The calls name the repository's files, and write into a folder that goes away.
    let place = tempfile::tempdir().unwrap();
    for name in ["tests", "models"] {
        std::os::unix::fs::symlink(root(name).canonicalize().unwrap(), place.path().join(name)).unwrap();
    }
    let cases = trycmd::TestCases::new();
    cases
        .register_bin("decomcam", Path::new(env!("CARGO_BIN_EXE_decomcam")))
        // Help is wrapped as on a terminal of this width.
        .env("COLUMNS", "100");
    for documents in ["tests/host/snapshots/*.trycmd", "README.md", "host/README.md"] {
        cases.case(root("").canonicalize().unwrap().join(documents));
    }
    // No other test depends on where the tests run.
    let before = std::env::current_dir().unwrap();
    std::env::set_current_dir(&place).unwrap();
    cases.run();
    std::env::set_current_dir(before).unwrap();
}
