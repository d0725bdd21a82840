//! The parameter randomisation check: do maps change when the network's weights are shuffled?

use super::records::{MetricValue, Record, Values};
use super::run::Run;
use crate::dataset::plan::Work;
use crate::explain::{self, Look, Request};
use crate::onnx::shuffle::Shuffle;
use crate::photo::Photo;
use crate::progress::Steps;
use crate::{Result, stats, workers};

impl Run<'_> {
    /// Spearman's correlation of each map with that of the network whose last 1, 2, 4 ... weight tensors are shuffled, in the order of those numbers; on
    /// the first pairs that count, as many as were asked for. In the records their names are `randomised_N`.
    ///
    /// # Reference
    /// Adebayo et al., NeurIPS 2018, section 4.1 (cascading; they draw new weights, here they change places).
    pub(super) fn randomise(&self) -> Result<Vec<usize>> {
        let pairs =
            self.work.iter().flat_map(|work| work.pairs.iter().map(move |(category, _)| (work, category.as_str())));
        let counted = pairs.filter(|(work, category)| self.counted(&work.photo, category));
        let pairs: Vec<(&Work, &str)> = counted.take(self.asked.randomise).collect();
        let stages = stages(self.towers.own.tower()?.weight_tensors(self.session.model())?);
        let steps = Steps::new(self.session.watch(), "maps of shuffled networks", stages.len() * pairs.len())?;
        for &tensors in &stages {
            self.randomise_stage(tensors, &pairs, &steps)?;
        }
        Ok(stages)
    }

    /// One number of shuffled tensors.
    fn randomise_stage(&self, tensors: usize, pairs: &[(&Work, &str)], steps: &Steps<'_>) -> Result<()> {
        let name = format!("randomised_{tensors}");
        let unknown = |work: &Work, category: &str| -> Vec<&Request> {
            let known = |request: &&Request| {
                let known = self.records.get(&work.photo, category, request.method);
                !known.is_some_and(|known| known.values.contains_key(&name))
            };
            self.requests.iter().filter(known).collect()
        };
        let missing: Vec<&(&Work, &str)> =
            pairs.iter().filter(|(work, category)| !unknown(work, category).is_empty()).collect();
        steps.advance(pairs.len() - missing.len())?;
        if missing.is_empty() {
            return Ok(());
        }
        let shuffled = self.session.shuffled(Shuffle { tensors, seed: self.asked.options.seed });
        let towers = self.shuffled_towers(&shuffled)?;
        workers::each(missing.len(), self.workers, |at| {
            let &(work, category) = missing[at];
            let photo = Photo::open(&work.path)?;
            let ours = self.look(self.session, &self.towers, &photo, category)?;
            let theirs = self.look(&shuffled, &towers, &photo, category)?;
            for request in unknown(work, category) {
                let map = |look: &Look<'_>| explain::map(look, request)?.saliency(look.size());
                let correlation = stats::spearman(&map(&ours)?, &map(&theirs)?);
                self.records.append(&Record {
                    settings: self.records.settings.clone(),
                    photo: work.photo.clone(),
                    photo_sha256: photo.sha256.clone(),
                    category: category.to_owned(),
                    knows: None,
                    method: request.method.name().to_owned(),
                    mask: self.records.get(&work.photo, category, request.method).and_then(|known| known.mask),
                    metrics: Values::from([(name.clone(), MetricValue::Number(correlation))]),
                })?;
            }
            steps.advance(1)
        })?;
        Ok(())
    }
}

/// 1, 2, 4 ... and all.
fn stages(all: usize) -> Vec<usize> {
    let doubled = std::iter::successors(Some(1), |n| Some(2 * n)).take_while(|n| *n < all);
    doubled.chain([all]).collect()
}
