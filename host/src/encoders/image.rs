//! The image tower: vectors of a picture, fast; activations and gradients at an inner layer, in the same pass.
//!
//! One optimised graph serves both. Its nodes for the gradient are simply not run when only vectors are wanted, and the
//! weights exist once in memory.

use crate::model::{Layer, LayerLayout, Model, Score, ScoreKind};
use crate::onnx::gradient::append_gradient;
use crate::onnx::inspect;
use crate::onnx::quantised::{self, Steps, Wanted};
use crate::onnx::shuffle::{Shuffle, weight_tensors};
use crate::score::posterior;
use anyhow::{Context, Result, anyhow, bail, ensure};
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;
use tract_onnx::tract_core::ops::math;
use tract_onnx::tract_core::ops::nn::{Reduce, Reducer};
use tract_onnx::tract_core::ops::source::TypedSource;
use tract_onnx::tract_hir::internal::*;

/// An image tower, pinned to one input size and one inner layer, ready to run from any number of threads.
#[derive(Debug)]
pub struct ImageTower {
    vectors: Arc<TypedRunnableModel>,
    explain: Arc<TypedRunnableModel>,
    head: Option<Arc<TypedRunnableModel>>,
    finer: Option<Box<ImageTower>>,
    outputs: Vec<String>,
    score: Score,
    text_len: usize,
    steps: Option<Steps>,
    layer: Layer,
    side: (usize, usize),
    shuffle: Shuffle,
    origin: String,
}

/// What the image tower says about a picture: its outputs, by name.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageVectors {
    outputs: Vec<(String, Vec<f32>)>,
}

/// A picture's vectors, and what the explained score sees at the layer.
#[derive(Debug, Clone, PartialEq)]
pub struct Explained {
    /// The image tower's outputs.
    pub vectors: ImageVectors,
    /// The layer: channels x height x width, row by row.
    pub activations: Vec<f32>,
    /// With tokens: the activations of those that are no part of the grid, tokens x channels.
    pub prefix: Vec<f32>,
    /// Derivative of the explained score with respect to each activation, in the same order.
    pub gradients: Vec<f32>,
    /// The steps that the activations are rounded to, of a quantised network that is run faithfully.
    pub steps: Option<Steps>,
    /// Channels of the layer.
    pub channels: usize,
    /// Height of the layer, in positions.
    pub height: usize,
    /// Width of the layer, in positions.
    pub width: usize,
}

impl ImageVectors {
    /// The output of that name.
    pub fn get(&self, name: &str) -> Option<&[f32]> {
        self.outputs.iter().find(|(output, _)| output == name).map(|(_, vector)| vector.as_slice())
    }
}

impl Score {
    fn vector<'a>(&self, image: &'a ImageVectors) -> Result<&'a [f32]> {
        image.get(&self.image).with_context(|| {
            format!("the image tower has no output \"{}\", which score \"{}\" needs", self.image, self.name)
        })
    }

    /// The mean of the image vectors that the score is made of.
    ///
    /// # Errors
    /// No pictures, or vectors of another model.
    pub fn mean_vector(&self, images: &[&ImageVectors]) -> Result<Vec<f32>> {
        let mut mean = self.vector(images.first().context("no picture was looked at")?)?.to_vec();
        for image in &images[1..] {
            mean.iter_mut().zip(self.vector(image)?).for_each(|(sum, value)| *sum += value);
        }
        mean.iter_mut().for_each(|sum| *sum /= images.len() as f32);
        Ok(mean)
    }

    /// The score of a picture for a prompt's text vector t, or for the difference of two.
    ///
    /// With v the image vector: a dot score is sum(v t), a cosine is sum(v t) / |v| with t already of length one, and 0
    /// if v = 0. Both are linear in t. A posterior is [`crate::score::posterior`]'s. Sums run in f64, in order.
    ///
    /// # Errors
    /// Vectors of another model: a missing output, two lengths.
    pub fn value(&self, image: &ImageVectors, text: &[f32]) -> Result<f32> {
        let vector = self.vector(image)?;
        ensure!(
            vector.len() == text.len(),
            "score \"{}\": expected image and text vectors of one length, found {} and {} numbers",
            self.name,
            vector.len(),
            text.len()
        );
        let sum_of = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
        let dot = sum_of(vector, text);
        Ok(match self.kind {
            ScoreKind::Posterior => posterior(text, vector)?.1,
            ScoreKind::Dot => dot as f32,
            ScoreKind::Cosine => match sum_of(vector, vector).sqrt() {
                length if length > 0. => (dot / length) as f32,
                _ => 0.,
            },
        })
    }
}

