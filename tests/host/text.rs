//! Text towers in folders of Hugging Face's hub: what they are told besides token ids, how prompts are filled up, how long they are, and what scale their cosines have.
//!
//! The networks are written here, node by node; what they are to answer is computed beside them, in plain loops.

use crate::common::cat;
use crate::common::run::{Run, decomcam};
use crate::onnx::inspect::{Onnx, With, convolutional, info};
use With::{Int, Ints};
use decomcam::encoders::text::TextTower;
use decomcam::model::{Model, ModelOptions};
use decomcam::onnx::inspect;
use serde_json::{Value, json};
use std::path::Path;
use tempfile::TempDir;
use tract_onnx::pb::tensor_proto::DataType;

/// Numbers of an embedding, as many as the image tower gives.
const WIDTH: usize = 4;
/// Tokens that the tokenizer knows; `[PAD]` is the first, `[FILL]` the last.
const KNOWN: [&str; 10] = ["[PAD]", "[UNK]", "a", "photo", "of", "cat", "dog", "red", "sofa", "[FILL]"];
const FILL: i64 = 9;

fn tokenizer(padding: Value, processor: Value) -> Value {
    let vocabulary: serde_json::Map<String, Value> =
        KNOWN.iter().enumerate().map(|(id, token)| ((*token).to_owned(), json!(id))).collect();
    let special = |id: i64| json!({"id": id, "content": KNOWN[id as usize], "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true});
    json!({
        "version": "1.0", "truncation": null, "padding": padding, "added_tokens": [special(0), special(FILL)], "decoder": null,
        "normalizer": {"type": "Lowercase"}, "pre_tokenizer": {"type": "Whitespace"}, "post_processor": processor,
        "model": {"type": "WordLevel", "unk_token": "[UNK]", "vocab": vocabulary}
    })
}

fn plain_tokenizer() -> Value {
    tokenizer(Value::Null, Value::Null)
}

/// Padding as a tokenizer stores it.
fn stored(length: usize, direction: &str) -> Value {
    json!({"strategy": {"Fixed": length}, "direction": direction, "pad_to_multiple_of": null, "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"})
}

/// A beginning of another sentence's kind before the prompt.
fn with_a_beginning() -> Value {
    json!({"type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "[UNK]", "type_id": 1}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"[UNK]": {"id": "[UNK]", "ids": [1], "tokens": ["[UNK]"]}}})
}

fn image_tower() -> Onnx {
    let mut image = convolutional();
    image.node("Identity", &["logits"], "image_embeds", &[]);
    image
}

/// A folder with these networks and files.
fn folder(networks: &[(&str, Vec<u8>)], config: &Value, files: &[(&str, Value)]) -> TempDir {
    let place = TempDir::new().unwrap();
    std::fs::create_dir(place.path().join("onnx")).unwrap();
    for (name, bytes) in networks {
        std::fs::write(place.path().join("onnx").join(name), bytes).unwrap();
    }
    let preparation =
        json!({"size": {"height": 16, "width": 16}, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]});
    let own = [("config.json", config.clone()), ("preprocessor_config.json", preparation)];
    for (name, value) in own.iter().chain(files) {
        std::fs::write(place.path().join(name), value.to_string()).unwrap();
    }
    place
}

/// A folder with this text tower and an image tower.
fn two_towers(text: Vec<u8>, config: &Value, files: &[(&str, Value)]) -> TempDir {
    let vision = image_tower().bytes("image_embeds", &[1, WIDTH as i64]);
    folder(&[("text_model.onnx", text), ("vision_model.onnx", vision)], config, files)
}

/// The files of a folder of two towers, by their paths in it.
pub fn files_of_two_towers() -> Vec<(String, Vec<u8>)> {
    let text = told(&["input_ids"], DataType::Int64, -1).onnx;
    let place = two_towers(text, &clip(), &[("tokenizer.json", plain_tokenizer())]);
    let names =
        ["config.json", "preprocessor_config.json", "tokenizer.json", "onnx/text_model.onnx", "onnx/vision_model.onnx"];
    names.map(|name| (name.to_owned(), std::fs::read(place.path().join(name)).unwrap())).into()
}

fn opened(place: &Path) -> decomcam::Result<Model> {
    Model::open(place.to_str().unwrap(), &ModelOptions::new())
}

fn tower(place: &Path) -> TextTower {
    TextTower::load(&opened(place).unwrap()).unwrap()
}

/// The text's vector, of length one.
fn vector(tower: &TextTower, model: &Model, prompt: &str) -> Vec<f32> {
    let score = model.manifest.score("cosine").unwrap();
    tower.encode(prompt).unwrap_or_else(|error| panic!("{prompt}: {error}")).for_score(score).unwrap()
}

fn unit(vector: &[f64]) -> Vec<f32> {
    let length = vector.iter().map(|value| value * value).sum::<f64>().sqrt();
    vector.iter().map(|value| (value / length) as f32).collect()
}

#[track_caller]
fn assert_close(found: &[f32], expected: &[f32], what: &str) {
    let close = found.len() == expected.len() && found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5);
    assert!(close, "{what}: expected {expected:?}, found {found:?}");
}

/// Rows of a weight.
fn rows(onnx: &Onnx, name: &str) -> Vec<Vec<f64>> {
    let tensor = onnx.graph.initializer.iter().find(|tensor| tensor.name == name).unwrap();
    let number = |bytes: &[u8]| f64::from(f32::from_le_bytes(bytes.try_into().unwrap()));
    let numbers: Vec<f64> = tensor.raw_data.chunks_exact(4).map(number).collect();
    numbers.chunks(*tensor.dims.last().unwrap() as usize).map(<[f64]>::to_vec).collect()
}

/// A tower that reads all that a tokenizer can say: the sum over tokens of mask * (word + kind + position); and the three tables.
struct Told {
    onnx: Vec<u8>,
    words: Vec<Vec<f64>>,
    kinds: Vec<Vec<f64>>,
    positions: Vec<Vec<f64>>,
}

/// With its inputs in this order and of this type.
fn told(inputs: &[&str], kind: DataType, length: i64) -> Told {
    let mut onnx = Onnx::new(inputs[0], kind, &[1, length]);
    onnx.graph.input.extend(inputs[1..].iter().map(|name| info(name, kind, &[1, length])));
    let width = WIDTH as i64;
    let tables = [KNOWN.len() as i64, 2, 32].map(|count| onnx.weight(&[count, width]));
    let mut sum = onnx.node("Gather", &[&tables[0], "input_ids"], "words", &[Int("axis", 0)]);
    for (input, table) in [("token_type_ids", &tables[1]), ("position_ids", &tables[2])] {
        if inputs.contains(&input) {
            let rows = onnx.node("Gather", &[table, input], &format!("{input}_rows"), &[Int("axis", 0)]);
            sum = onnx.node("Add", &[&sum, &rows], &format!("with_{input}"), &[]);
        }
    }
    if inputs.contains(&"attention_mask") {
        let axis = onnx.ints(&[2]);
        let mask = onnx.node("Cast", &["attention_mask"], "mask", &[Int("to", DataType::Float as i64)]);
        let mask = onnx.node("Unsqueeze", &[&mask, &axis], "column", &[]);
        sum = onnx.node("Mul", &[&sum, &mask], "masked", &[]);
    }
    let axis = onnx.ints(&[1]);
    onnx.node("ReduceSum", &[&sum, &axis], "text_embeds", &[Int("keepdims", 0)]);
    let [words, kinds, positions] = tables.map(|table| rows(&onnx, &table));
    Told { onnx: onnx.bytes("text_embeds", &[1, width]), words, kinds, positions }
}

impl Told {
    /// What the tower is to say of tokens, each with its id, mask and kind.
    fn expected(&self, inputs: &[&str], tokens: &[[i64; 3]]) -> Vec<f32> {
        let has = |name: &str| f64::from(u8::from(inputs.contains(&name)));
        let mut sum = [0.0; WIDTH];
        for (at, [id, mask, kind]) in tokens.iter().enumerate() {
            let weight = if inputs.contains(&"attention_mask") { *mask as f64 } else { 1.0 };
            for (channel, sum) in sum.iter_mut().enumerate() {
                let word = self.words[*id as usize][channel];
                let kind = has("token_type_ids") * self.kinds[*kind as usize][channel];
                *sum += weight * (word + kind + has("position_ids") * self.positions[at][channel]);
            }
        }
        unit(&sum)
    }
}

fn clip() -> Value {
    json!({"model_type": "clip"})
}

/// What a case is about, the tower's inputs, how the tokenizer fills up and what it puts before a prompt, and of each token id, mask and kind.
type Telling<'a> = (&'a str, &'a [&'a str], Value, Value, Vec<[i64; 3]>);

