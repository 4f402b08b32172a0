//! How well a cell separates normal from anomalous: every metric once exactly, and counted so that it can be resampled.

use mimus_core::metrics::{
    BinnedImage, FrameMetrics, Metric, MissingClass, PixelBins, PixelMetrics, PixelScores, Ranking, ScorePart,
    SweptVideo, TrackMetrics,
};
use mimus_core::plugin::{Group, SampleInfo};
use mimus_core::{Context, Result};
use rayon::prelude::*;

use crate::cell::Scores;
use crate::config::Eval;
use crate::detections;
use crate::images::resize_map;
use crate::samples::{Samples, Truth, videos};
use crate::score_maps::ScoreMaps;
use crate::statistics::{Differences, Stratum};

/// Quantiles of normal, and of anomalous, pixel scores that bound the bins of the bootstrap.
const QUANTILES: usize = 256;

/// Maps that are enlarged at the same time.
const CHUNK: usize = 8;

/// The metrics of a cell.
pub(crate) struct Evaluation {
    whole: Whole,
    numbers: Numbers,
    /// Pixels of each unit that a bootstrap draws.
    binned: Option<(PixelBins, Vec<BinnedImage>)>,
    /// What maps detect in each video, where there are masks.
    swept: Option<Vec<SweptVideo>>,
    /// Whether the protocol's parts made the scores; else each is the detector's `score` alone.
    has_parts: bool,
    limit: f64,
    /// Of each sample: the unit that it begins, if it begins one.
    begins: Vec<Option<usize>>,
    strata: Vec<Stratum>,
}

/// What whole samples are ranked by.
struct Whole {
    labels: Vec<bool>,
    /// As the protocol made them where they are those of a video's frames, else raw.
    scores: Vec<f64>,
    /// Samples of a video that its protocol ranks; all of a data set of pictures.
    kept: Vec<bool>,
    /// The number of the video that each sample belongs to; none for pictures.
    videos: Option<Vec<usize>>,
    missing: MissingClass,
}

/// What was computed.
struct Numbers {
    ranked: Ranked,
    /// Why there are none, if there are none.
    pixel: Result<PixelMetrics, String>,
    /// Of videos; why there are none, if there are none.
    tracks: Option<Result<TrackMetrics, String>>,
}

/// Whole samples against each other.
enum Ranked {
    Images(Ranking),
    Frames(FrameMetrics),
}

/// A metric, and where it is found; `None` where the data are not of its kind.
pub(crate) struct Column {
    pub(crate) name: &'static str,
    /// Of errors, less is better.
    pub(crate) lower_is_better: bool,
    of: fn(&Numbers) -> Option<Metric>,
}

impl Column {
    const fn score(name: &'static str, of: fn(&Numbers) -> Option<Metric>) -> Self {
        Self { name, lower_is_better: false, of }
    }

    const fn error(name: &'static str, of: fn(&Numbers) -> Option<Metric>) -> Self {
        Self { name, lower_is_better: true, of }
    }
}

impl Numbers {
    fn image(&self) -> Option<&Ranking> {
        match &self.ranked {
            Ranked::Images(ranking) => Some(ranking),
            Ranked::Frames(_) => None,
        }
    }

    fn frame(&self) -> Option<&FrameMetrics> {
        match &self.ranked {
            Ranked::Images(_) => None,
            Ranked::Frames(frames) => Some(frames),
        }
    }

    fn tracks(&self, of: fn(&TrackMetrics) -> &Metric) -> Option<Metric> {
        Some(match self.tracks.as_ref()? {
            Ok(tracks) => of(tracks).clone(),
            Err(reason) => Metric::Undefined(reason.clone()),
        })
    }

    fn pixel(&self, of: fn(&PixelMetrics) -> &Metric) -> Option<Metric> {
        Some(match &self.pixel {
            Ok(pixel) => of(pixel).clone(),
            Err(reason) => Metric::Undefined(reason.clone()),
        })
    }
}

