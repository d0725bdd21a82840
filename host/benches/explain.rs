//! The stages of a warm explanation side by side: `cargo bench -p decomcam`.
//!
//! Set `DECOMCAM_FLOAT_MODEL` to the directory of a model whose image tower was built without quantisation (`models/lite/build.py --float-out`, with a
//! manifest beside it) to measure the stripped int8 graph against it in the same run.

use criterion::{Criterion, criterion_group, criterion_main};
use decomcam::encoders::legacy::ImageTower;
use decomcam::encoders::text::TextTower;
use decomcam::explain::{self, Request};
use decomcam::model::Model;
use decomcam::photo::{Photo, blur};
use decomcam::score::Prompt;
use std::path::Path;

fn stages(criterion: &mut Criterion) {
    let model = Model::bundled("lite").expect("the bundled model");
    let side = (model.manifest.image.size.height, model.manifest.image.size.height);
    let text = TextTower::load(&model).expect("the text tower");
    let prompt = Prompt::new(&model, &text, "a cat", None, None).expect("a prompt");
    let photo =
        Photo::open(Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/photos/chelsea.png")).expect("a photo");
    let planes = explain::network_input(&model, &photo, None, side, 1).1;
    let input = planes.normalised(model.manifest.image.mean, model.manifest.image.std);

    let mut group = criterion.benchmark_group("forward");
    for layer in ["features", "block10"] {
        let tower = ImageTower::load(&model, layer, side).expect("the image tower");
        group.bench_function(format!("int8, {layer}"), |b| b.iter(|| tower.vectors(&input).expect("vectors")));
        group.bench_function(format!("int8 and gradient, {layer}"), |b| {
            b.iter(|| tower.explain(&input, prompt.evidence()).expect("a gradient"));
        });
    }
    if let Some(directory) = std::env::var_os("DECOMCAM_FLOAT_MODEL") {
        let float = Model::from_dir(Path::new(&directory)).expect("a model directory");
        let tower = ImageTower::load(&float, "features", side).expect("the float image tower");
        group.bench_function("f32, features", |b| b.iter(|| tower.vectors(&input).expect("vectors")));
    }
    group.finish();

    let tower = ImageTower::load(&model, "features", side).expect("the image tower");
    let mut group = criterion.benchmark_group("explanation");
    group.bench_function("photo to input", |b| b.iter(|| explain::network_input(&model, &photo, None, side, 1)));
    group.bench_function("blur", |b| b.iter(|| blur(&planes, explain::BLUR_SIGMA, 4.0)));
    group.sample_size(10);
    for threads in [1, 2] {
        let request = Request::new(threads);
        group.bench_function(format!("whole, {threads} threads"), |b| {
            b.iter(|| explain::explain(&model, &tower, &prompt, &photo, &request, &|_, _| ()).expect("an explanation"));
        });
    }
    group.finish();
}

criterion_group!(benches, stages);
criterion_main!(benches);
