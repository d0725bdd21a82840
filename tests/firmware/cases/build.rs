//! Writes the numbers of every case as little-endian files, and `cases.rs`, which names them.

use safetensors::SafeTensors;
use std::fmt::Write;
use std::{env, fs, path::PathBuf};

/// Values in the row of a photo that is masked.
const PHOTO_ROW: usize = 56;

fn main() {
    let mut cases = Writer::new();
    let cat7 = cases.golden("cat7_p100", "Score");
    cases.golden("dog7_p500", "LargestLoading");
    cases.golden("cat14_p100", "LargestEntry");
    cases.add(&cat7.quantised("cat7_i8"));

    let random = |name, shape, top, components, sign| {
        Case::generated(name, shape, top, components, sign, |random, _, _| random.unit())
    };
    cases.add(&random("random9", [64, 9, 9], 48, 10, "LargestLoading"));
    cases.add(&random("random12", [64, 12, 12], 48, 10, "LargestEntry"));
    cases.add(&random("few12", [16, 12, 12], 8, 5, "LargestLoading"));

    cases.add(&Case::generated("bytes9", [24, 9, 9], 20, 6, "Score", |random, _, _| random.byte()).into_bytes());
    // Zeros of both signs: which of them is the smaller must not depend on the target.
    let zero = Case::generated("zero", [16, 7, 7], 12, 4, "Score", |_, _, _| 0.0);
    cases.add(&zero.with_scores(&[0.0, -0.0, 1.0, -0.0]));
    let one_constant = |random: &mut Lcg, channel, _| if channel == 3 { 1.5 } else { random.unit() };
    let constant = Case::generated("constant", [16, 7, 7], 16, 4, "Score", one_constant);
    cases.add(&constant.with_scores(&[-0.0, 0.0, 1.0, 0.0]));
    cases.add(&Case::generated("rank1", [60, 7, 7], 56, 6, "LargestEntry", |_, channel, position| {
        ((channel % 7 + 1) * (position * position % 11)) as f32
    }));
    cases.add(&Case::generated("huge", [60, 7, 7], 56, 6, "Score", |random, _, _| random.unit() * 1e30));
    cases.add(&Case::generated("tiny", [60, 7, 7], 56, 6, "Score", |random, _, _| random.unit() * 1e-30));
    cases.finish();
}

/// Knuth's 64-bit linear congruential generator: the same numbers wherever integers are.
struct Lcg(u64);

impl Lcg {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        self.0
    }

    /// A multiple of 2^-24 in 0..1.
    fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 24) as f32
    }

    /// A whole number in 0..256.
    fn byte(&mut self) -> f32 {
        (self.next() >> 56) as f32
    }
}

/// One case, before it is written.
#[derive(Clone)]
struct Case {
    name: String,
    shape: [usize; 3],
    layout: String,
    activations: Activations,
    gradients: Vec<f32>,
    top: usize,
    components: usize,
    sign: String,
    scores: Vec<f32>,
    score_blurred: f32,
}

#[derive(Clone)]
enum Activations {
    F32(Vec<f32>),
    I8PerChannel(Vec<i8>, Vec<f32>, Vec<i16>),
    U8(Vec<u8>, f32, i16),
}

impl Case {
    /// A case of random gradients and scores; `activation` makes the value of a channel at a position.
    fn generated(
        name: &str,
        shape: [usize; 3],
        top: usize,
        components: usize,
        sign: &str,
        activation: impl Fn(&mut Lcg, usize, usize) -> f32,
    ) -> Self {
        let [channels, height, width] = shape;
        let mut random = Lcg(name.bytes().map(u64::from).sum());
        let mut activations = Vec::new();
        for channel in 0..channels {
            for position in 0..height * width {
                activations.push(activation(&mut random, channel, position));
            }
        }
        Self {
            name: name.into(),
            shape,
            layout: format!("Layout::chw({channels}, {height}, {width})"),
            gradients: activations.iter().map(|_| random.unit() - 0.25).collect(),
            activations: Activations::F32(activations),
            top,
            components,
            sign: sign.into(),
            scores: (0..components).map(|_| random.unit()).collect(),
            score_blurred: 0.125,
        }
    }

    fn floats(&self) -> &[f32] {
        match &self.activations {
            Activations::F32(values) => values,
            _ => panic!("{}: activations are floats until they are quantised", self.name),
        }
    }

    /// The same case as TensorFlow Lite leaves it: signed bytes, a scale and zero point for each channel, channels last.
    fn quantised(&self, name: &str) -> Self {
        let [channels, height, width] = self.shape;
        let positions = height * width;
        let mut bytes = vec![0; channels * positions];
        let (mut scales, mut zero_points) = (Vec::new(), Vec::new());
        for (channel, map) in self.floats().chunks_exact(positions).enumerate() {
            let low = map.iter().fold(0.0_f32, |low, value| low.min(*value));
            let high = map.iter().fold(0.0_f32, |high, value| high.max(*value));
            let scale = if high > low { (high - low) / 255.0 } else { 1.0 };
            let zero_point = (-128.0 - low / scale).round();
            for (position, value) in map.iter().enumerate() {
                bytes[position * channels + channel] = (value / scale + zero_point).round().clamp(-128.0, 127.0) as i8;
            }
            scales.push(scale);
            zero_points.push(zero_point as i16);
        }
        let gradients =
            (0..channels * positions).map(|i| self.gradients[i % channels * positions + i / channels]).collect();
        Self {
            name: name.into(),
            layout: format!("Layout::hwc({height}, {width}, {channels})"),
            activations: Activations::I8PerChannel(bytes, scales, zero_points),
            gradients,
            ..self.clone()
        }
    }

