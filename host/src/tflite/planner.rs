//! From a file to its plan: memory for each tensor, and the order of the steps. Which steps an operator takes is said in [`layers`](super::layers),
//! [`moves`](super::moves) and [`functions`](super::functions).

use super::arena::{self, Storage};
use super::file::{File, Operator, kind};
use super::names;
use super::options::{Width, code, quantised};
use super::program::{Data, Program, Source, Step};
use anyhow::{Context, Result, bail, ensure};
use decomcam_int8::{Kernel as _, Network, int16};

/// Most bytes of the arena; more is damage, or nothing that a board runs.
const MOST_BYTES: usize = 1 << 28;
/// Most products of numbers for one picture.
const MOST_PRODUCTS: u64 = 1 << 38;

impl Program {
    /// Makes the plan of a file.
    ///
    /// # Errors
    /// An operator, a type or an option that is not known, with its place; tensors that contradict each other.
    pub fn of(file: &File) -> Result<Self> {
        let mut maker = Maker::of(file)?;
        for at in 0..file.operators.len() {
            maker.add(&file.operators[at]).with_context(|| file.place(at))?;
        }
        maker.finish()
    }
}

/// A program in the making.
pub(super) struct Maker<'f> {
    pub(super) file: &'f File<'f>,
    pub(super) steps: Vec<Step>,
    pub(super) storages: Vec<Storage>,
    /// The storage of each tensor.
    pub(super) held: Vec<Option<usize>>,
    pub(super) shown: Vec<(usize, usize)>,
    pub(super) input: usize,
    pub(super) products: u64,
    /// Whether the operator that is added works on bytes without sign, which the reference rounds in other ways.
    pub(super) without_sign: bool,
    /// How wide the numbers are that the operator works on.
    pub(super) width: Width,
}

impl<'f> Maker<'f> {
    fn of(file: &'f File<'f>) -> Result<Self> {
        let [input] = file.inputs[..] else {
            bail!("expected one input, a picture, found {}", file.inputs.len());
        };
        let mut maker = Self {
            file,
            steps: Vec::new(),
            storages: Vec::new(),
            held: vec![None; file.tensors.len()],
            shown: Vec::new(),
            input,
            products: 0,
            without_sign: false,
            width: Width::Eight,
        };
        if file.tensors[input].kind != kind::FLOAT {
            quantised(&file.tensors[input])?;
            maker.hold(input)?;
        }
        Ok(maker)
    }

    /// Memory for a tensor that is computed next.
    pub(super) fn hold(&mut self, tensor: usize) -> Result<usize> {
        ensure!(self.held[tensor].is_none(), "a tensor is computed twice");
        let found = &self.file.tensors[tensor];
        let storage = self.memory(found.numbers() * Width::of(found)?.bytes());
        self.held[tensor] = Some(storage);
        Ok(storage)
    }

    /// Memory of so many bytes.
    pub(super) fn memory(&mut self, length: usize) -> usize {
        let now = self.steps.len();
        self.storages.push(Storage { length, first: now, last: now });
        self.storages.len() - 1
    }

    /// Where a tensor is read from, by the next step.
    pub(super) fn source(&mut self, tensor: usize) -> Result<Source> {
        let found = &self.file.tensors[tensor];
        if let Some(storage) = self.held[tensor] {
            self.storages[storage].last = self.storages[storage].last.max(self.steps.len());
            return Ok(Source::Arena(storage));
        }
        ensure!(found.data.is_some(), "\"{}\" is read before it is computed", found.short_name());
        Ok(Source::Constant(found.bytes()?))
    }

    pub(super) fn step(
        &mut self,
        inputs: [Source; 2],
        output: usize,
        work: impl Into<int16::Work<'static>>,
        data: Data,
    ) -> Result<()> {
        let now = self.steps.len();
        let storage = &mut self.storages[output];
        (storage.first, storage.last) = (storage.first.min(now), storage.last.max(now));
        let step = Step { inputs, output, work: work.into(), data };
        step.operator().work.bytes().context("its tensors contradict each other")?;
        self.steps.push(step);
        Ok(())
    }

    /// A step from an operator's first input to its output.
    pub(super) fn simple(
        &mut self,
        operator: &Operator,
        work: impl Into<int16::Work<'static>>,
        data: Data,
    ) -> Result<()> {
        let source = self.source(operator.inputs.first().copied().flatten().context("no input")?)?;
        let output = self.hold(*operator.outputs.first().context("no output")?)?;
        self.step([source, Source::None], output, work, data)
    }

    pub(super) fn count(&mut self, lengths: &[usize]) -> Result<()> {
        let products = lengths.iter().try_fold(1u64, |products, length| products.checked_mul(*length as u64));
        let all = products.and_then(|products| self.products.checked_add(products));
        self.products = all.filter(|all| *all <= MOST_PRODUCTS).context("more products than any board computes")?;
        Ok(())
    }

    pub(super) fn share(&mut self, operator: &Operator) -> Result<()> {
        let (from, to) = (operator.inputs[0].context("no input")?, *operator.outputs.first().context("no output")?);
        ensure!(self.held[to].is_none(), "a tensor is computed twice");
        let storage = self.held[from].with_context(|| {
            let tensor = &self.file.tensors[from];
            format!(
                "\"{}\" ({}) is not computed from the picture in integers",
                tensor.short_name(),
                names::type_of(tensor.kind)
            )
        })?;
        self.held[to] = Some(storage);
        Ok(())
    }

