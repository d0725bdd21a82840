//! Videos, by the programs `ffprobe` and `ffmpeg` where they are installed. Pictures come through a pipe, each with its size before it, turned as the file says
//! and with square pixels; their times come as the lines of ffmpeg's filter `showinfo`. Nothing is written on the way, and only files of this machine are
//! opened.

use super::clip::{Frame, Wanted};
use crate::error::Sorted as _;
use crate::{Error, Photo, Result, Size};
use anyhow::{Context as _, anyhow, bail, ensure};
use image::RgbImage;
use serde::Deserialize;
use std::io::{self, BufRead as _, BufReader, Read, Write as _};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;

/// A video file.
#[derive(Clone, Debug)]
pub(super) struct Video {
    pub(super) path: PathBuf,
    pub(super) name: String,
    /// Pictures in the file, as its container counts them.
    pub(super) count: usize,
    /// When the last one ends.
    pub(super) seconds: f64,
    /// Pictures in a second, on average, as a fraction in ffmpeg's way.
    rate: String,
}

#[derive(Deserialize)]
struct Probed {
    #[serde(default)]
    streams: Vec<Stream>,
    #[serde(default)]
    format: Container,
}

#[derive(Deserialize)]
struct Stream {
    avg_frame_rate: Option<String>,
    nb_read_packets: Option<String>,
    duration: Option<String>,
}

#[derive(Default, Deserialize)]
struct Container {
    duration: Option<String>,
}

impl Video {
    /// What `ffprobe` says of a file.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let opened = || -> anyhow::Result<Self> {
            let mut probe = Command::new("ffprobe");
            probe.args(["-v", "error", "-protocol_whitelist", "file", "-select_streams", "v:0", "-count_packets"]);
            probe.args([
                "-show_entries",
                "stream=avg_frame_rate,nb_read_packets,duration:format=duration",
                "-of",
                "json",
            ]);
            let output =
                probe.arg(address(path)).stdin(Stdio::null()).output().map_err(|error| absent("ffprobe", error))?;
            let complaint = String::from_utf8_lossy(&output.stderr);
            ensure!(
                output.status.success(),
                "expected an animated GIF, PNG or WebP, or a video, found a file that ffmpeg cannot read ({})",
                last_line(&complaint)
            );
            let Probed { streams, format } = serde_json::from_slice(&output.stdout).context("the answer of ffprobe")?;
            let [stream] = &streams[..] else { bail!("expected a video, found a file without pictures") };
            let number = |text: &Option<String>| text.as_ref().and_then(|text| text.parse::<f64>().ok());
            let count = number(&stream.nb_read_packets).unwrap_or_default() as usize;
            let rate = stream.avg_frame_rate.clone().filter(|rate| fraction(rate).is_some());
            let rate = rate.unwrap_or_else(|| "25/1".into());
            let told = number(&stream.duration).or(number(&format.duration)).filter(|seconds| *seconds > 0.0);
            let seconds = told.unwrap_or(count as f64 / fraction(&rate).unwrap_or(25.0));
            Ok(Self { path: path.into(), name: name.clone(), count, seconds, rate })
        };
        opened().with_context(|| format!("cannot read `{name}`")).kind(Error::Photo)
    }

    /// Pictures in a second of what is drawn of `count` frames.
    pub(super) fn rate(&self, wanted: Wanted) -> String {
        match wanted.of(self.count) {
            Some(stretches) => format!("{}/{}", stretches * 1000, (self.seconds * 1e3).round().max(1.0)),
            None => self.rate.clone(),
        }
    }

    /// Gives the frames in turn. Returns in words what ffmpeg found damaged.
    pub(super) fn each(
        &self,
        wanted: Wanted,
        mut show: impl FnMut(Frame) -> ControlFlow<()>,
    ) -> Result<Option<String>> {
        let mut each =
            || -> anyhow::Result<Option<String>> {
                // Of each of so many stretches of time the first frame.
                let stretch =
                    |time: &str, stretches: usize| format!("floor(({time}-start_t)*{stretches}/{})", self.seconds);
                let select = wanted.of(self.count).map_or_else(String::new, |of| {
                    let (now, before) = (stretch("t", of), stretch("prev_selected_t", of));
                    format!("select='if(isnan(prev_selected_t),1,gt({now},{before}))',")
                });
                let filter = format!("{select}scale=iw*sar:ih,setsar=1,showinfo");
                let mut command = Command::new("ffmpeg");
                command.args([
                    "-hide_banner",
                    "-nostats",
                    "-v",
                    "level+info",
                    "-nostdin",
                    "-protocol_whitelist",
                    "file",
                    "-i",
                ]);
                command.arg(address(&self.path)).args(["-map", "0:v:0", "-vf", &filter, "-fps_mode", "passthrough"]);
                command.args(["-f", "image2pipe", "-c:v", "ppm", "pipe:1"]);
                command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
                let mut child = Running(command.spawn().map_err(|error| absent("ffmpeg", error))?);
                let (Some(pictures), Some(said)) = (child.0.stdout.take(), child.0.stderr.take()) else {
                    bail!("ffmpeg has no output");
                };
                let (tell, times) = mpsc::channel();
                let listener = std::thread::spawn(move || listen(said, &tell));
                let mut pictures = BufReader::with_capacity(1 << 16, pictures);
                let mut number = 0;
                while let Some(pixels) = picture(&mut pictures)? {
                    let time: f64 = times.recv().context("ffmpeg told no time of a picture")?;
                    let photo = Photo::from_pixels(format!("{} at {time:.2} s", self.name), pixels);
                    if show(Frame { number, time, photo }).is_break() {
                        return Ok(None);
                    }
                    number += 1;
                }
                let complaint = listener.join().unwrap_or_default();
                let ended = child.0.wait()?;
                match (ended.success(), complaint) {
                    (true, complaint) => Ok(complaint
                        .map(|why| format!("ffmpeg found damage and went on ({why}), so frames may look wrong"))),
                    (false, complaint) => {
                        let why = complaint.unwrap_or_else(|| ended.to_string());
                        ensure!(number > 0, "ffmpeg could not decode it ({why})");
                        Ok(Some(format!("ffmpeg ended behind these frames ({why}), and what comes there is left out")))
                    }
                }
            };
        each().with_context(|| format!("cannot read `{}`", self.name)).kind(Error::Photo)
    }
}