impl ImageTower {
    /// Loads the image tower of a model to explain its `explain.explained` score at a layer, for pictures of that
    /// height and width.
    ///
    /// # Errors
    /// An unknown layer (the message lists those there are), a size the tower cannot take, a file that is no such
    /// network.
    pub fn load(model: &Model, layer: &str, side: (usize, usize)) -> Result<ImageTower> {
        let score = &model.manifest.explain.explained;
        ImageTower::load_to_explain(model, layer, side, score)
    }

    /// As [`ImageTower::load`], with gradients of the score of the given name.
    ///
    /// # Errors
    /// Those of [`ImageTower::load`], and an unknown score.
    pub fn load_to_explain(model: &Model, layer: &str, side: (usize, usize), score: &str) -> Result<ImageTower> {
        ImageTower::read(model, layer, side, score, Shuffle::default())
    }

    fn read(model: &Model, layer: &str, side: (usize, usize), score: &str, shuffle: Shuffle) -> Result<ImageTower> {
        let manifest = &model.manifest;
        let layer = manifest.layer(layer)?.clone();
        let score = manifest.score(score)?.clone();
        manifest.check_side(side)?;
        let mut outputs: Vec<String> = Vec::new();
        for score in &manifest.scores {
            if !outputs.contains(&score.image) {
                outputs.push(score.image.clone());
            }
        }
        let origin = format!("{} of {}", manifest.image.file, model.origin());
        let wiring = Wiring { outputs: &outputs, score: &score, layer: &layer, side, shuffle };
        let built = match contained(|| wiring.build(model)) {
            Ok(built) => built,
            Err(error) => {
                // An operator without a rule is told in the file's own words, with a way out.
                if let Ok(Some(refusal)) = contained(|| wiring.refusal(model)) {
                    bail!("{origin}: {refusal}");
                }
                return Err(error.context(format!(
                    "{origin}: expected an ONNX image tower as its manifest describes it; fetch the model again, or \
                     correct it"
                )));
            }
        };
        Ok(ImageTower {
            vectors: built.vectors,
            explain: built.explain,
            head: None,
            finer: None,
            text_len: built.text_len,
            steps: built.steps,
            outputs,
            score,
            layer,
            side,
            shuffle,
            origin,
        })
    }

    /// The same tower with its last weight tensors before the score's output shuffled, head and larger input included.
    ///
    /// # Errors
    /// Those of [`ImageTower::load_to_explain`].
    pub fn shuffled(&self, model: &Model, shuffle: Shuffle) -> Result<ImageTower> {
        let mut tower = ImageTower::read(model, &self.layer.name, self.side, &self.score.name, shuffle)?;
        if self.has_head() {
            tower = tower.with_head(model)?;
        }
        if let Some(finer) = &self.finer {
            tower = tower.with_finer(finer.shuffled(model, shuffle)?);
        }
        Ok(tower)
    }

    /// How many weight tensors [`ImageTower::shuffled`] can shuffle. Reads the network again.
    ///
    /// # Errors
    /// Those of [`ImageTower::load_to_explain`].
    pub fn weight_tensors(&self, model: &Model) -> Result<usize> {
        contained(|| {
            let network = self.wiring().read(model)?;
            Ok(weight_tensors(&network, self.wiring().scored(&network)?)?.len())
        })
    }

    /// The score whose gradient [`ImageTower::explain`] takes.
    pub fn score(&self) -> &Score {
        &self.score
    }

    /// The layer that [`ImageTower::explain`] looks at.
    pub fn layer(&self) -> &Layer {
        &self.layer
    }