/// All metrics that are compared.
pub(crate) const COLUMNS: [Column; 12] = [
    Column::score("image AUROC", |n| Some(n.image()?.auroc.clone())),
    Column::score("image AP", |n| Some(n.image()?.ap.clone())),
    Column::score("image F1max", |n| Some(n.image()?.f1max.clone())),
    Column::score("frame AUROC, micro", |n| Some(n.frame()?.micro.auroc.clone())),
    Column::score("frame AUROC, macro", |n| Some(n.frame()?.macro_auroc.clone())),
    Column::error("frame EER", |n| Some(n.frame()?.eer.clone())),
    Column::score("pixel AUROC", |n| n.pixel(|p| &p.ranking.auroc)),
    Column::score("pixel AP", |n| n.pixel(|p| &p.ranking.ap)),
    Column::score("pixel F1max", |n| n.pixel(|p| &p.ranking.f1max)),
    Column::score("AUPRO", |n| n.pixel(|p| &p.aupro)),
    Column::score("RBDC", |n| n.tracks(|t| &t.rbdc)),
    Column::score("TBDC", |n| n.tracks(|t| &t.tbdc)),
];

impl Evaluation {
    /// Judges scores and maps; maps are resized to the frames' own sizes, where the masks are. Scores of videos go through the protocol: the
    /// sum of `parts`, or the score alone where one of them was not kept.
    pub(crate) fn new(
        scores: &Scores,
        samples: &Samples<'_>,
        group: &Group,
        eval: &Eval,
        parts: &[ScorePart],
    ) -> Result<Self> {
        let infos: Vec<&SampleInfo> = (0..samples.judged()).map(|i| &group.test[samples.position(i)]).collect();
        let labels: Vec<bool> = infos.iter().map(|info| info.anomalous).collect();
        let protocol = eval.protocol.resolve()?;
        let mut made = wide(&scores.scores);
        let mut kept = vec![true; made.len()];
        let given = weighted(scores, parts);
        let has_given = given.is_some();
        let parts = given.unwrap_or_else(|| vec![(1.0, made.clone())]);
        let all: Vec<&SampleInfo> = group.test.iter().collect();
        let videos = match videos(&all)? {
            None => None,
            Some(videos) => {
                let mut numbers = Vec::new();
                for (number, (_, frames)) in videos.into_iter().enumerate() {
                    let start = numbers.len();
                    let own = (start..samples.judged()).take_while(|i| frames.contains(&samples.position(*i))).count();
                    let of_video: Vec<(f64, &[f64])> =
                        parts.iter().map(|(weight, values)| (*weight, &values[start..start + own])).collect();
                    let scored = protocol.scores(&of_video)?;
                    let ranked = protocol.kept(frames);
                    for (i, score) in (start..).zip(scored) {
                        made[i] = score;
                        kept[i] = ranked.contains(&samples.position(i));
                    }
                    numbers.extend(std::iter::repeat_n(number, own));
                }
                Some(numbers)
            }
        };
        let units = units(&infos)?;
        let (pixel, binned) = match &scores.maps {
            None => (Err("the model has no score map".to_owned()), None),
            Some(_) if !group.has_masks => (Err("not every anomalous image has a mask".to_owned()), None),
            Some(maps) => {
                let (metrics, binned) = pixels(maps, samples, &units, eval.aupro_limit)?;
                (Ok(metrics), Some(binned))
            }
        };
        let swept = match (&videos, &scores.maps) {
            (Some(videos), Some(maps)) if group.has_masks => {
                Some(detections::sweep(samples, videos, |i| judged(maps, samples, i))?)
            }
            _ => None,
        };
        let tracks = videos.as_ref().map(|_| match (&swept, &pixel) {
            (Some(swept), _) => Ok(TrackMetrics::swept(&swept.iter().collect::<Vec<_>>())),
            (None, pixel) => Err(pixel.as_ref().err().cloned().unwrap_or_default()),
        });
        let has_parts = has_given && videos.is_some();
        let whole = Whole { labels, scores: made, kept, videos, missing: protocol.missing };
        let all: Vec<usize> = (0..samples.judged()).collect();
        let numbers = Numbers { ranked: whole.ranked(&all)?, pixel, tracks };
        let mut begins = vec![None; infos.len()];
        units.iter().enumerate().for_each(|(unit, samples)| begins[samples[0]] = Some(unit));
        let anomalous = |unit: &Vec<usize>| unit.iter().any(|i| infos[*i].anomalous);
        let (with, without): (Stratum, Stratum) = units.into_iter().partition(anomalous);
        let limit = eval.aupro_limit;
        Ok(Self { whole, numbers, binned, swept, has_parts, limit, begins, strata: vec![without, with] })
    }

    /// The columns that there are for this kind of data, with the exact values.
    pub(crate) fn metrics(&self) -> impl Iterator<Item = (&'static Column, Metric)> {
        COLUMNS.iter().filter_map(|column| Some((column, (column.of)(&self.numbers)?)))
    }

