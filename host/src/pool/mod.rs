//! Decomposes the photos of a category together, into components that they share, and finds the photos that are most typical of each.
//!
//! Photo k gives the matrix X_k = (w_k o A'_k) less each channel's mean over positions, divided by its Frobenius norm: C channels x P positions, A' and
//! w as recipe `exact` has them ([`crate::explain`]). All channels are used, so that all photos have the same basis, and every photo weighs the same.
//! Side by side they are X = [X_1 | ... | X_N], C x N P, and X = U diag(s) V'. Shared component q is the direction u_q among channels; c_qk = u_q' X_k is
//! its map in photo k, and max(0, c_qk) its OSSM there. Nothing is approximated: with all components X_k = sum_q u_q c_qk, and the photo's first-order map
//! of the score, L_k = the sum of X_k over channels, is sum_q a_q c_qk with a_q the sum of u_q's entries. A component's sign is chosen once for all
//! photos, as the side that the score rewards over all of them: sum_k c_qk' L_k >= 0.
//!
//! How **typical** photo k is of component q is what the component makes of the photo's centred first-order map L_k, a_q c_qk' L_k over the mean over photos of
//! |L_k|^2: the closed form of its contribution, without a forward pass. Over all components this sums to |L_k|^2 over that mean, and over photos and
//! components to N, so that 1 is all of a photo in which there is as much for the score as in the mean. It is negative where the component's positive side
//! is not the one that the score rewards in that photo.

mod report;
mod shared;

pub use shared::{Shared, SharedComponent, photo_matrix, shared};

use crate::dataset::plan::{Found, Outcome, Plan, Problem, Selection, Skipped, Tally, Work, prompt_of, truth};
use crate::dataset::{Annotated, Listed, Object, Truth};
use crate::encoders::activations::Activations;
use crate::error::Sorted as _;
use crate::explain::grid::Grid;
use crate::explain::{Options, Request, Towers, masks, parts};
use crate::files::{self, Files};
use crate::methods::{Method, Recipe};
use crate::owned::Inputs;
use crate::photo::{Framing, Photo};
use crate::progress::Steps;
use crate::score::{Prompt, Question};
use crate::session::{Purpose, Session};
use crate::{Error, Result, Size, workers};
use anyhow::{Context as _, ensure};
use decomcam_core::decompose;
use report::PoolReport;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Q unless another number is asked for.
const COMPONENTS: usize = 5;

/// Which photos to decompose together, and how.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PoolOptions {
    /// Which photos, and which of their objects.
    pub selection: Selection,
    /// Directory of the pictures and reports.
    pub out: PathBuf,
    /// The categories, each by itself.
    pub categories: Vec<String>,
    /// Layer, scales, affinity, components and names; the method is `exact`.
    pub options: Options,
    /// The score that is explained; the model's own choice if not given.
    pub score: Option<String>,
    /// How many photos the picture shows of each shared component.
    pub typical: usize,
}

impl PoolOptions {
    /// The usual choices for some categories.
    pub fn new(selection: Selection, out: impl Into<PathBuf>, categories: Vec<String>) -> Self {
        Self { selection, out: out.into(), categories, options: Options::new(), score: None, typical: 5 }
    }
}

/// A photo that takes part.
struct Member {
    photo: String,
    path: PathBuf,
    framing: Framing,
    layer: Activations,
    /// X_k.
    matrix: Vec<f32>,
    grid: Size,
}

/// What is the same for all categories.
struct Pool<'a> {
    session: &'a Session,
    asked: &'a PoolOptions,
    request: Request,
    score: String,
    towers: Towers,
    names: Vec<Prompt>,
}

/// The result of one category.
struct Pooled {
    report: Option<(PoolReport, image::RgbImage)>,
    tally: Tally,
}

