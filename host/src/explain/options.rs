//! What a caller can choose, and the request that follows from it once the model is known.

use crate::error::Sorted as _;
use crate::methods::{Method, RISE_MASKS, Recipe};
use crate::model::Manifest;
use crate::photo::Upsampling;
use crate::{Error, Result};
use anyhow::{Context as _, ensure};
use decomcam_core::SignRule;
use serde::Serialize;

/// How to explain. Where nothing is set, the method or the model decides.
///
/// ```
/// use decomcam::{Method, Options};
/// let options = Options::new().method("aligned".parse::<Method>()?).components(5);
/// # Ok::<(), decomcam::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Options {
    /// A recipe of DecomCAM, or another method.
    pub method: Method,
    /// The layer whose activations are explained.
    pub layer: Option<String>,
    /// 1: the maps are taken at the network's own input size; 2: also at twice that size. For recipes, Grad-CAM and LayerCAM.
    pub scales: Option<usize>,
    /// Whether each map is averaged over positions with similar activations before the maps are decomposed or summed. For recipes, Grad-CAM and LayerCAM.
    pub affinity: Option<bool>,
    /// Whether the finished map is averaged over near positions with similar activations at the model's guide layer, whose positions are finer.
    pub refine: Option<bool>,
    /// P: how many channels are used, those with the largest weights.
    pub channels: Option<usize>,
    /// Q: the number of parts.
    pub components: Option<usize>,
    /// Which side of each component is its OSSM.
    pub sign: Option<SignRule>,
    /// Whether the parts are one-sided: turned until as little as possible of them is cut off. For `exact`.
    pub one_sided: Option<bool>,
    /// Where contributions are measured.
    pub integrate: Option<Integrate>,
    /// Texts to name parts by: each part is named by the text whose score it raises most.
    pub names: Vec<String>,
    /// How the finished map is upsampled to the photo.
    pub upsampling: Upsampling,
    /// Masks of RISE.
    pub rise_masks: Option<usize>,
    /// Seed of RISE's masks.
    pub seed: u64,
    /// Whether the check of the finished map is left out.
    pub unchecked: bool,
}

/// Where contributions are measured, by keeping one part and hiding the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Integrate {
    /// In the photo, blurred outside the OSSM, as in the paper. Each OSSM needs one forward pass.
    Photo,
    /// In the layer's activations, replaced by the channel's mean outside the OSSM, as on a board with a linear head. The network runs from the layer on.
    Features,
}

impl Integrate {
    /// Its name on the command line and in files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Photo => "photo",
            Self::Features => "features",
        }
    }
}

/// An option that is set: its name, which methods use it, and why the others do not.
type Given = (&'static str, fn(Method) -> bool, &'static str);

impl Options {
    /// The default recipe, with every other choice left to the method and the model.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the recipe or method.
    pub fn method(self, method: Method) -> Self {
        Self { method, ..self }
    }

    /// Sets the layer.
    pub fn layer(self, layer: impl Into<String>) -> Self {
        Self { layer: Some(layer.into()), ..self }
    }

    /// Sets the number of sizes, 1 or 2.
    pub fn scales(self, scales: usize) -> Self {
        Self { scales: Some(scales), ..self }
    }

    /// Sets whether maps are averaged over positions with similar activations.
    pub fn affinity(self, affinity: bool) -> Self {
        Self { affinity: Some(affinity), ..self }
    }

    /// Sets whether the finished map is refined by the model's guide layer.
    pub fn refine(self, refine: bool) -> Self {
        Self { refine: Some(refine), ..self }
    }

    /// Sets P.
    pub fn channels(self, channels: usize) -> Self {
        Self { channels: Some(channels), ..self }
    }

    /// Sets Q.
    pub fn components(self, components: usize) -> Self {
        Self { components: Some(components), ..self }
    }

    /// Sets the side of each component that is kept.
    pub fn sign(self, sign: SignRule) -> Self {
        Self { sign: Some(sign), ..self }
    }

    /// Sets whether the parts are one-sided.
    pub fn one_sided(self, one_sided: bool) -> Self {
        Self { one_sided: Some(one_sided), ..self }
    }

    /// Sets where contributions are measured.
    pub fn integrate(self, integrate: Integrate) -> Self {
        Self { integrate: Some(integrate), ..self }
    }

