//! The photos of a category decomposed together: the components that they share, each with the photos that have most of it.
//!
//! Photo k gives the matrix X_k = (w_k o A'_k) less each channel's mean over positions, divided by its Frobenius norm: C channels x P positions, A' and
//! w as recipe `exact` has them ([`crate::explain`]). All channels are used, so that all photos have the same basis, and every photo weighs the same.
//! Side by side they are X = [X_1 | ... | X_N], C x N P, and X = U diag(s) V'. Shared component q is the direction u_q among channels; c_qk = u_q' X_k is
//! its map in photo k, and max(0, c_qk) its OSSM there. Nothing is approximated: with all components X_k = sum_q u_q c_qk, and the photo's first-order map
//! of the score, L_k = the sum of X_k over channels, is sum_q a_q c_qk with a_q the sum of u_q's entries. A component's sign is chosen once for all
//! photos, as the side that the score rewards over all of them: sum_k c_qk' L_k >= 0.
//!
//! How **typical** photo k is of component q is what the component makes of the photo's first-order map, a_q c_qk' L_k over the mean over photos of
//! |L_k|^2: the closed form of its contribution, without a forward pass. Over all components this sums to |L_k|^2 over that mean, and over photos and
//! components to N, so that 1 is all of a photo in which there is as much for the score as in the mean. It is negative where the component's positive side
//! is not the one that the score rewards in that photo.

use crate::Size;
use crate::args::EvalArgs;
use crate::dataset::{Annotated, Object};
use crate::draw::{self, Look, Row, Rows, Tile};
use crate::encoders::image::{Explained, ImageTower};
use crate::encoders::text::TextTower;
use crate::eval::{self, Found, LeftOut, Outcome, Pair, Problem, Skipped, View, Work};
use crate::explain::{self, CHANNELS_MAX, Grid, Name, Request, Seen};
use crate::files::{Files, prepare_directory, write_json, write_png};
use crate::methods::Method;
use crate::model::Model;
use crate::photo::{Framing, Photo, Placement};
use crate::report;
use crate::score::Prompt;
use crate::workers;
use anyhow::{Context, Result, ensure};
use decomcam_core::{Recipe, SignRule, decompose, maths};
use image::RgbImage;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// Q unless another number is asked for.
const COMPONENTS: usize = 5;

/// Version of the layout of `CATEGORY.json`.
const SCHEMA_VERSION: u32 = 1;

/// A direction among channels that photos share.
#[derive(Clone, Debug)]
pub struct Component {
    /// c_qk = u_q' X_k of each photo k: P positions, of both signs.
    pub maps: Vec<Vec<f32>>,
    /// How typical each photo k is: a_q c_qk' L_k over the mean of |L_k|^2; 0 where that is.
    pub typicality: Vec<f32>,
    /// s_q.
    pub singular_value: f32,
    /// s_q^2 over the sum of all squares.
    pub explained_variance: f32,
    /// a_q, the sum of u_q's entries.
    pub weight: f32,
}

impl Component {
    /// max(0, c_qk): the OSSM in one of the photos.
    pub fn ossm(&self, photo: usize) -> Vec<f32> {
        self.maps[photo].iter().map(|value| value.max(0.0)).collect()
    }
}

/// What photos share.
#[derive(Clone, Debug)]
pub struct Shared {
    /// By falling singular value.
    pub components: Vec<Component>,
    /// Those of the components, and the next one if it exists.
    pub singular_values: Vec<f32>,
}

/// X_k: each map times its channel's weight, less its mean over positions, and all divided by their Frobenius norm. None if there is nothing to divide by.
///
/// # Shapes
/// `maps` C x P, row-major, as the result; `weights` C.
pub fn photo_matrix(maps: &[f32], weights: &[f32]) -> Option<Vec<f32>> {
    let positions = maps.len() / weights.len();
    let weighted = maps.chunks_exact(positions).zip(weights).flat_map(|(map, weight)| {
        let mean = maths::mean(map);
        map.iter().map(move |value| weight * (value - mean))
    });
    let mut matrix: Vec<f32> = weighted.collect();
    let norm = matrix.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
    matrix.iter_mut().for_each(|value| *value = (f64::from(*value) / norm) as f32);
    matrix.iter().all(|value| value.is_finite()).then_some(matrix)
}