    /// Activations that are whole numbers of 0..256, as unsigned bytes.
    fn into_bytes(self) -> Self {
        let bytes = self.floats().iter().map(|value| *value as u8).collect();
        Self { activations: Activations::U8(bytes, 0.0235, 12), ..self }
    }

    fn with_scores(self, scores: &[f32]) -> Self {
        Self { scores: scores.into(), score_blurred: 0.0, ..self }
    }
}

struct Writer {
    directory: PathBuf,
    list: String,
    /// Activations that have been written, to be written once.
    written: Vec<(String, Vec<f32>)>,
}

impl Writer {
    fn new() -> Self {
        Self {
            directory: env::var_os("OUT_DIR").unwrap().into(),
            list: "pub static CASES: &[Case] = &[\n".into(),
            written: Vec::new(),
        }
    }

    /// Adds a case of `tests/golden`.
    fn golden(&mut self, name: &str, sign: &str) -> Case {
        let path = format!("../../golden/{name}.safetensors");
        println!("cargo:rerun-if-changed={path}");
        let bytes = fs::read(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let tensor = |key: &str| file.tensor(key).unwrap_or_else(|e| panic!("{path}: {key}: {e}"));
        let f32s = |key: &str| -> Vec<f32> {
            let (numbers, _) = tensor(key).data().as_chunks();
            numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
        };
        let &[channels, height, width] = tensor("activations").shape() else {
            panic!("{path}: activations are channels x height x width")
        };
        let scores = f32s("scores.sklearn_1_5");
        let case = Case {
            name: name.into(),
            shape: [channels, height, width],
            layout: format!("Layout::chw({channels}, {height}, {width})"),
            activations: Activations::F32(f32s("activations")),
            gradients: f32s("gradients"),
            top: tensor("top_channels").shape()[0],
            components: scores.len(),
            sign: sign.into(),
            scores,
            score_blurred: f32s("score_blurred")[0],
        };
        self.add(&case);
        case
    }

    fn add(&mut self, case: &Case) {
        let name = &case.name;
        let [channels, height, width] = case.shape;
        let Case { layout, top, components, sign, score_blurred, .. } = case;
        let activations = match &case.activations {
            Activations::F32(values) => format!("Buffer::F32({})", self.floats_once(name, values)),
            Activations::I8PerChannel(values, scales, zero_points) => {
                let values: Vec<u8> = values.iter().map(|byte| *byte as u8).collect();
                let zero_points: Vec<u8> = zero_points.iter().flat_map(|z| z.to_le_bytes()).collect();
                format!(
                    "Buffer::I8({}, Quantisation::PerChannel {{ scales: {}, zero_points: {} }})",
                    self.file("i8", &format!("{name}.activations"), &values),
                    self.floats(&format!("{name}.scales"), scales),
                    self.file("i16", &format!("{name}.zero_points"), &zero_points),
                )
            }
            Activations::U8(values, scale, zero_point) => format!(
                "Buffer::U8({}, Quantisation::PerTensor {{ scale: {scale:?}, zero_point: {zero_point} }})",
                self.file("u8", &format!("{name}.activations"), values)
            ),
        };
        let gradients = self.floats(&format!("{name}.gradients"), &case.gradients);
        let scores = self.floats(&format!("{name}.scores"), &case.scores);
        writeln!(
            self.list,
            "    Case {{ name: \"{name}\", channels: {channels}, height: {height}, width: {width}, layout: {layout}, \
             activations: {activations}, gradients: {gradients}, top: {top}, components: {components}, \
             sign: SignRule::{sign}, scores: {scores}, score_blurred: {score_blurred:?} }},"
        )
        .unwrap();
    }

    fn floats_once(&mut self, name: &str, numbers: &[f32]) -> String {
        if let Some((same, _)) = self.written.iter().find(|(_, written)| written == numbers) {
            return format!("numbers!(f32, \"{same}.activations\")");
        }
        self.written.push((name.into(), numbers.into()));
        self.floats(&format!("{name}.activations"), numbers)
    }

    fn floats(&self, name: &str, numbers: &[f32]) -> String {
        let bytes: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
        self.file("f32", name, &bytes)
    }

    /// Writes a file and gives the expression that reads it.
    fn file(&self, number: &str, name: &str, bytes: &[u8]) -> String {
        fs::write(self.directory.join(name), bytes).unwrap();
        format!("numbers!({number}, \"{name}\")")
    }

    fn finish(mut self) {
        self.list += "];\n";
        let mut random = Lcg(1);
        for name in ["PHOTO", "BLURRED"] {
            let row: Vec<f32> = (0..PHOTO_ROW).map(|_| random.unit()).collect();
            let row = self.floats(name, &row);
            writeln!(self.list, "/// One row of a picture.\npub static {name}: &[f32] = {row};").unwrap();
        }
        fs::write(self.directory.join("cases.rs"), self.list).unwrap();
    }
}
