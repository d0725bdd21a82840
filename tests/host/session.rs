//! The session: passes of the network, progress, cancellation, and every kind of error.

use crate::common::{cat, names};
use decomcam::compare::{self, CompareOptions};
use decomcam::dataset::plan::Selection;
use decomcam::encoders::image::ImageTower;
use decomcam::eval::{self, EvalOptions};
use decomcam::explain::{self, Request, Towers};
use decomcam::metrics::Metric;
use decomcam::pool::{self, PoolOptions};
use decomcam::session::Purpose;
use decomcam::{Error, Integrate, Method, Options, Photo, Prompt, Question, Recipe, Session, SessionOptions, Size};
use decomcam::{board, files};
use decomcam_core::SignRule;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tempfile::TempDir;

fn open() -> (Session, Photo) {
    let options = SessionOptions::new().size(Size::square(96)).threads(2);
    (Session::open_with("lite", &options).unwrap(), Photo::open(cat()).unwrap())
}

/// The cat in a folder of its category, as `eval` and `pool` find it.
fn folder() -> TempDir {
    let place = TempDir::new().unwrap();
    std::fs::create_dir_all(place.path().join("photos/cat")).unwrap();
    std::fs::copy(cat(), place.path().join("photos/cat/a.png")).unwrap();
    place
}

fn evaluation(place: &Path, methods: Vec<Method>, metrics: Vec<Metric>) -> EvalOptions {
    let mut asked = EvalOptions::new(Selection::new(place.join("photos"), None), place.join("out"));
    asked.methods = methods;
    asked.metrics = metrics;
    asked
}

fn pooling(place: &Path) -> PoolOptions {
    PoolOptions::new(Selection::new(place.join("photos"), None), place.join("pool"), vec!["cat".into()])
}

// Passes.

/// Passes at the network's own size, at twice that, and from the layer on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Passes {
    own: usize,
    finer: usize,
    from_layer: usize,
}

/// How often the session's networks have run. The session holds on to them, so these are the very ones that it runs.
fn passes(session: &Session, request: &Request, score: &str) -> Passes {
    let towers = session.towers(std::slice::from_ref(request), score, Purpose::Explanation).unwrap();
    let Towers { own, finer, head, .. } = &towers;
    Passes {
        own: own.passes(),
        finer: finer.as_deref().map_or(0, ImageTower::passes),
        from_layer: head.as_ref().map_or(0, |head| head.passes()),
    }
}

/// What `explain` and what the map alone run, each in a session of its own.
fn passes_of(options: &Options, question: Question<'_>) -> [Passes; 2] {
    let explained = {
        let (session, photo) = open();
        let prompt = session.prompt(question).unwrap();
        session.explain(&photo, &prompt, options).unwrap();
        passes(&session, &options.resolve(&session.model().manifest).unwrap(), &prompt.explained().name)
    };
    let alone = {
        let (session, photo) = open();
        let prompt = session.prompt(question).unwrap();
        let request = options.resolve(&session.model().manifest).unwrap();
        let towers = session.towers(std::slice::from_ref(&request), &prompt.explained().name, Purpose::Map).unwrap();
        explain::map(&session.look(&towers, &prompt, &photo, 1), &request).unwrap();
        passes(&session, &request, &prompt.explained().name)
    };
    [explained, alone]
}

/// The map alone costs no more than the explanation, and neither runs the network more often than it must: once at each size. The gradient of a posterior
/// depends on what the photo shows, so its pass asks for the target in the middle. The check of the finished map, ten more passes, is left out.
#[test]
fn each_size_is_run_no_more_often_than_needed() {
    let posterior = Question::from("a cat");
    let linear = Question { text: "a cat", versus: None, score: Some("evidence") };
    let paper = Options::new().method(Method::DecomCam(Recipe::Paper));
    let layer_cam = Options::new().method("layer-cam".parse().unwrap());
    let cases = [
        ("exact", Options::new(), posterior, [1, 1, 11], [1, 1, 0]),
        ("exact of a linear score", Options::new(), linear, [1, 1, 11], [1, 1, 0]),
        ("exact at one size", Options::new().scales(1), posterior, [1, 0, 9], [1, 0, 0]),
        // Eight parts are all that 3 x 3 positions have; one more pass is of the blurred photo.
        ("paper", paper, posterior, [1 + 1 + 8, 0, 0], [1 + 1 + 8, 0, 0]),
        ("layer-cam", layer_cam.clone(), posterior, [1, 0, 0], [1, 0, 0]),
        ("layer-cam of a linear score", layer_cam, linear, [1, 0, 0], [1, 0, 0]),
    ];
    for (name, options, question, explained, alone) in cases {
        let expected = [explained, alone].map(|[own, finer, from_layer]| Passes { own, finer, from_layer });
        assert_eq!(passes_of(&options.unchecked(), question), expected, "{name}");
    }
}