/// The first components of photos' matrices side by side, by the core's decomposition, to which they are one photo of N P positions.
///
/// # Shapes
/// `photos` N matrices C x P, row-major, P height times width of `grid`: the [`photo_matrix`] of each.
///
/// # Conventions
/// Signs by [`SignRule::Score`] of all photos together.
///
/// # Errors
/// More channels than the core's selection holds, and those of [`decomcam_core::decompose::decompose`].
///
/// # Cost
/// With n = N P and C < n: 4 n C^2 - 4/3 C^3 operations, 8 n C bytes beside the photos'.
pub fn shared(photos: &[Vec<f32>], channels: usize, [height, width]: [usize; 2], components: usize) -> Result<Shared> {
    ensure!(
        channels <= CHANNELS_MAX,
        "the layer has {channels} channels; expected {CHANNELS_MAX} at most, as all are used; choose another --layer"
    );
    let positions = height * width;
    let row = |channel: usize| photos.iter().flat_map(move |x| &x[channel * positions..(channel + 1) * positions]);
    let maps = (0..channels).flat_map(row).copied().collect();
    let grid = Grid { height: photos.len() * height, width, maps };
    let request = Request { components: Some(components), ..Request::new(1) };
    let decomposed = explain::decomposed_with(vec![1.0; channels], &grid, &request, SignRule::Score)?;
    let first_orders: Vec<Vec<f32>> = photos.iter().map(|matrix| first_order(matrix, positions)).collect();
    let squares: f32 = first_orders.iter().map(|first_order| maths::dot(first_order, first_order)).sum();
    let unit = if squares > 0.0 { photos.len() as f32 / squares } else { 0.0 };
    let components = decomposed.parts.into_iter().map(|part| {
        let maps: Vec<Vec<f32>> = part.component.chunks_exact(positions).map(<[f32]>::to_vec).collect();
        let products = maps.iter().zip(&first_orders).map(|(map, first_order)| maths::dot(map, first_order));
        Component {
            typicality: products.map(|product| unit * part.weight * product).collect(),
            maps,
            singular_value: part.singular_value,
            explained_variance: part.explained_variance,
            weight: part.weight,
        }
    });
    Ok(Shared { components: components.collect(), singular_values: decomposed.singular_values })
}

/// L_k, the sum of X_k over channels.
fn first_order(matrix: &[f32], positions: usize) -> Vec<f32> {
    let mut sum = vec![0.0; positions];
    for map in matrix.chunks_exact(positions) {
        sum.iter_mut().zip(map).for_each(|(sum, value)| *sum += f64::from(*value));
    }
    sum.into_iter().map(|sum| sum as f32).collect()
}

/// A photo that takes part.
struct Member {
    photo: String,
    path: PathBuf,
    framing: Framing,
    layer: Explained,
    /// X_k, and the size of its grid.
    matrix: Vec<f32>,
    grid: [usize; 2],
}

/// What every category needs.
struct Pool<'a> {
    args: &'a EvalArgs,
    model: &'a Model,
    tower: ImageTower,
    text: TextTower,
    template: &'a str,
    view: View,
    names: Vec<Prompt>,
    threads: usize,
}

