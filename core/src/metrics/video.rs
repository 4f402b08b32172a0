//! Metrics of videos: what becomes of a video's frame scores before they are ranked differs from paper to paper and moves the numbers, so
//! it has a name, a [`Protocol`], that stands beside every number.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::{Metric, Ranking};
use crate::error::{Error, Result, did_you_mean};

/// Post-processing of frame scores, in this order: each part of the score is normalised, the weighted parts are added, the sum is smoothed,
/// frames at the ends are dropped. Then frames are ranked, of all videos together (micro) and of each video alone (macro).
///
/// A detector that lacks one of the parts is judged by its score alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Protocol {
    /// What stands beside the numbers.
    pub name: String,
    /// What is added up; nothing for the detector's score alone.
    #[serde(default)]
    pub parts: Vec<ScorePart>,
    /// Of each part, within a video.
    #[serde(default)]
    pub normalise: Normalise,
    /// Within a video.
    #[serde(default)]
    pub smooth: Smooth,
    /// Frames dropped at the beginning and at the end of every video.
    #[serde(default)]
    pub trim: [usize; 2],
    /// What the macro mean does with a video whose frames are all normal or all anomalous.
    #[serde(default)]
    pub missing: MissingClass,
}

/// A part of a frame's score.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScorePart {
    /// The detector's output `[N]`, one value a frame.
    pub output: String,
    /// Above 0 where more is more anomalous. Below 0 the part is turned round before it is normalised, and its size is the weight.
    pub weight: f64,
}

/// How scores of one video are brought to a common scale.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Normalise {
    /// Raw scores.
    #[default]
    None,
    /// `(s - min) / (max - min)`; 0 where all are equal. Looks at the whole video, the future included.
    MinMax,
}

/// How scores of neighbouring frames are mixed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Smooth {
    /// Not at all.
    #[default]
    None,
    /// The median of an odd number of frames; zeros stand beyond the ends.
    Median {
        /// Number of frames.
        frames: usize,
    },
    /// Gaussian weights up to 4 deviations; frames beyond the ends mirror those within.
    Gaussian {
        /// Standard deviation in frames.
        sigma: f64,
    },
}

/// Rules of the macro mean for a video of one class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MissingClass {
    /// The video does not count; the number of those that do is reported.
    #[default]
    Skip,
    /// A frame of the class that is missing is added: normal with the lowest score of all, or anomalous with the highest.
    PadMissing,
    /// To *every* video a normal frame with score 0 and an anomalous one with score 1 are added; meant for scores from 0 to 1.
    PadBoth,
}

