//! The program on the desktop, whose bits are the reference. Writes `lines` and `values` into the working directory, as the boards do.

use common::{Cost, Memory, Target};
use std::fs::File;
use std::io::{self, Write};
use std::process::ExitCode;

struct Desktop {
    lines: File,
    values: File,
}

impl Target for Desktop {
    fn line(&mut self, text: &[u8]) {
        self.lines.write_all(text).expect("lines are written");
    }

    fn values(&mut self, bytes: &[u8]) {
        self.values.write_all(bytes).expect("values are written");
    }

    fn measured<T>(&mut self, stage: impl FnOnce() -> T) -> (T, Cost) {
        (stage(), Cost::default())
    }
}

fn main() -> io::Result<ExitCode> {
    let mut desktop = Desktop { lines: File::create("lines")?, values: File::create("values")? };
    Ok(match common::run(&mut Memory::new(), &mut desktop) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    })
}
