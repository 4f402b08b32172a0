//! AUROC, average precision and F1max: everything that depends only on the order of the scores and their ties.

use serde::{Deserialize, Serialize};

use super::Metric;
use crate::error::{Error, ErrorKind, Result};

/// The metrics of one ranking of samples.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ranking {
    /// Area under the ROC curve: the probability that an anomalous sample scores above a normal one, ties counting half.
    /// Undefined if either class is missing.
    pub auroc: Metric,
    /// Average precision: the sum over distinct thresholds, descending, of the precision times the gain in recall (steps, no
    /// trapezoids). A constant score gives the prevalence. Undefined without anomalous samples, 1 without normal ones.
    pub ap: Metric,
    /// The largest F1 score over all distinct thresholds. Undefined without anomalous samples, 1 without normal ones.
    pub f1max: Metric,
    /// The threshold that gives [`Ranking::f1max`], a score of the ranking; the highest one if several do.
    pub f1max_threshold: Metric,
}

impl Ranking {
    /// Ranks samples by raw `scores` against `labels` (`true` = anomalous), in any order; `noun` is what a sample is called in
    /// messages (`"image"`, `"frame"`).
    ///
    /// # Errors
    /// If a score is not a number (the context `noun` is its position), or the lengths differ.
    pub fn of<S: Copy + Into<f64>>(noun: &str, scores: &[S], labels: &[bool]) -> Result<Self> {
        if scores.len() != labels.len() {
            let found = format!("{} scores and {} labels: every {noun} needs one of each", scores.len(), labels.len());
            return Err(Error::data(found));
        }
        let mut samples: Vec<(f64, bool)> =
            scores.iter().map(|&score| score.into()).zip(labels.iter().copied()).collect();
        if let Some(position) = samples.iter().position(|(score, _)| score.is_nan()) {
            return Err(not_a_number().with(noun, position));
        }
        // `total_cmp` puts -0.0 beside 0.0, and `==` then makes them one tie.
        samples.sort_unstable_by(|(a, _), (b, _)| b.total_cmp(a));
        let anomalous = labels.iter().filter(|&&label| label).count();
        let mut sweep = Sweep::new(anomalous as u64, (labels.len() - anomalous) as u64);
        for tie in samples.chunk_by(|(a, _), (b, _)| a == b) {
            let anomalous = tie.iter().filter(|(_, label)| *label).count();
            let score = tie.first().map_or(f64::NAN, |(score, _)| *score);
            sweep.lower_to(Tie { score, anomalous: anomalous as u64, normal: (tie.len() - anomalous) as u64 });
        }
        Ok(sweep.finish(noun))
    }
}

/// The error for a score that cannot be ranked.
pub(super) fn not_a_number() -> Error {
    Error::new(ErrorKind::Numeric, "the anomaly score is not a number, so it has no rank")
        .hint("look for a diverged training loss or non-finite weights in the checkpoint")
}

/// All samples that have one score.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tie {
    pub(super) score: f64,
    pub(super) anomalous: u64,
    pub(super) normal: u64,
}

/// A threshold on its way down through the scores. Counts are integers, so that nothing drifts over 10^8 pixels.
#[derive(Debug)]
pub(super) struct Sweep {
    anomalous: u64,
    normal: u64,
    true_positives: u64,
    false_positives: u64,
    /// Pairs of an anomalous sample above a normal one count 2, tied pairs 1.
    twice_ordered_pairs: u128,
    precision_sum: f64,
    f1max: f64,
    f1max_threshold: f64,
}

impl Sweep {
    /// A threshold above all of `anomalous` and `normal` samples.
    pub(super) fn new(anomalous: u64, normal: u64) -> Self {
        Self {
            anomalous,
            normal,
            true_positives: 0,
            false_positives: 0,
            twice_ordered_pairs: 0,
            precision_sum: 0.0,
            f1max: 0.0,
            f1max_threshold: f64::INFINITY,
        }
    }

    /// Lowers the threshold to the next score. Scores that only normal samples have may be passed over, if their number is
    /// added to [`Sweep::pass_normal`]: recall stands still there, precision and F1 only fall.
    pub(super) fn lower_to(&mut self, tie: Tie) {
        self.true_positives += tie.anomalous;
        self.false_positives += tie.normal;
        let below = self.normal - self.false_positives;
        self.twice_ordered_pairs += u128::from(tie.anomalous) * (2 * u128::from(below) + u128::from(tie.normal));
        let hits = self.true_positives as f64;
        let called = (self.true_positives + self.false_positives) as f64;
        self.precision_sum += tie.anomalous as f64 * (hits / called);
        let f1 = 2.0 * hits / (called + self.anomalous as f64);
        if f1 > self.f1max {
            self.f1max = f1;
            self.f1max_threshold = tie.score;
        }
    }

    /// Lowers the threshold past `count` normal samples.
    pub(super) fn pass_normal(&mut self, count: u64) {
        self.false_positives += count;
    }

    /// Normal samples at or above the threshold.
    pub(super) fn false_positives(&self) -> u64 {
        self.false_positives
    }

