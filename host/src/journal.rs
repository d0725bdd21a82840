//! A file of JSON lines that a long run appends to, so that a run that was stopped at any moment goes on where it was: the records of `eval`, and what is said of
//! each of many photos.

use crate::error::Sorted as _;
use crate::{Error, Result};
use anyhow::{Context as _, ensure};
use serde::Serialize;
use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, BufWriter, Read as _, Seek as _, SeekFrom, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// An open file of lines, which no other run may write meanwhile.
pub struct Journal {
    path: PathBuf,
    file: Mutex<File>,
}

impl Journal {
    /// Opens or creates the file, cuts off a last line that was not finished, and tells `learn` every other line and where in the file it stands, from the first
    /// on. Only one line at a time is held in memory.
    ///
    /// # Errors
    /// [`Error::Output`]: a file that cannot be opened, that another run is writing, or of which `learn` refuses a line.
    pub fn open(path: &Path, learn: impl FnMut(&[u8], Range<u64>) -> anyhow::Result<()>) -> Result<Self> {
        let opened = opened(path).and_then(|mut file| {
            let whole = each_line(&mut file, learn)?;
            check_tail(&mut file, whole)?;
            file.set_len(whole)?;
            file.seek(SeekFrom::Start(whole))?;
            Ok(Self { path: path.to_owned(), file: Mutex::new(file) })
        });
        opened.with_context(|| format!("records `{}`", path.display())).kind(Error::Output)
    }

    /// Appends a line in one write. The system holds it then, whatever becomes of the program.
    ///
    /// # Errors
    /// [`Error::Output`].
    pub fn append(&self, line: &impl Serialize) -> Result<()> {
        let write = || {
            let line = serde_json::to_string(line)? + "\n";
            let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
            file.write_all(line.as_bytes()).context("cannot be written; is there space on the disk?")
        };
        write().with_context(|| format!("records `{}`", self.path.display())).kind(Error::Output)
    }

    /// A line, without its break, from where it stands in the file.
    ///
    /// # Errors
    /// [`Error::Output`].
    pub fn line(&self, at: Range<u64>) -> Result<String> {
        let read = || -> anyhow::Result<String> {
            let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
            let mut line = String::new();
            file.seek(SeekFrom::Start(at.start))?;
            let read = (&mut *file).take(at.end - at.start).read_to_string(&mut line);
            file.seek(SeekFrom::End(0))?;
            read?;
            line.truncate(line.trim_end().len());
            Ok(line)
        };
        read().with_context(|| format!("records `{}`", self.path.display())).kind(Error::Output)
    }

    /// Takes all lines out.
    ///
    /// # Errors
    /// [`Error::Output`].
    pub fn clear(&self) -> Result<()> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.set_len(0).and_then(|()| file.rewind()).map_err(Into::into).kind(Error::Output)
    }

    /// Writes the file anew with these of its lines, in this order; it is complete at every moment.
    ///
    /// # Errors
    /// [`Error::Output`].
    pub fn into_sorted(self, lines: &[Range<u64>]) -> Result<()> {
        let write = || {
            let directory = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
            let name = self.path.file_name().unwrap_or_default().to_string_lossy();
            let mut files = crate::files::Files::new(directory.unwrap_or(Path::new("."))).replacing([&*name]);
            let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
            files.add(&name, |out| -> anyhow::Result<()> {
                let mut out = BufWriter::new(out);
                for line in lines {
                    file.seek(SeekFrom::Start(line.start))?;
                    std::io::copy(&mut (&mut *file).take(line.end - line.start), &mut out)?;
                }
                Ok(out.flush()?)
            })?;
            files.publish()
        };
        write().map(drop)
    }
}

/// Tells `learn` every complete line of a file that this run does not write, and where it stands.
///
/// # Errors
/// [`Error::Output`]: a file that cannot be read, or of which `learn` refuses a line.
pub fn read(path: &Path, learn: impl FnMut(&[u8], Range<u64>) -> anyhow::Result<()>) -> Result<()> {
    let read = File::open(path).map_err(Into::into).and_then(|mut file| each_line(&mut file, learn));
    read.map(drop).with_context(|| format!("records `{}`", path.display())).kind(Error::Output)
}

