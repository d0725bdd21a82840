//! Capsules on the desktop: records an explanation, and computes a recording again.

use super::frame::plain_photo;
use crate::draw::{self, Sheet, Style, Tile};
use crate::encoders::activations::Steps;
use crate::error::Sorted as _;
use crate::explain::{CHANNELS_MAX, Explanation, Options, Parts};
use crate::files::{self, Files};
use crate::kinds::kind_of;
use crate::methods::{Method, Recipe};
use crate::owned::Inputs;
use crate::photo::{Framing, Photo, Placement};
use crate::{Error, Result, Size, stats};
use anyhow::{Context as _, anyhow, ensure};
use decomcam_core::capsule::{self, Buffers, Capsule, Difference, Elements, Recording, Settings, Stage};
use decomcam_core::resample::Tap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Height and width of the upsampled saliency whose hash a capsule holds.
pub const OUT_SIDE: usize = 56;

/// Refuses options whose explanation a capsule cannot hold.
///
/// # Errors
/// [`Error::Options`] for anything but the decomposition of one pass of the network, which is what the core computes.
pub fn check(options: &Options) -> Result<()> {
    let recipe = options.method.recipe();
    // `exact` takes two sizes and affinity unless told otherwise.
    let exact = recipe == Some(Recipe::Exact);
    let scales = options.scales.unwrap_or(if exact { 2 } else { 1 });
    let affinity = options.affinity.unwrap_or(exact);
    options.check_unset(&["refine"], "a capsule, whose map is that of the decomposition")?;
    one_pass(options.method, scales, affinity, options.channels, options.one_sided.unwrap_or(false))
        .kind(Error::Options)
}

/// Refuses everything but the decomposition of one pass of the network, with `exact` of all channels: that is what the core computes.
fn one_pass(
    method: Method,
    scales: usize,
    affinity: bool,
    channels: Option<usize>,
    one_sided: bool,
) -> anyhow::Result<()> {
    ensure!(
        method.recipe().is_some(),
        "a capsule holds an explanation with parts; expected a recipe, found method {}",
        method.name()
    );
    ensure!(!one_sided, "a capsule holds the components as the core decomposes them; leave out --one-sided on");
    let exact = method.recipe() == Some(Recipe::Exact);
    ensure!(
        scales == 1 && !affinity && !(exact && channels.is_some()),
        "a capsule holds the decomposition of one pass of the network; expected --scales 1 and --affinity off, and of exact all channels; \
         or leave out all of them and --recipe"
    );
    Ok(())
}

/// The options that capsules are recorded with unless others are given.
pub fn usual_options() -> Options {
    Options::new().method(Method::DecomCam(Recipe::Aligned))
}

/// The bytes of a capsule of this explanation. As `floats`, activations are recorded as the network gave them, channels x height x width; otherwise as
/// the bytes that an int8 board holds, height x width x channels: the network's own if it was run faithfully, else with one scale and zero point over
/// the range of the layer.
///
/// # Errors
/// An explanation that a capsule cannot hold, and a layer that the core cannot decompose after quantisation.
pub fn record(explanation: &Explanation, floats: bool) -> Result<Vec<u8>> {
    let request = &explanation.request;
    one_pass(request.method, request.scales, request.affinity, request.channels, request.one_sided)
        .kind(Error::Options)?;
    let parts = explanation.parts.as_ref().context("a capsule holds an explanation with parts").kind(Error::Options)?;
    let Parts { recipe, layer, channel_weights, .. } = parts;
    let activations = &layer.seen.activations;
    let settings = Settings {
        channels: parts.selected,
        components: parts.list.len(),
        weighing: recipe.weighing(),
        sign: parts.sign,
        out_height: OUT_SIDE,
        out_width: OUT_SIDE,
    };
    let (bytes, scale, zero_point) = quantised(&activations.values, activations.channels, activations.steps);
    let recording = Recording {
        shape: [activations.channels, activations.size.height, activations.size.width],
        channels_last: !floats,
        elements: if floats {
            Elements::Floats(&activations.values)
        } else {
            Elements::Bytes { bytes: &bytes, scale, zero_point }
        },
        weights: channel_weights,
        scores: &recorded_scores(parts),
        settings,
    };
    let mut workspace = vec![0.0; capsule::workspace_len(activations.size.height, activations.size.width, &settings)];
    let mut taps = [Tap::default(); OUT_SIDE];
    let mut capsule = Vec::new();
    let buffers = Buffers { workspace: &mut workspace, taps: &mut taps };
    recording.write::<{ CHANNELS_MAX }>(buffers, |part| capsule.extend_from_slice(part))?;
    Ok(capsule)
}

