//! A `.tflite` file as data: tensors, operators and their options.
//!
//! The file is a FlatBuffer of TensorFlow Lite's schema, version 3 (`schema.fbs`). Fields are read by their numbers in the schema, each access checked by `planus`:
//! an offset that leaves the file is an error, never a read. All that the rest needs is read at once, so a file that opens is whole.

use super::names;
use anyhow::{Context, Result, anyhow, ensure};
use planus::errors::ErrorKind;
use planus::table_reader::Table;
use planus::{SliceWithStartOffset, TableRead, Vector};

/// Most numbers of a tensor; more is damage.
const MOST_NUMBERS: usize = 1 << 26;
/// Most axes of a tensor.
const MOST_AXES: usize = 6;

/// Types of tensors that are read.
pub mod kind {
    /// 32-bit floats.
    pub const FLOAT: i8 = 0;
    /// 32-bit integers.
    pub const INT32: i8 = 2;
    /// Bytes without sign.
    pub const UINT8: i8 = 3;
    /// 64-bit integers.
    pub const INT64: i8 = 4;
    /// 16-bit integers.
    pub const INT16: i8 = 7;
    /// Bytes with sign.
    pub const INT8: i8 = 9;
}

/// A network.
#[derive(Debug)]
pub struct File<'f> {
    /// What its writer says of it.
    pub description: String,
    /// All tensors, weights included.
    pub tensors: Vec<Tensor<'f>>,
    /// The operators, in the order in which they are run.
    pub operators: Vec<Operator<'f>>,
    /// Numbers of the tensors that are given.
    pub inputs: Vec<usize>,
    /// Numbers of the tensors that are the answer.
    pub outputs: Vec<usize>,
}

/// A tensor.
#[derive(Debug)]
pub struct Tensor<'f> {
    /// Its name.
    pub name: String,
    /// Its type: [`kind`].
    pub kind: i8,
    /// Lengths of its axes.
    pub shape: Vec<usize>,
    /// Its numbers, of a constant.
    pub data: Option<&'f [u8]>,
    /// Real numbers of one step: none, one, or one for each index of [`Tensor::axis`].
    pub scales: Vec<f32>,
    /// The integers that stand for 0, as many as scales or fewer.
    pub zero_points: Vec<i64>,
    /// The axis along which scales differ.
    pub axis: usize,
}

/// An operator.
#[derive(Debug)]
pub struct Operator<'f> {
    /// Its number in the schema.
    pub code: i32,
    /// Its name, for messages.
    pub name: String,
    /// Numbers of the tensors that it reads; none for one that is left out.
    pub inputs: Vec<Option<usize>>,
    /// Numbers of the tensors that it writes.
    pub outputs: Vec<usize>,
    options: Option<Table<'f>>,
}

/// Tables side by side.
struct Tables<'f> {
    offsets: SliceWithStartOffset<'f>,
    length: usize,
}

impl<'f> TableRead<'f> for Tables<'f> {
    fn from_buffer(buffer: SliceWithStartOffset<'f>, offset: usize) -> Result<Self, ErrorKind> {
        let start = u32::from_buffer(buffer, offset)? as usize;
        let start = offset.checked_add(start).ok_or(ErrorKind::InvalidOffset)?;
        let length = u32::from_buffer(buffer, start)? as usize;
        let offsets = buffer.advance(start.checked_add(4).ok_or(ErrorKind::InvalidOffset)?)?;
        if offsets.len() / 4 < length {
            return Err(ErrorKind::InvalidLength);
        }
        Ok(Self { offsets, length })
    }
}

impl<'f> Tables<'f> {
    fn all(&self) -> impl Iterator<Item = Result<Table<'f>>> {
        let offsets = self.offsets;
        (0..self.length).map(move |at| Table::from_buffer(offsets, 4 * at).map_err(|error| anyhow!("{error}")))
    }
}

/// A table that is reached by an offset.
struct Inner<'f>(Table<'f>);

impl<'f> TableRead<'f> for Inner<'f> {
    fn from_buffer(buffer: SliceWithStartOffset<'f>, offset: usize) -> Result<Self, ErrorKind> {
        Table::from_buffer(buffer, offset).map(Self)
    }
}