/// A program that ends with what started it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended cannot be ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The file as one of this machine, whatever its name looks like.
fn address(path: &Path) -> std::ffi::OsString {
    let mut address = std::ffi::OsString::from("file:");
    address.push(path);
    address
}

fn absent(program: &str, error: io::Error) -> anyhow::Error {
    match error.kind() {
        io::ErrorKind::NotFound => anyhow!(
            "expected an animated GIF, PNG or WebP, found something else; videos need the program {program}, which is not installed: install ffmpeg \
             (Debian and Ubuntu: apt install ffmpeg; macOS: brew install ffmpeg; Windows: winget install ffmpeg)"
        ),
        _ => anyhow!("the program {program} cannot be started ({error})"),
    }
}

/// A rate such as 30000/1001.
pub(super) fn fraction(rate: &str) -> Option<f64> {
    let (numerator, denominator) = rate.split_once('/')?;
    let rate = numerator.parse::<f64>().ok()? / denominator.parse::<f64>().ok()?;
    Some(rate).filter(|rate| rate.is_finite() && *rate > 0.0)
}

fn last_line(said: &str) -> String {
    said.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or("no reason given").to_owned()
}

/// Passes on the time of each picture. Returns the last complaint.
fn listen(said: impl Read, tell: &mpsc::Sender<f64>) -> Option<String> {
    let mut complaint = None;
    let mut lines = BufReader::new(said);
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
        let text = String::from_utf8_lossy(&line);
        if let Some((_, behind)) = text.split_once("pts_time:").filter(|_| text.contains("Parsed_showinfo")) {
            if let Some(time) = behind.split_whitespace().next().and_then(|time| time.parse().ok()) {
                // Nobody listens any more where enough was seen.
                let _ = tell.send(time);
            }
        } else if let Some((_, why)) = text.split_once("[error]").or_else(|| text.split_once("[fatal]")) {
            complaint = Some(why.trim().to_owned());
        }
        line.clear();
    }
    complaint
}

