//! Runs the command and says what came of it.

use serde_json::Value;
use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

/// A call of the command in the making.
pub struct Run(Command);

/// `decomcam ARGS`, with nothing on standard input.
pub fn decomcam<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Run {
    let mut command = Command::new(env!("CARGO_BIN_EXE_decomcam"));
    command.args(args).stdin(Stdio::null());
    Run(command)
}

impl From<Command> for Run {
    fn from(command: Command) -> Self {
        Self(command)
    }
}

impl Run {
    /// With more arguments.
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.0.args(args);
        self
    }

    /// With one more argument: a path, say.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.0.arg(arg);
        self
    }

    /// With an option that takes a path.
    pub fn path(mut self, option: &str, path: impl AsRef<Path>) -> Self {
        self.0.arg(option).arg(path.as_ref());
        self
    }

    /// In this folder.
    pub fn within(mut self, folder: impl AsRef<Path>) -> Self {
        self.0.current_dir(folder);
        self
    }

    /// The call itself, for tests that start and stop it.
    pub fn command(self) -> Command {
        self.0
    }

    /// Runs it.
    pub fn said(mut self) -> Said {
        let output = self.0.output().unwrap();
        Said {
            call: format!("{:?}", self.0),
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Runs it; it succeeds.
    #[track_caller]
    pub fn ok(self) -> Said {
        self.said().exits_with(0)
    }

    /// Runs it; it refuses: status 1, and of standard error one line that holds all of `expected`. Nothing on standard output.
    #[track_caller]
    pub fn refused(self, expected: &[&str]) -> Said {
        let said = self.said().exits_with(1).complains(expected);
        assert!(said.stderr.starts_with("error: ") && said.stderr.trim_end().lines().count() == 1, "{said}");
        assert_eq!(said.stdout, "", "{said}");
        said
    }

    /// Runs it; it is called wrongly: status 2, and standard error holds all of `expected`. Nothing on standard output.
    #[track_caller]
    pub fn misused(self, expected: &[&str]) -> Said {
        let said = self.said().exits_with(2).complains(expected);
        assert!(said.stderr.starts_with("error: "), "{said}");
        assert_eq!(said.stdout, "", "{said}");
        said
    }
}

/// What came of a call.
pub struct Said {
    /// The call.
    pub call: String,
    /// The exit status; nothing if a signal ended it.
    pub code: Option<i32>,
    /// All of standard output.
    pub stdout: String,
    /// All of standard error.
    pub stderr: String,
}

impl Said {
    /// It ended with this status.
    #[track_caller]
    pub fn exits_with(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self}");
        self
    }

    /// Standard output holds all of these.
    #[track_caller]
    pub fn prints(self, expected: &[&str]) -> Self {
        for expected in expected {
            assert!(self.stdout.contains(expected), "{expected} is missing on standard output: {self}");
        }
        self
    }

    /// Standard error holds all of these.
    #[track_caller]
    pub fn complains(self, expected: &[&str]) -> Self {
        for expected in expected {
            assert!(self.stderr.contains(expected), "{expected} is missing on standard error: {self}");
        }
        self
    }

    /// Standard output, which is JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self}"))
    }
}

impl std::fmt::Display for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { call, code, stdout, stderr } = self;
        write!(f, "{call}\nstatus {code:?}\n--- standard output\n{stdout}\n--- standard error\n{stderr}")
    }
}