/// Decomposes the photos of each category together and writes `CATEGORY.png` and `CATEGORY.json`.
///
/// # Errors
/// Only what prevents every category: annotations that cannot be read, a directory that cannot be written to, no photo left. Bad photos and annotations are
/// skipped and named.
pub fn pool(session: &Session, asked: &PoolOptions) -> Result<Outcome> {
    asked.selection.check()?;
    asked.options.check_unset(&["refine", "channels", "sign", "one-sided", "integrate", "rise-masks"], "pool")?;
    let listed = asked.selection.read()?;
    asked.selection.check_categories(&listed)?;
    let pool = Pool::new(session, asked)?;

    let annotated: BTreeSet<&str> =
        listed.photos.iter().flat_map(|photo| &photo.objects).map(|object| object.category.as_str()).collect();
    let mut outcome =
        Outcome { text: String::new(), skipped: Vec::new(), skipped_in: "CATEGORY.json", files: Vec::new() };
    let find = |category: &String| annotated.iter().find(|known| known.eq_ignore_ascii_case(category));
    for category in asked.categories.iter().filter_map(find) {
        Files::new(&asked.out).check(file_names(category))?;
    }
    files::prepare_directory(&asked.out)?;
    let mut done = BTreeSet::new();
    for category in &asked.categories {
        let Some(category) = find(category) else {
            let known: Vec<&str> = annotated.iter().copied().collect();
            outcome
                .skipped
                .push(format!("{category}: no photo is annotated with it; expected one of: {}", known.join(", ")));
            continue;
        };
        if done.insert(*category) {
            pool.publish(category, pool.category(category, &listed)?, &mut outcome)?;
        }
    }
    something(&outcome).kind(Error::Dataset)?;
    Ok(outcome)
}

fn something(outcome: &Outcome) -> anyhow::Result<()> {
    ensure!(!outcome.files.is_empty(), "nothing to pool: {}", outcome.skipped.join("; "));
    Ok(())
}

/// The category as the name of a file. Characters that are not part of words are written as % and their number, so no two categories share a file.
fn file_stem(category: &str) -> String {
    let safe = |letter: char| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_');
    category
        .chars()
        .map(|letter| if safe(letter) { letter.to_string() } else { format!("%{:02X}", u32::from(letter)) })
        .collect()
}

/// The picture and the numbers of a category.
fn file_names(category: &str) -> [String; 2] {
    [".png", ".json"].map(|ending| file_stem(category) + ending)
}

impl<'a> Pool<'a> {
    fn new(session: &'a Session, asked: &'a PoolOptions) -> Result<Self> {
        let manifest = &session.model().manifest;
        let exact = Method::DecomCam(Recipe::Exact);
        // Maps of several photos are decomposed as they are; none is refined.
        let request = Options { method: exact, refine: Some(false), ..asked.options.clone() }.resolve(manifest)?;
        let score = asked.score.as_ref().unwrap_or(&manifest.explain.explained);
        let score = manifest.score(score)?.name.clone();
        let name = |text: &String| session.prompt(Question { text, versus: None, score: Some(&score) });
        let names = asked.options.names.iter().map(name).collect::<Result<Vec<_>>>()?;
        let purpose = if names.is_empty() { Purpose::Explanation } else { Purpose::FromLayer };
        let towers = session.towers(std::slice::from_ref(&request), &score, purpose)?;
        Ok(Self { session, asked, request, score, towers, names })
    }

    fn publish(&self, category: &str, pooled: Pooled, outcome: &mut Outcome) -> Result<()> {
        outcome.skipped.extend(pooled.tally.skipped.iter().map(Skipped::line));
        let Some((report, picture)) = pooled.report else {
            outcome.skipped.push(format!("{category}: no photo is left, {}", pooled.tally.left_out.words()));
            return Ok(());
        };
        if !outcome.text.is_empty() {
            outcome.text.push('\n');
        }
        outcome.text += &report.table();
        let mut files = Files::new(&self.asked.out);
        let [drawn, numbers] = file_names(category);
        files.add(&drawn, |out| files::write_png(out, &picture))?;
        files.add(&numbers, |out| files::write_json(out, &report))?;
        outcome.files.extend(files.publish()?);
        Ok(())
    }