    /// Height and width of the input, in pixels.
    pub fn side(&self) -> (usize, usize) {
        self.side
    }

    /// The vectors of a picture.
    ///
    /// `image` holds the red, the green and the blue plane, normalised as the manifest says, row by row: 3 x height x
    /// width.
    ///
    /// # Errors
    /// A picture of another size, a network that fails or answers with something else than finite numbers.
    pub fn vectors(&self, image: &[f32]) -> Result<ImageVectors> {
        let values = self.run(&self.vectors, tvec!(self.image(image)?))?;
        Ok(self.named(values))
    }

    /// The vectors of a picture, its activations at the layer, and the gradient of the explained score there.
    ///
    /// `image` is that of [`ImageTower::vectors`], `text` the score's text vector or the difference of two.
    ///
    /// # Errors
    /// Those of [`ImageTower::vectors`], and a text vector of another length.
    pub fn explain(&self, image: &[f32], text: &[f32]) -> Result<Explained> {
        ensure!(
            text.len() == self.text_len,
            "expected a text vector of {} numbers for score \"{}\", found {}",
            self.text_len,
            self.score.name,
            text.len()
        );
        ensure_finite(text).context("a text vector")?;
        let text = Tensor::from_shape(&[1, text.len()], text)?;
        let mut values = self.run(&self.explain, tvec!(self.image(image)?, text.into()))?;
        let gradients = values.pop().context("no gradient")?;
        let activations = values.pop().context("no activations")?;
        let (height, width) = self.layer.size(self.side);
        let vectors = self.named(values);
        let prefix = self.layer.channels * self.layer.prefix_tokens;
        Ok(Explained {
            vectors,
            prefix: activations[..prefix].to_vec(),
            activations: self.maps(activations),
            gradients: self.maps(gradients),
            steps: self.steps,
            channels: self.layer.channels,
            height,
            width,
        })
    }

    /// The tower for an input so many times as high and wide as `side`, whose maps are as much finer: for [`ImageTower::with_finer`].
    ///
    /// # Errors
    /// A network that cannot take that size.
    pub fn load_finer(
        model: &Model,
        layer: &str,
        (height, width): (usize, usize),
        score: &str,
        times: usize,
    ) -> Result<ImageTower> {
        ImageTower::load_to_explain(model, layer, (times * height, times * width), score)
            .context("--scales: could not load the network at the larger size; take --scales 1")
    }

    /// The same tower, with one that looks closer.
    pub fn with_finer(self, finer: ImageTower) -> ImageTower {
        ImageTower { finer: Some(Box::new(finer)), ..self }
    }

    /// The tower of the larger input, if it was loaded.
    pub fn finer(&self) -> Option<&ImageTower> {
        self.finer.as_deref()
    }

    /// Also loads the network from the layer on by itself, for [`ImageTower::vectors_of_layer`].
    ///
    /// # Errors
    /// A layer that does not cut the network in two, because something bypasses it.
    pub fn with_head(mut self, model: &Model) -> Result<ImageTower> {
        let head = contained(|| self.wiring().build_head(model));
        self.head = Some(head.with_context(|| {
            format!(
                "{}: could not cut the network at layer \"{}\"; explain another layer",
                self.origin, self.layer.name
            )
        })?);
        Ok(self)
    }