/// `eval` shares one look among its methods: what one has run, the next does not run again. Its report draws the map of the first method once more.
#[test]
fn eval_runs_the_network_no_more_often_than_explain() {
    let exact = Method::default();
    let grad_cam: Method = "grad-cam".parse().unwrap();
    // Of a drop: the photo's own score is known from the map's passes, and the masked photo's is one pass.
    for (methods, own) in [
        (vec![exact], 1 + 1 + 1),
        (vec![exact, Method::DecomCam(Recipe::Aligned)], 2 + 2 + 1),
        (vec![grad_cam, "hires-cam".parse().unwrap(), "layer-cam".parse().unwrap()], 1 + 3 + 1),
    ] {
        let place = folder();
        let (session, _) = open();
        let asked = evaluation(place.path(), methods.clone(), vec![Metric::AverageDrop]);
        eval::evaluate(&session, &asked).unwrap();
        let request = Options::new().method(methods[0]).resolve(&session.model().manifest).unwrap();
        let score = session.model().manifest.explain.explained.clone();
        let finer = if methods[0] == exact { 2 } else { 0 };
        assert_eq!(passes(&session, &request, &score), Passes { own, finer, from_layer: 0 }, "{methods:?}");
    }
}

#[test]
fn what_is_loaded_is_loaded_once() {
    let (session, photo) = open();
    let prompt = session.prompt("a cat").unwrap();
    session.prompt("a dog").unwrap();
    session.explain(&photo, &prompt, &Options::new()).unwrap();
    session.explain(&photo, &prompt, &Options::new()).unwrap();
    let stages: Vec<&str> = session.loading().stages().iter().map(|stage| stage.name).collect();
    let count = |name: &str| stages.iter().filter(|stage| **stage == name).count();
    let counts = ["read model", "load text tower", "load image tower", "load the network from the layer on"].map(count);
    assert_eq!(counts, [1, 1, 2, 1], "{stages:?}");
}

// Options that a kind of work has no use for, which the command does not even offer there.

#[test]
fn it_is_told_once_that_networks_have_been_loaded() {
    static TOLD: AtomicUsize = AtomicUsize::new(0);
    let tell = || {
        TOLD.fetch_add(1, Ordering::Relaxed);
    };
    let options = SessionOptions::new().size(Size::square(96)).threads(2).after_loading(tell);
    let (session, photo) = (Session::open_with("lite", &options).unwrap(), Photo::open(cat()).unwrap());
    let prompt = session.prompt("a cat").unwrap();
    assert_eq!(TOLD.load(Ordering::Relaxed), 0);
    for _ in 0..2 {
        session.explain(&photo, &prompt, &Options::new()).unwrap();
        assert_eq!(TOLD.load(Ordering::Relaxed), 1);
    }
}

#[test]
fn options_without_effect_are_refused_by_the_library() {
    let (session, photo) = open();
    let place = folder();
    let refused = |result: decomcam::Result<()>, name: &str| {
        let error = result.unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, Error::Options(_)) && text.contains(&format!("--{name} has no effect")), "{text}");
    };
    let mut asked = CompareOptions::default();
    asked.options.names = vec!["a cat".into()];
    refused(compare::compare(&session, &photo, &prompt(&session), &asked).map(drop), "name-parts");
    let mut asked = evaluation(place.path(), Method::usual(), Vec::new());
    asked.options.names = vec!["a cat".into()];
    refused(eval::evaluate(&session, &asked).map(drop), "name-parts");
    let plain = Options::new();
    for (options, name) in [
        (plain.clone().channels(5), "channels"),
        (plain.clone().refine(true), "refine"),
        (plain.clone().sign(SignRule::LargestEntry), "sign"),
        (plain.clone().integrate(Integrate::Photo), "integrate"),
        (plain.rise_masks(9), "rise-masks"),
    ] {
        let mut asked = pooling(place.path());
        asked.options = options;
        refused(pool::pool(&session, &asked).map(drop), name);
    }
    assert!(!place.path().join("out").exists() && !place.path().join("pool").exists());
}