    /// One category's photos, decomposed together.
    fn category(&self, category: &str, listed: &Listed) -> Result<Pooled> {
        let own = |photo: &Annotated| {
            let objects = photo.objects.iter().filter(|object| object.category == category);
            let objects: Vec<Object> = objects.cloned().collect();
            (!objects.is_empty()).then(|| Annotated { photo: photo.photo.clone(), objects })
        };
        let Listed { photos, skipped, categories } = listed;
        let photos = photos.iter().filter_map(own).collect();
        let listed = Listed { photos, skipped: skipped.clone(), categories: categories.clone() };
        let Plan { work, mut prompts, found, .. } = Plan::new(&self.asked.selection, listed, |category| {
            prompt_of(self.session, category, &self.asked.selection, Some(&self.score))
        })?;
        let inputs = Inputs::new(work.iter().map(|work| &work.path));
        Files::new(&self.asked.out).sparing(inputs).check(file_names(category))?;
        let Some(prompt) = prompts.remove(category) else {
            return Ok(Pooled { report: None, tally: found.into_tally() });
        };
        let steps = Steps::new(self.session.watch(), "photos", work.len())?;
        let members = workers::each(work.len(), self.session.threads(), |at| {
            let member = self.member(&work[at], category, &prompt, &found);
            steps.advance(1)?;
            Ok(member)
        })?;
        let tally = found.into_tally();
        let mut members: Vec<Member> = members.into_iter().flatten().collect();
        let Some(first) = members.first() else { return Ok(Pooled { report: None, tally }) };
        let (grid, channels) = (first.grid, first.layer.channels);

        let matrices: Vec<Vec<f32>> = members.iter_mut().map(|member| std::mem::take(&mut member.matrix)).collect();
        let most = decompose::components_max(matrices.len() * grid.area(), channels);
        let shared = shared(&matrices, channels, grid, self.request.components.unwrap_or(most.min(COMPONENTS)))?;
        drop(matrices);
        let report = self.report(category, &prompt, &members, &shared, &tally)?;
        let picture = self.picture(&report, &members, &shared)?;
        Ok(Pooled { report: Some((report, picture)), tally })
    }

    /// One photo; none if it is left out or skipped.
    fn member(&self, work: &Work, category: &str, prompt: &Prompt, found: &Found) -> Option<Member> {
        let skip = |problem, error: Error| found.skip(problem, &work.photo, Some(category), error);
        let photo = Photo::open(&work.path).map_err(|error| skip(Problem::UndecodablePhoto, error)).ok()?;
        let objects: Vec<Object> = work.pairs.iter().flat_map(|(_, objects)| objects.iter().cloned()).collect();
        let truth = truth(self.session.view(), &photo, &objects);
        let truth = truth.map_err(|reason| found.skip(Problem::BadRecord, &work.photo, Some(category), reason)).ok()?;
        let mask = truth.as_ref().map(Truth::share);
        if !found.counts(&self.asked.selection, mask, &work.photo, category) {
            return None;
        }
        self.seen(work, &photo, prompt).map_err(|error| skip(Problem::Failed, error)).ok()
    }

    /// The matrix X_k of a photo.
    fn seen(&self, work: &Work, photo: &Photo, prompt: &Prompt) -> Result<Member> {
        let look = self.session.look(&self.towers, prompt, photo, 1);
        let layers = look.layers(self.request.scales)?;
        let grid = Grid::new(layers, self.request.affinity, look.threads())?;
        let matrix = photo_matrix(&grid.maps, &parts::channel_weights(layers.own)?);
        let matrix = matrix.context("the weighted maps are the same everywhere: there is nothing to decompose");
        Ok(Member {
            photo: work.photo.clone(),
            path: work.path.clone(),
            framing: look.framing(),
            layer: layers.own.seen.activations.clone(),
            matrix: matrix.kind(Error::Explanation)?,
            grid: grid.size,
        })
    }

    /// By how much each component raises the explained scores of the prompt and of the names, in each photo; none if something bypasses the layer.
    fn gains(&self, members: &[Member], shared: &Shared, prompt: &Prompt) -> Result<Option<Gains>> {
        let Some(head) = &self.towers.head else { return Ok(None) };
        let prompts: Vec<&Prompt> = [prompt].into_iter().chain(&self.names).collect();
        let of = |photo: usize| {
            let ossms: Vec<Vec<f32>> = shared.components.iter().map(|component| component.ossm(photo)).collect();
            let ossms: Vec<&[f32]> = ossms.iter().map(Vec::as_slice).collect();
            let member = &members[photo];
            masks::gains(head, &member.layer, (&ossms, member.grid), &prompts)
        };
        Ok(Some(Gains { by_photo: workers::each(members.len(), self.session.threads(), of)? }))
    }
}

/// By how much components raise the explained scores of texts, in each photo.
struct Gains {
    /// Photos x components x texts; the first text is the category's prompt.
    by_photo: Vec<Vec<Vec<f32>>>,
}

impl Gains {
    /// By how much a component raises the category's score in a photo.
    fn contribution(&self, photo: usize, component: usize) -> f32 {
        self.by_photo[photo][component][0]
    }

    /// By how much a component raises the score of each text, as the mean over photos.
    fn means(&self, component: usize) -> Vec<f32> {
        let texts = self.by_photo.first().map_or(0, |components| components[component].len());
        let mean = |text: usize| {
            let gains = self.by_photo.iter().map(|components| components[component][text]);
            gains.sum::<f32>() / self.by_photo.len() as f32
        };
        (0..texts).map(mean).collect()
    }
}
