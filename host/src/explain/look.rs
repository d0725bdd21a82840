//! One photo before the network. Each pass is run when its result is first needed, and only once.

use super::SAME;
use super::view::View;
use crate::encoders::head::Head;
use crate::encoders::image::{Explained, ImageTower, ImageVectors, Scorer, Seen};
use crate::error::Sorted as _;
use crate::photo::{Framing, Photo, Planes, Rect};
use crate::score::Prompt;
use crate::{Error, Result, Size, workers};
use anyhow::{Context as _, anyhow, ensure};
use std::sync::{Arc, OnceLock, mpsc};

/// The network at its own size.
#[derive(Clone, Debug)]
pub enum Own {
    /// With its layer.
    Layer(Arc<ImageTower>),
    /// Its outputs alone, for methods that look at no layer.
    Outputs(Arc<Scorer>),
}

impl Own {
    /// Height and width of the input.
    pub fn size(&self) -> Size {
        match self {
            Self::Layer(tower) => tower.size(),
            Self::Outputs(scorer) => scorer.size(),
        }
    }

    /// The vectors of a picture.
    ///
    /// # Errors
    /// A network that fails.
    pub fn vectors(&self, input: &[f32]) -> Result<ImageVectors> {
        match self {
            Self::Layer(tower) => tower.vectors(input),
            Self::Outputs(scorer) => scorer.vectors(input),
        }
    }

    /// Lengths of an output's axes in the network.
    pub fn shape(&self, output: &str) -> Option<&[usize]> {
        match self {
            Self::Layer(tower) => tower.shape(output),
            Self::Outputs(scorer) => scorer.shape(output),
        }
    }

    /// The network with its layer.
    ///
    /// # Errors
    /// A network of which only the outputs were loaded.
    pub fn tower(&self) -> Result<&ImageTower> {
        match self {
            Self::Layer(tower) => Ok(tower),
            Self::Outputs(_) => Err(anyhow!("the network was loaded without a layer")).kind(Error::Explanation),
        }
    }

    /// How often the network was run.
    pub fn passes(&self) -> usize {
        match self {
            Self::Layer(tower) => tower.passes(),
            Self::Outputs(scorer) => scorer.passes(),
        }
    }
}

/// The network at the sizes that an explanation needs.
#[derive(Clone, Debug)]
pub struct Towers {
    /// At its own size.
    pub own: Own,
    /// At twice that size, if the explanation takes two sizes.
    pub finer: Option<Arc<ImageTower>>,
    /// From the layer on, if that is needed and nothing bypasses the layer.
    pub head: Option<Arc<Head>>,
}

/// A layer, at the network's own size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerInfo {
    /// Its name.
    pub name: String,
    /// Its channels.
    pub channels: usize,
    /// Height and width of its maps, in positions.
    pub size: Size,
}

/// A photo before the network, and the prompt whose score is explained.
pub struct Look<'a> {
    towers: &'a Towers,
    view: &'a View,
    prompt: &'a Prompt,
    photo: &'a Photo,
    threads: usize,
    framing: Framing,
    planes: Planes,
    input: Vec<f32>,
    vectors: OnceLock<ImageVectors>,
    at_one_size: OnceLock<Arc<Explained>>,
    at_two_sizes: OnceLock<(Arc<Explained>, Seen)>,
}

/// What an explanation starts from: the layer at the network's own size with its gradient, and the layer at twice that size if two sizes are taken.
#[derive(Clone, Copy)]
pub struct Layers<'l> {
    /// At the network's own size.
    pub own: &'l Arc<Explained>,
    /// At twice that size.
    pub finer: Option<&'l Seen>,
}

impl<'a> Look<'a> {
    /// Frames and resizes the photo. The network is not run yet.
    pub fn new(towers: &'a Towers, view: &'a View, prompt: &'a Prompt, photo: &'a Photo, threads: usize) -> Self {
        let framing = view.framing(photo.size());
        let planes = view.planes(photo, framing, towers.own.size(), threads);
        let input = view.normalised(&planes);
        Self {
            towers,
            view,
            prompt,
            photo,
            threads,
            framing,
            planes,
            input,
            vectors: OnceLock::new(),
            at_one_size: OnceLock::new(),
            at_two_sizes: OnceLock::new(),
        }
    }