    /// The metrics, once the threshold has passed every anomalous sample.
    pub(super) fn finish(self, noun: &str) -> Ranking {
        let defined = |value: f64| match self.anomalous {
            0 => Metric::Undefined(format!("no anomalous {noun}")),
            _ => Metric::Value(value),
        };
        let pairs = 2 * u128::from(self.anomalous) * u128::from(self.normal);
        let auroc = match self.normal {
            0 if self.anomalous > 0 => Metric::Undefined(format!("no normal {noun}")),
            _ => defined(self.twice_ordered_pairs as f64 / pairs as f64),
        };
        Ranking {
            auroc,
            ap: defined(self.precision_sum / self.anomalous as f64),
            f1max: defined(self.f1max),
            f1max_threshold: defined(self.f1max_threshold),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ranking(scores: &[f64], labels: &[u8]) -> Ranking {
        let labels: Vec<bool> = labels.iter().map(|&label| label == 1).collect();
        Ranking::of("image", scores, &labels).unwrap()
    }

    fn assert_close(found: &Metric, expected: f64) {
        let found = found.value().unwrap();
        assert!((found - expected).abs() < 1e-12, "{found} instead of {expected}");
    }

    #[test]
    fn agrees_with_hand_vectors() {
        let first = ranking(&[0.13, 0.26, 0.08, 0.92, 0.03], &[0, 0, 1, 1, 0]);
        assert_close(&first.auroc, 2.0 / 3.0);
        let scores = [0.59, 0.35, 0.72, 0.33, 0.73, 0.81, 0.30, 0.05, 0.04, 0.48];
        let ten = ranking(&scores, &[0, 1, 1, 1, 0, 0, 0, 0, 1, 1]);
        assert_close(&ten.auroc, 0.36);
        // Gains of recall by 1/5 each at the precisions of ranks 3, 5, 6, 7 and 10.
        assert_close(&ten.ap, (1.0 / 3.0 + 2.0 / 5.0 + 3.0 / 6.0 + 4.0 / 7.0 + 5.0 / 10.0) / 5.0);
        assert_close(&ten.f1max, 2.0 / 3.0);
    }

    #[test]
    fn a_perfect_detector_gets_one_everywhere_and_its_lowest_anomalous_score_as_threshold() {
        let perfect = ranking(&[0.1, 0.2, 0.8, 0.9], &[0, 0, 1, 1]);
        assert_eq!(
            (&perfect.auroc, &perfect.ap, &perfect.f1max),
            (&Metric::Value(1.0), &Metric::Value(1.0), &Metric::Value(1.0))
        );
        assert_eq!(perfect.f1max_threshold, Metric::Value(0.8));
    }

    #[test]
    fn a_constant_detector_gets_half_and_the_prevalence() {
        let constant = ranking(&[7.0; 8], &[0, 0, 1, 0, 0, 0, 1, 0]);
        assert_close(&constant.auroc, 0.5);
        assert_close(&constant.ap, 0.25);
        assert_close(&constant.f1max, 0.4);
    }

    #[test]
    fn of_equal_f1_the_highest_threshold_is_returned() {
        // F1 is 2/3 at 3.0 (1 of 1 called, 1 of 2 found) and again at 1.0 (2 of 4 called, 2 of 2 found).
        let ranking = ranking(&[3.0, 2.5, 2.0, 1.0], &[1, 0, 0, 1]);
        assert_close(&ranking.f1max, 2.0 / 3.0);
        assert_eq!(ranking.f1max_threshold, Metric::Value(3.0));
    }

    #[test]
    fn raw_scores_keep_the_order_that_clamping_loses() {
        let labels = [0, 0, 0, 0, 1, 1, 1, 1];
        let scores = [0.2, 0.4, 1.05, 0.3, 1.2, 1.1, 0.9, 1.6];
        assert_close(&ranking(&scores, &labels).auroc, 0.9375);
        assert_close(&ranking(&scores.map(|s: f64| s.clamp(0.0, 1.0)), &labels).auroc, 0.84375);
    }

    #[test]
    fn a_missing_class_is_named_and_an_empty_ranking_is_undefined() {
        let normal_only = ranking(&[0.1, 0.2], &[0, 0]);
        for metric in [&normal_only.auroc, &normal_only.ap, &normal_only.f1max, &normal_only.f1max_threshold] {
            assert_eq!(metric.reason(), Some("no anomalous image"));
        }
        let anomalous_only = ranking(&[0.1, 0.2], &[1, 1]);
        assert_eq!(anomalous_only.auroc.reason(), Some("no normal image"));
        assert_eq!((&anomalous_only.ap, &anomalous_only.f1max), (&Metric::Value(1.0), &Metric::Value(1.0)));
        assert_eq!(ranking(&[], &[]).auroc.reason(), Some("no anomalous image"));
    }

    #[test]
    fn scores_that_cannot_be_ranked_are_errors_with_their_position() {
        let nan = Ranking::of("frame", &[0.5, f64::NAN], &[true, false]).unwrap_err();
        assert_eq!((nan.kind(), nan.context_value("frame")), (ErrorKind::Numeric, Some("1")));
        let lengths = Ranking::of("frame", &[0.5f32], &[true, false]).unwrap_err();
        assert!(lengths.message().contains("1 scores and 2 labels"), "{lengths}");
    }

    #[test]
    fn zeros_of_both_signs_tie_and_infinities_rank_last_and_first() {
        assert_close(&ranking(&[-0.0, 0.0], &[0, 1]).auroc, 0.5);
        assert_close(&ranking(&[f64::INFINITY, f64::MAX, f64::NEG_INFINITY], &[1, 0, 0]).auroc, 1.0);
    }

    /// Scores with many ties, and a label each.
    fn samples() -> impl Strategy<Value = Vec<(f64, bool)>> {
        proptest::collection::vec((prop_oneof![(-8..8i32).prop_map(f64::from), -9.0..9.0f64], any::<bool>()), 0..60)
    }

    fn pairwise_auroc(samples: &[(f64, bool)]) -> Option<f64> {
        let (mut wins, mut pairs) = (0.0, 0.0);
        for (anomalous, _) in samples.iter().filter(|(_, label)| *label) {
            for (normal, _) in samples.iter().filter(|(_, label)| !*label) {
                wins += if anomalous > normal {
                    1.0
                } else if anomalous == normal {
                    0.5
                } else {
                    0.0
                };
                pairs += 1.0;
            }
        }
        (pairs > 0.0).then(|| wins / pairs)
    }

    /// Precision and recall at every score as a threshold, straight from their definitions.
    fn curve(samples: &[(f64, bool)]) -> Vec<(f64, f64, f64)> {
        let mut thresholds: Vec<f64> = samples.iter().map(|(score, _)| *score).collect();
        thresholds.sort_by(|a, b| b.total_cmp(a));
        thresholds.dedup();
        let anomalous = samples.iter().filter(|(_, label)| *label).count() as f64;
        let point = |threshold: f64| {
            let called = samples.iter().filter(|(score, _)| *score >= threshold);
            let hits = called.clone().filter(|(_, label)| *label).count() as f64;
            (threshold, hits / called.count() as f64, hits / anomalous)
        };
        thresholds.into_iter().map(point).collect()
    }

    proptest! {
        #[test]
        fn auroc_is_the_share_of_ordered_pairs(samples in samples()) {
            let (scores, labels): (Vec<f64>, Vec<bool>) = samples.iter().copied().unzip();
            let found = Ranking::of("image", &scores, &labels).unwrap().auroc.value();
            let expected = pairwise_auroc(&samples);
            prop_assert_eq!(found.is_some(), expected.is_some());
            prop_assert!((found.unwrap_or(0.0) - expected.unwrap_or(0.0)).abs() < 1e-12);
        }

        #[test]
        fn average_precision_and_f1max_follow_from_the_whole_curve(samples in samples()) {
            prop_assume!(samples.iter().any(|(_, label)| *label));
            let (scores, labels): (Vec<f64>, Vec<bool>) = samples.iter().copied().unzip();
            let found = Ranking::of("image", &scores, &labels).unwrap();
            let (mut ap, mut last_recall, mut best) = (0.0, 0.0, (0.0, f64::INFINITY));
            for (threshold, precision, recall) in curve(&samples) {
                ap += (recall - last_recall) * precision;
                last_recall = recall;
                let f1 = 2.0 * precision * recall / (precision + recall);
                if f1 > best.0 + 1e-12 {
                    best = (f1, threshold);
                }
            }
            assert_close(&found.ap, ap);
            assert_close(&found.f1max, best.0);
            prop_assert_eq!(found.f1max_threshold, Metric::Value(best.1));
        }

        #[test]
        fn strictly_monotone_maps_and_the_order_of_samples_change_no_value(samples in samples(), turn in 0usize..60) {
            let (scores, labels): (Vec<f64>, Vec<bool>) = samples.iter().copied().unzip();
            let mut mapped: Vec<(f64, bool)> = samples.iter().map(|(s, label)| (s * s * s * 2.0 + 100.0 * s - 3.0, *label)).collect();
            mapped.rotate_left(turn.min(samples.len()));
            let (mapped, turned): (Vec<f64>, Vec<bool>) = mapped.into_iter().unzip();
            let (plain, mapped) = (Ranking::of("image", &scores, &labels).unwrap(), Ranking::of("image", &mapped, &turned).unwrap());
            prop_assert_eq!((plain.auroc, plain.ap, plain.f1max), (mapped.auroc, mapped.ap, mapped.f1max));
        }

        #[test]
        fn negated_scores_mirror_auroc(samples in samples()) {
            prop_assume!(pairwise_auroc(&samples).is_some());
            let (scores, labels): (Vec<f64>, Vec<bool>) = samples.iter().map(|(s, label)| (-s, *label)).unzip();
            assert_close(&Ranking::of("image", &scores, &labels).unwrap().auroc, 1.0 - pairwise_auroc(&samples).unwrap());
        }
    }
}
