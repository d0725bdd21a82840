//! Files that are written under temporary names and renamed together, and the formats that are written.

use crate::error::Sorted as _;
use crate::owned::{self, Inputs};
use crate::program::PROGRAM;
use crate::{Error, Result, Size};
use anyhow::{Context as _, bail};
use image::{GrayImage, RgbImage};
use npyz::WriterBuilder as _;
use png::{ColorType, Filter};
use serde::Serialize;
use std::collections::BTreeSet;
use std::fs::{File, TryLockError};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// Files that are written under temporary names and renamed together once all are complete. They replace files of ours, and no others ([`crate::owned`]).
pub struct Files<'a> {
    directory: &'a Path,
    written: Vec<(tempfile::NamedTempFile, PathBuf)>,
    inputs: Inputs,
    ours: BTreeSet<String>,
}

impl<'a> Files<'a> {
    /// Files that will go into `directory`.
    pub fn new(directory: &'a Path) -> Self {
        Self { directory, written: Vec::new(), inputs: Inputs::default(), ours: BTreeSet::new() }
    }

    /// Never replaces these files, which are read.
    pub fn sparing(mut self, inputs: Inputs) -> Self {
        self.inputs = inputs;
        self
    }

    /// Replaces files of these names even if they bear no mark: a list of ours or the caller names them.
    pub fn replacing<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.ours.extend(names.into_iter().map(Into::into));
        self
    }

    /// Refuses before the work what [`Files::publish`] would refuse after it, of files with these names.
    ///
    /// # Errors
    /// [`Error::Options`]: a file that may not be replaced.
    pub fn check<N: AsRef<Path>>(&self, names: impl IntoIterator<Item = N>) -> Result<()> {
        names.into_iter().try_for_each(|name| self.check_path(&self.directory.join(name)))
    }

    fn check_path(&self, path: &Path) -> Result<()> {
        let ours = path.file_name().is_some_and(|name| self.ours.contains(&*name.to_string_lossy()));
        owned::check(path, &self.inputs, ours)
    }

    /// Removes a file of this name that an earlier run wrote and this one does not, unless it is read. What is gone, or what somebody holds, is no failure.
    pub(crate) fn remove(&self, name: &str) {
        let path = self.directory.join(name);
        if !self.inputs.hold(&path) {
            let _ = std::fs::remove_file(path);
        }
    }

    /// Writes one file under a temporary name.
    ///
    /// # Errors
    /// Those of `write`; an error without a kind becomes [`Error::Output`].
    pub fn add<E: Into<anyhow::Error>>(
        &mut self,
        name: &str,
        write: impl FnOnce(&mut dyn Write) -> Result<(), E>,
    ) -> Result<()> {
        let path = self.directory.join(name);
        let file = temporary(self.directory).kind(Error::Output)?;
        let mut out = BufWriter::new(file.as_file());
        write(&mut out)
            .map_err(Into::into)
            .and_then(|()| Ok(out.flush()?))
            .with_context(|| format!("cannot write `{}`: is there space on the disk?", path.display()))
            .kind(Error::Output)?;
        drop(out);
        self.written.push((file, path));
        Ok(())
    }

    /// An empty file with a temporary name in the directory, for what is written at length or by another program; [`Files::keep`] takes it.
    ///
    /// # Errors
    /// [`Error::Output`].
    pub fn begin(&self) -> Result<tempfile::NamedTempFile> {
        temporary(self.directory).kind(Error::Output)
    }

    /// Takes a complete file, which will have this name.
    pub fn keep(&mut self, name: &str, file: tempfile::NamedTempFile) {
        self.written.push((file, self.directory.join(name)));
    }

    /// Renames all files to their own names, in the order in which they were added.
    ///
    /// # Errors
    /// [`Error::Output`]; [`Error::Options`] if a directory, or a file that may not be replaced, stands where a file is to go: no file appears then.
    pub fn publish(&mut self) -> Result<Vec<PathBuf>> {
        let written = std::mem::take(&mut self.written);
        // Found before the first file appears: then none does.
        written.iter().try_for_each(|(_, path)| self.check_path(path))?;
        let mut paths = Vec::new();
        for (file, path) in written {
            // The system's own message, which the crate repeats as its own.
            let renamed = file.persist(&path).map_err(|error| error.error);
            renamed
                .with_context(|| {
                    format!("cannot write `{}`: did another program change its directory?", path.display())
                })
                .kind(Error::Output)?;
            paths.push(path);
        }
        Ok(paths)
    }
}

/// What temporary files are called, before the letters that tell them apart.
const TEMPORARY: &str = ".decomcam-";

