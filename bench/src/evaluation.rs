//! How well a cell separates normal from anomalous: every metric once exactly, and counted so that it can be resampled.

use mimus_core::metrics::{BinnedImage, Metric, PixelBins, PixelMetrics, PixelScores, Ranking};
use mimus_core::plugin::{Group, SampleInfo};
use mimus_core::{Context, Result};
use rayon::prelude::*;

use crate::cell::Scores;
use crate::images::resize_map;
use crate::samples::{Samples, videos};
use crate::statistics::{Differences, Stratum};

/// Quantiles of normal, and of anomalous, pixel scores that bound the bins of the bootstrap.
const QUANTILES: usize = 256;

/// Maps that are enlarged at the same time.
const CHUNK: usize = 8;

/// The metrics of a cell.
pub(crate) struct Evaluation {
    labels: Vec<bool>,
    scores: Vec<f32>,
    pub(crate) image: Ranking,
    /// Why there are none, if there are none.
    pub(crate) pixel: Result<PixelMetrics, String>,
    binned: Option<(PixelBins, Vec<BinnedImage>)>,
    limit: f64,
    strata: Vec<Stratum>,
}

/// A metric and where it is found.
pub(crate) struct Column {
    pub(crate) name: &'static str,
    image: fn(&Ranking) -> Option<&Metric>,
    pixel: fn(&PixelMetrics) -> Option<&Metric>,
}

/// All metrics that are compared.
pub(crate) const COLUMNS: [Column; 7] = [
    Column { name: "image AUROC", image: |r| Some(&r.auroc), pixel: |_| None },
    Column { name: "image AP", image: |r| Some(&r.ap), pixel: |_| None },
    Column { name: "image F1max", image: |r| Some(&r.f1max), pixel: |_| None },
    Column { name: "pixel AUROC", image: |_| None, pixel: |p| Some(&p.ranking.auroc) },
    Column { name: "pixel AP", image: |_| None, pixel: |p| Some(&p.ranking.ap) },
    Column { name: "pixel F1max", image: |_| None, pixel: |p| Some(&p.ranking.f1max) },
    Column { name: "AUPRO", image: |_| None, pixel: |p| Some(&p.aupro) },
];

impl Evaluation {
    /// Judges scores and maps; maps are resized to the frames' own sizes, where the masks are.
    pub(crate) fn new(scores: &Scores, samples: &Samples, group: &Group, limit: f64) -> Result<Self> {
        let infos: Vec<&SampleInfo> = (0..samples.len()).map(|i| &group.test[samples.position(i)]).collect();
        let labels: Vec<bool> = infos.iter().map(|info| info.anomalous).collect();
        let image = Ranking::of("image", &scores.scores, &labels)?;
        let (pixel, binned) = match &scores.maps {
            None => (Err("the model has no score map".to_owned()), None),
            Some(_) if !group.has_masks => (Err("not every anomalous image has a mask".to_owned()), None),
            Some(maps) => {
                let (metrics, binned) = pixels(maps.as_f32()?, &maps.shape()[1..], samples, limit)?;
                (Ok(metrics), Some(binned))
            }
        };
        Ok(Self { labels, scores: scores.scores.clone(), image, pixel, binned, limit, strata: strata(&infos)? })
    }

    /// The exact value of a metric.
    pub(crate) fn metric(&self, column: &Column) -> Metric {
        if let Some(metric) = (column.image)(&self.image) {
            return metric.clone();
        }
        match &self.pixel {
            Ok(pixel) => (column.pixel)(pixel).cloned().unwrap_or_else(|| Metric::Undefined("not computed".to_owned())),
            Err(reason) => Metric::Undefined(reason.clone()),
        }
    }

    /// What a bootstrap draws: images, normal and anomalous apart; of videos whole ones.
    pub(crate) fn strata(&self) -> &[Stratum] {
        &self.strata
    }

    /// Every metric of [`COLUMNS`] on the images at the positions `drawn`.
    pub(crate) fn resampled(&self, drawn: &[usize]) -> Result<Differences> {
        let labels: Vec<bool> = drawn.iter().map(|i| self.labels[*i]).collect();
        let scores: Vec<f32> = drawn.iter().map(|i| self.scores[*i]).collect();
        let image = Ranking::of("image", &scores, &labels)?;
        let binned = self.binned.as_ref();
        let pixel = binned.map(|(bins, images)| bins.metrics(images, drawn, self.limit)).transpose()?;
        let value = |column: &Column| {
            let metric = (column.image)(&image).or_else(|| pixel.as_ref().and_then(column.pixel));
            metric.and_then(Metric::value)
        };
        Ok(COLUMNS.iter().map(value).collect())
    }
}

fn strata(infos: &[&SampleInfo]) -> Result<Vec<Stratum>> {
    let units: Stratum = match videos(infos)? {
        Some(videos) => videos.into_iter().map(|(_, range)| range.collect()).collect(),
        None => (0..infos.len()).map(|i| vec![i]).collect(),
    };
    let anomalous = |unit: &Vec<usize>| unit.iter().any(|i| infos[*i].anomalous);
    let (with, without): (Stratum, Stratum) = units.into_iter().partition(anomalous);
    Ok(vec![without, with])
}

type Binned = (PixelBins, Vec<BinnedImage>);

fn pixels(maps: &[f32], extents: &[usize], samples: &Samples, limit: f64) -> Result<(PixelMetrics, Binned)> {
    let from = [extents[0], extents[1]];
    let map = |i: usize| resize_map(&maps[i * from[0] * from[1]..][..from[0] * from[1]], from, samples.frame(i).size);
    let mut scores = PixelScores::new();
    let order: Vec<usize> = (0..samples.len()).collect();
    for chunk in order.chunks(CHUNK) {
        let resized: Vec<Vec<f32>> = chunk.par_iter().map(|i| map(*i)).collect();
        for (i, map) in chunk.iter().zip(resized) {
            let frame = samples.frame(*i);
            scores.add(frame.size, &map, frame.mask.as_deref()).context("file", samples.name(*i))?;
        }
    }
    let bins = scores.bins(QUANTILES);
    let metrics = scores.finish(limit)?;
    let one = |i: usize| bins.image(samples.frame(i).size, &map(i), samples.frame(i).mask.as_deref());
    let binned = order.into_par_iter().map(one).collect::<Result<_>>()?;
    Ok((metrics, (bins, binned)))
}