/// Decomposes the photos of each category of `--pool` together and writes `pool/CATEGORY.png` and `pool/CATEGORY.json`.
pub(crate) fn run(
    args: &EvalArgs,
    model: &Model,
    listed: Vec<Annotated>,
    template: &str,
    threads: usize,
) -> Result<Outcome> {
    let directory = args.out.join("pool");
    prepare_directory(&directory)?;
    let view = View::new(args, model)?;
    let text = TextTower::load(model)?;
    let name = |name: &String| Prompt::new(model, &text, name, None, Some(&view.explained));
    let names = args.name_parts.iter().map(name).collect::<Result<Vec<_>>>()?;
    let tower = ImageTower::load_to_explain(model, &view.layer, (view.side, view.side), &view.explained)?;
    let exact = [Method::DecomCam(Recipe::Exact)];
    let tower = Method::prepared(&exact, tower, model, args.methods.tuning.scales.map(usize::from))?;
    let tower = if names.is_empty() { tower.with_head_if_possible(model) } else { tower.with_head(model)? };
    let pool = Pool { args, model, tower, text, template, view, names, threads };

    let annotated: BTreeSet<&str> =
        listed.iter().flat_map(|photo| &photo.objects).map(|object| object.category.as_str()).collect();
    let mut outcome =
        Outcome { text: String::new(), skipped: Vec::new(), skipped_in: "pool/CATEGORY.json", files: Vec::new() };
    let mut done = BTreeSet::new();
    for asked in &args.pool {
        let Some(category) = annotated.iter().find(|category| category.eq_ignore_ascii_case(asked)) else {
            let known: Vec<&str> = annotated.iter().copied().collect();
            outcome
                .skipped
                .push(format!("--pool {asked}: no photo is annotated with it; expected one of: {}", known.join(", ")));
            continue;
        };
        if !done.insert(*category) {
            continue;
        }
        let mut found = Found::default();
        let report = pool.category(category, &listed, &mut found)?;
        outcome.skipped.extend(found.skipped.iter().map(Skipped::line));
        let Some((report, picture)) = report else {
            outcome.skipped.push(format!("--pool {category}: no photo is left, {}", found.left_out.words()));
            continue;
        };
        if !outcome.text.is_empty() {
            outcome.text.push('\n');
        }
        outcome.text += &report.table();
        let mut files = Files::new(&directory);
        files.add(&(file_stem(category) + ".png"), |out| write_png(out, &picture))?;
        files.add(&(file_stem(category) + ".json"), |out| write_json(out, &report))?;
        outcome.files.extend(files.publish()?);
    }
    ensure!(!outcome.files.is_empty(), "nothing to pool: {}", outcome.skipped.join("; "));
    Ok(outcome)
}

/// The category as the name of a file: other letters than those of words as % and their number, so that no two categories share a name.
fn file_stem(category: &str) -> String {
    let safe = |letter: char| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_');
    category
        .chars()
        .map(|letter| if safe(letter) { letter.to_string() } else { format!("%{:02X}", u32::from(letter)) })
        .collect()
}

