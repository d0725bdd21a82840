//! Files that are written under temporary names and renamed together, and the formats that are written.

use crate::error::Sorted as _;
use crate::{Error, Result, Size};
use anyhow::{Context as _, ensure};
use image::{ExtendedColorType, GrayImage, ImageEncoder as _, RgbImage, codecs::png};
use npyz::WriterBuilder as _;
use serde::Serialize;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// Files that are written under temporary names and renamed together once all are complete.
pub struct Files<'a> {
    directory: &'a Path,
    written: Vec<(tempfile::NamedTempFile, PathBuf)>,
}

impl<'a> Files<'a> {
    /// Files that will go into `directory`.
    pub fn new(directory: &'a Path) -> Self {
        Self { directory, written: Vec::new() }
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
    /// [`Error::Output`]. If a directory stands where a file is to go, no file appears.
    pub fn publish(self) -> Result<Vec<PathBuf>> {
        self.published().kind(Error::Output)
    }

    fn published(self) -> anyhow::Result<Vec<PathBuf>> {
        // Found before the first file appears: then none does.
        for (_, path) in &self.written {
            ensure!(
                !path.is_dir(),
                "cannot write `{}`: expected a file or nothing of that name, found a directory; choose another --out",
                path.display()
            );
        }
        let mut paths = Vec::new();
        for (file, path) in self.written {
            file.persist(&path).with_context(|| format!("cannot write `{}`", path.display()))?;
            paths.push(path);
        }
        Ok(paths)
    }
}

/// What temporary files are called, before the letters that tell them apart.
const TEMPORARY: &str = ".decomcam-";

/// Removes the temporary files that a program which was killed left in a directory. Nobody else may be writing there.
pub(crate) fn remove_leftovers(directory: &Path) {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(TEMPORARY)) {
        // What cannot be removed harms nobody.
        let _ = std::fs::remove_file(entry.path());
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
    write_samples(out, picture.as_raw(), picture.dimensions(), ExtendedColorType::Rgb8)
}

/// A grey picture as PNG.
///
/// # Errors
/// [`Error::Output`].
pub fn write_grey_png(out: &mut dyn Write, picture: &GrayImage) -> Result<()> {
    write_samples(out, picture.as_raw(), picture.dimensions(), ExtendedColorType::L8)
}

/// A function that takes the next rows of a grey picture.
pub type PushRow<'a> = dyn FnMut(&[u8]) -> Result<()> + 'a;

/// A grey picture of this size as PNG, its rows as `fill` gives them: none of them stays in memory.
///
/// # Errors
/// [`Error::Output`], also when `fill` gives another number of rows; and those of `fill`.
pub fn write_grey_rows(out: &mut dyn Write, size: Size, fill: impl FnOnce(&mut PushRow) -> Result<()>) -> Result<()> {
    let mut encoder = ::png::Encoder::new(out, size.width as u32, size.height as u32);
    encoder.set_color(::png::ColorType::Grayscale);
    encoder.set_compression(::png::Compression::Fast);
    encoder.set_filter(::png::Filter::Up);
    let mut picture = encoder.write_header().or_else(refused_picture)?;
    let mut rows = picture.stream_writer().or_else(refused_picture)?;
    fill(&mut |row: &[u8]| rows.write_all(row).map_err(Into::into).kind(Error::Output))?;
    rows.finish().or_else(refused_picture)
}

fn refused_picture<T>(error: ::png::EncodingError) -> Result<T> {
    Err(error.into()).kind(Error::Output)
}

fn write_samples(
    out: &mut dyn Write,
    samples: &[u8],
    (width, height): (u32, u32),
    kind: ExtendedColorType,
) -> Result<()> {
    let encoder = png::PngEncoder::new_with_quality(out, png::CompressionType::Fast, png::FilterType::Adaptive);
    encoder.write_image(samples, width, height, kind).map_err(Into::into).kind(Error::Output)
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
        let failed = Files::new(place.path()).add("c", |_| Err(std::io::Error::other("full")));
        assert!(matches!(failed, Err(Error::Output(_))));
        let mut files = Files::new(place.path());
        let failed = files.add("c", |_| anyhow::Ok(()).context("").kind(Error::Model).and(Err(Error::Cancelled)));
        assert!(matches!(failed, Err(Error::Cancelled)), "other rooms' failures keep their kind");
    }

    #[test]
    fn arrays_have_as_many_values_as_their_shape() {
        let mut bytes = Vec::new();
        write_npy(&mut bytes, &[2, 1], |push| push(&[1.0]).and_then(|()| push(&[2.0]))).unwrap();
        assert!(bytes.starts_with(b"\x93NUMPY") && bytes.ends_with(&[0, 0, 0x80, 0x3f, 0, 0, 0, 0x40]));
        assert!(matches!(write_npy(&mut Vec::new(), &[2, 1], |push| push(&[1.0])), Err(Error::Output(_))));
    }
}
