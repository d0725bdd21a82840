//! Where in a photo the score of a vision-language model or a classifier comes from, part by part.
//!
//! A network gives a photo and a text a score. This library takes the activation maps of one layer of the network, weighs each with the gradient of the
//! score, decomposes the weighted maps into orthogonal parts, measures what each part contributes to the score, and sums the parts to one saliency map. The
//! method is DecomCAM (Yang et al., Neurocomputing 610, 2024); the arithmetic is in the crate [`decomcam_core`], which boards run as well.
//!
//! ```
//! use decomcam::{Options, Photo, Session};
//! # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/photos/chelsea.png");
//! let session = Session::open("lite")?;
//! let photo = Photo::open(path)?;
//! let prompt = session.prompt("a cat")?;
//! let why = session.explain(&photo, &prompt, &Options::new())?;
//! for part in why.parts.iter().flat_map(|parts| &parts.list) {
//!     println!("{:+.3}", part.contribution);
//! }
//! # Ok::<(), decomcam::Error>(())
//! ```
//!
//! [`Session`] is the one door: it opens a model, encodes prompts and explains photos. [`Options`] says how to explain, [`Explanation`] what came of it, and
//! [`Error`] what went wrong and where the remedy lies. [`Session::watching`] reports progress and can stop long work.
//!
//! # The path of the data
//!
//! | room | what goes in | what comes out |
//! |---|---|---|
//! | [`session`] | the name of a model | an open model, its towers loaded when they are first needed |
//! | [`model`] | a directory, a folder of Hugging Face's hub or a name there, an ONNX or a `.tflite` file | a manifest as data, and the bytes of the files that it names |
//! | [`onnx`] | the bytes of a network | a checked graph of floats; its layers, and the gradient back to any of them |
//! | [`tflite`] | the bytes of a network of integers of TensorFlow Lite | its operators for [`decomcam_int8`], and the same network as ONNX |
//! | [`encoders`] | the graph, an input or a prompt | image and text vectors, activations, gradients; the network from a layer on |
//! | [`score`] | image and text vectors | the reported score, the explained score, texts in order |
//! | [`photo`] | the bytes of a photo | upright pixels, framed and resized to the network's input; and a map's way back to the photo |
//! | [`explain`] | a photo, a prompt, options | the map of any method, of DecomCAM with its parts: the one pipeline |
//! | [`methods`] | activations, gradients, a scorer | the names and formulas of recipes and of other methods |
//! | [`report`] | an explanation | words, JSON, arrays and pictures |
//! | [`many`] | photos without end | an explanation of each, a contact sheet of all; a run that was stopped goes on |
//! | [`frames`] | an animation or a video | an explanation of each frame; their parts followed from frame to frame |
//! | [`draw`] | maps and a photo | pictures; it does not know how a map came about |
//! | [`compare`] | one photo, several methods | their maps side by side with what metrics say of each |
//! | [`eval`] | annotated photos, methods, metrics | a table with intervals |
//! | [`pool`] | the photos of a category | the parts that they share |
//! | [`dataset`] | annotations in many formats | objects on photos, and pairs of photo and category |
//! | [`metrics`], [`stats`] | a map and a mask or a scorer; numbers | a number; means with intervals |
//! | [`board`] | an explanation, the size of a layer, or a network | a capsule that a board computes again, the memory that it needs, or what firmware links |
//!
//! # The floors of the house
//!
//! A room uses only rooms of the floors below, or rooms that stand before it on its own floor.
//!
//! | floor | rooms |
//! |---|---|
//! | 7 | [`report`], [`many`], [`frames`], [`eval`], [`compare`], [`pool`] |
//! | 6 | [`board`], [`dataset`] |
//! | 5 | [`explain`], [`session`] |
//! | 4 | [`metrics`], [`methods`] |
//! | 3 | [`encoders`], [`score`] |
//! | 2 | [`onnx`], [`tflite`], [`model`] |
//! | 1 | [`photo`], [`draw`] |
//! | 0 | [`error`], [`program`], [`size`], [`random`], [`hash`], [`stats`], [`progress`], [`timings`], [`workers`], [`owned`], [`files`], [`journal`], [`shard`], `arithmetic` |
//!
//! The command line (`cli`, in the binary) stands on top: it turns arguments into options and prints what comes back. No room of the library knows how a
//! command line is parsed.

mod arithmetic;
pub mod board;
pub mod compare;
pub mod dataset;
pub mod draw;
pub mod encoders;
pub mod error;
pub mod eval;
pub mod explain;
pub mod files;
pub mod frames;
pub mod hash;
pub mod journal;
mod kinds;
pub mod many;
pub mod methods;
pub mod metrics;
pub mod model;
pub mod onnx;
pub mod owned;
pub mod photo;
pub mod pool;
pub mod program;
pub mod progress;
pub mod random;
pub mod report;
pub mod score;
pub mod session;
pub mod shard;
pub mod size;
pub mod stats;
mod text;
pub mod tflite;
pub mod timings;
pub mod workers;

pub use error::{Error, Result};
pub use explain::{Explanation, Integrate, Options};
pub use methods::{Method, Recipe};
pub use photo::Photo;
pub use score::{Place, Prompt, Question, Side};
pub use session::{Session, SessionOptions};
pub use shard::Shard;
pub use size::Size;
