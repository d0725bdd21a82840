//! Models and networks to test with.

use decomcam::Size;
use decomcam::encoders::head::Head;
use decomcam::encoders::image::{ImageTower, TowerKey};
use decomcam::model::Model;
use decomcam::onnx::shuffle::Shuffle;

/// The bundled model.
pub fn lite() -> Model {
    Model::bundled("lite").unwrap()
}

/// What a tower is loaded for: a layer, a size, and the score that the model explains.
pub fn key(model: &Model, layer: &str, size: Size) -> TowerKey {
    let score = model.manifest.explain.explained.clone();
    TowerKey { layer: layer.into(), score, size, shuffle: Shuffle::default(), guide: None, gradient: true }
}

/// An image tower for the score that the model explains.
pub fn tower(model: &Model, layer: &str, size: Size) -> decomcam::Result<ImageTower> {
    ImageTower::load(model, &key(model, layer, size))
}

/// The network from the layer on.
pub fn head(model: &Model, layer: &str, size: Size) -> decomcam::Result<Head> {
    Head::load(model, &key(model, layer, size))
}
