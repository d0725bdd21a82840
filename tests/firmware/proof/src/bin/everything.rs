//! All that is public in the core, with every choice left open.
#![no_std]
#![no_main]

use core::hint::black_box;
use decomcam_core::cams::{self, Cam};
use decomcam_core::capsule::{self, Buffers, Capsule, Elements, Recording, Settings};
use decomcam_core::draw::{self, Overlay};
use decomcam_core::frame::{self, Frame, Record};
use decomcam_core::head::{self, LinearHead, Question};
use decomcam_core::mask::{self, Mask, Range};
use decomcam_core::resample::{self, Bicubic, Tap};
use decomcam_core::{
    Error, Layout, Maps, Parts, Quantisation, ScoreFormula, SignRule, Weighing, affinity, channels, decompose,
    integrate, sums, svd,
};
use firmware_proof::{any, buffer, number};

#[unsafe(no_mangle)]
extern "C" fn _start() -> ! {
    loop {
        let _ = black_box(explain());
        let _ = black_box(linear_head());
        let _ = black_box(decompositions());
        let _ = black_box(capsules());
        let _ = black_box(others());
        let _ = black_box(drawing());
        let _ = black_box(frames());
        kernels();
        #[cfg(feature = "panicking")]
        black_box(buffer::<usize>()[any()]);
    }
}

#[inline(never)]
fn explain() -> Result<(), Error> {
    let gradients = maps()?;
    channels::weights(&gradients, buffer())?;
    let top = channels::top::<100>(buffer(), any())?;
    channels::top_into(buffer(), buffer())?;
    let parts = decompose::decompose(&maps()?, buffer(), &top, any(), sign(), buffer())?;
    look_at(&parts);
    black_box(parts.alignment(any()));
    let formula = formula();
    black_box(formula.subtracts_blurred());
    integrate::score_weights(formula, buffer(), number(), buffer())?;
    integrate::aligned_weights(&parts, buffer())?;
    integrate::exact_weights(&parts, buffer())?;
    integrate::predicted(&parts, buffer())?;
    integrate::exact_sum(number(), parts.maps(), buffer(), buffer())?;
    let ossms = parts.rectify();
    look_at(&ossms);
    integrate::sum(ossms.maps(), buffer(), buffer())?;

    let bicubic = Bicubic::new(any(), any(), any(), buffer::<Tap>())?;
    black_box((bicubic.out_height(), bicubic.out_width(), bicubic.positions()));
    bicubic.row(buffer(), any(), buffer(), buffer())?;
    let mask = Mask::new(&bicubic, buffer(), buffer(), buffer())?;
    mask.row(any(), buffer(), buffer())?;
    let score = |mask: Option<&Mask>, scratch: &mut [f32], row: &mut [f32]| {
        if let Some(mask) = mask {
            mask.row(any(), scratch, row)?;
        }
        Ok::<_, Error>(number())
    };
    mask::scores(buffer(), &bicubic, buffer(), buffer(), buffer(), score)?;
    let mut range = Range::EMPTY;
    range.include(buffer());
    range.scale(buffer());
    mask::blend(buffer(), buffer(), buffer(), buffer());
    Ok(())
}

#[inline(never)]
fn others() -> Result<(), Error> {
    let cam = match any() {
        0 => Cam::GradCam,
        1 => Cam::GradCamPlusPlus,
        2 => Cam::XGradCam,
        3 => Cam::HiResCam,
        _ => Cam::LayerCam,
    };
    cams::cam(cam, &maps()?, &maps()?, buffer(), buffer())?;
    cams::eigen_cam(&maps()?, buffer(), buffer())?;
    cams::eigen_grad_cam(&maps()?, &maps()?, buffer(), buffer())?;
    affinity::affinity(&maps()?, buffer(), buffer())?;
    affinity::share(buffer(), buffer(), buffer())
}

#[inline(never)]
fn drawing() -> Result<(), Error> {
    black_box((draw::workspace_len(any(), any()), draw::tint([any() as u8; 3], number())));
    black_box(draw::tint_rgb565(any() as u16, number()));
    let bicubic = Bicubic::new(any(), any(), any(), buffer::<Tap>())?;
    let overlay = Overlay::new(&bicubic, buffer(), buffer())?;
    black_box(overlay.row(any(), buffer())?);
    overlay.rgb888(any(), buffer(), buffer())?;
    overlay.rgb565(any(), buffer(), buffer())
}

#[inline(never)]
fn frames() -> Result<(), Error> {
    black_box((frame::len(any(), any(), any()), frame::frame_len(buffer())));
    let frame = Frame::parse(buffer())?;
    black_box((frame.height(), frame.width(), frame.class(), frame.versus(), frame.score()));
    for part in frame.parts() {
        black_box((part.singular_value, part.predicted, part.measured, part.weight, part.map.largest()));
        part.map.values().for_each(|value| {
            black_box(value);
        });
    }
    frame.saliency().values().for_each(|value| {
        black_box(value);
    });
    let record = Record {
        height: any(),
        width: any(),
        class: any() as u32,
        versus: (any() > 0).then(|| any() as u32),
        score: number(),
        saliency: buffer(),
        ossms: buffer(),
        singular_values: buffer(),
        predicted: buffer(),
        measured: buffer(),
        weights: buffer(),
    };
    record.write(|bytes| {
        black_box(bytes);
        if any() > 0 { Ok(()) } else { Err(Error::Shape) }
    })
}

