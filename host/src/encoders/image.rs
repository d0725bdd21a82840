//! The image tower: vectors of a picture, fast; activations and gradients at an inner layer, in the same pass.
//!
//! One optimised graph serves all. Its nodes for the gradient are simply not run when less is wanted, and the weights exist once in memory.

use super::activations::{Activations, maps};
use super::flashed::FlashedHead;
use super::graph::{Behind, NO_GRADIENT, Place, Plans, Target, Wiring, image_outputs, outputs_alone};
use crate::error::Sorted as _;
use crate::model::{Layer, Model, Score};
use crate::onnx::guard::{contained, ensure_finite, finite};
use crate::onnx::quantised::Steps;
use crate::onnx::running;
use crate::onnx::shuffle::{Shuffle, weight_tensors};
use crate::{Error, Result, Size};
use anyhow::{Context, anyhow, ensure};
use std::sync::atomic::{AtomicUsize, Ordering};
use tract_onnx::tract_hir::internal::{Arc, TValue, TVec, Tensor, TypedRunnableModel, tvec};

/// What a tower is loaded for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TowerKey {
    /// Name of the layer that is looked at.
    pub layer: String,
    /// Name of the score whose gradient is taken.
    pub score: String,
    /// Size of the input, in pixels.
    pub size: Size,
    /// Which weights are shuffled.
    pub shuffle: Shuffle,
    /// Name of a layer with finer positions that is seen beside it, if one is wanted.
    pub guide: Option<String>,
    /// Whether [`ImageTower::explain`] will be asked for. Without it the network is smaller.
    pub gradient: bool,
}

/// An image tower, pinned to one input size and one inner layer, ready to run from any number of threads.
pub struct ImageTower {
    vectors: Arc<TypedRunnableModel>,
    see: Arc<TypedRunnableModel>,
    explain: Option<Arc<TypedRunnableModel>>,
    straight: Option<Arc<TypedRunnableModel>>,
    target_len: usize,
    shapes: Vec<Vec<usize>>,
    steps: Option<Steps>,
    place: Place,
    guide_place: Option<Place>,
    flashed: Option<FlashedHead>,
    wiring: Wiring,
    passes: AtomicUsize,
}

impl std::fmt::Debug for ImageTower {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("ImageTower").field("wiring", &self.wiring).finish_non_exhaustive()
    }
}

/// Height and width of a layer's maps, in positions, for pictures of a size. The network is read only where the layer's stride does not tell.
///
/// # Errors
/// Those of [`ImageTower::load`].
pub fn layer_size(model: &Model, layer: &str, size: Size) -> Result<Size> {
    let named = model.manifest.layer(layer)?;
    if !named.unpadded {
        return Ok(named.size(size));
    }
    let (layer, score) = (layer.to_owned(), model.manifest.explain.explained.clone());
    let key = TowerKey { layer, score, size, shuffle: Shuffle::default(), guide: None, gradient: false };
    let wiring = Wiring::new(model, &key)?;
    let reading = contained(|| wiring.read(model, false)).with_context(|| wiring.origin.clone());
    Ok(reading.kind(Error::Model)?.place.size)
}

/// The network for its outputs alone: for methods that look at no layer, and for networks in which none can be explained.
pub struct Scorer {
    plan: Arc<TypedRunnableModel>,
    outputs: Vec<String>,
    shapes: Vec<Vec<usize>>,
    size: Size,
    origin: String,
    passes: AtomicUsize,
}

impl std::fmt::Debug for Scorer {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Scorer").field("origin", &self.origin).field("size", &self.size).finish_non_exhaustive()
    }
}

impl Scorer {
    /// Loads the image tower of a model for pictures of this size.
    ///
    /// # Errors
    /// A size the tower cannot take, a file that is no such network.
    pub fn load(model: &Model, size: Size) -> Result<Self> {
        model.manifest.check_size(size)?;
        let outputs = image_outputs(&model.manifest);
        let origin = format!("{} of {}", model.manifest.image.file, model.origin());
        let plan = contained(|| outputs_alone(model, &outputs, size)).with_context(|| {
            format!("{origin}: expected an ONNX image tower as its manifest describes it; fetch the model again, or correct it")
        });
        let (plan, shapes) = plan.kind(Error::Model)?;
        Ok(Self { plan, outputs, shapes, size, origin, passes: AtomicUsize::new(0) })
    }