/// Removes the temporary files that a program which was killed left in a directory. Nobody else may be writing there.
fn remove_leftovers(directory: &Path) {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(TEMPORARY)) {
        // What cannot be removed harms nobody.
        let _ = std::fs::remove_file(entry.path());
    }
}

/// A directory that one run writes into for long: another one is refused as long as this is held.
pub(crate) struct Claim(Option<File>);

impl Claim {
    /// Prepares the directory as [`prepare_directory`] does, and removes what a program that was killed left there.
    ///
    /// # Errors
    /// [`Error::Output`], also where another run holds it.
    pub(crate) fn of(directory: &Path) -> Result<Self> {
        prepare_directory(directory)?;
        // Some systems open no directories: nothing prevents two runs there, and nothing is removed that may be the other one's.
        let Ok(file) = File::open(directory) else { return Ok(Self(None)) };
        let locked = lock(&file).with_context(|| format!("directory `{}`", directory.display())).kind(Error::Output)?;
        if locked {
            remove_leftovers(directory);
        }
        Ok(Self(locked.then_some(file)))
    }
}

/// Unlocked by name: a program that another thread starts holds the open file, and with it the lock, for the moment until it runs.
impl Drop for Claim {
    fn drop(&mut self) {
        // A lock that cannot be taken off goes with the file.
        let _ = self.0.as_ref().map(File::unlock);
    }
}

/// Locks an open file against other runs; `false` on file systems without locks, where nothing prevents two runs at once.
pub(crate) fn lock(file: &File) -> anyhow::Result<bool> {
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => bail!("another run is writing it; choose another --out"),
        locked => Ok(locked.is_ok()),
    }
}

/// A temporary file with the permissions of an ordinary new file. Temporary files are private otherwise.
fn temporary(directory: &Path) -> anyhow::Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(TEMPORARY);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(directory).with_context(|| {
        format!(
            "cannot write into `{}`: expected a directory that may be written to; choose another with --out",
            directory.display()
        )
    })
}

/// Creates the directory if it does not exist, and checks that it can be written to, before the work starts.
///
/// # Errors
/// [`Error::Output`].
pub fn prepare_directory(directory: &Path) -> Result<()> {
    std::fs::create_dir_all(directory)
        .with_context(|| format!("cannot make the directory `{}`: choose another with --out", directory.display()))
        .and_then(|()| temporary(directory).map(drop))
        .kind(Error::Output)
}

/// Indented, with a line break at the end.
///
/// # Errors
/// [`Error::Output`].
pub fn write_json(out: &mut dyn Write, value: &impl Serialize) -> Result<()> {
    let mut write = || {
        serde_json::to_writer_pretty(&mut *out, value)?;
        Ok(out.write_all(b"\n")?)
    };
    write().kind(Error::Output)
}

/// A picture as PNG.
///
/// # Errors
/// [`Error::Output`].
pub fn write_png(out: &mut dyn Write, picture: &RgbImage) -> Result<()> {
    write_samples(out, picture.as_raw(), picture.dimensions(), ColorType::Rgb)
}

/// A grey picture as PNG.
///
/// # Errors
/// [`Error::Output`].
pub fn write_grey_png(out: &mut dyn Write, picture: &GrayImage) -> Result<()> {
    write_samples(out, picture.as_raw(), picture.dimensions(), ColorType::Grayscale)
}

/// A function that takes the next rows of a grey picture.
pub type PushRow<'a> = dyn FnMut(&[u8]) -> Result<()> + 'a;

/// A grey picture of this size as PNG, its rows as `fill` gives them: none of them stays in memory.
///
/// # Errors
/// [`Error::Output`], also when `fill` gives another number of rows; and those of `fill`.
pub fn write_grey_rows(out: &mut dyn Write, size: Size, fill: impl FnOnce(&mut PushRow) -> Result<()>) -> Result<()> {
    let size = (size.width as u32, size.height as u32);
    let mut picture = begun(out, size, ColorType::Grayscale, Filter::Up).or_else(refused_picture)?;
    let mut rows = picture.stream_writer().or_else(refused_picture)?;
    fill(&mut |row: &[u8]| rows.write_all(row).map_err(Into::into).kind(Error::Output))?;
    rows.finish().or_else(refused_picture)
}

fn refused_picture<T>(error: png::EncodingError) -> Result<T> {
    Err(error.into()).kind(Error::Output)
}

/// A PNG up to its pixels, with the mark by which it is known again.
fn begun<W: Write>(
    out: W,
    (width, height): (u32, u32),
    colours: ColorType,
    filter: Filter,
) -> Result<png::Writer<W>, png::EncodingError> {
    let mut encoder = png::Encoder::new(out, width, height);
    encoder.set_color(colours);
    encoder.set_compression(png::Compression::Fast);
    encoder.set_filter(filter);
    encoder.add_text_chunk("Software".into(), PROGRAM.into())?;
    encoder.write_header()
}