impl Pool<'_> {
    /// One category, and its picture; none if no photo is left.
    fn category(&self, category: &str, listed: &[Annotated], found: &mut Found) -> Result<Option<(Report, RgbImage)>> {
        let own = |photo: &Annotated| {
            let objects: Vec<Object> =
                photo.objects.iter().filter(|object| object.category == category).cloned().collect();
            (!objects.is_empty()).then(|| Annotated { photo: photo.photo.clone(), objects })
        };
        let mut prompts = BTreeMap::new();
        let work = eval::plan(self.args, listed.iter().filter_map(own).collect(), found, &mut prompts, |category| {
            eval::prompt_of(category, self.template, self.model, &self.text, &self.view.explained)
        });
        let Some(prompt) = prompts.remove(category) else { return Ok(None) };

        let style = indicatif::ProgressStyle::with_template("{bar:30} {pos} of {len} photos, {eta} left")?;
        let bar = indicatif::ProgressBar::new(work.len() as u64).with_style(style);
        let shared_found = Mutex::new(std::mem::take(found));
        let members = workers::each(work.len(), self.threads, |at| {
            let member = self.member(&work[at], category, &prompt, &shared_found);
            bar.inc(1);
            Ok(member)
        })?;
        bar.finish_and_clear();
        *found = shared_found.into_inner().expect("the workers have ended");
        found.skipped.sort();
        let mut members: Vec<Member> = members.into_iter().flatten().collect();
        let Some(Member { grid, layer: Explained { channels, .. }, .. }) = members.first() else { return Ok(None) };
        let (grid, channels) = (*grid, *channels);

        let matrices: Vec<Vec<f32>> = members.iter_mut().map(|member| std::mem::take(&mut member.matrix)).collect();
        let most = decompose::components_max(matrices.len() * grid[0] * grid[1], channels);
        let shared =
            shared(&matrices, channels, grid, self.args.methods.tuning.components.unwrap_or(most.min(COMPONENTS)))?;
        drop(matrices);
        let report = self.report(category, &prompt, &members, &shared, found)?;
        let picture = self.picture(&report, &members, &shared)?;
        Ok(Some((report, picture)))
    }

    /// One photo; none if it is left out or skipped.
    fn member(&self, work: &Work, category: &str, prompt: &Prompt, found: &Mutex<Found>) -> Option<Member> {
        let lock = || found.lock().expect("no worker panics while it holds the lock");
        let skip = |problem, error: anyhow::Error| {
            let (photo, category) = (work.photo.clone(), Some(category.to_owned()));
            lock().skipped.push(Skipped { problem, photo, category, reason: format!("{error:#}") });
        };
        let photo = Photo::open(&work.path).map_err(|error| skip(Problem::UndecodablePhoto, error.into())).ok()?;
        let objects: Vec<Object> = work.pairs.iter().flat_map(|(_, objects)| objects.iter().cloned()).collect();
        let mask = self.view.truth(&photo, &objects).map(|truth| truth.share());
        if lock().judge(self.args, mask, &work.photo, category) == Pair::LeftOut {
            return None;
        }
        let framing = self.view.framing(&photo).1;
        let seen = self.look(&photo, framing, prompt).map_err(|error| skip(Problem::Failed, error));
        let (layer, matrix, grid) = seen.ok()?;
        Some(Member { photo: work.photo.clone(), path: work.path.clone(), framing, layer, matrix, grid })
    }

    /// What the network says of a photo: its layer, X_k and the size of its grid.
    fn look(&self, photo: &Photo, framing: Framing, prompt: &Prompt) -> Result<(Explained, Vec<f32>, [usize; 2])> {
        let image = &self.model.manifest.image;
        let at = |(height, width)| photo.network_input(framing, Size { height, width }, image.padding(), 1);
        let input = at(self.tower.side()).normalised(image.mean, image.std);
        let Seen { layer, finer } = explain::look(self.model, &self.tower, prompt, &input, &at)?;
        let affinity = self.args.methods.tuning.affinity.is_none_or(|switch| switch.0);
        let grid = Grid::new(&layer, finer.as_ref(), affinity)?;
        let matrix = photo_matrix(&grid.maps, &explain::channel_weights(&layer)?)
            .context("the weighted maps are the same everywhere: there is nothing to decompose")?;
        Ok((layer, matrix, [grid.height, grid.width]))
    }

    /// What each component adds to the explained score of the prompt and of the names, in each photo; none if something bypasses the layer.
    fn gains(&self, members: &[Member], shared: &Shared, prompt: &Prompt) -> Result<Option<Vec<Vec<Vec<f32>>>>> {
        if !self.tower.has_head() {
            return Ok(None);
        }
        let prompts: Vec<&Prompt> = [prompt].into_iter().chain(&self.names).collect();
        let of = |photo: usize| {
            let ossms: Vec<Vec<f32>> = shared.components.iter().map(|component| component.ossm(photo)).collect();
            let ossms: Vec<&[f32]> = ossms.iter().map(Vec::as_slice).collect();
            explain::gains(&self.tower, &members[photo].layer, members[photo].grid, &ossms, &prompts)
        };
        workers::each(members.len(), self.threads, of).map(Some)
    }

    fn report(
        &self,
        category: &str,
        prompt: &Prompt,
        members: &[Member],
        shared: &Shared,
        found: &Found,
    ) -> Result<Report> {
        let gains = self.gains(members, shared, prompt)?;
        let mean = |q: usize, text: usize| {
            let gains = gains.as_ref()?;
            Some(gains.iter().map(|photo| photo[q][text]).sum::<f32>() / gains.len() as f32)
        };
        let component = |(q, component): (usize, &Component)| {
            let names: Option<Vec<f32>> = (1..=self.names.len()).map(|text| mean(q, text)).collect();
            let mut photos: Vec<PhotoReport> = members
                .iter()
                .enumerate()
                .map(|(index, member)| PhotoReport {
                    photo: member.photo.clone(),
                    typicality: component.typicality[index],
                    explained_variance: maths::dot(&component.maps[index], &component.maps[index]),
                    contribution: gains.as_ref().map(|gains| gains[index][q][0]),
                    index,
                })
                .collect();
            photos.sort_by(|a, b| b.typicality.total_cmp(&a.typicality));
            ComponentReport {
                number: q + 1,
                explained_variance: component.explained_variance,
                singular_value: component.singular_value,
                weight: component.weight,
                contribution: mean(q, 0),
                name: names.and_then(|gains| Name::best(&self.names, &gains)),
                photos,
            }
        };
        Ok(Report {
            schema_version: SCHEMA_VERSION,
            program: concat!("decomcam ", env!("CARGO_PKG_VERSION")).into(),
            category: category.into(),
            text: prompt.typed().0.into(),
            model: self.model.manifest.name.clone(),
            model_sha256: self.model.sha256(),
            layer: self.view.layer.clone(),
            explained: self.view.explained.clone(),
            size: self.view.side,
            fit: self.view.fit.name(),
            grid: members.first().map_or([0; 2], |member| member.grid),
            photos: members.len(),
            components: shared.components.iter().enumerate().map(component).collect(),
            singular_values: shared.singular_values.clone(),
            warnings: explain::spectrum_warnings(&shared.singular_values, shared.components.len()),
            left_out: found.left_out,
            skipped_count: found.skipped.len(),
            skipped: found.skipped.clone(),
        })
    }

    /// A photo as it is shown, and the OSSM of a component on it.
    fn tile(&self, member: &Member, ossm: &[f32]) -> Result<(RgbImage, Vec<f32>)> {
        let photo = Photo::open(&member.path)?;
        let [height, width] = member.grid;
        let placement = Placement::new(Size { height, width }, member.framing, photo.size());
        let picture = draw::row_tile(&photo.pixels, placement.seen());
        let size = Size::new(picture.height() as usize, picture.width() as usize);
        let placement = placement.on_seen().on_copy(size);
        let mut map = placement.upsampled(ossm)?;
        map.iter_mut().for_each(|value| *value = value.max(0.0));
        Ok((picture, map))
    }

    fn picture(&self, report: &Report, members: &[Member], shared: &Shared) -> Result<RgbImage> {
        let most_typical = |(component, maps): (&ComponentReport, &Component)| {
            let shown = component.photos.iter().take(self.args.typical);
            shown.map(|photo| self.tile(&members[photo.index], &maps.ossm(photo.index))).collect()
        };
        let tiles: Vec<Vec<(RgbImage, Vec<f32>)>> =
            report.components.iter().zip(&shared.components).map(most_typical).collect::<Result<_>>()?;
        let contributions = report.components.iter().filter_map(|component| component.contribution);
        let strongest = contributions.map(f32::abs).fold(0.0, f32::max);
        Ok(draw::rows(&Rows {
            look: &Look::default(),
            title: &report.title(),
            subtitle: vec![report.subtitle()],
            rows: report
                .components
                .iter()
                .zip(&tiles)
                .map(|(component, tiles)| component.row(tiles, strongest))
                .collect(),
            notes: vec![
                format!(
                    "Each row is a direction among the channels that the photos share, the photos most typical of it first. The bold number is its \
                     contribution, at the left the mean over all photos: the score ({}) of the layer kept where the part is high and at its mean \
                     elsewhere, less that of the means alone. Typical is what the part makes of the photo's first-order map of the score; 1 is all of \
                     it in the mean photo. Dim: the part speaks against the score.",
                    report.explained
                ),
                "Of each photo that part is shown which the model saw.".into(),
            ],
        })?)
    }
}