    fn wiring(&self) -> Wiring<'_> {
        let Self { outputs, score, layer, side, shuffle, .. } = self;
        Wiring { outputs, score, layer, side: *side, shuffle: *shuffle }
    }

    /// [`ImageTower::with_head`] where that is possible.
    pub fn with_head_if_possible(mut self, model: &Model) -> ImageTower {
        self.head = contained(|| self.wiring().build_head(model)).ok();
        self
    }

    /// Whether the network from the layer on was loaded by itself.
    pub fn has_head(&self) -> bool {
        self.head.is_some()
    }

    /// The vectors that follow from other activations at the layer, on a tower loaded [`ImageTower::with_head`].
    ///
    /// `prefix` and `activations` are laid out as in [`Explained`].
    ///
    /// # Errors
    /// A tower without its head, activations of another size, a network that fails or answers with something else than finite numbers.
    pub fn vectors_of_layer(&self, prefix: &[f32], activations: &[f32]) -> Result<ImageVectors> {
        let shape = self.layer.shape(self.side);
        let (height, width) = self.layer.size(self.side);
        ensure!(
            activations.len() == self.layer.channels * height * width
                && prefix.len() == self.layer.channels * self.layer.prefix_tokens,
            "expected activations of shape {shape:?}, found {} and {} numbers",
            prefix.len(),
            activations.len()
        );
        ensure_finite(activations).context("a layer's activations")?;
        let head = self.head.as_ref().context("the image tower was loaded without its head")?;
        let tensor = match self.layer.layout {
            LayerLayout::Maps => activations.to_vec(),
            LayerLayout::Tokens => [prefix, &transposed(activations, self.layer.channels)].concat(),
        };
        let values = self.run(head, tvec!(Tensor::from_shape(&shape, &tensor)?.into()))?;
        Ok(self.named(values))
    }

    /// The layer's tensor as maps, channels x height x width.
    fn maps(&self, tensor: Vec<f32>) -> Vec<f32> {
        match self.layer.layout {
            LayerLayout::Maps => tensor,
            LayerLayout::Tokens => {
                let grid = &tensor[self.layer.channels * self.layer.prefix_tokens..];
                transposed(grid, grid.len() / self.layer.channels)
            }
        }
    }

    fn image(&self, image: &[f32]) -> Result<TValue> {
        let (height, width) = self.side;
        ensure!(
            image.len() == 3 * height * width,
            "expected a picture of 3 x {height} x {width} numbers, found {} numbers",
            image.len()
        );
        // The network's clamps would turn a NaN into a number.
        ensure_finite(image).context("a picture's pixels")?;
        Ok(Tensor::from_shape(&[1, 3, height, width], image)?.into())
    }

    fn run(&self, plan: &Arc<TypedRunnableModel>, inputs: TVec<TValue>) -> Result<Vec<Vec<f32>>> {
        contained(|| plan.run(inputs)?.iter().map(finite).collect())
            .with_context(|| format!("{}: could not compute the network", self.origin))
    }

    fn named(&self, values: Vec<Vec<f32>>) -> ImageVectors {
        ImageVectors { outputs: self.outputs.iter().cloned().zip(values).collect() }
    }
}

/// A matrix of so many rows, given row by row, column by column.
fn transposed(matrix: &[f32], rows: usize) -> Vec<f32> {
    let columns = matrix.len() / rows;
    (0..columns).flat_map(|column| matrix.iter().skip(column).step_by(columns).copied()).collect()
}

/// The numbers of a tensor of f32, once all are known to be finite.
pub(crate) fn finite(tensor: &TValue) -> Result<Vec<f32>> {
    let values = tensor.try_as_plain_ram()?.as_slice::<f32>()?.to_vec();
    ensure_finite(&values).context("the model is damaged")?;
    Ok(values)
}

fn ensure_finite(values: &[f32]) -> Result<()> {
    let strange = values.iter().find(|value| !value.is_finite());
    ensure!(strange.is_none(), "expected finite numbers, found {}", strange.unwrap_or(&f32::NAN));
    Ok(())
}

/// What goes into a tower's graph.
struct Wiring<'a> {
    outputs: &'a [String],
    score: &'a Score,
    layer: &'a Layer,
    side: (usize, usize),
    shuffle: Shuffle,
}

/// What comes out.
struct Built {
    vectors: Arc<TypedRunnableModel>,
    explain: Arc<TypedRunnableModel>,
    text_len: usize,
    steps: Option<Steps>,
}