/// What a capsule of an explanation holds, in a sentence.
pub fn described(explanation: &Explanation, floats: bool) -> String {
    let Some(parts) = &explanation.parts else { return "Recorded nothing: the method gives no parts.".into() };
    let activations = &parts.layer.seen.activations;
    let (layer, recipe) = (&explanation.request.layer, explanation.request.method.name());
    let kind = match (floats, activations.steps) {
        (true, _) => "floats",
        (false, Some(_)) => "the network's own bytes",
        (false, None) => "bytes, rounded with one scale over the range of the layer",
    };
    format!(
        "Recorded: {} channels of layer {layer} at {} positions, as {kind}; the channel weights, and every stage of recipe {recipe} with {} of the channels and {} parts.",
        activations.channels,
        activations.size,
        parts.selected,
        parts.list.len()
    )
}

/// The baseline's score, then the parts'; zeros for a closed form, which needs none.
fn recorded_scores(parts: &Parts) -> Vec<f32> {
    if parts.recipe.is_closed_form() {
        return vec![0.0; parts.list.len() + 1];
    }
    [parts.baseline].into_iter().chain(parts.list.iter().map(|part| part.score)).collect()
}

/// C x H x W floats as H x W x C unsigned bytes with one scale and zero point; zero is exact, as in every quantisation scheme.
fn quantised(activations: &[f32], channels: usize, steps: Option<Steps>) -> (Vec<u8>, f32, u8) {
    let Steps { scale, zero_point } = steps.unwrap_or_else(|| {
        let low = activations.iter().copied().fold(0.0, f32::min);
        let high = activations.iter().copied().fold(0.0, f32::max);
        let scale = if high > low { (high - low) / 255.0 } else { 1.0 };
        Steps { scale, zero_point: (-low / scale).round().clamp(0.0, 255.0) as u8 }
    });
    let positions = activations.len() / channels;
    let byte = |index: usize| {
        let value = activations[index % channels * positions + index / channels];
        (value / scale + f32::from(zero_point)).round().clamp(0.0, 255.0) as u8
    };
    ((0..activations.len()).map(byte).collect(), scale, zero_point)
}

/// Each stage of a capsule, computed again: equal, or where it first differs.
pub type Replay = Vec<(Stage, Option<Difference>)>;

/// Reads a capsule and computes it again.
///
/// # Errors
/// A file that cannot be read, is no capsule, is of another version or damaged.
pub fn replay(path: &Path) -> Result<Replay> {
    let again = computed_again(&read(path, "replay")?);
    again.with_context(|| format!("cannot replay capsule `{}`", path.display())).kind(Error::Board)
}

fn read(path: &Path, purpose: &str) -> Result<Vec<u8>> {
    let bytes = std::fs::read(path).context("expected a file that `decomcam capture` wrote");
    bytes.with_context(|| format!("cannot {purpose} capsule `{}`", path.display())).kind(Error::Board)
}

/// The same for a capsule that is in memory.
///
/// # Errors
/// Bytes that are no capsule, are of another version or damaged.
pub fn replay_bytes(bytes: &[u8]) -> Result<Replay> {
    computed_again(bytes).context("cannot replay the capsule").kind(Error::Board)
}

/// Where two layers of one photo agree at least: the bytes of a capsule are rounded, those of another photo or of another part of it are others.
const SAME_LAYER: f64 = 0.9;

/// Refuses an explanation of another photo than the capsule's, or of a photo that was made to fit in another way: its layer has other activations. Returns whether
/// that could be told: it cannot where the explanation has no layer, or one of another shape.
///
/// # Errors
/// Those of [`replay`], and [`Error::Board`] for another photo or fit.
pub fn check_photo(path: &Path, explanation: &Explanation) -> Result<bool> {
    let bytes = read(path, "draw")?;
    let capsule = Capsule::parse(&bytes)?;
    let recorded = capsule.activations();
    let Some(own) = explanation.parts.as_ref().map(|parts| &parts.layer.seen.activations) else { return Ok(false) };
    if (own.channels, (own.size.height, own.size.width)) != (recorded.channels(), recorded.size()) {
        return Ok(false);
    }
    let mut values = vec![0.0; own.values.len()];
    for (channel, map) in values.chunks_exact_mut(own.size.area().max(1)).enumerate() {
        recorded.read(channel, map)?;
    }
    let alike = stats::pearson(&values, &own.values);
    let same = || {
        ensure!(
            alike >= SAME_LAYER,
            "capsule `{}`: expected the activations of this photo, found others (correlation {alike:.2}): it was recorded of another photo or layer, or of a photo that was \
             made to fit in another way; give that photo, and --fit as it was captured",
            path.display()
        );
        Ok(true)
    };
    same().kind(Error::Board)
}