fn formula() -> ScoreFormula {
    match any() {
        0 => ScoreFormula::Paper,
        1 => ScoreFormula::Notebook,
        2 => ScoreFormula::V1,
        _ => ScoreFormula::V25,
    }
}

fn weighing() -> Weighing {
    match any() {
        0 => Weighing::Exact,
        1 => Weighing::Aligned,
        _ => Weighing::Scores(formula()),
    }
}

fn sign() -> SignRule {
    match any() {
        0 => SignRule::Score,
        1 => SignRule::LargestLoading,
        _ => SignRule::LargestEntry,
    }
}

fn look_at<Kind>(parts: &Parts<Kind>) {
    black_box((parts.maps(), parts.singular_values(), parts.centred_first_order()));
    black_box((parts.positions(), parts.count(), parts.convergence(), parts.norm()));
    for map in parts {
        black_box(map);
    }
}

#[inline(never)]
fn linear_head() -> Result<(), Error> {
    let bias = (any() > 0).then(|| &*buffer());
    let head = LinearHead::new(maps()?, bias)?;
    black_box((head.classes(), head.channels()));
    head.logits(buffer(), buffer())?;
    let versus = (any() > 0).then(any);
    head.channel_weights(any(), versus, any(), buffer())?;
    head::pool(&maps()?, buffer())?;
    head::uncentred_first_order(&maps()?, buffer(), buffer(), buffer())?;
    head::centred_first_order(&maps()?, buffer(), buffer(), buffer())?;
    black_box(head::first_order_mean(&maps()?, buffer())?);
    head::contributions(buffer(), buffer(), buffer(), buffer())?;
    let question = Question { class: any(), versus, components: any(), sign: sign() };
    look_at(&head::explain(&head, &maps()?, &question, buffer(), buffer())?.ossms);
    black_box(head::workspace_len(any(), any(), any(), any()));
    Ok(())
}

/// The singular value decomposition on its own.
#[inline(never)]
fn decompositions() -> Result<(), Error> {
    let follow = (any() > 0).then(|| (buffer(), any()));
    black_box(svd::orthogonalise(buffer(), any(), buffer(), follow)?);
    if let Some(matrix) = buffer::<[[f32; 8]; 12]>().first() {
        black_box(&svd::svd(matrix)?);
    }
    if let Some(matrix) = buffer::<[[f32; 12]; 8]>().first() {
        black_box(&svd::svd(matrix)?);
    }
    Ok(())
}

#[inline(never)]
fn capsules() -> Result<(), Error> {
    let buffers = || Buffers { workspace: buffer(), taps: buffer() };
    let capsule = Capsule::parse(buffer())?;
    black_box((capsule.activations(), capsule.settings(), capsule.workspace_len()));
    capsule.replay::<100>(buffers(), |stage, difference| {
        black_box((stage.name(), difference));
    })?;
    let settings = Settings {
        channels: any(),
        components: any(),
        weighing: weighing(),
        sign: sign(),
        out_height: any(),
        out_width: any(),
    };
    black_box(capsule::workspace_len(any(), any(), &settings));
    let elements = if any() > 0 {
        Elements::Floats(buffer())
    } else {
        Elements::Bytes { bytes: buffer(), scale: number(), zero_point: any() as u8 }
    };
    let recording = Recording {
        shape: [any(), any(), any()],
        channels_last: any() > 0,
        elements,
        weights: buffer(),
        scores: buffer(),
        settings,
    };
    recording.write::<100>(buffers(), |bytes| {
        black_box(bytes);
    })
}

#[inline(never)]
fn kernels() {
    black_box((
        decompose::workspace_len(any(), any()),
        decompose::components_max(any(), any()),
        resample::scratch_len(any()),
        cams::scratch_len(any()),
        affinity::scratch_len(any()),
    ));
    black_box(decomcam_core::environment_ok());
    black_box((sums::sum(buffer()), sums::dot(buffer(), buffer()), sums::mean(buffer())));
}

#[inline(never)]
fn maps() -> Result<Maps<'static>, Error> {
    let layout = match any() {
        0 => Layout::chw(any(), any(), any()),
        1 => Layout::hwc(any(), any(), any()),
        _ => Layout::strided([any(), any(), any()], [any(), any(), any()]),
    };
    let quantisation = if any() > 0 {
        Quantisation::PerTensor { scale: number(), zero_point: any() as i16 }
    } else {
        Quantisation::PerChannel { scales: buffer(), zero_points: buffer() }
    };
    let maps = match any() {
        0 => Maps::chw(buffer(), any(), any(), any()),
        1 => Maps::hwc(buffer(), any(), any(), any()),
        2 => Maps::f32(buffer(), layout),
        3 => Maps::f32_words(buffer(), layout),
        4 => Maps::i8(buffer(), layout, quantisation),
        _ => Maps::u8(buffer(), layout, quantisation),
    }?;
    maps.read(any(), buffer())?;
    black_box((maps.channels(), maps.height(), maps.width(), maps.size(), maps.positions(), maps.mean(any())?));
    black_box(maps.value(any(), any(), any()));
    Ok(maps)
}
