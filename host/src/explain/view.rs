//! How a photo is prepared for the network. One rule serves every command.

use crate::error::Sorted as _;
use crate::model::Manifest;
use crate::photo::{Filter, Fit, Framing, Photo, Planes};
use crate::{Error, Result, Size};
use anyhow::ensure;

/// Which part of a photo the network sees, and at which size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct View {
    size: Size,
    fit: Fit,
    margin: usize,
    mean: [f32; 3],
    std: [f32; 3],
    padding: [u8; 3],
    filter: Filter,
}

impl View {
    /// The size of the input, the fit, and with [`Fit::Crop`] and [`Fit::Stretch`] how many pixels of the input are cut off the shorter side as well, both ends together. What is
    /// not given is the model's own choice.
    ///
    /// # Errors
    /// A size that the model cannot take, and a margin where nothing is cropped.
    pub fn new(manifest: &Manifest, size: Option<Size>, fit: Option<Fit>, margin: Option<usize>) -> Result<Self> {
        let image = &manifest.image;
        let size = size.unwrap_or(image.size);
        manifest.check_size(size)?;
        // At every size the same share of the photo is cut off.
        let shorter = |size: Size| size.height.min(size.width);
        let own_margin = (image.margin * shorter(size)).div_ceil(shorter(image.size));
        let fit = fit.unwrap_or(image.fit);
        let own_margin = if fit == Fit::Crop || fit == image.fit { own_margin } else { 0 };
        margin_is_cropped(fit, margin).kind(Error::Options)?;
        Ok(Self {
            size,
            fit,
            margin: margin.unwrap_or(own_margin),
            mean: image.mean,
            std: image.std,
            padding: image.padding(),
            filter: image.filter,
        })
    }

    /// Height and width of the network's input.
    pub fn size(&self) -> Size {
        self.size
    }

    /// How photos of another shape are made to fit.
    pub fn fit(&self) -> Fit {
        self.fit
    }

    /// How many pixels of the input are cut off the shorter side, both ends together.
    pub fn margin(&self) -> usize {
        self.margin
    }

    /// The part of a photo that the network sees; it is the same at every size of the input.
    pub fn framing(&self, photo: Size) -> Framing {
        Framing::new(self.fit, photo, self.size, self.margin)
    }

    /// What a reader should know of a photo before it is asked anything.
    pub fn warnings(&self, photo: &Photo) -> Vec<String> {
        let pages = (photo.pages > 1).then(|| {
            let pages = photo.pages;
            format!(
                "the file holds {pages} pages, of which the first is looked at; save the others as files of their own"
            )
        });
        pages.into_iter().chain(self.shows_nothing(photo)).collect()
    }

    /// Why an answer about this photo means nothing, if so.
    pub fn shows_nothing(&self, photo: &Photo) -> Option<String> {
        let (size, framing) = (photo.size(), self.framing(photo.size()));
        let covered = |photo: usize, framing: usize, input: usize| photo.min(framing) * input < framing;
        let thin = covered(size.height, framing.size.height, self.size.height)
            || covered(size.width, framing.size.width, self.size.width);
        if thin {
            return Some(format!(
                "the photo ({size}) is so long that --fit {} leaves less than one pixel of its shorter side for the model to look at, so no answer about it means \
                 anything; take --fit crop or stretch",
                self.fit
            ));
        }
        let message = "the photo is all of one colour where the model looks, so no answer about it means anything";
        photo.is_plain(framing.seen(size)).then(|| message.to_owned())
    }

    /// A part of the photo at a size of the network's input, samples in 0..=1.
    pub fn planes(&self, photo: &Photo, framing: Framing, size: Size, threads: usize) -> Planes {
        photo.network_input(framing, size, self.filter, self.padding, threads)
    }

    /// The network's input: (x - mean) / std of every sample, with x in 8-bit levels.
    pub fn normalised(&self, planes: &Planes) -> Vec<f32> {
        planes.normalised(self.mean, self.std)
    }

    /// [`View::normalised`] in place.
    pub fn into_normalised(&self, planes: Planes) -> Vec<f32> {
        planes.into_normalised(self.mean, self.std)
    }
}

fn margin_is_cropped(fit: Fit, margin: Option<usize>) -> anyhow::Result<()> {
    ensure!(
        margin.is_none() || fit != Fit::Pad,
        "--margin has no effect with --fit {fit}: it is what crop and stretch cut off; leave it out"
    );
    Ok(())
}