/// What `CATEGORY.json` says.
#[derive(Debug, Serialize)]
struct Report {
    schema_version: u32,
    program: String,
    category: String,
    /// The prompt.
    text: String,
    model: String,
    model_sha256: String,
    layer: String,
    explained: String,
    size: usize,
    fit: &'static str,
    /// Height and width of a photo's maps.
    grid: [usize; 2],
    /// Photos decomposed together.
    photos: usize,
    components: Vec<ComponentReport>,
    /// Of the components, and the next one if it exists.
    singular_values: Vec<f32>,
    warnings: Vec<String>,
    left_out: LeftOut,
    skipped_count: usize,
    skipped: Vec<Skipped>,
}

#[derive(Debug, Serialize)]
struct ComponentReport {
    number: usize,
    /// s_q^2 over the sum of all squares: the mean over photos of theirs.
    explained_variance: f32,
    singular_value: f32,
    weight: f32,
    /// The mean over photos; none if something bypasses the layer.
    contribution: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<Name>,
    /// All of them, the most typical first.
    photos: Vec<PhotoReport>,
}

#[derive(Debug, Serialize)]
struct PhotoReport {
    photo: String,
    /// Of [`Component::typicality`].
    typicality: f32,
    /// |c_qk|^2, a share of the photo's.
    explained_variance: f32,
    /// The score of the photo's layer kept where the OSSM is high and at its mean elsewhere, less that of the means; none if something bypasses the layer.
    contribution: Option<f32>,
    #[serde(skip)]
    index: usize,
}