impl Wiring<'_> {
    /// The network as a graph of floats, shuffled as asked; its outputs are the wanted ones, then the layer.
    fn read(&self, model: &Model) -> Result<TypedModel> {
        let side = &model.manifest.image;
        let (height, width) = self.side;
        let mut names: Vec<&str> = self.outputs.iter().map(String::as_str).collect();
        names.push(&self.layer.name);
        let wanted = Wanted {
            input: &side.input,
            datum_type: f32::datum_type(),
            shape: &[Some(1), Some(3), Some(height), Some(width)],
            outputs: &names,
            pairs: model.pairs(),
            folder: model.folder(),
        };
        let mut network = quantised::read(model.file(&side.file)?, &wanted)?;
        let layer = network.outputs[self.outputs.len()];
        expect_shape(&network, layer, &self.layer.name, &self.layer.shape(self.side))?;
        let scored = self.scored(&network)?;
        self.shuffle.apply(&mut network, scored)?;
        Ok(network)
    }

    /// The output that the score is computed from.
    fn scored(&self, network: &TypedModel) -> Result<OutletId> {
        let at = self.outputs.iter().position(|name| *name == self.score.image).context("no such output")?;
        Ok(network.outputs[at])
    }

    /// Why no gradient gets to the layer, if that is what is wrong.
    fn refusal(&self, model: &Model) -> Result<Option<String>> {
        let found = inspect::inspect(model.file(&model.manifest.image.file)?, model.folder(), Some(self.side))?;
        Ok(found.refusal(&self.layer.name, &|name| model.manifest.layer(name).is_ok()))
    }

    fn build_head(&self, model: &Model) -> Result<Arc<TypedRunnableModel>> {
        let network = self.read(model)?;
        let mut head = after(network, self.outputs.len())?;
        head.optimize()?;
        SimplePlan::new(head)
    }

    fn build(&self, model: &Model) -> Result<Built> {
        let mut network = self.read(model)?;
        let layer = network.outputs[self.outputs.len()];
        let scored = self.scored(&network)?;
        let text_len = match network.outlet_fact(scored)?.shape.as_concrete() {
            Some(&[1, length]) => length,
            other => {
                return Err(anyhow!("\"{}\": expected shape [1, length], found {other:?}", self.score.image));
            }
        };
        let steps = quantised::steps_of(&network, layer);
        let text = network.add_source("decomcam.text", f32::fact([1, text_len]))?;
        let value = append_score(&mut network, self.score.kind, scored, text)?;
        let gradient = append_gradient(&mut network, value, layer)?;
        network.outputs.push(gradient);
        network.optimize()?;
        // The clone shares its constants, packed weights included, with the original.
        let mut vectors = network.clone();
        vectors.inputs.truncate(1);
        vectors.outputs.truncate(self.outputs.len());
        vectors.compact()?;
        Ok(Built { vectors: SimplePlan::new(vectors)?, explain: SimplePlan::new(network)?, text_len, steps })
    }
}

/// The part of a network that computes its first `outputs` outputs from the one after them.
fn after(mut network: TypedModel, outputs: usize) -> TractResult<TypedModel> {
    let tensor = network.outputs[outputs];
    let fact = network.outlet_fact(tensor)?.without_value();
    let node = &network.nodes[tensor.node];
    ensure!(node.outputs.len() == 1, "the layer comes out of a node with several outputs");
    // tract has no other way to make an input of a tensor that is computed.
    for (slot, input) in node.inputs.clone().into_iter().enumerate() {
        let edge = InletId::new(tensor.node, slot);
        network.nodes[input.node].outputs[input.slot].successors.retain(|successor| *successor != edge);
    }
    let node = &mut network.nodes[tensor.node];
    node.inputs.clear();
    node.op = Box::new(TypedSource::new(fact));
    network.outputs.truncate(outputs);
    network.inputs = vec![tensor];
    let needed = network.eval_order()?;
    let sources = needed.iter().filter(|&&node| network.nodes[node].op_is::<TypedSource>());
    ensure!(sources.count() == 1, "something bypasses the layer");
    network.compact()?;
    Ok(network)
}

fn expect_shape(network: &TypedModel, tensor: OutletId, name: &str, expected: &[usize]) -> Result<()> {
    let fact = network.outlet_fact(tensor)?;
    ensure!(
        fact.datum_type == f32::datum_type() && fact.shape.as_concrete() == Some(expected),
        "\"{name}\": expected f32 numbers of shape {expected:?} as the manifest says, found {fact:?}"
    );
    Ok(())
}

