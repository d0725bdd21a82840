//! Frames that boards send: read from a stream, told in words, drawn on a photo.

use crate::draw::{self, Sheet, Style, Tile};
use crate::error::Sorted as _;
use crate::files::{self, Files};
use crate::owned::Inputs;
use crate::photo::{Framing, Photo, Placement};
use crate::{Error, Result, Size};
use anyhow::{Context as _, bail, ensure};
use decomcam_core::frame::{self, Frame, HEADER_LEN};
use std::fmt::Write as _;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The names of the files that [`Sent::write`] writes.
pub const DRAWN: [&str; 2] = ["overlay.png", "parts.png"];

/// What a frame begins with.
const MAGIC: &[u8] = b"DCFR";

/// Bytes before a frame that are skipped at most: what a board prints before it sends.
const NOISE_MAX: usize = 1 << 20;

/// Side of the plain picture that a frame is drawn on without a photo, in pixels.
const PLAIN_SIDE: u32 = 320;

/// An explanation as a board sent it.
#[derive(Clone, Debug)]
pub struct Sent {
    bytes: Vec<u8>,
}

impl Sent {
    /// Reads the first frame of a stream, whatever stands before it; `name` is the stream's, for messages.
    ///
    /// # Errors
    /// [`Error::Board`]: a stream without a frame, a frame of another version, and one that is cut short or has changed on its way.
    pub fn read(stream: &mut dyn Read, name: &str) -> Result<Self> {
        let mut read = || -> anyhow::Result<Self> {
            let mut bytes = header(stream)?;
            let len = frame::frame_len(&bytes).context("expected a frame of version 1; send it again")?;
            bytes.resize(len, 0);
            stream.read_exact(&mut bytes[HEADER_LEN..]).context("the frame is cut short; send it again")?;
            Frame::parse(&bytes).context("expected a whole frame; send it again")?;
            Ok(Self { bytes })
        };
        read().with_context(|| format!("cannot read a frame from `{name}`")).kind(Error::Board)
    }

    fn frame(&self) -> Result<Frame<'_>> {
        Frame::parse(&self.bytes).context("a frame that was read").kind(Error::Board)
    }

    /// The class, the score and the parts, in words.
    ///
    /// # Errors
    /// None for a frame that was read.
    pub fn summary(&self) -> Result<String> {
        let frame = self.frame()?;
        let versus = frame.versus().map_or(String::new(), |versus| format!(" and not class {versus}"));
        let mut text = format!(
            "class {}{versus}: score {:.3}, {} x {} positions\n\npart  contribution  predicted  weight\n",
            frame.class(),
            frame.score(),
            frame.height(),
            frame.width()
        );
        for (q, part) in frame.parts().enumerate() {
            let number = format!("#{}", q + 1);
            let _ =
                writeln!(text, "{number:>4}  {:>+12.3}  {:>+9.2}  {:>6.2}", part.measured, part.predicted, part.weight);
        }
        Ok(text)
    }

    /// Writes `overlay.png`, the saliency on the photo, and `parts.png`, every part of it. `framing` gives the part of a photo of this size that the
    /// board's network saw; `notes` stand at the foot of `parts.png`. Without a photo the maps are drawn on a plain one.
    ///
    /// # Errors
    /// A directory that cannot be written to.
    pub fn write(
        &self,
        photo: Option<&Photo>,
        framing: impl Fn(Size) -> Framing,
        notes: &[String],
        directory: &Path,
    ) -> Result<Vec<PathBuf>> {
        let frame = self.frame()?;
        let plain;
        let photo = match photo {
            Some(photo) => photo,
            None => {
                plain = plain_photo(Size::new(frame.height(), frame.width()));
                &plain
            }
        };
        let placement = Placement::new(Size::new(frame.height(), frame.width()), framing(photo.size()), photo.size());
        let saliency: Vec<f32> = frame.saliency().values().collect();
        let overlay =
            draw::overlay(&photo.pixels, &placement.saliency(&saliency)?, placement.seen(), &Style::default())?;
        let sheet = sheet(&frame, photo, &placement, &saliency, notes)?;
        let mut files = Files::new(directory).sparing(Inputs::new([&photo.name]));
        files.add("overlay.png", |out| files::write_png(out, &overlay))?;
        files.add("parts.png", |out| files::write_png(out, &sheet))?;
        files.publish()
    }
}