    /// The vectors of a picture, as [`ImageTower::vectors`].
    ///
    /// # Errors
    /// Those of [`ImageTower::vectors`].
    pub fn vectors(&self, image: &[f32]) -> Result<ImageVectors> {
        self.passes.fetch_add(1, Ordering::Relaxed);
        let values = picture(image, self.size).and_then(|image| run(&self.plan, tvec!(image), &self.origin));
        Ok(ImageVectors::new(&self.outputs, values.kind(Error::Explanation)?))
    }

    /// Size of the input, in pixels.
    pub fn size(&self) -> Size {
        self.size
    }

    /// Lengths of an output's axes in the network; its numbers are in [`ImageVectors`] in that order.
    pub fn shape(&self, output: &str) -> Option<&[usize]> {
        shape(&self.outputs, &self.shapes, output)
    }

    /// How often the network was run.
    pub fn passes(&self) -> usize {
        self.passes.load(Ordering::Relaxed)
    }
}

/// What the image tower says about a picture: its outputs, by name.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageVectors {
    outputs: Vec<(String, Vec<f32>)>,
}

/// What a network makes of a picture: its outputs, and its activations at the layer.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// The image tower's outputs.
    pub vectors: ImageVectors,
    /// The layer.
    pub activations: Activations,
    /// The layer with finer positions, if the tower was loaded to see one.
    pub guide: Option<Activations>,
}

/// What a network makes of a picture, and the gradient of the score at the layer.
#[derive(Debug, Clone, PartialEq)]
pub struct Explained {
    /// Outputs and activations.
    pub seen: Seen,
    /// Derivative of the score with respect to each activation, in the order of [`Activations::values`].
    pub gradients: Vec<f32>,
    /// Whether the gradient passes the ends of integers' ranges, because it is zero everywhere otherwise.
    pub beyond_range: bool,
}

impl ImageVectors {
    /// Outputs, and their names in the same order.
    pub fn new(names: &[String], values: Vec<Vec<f32>>) -> Self {
        Self { outputs: names.iter().cloned().zip(values).collect() }
    }

    /// The output of that name.
    pub fn get(&self, name: &str) -> Option<&[f32]> {
        self.outputs.iter().find(|(output, _)| output == name).map(|(_, vector)| vector.as_slice())
    }
}

impl ImageTower {
    /// Loads the image tower of a model.
    ///
    /// # Errors
    /// An unknown layer or score (the message lists those there are), a size the tower cannot take, a file that is no such network, or a layer
    /// whose gradient cannot be computed.
    pub fn load(model: &Model, key: &TowerKey) -> Result<Self> {
        Ok(Self::load_and_keep(model, key)?.0)
    }

    /// The tower, and what it was made of, for [`Head::load_from`](super::head::Head::load_from).
    pub(crate) fn load_and_keep(model: &Model, key: &TowerKey) -> Result<(Self, Option<Behind>)> {
        let wiring = Wiring::new(model, key)?;
        let plans = contained(|| wiring.plans(model)).map_err(|error| {
            // An operator without a rule is told in the file's own words, with a way out.
            if let Ok(Some(refusal)) = contained(|| wiring.refusal(model)) {
                return anyhow!("{}: {refusal}", wiring.origin);
            }
            if error.downcast_ref::<&str>() == Some(&NO_GRADIENT) {
                let advice = "take a later one (decomcam inspect lists them)";
                return error
                    .context(format!("{}: layer \"{}\" cannot be explained; {advice}", wiring.origin, key.layer));
            }
            error.context(format!(
                "{}: expected an ONNX image tower as its manifest describes it; fetch the model again, or correct it",
                wiring.origin
            ))
        });
        let (plans, kept) = plans.kind(Error::Model)?;
        let Plans { vectors, see, explain, straight, target_len, shapes, steps, place, guide_place } = plans;
        let passes = AtomicUsize::new(0);
        let flashed = FlashedHead::of(model, &wiring, target_len);
        let tower = Self {
            vectors,
            see,
            explain,
            straight,
            target_len,
            shapes,
            steps,
            place,
            guide_place,
            flashed,
            wiring,
            passes,
        };
        Ok((tower, kept))
    }