    /// Whether the scores of frames are made of the protocol's parts.
    pub(crate) fn has_parts(&self) -> bool {
        self.has_parts
    }

    /// Samples that are ranked, each with its position and its score as the protocol made it.
    pub(crate) fn ranked(&self) -> impl Iterator<Item = (usize, f64)> {
        let Whole { scores, kept, .. } = &self.whole;
        scores.iter().zip(kept).enumerate().filter(|(_, (_, kept))| **kept).map(|(sample, (score, _))| (sample, *score))
    }

    /// The highest of all thresholds that give the best F1 of whole samples, and of pixels.
    pub(crate) fn f1max_thresholds(&self) -> (Metric, Option<Metric>) {
        let ranking = match &self.numbers.ranked {
            Ranked::Images(ranking) => ranking,
            Ranked::Frames(frames) => &frames.micro,
        };
        let pixel = self.numbers.pixel.as_ref().ok();
        (ranking.f1max_threshold.clone(), pixel.map(|pixel| pixel.ranking.f1max_threshold.clone()))
    }

    /// 8-connected anomalous regions in the masks.
    pub(crate) fn regions(&self) -> Option<usize> {
        self.numbers.pixel.as_ref().ok().map(|pixel| pixel.regions)
    }

    /// What a bootstrap draws: images, normal and anomalous apart; of videos whole ones.
    pub(crate) fn strata(&self) -> &[Stratum] {
        &self.strata
    }

    /// Every one of [`Evaluation::metrics`] on the samples at the positions `drawn`.
    pub(crate) fn resampled(&self, drawn: &[usize]) -> Result<Differences> {
        let units: Vec<usize> = drawn.iter().filter_map(|i| self.begins[*i]).collect();
        let binned = self.binned.as_ref();
        let pixel = match binned.map(|(bins, images)| bins.metrics(images, &units, self.limit)).transpose()? {
            Some(pixel) => Ok(pixel),
            None => Err(String::new()),
        };
        let tracks = self.whole.videos.as_ref().map(|numbers| match &self.swept {
            Some(swept) => {
                let number = |video: &[usize]| video.first().and_then(|sample| swept.get(numbers[*sample]));
                Ok(TrackMetrics::swept(&drawn.chunk_by(same_video(numbers)).filter_map(number).collect::<Vec<_>>()))
            }
            None => Err(String::new()),
        });
        let numbers = Numbers { ranked: self.whole.ranked(drawn)?, pixel, tracks };
        Ok(COLUMNS.iter().filter_map(|column| Some((column.of)(&numbers)?.value())).collect())
    }
}

impl Whole {
    fn ranked(&self, drawn: &[usize]) -> Result<Ranked> {
        let scores = |drawn: &[usize]| drawn.iter().map(|i| self.scores[*i]).collect::<Vec<f64>>();
        let labels = |drawn: &[usize]| drawn.iter().map(|i| self.labels[*i]).collect::<Vec<bool>>();
        let Some(videos) = &self.videos else {
            return Ok(Ranked::Images(Ranking::of("image", &scores(drawn), &labels(drawn))?));
        };
        let one = |video: &[usize]| {
            let kept: Vec<usize> = video.iter().copied().filter(|i| self.kept[*i]).collect();
            (scores(&kept), labels(&kept))
        };
        let drawn: Vec<(Vec<f64>, Vec<bool>)> = drawn.chunk_by(same_video(videos)).map(one).collect();
        let drawn: Vec<(&[f64], &[bool])> = drawn.iter().map(|(s, l)| (s.as_slice(), l.as_slice())).collect();
        Ok(Ranked::Frames(FrameMetrics::of(&drawn, self.missing)?))
    }
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|value| f64::from(*value)).collect()
}

/// The values of all parts with their weights; `None` if there are no parts, or not all were kept.
fn weighted(scores: &Scores, parts: &[ScorePart]) -> Option<Vec<(f64, Vec<f64>)>> {
    let one = |part: &ScorePart| Some((part.weight, wide(scores.parts.get(&part.output)?)));
    if parts.is_empty() { None } else { parts.iter().map(one).collect() }
}

/// Whether two samples, drawn one after the other, are neighbours in one video: the same video drawn twice in a row is two videos.
fn same_video(videos: &[usize]) -> impl Fn(&usize, &usize) -> bool + '_ {
    |a, b| videos[*a] == videos[*b] && *b == *a + 1
}

