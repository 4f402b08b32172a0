//! The comparison: every variant against the baseline, for each model, group and metric, and over all groups.

use std::collections::BTreeMap;

use mimus_core::Result;
use mimus_core::metrics::Metric;
use serde::Serialize;

use crate::evaluation::{Column, Evaluation};
use crate::plan::Plan;
use crate::stages::Stages;
use crate::statistics::{Design, Difference, Differences, interval, mean_std, resample};
use crate::sweep::{Cell, Judged, Outcome};

/// Name of the rows that average over groups.
const ALL_GROUPS: &str = "(mean of groups)";

/// A variant's value of one metric.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) model: String,
    pub(crate) group: String,
    pub(crate) variant: String,
    #[serde(flatten)]
    pub(crate) backends: Stages,
    pub(crate) metric: &'static str,
    /// Whether a difference below 0 is a gain.
    pub(crate) lower_is_better: bool,
    /// Whether the protocol's parts made the scores of frames; else each is the detector's `score` alone.
    pub(crate) has_parts: bool,
    /// Over seeds; `None` where the metric is undefined.
    pub(crate) mean: Option<f64>,
    /// Sample standard deviation over seeds; `None` with one seed.
    pub(crate) std: Option<f64>,
    /// The value of each seed that finished and has one.
    pub(crate) by_seed: BTreeMap<u64, f64>,
    /// Seeds that finished.
    pub(crate) seeds: usize,
    /// Images, or whole videos, that the intervals draw from.
    pub(crate) units: usize,
    /// Why there is no value.
    pub(crate) undefined: Option<String>,
    /// To the baseline over the seeds that both finished.
    pub(crate) difference: Option<Difference>,
    /// To the motion floor, where the run has one; the floor itself is compared with nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) over_floor: Option<Difference>,
    /// Mean over seeds of the measured costs.
    pub(crate) train_seconds: f64,
    pub(crate) score_ms: f64,
    pub(crate) input_ms: f64,
    /// Largest of the seeds.
    pub(crate) peak_mib: Option<f64>,
}

/// A variant on a group: values by metric and seed, and the resampled differences.
struct Entry {
    rows: Vec<Row>,
    resampled: Option<Vec<Differences>>,
    /// Those to the motion floor.
    over_floor: Option<Vec<Differences>>,
}

/// What a variant is compared with, seed by seed, and the variant itself.
type Pairs<'a> = Vec<(&'a Evaluation, &'a Evaluation)>;

/// All rows, by model, group, variant and metric.
pub(crate) fn rows(plan: &Plan, cells: &[Cell]) -> Result<Vec<Row>> {
    let groups = plan.data.index().groups.len();
    let mut rows = Vec::new();
    for model in 0..plan.models.len() {
        let mut entries: Vec<Vec<Option<Entry>>> = Vec::new();
        for group in 0..groups {
            let of_group = |variant| entry(plan, cells, [model, group, variant]);
            let of_group = (0..plan.variants.len()).map(of_group).collect::<Result<Vec<_>>>()?;
            rows.extend(of_group.iter().flatten().flat_map(|entry| entry.rows.iter().cloned()));
            entries.push(of_group);
        }
        if groups > 1 {
            for variant in 0..plan.variants.len() {
                let of_variant: Option<Vec<&Entry>> = entries.iter().map(|group| group[variant].as_ref()).collect();
                // A mean over the groups that happen to be finished would compare different groups.
                rows.extend(of_variant.map(|entries| over_groups(plan, &entries)).unwrap_or_default());
            }
        }
    }
    Ok(rows)
}

/// The finished seeds of a variant, in order.
fn judged(cells: &[Cell], [model, group, variant]: [usize; 3]) -> Vec<(u64, &Judged)> {
    let of_cell = |cell: &&Cell| [cell.model, cell.group, cell.variant] == [model, group, variant];
    cells
        .iter()
        .filter(of_cell)
        .filter_map(|cell| match &cell.outcome {
            Ok(Outcome::Judged(judged)) => Some((cell.seed, judged.as_ref())),
            _ => None,
        })
        .collect()
}