    /// How many weight tensors a [`Shuffle`] of this tower can shuffle. Reads the network again.
    ///
    /// # Errors
    /// Those of [`ImageTower::load`].
    pub fn weight_tensors(&self, model: &Model) -> Result<usize> {
        let count = contained(|| {
            let network = self.wiring.read(model, false)?.network;
            Ok(weight_tensors(&network, self.wiring.scored(&network)?)?.len())
        });
        count.kind(Error::Model)
    }

    /// What it was loaded for.
    pub fn key(&self) -> &TowerKey {
        &self.wiring.key
    }

    /// The layer that is looked at.
    pub fn layer(&self) -> &Layer {
        &self.wiring.layer
    }

    /// Height and width of the layer's maps, in positions.
    pub fn layer_size(&self) -> Size {
        self.place.size
    }

    /// The score whose gradient [`ImageTower::explain`] takes.
    pub fn score(&self) -> &Score {
        &self.wiring.score
    }

    /// Size of the input, in pixels.
    pub fn size(&self) -> Size {
        self.wiring.key.size
    }

    /// Lengths of an output's axes in the network; its numbers are in [`ImageVectors`] in that order.
    pub fn shape(&self, output: &str) -> Option<&[usize]> {
        shape(&self.wiring.outputs, &self.shapes, output)
    }

    /// How often the network was run.
    pub fn passes(&self) -> usize {
        self.passes.load(Ordering::Relaxed)
    }

    /// The vectors of a picture.
    ///
    /// `image` holds the red, the green and the blue plane, normalised as the manifest says, row by row: 3 x height x
    /// width.
    ///
    /// # Errors
    /// A picture of another size, a network that fails or answers with something else than finite numbers.
    pub fn vectors(&self, image: &[f32]) -> Result<ImageVectors> {
        let values = picture(image, self.size()).and_then(|image| self.run(&self.vectors, tvec!(image)));
        Ok(ImageVectors::new(&self.wiring.outputs, values.kind(Error::Explanation)?))
    }

    /// The vectors of a picture and its activations at the layer, without a gradient.
    ///
    /// # Errors
    /// Those of [`ImageTower::vectors`].
    pub fn see(&self, image: &[f32]) -> Result<Seen> {
        let values = picture(image, self.size()).and_then(|image| self.run(&self.see, tvec!(image)));
        values.and_then(|values| self.seen(values)).kind(Error::Explanation)
    }

    /// The vectors of a picture, its activations at the layer, and the gradient of the score there.
    ///
    /// `image` is that of [`ImageTower::vectors`], `target` the vector that the image's is multiplied with: a prompt's, or the difference of two.
    ///
    /// # Errors
    /// Those of [`ImageTower::vectors`], and a target of another length.
    pub fn explain(&self, image: &[f32], target: &[f32]) -> Result<Explained> {
        self.explain_by(image, |_| Ok(target.to_vec()))
    }

    /// As [`ImageTower::explain`], with a target that depends on what the network says about the picture. It is asked for in the middle of the one pass: behind
    /// the vectors and before the gradient.
    ///
    /// # Errors
    /// Those of [`ImageTower::explain`], and that of the target.
    pub fn explain_by(
        &self,
        image: &[f32],
        target: impl FnOnce(&ImageVectors) -> Result<Vec<f32>>,
    ) -> Result<Explained> {
        let mut refused = None;
        let target = |vectors: Vec<Vec<f32>>| {
            let target = target(&ImageVectors::new(&self.wiring.outputs, vectors)).map_err(|error| {
                refused = Some(error);
                anyhow!("no target")
            })?;
            self.checked(target)
        };
        let explained = self.explained(image, target);
        if let Some(error) = refused {
            return Err(error);
        }
        explained.kind(Error::Explanation)
    }

    fn checked(&self, target: Vec<f32>) -> anyhow::Result<Vec<f32>> {
        ensure!(
            target.len() == self.target_len,
            "expected a text vector of {} numbers for score \"{}\", found {}",
            self.target_len,
            self.score().name,
            target.len()
        );
        ensure_finite(&target).context("a text vector")?;
        Ok(target)
    }