/// What a bootstrap draws: every image alone, or the frames of a video together.
fn units(infos: &[&SampleInfo]) -> Result<Stratum> {
    Ok(match videos(infos)? {
        Some(videos) => videos.into_iter().map(|(_, range)| range.collect()).collect(),
        None => (0..infos.len()).map(|i| vec![i]).collect(),
    })
}

/// What metrics of pixels see of a judged frame: size, map at this size, and mask.
pub(crate) type Judged = ([usize; 2], Vec<f32>, Option<Vec<u8>>);

fn judged(maps: &ScoreMaps, samples: &Samples<'_>, i: usize) -> Result<Judged> {
    let Truth { size, mask } = samples.truth(i)?;
    Ok((size, resize_map(&maps.read(i)?, maps.extents(i), size), mask))
}

type Binned = (PixelBins, Vec<BinnedImage>);

fn pixels(maps: &ScoreMaps, samples: &Samples<'_>, units: &[Vec<usize>], limit: f64) -> Result<(PixelMetrics, Binned)> {
    let one = |i: &usize| judged(maps, samples, *i);
    let mut scores = PixelScores::new();
    let order: Vec<usize> = (0..samples.judged()).collect();
    for chunk in order.chunks(CHUNK) {
        let resized = chunk.par_iter().map(one).collect::<Result<Vec<_>>>()?;
        for (i, (size, map, mask)) in chunk.iter().zip(resized) {
            scores.add(size, &map, mask.as_deref()).context("file", samples.name(*i))?;
        }
    }
    let bins = scores.bins(QUANTILES);
    let metrics = scores.finish(limit)?;
    let unit = |unit: &Vec<usize>| {
        let mut sum = bins.none();
        for i in unit {
            let (size, map, mask) = one(i)?;
            bins.add(&mut sum, &bins.image(size, &map, mask.as_deref())?)?;
        }
        Ok(sum)
    };
    let binned = units.par_iter().map(unit).collect::<Result<_>>()?;
    Ok((metrics, (bins, binned)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::PathBuf;
    use std::sync::Arc;

    use mimus_core::plugin::{Clip, Split};

    use super::*;
    use crate::cost::Cost;
    use crate::images::Picture;
    use crate::reel::Reel;
    use crate::samples::Footage;

    /// Scores after the protocol, of two videos of two frames, and whether they are made of its parts.
    fn judged(parts: BTreeMap<String, Vec<f32>>) -> (Vec<f64>, bool) {
        let info = |i: u64| SampleInfo {
            id: i.to_string(),
            path: PathBuf::new(),
            defect: String::new(),
            anomalous: i % 2 == 1,
            mask: None,
            frame: Some(((i / 2).to_string(), i % 2)),
        };
        let group =
            Group { name: String::new(), train: Vec::new(), test: (0..4).map(info).collect(), has_masks: false };
        let decode = |_, _| Ok(Picture { values: Vec::new(), mask: None, size: [1, 1] });
        let footage = Footage { reel: Arc::new(Reel::new(1, decode)), group: &group, split: Split::Test };
        let samples = Samples::whole(footage, &[0, 1, 2, 3], &Clip::image()).unwrap();
        let cost = Cost { train_seconds: 0.0, score_ms: 0.0, input_ms: 0.0, peak_mib: None };
        let (normal, calibration) = Default::default();
        let scores = Scores { scores: vec![1.0, 3.0, 9.0, 5.0], parts, maps: None, normal, calibration, cost };
        let protocol =
            "{name=\"own\",normalise=\"min-max\",parts=[{output=\"p\",weight=-0.5},{output=\"c\",weight=2.0}]}";
        let sets = [format!("eval.protocol={protocol}")];
        let config = crate::config::Config::parse(crate::config::tests::SMALL, &sets).unwrap();
        let parts = config.eval.protocol.resolve().unwrap().parts;
        let evaluation = Evaluation::new(&scores, &samples, &group, &config.eval, &parts).unwrap();
        (evaluation.ranked().map(|(_, score)| score).collect(), evaluation.has_parts())
    }

    #[test]
    fn scores_of_frames_are_made_of_the_protocols_parts_if_all_are_there() {
        let p = ("p".to_owned(), vec![20.0, 30.0, 30.0, 40.0]);
        let c = ("c".to_owned(), vec![0.0, 1.0, 5.0, 5.0]);
        assert_eq!(judged([p.clone(), c].into()), (vec![0.5, 2.0, 0.5, 0.0], true));
        assert_eq!(judged([p].into()), (vec![0.0, 1.0, 1.0, 0.0], false));
    }
}
