//! The stages of a warm explanation side by side: `cargo bench -p decomcam`.
//!
//! Set `DECOMCAM_FLOAT_MODEL` to the directory of a model whose image tower was built without quantisation (`models/lite/build.py --float-out`, with a
//! manifest beside it) to measure the stripped int8 graph against it in the same run.

use criterion::{Criterion, criterion_group, criterion_main};
use decomcam::encoders::image::{ImageTower, TowerKey};
use decomcam::explain::masks::BLUR_SIGMA;
use decomcam::model::Model;
use decomcam::onnx::shuffle::Shuffle;
use decomcam::photo::blur;
use decomcam::{Method, Options, Photo, Recipe, Session, SessionOptions};
use std::path::Path;

fn tower(model: &Model, layer: &str) -> ImageTower {
    let image = &model.manifest.image;
    let score = model.manifest.explain.explained.clone();
    let key = TowerKey {
        layer: layer.into(),
        score,
        size: image.size,
        shuffle: Shuffle::default(),
        guide: None,
        gradient: true,
    };
    ImageTower::load(model, &key).expect("the image tower")
}

fn stages(criterion: &mut Criterion) {
    let session = Session::open("lite").expect("the bundled model");
    let prompt = session.prompt("a cat").expect("a prompt");
    let photo =
        Photo::open(Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/photos/chelsea.png")).expect("a photo");
    let view = session.view();
    let framing = view.framing(photo.size());
    let planes = view.planes(&photo, framing, view.size(), 1);
    let input = view.normalised(&planes);

    let mut group = criterion.benchmark_group("forward");
    for layer in ["features", "block10"] {
        let tower = tower(session.model(), layer);
        group.bench_function(format!("int8, {layer}"), |b| b.iter(|| tower.vectors(&input).expect("vectors")));
        group.bench_function(format!("int8 and gradient, {layer}"), |b| {
            b.iter(|| tower.explain(&input, prompt.evidence()).expect("a gradient"));
        });
    }
    if let Some(directory) = std::env::var_os("DECOMCAM_FLOAT_MODEL") {
        let float = Model::from_dir(Path::new(&directory)).expect("a model directory");
        let tower = tower(&float, "features");
        group.bench_function("f32, features", |b| b.iter(|| tower.vectors(&input).expect("vectors")));
    }
    group.finish();

    let mut group = criterion.benchmark_group("explanation");
    group.bench_function("photo to input", |b| b.iter(|| view.planes(&photo, framing, view.size(), 1)));
    group.bench_function("blur", |b| b.iter(|| blur(&planes, BLUR_SIGMA, 4.0)));
    group.sample_size(10);
    // What the command does unless told otherwise, and the published recipe whose weights need no scores.
    for (name, options) in
        [("default", Options::new()), ("aligned", Options::new().method(Method::DecomCam(Recipe::Aligned)))]
    {
        for threads in [1, 2] {
            let session = Session::open_with("lite", &SessionOptions::new().threads(threads)).expect("a session");
            group.bench_function(format!("{name}, {threads} threads"), |b| {
                b.iter(|| session.explain(&photo, &prompt, &options).expect("an explanation"));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, stages);
criterion_main!(benches);
