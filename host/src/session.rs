//! An open model: the one place where networks are loaded, and the one door to everything else. Text and image towers are loaded when they are first needed,
//! and only once.

use crate::encoders::Behind;
use crate::encoders::head::Head;
use crate::encoders::image::ImageVectors;
use crate::encoders::image::{ImageTower, Scorer, TowerKey};
use crate::encoders::text::{Several, TextTower};
use crate::error::Sorted as _;
use crate::explain::{self, Explanation, Integrate, Look, Options, Own, Request, Towers, View};
use crate::methods::Recipe;
use crate::model::{Model, ModelOptions, ScoreKind};
use crate::onnx::shuffle::Shuffle;
use crate::photo::{Fit, Photo};
use crate::progress::{Progress, Watch};
use crate::score::place::Seen;
use crate::score::{self, Class, Knowledge, Place, Prompt, Question, Ranked, Sight};
use crate::timings::Timings;
use crate::{Error, Result, Size, workers};
use anyhow::{Context as _, anyhow};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How a model is opened and how it sees photos.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct SessionOptions {
    /// Choices that the model's files leave open.
    pub model: ModelOptions,
    /// Height and width of the network's input, in pixels; the model's own if not given.
    pub size: Option<Size>,
    /// How photos of another shape are made to fit the input; the model's own way if not given.
    pub fit: Option<Fit>,
    /// With [`Fit::Crop`] and [`Fit::Stretch`]: how many pixels of the input are cut off the shorter side as well, both ends together; the model's own number if not given.
    pub margin: Option<usize>,
    /// Number of worker threads; one for each core if not given.
    pub threads: Option<usize>,
    /// Is called when networks have been loaded, which takes several times the memory that they keep: for programs whose allocator can give memory back.
    pub after_loading: Option<fn()>,
}

impl SessionOptions {
    /// Every choice left to the model.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the choices that the model's files leave open.
    pub fn model(self, model: ModelOptions) -> Self {
        Self { model, ..self }
    }

    /// Sets the size of the network's input.
    pub fn size(self, size: Size) -> Self {
        Self { size: Some(size), ..self }
    }

    /// Sets how photos of another shape are made to fit the input.
    pub fn fit(self, fit: Fit) -> Self {
        Self { fit: Some(fit), ..self }
    }

    /// Sets how many pixels are cut off the shorter side, both ends together.
    pub fn margin(self, margin: usize) -> Self {
        Self { margin: Some(margin), ..self }
    }

    /// Sets the number of worker threads.
    pub fn threads(self, threads: usize) -> Self {
        Self { threads: Some(threads), ..self }
    }

    /// Sets what is called when networks have been loaded.
    pub fn after_loading(self, after_loading: fn()) -> Self {
        Self { after_loading: Some(after_loading), ..self }
    }
}

/// An open model, ready to explain photos from any thread.
///
/// ```
/// use decomcam::{Options, Photo, Session};
/// # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/photos/chelsea.png");
/// let session = Session::open("lite")?;
/// let photo = Photo::open(path)?;
/// let prompt = session.prompt("a cat")?;
/// let why = session.explain(&photo, &prompt, &Options::new())?;
/// println!("{}", why.scores.line());
/// # Ok::<(), decomcam::Error>(())
/// ```
pub struct Session {
    model: Arc<Model>,
    view: View,
    threads: usize,
    shuffle: Shuffle,
    after_loading: Option<fn()>,
    watch: Arc<Watch<'static>>,
    text: Shelf<(), TextTower>,
    knowledge: Shelf<(), Option<Arc<Knowledge>>>,
    towers: Shelf<TowerKey, ImageTower>,
    scorers: Shelf<(), Scorer>,
    /// For a layer that something bypasses: why the network cannot be cut there.
    heads: Shelf<TowerKey, Result<Arc<Head>, String>>,
    loading: Mutex<Timings>,
}