    fn explained(
        &self,
        image: &[f32],
        target: impl FnOnce(Vec<Vec<f32>>) -> anyhow::Result<Vec<f32>>,
    ) -> anyhow::Result<Explained> {
        let image = picture(image, self.size())?;
        let explain = self.explain.as_ref().context("the network was loaded without its gradient")?;
        self.passes.fetch_add(1, Ordering::Relaxed);
        let (mut asked, mut wrong) = (Vec::new(), None);
        let found = contained(|| {
            let target = |vectors| match target(vectors) {
                Ok(target) => {
                    asked.clone_from(&target);
                    Ok(target)
                }
                Err(error) => {
                    wrong = Some(error);
                    Err(anyhow!("no target"))
                }
            };
            run_with_target(explain, image.clone(), target)
        });
        // What is wrong with the target is not wrong with the network.
        if let Some(error) = wrong {
            return Err(error);
        }
        let mut values = found.with_context(|| could_not_compute(&self.wiring.origin))?;
        let gradient = |values: &mut Vec<Vec<f32>>| -> anyhow::Result<Vec<f32>> {
            Ok(maps(self.layer(), values.pop().context("no gradient")?).0)
        };
        let is_zero = |numbers: &[f32]| numbers.iter().all(|value| *value == 0.0);
        let (mut gradients, silent) = (gradient(&mut values)?, is_zero(&asked));
        if let Some(head) = &self.flashed {
            gradients = head.gradients(&asked, gradients);
        }
        let mut beyond_range = false;
        // With a target of zeros the gradient is zero by definition.
        if let Some(straight) = self.straight.as_ref().filter(|_| !silent && is_zero(&gradients)) {
            self.passes.fetch_add(1, Ordering::Relaxed);
            let found = contained(|| run_with_target(straight, image, |_| Ok(asked)));
            gradients = gradient(&mut found.with_context(|| could_not_compute(&self.wiring.origin))?)?;
            beyond_range = true;
        }
        ensure!(silent || !is_zero(&gradients), "{}", self.no_gradient());
        Ok(Explained { seen: self.seen(values)?, gradients, beyond_range })
    }

    /// What to say where the score does not depend on the layer's positions.
    fn no_gradient(&self) -> String {
        let (layer, default) = (&self.key().layer, &self.wiring.default_layer);
        let advice = if layer == default {
            "choose an earlier layer (decomcam inspect lists them)".to_owned()
        } else {
            format!("take layer \"{default}\", or an earlier one")
        };
        format!(
            "the gradient of score \"{}\" is zero at every position of layer \"{layer}\", so there is nothing to explain there: {advice}",
            self.score().name
        )
    }

    /// Outputs, then the layer, then the guide.
    fn seen(&self, mut values: Vec<Vec<f32>>) -> anyhow::Result<Seen> {
        let guide = self.wiring.guide.as_ref().zip(self.guide_place.as_ref());
        let guide = guide.map(|(layer, place)| {
            let tensor = values.pop().context("no activations of the guide")?;
            anyhow::Ok(activations(layer, place, tensor, None))
        });
        let guide = guide.transpose()?;
        let tensor = values.pop().context("no activations")?;
        let activations = activations(self.layer(), &self.place, tensor, self.steps);
        Ok(Seen { vectors: ImageVectors::new(&self.wiring.outputs, values), activations, guide })
    }

    fn run(&self, plan: &Arc<TypedRunnableModel>, inputs: TVec<TValue>) -> anyhow::Result<Vec<Vec<f32>>> {
        self.passes.fetch_add(1, Ordering::Relaxed);
        run(plan, inputs, &self.wiring.origin)
    }
}

fn shape<'s>(outputs: &[String], shapes: &'s [Vec<usize>], output: &str) -> Option<&'s [usize]> {
    let at = outputs.iter().position(|name| name == output)?;
    shapes.get(at).map(Vec::as_slice)
}

/// A layer's tensor as maps.
fn activations(layer: &Layer, place: &Place, tensor: Vec<f32>, steps: Option<Steps>) -> Activations {
    let (values, prefix) = maps(layer, tensor);
    Activations { channels: layer.channels, size: place.size, values, prefix, steps }
}

