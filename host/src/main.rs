//! The command `decomcam`: parse, run, report.

use anyhow::{Context, Result, bail, ensure};
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use decomcam::args::{
    BenchArgs, BudgetArgs, CaptureArgs, Cli, Command, CompareArgs, EvalArgs, ExplainArgs, InspectArgs, ModelArgs,
    ModelsArgs, RankArgs, RecipeArg, ReplayArgs, RequestArgs, SwitchArg,
};
use decomcam::board::budget::Budget;
use decomcam::board::capsule;
use decomcam::compare::{self, Single};
use decomcam::encoders::image::{ImageTower, contained};
use decomcam::encoders::text::TextTower;
use decomcam::eval;
use decomcam::explain::{self, Integrate, Request};
use decomcam::files::{Files, prepare_directory};
use decomcam::methods::{Choices, Method};
use decomcam::model::{self, Model, OnnxOptions, Preprocessing};
use decomcam::onnx::inspect;
use decomcam::photo::Photo;
use decomcam::report::{self, Explained};
use decomcam::score::{self, Prompt};
use decomcam::timings::{Timings, peak_memory_bytes};
use decomcam::workers;
use decomcam_core::Recipe;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

/// tract allocates and frees megabytes for every operator; this allocator gives them back, and peaks a fifth lower than the system's with two threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match &cli.command {
        Command::Explain(args) => explain_photo(args),
        Command::Rank(args) => rank(args),
        Command::Capture(args) => capture(args),
        Command::Replay(args) => replay(args),
        Command::Budget(args) => budget(args),
        Command::Models(args) => models(args),
        Command::Inspect(args) => inspect(args),
        Command::Bench(args) => bench(args),
        Command::Compare(args) => compare(args),
        Command::Eval(args) => evaluate(args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("decomcam: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether the reader of our output went away, as `head` does: not a failure.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

fn print_json(value: &impl serde::Serialize) -> Result<()> {
    print(&(serde_json::to_string_pretty(value)? + "\n"))
}

fn threads(asked: Option<u16>) -> usize {
    asked.map_or_else(|| std::thread::available_parallelism().map_or(1, usize::from), usize::from)
}

fn input_side(args: &ModelArgs, model: &Model) -> Result<(usize, usize)> {
    let side = args.size.unwrap_or(model.manifest.image.size);
    model.manifest.check_side((side, side)).context("--size")?;
    Ok((side, side))
}

fn request(args: &RequestArgs, tower: &ImageTower) -> Request {
    let recipe = args.recipe.map_or(Recipe::Exact, |recipe| recipe.0);
    Request {
        recipe,
        affinity: args.tuning.affinity.map_or(recipe == Recipe::Exact, |switch| switch.0),
        channels: args.tuning.channels,
        components: args.tuning.components,
        sign: args.sign.map(|sign| sign.0),
        fit: args.model.fit.map(|fit| fit.0),
        integrate: if tower.has_head() { Integrate::Features } else { Integrate::Photo },
        threads: threads(args.tuning.threads),
    }
}

/// Everything that is loaded once and serves every photo.
struct Loaded {
    model: Model,
    tower: ImageTower,
    prompt: Prompt,
    layer: String,
    timings: Timings,
}

fn open_model(args: &ModelArgs, layer: Option<&str>) -> Result<Model> {
    let model = open_fast(args, layer)?;
    Ok(if args.faithful { model.faithful() } else { model })
}

fn open_fast(args: &ModelArgs, layer: Option<&str>) -> Result<Model> {
    let path = Path::new(&args.model);
    if !path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("onnx")) {
        return Model::open(&args.model);
    }
    let onnx = &args.onnx;
    let levels = |name: &str, given: &Option<Vec<f32>>, preset: [f32; 3]| match given.as_deref() {
        None => Ok(preset),
        Some(&[grey]) => Ok([255.0 * grey; 3]),
        Some(&[red, green, blue]) => Ok([red, green, blue].map(|level| 255.0 * level)),
        Some(other) => bail!("{name}: expected one number, or three for red, green and blue; found {}", other.len()),
    };
    let preset = onnx.preset.0;
    let preprocessing = Preprocessing {
        mean: levels("--mean", &onnx.mean, preset.mean)?,
        std: levels("--std", &onnx.std, preset.std)?,
        ..preset
    };
    let options = OnnxOptions {
        labels: onnx.labels.clone(),
        size: args.size,
        layer: layer.map(str::to_owned),
        output: onnx.output.clone(),
        preprocessing,
    };
    Model::from_onnx(path, &options)
}

fn load(args: &RequestArgs, photo: &Photo) -> Result<Loaded> {
    let mut timings = Timings::default();
    let model = timings.measure("read model", || open_model(&args.model, args.tuning.layer.as_deref()))?;
    let side = input_side(&args.model, &model)?;
    let layer = args.tuning.layer.as_ref().unwrap_or(&model.manifest.image.default_layer).clone();
    let score = args.tuning.score.as_ref().unwrap_or(&model.manifest.explain.explained);
    let prompt = |text: &str| {
        let tower = TextTower::load(&model)?;
        Prompt::new(&model, &tower, text, args.versus.as_deref(), Some(score))
    };
    // A wrong prompt is told before the slow part.
    let given =
        args.text.as_deref().map(|text| timings.measure("load and run text tower", || prompt(text))).transpose()?;
    if given.is_none() && model.manifest.classes.is_none() {
        Cli::command().error(ErrorKind::MissingRequiredArgument, "--text is required: what the score is of").exit();
    }
    let tower = timings.measure("load image tower", || {
        let exact = args.recipe.is_none_or(|recipe| recipe.0 == Recipe::Exact);
        let scales = args.tuning.scales.map_or(if exact { model.manifest.explain.scales } else { 1 }, usize::from);
        let own = || {
            let tower = ImageTower::load_to_explain(&model, &layer, side, score)?;
            match args.integrate.map(|integrate| integrate.0) {
                Some(Integrate::Features) => tower.with_head(&model),
                None if exact => Ok(tower.with_head_if_possible(&model)),
                _ => Ok(tower),
            }
        };
        if scales == 1 {
            return own();
        }
        // Each size is a graph of its own.
        let (tower, finer) = workers::both(2, own, || ImageTower::load_finer(&model, &layer, side, score, scales))?;
        Ok(tower.with_finer(finer))
    })?;
    let prompt = match given {
        Some(given) => given,
        None => timings.measure("predict the class", || {
            let image = &model.manifest.image;
            let planes = explain::network_input(&model, photo, args.model.fit.map(|fit| fit.0), side, 1).1;
            let vectors = tower.vectors(&planes.normalised(image.mean, image.std))?;
            prompt(&score::predicted_class(&vectors, tower.score())?.to_string())
        })?,
    };
    Ok(Loaded { model, tower, prompt, layer, timings })
}

fn explain_photo(args: &ExplainArgs) -> Result<()> {
    let json_only = args.out == Path::new("-");
    if !json_only {
        prepare_directory(&args.out)?;
    }
    let mut timings = Timings::default();
    let photo = timings.measure("read photo", || Photo::open(&args.photo))?;
    let (recipe, alone) = match args.method {
        Some(Method::DecomCam(recipe)) => (Some(RecipeArg(recipe)), None),
        // One look at the photo is enough for the others.
        Some(method) => (Some(RecipeArg(Recipe::Aligned)), Some(method)),
        None => (args.request.recipe, None),
    };
    let asked = RequestArgs { recipe, ..args.request.clone() };
    let loaded = load(&asked, &photo)?;
    timings.append(&loaded.timings);

    let request = request(&asked, &loaded.tower);
    if let Some(method) = alone {
        return explain_alone(args, method, loaded, &photo, &request);
    }
    let bar = indicatif::ProgressBar::new(0).with_style(
        indicatif::ProgressStyle::with_template("{bar:30} {pos} of {len} forward passes")
            .context("the progress bar's template")?,
    );
    let explanation =
        explain::explain(&loaded.model, &loaded.tower, &loaded.prompt, &photo, &request, &|done, total| {
            bar.set_length(total as u64);
            bar.set_position(done as u64);
        });
    bar.finish_and_clear();
    let mut explanation = explanation?;
    timings.append(&explanation.timings);
    if !args.name_parts.is_empty() {
        ensure!(
            loaded.tower.has_head(),
            "--name-parts runs the network from the layer on; expected --integrate features and a layer that nothing bypasses"
        );
        let text = TextTower::load(&loaded.model)?;
        let score = Some(loaded.prompt.explained().name.as_str());
        let prompt = |name: &String| Prompt::new(&loaded.model, &text, name, None, score);
        let names = args.name_parts.iter().map(prompt).collect::<Result<Vec<_>>>()?;
        explain::name_parts(&loaded.tower, &mut explanation, &names)?;
    }

    let mut explained = Explained {
        model: &loaded.model,
        layer: &loaded.layer,
        photo: &photo,
        prompt: &loaded.prompt,
        request: &request,
        explanation: &explanation,
        timings: &timings,
    };
    if json_only {
        return print_json(&explained.report());
    }
    let start = std::time::Instant::now();
    let files = explained.write(&args.out)?;
    let mut with_files = timings.clone();
    with_files.add("draw and write", start.elapsed());
    explained.timings = &with_files;

    let mut text = explained.summary() + "\n";
    for file in files {
        text += &format!("wrote {}\n", file.display());
    }
    if args.timings {
        text += "\n";
        text += &report::timing_table(&with_files);
    }
    print(&text)
}

/// `explain` by a method that has no parts.
fn explain_alone(args: &ExplainArgs, method: Method, loaded: Loaded, photo: &Photo, request: &Request) -> Result<()> {
    let Loaded { model, mut tower, prompt, .. } = loaded;
    if method.needs_head() {
        tower = tower.with_head(&model)?;
    }
    let choices = Choices { threads: request.threads, ..Choices::default() };
    let single = Single::new(method, &choices, &model, &tower, &prompt, photo, request.fit)?;
    if args.out == Path::new("-") {
        return print_json(&single);
    }
    let mut text = single.summary();
    for file in single.write(photo, &args.out)? {
        text += &format!("wrote {}\n", file.display());
    }
    print(&text)
}

fn capture(args: &CaptureArgs) -> Result<()> {
    let (directory, name) = (args.out.parent().unwrap_or(Path::new("")), args.out.file_name());
    let name =
        name.and_then(|name| name.to_str()).context("--out: expected the name of a file, such as cat.capsule")?;
    let directory = if directory == Path::new("") { Path::new(".") } else { directory };
    prepare_directory(directory)?;
    let photo = Photo::open(&args.photo)?;
    let asked =
        RequestArgs { recipe: Some(args.request.recipe.unwrap_or(RecipeArg(Recipe::Aligned))), ..args.request.clone() };
    ensure!(
        asked.recipe != Some(RecipeArg(Recipe::Exact))
            && asked.tuning.affinity != Some(SwitchArg(true))
            && asked.tuning.scales.is_none_or(|scales| scales == 1),
        "a capsule holds one pass of the network and a recipe of the core's; expected no --affinity on, --scales 2 or --recipe exact: leave them out"
    );
    let loaded = load(&asked, &photo)?;
    let request = request(&asked, &loaded.tower);
    let explanation = explain::explain(&loaded.model, &loaded.tower, &loaded.prompt, &photo, &request, &|_, _| ())?;
    let bytes = capsule::record(&explanation, &request, args.floats)?;
    let mut files = Files::new(directory);
    files.add(name, |out| out.write_all(&bytes))?;
    files.publish()?;
    print(&format!("wrote {} ({} bytes)\n", args.out.display(), bytes.len()))
}

fn replay(args: &ReplayArgs) -> Result<()> {
    let stages = capsule::replay(&args.capsule)?;
    print(&capsule::table(&stages))?;
    let differing = stages.iter().filter(|(_, difference)| difference.is_some()).count();
    ensure!(
        differing == 0,
        "capsule `{}`: {differing} of {} stages differ from the recording; was it made by another version of the core?",
        args.capsule.display(),
        stages.len()
    );
    Ok(())
}

fn rank(args: &RankArgs) -> Result<()> {
    let photo = Photo::open(&args.photo)?;
    let model = open_model(&args.model, None)?;
    let side = input_side(&args.model, &model)?;
    let text = TextTower::load(&model)?;
    let prompts: Vec<Prompt> =
        args.text.iter().map(|typed| Prompt::new(&model, &text, typed, None, None)).collect::<Result<_>>()?;
    let layer = &model.manifest.image.default_layer;
    let tower = ImageTower::load(&model, layer, side)?;
    let fit = args.model.fit.map(|fit| fit.0);
    let planes = explain::network_input(&model, &photo, fit, side, 1).1;
    let image = &model.manifest.image;
    let vectors = tower.vectors(&planes.normalised(image.mean, image.std))?;
    let ranked = score::rank(&prompts, &vectors)?;
    if args.json {
        return print_json(&ranked);
    }
    print(&score::table(&ranked))
}

fn models(args: &ModelsArgs) -> Result<()> {
    let models: Vec<Model> = match &args.directory {
        Some(directory) => vec![Model::from_dir(directory)?],
        None => model::bundled_names().into_iter().map(Model::bundled).collect::<Result<_>>()?,
    };
    let texts: Vec<String> = models.iter().map(Model::describe).collect();
    print(&texts.join("\n"))
}

fn inspect(args: &InspectArgs) -> Result<()> {
    let bytes =
        std::fs::read(&args.file).with_context(|| format!("{}: could not read the file", args.file.display()))?;
    let side = args.size.map(|size| (usize::from(size), usize::from(size)));
    let found = contained(|| inspect::inspect(&bytes, args.file.parent(), side))
        .with_context(|| args.file.display().to_string())?;
    if args.json { print_json(&found) } else { print(&found.table()) }
}

fn bench(args: &BenchArgs) -> Result<()> {
    let start = std::time::Instant::now();
    let photo = Photo::open(&args.photo)?;
    let loaded = load(&args.request, &photo)?;
    let request = request(&args.request, &loaded.tower);
    let explain = || explain::explain(&loaded.model, &loaded.tower, &loaded.prompt, &photo, &request, &|_, _| ());
    explain()?;
    let first = start.elapsed();
    let mut runs = Vec::new();
    for _ in 0..args.repeat {
        let start = std::time::Instant::now();
        let timings = explain()?.timings;
        runs.push((start.elapsed(), timings));
    }
    let bench = report::Bench::new(&loaded.timings, first, &runs, request.threads, peak_memory_bytes());
    if args.json {
        return print_json(&bench);
    }
    print(&bench.table())
}

fn compare(args: &CompareArgs) -> Result<()> {
    let with = &args.methods;
    let (mut text, files) =
        compare::run(args, &open_model(&with.model, with.tuning.layer.as_deref())?, threads(with.tuning.threads))?;
    text.push('\n');
    for file in files {
        text += &format!("wrote {}\n", file.display());
    }
    print(&text)
}

fn evaluate(args: &EvalArgs) -> Result<()> {
    const NAMED: usize = 20;
    let with = &args.methods;
    let model = open_model(&with.model, with.tuning.layer.as_deref())?;
    let eval::Outcome { mut text, skipped, skipped_in, files } = eval::run(args, model, threads(with.tuning.threads))?;
    text.push('\n');
    for file in files {
        text += &format!("wrote {}\n", file.display());
    }
    print(&text)?;
    for line in skipped.iter().take(NAMED) {
        eprintln!("skipped: {line}");
    }
    if skipped.len() > NAMED {
        eprintln!("skipped: {} more, named in {skipped_in}", skipped.len() - NAMED);
    }
    ensure!(skipped.is_empty(), "{} skipped, as named above; the results are of the others", skipped.len());
    Ok(())
}

fn budget(args: &BudgetArgs) -> Result<()> {
    let [positions, channels, top, components] =
        [args.positions, args.channels, args.top, args.components].map(|number| number as usize);
    print(&Budget::new(positions, channels, top, components)?.table())
}