fn field<'f, T: TableRead<'f>>(table: &Table<'f>, at: usize, name: &'static str) -> Result<Option<T>> {
    table.access(at, "a table", name).map_err(|error| anyhow!("{name}: {}", error.error_kind))
}

fn list<'f, T>(table: &Table<'f>, at: usize, name: &'static str) -> Result<Vec<T>>
where
    Vector<'f, T>: TableRead<'f>,
    T: Copy + planus::VectorRead<'f>,
{
    Ok(field::<Vector<T>>(table, at, name)?.map(|list| list.iter().collect()).unwrap_or_default())
}

fn tables<'f>(table: &Table<'f>, at: usize, name: &'static str) -> Result<Vec<Table<'f>>> {
    match field::<Tables>(table, at, name)? {
        Some(tables) => tables.all().collect::<Result<_>>().with_context(|| name.to_owned()),
        None => Ok(Vec::new()),
    }
}

fn text<'f>(table: &Table<'f>, at: usize, name: &'static str) -> Result<String> {
    // Some writers leave bytes that are no UTF-8.
    Ok(field::<&[u8]>(table, at, name)?.map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default())
}

/// Whether bytes begin as a `.tflite` file does.
pub fn is_one(bytes: &[u8]) -> bool {
    bytes.get(4..8) == Some(b"TFL3")
}

impl<'f> File<'f> {
    /// Reads a file.
    ///
    /// # Errors
    /// Bytes that are no such file, or are damaged.
    pub fn read(bytes: &'f [u8]) -> Result<Self> {
        ensure!(
            is_one(bytes),
            "expected a .tflite file, with TFL3 at its bytes 4 to 7, found {}",
            bytes.get(4..8).map_or_else(
                || format!("{} bytes", bytes.len()),
                |found| format!("{:?}", String::from_utf8_lossy(found))
            )
        );
        Self::read_tables(bytes)
            .context("expected a whole .tflite file, found a damaged or truncated one; fetch or convert it again")
    }

    fn read_tables(bytes: &'f [u8]) -> Result<Self> {
        let all = SliceWithStartOffset { buffer: bytes, offset_from_start: 0 };
        let model = Table::from_buffer(all, 0).map_err(|error| anyhow!("{error}"))?;
        let buffers = tables(&model, 4, "buffers")?;
        let buffers: Vec<Option<&[u8]>> = buffers.iter().map(|buffer| data(buffer, bytes)).collect::<Result<_>>()?;
        let codes = tables(&model, 1, "operator codes")?;
        let codes: Vec<(i32, String)> = codes.iter().map(code).collect::<Result<_>>()?;
        let graphs = tables(&model, 2, "subgraphs")?;
        // Others are bodies of loops and branches, which no operator that is read enters.
        let graph = graphs.first().context("no subgraph")?;
        let tensors: Vec<Tensor> = tables(graph, 0, "tensors")?
            .iter()
            .enumerate()
            .map(|(at, tensor)| Tensor::read(tensor, &buffers).with_context(|| format!("tensor {at}")))
            .collect::<Result<_>>()?;
        let inside = |at: i32| {
            let known = usize::try_from(at).ok().filter(|at| *at < tensors.len());
            known.with_context(|| format!("tensor {at} of {}", tensors.len()))
        };
        let operators = tables(graph, 3, "operators")?;
        let read = |operator: &Table<'f>| -> Result<Operator<'f>> {
            let at = field::<u32>(operator, 0, "opcode_index")?.unwrap_or(0) as usize;
            let (code, name) =
                codes.get(at).cloned().with_context(|| format!("operator code {at} of {}", codes.len()))?;
            let optional = |at: i32| if at == -1 { Ok(None) } else { inside(at).map(Some) };
            Ok(Operator {
                code,
                name,
                inputs: list::<i32>(operator, 1, "inputs")?.into_iter().map(optional).collect::<Result<_>>()?,
                outputs: list::<i32>(operator, 2, "outputs")?.into_iter().map(inside).collect::<Result<_>>()?,
                options: field::<Inner>(operator, 4, "builtin_options")?.map(|inner| inner.0),
            })
        };
        let operators = operators
            .iter()
            .enumerate()
            .map(|(at, operator)| read(operator).with_context(|| format!("operator {at}")))
            .collect::<Result<_>>()?;
        let ends = |at: usize, name| list::<i32>(graph, at, name)?.into_iter().map(inside).collect::<Result<Vec<_>>>();
        Ok(Self {
            description: text(&model, 3, "description")?,
            inputs: ends(1, "inputs")?,
            outputs: ends(2, "outputs")?,
            tensors,
            operators,
        })
    }