/// sum(v t) for a dot, sum(v t) / |v| for a cosine, both of shape 1 x 1.
fn append_score(network: &mut TypedModel, kind: ScoreKind, vector: OutletId, text: OutletId) -> TractResult<OutletId> {
    let mut wire = |name: &str, op: Box<dyn TypedOp>, inputs: &[OutletId]| -> TractResult<OutletId> {
        Ok(network.wire_node(format!("decomcam.{name}"), op, inputs)?[0])
    };
    let sum = || Box::new(Reduce::new(tvec!(1), Reducer::Sum));
    let products = wire("products", Box::new(math::mul()), &[vector, text])?;
    let dot = wire("dot", sum(), &[products])?;
    match kind {
        // A posterior's gradient is that of the product with its target.
        ScoreKind::Dot | ScoreKind::Posterior => Ok(dot),
        ScoreKind::Cosine => {
            let squares = wire("squares", Box::new(math::square()), &[vector])?;
            let squared_length = wire("squared_length", sum(), &[squares])?;
            let per_length = wire("per_length", Box::new(math::rsqrt()), &[squared_length])?;
            wire("cosine", Box::new(math::mul()), &[dot, per_length])
        }
    }
}

thread_local! {
    static CONTAINED: Cell<bool> = const { Cell::new(false) };
}

/// Runs something that may panic on a damaged model, and turns a panic into an error.
///
/// The panic's usual report is not printed. A program built with `panic = "abort"` still dies.
///
/// # Errors
/// Those of `work`, and a panic.
pub fn contained<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let report = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !CONTAINED.get() {
                report(info);
            }
        }));
    });
    let outer = CONTAINED.replace(true);
    let outcome = panic::catch_unwind(AssertUnwindSafe(work));
    CONTAINED.set(outer);
    outcome.unwrap_or_else(|panic| {
        let said = (panic.downcast_ref::<&str>().copied())
            .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("without a message");
        Err(anyhow!("the model makes its runtime fail ({said}); it is damaged or uses something the runtime cannot do"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tract_onnx::tract_core::ops::konst::Const;

    /// Large constants of a plan. Matrices are not among them: they sit packed in their operators, shared likewise.
    fn weights(plan: &TypedRunnableModel) -> Vec<Arc<Tensor>> {
        let constants = plan.model().nodes.iter().filter_map(|node| node.op_as::<Const>());
        constants.map(|constant| Arc::clone(constant.val())).filter(|value| value.len() > 1000).collect()
    }

    #[test]
    fn a_cosine_divides_by_the_length_of_the_image_vector() {
        let image = ImageVectors { outputs: vec![("output".to_string(), vec![6., 8.])] };
        let score = |kind| {
            let name = || "output".to_string();
            Score { name: name(), kind, image: name(), text: name(), scale: None, description: name() }
        };
        assert_eq!(score(ScoreKind::Dot).value(&image, &[1., -1.]).unwrap(), -2.);
        assert_eq!(score(ScoreKind::Cosine).value(&image, &[1., -1.]).unwrap(), -0.2);
        let dark = ImageVectors { outputs: vec![("output".to_string(), vec![0., 0.])] };
        assert_eq!(score(ScoreKind::Cosine).value(&dark, &[1., -1.]).unwrap(), 0.);
    }

    #[test]
    fn both_plans_share_their_weights_and_vectors_run_without_the_gradient() {
        let model = Model::bundled("lite").unwrap();
        let tower = ImageTower::load(&model, "block10", (224, 224)).unwrap();
        let shared = weights(&tower.explain);
        let ours = weights(&tower.vectors);
        assert!(ours.len() > 10 && shared.len() > ours.len());
        assert!(ours.iter().all(|weight| shared.iter().any(|other| Arc::ptr_eq(weight, other))));
        let named = |plan: &TypedRunnableModel, prefix: &str| {
            plan.model().nodes.iter().any(|node| node.name.starts_with(prefix))
        };
        assert!(named(&tower.explain, "gradient.") && !named(&tower.vectors, "gradient."));
        assert!(named(&tower.explain, "decomcam.") && !named(&tower.vectors, "decomcam."));
    }
}