/// What towers are loaded for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// For the map alone: [`explain::map`].
    Map,
    /// For the map and, with DecomCAM, the contributions of its parts.
    Explanation,
    /// For any work that runs the network from the layer on.
    FromLayer,
}

/// Whether the network is loaded from the layer on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Need {
    No,
    IfPossible,
    Must,
}

impl Purpose {
    fn need_of_head(self, request: &Request) -> Need {
        let measured = match (self, request.method.recipe()) {
            (Self::FromLayer, _) => return Need::Must,
            _ if request.method.needs_head() => return Need::Must,
            (_, None) => return Need::No,
            (Self::Map, Some(recipe)) => !recipe.is_closed_form(),
            (Self::Explanation, Some(_)) => true,
        };
        match request.integrate {
            Some(Integrate::Features) if measured => Need::Must,
            None if measured && request.method.recipe() == Some(Recipe::Exact) => Need::IfPossible,
            _ => Need::No,
        }
    }
}

impl Session {
    /// Opens a bundled model by its name, a model's directory, or an ONNX file. Every choice is left to the model.
    ///
    /// # Errors
    /// A model that is missing or damaged, or that this program cannot explain.
    pub fn open(model: &str) -> Result<Self> {
        Self::open_with(model, &SessionOptions::new())
    }

    /// Opens a model with choices.
    ///
    /// # Errors
    /// Those of [`Session::open`], and choices that the model cannot take or that would have no effect.
    pub fn open_with(model: &str, options: &SessionOptions) -> Result<Self> {
        let mut loading = Timings::default();
        let model_options = ModelOptions { size: options.size.or(options.model.size), ..options.model.clone() };
        let model = loading.measure("read model", || Model::open(model, &model_options))?;
        Self::of(model, options, loading)
    }

    /// Makes a session of a model that is open. Of the options, `model` has no effect any more.
    ///
    /// # Errors
    /// Choices that the model cannot take or that would have no effect.
    pub fn with_model(model: Model, options: &SessionOptions) -> Result<Self> {
        Self::of(model, options, Timings::default())
    }