/// The header of the first frame, found byte by byte.
fn header(stream: &mut dyn Read) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(HEADER_LEN);
    let mut skipped = 0;
    let mut byte = [0];
    while bytes.len() < HEADER_LEN {
        if stream.read(&mut byte)? == 0 {
            ensure!(bytes.len() < MAGIC.len(), "the frame is cut short; send it again");
            bail!("expected a frame that begins with DCFR, found the end after {skipped} other bytes");
        }
        bytes.push(byte[0]);
        while bytes.len() <= MAGIC.len() && !MAGIC.starts_with(&bytes) {
            bytes.remove(0);
            skipped += 1;
        }
        if skipped > NOISE_MAX {
            bail!("expected a frame that begins with DCFR, found {skipped} other bytes");
        }
    }
    Ok(bytes)
}

/// A grey picture of the shape of maps of this size.
pub(super) fn plain_photo(map: Size) -> Photo {
    let longer = map.height.max(map.width).max(1);
    let scaled = |side: usize| (PLAIN_SIDE as usize * side).div_ceil(longer) as u32;
    let pixels = image::RgbImage::from_pixel(scaled(map.width), scaled(map.height), image::Rgb([128; 3]));
    Photo::from_pixels("no photo", pixels)
}

fn sheet(
    frame: &Frame<'_>,
    photo: &Photo,
    placement: &Placement,
    saliency: &[f32],
    notes: &[String],
) -> Result<image::RgbImage> {
    let tile = placement.on_copy(draw::tile_size(photo.size()));
    let parts: Vec<_> = frame.parts().collect();
    let maps = parts.iter().map(|part| tile.saliency(&part.map.values().collect::<Vec<f32>>()));
    let maps: Vec<Vec<f32>> = maps.collect::<Result<_>>()?;
    let strongest = parts.iter().map(|part| part.measured.abs()).fold(0.0, f32::max);
    let part_tile = |(q, (part, map)): (usize, (&frame::Part<'_>, &'_ Vec<f32>))| {
        let lines = [format!("#{}  {:+.3}", q + 1, part.measured), format!("predicted {:+.2}", part.predicted)];
        let bar = (strongest > 0.0).then(|| part.measured / strongest);
        (q, lines, bar, part.weight, map.clone())
    };
    let drawn: Vec<_> = parts.iter().zip(&maps).enumerate().map(part_tile).collect();
    let whole = tile.saliency(saliency)?;
    draw::sheet(&Sheet {
        photo: &photo.pixels,
        seen: placement.seen(),
        title: &format!("class {}", frame.class()),
        subtitle: vec![format!("score {:.3}, as a board sent it", frame.score())],
        saliency: Tile { map: &whole, lines: vec!["Saliency".into()], ..Tile::default() },
        parts: drawn
            .iter()
            .map(|(_, lines, bar, weight, map)| Tile { map, lines: lines.to_vec(), bar: *bar, dimmed: *weight <= 0.0 })
            .collect(),
        notes: ["Maps have 256 levels: what a board sends in a few hundred bytes.".to_owned()]
            .into_iter()
            .chain(notes.iter().cloned())
            .collect(),
        style: &Style::default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use decomcam_core::frame::Record;

    fn sent() -> Vec<u8> {
        let mut bytes = b"booting... DCF".to_vec();
        let maps = [0.0, 1.0, 2.0, 0.5, 0.25, 0.0];
        let record = Record {
            height: 1,
            width: 3,
            class: 7,
            versus: None,
            score: 2.5,
            saliency: &maps[..3],
            ossms: &maps[3..],
            singular_values: &[1.5],
            predicted: &[1.0],
            measured: &[0.75],
            weights: &[1.0],
        };
        record
            .write::<decomcam_core::Error>(|part| {
                bytes.extend_from_slice(part);
                Ok(())
            })
            .unwrap();
        bytes.extend_from_slice(b"more");
        bytes
    }

    #[test]
    fn a_frame_is_found_among_other_bytes_and_damage_is_told() {
        let bytes = sent();
        let frame = Sent::read(&mut &bytes[..], "a port").unwrap();
        assert!(frame.summary().unwrap().starts_with("class 7: score 2.500, 1 x 3 positions"));
        for damage in [4, 40, 56] {
            let mut damaged = bytes.clone();
            damaged[14 + damage] ^= 1;
            let refusal = Sent::read(&mut &damaged[..], "a port").unwrap_err();
            assert!(matches!(refusal, Error::Board(_)) && refusal.to_string().contains("`a port`"), "{refusal}");
        }
        for len in [30, 50] {
            let refusal = Sent::read(&mut &bytes[..len], "a port").unwrap_err();
            assert!(refusal.to_string().contains("cut short"), "{refusal}");
        }
    }
}