/// Records of one sign are not taken for those of another.
#[test]
fn records_know_every_option_that_changes_a_map() {
    let place = folder();
    let (session, _) = open();
    let mut asked = evaluation(place.path(), vec![Method::DecomCam(Recipe::Aligned)], vec![Metric::AverageDrop]);
    let records = || std::fs::read_to_string(place.path().join("out/records.jsonl")).unwrap().lines().count();
    let plain = Options::new();
    for (number, options) in [
        plain.clone(),
        plain.clone().sign(SignRule::LargestEntry),
        plain.clone().integrate(Integrate::Features),
        plain.clone().components(2),
        plain.clone().channels(50),
        plain.clone().affinity(true),
        plain.clone().refine(true),
        plain.clone().scales(2),
        plain.clone().layer("block10"),
    ]
    .into_iter()
    .enumerate()
    {
        asked.options = options.clone();
        eval::evaluate(&session, &asked).unwrap();
        assert_eq!(records(), number + 1, "{options:?}");
    }
    asked.options = plain;
    eval::evaluate(&session, &asked).unwrap();
    assert_eq!(records(), 9, "what was measured is not measured again");
}

// Progress.

#[test]
fn progress_counts_up_to_its_total() {
    let (session, photo) = open();
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let notes = Arc::clone(&seen);
    let session = session.watching(move |progress| {
        notes.lock().unwrap().push((progress.counted, progress.done, progress.total));
        ControlFlow::Continue(())
    });
    let prompt = session.prompt("a cat").unwrap();
    for (method, total) in [("exact", 12), ("rise", 20), ("gscore-cam", 128)] {
        let mut options = Options::new().unchecked().method(method.parse().unwrap());
        options.rise_masks = (method == "rise").then_some(20);
        session.explain(&photo, &prompt, &options).unwrap();
        let mut steps = std::mem::take(&mut *seen.lock().unwrap());
        steps.sort_unstable();
        assert_eq!(
            (steps.first(), steps.last()),
            (Some(&("forward passes", 0, total)), Some(&("forward passes", total, total))),
            "{method}"
        );
    }
}

/// A session whose caller asks to stop after so many steps.
fn stopping_after(steps: usize) -> (Session, Photo) {
    let (session, photo) = open();
    let seen = AtomicUsize::new(0);
    let session = session.watching(move |_| match seen.fetch_add(1, Ordering::Relaxed) {
        seen if seen < steps => ControlFlow::Continue(()),
        _ => ControlFlow::Break(()),
    });
    (session, photo)
}

#[track_caller]
fn cancelled<T>(result: decomcam::Result<T>) {
    assert!(matches!(result, Err(Error::Cancelled)), "{:?}", result.err());
}

#[test]
fn a_caller_that_asks_to_stop_is_heard_at_once_and_in_the_middle() {
    for steps in [0, 2] {
        let (session, photo) = stopping_after(steps);
        let prompt = session.prompt("a cat").unwrap();
        cancelled(session.explain(&photo, &prompt, &Options::new()));
    }
    for method in ["rise", "gscore-cam", "ablation-cam", "paper"] {
        let (session, photo) = stopping_after(2);
        let prompt = session.prompt("a cat").unwrap();
        cancelled(session.explain(&photo, &prompt, &Options::new().method(method.parse().unwrap())));
    }
    for steps in [0, 2] {
        let (session, photo) = stopping_after(steps);
        let prompt = session.prompt("a cat").unwrap();
        cancelled(compare::compare(&session, &photo, &prompt, &CompareOptions::default()));

        let place = folder();
        let methods = vec![Method::default(), "grad-cam".parse().unwrap(), "layer-cam".parse().unwrap()];
        cancelled(eval::evaluate(&session_of(steps), &evaluation(place.path(), methods, vec![Metric::AverageDrop])));
        assert_eq!(names(place.path().join("out")), ["records.jsonl"], "no table of half of the records");
    }
    let place = folder();
    cancelled(pool::pool(&session_of(0), &pooling(place.path())));
    assert!(names(place.path().join("pool")).is_empty());
}