fn picture(image: &[f32], Size { height, width }: Size) -> anyhow::Result<TValue> {
    ensure!(
        image.len() == 3 * height * width,
        "expected a picture of 3 x {height} x {width} numbers, found {} numbers",
        image.len()
    );
    // The network's clamps would turn a NaN into a number.
    ensure_finite(image).context("a picture's pixels")?;
    Ok(Tensor::from_shape(&[1, 3, height, width], image)?.into())
}

/// Runs a plan whose outputs are all f32.
pub(super) fn run(plan: &Arc<TypedRunnableModel>, inputs: TVec<TValue>, origin: &str) -> anyhow::Result<Vec<Vec<f32>>> {
    contained(|| running::run(plan, inputs)?.iter().map(finite).collect()).with_context(|| could_not_compute(origin))
}

fn could_not_compute(origin: &str) -> String {
    format!("{origin}: could not compute the network")
}

/// Runs the plan of an explanation. The target is asked for when the network's outputs are there.
fn run_with_target(
    plan: &Arc<TypedRunnableModel>,
    image: TValue,
    target: impl FnOnce(Vec<Vec<f32>>) -> anyhow::Result<Vec<f32>>,
) -> anyhow::Result<Vec<Vec<f32>>> {
    let mut target = Some(target);
    let outputs = running::run_with(plan, tvec!(image), |node, inputs| {
        node.op_is::<Target>().then(|| {
            let target = target.take().context("the target was asked for twice")?;
            let target = target(inputs.iter().map(finite).collect::<anyhow::Result<_>>()?)?;
            Ok(tvec!(Tensor::from_shape(&[1, target.len()], &target)?.into()))
        })
    })?;
    outputs.iter().map(finite).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::kernels;
    use tract_onnx::prelude::Tensor;
    use tract_onnx::tract_core::ops::konst::Const;

    /// Large constants of a plan, and the weights of operators of our own. Those that tract packed into its operators are not among them.
    fn weights(plan: &TypedRunnableModel) -> Vec<Arc<Tensor>> {
        let nodes = plan.model().nodes.iter();
        let held = nodes.flat_map(|node| match node.op_as::<Const>() {
            Some(constant) => vec![Arc::clone(constant.val())],
            None => kernels::weights(node.op.as_ref()).into_iter().collect(),
        });
        held.filter(|value| value.len() > 1000).collect()
    }

    #[test]
    fn all_plans_share_their_weights_and_only_explain_computes_a_gradient() {
        let model = Model::bundled("lite").unwrap();
        let score = model.manifest.explain.explained.clone();
        let key = TowerKey {
            layer: "block10".into(),
            score,
            size: Size::square(128),
            shuffle: Shuffle::default(),
            guide: None,
            gradient: true,
        };
        let tower = ImageTower::load(&model, &key).unwrap();
        let explain = tower.explain.as_ref().unwrap();
        let shared = weights(explain);
        let named = |plan: &TypedRunnableModel, prefix: &str| {
            plan.model().nodes.iter().any(|node| node.name.starts_with(prefix))
        };
        assert!(named(explain, "gradient.") && named(explain, "decomcam."));
        for plan in [&tower.vectors, &tower.see] {
            let ours = weights(plan);
            assert!(ours.len() > 10 && shared.len() >= ours.len());
            assert!(ours.iter().all(|weight| shared.iter().any(|other| Arc::ptr_eq(weight, other))));
            assert!(!named(plan, "gradient.") && !named(plan, "decomcam."));
        }
        // At another size, too; without a gradient.
        let key = TowerKey { size: Size::square(160), gradient: false, ..key };
        let larger = ImageTower::load(&model, &key).unwrap();
        let is_shared = |weight: &Arc<Tensor>| shared.iter().any(|other| Arc::ptr_eq(weight, other));
        let ours = weights(&larger.see);
        assert!(ours.len() > 10 && ours.iter().all(is_shared));
        assert!(!named(&larger.see, "gradient.") && larger.explain.is_none());
        assert!(larger.explain(&vec![0.25; 3 * 160 * 160], &vec![0.5; larger.target_len]).is_err());
        let picture = vec![0.25; 3 * 128 * 128];
        let explained = tower.explain(&picture, &vec![0.5; tower.target_len]).unwrap();
        assert_eq!(tower.see(&picture).unwrap(), explained.seen);
        assert_eq!(tower.vectors(&picture).unwrap(), explained.seen.vectors);
        assert_eq!(tower.passes(), 3);
    }
}