    fn add(&mut self, operator: &'f Operator<'f>) -> Result<()> {
        let file = self.file;
        let whole = |tensor: &usize| matches!(file.tensors[*tensor].kind, kind::INT32 | kind::INT64);
        if !operator.outputs.is_empty() && operator.outputs.iter().all(whole) {
            // Shapes are computed with these. Those of the tensors are in the file.
            return Ok(());
        }
        (self.width, self.without_sign) = numbers_of(file, operator)?;
        match operator.code {
            code::CONV_2D | code::DEPTHWISE_CONV_2D => self.convolution(operator)?,
            code::FULLY_CONNECTED => self.fully_connected(operator)?,
            code::ADD | code::SUB | code::MUL => self.arithmetic(operator)?,
            code::AVERAGE_POOL_2D | code::MAX_POOL_2D => self.pool(operator)?,
            code::MEAN => self.mean(operator)?,
            code::PAD | code::PADV2 => self.pad(operator)?,
            code::CONCATENATION => self.concatenation(operator)?,
            code::RESHAPE | code::SQUEEZE | code::EXPAND_DIMS => self.alias(operator)?,
            code::SOFTMAX => self.softmax(operator)?,
            code::QUANTIZE | code::DEQUANTIZE => self.requantise(operator)?,
            code::RELU
            | code::RELU6
            | code::RELU_N1_TO_1
            | code::LEAKY_RELU
            | code::LOGISTIC
            | code::TANH
            | code::HARD_SWISH => self.function(operator)?,
            code::TRANSPOSE => self.transpose(operator)?,
            code::SPLIT | code::SPLIT_V => self.split(operator)?,
            code::SLICE | code::STRIDED_SLICE => self.slice(operator)?,
            code::RESIZE_BILINEAR | code::RESIZE_NEAREST_NEIGHBOR => self.resize(operator)?,
            _ => bail!(
                "this operator is not known; export the network to ONNX, or leave the operator out of the part that is deployed"
            ),
        }
        for output in &operator.outputs {
            if self.held[*output].is_some() && !self.shown.iter().any(|(_, shown)| shown == output) {
                self.shown.push((self.steps.len(), *output));
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Program> {
        let last = self.steps.len();
        for &output in &self.file.outputs {
            let storage = self.held[output].with_context(|| {
                let tensor = &self.file.tensors[output];
                format!(
                    "output \"{}\" ({}) is not computed in integers",
                    tensor.short_name(),
                    names::type_of(tensor.kind)
                )
            })?;
            self.storages[storage].last = last;
        }
        let input = self.held[self.input].context("the input is not used")?;
        self.storages[input].first = 0;
        let total = self.storages.iter().try_fold(0usize, |total, storage| total.checked_add(storage.length));
        ensure!(total.is_some(), "tensors too large");
        let (places, arena) = arena::places(&self.storages);
        ensure!(arena <= MOST_BYTES, "expected an arena of at most {MOST_BYTES} bytes, found {arena}");
        for step in &mut self.steps {
            step.output = places[step.output];
            for source in &mut step.inputs {
                if let Source::Arena(at) = source {
                    *at = places[*at];
                }
            }
        }
        let mut shown = self.shown;
        shown.insert(0, (0, self.input));
        let place = |storage: usize| (places[storage], self.storages[storage].length);
        let program = Program {
            steps: self.steps,
            arena,
            places: self.held.iter().map(|held| held.map(place)).collect(),
            shown,
            input: self.input,
        };
        Network::new(&program.operators(), arena).context("its tensors contradict each other")?;
        Ok(program)
    }
}

/// How wide the numbers are that an operator works on, and whether they are bytes without sign.
fn numbers_of(file: &File, operator: &Operator) -> Result<(Width, bool)> {
    let weighed = matches!(operator.code, code::CONV_2D | code::DEPTHWISE_CONV_2D | code::FULLY_CONNECTED);
    // Weights of 16-bit numbers have 8 bits.
    let inputs = operator.inputs.iter().take(if weighed { 1 } else { usize::MAX });
    let tensors = inputs.flatten().chain(&operator.outputs).map(|tensor| &file.tensors[*tensor]);
    let mut kinds: Vec<i8> = tensors.map(|tensor| tensor.kind).collect();
    kinds.retain(|kind| matches!(*kind, kind::INT8 | kind::UINT8 | kind::INT16));
    let unsigned = kinds.contains(&kind::UINT8)
        || weighed && file.input(operator, 1).is_ok_and(|weights| weights.kind == kind::UINT8);
    let width = if kinds.contains(&kind::INT16) { Width::Sixteen } else { Width::Eight };
    if matches!(operator.code, code::QUANTIZE | code::DEQUANTIZE) {
        return Ok((width, unsigned));
    }
    if unsigned {
        kinds.push(kind::UINT8);
    }
    kinds.sort_unstable_by_key(|kind| std::cmp::Reverse(*kind));
    if let Some((first, other)) =
        kinds.first().and_then(|first| Some((first, kinds.iter().find(|kind| *kind != first)?)))
    {
        bail!(
            "expected tensors of one type, found {} and {} side by side",
            names::type_of(*first),
            names::type_of(*other)
        );
    }
    ensure!(
        !(unsigned && matches!(operator.code, code::RESIZE_BILINEAR)),
        "the reference computes this operator of uint8 in real numbers, which is not known here; convert the network to int8"
    );
    ensure!(
        !(width == Width::Sixteen
            && matches!(operator.code, code::RESIZE_BILINEAR | code::HARD_SWISH | code::RELU_N1_TO_1)),
        "TensorFlow Lite Micro does not compute this operator of int16; convert the network to int8, or leave the operator out"
    );
    Ok((width, unsigned))
}