#[test]
fn a_text_tower_is_told_what_the_tokenizer_says_of_each_token() {
    let (ids, mask, kinds, positions) = ("input_ids", "attention_mask", "token_type_ids", "position_ids");
    let words: [[i64; 3]; 3] = [[2, 1, 0], [7, 1, 0], [5, 1, 0]];
    let begun: Vec<[i64; 3]> = [[1, 1, 1]].into_iter().chain(words).collect();
    let filled = |first: bool| -> Vec<[i64; 3]> {
        let padding = [[0, 0, 0]; 4];
        if first { padding.into_iter().chain(words).collect() } else { words.into_iter().chain(padding).collect() }
    };
    let cases: [Telling; 8] = [
        ("ids alone", &[ids], Value::Null, Value::Null, words.to_vec()),
        ("positions", &[ids, positions], Value::Null, Value::Null, words.to_vec()),
        ("a mask first", &[mask, ids], Value::Null, Value::Null, words.to_vec()),
        ("a mask of stored padding", &[ids, mask], stored(7, "Right"), Value::Null, filled(false)),
        ("a mask of padding before the prompt", &[ids, mask], stored(7, "Left"), Value::Null, filled(true)),
        ("stored padding without a mask", &[ids, positions], stored(7, "Right"), Value::Null, filled(false)),
        ("kinds", &[kinds, ids], Value::Null, with_a_beginning(), begun),
        ("all", &[positions, mask, kinds, ids], stored(7, "Right"), Value::Null, filled(false)),
    ];
    for (what, inputs, padding, processor, tokens) in cases {
        for kind in [DataType::Int64, DataType::Int32] {
            let told = told(inputs, kind, -1);
            let tokenizer = tokenizer(padding.clone(), processor.clone());
            let place = two_towers(told.onnx.clone(), &clip(), &[("tokenizer.json", tokenizer)]);
            let model = opened(place.path()).unwrap();
            let tower = tower(place.path());
            let found = vector(&tower, &model, "a red cat");
            assert_close(&found, &told.expected(inputs, &tokens), &format!("{what}, {kind:?}"));
        }
    }
}