    /// Sets texts to name parts with.
    pub fn names<T: Into<String>>(self, names: impl IntoIterator<Item = T>) -> Self {
        Self { names: names.into_iter().map(Into::into).collect(), ..self }
    }

    /// Sets how the finished map is upsampled to the photo.
    pub fn upsampling(self, upsampling: Upsampling) -> Self {
        Self { upsampling, ..self }
    }

    /// Sets the number of RISE's masks.
    pub fn rise_masks(self, masks: usize) -> Self {
        Self { rise_masks: Some(masks), ..self }
    }

    /// Sets the seed of RISE's masks.
    pub fn seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// Leaves out the check of the finished map, which takes ten passes of the network.
    pub fn unchecked(self) -> Self {
        Self { unchecked: true, ..self }
    }

    /// The options that are set.
    fn given(&self) -> Vec<Given> {
        const PARTS: &str = "it gives one map, without parts";
        let parts: fn(Method) -> bool = |method| method.recipe().is_some();
        let layer: fn(Method) -> bool = Method::needs_layer;
        let grid: fn(Method) -> bool = Method::takes_grid;
        let exact: fn(Method) -> bool = |method| method.recipe() == Some(Recipe::Exact);
        let rise: fn(Method) -> bool = |method| method == Method::Rise;
        [
            (self.layer.is_some(), "layer", layer, "it looks at no layer"),
            (self.scales.is_some(), "scales", grid, "it takes its map at the network's own size"),
            (self.affinity.is_some(), "affinity", grid, "it averages over no positions"),
            (self.refine.is_some(), "refine", layer, "it looks at no layer"),
            (self.channels.is_some(), "channels", parts, "it selects no channels"),
            (self.components.is_some(), "components", parts, PARTS),
            (self.sign.is_some(), "sign", parts, PARTS),
            (
                self.one_sided.is_some(),
                "one-sided",
                exact,
                "only the parts of exact may be turned and still sum to the same map",
            ),
            (self.integrate.is_some(), "integrate", parts, PARTS),
            (!self.names.is_empty(), "name-parts", parts, PARTS),
            (self.rise_masks.is_some(), "rise-masks", rise, "only rise draws masks"),
        ]
        .into_iter()
        .filter_map(|(given, name, takes, why)| given.then_some((name, takes, why)))
        .collect()
    }

    /// Refuses options that none of these methods uses.
    ///
    /// # Errors
    /// [`Error::Options`], naming the option and the reason.
    pub fn check_used(&self, methods: &[Method]) -> Result<()> {
        let unused = self.given().into_iter().find(|(_, takes, _)| !methods.iter().any(|method| takes(*method)));
        let Some((name, _, why)) = unused else { return self.check_sides().kind(Error::Options) };
        let methods: Vec<&str> = methods.iter().map(|method| method.name()).collect();
        Err(anyhow::anyhow!("--{name} has no effect with {}: {why}; leave it out", methods.join(", ")))
            .kind(Error::Options)
    }

    fn check_sides(&self) -> anyhow::Result<()> {
        ensure!(
            !(self.one_sided == Some(true) && self.sign.is_some()),
            "--sign has no effect with --one-sided on: each part shows its larger side; leave one of them out"
        );
        Ok(())
    }

    /// Refuses those of these options that have no effect on a kind of work, whatever the method.
    pub(crate) fn check_unset(&self, ignored: &[&str], work: &str) -> Result<()> {
        let unused = self.given().into_iter().find(|(name, ..)| ignored.contains(name));
        let Some((name, ..)) = unused else { return Ok(()) };
        Err(anyhow::anyhow!("--{name} has no effect with {work}; leave it out")).kind(Error::Options)
    }

    /// These options for one of several methods, without those that it does not use, but with the layer, which they share.
    pub fn of_method(&self, method: Method) -> Self {
        let parts = method.recipe().is_some();
        Self {
            method,
            layer: self.layer.clone(),
            scales: self.scales.filter(|_| method.takes_grid()),
            affinity: self.affinity.filter(|_| method.takes_grid()),
            refine: self.refine.filter(|_| method.needs_layer()),
            channels: self.channels.filter(|_| parts),
            components: self.components.filter(|_| parts),
            sign: self.sign.filter(|_| parts),
            one_sided: self.one_sided.filter(|_| method.recipe() == Some(Recipe::Exact)),
            integrate: self.integrate.filter(|_| parts),
            names: if parts { self.names.clone() } else { Vec::new() },
            upsampling: self.upsampling,
            rise_masks: self.rise_masks.filter(|_| method == Method::Rise),
            seed: self.seed,
            unchecked: self.unchecked,
        }
    }

