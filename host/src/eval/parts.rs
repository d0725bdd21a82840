//! How well parts pick out objects, over all photos that show two objects or more.

use super::run::Run;
use super::split::{self, Split, Worth};
use crate::dataset::Truth;
use crate::dataset::plan::Work;
use crate::methods::{Map, Method, Recipe};
use crate::photo::Photo;
use crate::progress::Steps;
use crate::stats::{Estimate, Sample};
use crate::{Result, workers};
use serde::Serialize;
use std::collections::BTreeMap;

/// How well one way of splitting picks out objects ([`Worth`]), over pairs.
#[derive(Debug, Serialize)]
pub(super) struct PartsSummary {
    pub(super) pairs: usize,
    pub(super) best_iou: Estimate,
    pub(super) overlap: Estimate,
    pub(super) energy: Estimate,
}

/// How well the parts of one pair pick out objects, split in one way.
struct PairWorth {
    photo: usize,
    way: Split,
    worth: Worth,
}

impl Run<'_> {
    /// Measures the parts of every pair that counts and whose photo shows at least two objects of the least size.
    pub(super) fn parts(&self) -> Result<BTreeMap<&'static str, PartsSummary>> {
        let steps = Steps::new(self.session.watch(), "photos split into parts", self.work.len())?;
        let worths = workers::each(self.work.len(), self.workers, |at| {
            let worths = self.parts_of(at, &self.work[at])?;
            steps.advance(1)?;
            Ok(worths)
        })?;
        let worths: Vec<PairWorth> = worths.into_iter().flatten().collect();
        let summary = |way: Split| Some((way.name(), summary(&worths, way, self.asked.options.seed)?));
        Ok(Split::ALL.into_iter().filter_map(summary).collect())
    }

    fn parts_of(&self, at: usize, work: &Work) -> Result<Vec<PairWorth>> {
        let counted = work.pairs.iter().filter(|(category, _)| self.counted(&work.photo, category));
        let categories: Vec<&String> = counted.map(|(category, _)| category).collect();
        if categories.is_empty() || work.objects.len() < 2 {
            return Ok(Vec::new());
        }
        let photo = Photo::open(&work.path)?;
        let objects = self.masks(work, &photo);
        if objects.len() < 2 {
            return Ok(Vec::new());
        }
        let recipe = self.asked.methods.iter().find_map(|method| method.recipe()).unwrap_or(Recipe::Aligned);
        let options = self.asked.options.of_method(Method::DecomCam(recipe));
        let request = options.resolve(&self.session.model().manifest)?;
        let mut worths = Vec::new();
        for category in categories {
            let look = self.look(self.session, &self.towers, &photo, category)?;
            for way in Split::ALL {
                let maps = split::split(&look, way, &request)?;
                let maps = maps.iter().map(|map: &Map| map.saliency(look.size())).collect::<Result<Vec<_>>>()?;
                worths.extend(split::worth(&maps, &objects).map(|worth| PairWorth { photo: at, way, worth }));
            }
        }
        Ok(worths)
    }

    /// The masks of all objects of the least size.
    fn masks(&self, work: &Work, photo: &Photo) -> Vec<Vec<bool>> {
        let view = self.session.view();
        let framing = view.framing(photo.size());
        let objects = work.objects.iter().filter(|object| object.check_on(photo.size()).is_ok());
        let truths = objects.map(|object| Truth::new(std::iter::once(object), framing, photo.size(), view.size()));
        let large = truths.filter(|truth| truth.share() >= self.asked.selection.least_mask && truth.share() > 0.0);
        large.map(|truth| truth.mask).collect()
    }
}

fn summary(worths: &[PairWorth], way: Split, seed: u64) -> Option<PartsSummary> {
    let of_way = || worths.iter().filter(|pair| pair.way == way);
    let estimate = |number: fn(&Worth) -> f64| {
        let mut sample = Sample::default();
        let mut last = None;
        for pair in of_way() {
            if last != Some(pair.photo) {
                sample.group();
                last = Some(pair.photo);
            }
            sample.push(&[number(&pair.worth)]);
        }
        sample.estimate(seed)
    };
    Some(PartsSummary {
        pairs: of_way().count(),
        best_iou: estimate(|worth| worth.best_iou)?,
        overlap: estimate(|worth| worth.overlap)?,
        energy: estimate(|worth| worth.energy)?,
    })
}