/// An input beside the token ids, of this type and shape, that is added to the words as a number.
fn with_another(name: &str, kind: DataType, shape: &[i64], reads_its_shape_alone: bool) -> Vec<u8> {
    let mut onnx = Onnx::new("input_ids", DataType::Int64, &[1, -1]);
    onnx.graph.input.push(info(name, kind, shape));
    let table = onnx.weight(&[KNOWN.len() as i64, WIDTH as i64]);
    let words = onnx.node("Gather", &[&table, "input_ids"], "words", &[Int("axis", 0)]);
    let axis = onnx.ints(&[1]);
    let sum = onnx.node("ReduceSum", &[&words, &axis], "sum", &[Int("keepdims", 0)]);
    let other = if reads_its_shape_alone { onnx.node("Shape", &[name], "shape", &[]) } else { name.to_owned() };
    let other = onnx.node("Cast", &[&other], "number", &[Int("to", DataType::Float as i64)]);
    let other = onnx.node("ReduceMean", &[&other], "mean", &[Int("keepdims", 0)]);
    onnx.node("Add", &[&sum, &other], "text_embeds", &[]);
    onnx.bytes("text_embeds", &[1, WIDTH as i64])
}

#[test]
fn what_an_input_is_for_is_known_or_the_tower_is_refused() {
    let refused = |name: &str, kind: DataType, shape: &[i64], padding: Value| -> String {
        let files = [("tokenizer.json", tokenizer(padding, Value::Null))];
        let place = two_towers(with_another(name, kind, shape, false), &clip(), &files);
        let error = tower(place.path()).encode("a cat").expect_err(name);
        assert!(matches!(error, decomcam::Error::Model(_)) && error.to_string().contains(name), "{error}");
        error.to_string()
    };
    for name in [
        "lengths",
        "past_position_ids",
        "relative_positions",
        "causal_mask",
        "key_padding_mask",
        "task",
        "prototype_ids",
        "segmentation",
        "composition",
    ] {
        let said = refused(name, DataType::Int64, &[1, -1], Value::Null);
        assert!(said.contains("is not known"), "{said}");
    }
    refused("key_mask", DataType::Bool, &[1, -1], Value::Null);
    refused("position_ids", DataType::Float, &[1, -1], Value::Null);
    refused("attention_mask", DataType::Int64, &[1, 1, -1, -1], Value::Null);
    refused("attention_mask", DataType::Int64, &[1, 5], Value::Null);
    // Where the words begin, or what a mask of fractions means, is a question only if something fills them up.
    for (name, kind, padding) in
        [("position_ids", DataType::Int64, stored(7, "Left")), ("attention_mask", DataType::Float, stored(7, "Right"))]
    {
        refused(name, kind, &[1, -1], padding);
        let files = [("tokenizer.json", plain_tokenizer())];
        let place = two_towers(with_another(name, kind, &[1, -1], false), &clip(), &files);
        tower(place.path()).encode("a cat").unwrap();
    }
    // Of this one nothing but its shape is read.
    let files = [("tokenizer.json", plain_tokenizer())];
    let place = two_towers(with_another("pixel_values", DataType::Float, &[1, 3, 16, 16], true), &clip(), &files);
    tower(place.path()).encode("a cat").unwrap();
    // Positions of these kinds do not begin at 0.
    let config = json!({"model_type": "clip", "text_config": {"model_type": "xlm-roberta"}});
    let place = two_towers(with_another("position_ids", DataType::Int64, &[1, -1], false), &config, &files);
    let error = opened(place.path()).unwrap_err().to_string();
    assert!(error.contains("xlm-roberta") && error.contains("positions"), "{error}");
}

