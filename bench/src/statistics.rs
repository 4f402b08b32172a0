//! The paired bootstrap: how sure a difference between two variants is, over images and seeds.

use mimus_core::Result;
use mimus_core::random::Stream;
use rayon::prelude::*;
use serde::Serialize;

/// A difference to the baseline and its confidence interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Difference {
    pub(crate) mean: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

/// What is drawn from together: images each on its own, or the images of whole videos.
pub(crate) type Stratum = Vec<Vec<usize>>;

/// Below so many images or videos nothing is called better or worse: even if all agreed, as they do in one of `2^(n - 1)` cases by chance, that
/// would not be rare enough for 95 %, and an interval by resampling is too narrow.
pub(crate) const LEAST_UNITS: usize = 6;

/// What is drawn: seeds and, apart from each other, the strata's units.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Design<'a> {
    pub(crate) seeds: usize,
    pub(crate) strata: &'a [Stratum],
    pub(crate) resamples: usize,
}

/// Differences of several metrics; a place is `None` where its metric is undefined.
pub(crate) type Differences = Vec<Option<f64>>;

/// Mean over seeds of `difference(seed, images)` in every resample; seeds and images are the same for both variants of a difference.
///
/// The first entry is that of the whole sample.
pub(crate) fn resample(
    design: Design<'_>,
    difference: impl Fn(usize, &[usize]) -> Result<Differences> + Sync,
) -> Result<Vec<Differences>> {
    let seeds: Vec<usize> = (0..design.seeds).collect();
    let mut all: Vec<usize> = design.strata.iter().flatten().flatten().copied().collect();
    all.sort_unstable();
    let one = |resample: usize| {
        if resample == 0 {
            return mean_over(&seeds, &all, &difference);
        }
        let mut stream = Stream::keyed(&format!("bootstrap/{resample}"));
        let drawn = draw(&mut stream, &seeds);
        let images: Vec<usize> =
            design.strata.iter().flat_map(|stratum| draw(&mut stream, stratum)).flatten().collect();
        mean_over(&drawn, &images, &difference)
    };
    (0..=design.resamples).into_par_iter().map(one).collect()
}

fn draw<T: Clone>(stream: &mut Stream, from: &[T]) -> Vec<T> {
    from.iter().map(|_| from[stream.below(from.len() as u64) as usize].clone()).collect()
}

fn mean_over(
    seeds: &[usize],
    images: &[usize],
    difference: impl Fn(usize, &[usize]) -> Result<Differences>,
) -> Result<Differences> {
    let mut sums: Differences = Vec::new();
    for seed in seeds {
        let found = difference(*seed, images)?;
        if sums.is_empty() {
            sums = found;
        } else {
            let add = |(sum, new): (&mut Option<f64>, Option<f64>)| *sum = sum.zip(new).map(|(a, b)| a + b);
            sums.iter_mut().zip(found).for_each(add);
        }
    }
    Ok(sums.into_iter().map(|sum| sum.map(|sum| sum / seeds.len() as f64)).collect())
}

/// The percentile interval of one metric's resampled differences around its `exact` one: resampled values that come from bins are moved by
/// what the bins cost on the whole sample (`resampled[0]`).
pub(crate) fn interval(exact: f64, resampled: &[Option<f64>], confidence: f64) -> Option<Difference> {
    let offset = exact - (*resampled.first()?)?;
    let mut sorted: Vec<f64> = resampled[1..].iter().flatten().map(|value| value + offset).collect();
    sorted.sort_by(f64::total_cmp);
    let at = |share: f64| sorted.get((share * (sorted.len() as f64 - 1.0)).round() as usize).copied();
    let tail = (1.0 - confidence) / 2.0;
    Some(Difference { mean: exact, low: at(tail)?, high: at(1.0 - tail)? })
}

/// Mean and sample standard deviation; the latter is `None` for one value.
pub(crate) fn mean_std(values: &[f64]) -> Option<(f64, Option<f64>)> {
    if values.is_empty() {
        return None;
    }
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|x| (x - mean) * (x - mean)).sum();
    Some((mean, (values.len() > 1).then(|| (squares / (n - 1.0)).sqrt())))
}

#[cfg(test)]
mod tests {
    use mimus_core::metrics::Ranking;

    use super::*;

    fn auroc(scores: &[f32], labels: &[bool], images: &[usize]) -> Option<f64> {
        let scores: Vec<f32> = images.iter().map(|i| scores[*i]).collect();
        let labels: Vec<bool> = images.iter().map(|i| labels[*i]).collect();
        Ranking::of("image", &scores, &labels).unwrap().auroc.value()
    }

    fn difference(baseline: &[f32], variant: &[f32], labels: &[bool], resamples: usize) -> Option<Difference> {
        let of_class = |class: bool| (0..labels.len()).filter(|i| labels[*i] == class).map(|i| vec![i]).collect();
        let strata = [of_class(false), of_class(true)];
        let resampled = resample(Design { seeds: 1, strata: &strata, resamples }, |_, images| {
            Ok(vec![auroc(baseline, labels, images).zip(auroc(variant, labels, images)).map(|(a, b)| b - a)])
        });
        let column: Vec<Option<f64>> = resampled.unwrap().iter().map(|row| row[0]).collect();
        interval(column[0]?, &column, 0.95)
    }

    #[test]
    fn a_perfect_variant_of_a_chance_baseline_gains_surely_and_a_twin_gains_nothing() {
        let labels: Vec<bool> = (0..40).map(|i| i % 2 == 0).collect();
        let chance: Vec<f32> = (0..40).map(|i| ((i * 7) % 40) as f32).collect();
        let perfect: Vec<f32> = labels.iter().map(|l| if *l { 1.0 } else { 0.0 }).collect();
        let gain = difference(&chance, &perfect, &labels, 200).unwrap();
        assert!(gain.low > 0.2 && gain.high < 0.8 && gain.low <= gain.mean && gain.mean <= gain.high, "{gain:?}");
        let twin = difference(&chance, &chance, &labels, 50).unwrap();
        assert_eq!((twin.mean, twin.low, twin.high), (0.0, 0.0, 0.0));
    }

    #[test]
    fn videos_are_drawn_whole() {
        let strata = [vec![vec![0, 1, 2], vec![3, 4]], vec![vec![5, 6]]];
        resample(Design { seeds: 1, strata: &strata, resamples: 20 }, |_, images| {
            let whole = |unit: &[usize]| images.windows(unit.len()).filter(|w| *w == unit).count() * unit.len();
            assert_eq!(whole(&[0, 1, 2]) + whole(&[3, 4]) + whole(&[5, 6]), images.len());
            Ok(Vec::new())
        })
        .unwrap();
    }

    #[test]
    fn a_missing_class_has_no_interval() {
        assert_eq!(difference(&[0.1, 0.2], &[0.1, 0.2], &[false, false], 10), None);
    }

    #[test]
    fn the_interval_follows_the_exact_difference() {
        let found = interval(0.5, &[Some(0.4), Some(0.3), Some(0.4), Some(0.5)], 0.9).unwrap();
        assert!((found.low - 0.4).abs() < 1e-12 && (found.high - 0.6).abs() < 1e-12 && found.mean == 0.5);
    }

    #[test]
    fn the_deviation_is_the_samples_and_one_value_has_none() {
        assert_eq!(mean_std(&[1.0, 3.0]), Some((2.0, Some(2.0_f64.sqrt()))));
        assert_eq!(mean_std(&[1.0]), Some((1.0, None)));
        assert_eq!(mean_std(&[]), None);
    }
}