fn write_samples(out: &mut dyn Write, samples: &[u8], size: (u32, u32), colours: ColorType) -> Result<()> {
    let written = begun(out, size, colours, Filter::Adaptive).and_then(|mut picture| {
        picture.write_image_data(samples)?;
        picture.finish()
    });
    written.or_else(refused_picture)
}

/// A function that takes the next values of an array.
pub type Push<'a> = dyn FnMut(&[f32]) -> Result<()> + 'a;

/// A row-major little-endian f32 array of this shape, its values as `fill` gives them.
///
/// # Errors
/// [`Error::Output`], also when `fill` gives another number of values; and those of `fill`.
pub fn write_npy(out: &mut dyn Write, shape: &[usize], fill: impl FnOnce(&mut Push) -> Result<()>) -> Result<()> {
    let shape: Vec<u64> = shape.iter().map(|size| *size as u64).collect();
    let options = npyz::WriteOptions::<f32>::new().default_dtype().shape(&shape);
    let mut array = options.writer(out).begin_nd().map_err(Into::into).kind(Error::Output)?;
    fill(&mut |values: &[f32]| array.extend(values.iter().copied()).map_err(Into::into).kind(Error::Output))?;
    array.finish().map_err(Into::into).kind(Error::Output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_appear_together_or_not_at_all() {
        let place = tempfile::tempdir().unwrap();
        std::fs::create_dir(place.path().join("b")).unwrap();
        let mut files = Files::new(place.path());
        files.add("a", |out| out.write_all(b"a")).unwrap();
        files.add("b", |out| out.write_all(b"b")).unwrap();
        assert!(!place.path().join("a").exists());
        assert!(files.publish().unwrap_err().to_string().contains("found a directory"));
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 1, "nothing is left behind");
        let mut files = Files::new(place.path());
        files.add("a", |out| out.write_all(b"a")).unwrap();
        assert_eq!(files.publish().unwrap(), [place.path().join("a")]);
        let mut files = Files::new(place.path());
        files.add("d", |out| out.write_all(b"d")).unwrap();
        remove_leftovers(place.path());
        let gone = files.publish().unwrap_err().to_string();
        assert!(gone.contains("d`: did another program") && gone.matches("os error").count() == 1, "{gone}");
        let failed = Files::new(place.path()).add("c", |_| Err(std::io::Error::other("full")));
        assert!(matches!(failed, Err(Error::Output(_))));
        let mut files = Files::new(place.path());
        let failed = files.add("c", |_| anyhow::Ok(()).context("").kind(Error::Model).and(Err(Error::Cancelled)));
        assert!(matches!(failed, Err(Error::Cancelled)), "other rooms' failures keep their kind");
    }

    #[test]
    fn a_picture_of_ours_is_replaced_and_another_is_not() {
        let place = tempfile::tempdir().unwrap();
        let picture = RgbImage::from_pixel(2, 2, image::Rgb([9; 3]));
        let write = |inputs: Inputs, names: &[&str]| {
            let mut files = Files::new(place.path()).sparing(inputs).replacing(names.iter().copied());
            files.check(["a.png"])?;
            files.add("a.png", |out| write_png(out, &picture))?;
            files.publish()
        };
        for _ in 0..2 {
            write(Inputs::default(), &[]).unwrap();
        }
        let path = place.path().join("a.png");
        assert!(matches!(write(Inputs::new([&path]), &["a.png"]), Err(Error::Options(_))));
        image::GrayImage::new(1, 1).save(&path).unwrap();
        let before = std::fs::read(&path).unwrap();
        let refused = write(Inputs::default(), &[]).unwrap_err();
        assert!(refused.to_string().contains("decomcam did not write it"), "{refused}");
        assert_eq!(std::fs::read(&path).unwrap(), before);
        write(Inputs::default(), &["a.png"]).unwrap();
        assert!(owned::is_marked(&path));
    }

    #[test]
    fn arrays_have_as_many_values_as_their_shape() {
        let mut bytes = Vec::new();
        write_npy(&mut bytes, &[2, 1], |push| push(&[1.0]).and_then(|()| push(&[2.0]))).unwrap();
        assert!(bytes.starts_with(b"\x93NUMPY") && bytes.ends_with(&[0, 0, 0x80, 0x3f, 0, 0, 0, 0x40]));
        assert!(matches!(write_npy(&mut Vec::new(), &[2, 1], |push| push(&[1.0])), Err(Error::Output(_))));
    }
}