/// The next picture of a pipe: `P6`, width, height, 255 and the samples; none at its end.
fn picture(from: &mut impl io::BufRead) -> anyhow::Result<Option<RgbImage>> {
    if from.fill_buf()?.is_empty() {
        return Ok(None);
    }
    let mut word = || -> anyhow::Result<String> {
        let mut word = String::new();
        loop {
            let mut byte = [0];
            from.read_exact(&mut byte)?;
            match byte[0] {
                b' ' | b'\n' if !word.is_empty() => return Ok(word),
                b' ' | b'\n' => {}
                byte if word.len() < 10 => word.push(byte.into()),
                _ => bail!("ffmpeg sent no picture"),
            }
        }
    };
    let [kind, width, height, most] = [word()?, word()?, word()?, word()?];
    ensure!(kind == "P6" && most == "255", "ffmpeg sent no picture of 8 bits");
    let (width, height): (u32, u32) = (width.parse()?, height.parse()?);
    let size = Size::new(height as usize, width as usize);
    ensure!(
        size.area() <= crate::photo::MAX_PIXELS,
        "expected smaller pictures, found {size} pixels; scale the video down first"
    );
    let mut samples = vec![0; 3 * size.area()];
    from.read_exact(&mut samples).context("ffmpeg sent half a picture")?;
    RgbImage::from_raw(width, height, samples).map(Some).context("ffmpeg sent half a picture")
}

/// An MP4 file that `ffmpeg` writes from pictures of one size, of which as many are shown in each second.
pub(super) struct Recorder {
    child: Running,
    pictures: Option<ChildStdin>,
}

impl Recorder {
    /// Begins a file in the place of an empty one.
    pub(super) fn new(path: &Path, size: Size, rate: &str) -> anyhow::Result<Self> {
        let mut command = Command::new("ffmpeg");
        command.args(["-hide_banner", "-nostats", "-v", "level+error", "-f", "rawvideo", "-pix_fmt", "rgb24"]);
        command.args(["-s", &format!("{}x{}", size.width, size.height), "-r", rate, "-i", "pipe:0"]);
        command.args(["-pix_fmt", "yuv420p", "-movflags", "+faststart", "-f", "mp4", "-y"]).arg(address(path));
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = Running(command.spawn().map_err(|error| absent("ffmpeg", error))?);
        let pictures = child.0.stdin.take();
        Ok(Self { child, pictures })
    }

    /// Adds a picture, shown so many times.
    pub(super) fn add(&mut self, picture: &RgbImage, times: usize) -> anyhow::Result<()> {
        let Some(pipe) = &mut self.pictures else { bail!("ffmpeg takes no more pictures") };
        let written = (0..times).try_for_each(|_| pipe.write_all(picture.as_raw()));
        written.or_else(|_| self.ended())
    }

    /// Completes the file.
    pub(super) fn finish(mut self) -> anyhow::Result<()> {
        self.ended()
    }

    fn ended(&mut self) -> anyhow::Result<()> {
        drop(self.pictures.take());
        let mut said = String::new();
        if let Some(mut complaints) = self.child.0.stderr.take() {
            complaints.read_to_string(&mut said)?;
        }
        let ended = self.child.0.wait()?;
        ensure!(ended.success(), "ffmpeg could not write the video ({})", last_line(&said));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_follow_each_other_in_a_pipe() {
        let mut pipe: &[u8] = b"P6\n2 1\n255\n\x01\x02\x03\n \x06P6\n1 1\n255\n\x07\x08\x09";
        assert_eq!(picture(&mut pipe).unwrap().unwrap().as_raw(), &[1, 2, 3, b'\n', b' ', 6]);
        assert_eq!(picture(&mut pipe).unwrap().unwrap().as_raw(), &[7, 8, 9]);
        assert!(picture(&mut pipe).unwrap().is_none());
        for broken in [
            &b"P6\n2 1\n255\n\x01\x02"[..],
            b"P5\n1 1\n255\n\x01",
            b"P6\n100000 100000\n255\n",
            b"P6 1",
            b"words and more words",
        ] {
            assert!(picture(&mut &*broken).is_err(), "{broken:?}");
        }
    }

    #[test]
    fn times_and_complaints_are_told_apart() {
        let said = b"[Parsed_showinfo_2 @ 0x5] [info] n:   0 pts:      0 pts_time:0       duration: 1\n\
            [Parsed_showinfo_2 @ 0x5] [info] color_range:tv\n[h264 @ 0x6] [error] pts_time:7 concealing\n\
            [Parsed_showinfo_2 @ 0x5] [info] n:   1 pts:    512 pts_time:0.04 \n[fatal] it broke\n";
        let (tell, times) = mpsc::channel();
        assert_eq!(listen(&said[..], &tell).as_deref(), Some("it broke"));
        drop(tell);
        assert_eq!(times.iter().collect::<Vec<_>>(), [0.0, 0.04]);
    }

    #[test]
    fn rates_are_fractions_above_zero() {
        assert_eq!(fraction("25/2"), Some(12.5));
        for broken in ["0/0", "25/0", "0/1", "25", "a/b"] {
            assert_eq!(fraction(broken), None, "{broken}");
        }
    }
}