#[test]
fn an_input_beside_the_picture_is_known_or_the_network_is_refused() {
    let with = |name: &str| {
        let mut onnx = image_tower();
        onnx.graph.input.push(info(name, DataType::Int64, &[1, 2]));
        let number = onnx.node("Cast", &[name], "number", &[Int("to", DataType::Float as i64)]);
        let mean = onnx.node("ReduceMean", &[&number], "mean", &[Int("keepdims", 0)]);
        onnx.node("Mul", &["image_embeds", &mean], "scaled", &[]);
        onnx
    };
    let look = inspect::InspectOptions::default();
    let refusal = inspect::inspect(&with("scale_factor").bytes("scaled", &[1, 4]), &look).unwrap_err().to_string();
    assert!(refusal.contains("scale_factor") && refusal.contains("is not known"), "{refusal}");
    inspect::inspect(&with("pixel_mask").bytes("scaled", &[1, 4]), &look).unwrap();
    // What the picture alone makes is looked into, and the rest left out.
    let mut both = with("scale_factor");
    both.graph.output.push(info("scaled", DataType::Float, &[1, 4]));
    let found = inspect::inspect(&both.bytes("image_embeds", &[1, 4]), &look).unwrap();
    let names: Vec<&str> = found.outputs.iter().map(|output| output.name.as_str()).collect();
    assert_eq!(names, ["image_embeds"]);
}