/// Unlocked by name: a program that another thread starts holds the open file, and with it the lock, for the moment until it runs.
impl Drop for Journal {
    fn drop(&mut self) {
        let file = self.file.get_mut().unwrap_or_else(PoisonError::into_inner);
        // A lock that cannot be taken off goes with the file.
        let _ = file.unlock();
    }
}

fn opened(path: &Path) -> anyhow::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).read(true).write(true);
    let file = options.open(path).context("cannot be opened; choose another --out")?;
    crate::files::lock(&file)?;
    Ok(file)
}

/// How every record begins.
const BEGIN: &[u8] = b"{\"settings\":";

/// Refuses to cut off a file that holds no record, only what is none of ours.
fn check_tail(file: &mut File, whole: u64) -> anyhow::Result<()> {
    if whole > 0 {
        return Ok(());
    }
    let mut tail = Vec::new();
    file.rewind()?;
    file.take(BEGIN.len() as u64).read_to_end(&mut tail)?;
    ensure!(
        BEGIN.starts_with(&tail),
        "expected records, found a file that decomcam did not write; choose another --out"
    );
    Ok(())
}

/// Tells `learn` every line that is complete, without its break, and returns where the last of them ends.
fn each_line(file: &mut File, mut learn: impl FnMut(&[u8], Range<u64>) -> anyhow::Result<()>) -> anyhow::Result<u64> {
    let mut reader = BufReader::new(file);
    let (mut line, mut start) = (Vec::new(), 0);
    for number in 1.. {
        line.clear();
        let end = start + reader.read_until(b'\n', &mut line)? as u64;
        if line.pop() != Some(b'\n') {
            break;
        }
        if !line.is_empty() {
            learn(&line, start..end)
                .with_context(|| format!("line {number}: expected a record; delete the file to start anew"))?;
        }
        start = end;
    }
    Ok(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(path: &Path) -> Vec<(String, Range<u64>)> {
        let mut lines = Vec::new();
        let learn = |line: &[u8], at: Range<u64>| {
            lines.push((String::from_utf8(line.to_vec())?, at));
            Ok(())
        };
        drop(Journal::open(path, learn).unwrap());
        lines
    }

    #[test]
    fn a_line_that_was_not_finished_is_cut_off_and_the_next_one_takes_its_place() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("lines");
        std::fs::write(&path, "1\n2\n3").unwrap();
        Journal::open(&path, |_, _| Ok(())).unwrap().append(&4).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "1\n2\n4\n");
        assert_eq!(lines(&path), [("1".into(), 0..2), ("2".into(), 2..4), ("4".into(), 4..6)]);
    }

    #[test]
    fn a_file_of_others_is_not_cut_off() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("lines");
        std::fs::write(&path, "{\"mine\": 1}").unwrap();
        assert!(Journal::open(&path, |_, _| Ok(())).is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"mine\": 1}");
        std::fs::write(&path, "{\"setti").unwrap();
        assert!(Journal::open(&path, |_, _| Ok(())).is_ok());
    }

    #[test]
    fn lines_are_sorted_and_left_out() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("lines");
        std::fs::write(&path, "1\n22\n3\n").unwrap();
        Journal::open(&path, |_, _| Ok(())).unwrap().into_sorted(&[5..7, 2..5]).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "3\n22\n");
        Journal::open(&path, |_, _| Ok(())).unwrap().clear().unwrap();
        assert!(lines(&path).is_empty());
    }

    #[test]
    fn two_runs_do_not_write_one_file() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("lines");
        let _first = Journal::open(&path, |_, _| Ok(())).unwrap();
        let second = Journal::open(&path, |_, _| Ok(())).map(drop).unwrap_err();
        assert!(format!("{second:#}").contains("another run"), "{second:#}");
    }
}
