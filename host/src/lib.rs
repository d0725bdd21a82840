//! Explain a vision-language model's score of a photo, part by part.
//!
//! The path of the data, one module a room:
//!
//! | module | in | out |
//! |---|---|---|
//! | [`photo`] | a file | pixels, and the network's input |
//! | [`model`] | a manifest, or a bare network that [`inspect`] looks into | the files of a model; [`quantised`] makes a graph of one that [`hostile`] lets pass |
//! | [`text`] | a prompt | text vectors |
//! | [`network`] | the input | image vectors, activations, and the gradient that [`gradient`] builds |
//! | [`scores`] | image and text vectors | the scores |
//! | [`explain`] | all of these | parts, weights and saliency, by `decomcam-core` |
//! | [`capsule`], [`budget`] | an explanation, a layer's size | a recording for boards, the memory they need |
//! | [`methods`], [`compare`] | the same | the map of any method, all of them side by side |
//! | [`annotations`], [`metrics`], [`eval`], [`randomise`], [`parts`] | annotated photos and maps | which method points where it should |
//! | [`category`] | the photos of a category | what their parts have in common |
//! | [`maps`], [`picture`], [`report`] | an explanation | maps on the photo, pictures, files, words |
//! | [`workers`], [`timings`] | work | its results from several threads, and its time |

pub mod annotations;
pub mod args;
pub mod budget;
pub mod capsule;
pub mod category;
pub mod compare;
pub mod eval;
pub mod explain;
pub mod gradient;
pub mod hostile;
pub mod inspect;
pub mod maps;
pub mod methods;
pub mod metrics;
pub mod model;
pub mod network;
pub mod parts;
pub mod photo;
pub mod picture;
pub mod quantised;
pub mod randomise;
pub mod report;
pub mod scores;
pub mod text;
pub mod timings;
pub mod workers;