/// Draws what a capsule holds, which is what a board computes whose replay is equal: `overlay.png`, the map on the photo, and `parts.png`, every part. `framing` gives the part of a
/// photo of this size that was seen; `notes` stand at the foot of `parts.png`. Without a photo the maps are drawn on a plain one.
///
/// # Errors
/// Those of [`replay`], and a directory that cannot be written to.
pub fn draw(
    path: &Path,
    photo: Option<&Photo>,
    framing: impl Fn(Size) -> Framing,
    notes: Vec<String>,
    directory: &Path,
) -> Result<Vec<PathBuf>> {
    let bytes = read(path, "draw")?;
    let drawn = || format!("cannot draw capsule `{}`", path.display());
    let capsule = parsed(&bytes).with_context(drawn).kind(Error::Board)?;
    let (height, width) = capsule.activations().size();
    let map = Size::new(height, width);
    let floats = |stage: Stage| capsule.recorded(stage).map(f32::from_bits).collect::<Vec<f32>>();
    let (saliency, ossms) = (floats(Stage::Saliency), floats(Stage::Ossms));
    let (contributions, weights) = (floats(Stage::Contributions), floats(Stage::Weights));
    let plain;
    let photo = match photo {
        Some(photo) => photo,
        None => {
            plain = plain_photo(map);
            &plain
        }
    };
    let placement = Placement::new(map, framing(photo.size()), photo.size());
    let style = Style::default();
    let overlay = draw::overlay(&photo.pixels, &placement.saliency(&saliency)?, placement.seen(), &style)?;
    let tile = placement.on_copy(draw::tile_size(photo.size()));
    let maps: Vec<Vec<f32>> =
        ossms.chunks_exact(map.area().max(1)).map(|ossm| tile.saliency(ossm)).collect::<Result<_>>()?;
    let strongest = contributions.iter().map(|value| value.abs()).fold(0.0, f32::max);
    let mut parts: Vec<(usize, Tile<'_>)> = maps
        .iter()
        .zip(contributions.iter().zip(&weights))
        .enumerate()
        .map(|(q, (map, (contribution, weight)))| {
            let lines = vec![format!("#{}  {contribution:+.3}", q + 1), format!("weight {weight:.2}")];
            let bar = (strongest > 0.0).then(|| contribution / strongest);
            (q, Tile { map, lines, bar, dimmed: *weight <= 0.0 })
        })
        .collect();
    parts.sort_by(|(a, _), (b, _)| contributions[*b].total_cmp(&contributions[*a]));
    let whole = tile.saliency(&saliency)?;
    let sheet = draw::sheet(&Sheet {
        photo: &photo.pixels,
        seen: placement.seen(),
        title: "What a board computes from this capsule",
        subtitle: vec![format!("{map} positions; contributions are to first order, on the features")],
        saliency: Tile { map: &whole, lines: vec!["Saliency".into()], ..Tile::default() },
        parts: parts.into_iter().map(|(_, tile)| tile).collect(),
        style: &style,
        notes,
    })?;
    let mut files = Files::new(directory).sparing(Inputs::new([path, Path::new(&photo.name)]));
    files.add("overlay.png", |out| files::write_png(out, &overlay))?;
    files.add("parts.png", |out| files::write_png(out, &sheet))?;
    files.publish()
}

/// The names of the files that [`draw()`] and [`draw_beside`] write.
pub const DRAWN: [&str; 3] = ["overlay.png", "parts.png", BESIDE];
const BESIDE: &str = "beside.png";

/// Draws the map of a capsule beside that of an explanation of the same photo, as `beside.png`. Returns the file and how alike the maps are: Spearman's rank correlation over what
/// both saw, on the small copies that are drawn; none if they saw nothing in common.
///
/// # Errors
/// Those of [`draw()`].
pub fn draw_beside(
    path: &Path,
    photo: &Photo,
    framing: Framing,
    (explanation, headline): (&Explanation, &str),
    directory: &Path,
) -> Result<(Vec<PathBuf>, Option<f64>)> {
    let bytes = read(path, "draw")?;
    let drawn = || format!("cannot draw capsule `{}`", path.display());
    let capsule = parsed(&bytes).with_context(drawn).kind(Error::Board)?;
    let (height, width) = capsule.activations().size();
    let map = Size::new(height, width);
    let recorded: Vec<f32> = capsule.recorded(Stage::Saliency).map(f32::from_bits).collect();
    let tile = draw::tile_size(photo.size());
    let board = Placement::new(map, framing, photo.size()).on_copy(tile);
    let desktop = explanation.placement(photo).on_copy(tile);
    let (of_board, of_desktop) = (board.saliency(&recorded)?, desktop.saliency(&explanation.map.values)?);
    let seen = |at: &usize| {
        let (row, column) = (at / tile.width, at % tile.width);
        [board.seen(), desktop.seen()].iter().all(|rect| {
            (rect.top..rect.top + rect.size.height).contains(&row)
                && (rect.left..rect.left + rect.size.width).contains(&column)
        })
    };
    let both: Vec<usize> = (0..tile.area()).filter(seen).collect();
    let of_both = |values: &[f32]| both.iter().map(|at| values[*at]).collect::<Vec<f32>>();
    let alike = (!both.is_empty()).then(|| stats::spearman(&of_both(&of_board), &of_both(&of_desktop)));
    let request = &explanation.request;
    let sheet = draw::sheet(&Sheet {
        photo: &photo.pixels,
        seen: Placement::new(map, framing, photo.size()).seen(),
        title: headline,
        subtitle: vec!["The map that a board computes from the capsule, beside the one of this program".into()],
        saliency: Tile {
            map: &of_board,
            lines: vec!["The board".into(), format!("{map} positions")],
            ..Tile::default()
        },
        parts: vec![Tile {
            map: &of_desktop,
            lines: vec!["The desktop".into(), format!("{}, {} positions", request.method.name(), explanation.map.size)],
            ..Tile::default()
        }],
        style: &Style::default(),
        notes: alike.iter().map(|alike| alike_in_words(*alike)).collect(),
    })?;
    let mut files = Files::new(directory).sparing(Inputs::new([path, Path::new(&photo.name)]));
    files.add(BESIDE, |out| files::write_png(out, &sheet))?;
    Ok((files.publish()?, alike))
}

/// What a correlation of the board's map and the desktop's means.
pub fn alike_in_words(alike: f64) -> String {
    format!(
        "Rank correlation of the two maps: {alike:.2} (1: they rank all places alike; 0: they have nothing to do with each other)"
    )
}

/// A capsule that is whole and of the version that is read.
fn parsed(bytes: &[u8]) -> anyhow::Result<Capsule<'_>> {
    Capsule::parse(bytes).map_err(|error| match error {
        decomcam_core::Error::NotACapsule => anyhow!(
            "expected a capsule, as `decomcam capture` writes it, found {}; name the file that it wrote",
            kind_of(bytes).map_or_else(|| format!("{} bytes of another kind", bytes.len()), str::to_owned)
        ),
        decomcam_core::Error::CapsuleVersion => {
            anyhow!("expected a capsule of version {}, found one of another version; capture it again", capsule::VERSION)
        }
        error => anyhow!(
            "expected a whole capsule, found {} bytes that are damaged or cut short ({error}); copy it from the board again, or capture it again",
            bytes.len()
        ),
    })
}

fn computed_again(bytes: &[u8]) -> anyhow::Result<Replay> {
    let capsule = parsed(bytes)?;
    let settings = capsule.settings();
    ensure!(
        settings.channels <= CHANNELS_MAX,
        "expected at most {CHANNELS_MAX} selected channels, found {}",
        settings.channels
    );
    let mut workspace = vec![0.0; capsule.workspace_len()];
    let mut taps = vec![Tap::default(); settings.out_width];
    let mut stages = Vec::new();
    let buffers = Buffers { workspace: &mut workspace, taps: &mut taps };
    capsule
        .replay::<{ CHANNELS_MAX }>(buffers, |stage, difference| stages.push((stage, difference)))
        .context("its explanation cannot be computed again; capture it again")?;
    Ok(stages)
}

/// A replay in words, one line for each stage.
pub fn table(replay: &Replay) -> String {
    let mut text = String::new();
    for (stage, difference) in replay {
        let _ = match difference {
            None => writeln!(text, "{:<30} equal", stage.name()),
            Some(d) => writeln!(
                text,
                "{:<30} differs from number {} on: recorded {:08x}, computed {:08x}",
                stage.name(),
                d.index,
                d.recorded,
                d.computed
            ),
        };
    }
    text
}