/// `None` if no seed finished.
fn entry(plan: &Plan, cells: &[Cell], place: [usize; 3]) -> Result<Option<Entry>> {
    let [model, group, variant] = place;
    let own = judged(cells, place);
    if own.is_empty() {
        return Ok(None);
    }
    let [pairs, floor_pairs] = references(plan, cells, place, &own);
    let [resampled, over_floor] = [resampled(plan, &pairs)?, resampled(plan, &floor_pairs)?];
    let costs = own.iter().map(|(_, judged)| judged.cost);
    let mean = |cost: fn(&crate::cost::Cost) -> f64| costs.clone().map(|c| cost(&c)).sum::<f64>() / own.len() as f64;
    let peak = costs.clone().map(|cost| cost.peak_mib).try_fold(0.0_f64, |most, peak| Some(most.max(peak?)));
    let nth = |evaluation: &Evaluation, i: usize| {
        evaluation.metrics().nth(i).map_or_else(|| Metric::Undefined("not computed".to_owned()), |(_, metric)| metric)
    };
    let row = |(i, column): (usize, &'static Column)| {
        let metrics: Vec<_> = own.iter().map(|(seed, judged)| (*seed, nth(&judged.evaluation, i))).collect();
        let undefined = metrics.iter().find_map(|(_, metric)| metric.reason()).map(str::to_owned);
        let by_seed: BTreeMap<u64, f64> =
            metrics.iter().filter_map(|(seed, metric)| Some((*seed, metric.value()?))).collect();
        let values: Vec<f64> = by_seed.values().copied().collect();
        let (mean_value, std) = match &undefined {
            None => mean_std(&values).map_or((None, None), |(mean, std)| (Some(mean), std)),
            Some(_) => (None, None),
        };
        let compared = |pairs: &Pairs<'_>, resampled: &Option<Vec<Differences>>| {
            let exact = |(a, b): &(&Evaluation, &Evaluation)| Some(nth(b, i).value()? - nth(a, i).value()?);
            let exact: Vec<f64> = pairs.iter().map(exact).collect::<Option<_>>()?;
            difference(plan, mean_std(&exact)?.0, resampled.as_ref()?, i)
        };
        Row {
            model: plan.models[model].label.clone(),
            group: plan.data.index().groups[group].name.clone(),
            variant: plan.variants[variant].name.clone(),
            backends: plan.stages(model, &plan.variants[variant].recipe),
            metric: column.name,
            lower_is_better: column.lower_is_better,
            has_parts: own.iter().all(|(_, judged)| judged.evaluation.has_parts()),
            mean: mean_value,
            std,
            by_seed,
            seeds: own.len(),
            units: own.first().map_or(0, |(_, judged)| judged.evaluation.strata().iter().map(Vec::len).sum()),
            undefined,
            difference: compared(&pairs, &resampled),
            over_floor: compared(&floor_pairs, &over_floor),
            train_seconds: mean(|cost| cost.train_seconds),
            score_ms: mean(|cost| cost.score_ms),
            input_ms: mean(|cost| cost.input_ms),
            peak_mib: peak,
        }
    };
    let columns: Vec<&'static Column> = own
        .first()
        .map(|(_, judged)| judged.evaluation.metrics().map(|(column, _)| column).collect())
        .unwrap_or_default();
    let rows = columns.into_iter().enumerate().map(row).collect();
    Ok(Some(Entry { rows, resampled, over_floor }))
}

/// A variant beside the baseline of each of its seeds, and beside the motion floor, which knows no seeds. Both are empty for the floor, the
/// first for the baseline.
fn references<'a>(
    plan: &Plan,
    cells: &'a [Cell],
    [model, group, variant]: [usize; 3],
    own: &[(u64, &'a Judged)],
) -> [Pairs<'a>; 2] {
    let floor = plan.motion_floor();
    if floor == Some(variant) {
        return [Vec::new(), Vec::new()];
    }
    let baseline = if variant == 0 { Vec::new() } else { judged(cells, [model, group, 0]) };
    let find = |seed: u64| baseline.iter().find(|(other, _)| *other == seed).map(|(_, judged)| &judged.evaluation);
    let floor =
        floor.and_then(|floor| judged(cells, [model, group, floor]).first().map(|(_, floor)| &floor.evaluation));
    let pairs = |reference: &dyn Fn(u64) -> Option<&'a Evaluation>| {
        own.iter().filter_map(|(seed, judged)| Some((reference(*seed)?, &judged.evaluation))).collect()
    };
    [pairs(&find), pairs(&|_| floor)]
}