/// A published protocol: name, parts, normalisation, smoothing, frames dropped.
type Published = (&'static str, &'static [(&'static str, f64)], Normalise, Smooth, [usize; 2]);

const NAMED: [Published; 7] = [
    ("clean", &[], Normalise::None, Smooth::None, [0, 0]),
    ("memae", &[], Normalise::MinMax, Smooth::None, [8, 7]),
    ("mnad", &[("psnr", -0.6), ("compactness", 0.4)], Normalise::MinMax, Smooth::None, [4, 0]),
    ("mnad-reconstruction", &[("psnr", -0.7), ("compactness", 0.3)], Normalise::MinMax, Smooth::None, [0, 0]),
    ("frame-prediction", &[("psnr", -1.0)], Normalise::MinMax, Smooth::None, [4, 0]),
    ("hf2vad", &[], Normalise::None, Smooth::Median { frames: 17 }, [4, 0]),
    ("vec", &[], Normalise::None, Smooth::None, [0, 0]),
];

impl Protocol {
    /// A published protocol, or `clean`: raw scores, every frame.
    ///
    /// # Errors
    /// If none has this name; suggests the nearest.
    pub fn named(name: &str) -> Result<Self> {
        let Some((_, parts, normalise, smooth, trim)) = NAMED.into_iter().find(|(known, ..)| *known == name) else {
            let names = NAMED.iter().map(|(name, ..)| *name);
            let hint = match did_you_mean(name, names.clone()) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => format!("there are: {}", names.collect::<Vec<_>>().join(", ")),
            };
            return Err(Error::config(format!("there is no protocol \"{name}\"")).hint(hint));
        };
        let part = |(output, weight): &(&str, f64)| ScorePart { output: (*output).to_owned(), weight: *weight };
        let parts = parts.iter().map(part).collect();
        Ok(Self { name: name.to_owned(), parts, normalise, smooth, trim, missing: MissingClass::Skip })
    }

    /// Succeeds if scores can be made as it says.
    ///
    /// # Errors
    /// If a part is named twice, has no weight or is not normalised, or the smoothing is impossible.
    pub fn verify(&self) -> Result<()> {
        for (i, ScorePart { output, weight }) in self.parts.iter().enumerate() {
            let refused = |message: &str| Err(Error::config(message).with("output", output));
            if !weight.is_finite() || *weight == 0.0 {
                return refused("the weight of a part must be a number other than 0");
            }
            if self.parts.iter().take(i).any(|other| other.output == *output) {
                return refused("two parts of a protocol are the same output");
            }
        }
        if !self.parts.is_empty() && self.normalise == Normalise::None {
            return Err(Error::config("parts of a score have scales of their own and cannot be added up as they are")
                .hint("set normalise = \"min-max\""));
        }
        self.smooth.apply(&[]).map(|_| ())
    }

    /// The scores of one video, of which `parts` holds weighted parts, one value a frame; no frame is dropped. Of a weight below 0 see
    /// [`ScorePart::weight`].
    ///
    /// # Errors
    /// If there is no part, they differ in length, or the median is of an even number of frames.
    pub fn scores(&self, parts: &[(f64, &[f64])]) -> Result<Vec<f64>> {
        let [(_, first), ..] = parts else { return Err(Error::config("a protocol needs a score")) };
        let mut sum = vec![0.0; first.len()];
        for (weight, part) in parts {
            if part.len() != first.len() {
                let found = format!("{} and {} frames are scored by two parts of one score", first.len(), part.len());
                return Err(Error::data(found));
            }
            let turned: Vec<f64> = part.iter().map(|value| weight.signum() * value).collect();
            let normalised = self.normalise.apply(&turned);
            sum.iter_mut().zip(normalised).for_each(|(sum, value)| *sum += weight.abs() * value);
        }
        self.smooth.apply(&sum)
    }

    /// Those of a video's frames that are ranked.
    pub fn kept(&self, frames: Range<usize>) -> Range<usize> {
        let [front, back] = self.trim;
        let end = frames.end.saturating_sub(back).max(frames.start);
        (frames.start + front).min(end)..end
    }

    /// What it does, for people: `scores by minimum and maximum of each video, without the first 4 and the last 0 frames of each video`.
    pub fn describe(&self) -> String {
        let part = |ScorePart { output, weight }: &ScorePart| {
            if *weight < 0.0 { format!("{} * (1 - {output})", -weight) } else { format!("{weight} * {output}") }
        };
        let what = match &self.parts[..] {
            [] => "scores".to_owned(),
            parts => parts.iter().map(part).collect::<Vec<_>>().join(" + "),
        };
        let scale = match self.normalise {
            Normalise::None => format!("raw {what}"),
            Normalise::MinMax if self.parts.is_empty() => format!("{what} by minimum and maximum of each video"),
            Normalise::MinMax => format!("{what}, each by minimum and maximum of each video"),
        };
        let smooth = match self.smooth {
            Smooth::None => String::new(),
            Smooth::Median { frames } => format!(", median of {frames} frames"),
            Smooth::Gaussian { sigma } => format!(", Gaussian of {sigma} frames"),
        };
        let trim = match self.trim {
            [0, 0] => "all frames".to_owned(),
            [front, back] => format!("without the first {front} and the last {back} frames of each video"),
        };
        let missing = match self.missing {
            MissingClass::Skip => "without videos of one class",
            MissingClass::PadMissing => "with a frame of the missing class for videos of one class",
            MissingClass::PadBoth => "with a normal and an anomalous frame for every video",
        };
        format!("{scale}{smooth}, {trim}; macro {missing}")
    }
}

impl Normalise {
    fn apply(self, scores: &[f64]) -> Vec<f64> {
        if self == Self::None {
            return scores.to_vec();
        }
        let low = scores.iter().copied().fold(f64::INFINITY, f64::min);
        let range = scores.iter().map(|score| score - low).fold(0.0, f64::max);
        scores.iter().map(|score| if range > 0.0 { (score - low) / range } else { 0.0 }).collect()
    }
}

impl Smooth {
    fn apply(self, scores: &[f64]) -> Result<Vec<f64>> {
        match self {
            Self::None => Ok(scores.to_vec()),
            Self::Median { frames } if frames % 2 == 0 => {
                Err(Error::config(format!("the median of {frames} frames has no middle")).hint("take an odd number"))
            }
            Self::Median { frames } => Ok((0..scores.len()).map(|i| median(scores, i, frames / 2)).collect()),
            Self::Gaussian { sigma } if sigma.is_finite() && sigma > 0.0 => Ok(gaussian(scores, sigma)),
            Self::Gaussian { sigma } => Err(Error::config(format!("sigma is {sigma}, expects more than 0"))),
        }
    }
}

fn median(scores: &[f64], at: usize, reach: usize) -> f64 {
    let value = |i: usize| i.checked_sub(reach).and_then(|i| scores.get(i)).copied().unwrap_or(0.0);
    let mut window: Vec<f64> = (at..=at + 2 * reach).map(value).collect();
    window.sort_by(f64::total_cmp);
    window[reach]
}

fn gaussian(scores: &[f64], sigma: f64) -> Vec<f64> {
    let reach = (4.0 * sigma + 0.5) as isize;
    let weights: Vec<f64> = (-reach..=reach).map(|d| (-0.5 * (d as f64 / sigma).powi(2)).exp()).collect();
    let total: f64 = weights.iter().sum();
    let n = scores.len() as isize;
    // Half-sample symmetric: .. 1 0 | 0 1 2 .. n-1 | n-1 n-2 ..
    let mirrored = |i: isize| {
        let i = i.rem_euclid(2 * n);
        scores[(if i < n { i } else { 2 * n - 1 - i }) as usize]
    };
    let at = |i: isize| (-reach..=reach).zip(&weights).map(|(d, weight)| weight * mirrored(i + d)).sum::<f64>() / total;
    (0..n).map(at).collect()
}

/// Metrics of the frames of several videos.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FrameMetrics {
    /// AUROC, average precision and F1max of all frames of all videos together.
    pub micro: Ranking,
    /// Mean over videos of the AUROC of a video's own frames.
    pub macro_auroc: Metric,
    /// Videos that count in it.
    pub macro_videos: usize,
    /// The error rate at the threshold where as large a share of normal frames is called anomalous as of anomalous frames normal: where
    /// the ROC curve, its points joined by straight lines, meets the falling diagonal.
    pub eer: Metric,
}

impl FrameMetrics {
    /// Ranks frames; each video has one score and one label a frame (`true` = anomalous), as the protocol left them.
    ///
    /// # Errors
    /// If a score is not a number, or a video has not as many labels as scores.
    pub fn of(videos: &[(&[f64], &[bool])], missing: MissingClass) -> Result<Self> {
        let scores: Vec<f64> = videos.iter().flat_map(|(scores, _)| scores.iter().copied()).collect();
        let labels: Vec<bool> = videos.iter().flat_map(|(_, labels)| labels.iter().copied()).collect();
        let micro = Ranking::of("frame", &scores, &labels)?;
        let bounds = scores.iter().fold([f64::INFINITY, f64::NEG_INFINITY], |[lo, hi], s| [lo.min(*s), hi.max(*s)]);
        let mut aurocs = Vec::new();
        for (scores, labels) in videos {
            let (mut scores, mut labels) = (scores.to_vec(), labels.to_vec());
            for (class, score) in missing.padding(&labels, bounds) {
                scores.push(score);
                labels.push(class);
            }
            aurocs.extend(Ranking::of("frame", &scores, &labels)?.auroc.value());
        }
        let macro_auroc = match aurocs.len() {
            0 => Metric::Undefined("no video has both normal and anomalous frames".to_owned()),
            n => Metric::Value(aurocs.iter().sum::<f64>() / n as f64),
        };
        Ok(Self { eer: eer(&scores, &labels), micro, macro_auroc, macro_videos: aurocs.len() })
    }
}

impl MissingClass {
    /// Classes and scores of frames to add to a video.
    fn padding(self, labels: &[bool], [low, high]: [f64; 2]) -> Vec<(bool, f64)> {
        match self {
            Self::Skip => Vec::new(),
            Self::PadBoth => vec![(false, 0.0), (true, 1.0)],
            Self::PadMissing => {
                let missing = |(class, _): &(bool, f64)| !labels.contains(class);
                [(false, low), (true, high)].into_iter().filter(missing).collect()
            }
        }
    }
}

fn eer(scores: &[f64], labels: &[bool]) -> Metric {
    let anomalous = labels.iter().filter(|label| **label).count() as f64;
    let normal = labels.len() as f64 - anomalous;
    if anomalous == 0.0 || normal == 0.0 {
        let class = if anomalous == 0.0 { "anomalous" } else { "normal" };
        return Metric::Undefined(format!("no {class} frame"));
    }
    let mut order: Vec<(f64, bool)> = scores.iter().copied().zip(labels.iter().copied()).collect();
    order.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    // False positives and missed anomalies, from a threshold above all scores downwards.
    let (mut last, mut counts) = ([0.0, 1.0], [0.0, anomalous]);
    for tie in order.chunk_by(|(a, _), (b, _)| a == b) {
        for (_, label) in tie {
            if *label { counts[1] -= 1.0 } else { counts[0] += 1.0 }
        }
        let now = [counts[0] / normal, counts[1] / anomalous];
        if now[0] >= now[1] {
            let (before, after) = (last[1] - last[0], now[0] - now[1]);
            return Metric::Value(last[0] + (now[0] - last[0]) * before / (before + after));
        }
        last = now;
    }
    Metric::Value(last[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics(videos: &[(&[f64], &[bool])], missing: MissingClass) -> FrameMetrics {
        FrameMetrics::of(videos, missing).unwrap()
    }

    #[test]
    fn padding_changes_the_macro_mean_as_in_the_worked_example() {
        let labels = [false, true, false, true];
        let auroc = |scores: &[f64], missing| metrics(&[(scores, &labels)], missing).macro_auroc.value().unwrap();
        assert_eq!(auroc(&[0.3, 0.6, 0.2, 0.5], MissingClass::Skip), 1.0);
        assert_eq!(auroc(&[0.4, 0.6, 0.5, 0.3], MissingClass::Skip), 0.5);
        assert!((auroc(&[0.4, 0.6, 0.5, 0.3], MissingClass::PadBoth) - 7.0 / 9.0).abs() < 1e-12);
        assert_eq!(auroc(&[0.4, 0.6, 0.5, 0.3], MissingClass::PadMissing), 0.5);
    }

    #[test]
    fn a_video_of_one_class_is_skipped_or_padded_and_the_count_says_so() {
        let mixed: (&[f64], &[bool]) = (&[0.1, 0.9], &[false, true]);
        let anomalous: (&[f64], &[bool]) = (&[0.5, 0.6], &[true, true]);
        let found = metrics(&[mixed, anomalous], MissingClass::Skip);
        assert_eq!((found.macro_auroc, found.macro_videos), (Metric::Value(1.0), 1));
        assert_eq!(metrics(&[mixed, anomalous], MissingClass::PadMissing).macro_videos, 2);
        let none = metrics(&[anomalous], MissingClass::Skip);
        assert_eq!(none.macro_auroc.reason(), Some("no video has both normal and anomalous frames"));
        assert_eq!(none.eer.reason(), Some("no normal frame"));
    }

    #[test]
    fn the_equal_error_rate_lies_on_the_falling_diagonal() {
        let eer = |scores: &[f64], labels: &[bool]| super::eer(scores, labels).value().unwrap();
        assert_eq!(eer(&[0.1, 0.2, 0.8, 0.9], &[false, false, true, true]), 0.0);
        assert_eq!(eer(&[0.9, 0.8, 0.2, 0.1], &[false, false, true, true]), 1.0);
        assert_eq!(eer(&[0.5; 4], &[false, true, false, true]), 0.5);
        assert_eq!(eer(&[0.1, 0.6, 0.4, 0.9], &[false, false, true, true]), 0.5);
        // From (0, 1/2) straight down to (1, 0): they meet at 1/3.
        assert!((eer(&[0.9, 0.5, 0.5], &[true, true, false]) - 1.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn smoothing_follows_its_definitions() {
        let spike = [0.0, 0.0, 9.0, 0.0, 1.0];
        assert_eq!(Smooth::Median { frames: 3 }.apply(&spike).unwrap(), [0.0, 0.0, 0.0, 1.0, 0.0]);
        assert!(Smooth::Median { frames: 4 }.apply(&spike).is_err());
        let constant = Smooth::Gaussian { sigma: 2.0 }.apply(&[3.0; 3]).unwrap();
        assert!(constant.iter().all(|x| (x - 3.0).abs() < 1e-12), "{constant:?}");
        let even =
            Smooth::Gaussian { sigma: 1.0 }.apply(&[0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]).unwrap();
        assert!((even[5] - 0.398_942).abs() < 1e-4 && (even[4] - even[6]).abs() < 1e-15, "{even:?}");
        assert!(Smooth::Gaussian { sigma: 0.0 }.apply(&spike).is_err());
    }

    #[test]
    fn protocols_are_known_by_name_and_drop_what_they_say() {
        assert_eq!(Protocol::named("memae").unwrap().kept(0..20), 8..13);
        assert!(Protocol::named("memae").unwrap().kept(3..13).is_empty());
        assert_eq!(Protocol::named("hf2-vad").unwrap_err().next_step(), Some("did you mean \"hf2vad\"?"));
    }

    #[test]
    fn weighted_parts_are_added_up_and_one_that_falls_is_turned_round() {
        let protocol = Protocol::named("mnad").unwrap();
        let parts = [(-0.6, &[20.0, 30.0, 40.0][..]), (0.4, &[2.0, 4.0, 3.0])];
        let found = protocol.scores(&parts).unwrap();
        assert!(found.iter().zip([0.6, 0.7, 0.2]).all(|(a, b)| (a - b).abs() < 1e-12), "{found:?}");
        assert!(protocol.describe().starts_with("0.6 * (1 - psnr) + 0.4 * compactness, each by minimum"));
        assert!(protocol.scores(&[(1.0, &[1.0]), (1.0, &[1.0, 2.0])]).is_err());
    }

    #[test]
    fn protocols_that_cannot_be_followed_are_refused() {
        for (name, ..) in NAMED {
            Protocol::named(name).unwrap().verify().unwrap();
        }
        let part = |output: &str, weight| ScorePart { output: output.to_owned(), weight };
        let changed = |change: fn(&mut Protocol)| {
            let mut protocol = Protocol { parts: vec![part("a", 1.0)], ..Protocol::named("mnad").unwrap() };
            change(&mut protocol);
            protocol.verify().unwrap_err().one_line()
        };
        assert!(changed(|p| p.normalise = Normalise::None).contains("scales of their own"));
        assert!(changed(|p| p.parts[0].weight = 0.0).contains("other than 0"));
        assert!(changed(|p| p.parts.push(p.parts[0].clone())).contains("the same output"));
        assert!(changed(|p| p.smooth = Smooth::Median { frames: 2 }).contains("no middle"));
    }
}