/// What a case is about, `config.json`, `tokenizer_config.json`, `special_tokens_map.json`, the number of tokens that the network fixes, and the ids and masks that come of it.
type Filling<'a> = (&'a str, Value, Value, Value, i64, [&'a [i64]; 2]);

#[test]
fn prompts_are_filled_up_as_the_folder_says() {
    let siglip = |text: Value| json!({"model_type": "siglip", "text_config": text});
    let six = || siglip(json!({"max_position_embeddings": 6}));
    let by_config = json!({"pad_token": "[FILL]", "added_tokens_decoder": {}});
    let left = json!({"pad_token": {"content": "[FILL]"}, "padding_side": "left"});
    let shorter = json!({"pad_token": "[FILL]", "model_max_length": 5});
    let unmasked = json!({"pad_token": "[FILL]", "model_input_names": ["input_ids"]});
    let cases: [Filling; 9] = [
        ("transformers' default", six(), Value::Null, Value::Null, -1, [&[2, 5, 1, 1, 1, 1], &[1, 1, 0, 0, 0, 0]]),
        (
            "by config.json",
            siglip(json!({"max_position_embeddings": 6, "pad_token_id": 3})),
            Value::Null,
            Value::Null,
            -1,
            [&[2, 5, 3, 3, 3, 3], &[1, 1, 0, 0, 0, 0]],
        ),
        ("by the tokenizer", six(), by_config, Value::Null, -1, [&[2, 5, 9, 9, 9, 9], &[1, 1, 0, 0, 0, 0]]),
        (
            "by the older file",
            six(),
            Value::Null,
            json!({"pad_token": "[FILL]"}),
            -1,
            [&[2, 5, 9, 9, 9, 9], &[1, 1, 0, 0, 0, 0]],
        ),
        ("at the beginning", six(), left.clone(), Value::Null, -1, [&[9, 9, 9, 9, 2, 5], &[0, 0, 0, 0, 1, 1]]),
        ("to the tokenizer's length", six(), shorter, Value::Null, -1, [&[2, 5, 9, 9, 9], &[1, 1, 0, 0, 0]]),
        ("read like words", six(), unmasked, Value::Null, -1, [&[2, 5, 9, 9, 9, 9], &[1, 1, 1, 1, 1, 1]]),
        (
            "to the length that a network fixes",
            clip(),
            json!({"pad_token": "[FILL]"}),
            Value::Null,
            4,
            [&[2, 5, 9, 9], &[1, 1, 0, 0]],
        ),
        ("no filling", clip(), left, Value::Null, -1, [&[2, 5], &[1, 1]]),
    ];
    for (what, config, tokens, special, length, [ids, mask]) in cases {
        let inputs = ["input_ids", "attention_mask", "position_ids"];
        // Where padding stands first, positions are in question.
        let inputs = if mask[0] == 0 { &inputs[..2] } else { &inputs[..] };
        let told = told(inputs, DataType::Int64, length);
        let mut files = vec![("tokenizer.json", plain_tokenizer())];
        files.extend(Some(("tokenizer_config.json", tokens)).filter(|(_, value)| !value.is_null()));
        files.extend(Some(("special_tokens_map.json", special)).filter(|(_, value)| !value.is_null()));
        let place = two_towers(told.onnx.clone(), &config, &files);
        let model = opened(place.path()).unwrap();
        let tower = tower(place.path());
        let found = tower.encode("A cat").unwrap().tokens;
        assert_eq!((&*found.ids, &*found.mask), (ids, mask), "{what}");
        let tokens: Vec<[i64; 3]> = ids.iter().zip(mask).map(|(id, mask)| [*id, *mask, 0]).collect();
        assert_close(&vector(&tower, &model, "a cat"), &told.expected(inputs, &tokens), what);
    }
    // Nothing says what to fill up with.
    let told = told(&["input_ids"], DataType::Int64, 4);
    let place = two_towers(told.onnx, &clip(), &[("tokenizer.json", plain_tokenizer())]);
    let error = opened(place.path()).unwrap_err().to_string();
    assert!(error.contains("takes 4 tokens") && error.contains("tokenizer_config.json"), "{error}");
}

/// What would be cut off would be left out without a word.
#[test]
fn prompts_that_are_too_long_are_refused() {
    let cutting = json!({"max_length": 3, "stride": 0, "strategy": "LongestFirst", "direction": "Right"});
    let mut cut = plain_tokenizer();
    cut["truncation"] = cutting;
    let of_config = json!({"model_type": "clip", "text_config": {"max_position_embeddings": 3}});
    let of_tokenizer = ("tokenizer_config.json", json!({"model_max_length": 3}));
    for (config, files) in [
        (clip(), vec![("tokenizer.json", cut)]),
        (of_config, vec![("tokenizer.json", plain_tokenizer())]),
        (clip(), vec![("tokenizer.json", plain_tokenizer()), of_tokenizer]),
    ] {
        let place = two_towers(told(&["input_ids"], DataType::Int64, -1).onnx, &config, &files);
        let tower = tower(place.path());
        assert_eq!(tower.encode("a red cat").unwrap().tokens.ids, [2, 7, 5]);
        let error = tower.encode("a photo of a cat").unwrap_err();
        let said = error.to_string();
        assert!(matches!(error, decomcam::Error::Prompt(_)), "{said}");
        assert!(said.contains("takes 5 tokens") && said.contains("at most 3"), "{said}");
    }
}

/// A tower in which each token sees those before it, as exporters of transformers 5 write it: the mask is computed from the number of tokens. It ends with the token whose id
/// is the largest.
fn causal() -> (Vec<u8>, Vec<Vec<f64>>) {
    let mut onnx = Onnx::new("input_ids", DataType::Int64, &[-1, -1]);
    let table = onnx.weight(&[KNOWN.len() as i64, WIDTH as i64]);
    let x = onnx.node("Gather", &[&table, "input_ids"], "words", &[Int("axis", 0)]);
    let shape = onnx.node("Shape", &["input_ids"], "shape", &[]);
    let scalar = |onnx: &mut Onnx, value: i64| onnx.constant(DataType::Int64, &[], value.to_le_bytes().to_vec());
    let [zero, one] = [0, 1].map(|value| scalar(&mut onnx, value));
    let count = onnx.node("Gather", &[&shape, &one], "count", &[Int("axis", 0)]);
    let range = onnx.node("Range", &[&zero, &count, &one], "range", &[]);
    let [first, second] = [0, 1].map(|axis| onnx.ints(&[axis]));
    let row = onnx.node("Unsqueeze", &[&range, &first], "row", &[]);
    let column = onnx.node("Unsqueeze", &[&range, &second], "column", &[]);
    let sees = onnx.node("LessOrEqual", &[&row, &column], "sees", &[]);
    let [nothing, much] = [0.0, -1e4].map(|value| onnx.floats(&[], &[value]));
    let mask = onnx.node("Where", &[&sees, &nothing, &much], "mask", &[]);
    let turned = onnx.node("Transpose", &[&x], "turned", &[Ints("perm", &[0, 2, 1])]);
    let products = onnx.node("MatMul", &[&x, &turned], "products", &[]);
    let masked = onnx.node("Add", &[&products, &mask], "masked", &[]);
    let shares = onnx.node("Softmax", &[&masked], "shares", &[Int("axis", -1)]);
    let seen = onnx.node("MatMul", &[&shares, &x], "seen", &[]);
    let last = onnx.node("ArgMax", &["input_ids"], "last", &[Int("axis", 1), Int("keepdims", 0)]);
    let chosen = onnx.node("Gather", &[&seen, &last], "chosen", &[Int("axis", 1)]);
    onnx.node("Squeeze", &[&chosen, &second], "text_embeds", &[]);
    let table = rows(&onnx, &table);
    (onnx.bytes("text_embeds", &[-1, WIDTH as i64]), table)
}

fn causal_answer(table: &[Vec<f64>], ids: &[i64]) -> Vec<f32> {
    let largest = ids.iter().max().unwrap();
    let last = ids.iter().position(|id| id == largest).unwrap();
    let row = |at: usize| &table[ids[at] as usize];
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let weights: Vec<f64> = (0..=last).map(|at| product(row(last), row(at)).exp()).collect();
    let total: f64 = weights.iter().sum();
    let channel = |channel: usize| (0..=last).map(|at| weights[at] / total * row(at)[channel]).sum();
    unit(&(0..WIDTH).map(channel).collect::<Vec<f64>>())
}

#[test]
fn a_mask_that_is_computed_from_the_number_of_tokens_is_right_for_every_number() {
    let (onnx, table) = causal();
    let place = two_towers(onnx, &clip(), &[("tokenizer.json", plain_tokenizer())]);
    let model = opened(place.path()).unwrap();
    let tower = tower(place.path());
    let ids = |count: usize| -> Vec<i64> { (0..count as i64).map(|at| 2 + (at * 5) % 7).collect() };
    let words = |ids: &[i64]| ids.iter().map(|id| KNOWN[*id as usize]).collect::<Vec<_>>().join(" ");
    for count in [1, 2, 3, 5, 8, 3, 20, 1] {
        let ids = ids(count);
        let found = vector(&tower, &model, &words(&ids));
        assert_close(&found, &causal_answer(&table, &ids), &format!("{count} tokens"));
    }
    assert_eq!(tower.times_read(), 6, "once for each number of tokens");
    // No more plans are kept than a program has memory for; what was forgotten is read again.
    for count in 1..=17 {
        vector(&tower, &model, &words(&ids(count)));
    }
    let read = tower.times_read();
    vector(&tower, &model, "dog");
    assert_eq!(tower.times_read(), read + 1);
    let found = vector(&tower, &model, "a red cat");
    assert_close(&found, &causal_answer(&table, &[2, 7, 5]), "after all");
}

/// Both towers in one file, and the number that it makes of them.
fn one_file(scale: f32, divided: bool, logits: fn(&mut Onnx, &str)) -> Vec<u8> {
    let mut onnx = convolutional();
    onnx.graph.input.push(info("input_ids", DataType::Int64, &[-1, -1]));
    let table = onnx.weight(&[KNOWN.len() as i64, WIDTH as i64]);
    let words = onnx.node("Gather", &[&table, "input_ids"], "words", &[Int("axis", 0)]);
    let axis = onnx.ints(&[1]);
    let text = onnx.node("ReduceSum", &[&words, &axis], "sum", &[Int("keepdims", 0)]);
    for (from, to) in [("logits", "image"), (&*text, "text")] {
        let length =
            onnx.node("ReduceL2", &[from], &format!("{to}_length"), &[Ints("axes", &[-1]), Int("keepdims", 1)]);
        let unit = onnx.node("Div", &[from, &length], &format!("{to}_unit"), &[]);
        let embedding = if divided { &unit } else { from };
        onnx.node("Identity", &[embedding], &format!("{to}_embeds"), &[]);
    }
    let number = onnx.floats(&[], &[scale.ln()]);
    let scale = onnx.node("Exp", &[&number], "scale", &[]);
    logits(&mut onnx, &scale);
    for name in ["text_embeds", "image_embeds"] {
        // Exporters leave the length open where they have divided by norms.
        onnx.graph.output.push(info(name, DataType::Float, &[-1, -1]));
    }
    onnx.bytes("logits_per_image", &[-1, -1])
}

/// As transformers has it, of the vectors of length one.
fn usual(onnx: &mut Onnx, scale: &str) {
    let turned = onnx.node("Transpose", &["image_unit"], "image_turned", &[Ints("perm", &[1, 0])]);
    let cosines = onnx.node("MatMul", &["text_unit", &turned], "cosines", &[]);
    let texts = onnx.node("Mul", &[&cosines, scale], "logits_per_text", &[]);
    onnx.node("Transpose", &[&texts], "logits_per_image", &[Ints("perm", &[1, 0])]);
}

/// The factor before the product, on the image's side.
fn early(onnx: &mut Onnx, scale: &str) {
    let scaled = onnx.node("Mul", &[scale, "image_unit"], "scaled", &[]);
    let turned = onnx.node("Transpose", &["text_unit"], "text_turned", &[Ints("perm", &[1, 0])]);
    onnx.node("MatMul", &[&scaled, &turned], "logits_per_image", &[]);
}

/// No multiple of the cosine.
fn bent(onnx: &mut Onnx, scale: &str) {
    let turned = onnx.node("Transpose", &["text_unit"], "text_turned", &[Ints("perm", &[1, 0])]);
    let cosines = onnx.node("MatMul", &["image_unit", &turned], "cosines", &[]);
    let bent = onnx.node("Tanh", &[&cosines], "bent", &[]);
    onnx.node("Mul", &[&bent, scale], "logits_per_image", &[]);
}

/// A product of vectors of any length.
fn of_any_length(onnx: &mut Onnx, scale: &str) {
    let turned = onnx.node("Transpose", &["sum"], "text_turned", &[Ints("perm", &[1, 0])]);
    let products = onnx.node("MatMul", &["logits", &turned], "products", &[]);
    onnx.node("Mul", &[&products, scale], "logits_per_image", &[]);
}

/// What a case is about, whether the embeddings have length one, how logits are made of them and of the scale, and the scale that is found.
type Scaling<'a> = (&'a str, bool, fn(&mut Onnx, &str), Option<f64>);