    /// An input of an operator.
    ///
    /// # Errors
    /// None of that number.
    pub fn input(&self, operator: &Operator, at: usize) -> Result<&Tensor<'f>> {
        let tensor = operator.inputs.get(at).copied().flatten().with_context(|| format!("expected an input {at}"))?;
        Ok(&self.tensors[tensor])
    }

    /// The output of an operator.
    ///
    /// # Errors
    /// None.
    pub fn output(&self, operator: &Operator) -> Result<&Tensor<'f>> {
        Ok(&self.tensors[*operator.outputs.first().context("expected an output")?])
    }

    /// Where an operator is, for messages.
    pub fn place(&self, at: usize) -> String {
        let operator = &self.operators[at];
        let output = operator.outputs.first().map_or("", |output| self.tensors[*output].short_name());
        format!("operator {at}, {} of \"{output}\"", operator.name)
    }
}

fn code(table: &Table) -> Result<(i32, String)> {
    let old = i32::from(field::<i8>(table, 0, "deprecated_builtin_code")?.unwrap_or(0));
    let new = field::<i32>(table, 3, "builtin_code")?.unwrap_or(0);
    let custom = text(table, 1, "custom_code")?;
    let code = old.max(new);
    let name = if custom.is_empty() { names::operator(code) } else { format!("the custom operator {custom}") };
    // A custom operator's number is 32; older writers leave it out.
    Ok((if custom.is_empty() { code } else { 32 }, name))
}

/// A buffer's bytes: within the FlatBuffer or, of large files, behind it.
fn data<'f>(buffer: &Table<'f>, file: &'f [u8]) -> Result<Option<&'f [u8]>> {
    if let Some(bytes) = field::<&[u8]>(buffer, 0, "data")?.filter(|bytes| !bytes.is_empty()) {
        return Ok(Some(bytes));
    }
    let (offset, size) =
        (field::<u64>(buffer, 1, "offset")?.unwrap_or(0), field::<u64>(buffer, 2, "size")?.unwrap_or(0));
    if offset <= 1 || size == 0 {
        return Ok(None);
    }
    let end = offset.checked_add(size).filter(|end| *end <= file.len() as u64);
    let end =
        end.with_context(|| format!("a buffer of {size} bytes at {offset}, in a file of {} bytes", file.len()))?;
    Ok(file.get(offset as usize..end as usize))
}