    /// The prompt.
    pub fn prompt(&self) -> &'a Prompt {
        self.prompt
    }

    /// The photo.
    pub(super) fn photo(&self) -> &'a Photo {
        self.photo
    }

    /// How photos are prepared.
    pub fn view(&self) -> &'a View {
        self.view
    }

    /// The part of the photo that the network sees.
    pub fn framing(&self) -> Framing {
        self.framing
    }

    /// The part of the network's input that shows the photo, in pixels of the input: all of it, unless the photo was padded.
    pub fn seen(&self) -> Rect {
        let (framing, seen) = (self.framing, self.framing.seen(self.photo.size()));
        let scaled = |edge: usize, start: i64, side: usize, input: usize| {
            ((edge as i64 - start) as f64 * input as f64 / side as f64).round() as usize
        };
        let Size { height, width } = self.size();
        let [top, bottom] =
            [seen.top, seen.bottom()].map(|edge| scaled(edge, framing.top, framing.size.height, height));
        let [left, right] = [seen.left, seen.right()].map(|edge| scaled(edge, framing.left, framing.size.width, width));
        Rect::new(top, left, Size::new(bottom - top, right - left))
    }

    /// That part at the size of the network's input, before normalisation: samples in 0..=1.
    pub fn planes(&self) -> &Planes {
        &self.planes
    }

    /// The network's input: 3 x height x width, normalised.
    pub fn input(&self) -> &[f32] {
        &self.input
    }

    /// Height and width of the input.
    pub fn size(&self) -> Size {
        self.towers.own.size()
    }

    /// The layer, if the network was loaded with one.
    pub fn layer_info(&self) -> Option<LayerInfo> {
        let tower = self.towers.own.tower().ok()?;
        let layer = tower.layer();
        Some(LayerInfo { name: layer.name.clone(), channels: layer.channels, size: tower.layer_size() })
    }

    /// How many threads this look may use.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Whether the network was loaded from the layer on.
    pub fn has_head(&self) -> bool {
        self.towers.head.is_some()
    }

    /// The image vectors at the network's own size.
    ///
    /// # Errors
    /// A network that fails.
    pub fn vectors(&self) -> Result<&ImageVectors> {
        let seen = self.at_one_size.get().or_else(|| self.at_two_sizes.get().map(|(own, _)| own));
        match seen {
            Some(explained) => Ok(&explained.seen.vectors),
            None => found(&self.vectors, || workers::shared(self.threads, || self.towers.own.vectors(&self.input))),
        }
    }

    /// The layer at one size or at two. The gradient of a posterior score depends on what the photo shows at both sizes, so it waits for both.
    ///
    /// # Errors
    /// A network that fails, or two sizes of a network that was loaded at one.
    pub fn layers(&self, scales: usize) -> Result<Layers<'_>> {
        if scales < 2 {
            return Ok(Layers { own: self.layer()?, finer: None });
        }
        let (own, finer) = found(&self.at_two_sizes, || {
            if !self.prompt.depends_on_photo() {
                let (own, finer) = workers::together(self.threads, || self.layer(), || self.finer())?;
                return Ok((Arc::clone(own), finer));
            }
            // The pass with the gradient waits in its middle for the other size.
            let (tell, told) = mpsc::channel();
            let explain = move || {
                self.towers.own.tower()?.explain_by(&self.input, |own| {
                    let finer = workers::wait(|| match told.try_recv() {
                        Ok(vectors) => Some(Ok(vectors)),
                        Err(mpsc::TryRecvError::Empty) => None,
                        Err(mpsc::TryRecvError::Disconnected) => {
                            let failed = anyhow!("the pass at the larger size failed");
                            Some(Err(failed).kind(Error::Explanation))
                        }
                    });
                    self.prompt.target(&[own, &finer?])
                })
            };
            let see = move || {
                let finer = self.finer()?;
                // Nobody listens any more if the other pass has failed.
                tell.send(finer.vectors.clone()).ok();
                Ok(finer)
            };
            let (own, finer) = workers::together(self.threads, explain, see)?;
            Ok((Arc::new(own), finer))
        })?;
        Ok(Layers { own, finer: Some(finer) })
    }

    /// The layer at the network's own size, with the gradient.
    ///
    /// # Errors
    /// A network that fails.
    pub fn layer(&self) -> Result<&Arc<Explained>> {
        found(&self.at_one_size, || {
            let tower = self.towers.own.tower()?;
            let explained = workers::shared(self.threads, || {
                if self.prompt.depends_on_photo() {
                    tower.explain_by(&self.input, |own| self.prompt.target(&[own]))
                } else {
                    tower.explain(&self.input, self.prompt.evidence())
                }
            });
            let explained = explained.map_err(|error| self.same_photo().unwrap_or(error))?;
            Ok(Arc::new(explained))
        })
    }

    /// That nothing is to be explained because the photo is compared with itself, if that is so: no choice of a layer would help.
    fn same_photo(&self) -> Option<Error> {
        self.prompt.likeness()?;
        let cosine = self.prompt.explained_score(self.vectors().ok()?).ok()?;
        let different = || {
            ensure!(
                cosine.abs() <= SAME,
                "the two photos are the same to the network (their cosine is {cosine:.6}), so nothing tells where they are alike: give --like another photo"
            );
            Ok(())
        };
        different().kind(Error::Explanation).err()
    }

    /// The same part of the photo at twice the size.
    fn finer(&self) -> Result<Seen> {
        let finer = self.towers.finer.as_ref();
        let finer = finer.context("the network was not loaded at the larger size").kind(Error::Explanation)?;
        let planes = self.view.planes(self.photo, self.framing, finer.size(), self.threads);
        finer.see(&self.view.normalised(&planes))
    }

    /// The explained score of an input of the network.
    ///
    /// # Errors
    /// A network that fails.
    pub fn explained_score(&self, input: &[f32]) -> Result<f32> {
        self.prompt.explained_score(&self.towers.own.vectors(input)?)
    }

    /// The reported score of an input of the network.
    ///
    /// # Errors
    /// A network that fails.
    pub fn reported_score(&self, input: &[f32]) -> Result<f32> {
        self.prompt.reported_score(&self.towers.own.vectors(input)?)
    }

    /// The network from the layer on.
    ///
    /// # Errors
    /// A network that was not loaded from the layer on, because something bypasses it.
    pub fn head(&self) -> Result<&Head> {
        let head = self.towers.head.as_deref().with_context(|| {
            format!(
                "the network cannot be run from layer \"{}\" on, because something bypasses it; choose another layer, or --integrate photo",
                self.layer_info().map_or_else(String::new, |layer| layer.name)
            )
        });
        head.kind(Error::Options)
    }
}

/// What the cell holds; it is computed now if the cell is empty.
fn found<T>(cell: &OnceLock<T>, find: impl FnOnce() -> Result<T>) -> Result<&T> {
    if let Some(known) = cell.get() {
        return Ok(known);
    }
    let value = find()?;
    Ok(cell.get_or_init(|| value))
}