    fn of(model: Model, options: &SessionOptions, loading: Timings) -> Result<Self> {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            view: View::new(&model.manifest, options.size, options.fit, options.margin)?,
            model: Arc::new(model),
            threads: options.threads.unwrap_or_else(cores).max(1),
            shuffle: Shuffle::default(),
            after_loading: options.after_loading,
            watch: Arc::new(|_| ControlFlow::Continue(())),
            text: Shelf::default(),
            knowledge: Shelf::default(),
            towers: Shelf::default(),
            scorers: Shelf::default(),
            heads: Shelf::default(),
            loading: Mutex::new(loading),
        })
    }

    /// The same session, which now tells `watch` how far long work has come. If `watch` returns [`ControlFlow::Break`], the work ends with
    /// [`Error::Cancelled`].
    ///
    /// ```no_run
    /// # use decomcam::Session;
    /// # use std::ops::ControlFlow;
    /// let session = Session::open("lite")?.watching(|progress| {
    ///     eprintln!("{} of {} {}", progress.done, progress.total, progress.counted);
    ///     ControlFlow::Continue(())
    /// });
    /// # Ok::<(), decomcam::Error>(())
    /// ```
    pub fn watching(self, watch: impl Fn(Progress) -> ControlFlow<()> + Send + Sync + 'static) -> Self {
        Self { watch: Arc::new(watch), ..self }
    }

    /// Another session with the same model, in whose network the last weight tensors are shuffled.
    pub(crate) fn shuffled(&self, shuffle: Shuffle) -> Self {
        Self {
            model: Arc::clone(&self.model),
            view: self.view,
            threads: self.threads,
            shuffle,
            after_loading: self.after_loading,
            watch: Arc::clone(&self.watch),
            text: Shelf::default(),
            knowledge: Shelf::default(),
            towers: Shelf::default(),
            scorers: Shelf::default(),
            heads: Shelf::default(),
            loading: Mutex::default(),
        }
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// How the network sees photos.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// Number of worker threads.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// The callback that is told of progress.
    pub fn watch(&self) -> &Watch<'static> {
        &*self.watch
    }

    /// Time spent on loading so far, stage by stage.
    pub fn loading(&self) -> Timings {
        unpoisoned(&self.loading).clone()
    }

    fn timed<T>(&self, stage: &'static str, work: impl FnOnce() -> T) -> T {
        let mut timings = Timings::default();
        let result = timings.measure(stage, work);
        unpoisoned(&self.loading).append(&timings);
        result
    }

    /// Encodes a question: a text, or a text and another one that it is compared with ([`Question`]).
    ///
    /// # Errors
    /// A text in which the model knows no word, a class that it does not have, or an unknown score.
    pub fn prompt<'q>(&self, question: impl Into<Question<'q>>) -> Result<Prompt> {
        self.encoded(question.into(), Several::Refused)
    }

    /// The same, but words that several classes of a classifier may mean stand for all of these classes together.
    pub(crate) fn prompt_of_any(&self, question: Question<'_>) -> Result<Prompt> {
        self.encoded(question, Several::Together)
    }

    fn text_tower(&self) -> Result<Arc<TextTower>> {
        self.text.get(&(), || TextTower::load(&self.model))
    }

    fn encoded(&self, question: Question<'_>, several: Several) -> Result<Prompt> {
        let text = self.text_tower()?;
        let (known, knowledge) = (text.times_read(), (*self.knowledge()?).clone());
        let mut timings = Timings::default();
        let new = || Prompt::new(&self.model.manifest, &text, knowledge, question, several);
        let prompt = timings.measure("load text tower", new)?;
        // The network is read when the first prompt of so many tokens comes; what comes after takes no time worth a line.
        if text.times_read() > known {
            unpoisoned(&self.loading).append(&timings);
        }
        Ok(prompt)
    }

    /// Encodes a question about one place of a photo: a pixel or a region of a segmentation, a box of a detector. A question with an empty text is about the class
    /// with the largest number there. The options are those that the photo will be explained with, so that networks are loaded once.
    ///
    /// ```no_run
    /// # use decomcam::{Options, Photo, Place, Question, Session};
    /// let session = Session::open("yolov8n.onnx")?;
    /// let photo = Photo::open("street.jpg")?;
    /// let prompt = session.prompt_at(&photo, Question::from("0"), &Place::best_box(2), &Options::new())?;
    /// println!("{:?}", prompt.spot());
    /// # Ok::<(), decomcam::Error>(())
    /// ```
    ///
    /// # Errors
    /// No such class or place, a network that has one number for each class alone, and a network that fails.
    pub fn prompt_at(&self, photo: &Photo, question: Question<'_>, place: &Place, options: &Options) -> Result<Prompt> {
        let manifest = &self.model.manifest;
        let places = manifest.image.places.as_ref().with_context(|| {
            format!(
                "model \"{}\" has one number for each class, not one at each place: --at, --within and --box ask segmentations and detectors; leave them out",
                manifest.name
            )
        });
        let places = places.kind(Error::Options)?;
        let score = manifest.scores.iter().find(|score| score.image == places.explained);
        let score = score.map_or(&manifest.explain.explained, |score| &score.name);
        let (towers, vectors) = self.seen(photo, options, score, "find the place")?;
        let sight = Sight { framing: self.view.framing(photo.size()), input: self.view.size(), photo: photo.size() };
        let shape = |output: &str| towers.own.shape(output).map(<[usize]>::to_vec);
        let text = self.text_tower()?;
        Prompt::at(manifest, &text, question, place, &Seen { places, vectors: &vectors, shape: &shape, sight })
    }

    /// Encodes the question how alike photos are to this one: the cosine of the two embeddings. Of a classifier these are the features that its last matrix tells
    /// classes apart by; it has to be opened with [`ModelOptions::alike`].
    ///
    /// # Errors
    /// A model without a vector that stands for a photo, and a network that fails.
    pub fn prompt_like(&self, other: &Photo, score: Option<&str>, options: &Options) -> Result<Prompt> {
        let manifest = &self.model.manifest;
        let cosine = manifest.scores.iter().find(|score| score.kind == ScoreKind::Cosine);
        let explained = score.or(cosine.map(|score| score.name.as_str())).unwrap_or(&manifest.explain.explained);
        let (_, vectors) = self.seen(other, options, explained, "look at the other photo")?;
        Prompt::like(manifest, other, &vectors, score)
    }

    /// What the network says of a photo, and the towers that an explanation with these options will need.
    fn seen(
        &self,
        photo: &Photo,
        options: &Options,
        score: &str,
        stage: &'static str,
    ) -> Result<(Towers, ImageVectors)> {
        let request = options.resolve(&self.model.manifest)?;
        let towers = self.towers(&[request], score, Purpose::Explanation)?;
        let vectors = self.timed(stage, || towers.own.vectors(&self.input(photo)))?;
        Ok((towers, vectors))
    }

    /// Frees the memory of the text tower. It is loaded again if another prompt is encoded.
    pub fn forget_text(&self) {
        self.text.clear();
    }

    /// Frees the memory of all networks. They are loaded again if they are needed.
    pub fn forget_networks(&self) {
        self.towers.clear();
        self.scorers.clear();
        self.heads.clear();
    }

    /// The number of the class that a classifier predicts for a photo: the one with the largest output.
    ///
    /// # Errors
    /// A network that fails, or an unknown layer or score.
    pub fn predicted_class(&self, photo: &Photo, options: &Options, score: Option<&str>) -> Result<usize> {
        let score = score.unwrap_or(&self.model.manifest.explain.explained);
        // The same towers that the explanation will need, so that nothing is loaded twice.
        let (_, vectors) = self.seen(photo, options, score, "predict the class")?;
        score::predicted_class(&vectors, self.model.manifest.score(score)?)
    }

    /// Whether the model says by itself what it sees: it is a classifier, or knows which classes its image tower tells apart.
    ///
    /// # Errors
    /// [`Error::Options`] that asks for a text if it does not, and lists of classes that cannot be read.
    pub fn check_predicts(&self) -> Result<()> {
        if self.model.manifest.classes.is_some() || self.knowledge()?.is_some() {
            return Ok(());
        }
        let why = anyhow!(
            "--text is required: model \"{}\" has no list of classes from which to take what it sees, so say what to look for, such as --text \"a cat\"",
            self.model.manifest.name
        );
        Err(why).kind(Error::Options)
    }

    /// What the model sees in a photo, as the text of a question: the number of the class that a classifier predicts, or the name of the likeliest class that a
    /// dual encoder knows. It is the first of [`Session::likeliest_classes`].
    ///
    /// # Errors
    /// Those of [`Session::check_predicts`], a network that fails, or an unknown layer or score.
    pub fn predicted(&self, photo: &Photo, options: &Options, score: Option<&str>) -> Result<String> {
        self.check_predicts()?;
        match &*self.knowledge()? {
            Some(knowledge) => {
                let score = score.unwrap_or(&self.model.manifest.explain.explained);
                let (_, vectors) = self.seen(photo, options, score, "predict the class")?;
                let first = knowledge.likeliest(&vectors)?.into_iter().next();
                Ok(first.context("the network has no class").kind(Error::Model)?.name)
            }
            None => Ok(self.predicted_class(photo, options, score)?.to_string()),
        }
    }

    /// The likeliest classes of a photo, at most [`score::SHOWN`]: of a classifier, or of a dual encoder that knows its classes.
    ///
    /// # Errors
    /// Those of [`Session::check_predicts`], and a network that fails.
    pub fn likeliest_classes(&self, photo: &Photo) -> Result<Vec<Class>> {
        self.check_predicts()?;
        let vectors = self.scorer()?.vectors(&self.input(photo))?;
        match &*self.knowledge()? {
            Some(knowledge) => knowledge.likeliest(&vectors),
            None => Ok(self.prompt("0")?.standing(&vectors)?.map(|standing| standing.top).unwrap_or_default()),
        }
    }

    fn knowledge(&self) -> Result<Arc<Option<Arc<Knowledge>>>> {
        self.knowledge.get(&(), || Ok(Knowledge::of(&self.model)?.map(Arc::new)))
    }

    /// The network's input for a photo.
    fn input(&self, photo: &Photo) -> Vec<f32> {
        let framing = self.view.framing(photo.size());
        self.view.into_normalised(self.view.planes(photo, framing, self.view.size(), self.threads))
    }

    /// Loads the towers that these requests, all at one layer, need to explain a score.
    ///
    /// # Errors
    /// A network that cannot be loaded for them.
    pub fn towers(&self, requests: &[Request], score: &str, purpose: Purpose) -> Result<Towers> {
        let size = self.view.size();
        // Shuffled weights are those of towers.
        if self.shuffle == Shuffle::default() && requests.iter().all(|request| !request.method.needs_layer()) {
            return Ok(Towers { own: Own::Outputs(self.scorer()?), finer: None, head: None });
        }
        let layer = requests.first().map_or(&self.model.manifest.image.default_layer, |request| &request.layer);
        let scales = requests.iter().map(|request| request.scales).max().unwrap_or(1);
        let need = requests.iter().map(|request| purpose.need_of_head(request)).max().unwrap_or(Need::No);
        // Each size sees the guide if a request is refined there.
        let guide = |scales: usize| {
            requests.iter().filter(|request| request.scales == scales).find_map(|request| request.guide.clone())
        };
        let (layer, score, shuffle) = (layer.clone(), score.to_owned(), self.shuffle);
        let key = TowerKey { layer, score, size, shuffle, guide: guide(1), gradient: true };
        let finer = || -> Result<Option<Arc<ImageTower>>> {
            if scales < 2 {
                return Ok(None);
            }
            let (size, guide) = (size.times(scales), guide(scales));
            let finer = self.tower(&TowerKey { size, guide, gradient: false, ..key.clone() });
            let finer = finer.context("--scales: could not load the network at the larger size; take --scales 1");
            finer.kind(Error::Options).map(Some)
        };
        let own = || {
            // The head is made of what the tower has read.
            let mut kept = None;
            let tower = self.towers.get(&key, || {
                self.timed("load image tower", || {
                    let tower;
                    (tower, kept) = ImageTower::load_and_keep(&self.model, &key)?;
                    Ok(tower)
                })
            })?;
            Ok((tower, self.head(&key, need, kept)?))
        };
        let known = self.towers.count();
        let ((own, head), finer) = workers::both(self.threads, own, finer)?;
        if self.towers.count() != known
            && let Some(after_loading) = self.after_loading
        {
            after_loading();
        }
        Ok(Towers { own: Own::Layer(own), finer, head })
    }

    fn scorer(&self) -> Result<Arc<Scorer>> {
        self.scorers.get(&(), || self.timed("load image tower", || Scorer::load(&self.model, self.view.size())))
    }

    fn tower(&self, key: &TowerKey) -> Result<Arc<ImageTower>> {
        self.towers.get(key, || self.timed("load image tower", || ImageTower::load(&self.model, key)))
    }

    fn head(&self, key: &TowerKey, need: Need, kept: Option<Behind>) -> Result<Option<Arc<Head>>> {
        if matches!(need, Need::No) {
            return Ok(None);
        }
        let load = || self.timed("load the network from the layer on", || Head::load_from(kept, &self.model, key));
        let found = self.heads.get(key, || Ok(load().map(Arc::new).map_err(|error| error.to_string())))?;
        match (&*found, need) {
            (Ok(head), _) => Ok(Some(Arc::clone(head))),
            (Err(why), Need::Must) => Err(anyhow!("{why}")).kind(Error::Options),
            (Err(_), _) => Ok(None),
        }
    }

    /// Prepares a photo for the network.
    pub fn look<'a>(&'a self, towers: &'a Towers, prompt: &'a Prompt, photo: &'a Photo, threads: usize) -> Look<'a> {
        Look::new(towers, &self.view, prompt, photo, threads)
    }

    /// Explains why the photo gets its score. The result holds the map of the chosen method and, with DecomCAM, its parts.
    ///
    /// # Errors
    /// Options that are out of range or have no effect, a network that fails, or [`Error::Cancelled`].
    pub fn explain(&self, photo: &Photo, prompt: &Prompt, options: &Options) -> Result<Explanation> {
        self.explain_on(photo, prompt, options, (self.threads, self.watch()))
    }

    /// The same on so many threads, for photos that are explained beside others, and telling this callback of its passes instead of the session's.
    ///
    /// # Errors
    /// Those of [`Session::explain`].
    pub fn explain_on(
        &self,
        photo: &Photo,
        prompt: &Prompt,
        options: &Options,
        (threads, watch): (usize, &Watch<'_>),
    ) -> Result<Explanation> {
        let request = options.resolve(&self.model.manifest)?;
        let score = &prompt.explained().name;
        let name = |text: &String| self.prompt(Question { text, versus: None, score: Some(score) });
        let names: Vec<Prompt> = options.names.iter().map(name).collect::<Result<_>>()?;
        let purpose = if names.is_empty() { Purpose::Explanation } else { Purpose::FromLayer };
        let towers = self.towers(std::slice::from_ref(&request), score, purpose)?;
        let mut timings = Timings::default();
        let look = timings.measure("prepare", || self.look(&towers, prompt, photo, threads));
        let mut explanation = explain::explain(&look, &request, &names, watch)?;
        timings.append(&explanation.timings);
        explanation.timings = timings;
        Ok(explanation)
    }

    /// The prompts, sorted by how well they fit a photo.
    ///
    /// # Errors
    /// A network that fails.
    pub fn rank(&self, photo: &Photo, prompts: &[Prompt]) -> Result<Vec<Ranked>> {
        let mut ranked = score::rank(prompts, &self.scorer()?.vectors(&self.input(photo))?)?;
        for entry in &mut ranked {
            entry.warnings.splice(0..0, self.view.warnings(photo));
        }
        Ok(ranked)
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Session")
            .field("model", &self.model.origin())
            .field("view", &self.view)
            .field("threads", &self.threads)
            .finish_non_exhaustive()
    }
}