impl<'f> Tensor<'f> {
    fn read(table: &Table<'f>, buffers: &[Option<&'f [u8]>]) -> Result<Self> {
        let name = text(table, 3, "name")?;
        let shape = list::<i32>(table, 0, "shape")?;
        let length = |length: i32| {
            let length = usize::try_from(length).ok().filter(|length| *length > 0);
            length.with_context(|| format!("\"{name}\": expected lengths of at least 1, found shape {shape:?}"))
        };
        let lengths: Vec<usize> = shape.iter().copied().map(length).collect::<Result<_>>()?;
        let numbers = lengths.iter().try_fold(1usize, |numbers, length| numbers.checked_mul(*length));
        ensure!(
            lengths.len() <= MOST_AXES && numbers.is_some_and(|numbers| numbers <= MOST_NUMBERS),
            "\"{name}\": expected at most {MOST_AXES} axes and {MOST_NUMBERS} numbers, found shape {shape:?}"
        );
        let buffer = field::<u32>(table, 2, "buffer")?.unwrap_or(0) as usize;
        let data = *buffers.get(buffer).with_context(|| format!("\"{name}\": buffer {buffer} of {}", buffers.len()))?;
        let mut tensor = Self {
            kind: field::<i8>(table, 1, "type")?.unwrap_or(0),
            shape: lengths,
            data,
            scales: Vec::new(),
            zero_points: Vec::new(),
            axis: 0,
            name,
        };
        if let Some(Inner(quantised)) = field::<Inner>(table, 4, "quantization")? {
            tensor.scales = list(&quantised, 2, "scale")?;
            tensor.zero_points = list(&quantised, 3, "zero_point")?;
            tensor.axis = field::<i32>(&quantised, 6, "quantized_dimension")?.unwrap_or(0).max(0) as usize;
        }
        ensure!(
            tensor.scales.iter().all(|scale| scale.is_finite() && *scale >= 0.0),
            "\"{}\": expected scales that are finite and not negative, found {:?}",
            tensor.short_name(),
            tensor.scales.iter().find(|scale| !scale.is_finite() || **scale < 0.0)
        );
        Ok(tensor)
    }

    /// How many numbers it has.
    pub fn numbers(&self) -> usize {
        self.shape.iter().product()
    }

    /// The first of the names that a converter joins with semicolons.
    pub fn short_name(&self) -> &str {
        self.name.split(';').next().unwrap_or_default()
    }

    fn constant(&self, kind: i8, bytes: usize) -> Result<&'f [u8]> {
        let name = self.short_name();
        ensure!(
            self.kind == kind,
            "\"{name}\": expected {}, found {}",
            names::type_of(kind),
            names::type_of(self.kind)
        );
        let data = self.data.with_context(|| format!("\"{name}\": expected a constant"))?;
        ensure!(
            data.len() == bytes * self.numbers(),
            "\"{name}\": expected {} bytes for shape {:?}, found {}",
            bytes * self.numbers(),
            self.shape,
            data.len()
        );
        Ok(data)
    }

    /// The bytes of a constant of integers of 8 or 16 bits; those without sign less 128.
    ///
    /// # Errors
    /// Another type, or too few or many bytes.
    pub fn bytes(&self) -> Result<Vec<i8>> {
        if self.kind == kind::INT16 {
            return Ok(self.constant(kind::INT16, 2)?.iter().map(|byte| *byte as i8).collect());
        }
        if self.kind == kind::UINT8 {
            return Ok(self.constant(kind::UINT8, 1)?.iter().map(|byte| byte.wrapping_sub(128) as i8).collect());
        }
        Ok(self.constant(kind::INT8, 1)?.iter().map(|byte| *byte as i8).collect())
    }

    /// The numbers of a constant of 32-bit integers.
    ///
    /// # Errors
    /// Another type, or too few or many bytes.
    pub fn integers(&self) -> Result<Vec<i32>> {
        let data = self.constant(kind::INT32, 4)?;
        Ok(data.chunks_exact(4).map(|bytes| i32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])).collect())
    }

    /// The numbers of a constant of integers of 32 or 64 bits: axes, lengths, places, biases.
    ///
    /// # Errors
    /// A tensor that is no constant, or no such one.
    pub fn counts(&self) -> Result<Vec<i64>> {
        if self.kind == kind::INT64 {
            let data = self.constant(kind::INT64, 8)?;
            return Ok(data
                .chunks_exact(8)
                .filter_map(|bytes| Some(i64::from_le_bytes(bytes.try_into().ok()?)))
                .collect());
        }
        Ok(self.integers()?.into_iter().map(i64::from).collect())
    }
}

impl Operator<'_> {
    /// A number of the options.
    ///
    /// # Errors
    /// A damaged file.
    pub fn int(&self, at: usize, default: i32) -> Result<i32> {
        Ok(self.option(at)?.unwrap_or(default))
    }

    /// A small number of the options.
    ///
    /// # Errors
    /// A damaged file.
    pub fn byte(&self, at: usize) -> Result<i8> {
        Ok(self.option(at)?.unwrap_or(0))
    }

    /// A yes or no of the options.
    ///
    /// # Errors
    /// A damaged file.
    pub fn flag(&self, at: usize) -> Result<bool> {
        Ok(self.option::<u8>(at)?.unwrap_or(0) != 0)
    }

    /// A real number of the options.
    ///
    /// # Errors
    /// A damaged file.
    pub fn float(&self, at: usize) -> Result<f32> {
        Ok(self.option(at)?.unwrap_or(0.0))
    }

    fn option<'t, T: TableRead<'t>>(&'t self, at: usize) -> Result<Option<T>> {
        self.options.as_ref().map_or(Ok(None), |options| field(options, at, "an option"))
    }
}