    /// The requests that these options make with a model, one for each method, without what that method does not use: another one has to use it.
    /// The layer is that of all of them.
    ///
    /// # Errors
    /// Those of [`Options::resolve`], and options that none of the methods uses.
    pub fn resolve_each(&self, methods: &[Method], manifest: &Manifest) -> Result<Vec<Request>> {
        self.check_used(methods)?;
        methods.iter().map(|method| self.of_method(*method).resolved(manifest).kind(Error::Options)).collect()
    }

    /// The request that these options make with a model.
    ///
    /// # Errors
    /// An option without effect, an unknown layer, a number of sizes that is neither 1 nor 2.
    pub fn resolve(&self, manifest: &Manifest) -> Result<Request> {
        self.check_used(&[self.method])?;
        self.resolved(manifest).kind(Error::Options)
    }

    fn resolved(&self, manifest: &Manifest) -> anyhow::Result<Request> {
        let layer = self.layer.as_ref().unwrap_or(&manifest.image.default_layer);
        if self.method.needs_layer() || self.layer.is_some() {
            manifest.layer(layer).context("--layer")?;
        }
        let recipe = self.method.recipe();
        let exact = recipe == Some(Recipe::Exact);
        let scales = self.scales.unwrap_or(if exact { manifest.explain.scales } else { 1 });
        ensure!((1..=2).contains(&scales), "--scales {scales} is out of range: expected 1 or 2");
        // A layer cannot refine its own maps.
        let guide = manifest.explain.guide.as_ref().filter(|guide| *guide != layer);
        ensure!(
            guide.is_some() || self.refine != Some(true),
            "--refine on: model \"{}\" has no guide layer whose positions are finer than those of layer \"{layer}\"; leave it out",
            manifest.name
        );
        Ok(Request {
            method: self.method,
            layer: layer.clone(),
            scales,
            affinity: self.affinity.unwrap_or(exact),
            guide: guide.filter(|_| self.refine.unwrap_or(exact)).cloned(),
            channels: self.channels,
            components: self.components,
            sign: self.sign.unwrap_or(recipe.unwrap_or_default().sign()),
            one_sided: self.one_sided.unwrap_or(false),
            integrate: self.integrate,
            upsampling: self.upsampling,
            rise_masks: self.rise_masks.unwrap_or(RISE_MASKS),
            seed: self.seed,
            check: !self.unchecked,
        })
    }
}

/// What [`Options`] become once the model is known: every choice that does not depend on the photo is made.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The layer.
    pub layer: String,
    /// 1, or 2 if the network also sees the photo at twice its own input size.
    pub scales: usize,
    /// Whether maps are averaged over positions with similar activations.
    pub affinity: bool,
    /// The layer that refines the finished map, if one does.
    pub guide: Option<String>,
    /// P; the recipe's own number if not given.
    pub channels: Option<usize>,
    /// Q; 10 if not given, or all if fewer exist.
    pub components: Option<usize>,
    /// Which side of each component is its OSSM.
    pub sign: SignRule,
    /// Whether the parts are one-sided.
    pub one_sided: bool,
    /// Where contributions are measured. If not given: in the layer for `exact` where nothing bypasses the layer, else in the photo.
    pub integrate: Option<Integrate>,
    /// How the finished map is upsampled to the photo.
    pub upsampling: Upsampling,
    /// Masks of RISE.
    pub rise_masks: usize,
    /// Seed of RISE's masks.
    pub seed: u64,
    /// Whether the finished map is checked.
    pub check: bool,
}

/// What made a method's map, in files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Used {
    /// The layer; none for methods that look at no layer.
    pub layer: Option<String>,
    /// At how many sizes of the photo the maps of the layer were taken.
    pub scales: usize,
    /// Whether they were averaged over positions with similar activations.
    pub affinity: bool,
    /// The guide layer that refines the finished map, if one does.
    pub refined_by: Option<String>,
}

impl Used {
    /// Of a request.
    pub fn of(request: &Request) -> Self {
        Self {
            layer: request.method.needs_layer().then(|| request.layer.clone()),
            scales: request.scales,
            affinity: request.affinity,
            refined_by: request.guide.clone(),
        }
    }
}