const SAID: &str = "the probabilities assume a scale of 100";

fn ranked(place: &Path, texts: &[&str], more: &[&str]) -> Run {
    let texts = texts.iter().flat_map(|text| ["-t", text]);
    decomcam(["rank", "-m", place.to_str().unwrap()]).args(texts.collect::<Vec<_>>()).args(more).arg(cat())
}

#[test]
fn probabilities_have_the_models_own_scale_or_it_is_said_that_they_have_not() {
    let files = [("tokenizer.json", plain_tokenizer())];
    let texts = ["a cat", "a dog", "red sofa"];
    let cases: [Scaling; 5] = [
        ("usual", true, usual, Some(14.25)),
        ("early", true, early, Some(14.25)),
        ("lengths divided by behind the embeddings", false, usual, Some(14.25)),
        ("bent", true, bent, None),
        ("of any length", false, of_any_length, None),
    ];
    for (what, divided, logits, own) in cases {
        let place = folder(&[("model.onnx", one_file(14.25, divided, logits))], &clip(), &files);
        let ranked = ranked(place.path(), &texts, &["--json"]).ok().json();
        let entries = ranked.as_array().unwrap();
        let scale = own.unwrap_or(100.0);
        let score = |entry: &Value| entry["scores"]["reported"]["value"].as_f64().unwrap();
        let odds: Vec<f64> = entries.iter().map(|entry| (scale * (score(entry) - score(&entries[0]))).exp()).collect();
        let total: f64 = odds.iter().sum();
        for (entry, odds) in entries.iter().zip(&odds) {
            let found = entry["probability"].as_f64().unwrap();
            assert!((found - odds / total).abs() < 1e-4, "{what}: expected {}, found {found}", odds / total);
            assert_eq!(entry["warnings"].to_string().contains(SAID), own.is_none(), "{what}: {entry}");
        }
    }
    // Two files do not hold it; one text needs none; and a model that has no such probability says nothing.
    let plain = || told(&["input_ids"], DataType::Int64, -1).onnx;
    let place = two_towers(plain(), &clip(), &files);
    let said = ranked(place.path(), &texts, &[]).ok().complains(&[SAID]);
    assert_eq!(said.stderr.matches(SAID).count(), 1, "{}", said.stderr);
    assert_eq!(ranked(place.path(), &texts[..1], &[]).ok().stderr, "");
    let place = two_towers(plain(), &json!({"model_type": "siglip"}), &files);
    assert_eq!(ranked(place.path(), &texts, &[]).ok().stderr, "");
}