/// Things that are loaded once each, by key. Two threads that need the same thing wait for each other; other threads do not.
struct Shelf<K, V>(Mutex<Vec<(K, Slot<V>)>>);

/// A loaded thing, or the place that is kept for it.
type Slot<V> = Arc<Mutex<Option<Arc<V>>>>;

impl<K, V> Default for Shelf<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Clone + PartialEq, V> Shelf<K, V> {
    fn get(&self, key: &K, load: impl FnOnce() -> Result<V>) -> Result<Arc<V>> {
        let place = {
            let mut places = unpoisoned(&self.0);
            match places.iter().find(|(known, _)| known == key) {
                Some((_, place)) => Arc::clone(place),
                None => {
                    let place = Arc::default();
                    places.push((key.clone(), Arc::clone(&place)));
                    place
                }
            }
        };
        let mut place = unpoisoned(&place);
        if let Some(loaded) = &*place {
            return Ok(Arc::clone(loaded));
        }
        let loaded = Arc::new(load()?);
        *place = Some(Arc::clone(&loaded));
        Ok(loaded)
    }

    fn count(&self) -> usize {
        unpoisoned(&self.0).len()
    }

    fn clear(&self) {
        unpoisoned(&self.0).clear();
    }
}

/// What is behind a lock, even if a thread panicked while it held the lock: a thing is either wholly loaded or absent.
fn unpoisoned<T: ?Sized>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}