impl ComponentReport {
    /// The component as a row of the picture, `tiles` being its first photos and their maps.
    fn row<'a>(&self, tiles: &'a [(RgbImage, Vec<f32>)], strongest: f32) -> Row<'a> {
        let number = format!("#{}", self.number);
        let label = [self.contribution.map_or_else(|| number.clone(), |mean| format!("{number}  {mean:+.3}"))];
        let variance = format!("variance {:.1}%", 100.0 * self.explained_variance);
        let tile = |((picture, map), photo): (&'a (RgbImage, Vec<f32>), &PhotoReport)| {
            (picture, Tile { map, lines: photo.lines(), bar: None, dimmed: photo.typicality <= 0.0 })
        };
        Row {
            label: Tile {
                lines: label.into_iter().chain([variance]).chain(self.name.as_ref().map(report::named)).collect(),
                bar: self.contribution.filter(|_| strongest > 0.0).map(|mean| mean / strongest),
                ..Tile::default()
            },
            tiles: tiles.iter().zip(&self.photos).map(tile).collect(),
        }
    }
}

impl PhotoReport {
    fn lines(&self) -> Vec<String> {
        let name =
            Path::new(&self.photo).file_name().map_or_else(|| self.photo.clone(), |name| name.to_string_lossy().into());
        let typical = format!("typical {:+.3}", self.typicality);
        self.contribution.map(|value| format!("{value:+.3}")).into_iter().chain([typical, name]).collect()
    }
}

impl Report {
    fn title(&self) -> String {
        match self.photos {
            1 => format!("\"{}\": 1 photo", self.text),
            photos => format!("\"{}\": what {photos} photos share", self.text),
        }
    }

    fn subtitle(&self) -> String {
        let [height, width] = self.grid;
        let variance = self.components.iter().map(|component| component.explained_variance).sum::<f32>();
        format!(
            "model {}, layer {} ({height} x {width}), score {}, {:.1}% of the variance in {} parts",
            self.model,
            self.layer,
            self.explained,
            100.0 * variance,
            self.components.len()
        )
    }

    /// What the terminal shows.
    fn table(&self) -> String {
        let mut text = format!("{}\n{}\n", self.title(), self.subtitle());
        text += &format!("left out: {}\n\n", self.left_out.words());
        text += "part  contribution  variance  most typical photos\n";
        for component in &self.components {
            let photos: Vec<&str> = component.photos.iter().take(3).map(|photo| photo.photo.as_str()).collect();
            let _ = writeln!(
                text,
                "{:>4}  {:>12}  {:>7.1}%  {}{}",
                format!("#{}", component.number),
                component.contribution.map_or_else(|| "-".into(), |mean| format!("{mean:+.3}")),
                100.0 * component.explained_variance,
                photos.join(", "),
                component.name.as_ref().map_or_else(String::new, |name| format!("  {}", report::named(name))),
            );
        }
        self.warnings.iter().for_each(|warning| text += &format!("warning: {warning}\n"));
        text
    }
}