fn session_of(steps: usize) -> Session {
    stopping_after(steps).0
}

// Errors: every variant, where the remedy lies.

fn prompt(session: &Session) -> Prompt {
    session.prompt("a cat").unwrap()
}

#[test]
fn errors_say_where_the_remedy_lies() {
    let (session, photo) = open();
    let place = TempDir::new().unwrap();
    let missing = place.path().join("missing");
    std::fs::write(place.path().join("file"), "words").unwrap();
    let below_a_file = place.path().join("file/below");
    let options = Options::new();
    let towers = || {
        let request = options.resolve(&session.model().manifest).unwrap();
        session.towers(&[request], "posterior", Purpose::Map).unwrap()
    };
    let evaluate = |selection: Selection, out: &Path| eval::evaluate(&session, &EvalOptions::new(selection, out));

    let photo_errors = [Photo::open(&missing).unwrap_err(), Photo::open(place.path().join("file")).unwrap_err()];
    assert!(photo_errors.iter().all(|error| matches!(error, Error::Photo(_))), "{photo_errors:?}");

    let model_errors = [
        Session::open("nothing").unwrap_err(),
        Session::open(missing.with_extension("onnx").to_str().unwrap()).unwrap_err(),
        Session::open(place.path().to_str().unwrap()).unwrap_err(),
    ];
    assert!(model_errors.iter().all(|error| matches!(error, Error::Model(_))), "{model_errors:?}");

    let prompt_errors = [session.prompt("qzxvw").unwrap_err(), session.prompt("").unwrap_err()];
    assert!(prompt_errors.iter().all(|error| matches!(error, Error::Prompt(_))), "{prompt_errors:?}");

    let explained = |options: &Options| session.explain(&photo, &prompt(&session), options).unwrap_err();
    let selection = |prompt: &str| Selection { prompt: Some(prompt.into()), ..Selection::new(place.path(), None) };
    let options_errors = [
        explained(&options.clone().components(0)),
        explained(&options.clone().channels(9999)),
        explained(&options.clone().scales(3)),
        explained(&options.clone().layer("nowhere")),
        explained(&options.clone().rise_masks(4)),
        session.prompt(Question { text: "a cat", versus: None, score: Some("beauty") }).unwrap_err(),
        Session::open_with("lite", &SessionOptions::new().size(Size::square(100))).unwrap_err(),
        Session::open_with("lite", &SessionOptions::new().fit(decomcam::photo::Fit::Pad).margin(3)).unwrap_err(),
        "magic".parse::<Method>().unwrap_err(),
        evaluate(selection("a cat"), place.path()).unwrap_err(),
    ];
    for error in &options_errors {
        assert!(matches!(error, Error::Options(_)), "{error:?}");
    }

    let explanation_error = towers().own.vectors(&[0.0; 3]).unwrap_err();
    assert!(matches!(explanation_error, Error::Explanation(_)), "{explanation_error:?}");

    let dataset_errors = [
        evaluate(Selection::new(&missing, None), place.path()).unwrap_err(),
        evaluate(Selection::new(place.path(), Some(missing.clone())), place.path()).unwrap_err(),
    ];
    assert!(dataset_errors.iter().all(|error| matches!(error, Error::Dataset(_))), "{dataset_errors:?}");

    let board_error = board::capsule::replay(&missing).unwrap_err();
    assert!(matches!(board_error, Error::Board(_)), "{board_error:?}");

    let output_errors = [
        files::prepare_directory(&below_a_file).unwrap_err(),
        evaluate(Selection::new(folder().path().join("photos"), None), &below_a_file).unwrap_err(),
    ];
    assert!(output_errors.iter().all(|error| matches!(error, Error::Output(_))), "{output_errors:?}");

    let (session, photo) = stopping_after(0);
    cancelled(session.explain(&photo, &prompt(&session), &options));

    // Each is one line that names what is wrong.
    let all = photo_errors.iter().chain(&model_errors).chain(&prompt_errors).chain(&options_errors);
    for error in all.chain(&dataset_errors).chain(&output_errors).chain([&explanation_error, &board_error]) {
        let text = error.to_string();
        assert!(text.len() > 20 && !text.contains('\n'), "{text}");
    }
    assert!(board_error.to_string().contains("missing") && output_errors[0].to_string().contains("below"));
}