/// `None` where there is nothing to compare.
fn resampled(plan: &Plan, pairs: &Pairs<'_>) -> Result<Option<Vec<Differences>>> {
    let Some((first, _)) = pairs.first() else { return Ok(None) };
    let design = Design { seeds: pairs.len(), strata: first.strata(), resamples: plan.config.eval.resamples };
    let differences = resample(design, |seed, images| {
        let (reference, variant) = pairs[seed];
        let pairs = reference.resampled(images)?.into_iter().zip(variant.resampled(images)?);
        Ok(pairs.map(|(a, b)| a.zip(b).map(|(a, b)| b - a)).collect())
    });
    differences.map(Some)
}

fn difference(plan: &Plan, exact: f64, resampled: &[Differences], column: usize) -> Option<Difference> {
    let values: Vec<Option<f64>> = resampled.iter().map(|row| row.get(column).copied().flatten()).collect();
    interval(exact, &values, plan.config.eval.confidence)
}

/// The mean of each metric over groups; groups are resampled each on its own.
fn over_groups(plan: &Plan, entries: &[&Entry]) -> Vec<Row> {
    let n = entries.len() as f64;
    let row = |i: usize| {
        let of_column: Vec<&Row> = entries.iter().map(|entry| &entry.rows[i]).collect();
        let mean = |value: fn(&Row) -> Option<f64>| {
            of_column.iter().map(|row| value(row)).sum::<Option<f64>>().map(|sum| sum / n)
        };
        let first = of_column.first()?;
        let by_seed = seeds_of_all(&of_column);
        let values: Vec<f64> = by_seed.values().copied().collect();
        let missing = of_column.iter().filter(|row| row.mean.is_none()).count();
        let compared = |of: fn(&Row) -> Option<Difference>, resampled: fn(&Entry) -> Option<&Vec<Differences>>| {
            let exact = of_column.iter().map(|row| of(row).map(|difference| difference.mean)).sum::<Option<f64>>()?;
            let all: Vec<&Vec<Differences>> = entries.iter().map(|entry| resampled(entry)).collect::<Option<_>>()?;
            interval(exact / n, &average(&all, i), plan.config.eval.confidence)
        };
        Some(Row {
            group: ALL_GROUPS.to_owned(),
            mean: mean(|row| row.mean),
            std: mean_std(&values).and_then(|(_, std)| std),
            by_seed,
            seeds: of_column.iter().map(|row| row.seeds).min().unwrap_or(0),
            units: of_column.iter().map(|row| row.units).sum(),
            undefined: (missing > 0).then(|| format!("undefined in {missing} of {} groups", entries.len())),
            difference: compared(|row| row.difference, |entry| entry.resampled.as_ref()),
            over_floor: compared(|row| row.over_floor, |entry| entry.over_floor.as_ref()),
            train_seconds: of_column.iter().map(|row| row.train_seconds).sum::<f64>() / n,
            score_ms: of_column.iter().map(|row| row.score_ms).sum::<f64>() / n,
            input_ms: of_column.iter().map(|row| row.input_ms).sum::<f64>() / n,
            peak_mib: of_column.iter().map(|row| row.peak_mib).try_fold(0.0_f64, |most, peak| Some(most.max(peak?))),
            ..(*first).clone()
        })
    };
    let columns = entries.iter().map(|entry| entry.rows.len()).min().unwrap_or(0);
    (0..columns).filter_map(row).collect()
}

/// The mean over groups for each seed that has a value in all of them.
fn seeds_of_all(groups: &[&Row]) -> BTreeMap<u64, f64> {
    let seeds = groups.first().into_iter().flat_map(|row| row.by_seed.keys().copied());
    let mean = |seed| {
        let sum: Option<f64> = groups.iter().map(|row| row.by_seed.get(&seed).copied()).sum();
        sum.map(|sum| (seed, sum / groups.len() as f64))
    };
    seeds.filter_map(mean).collect()
}

/// One metric's mean over groups in every resample.
fn average(groups: &[&Vec<Differences>], column: usize) -> Vec<Option<f64>> {
    let resamples = groups.iter().map(|group| group.len()).min().unwrap_or(0);
    let value = |group: &Vec<Differences>, resample: usize| group[resample].get(column).copied().flatten();
    let one = |resample| groups.iter().map(|group| value(group, resample)).sum::<Option<f64>>();
    (0..resamples).map(|resample| one(resample).map(|sum| sum / groups.len() as f64)).collect()
}
