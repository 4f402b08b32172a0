//! `results.md`: what a run found, for people.

use mimus_core::metrics::ScorePart;

use crate::comparison::Row;
use crate::plan::Plan;
use crate::progress::duration;
use crate::report::Failure;
use crate::statistics::{Difference, LEAST_UNITS};
use crate::table::Table;

fn value(row: &Row) -> String {
    match (row.mean, row.std, &row.undefined) {
        (Some(mean), Some(std), _) => format!("{mean:.3} ± {std:.3}"),
        (Some(mean), None, _) => format!("{mean:.3}"),
        (None, _, reason) => format!("undefined: {}", reason.as_deref().unwrap_or("no value")),
    }
}

/// Whether a difference of a row's metric is a gain (`true`) or a loss; `None` where the interval holds 0 or stands on too few data.
fn verdict(row: &Row, difference: Difference) -> Option<bool> {
    let rises = match (difference.low > 0.0, difference.high < 0.0) {
        _ if row.units < LEAST_UNITS => return None,
        (true, _) => true,
        (_, true) => false,
        _ => return None,
    };
    Some(rises != row.lower_is_better)
}

/// A difference of a row's metric, its interval, and the verdict.
fn gain(row: &Row, difference: Option<Difference>) -> String {
    let Some(d) = difference else { return String::new() };
    let word = match verdict(row, d) {
        Some(true) => ", better",
        Some(false) => ", worse",
        None => "",
    };
    format!("{:+.3} [{:+.3}, {:+.3}]{word}", d.mean, d.low, d.high)
}

fn cost(row: &Row) -> [String; 3] {
    let peak = row.peak_mib.map_or_else(|| "unknown".to_owned(), |mib| format!("{mib:.0} MiB"));
    [duration(row.train_seconds), format!("{:.1} ms", row.score_ms), peak]
}

/// The main metrics of every variant, differences beside them.
pub(crate) fn summary(plan: &Plan, rows: &[Row], failures: &[Failure]) -> String {
    let confidence = 100.0 * plan.config.eval.confidence;
    let interval = format!("difference [{confidence:.0} % interval]");
    let shown: Vec<&str> = ["image AUROC", "frame AUROC, micro", "frame AUROC, macro", "AUPRO"]
        .into_iter()
        .filter(|name| rows.iter().any(|r| r.metric == *name && r.mean.is_some()))
        .collect();
    let mut text = String::new();
    for block in rows.chunk_by(|a, b| (&a.model, &a.group) == (&b.model, &b.group)) {
        let Some(first) = block.first() else { continue };
        let mut header = vec!["variant", "backend"];
        shown.iter().for_each(|name| header.extend([*name, interval.as_str()]));
        header.extend(["training", "scoring, an image", "peak memory"]);
        let mut table = Table::new(&header);
        for of_variant in block.chunk_by(|a, b| a.variant == b.variant) {
            let Some(row) = of_variant.first() else { continue };
            let mut cells = vec![row.variant.clone(), row.backends.to_string()];
            for name in &shown {
                cells.extend(
                    of_variant
                        .iter()
                        .find(|row| row.metric == *name)
                        .map(|row| [value(row), gain(row, row.difference)])
                        .into_iter()
                        .flatten(),
                );
            }
            cells.extend(cost(row));
            table.row(cells);
        }
        text += &format!("## {} on {}\n\n{}\n", first.model, first.group, table.markdown());
        text += &few(block);
        text += &below_floor(block);
        text += &ranked_by(&plan.config.eval.protocol.resolve().map(|p| p.parts).unwrap_or_default(), block);
        let weights =
            plan.config.model.iter().find(|model| model.label() == first.model).and_then(|m| m.weights.as_ref());
        if let Some(weights) = weights {
            text += &format!("The baseline was not trained here: it has the weights of `{}`.\n\n", weights.display());
        }
    }
    let (seeds, resamples) = (plan.config.run.seeds.len(), plan.config.eval.resamples);
    text += &format!(
        "Mean ± standard deviation over {seeds} seed(s). Differences to the baseline: paired bootstrap over images (of videos: whole ones) and seeds, \
         {resamples} resamples;\n\"better\" and \"worse\" stand where the interval excludes 0, nothing where the data do not decide.\n"
    );
    if rows.iter().any(|row| row.metric.starts_with("frame")) {
        let found = plan.config.eval.protocol.resolve();
        let described = found.map(|protocol| format!("`{}`: {}", protocol.name, protocol.describe()));
        text += &format!("Frames are judged by the protocol {}.\n", described.unwrap_or_default());
    }
    if plan.variants.iter().filter(|variant| variant.recipe.is_trained()).count() == 1 {
        text += "There is nothing to compare: boost.attention lists no module.\n";
    }
    if !failures.is_empty() {
        text += "\n## Failed cells\n\n";
        let mut table = Table::new(&["model", "group", "variant", "seed", "error", "hint"]);
        for f in failures {
            let hint = f.hint.clone().unwrap_or_default();
            table.row(vec![
                f.model.clone(),
                f.group.clone(),
                f.variant.clone(),
                f.seed.to_string(),
                f.error.clone(),
                hint,
            ]);
        }
        text += &table.markdown();
    }
    text
}

/// That one model's rows on one group stand on too few data for a verdict, if so.
fn few(rows: &[Row]) -> String {
    match rows.iter().find(|row| row.units < LEAST_UNITS && row.difference.or(row.over_floor).is_some()) {
        None => String::new(),
        Some(row) => format!(
            "Only {} images or videos are judged: intervals that draw from fewer than {LEAST_UNITS} are too narrow, so nothing is called better or worse here.\n\n",
            row.units
        ),
    }
}

/// Which of one model's rows on one group the data do not show to be above the motion floor, if there is one.
fn below_floor(rows: &[Row]) -> String {
    let judged = |row: &&Row| row.metric == "frame AUROC, micro" && row.over_floor.is_some();
    let named = |row: &Row| format!("`{}` {}", row.variant, gain(row, row.over_floor));
    let (above, below): (Vec<&Row>, Vec<&Row>) = rows
        .iter()
        .filter(judged)
        .partition(|row| row.over_floor.and_then(|difference| verdict(row, difference)) == Some(true));
    let list = |rows: &[&Row]| rows.iter().map(|row| named(row)).collect::<Vec<_>>().join("; ");
    match (above.is_empty(), below.is_empty()) {
        (true, true) => String::new(),
        (_, true) => format!("All are above the motion floor in micro frame AUROC: {}.\n\n", list(&above)),
        _ => format!(
            "NOT shown to be above the motion floor in micro frame AUROC, so nothing says that they see more than motion: {}.\n\n",
            list(&below)
        ),
    }
}

/// Which of one model's rows on one group are ranked by a protocol's parts, and which lack them.
fn ranked_by(parts: &[ScorePart], rows: &[Row]) -> String {
    let (with, without): (Vec<&Row>, Vec<&Row>) =
        rows.iter().filter(|row| row.metric == "frame AUROC, micro").partition(|row| row.has_parts);
    if parts.is_empty() || (with.is_empty() && without.is_empty()) {
        return String::new();
    }
    let list = |rows: &[&Row]| match rows {
        [] => "none".to_owned(),
        rows => rows.iter().map(|row| format!("`{}`", row.variant)).collect::<Vec<_>>().join(", "),
    };
    let outputs: Vec<String> = parts.iter().map(|part| format!("`{}`", part.output)).collect();
    format!(
        "Frames are ranked by the protocol's parts ({}; boosted, by the mimicking score too): {}; by `score` alone, lacking them: {}.\n\n",
        outputs.join(", "),
        list(&with),
        list(&without)
    )
}

/// A row for each variant, group and metric.
pub(crate) fn long(plan: &Plan, rows: &[Row]) -> Table {
    let confidence = 100.0 * plan.config.eval.confidence;
    let interval = format!("difference [{confidence:.0} % interval]");
    let mut table = Table::new(&[
        "model",
        "group",
        "metric",
        "variant",
        "backend",
        "mean ± std",
        &interval,
        "training",
        "scoring, an image",
        "peak memory",
    ]);
    for row in rows {
        let [train, score, peak] = cost(row);
        let (model, group) = (row.model.clone(), row.group.clone());
        table.row(vec![
            model,
            group,
            row.metric.to_owned(),
            row.variant.clone(),
            row.backends.to_string(),
            value(row),
            gain(row, row.difference),
            train,
            score,
            peak,
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::stages::Stages;

    fn row(variant: &str, low: f64) -> Row {
        Row {
            model: String::new(),
            group: String::new(),
            variant: variant.to_owned(),
            backends: Stages::none(),
            metric: "frame AUROC, micro",
            lower_is_better: false,
            has_parts: variant != "motion floor",
            mean: Some(0.5),
            std: None,
            by_seed: BTreeMap::new(),
            seeds: 1,
            units: LEAST_UNITS,
            undefined: None,
            difference: None,
            over_floor: Some(Difference { mean: low + 0.1, low, high: low + 0.2 }),
            train_seconds: 0.0,
            score_ms: 0.0,
            input_ms: 0.0,
            peak_mib: None,
        }
    }

    #[test]
    fn an_error_that_rises_is_worse() {
        let mut row = row("sca", 0.1);
        assert_eq!(gain(&row, row.over_floor), "+0.200 [+0.100, +0.300], better");
        row.lower_is_better = true;
        assert_eq!(gain(&row, row.over_floor), "+0.200 [+0.100, +0.300], worse");
        row.over_floor = Some(Difference { mean: -0.2, low: -0.3, high: -0.1 });
        assert_eq!(gain(&row, row.over_floor), "-0.200 [-0.300, -0.100], better");
        row.over_floor = Some(Difference { mean: 0.1, low: -0.1, high: 0.3 });
        assert_eq!(gain(&row, row.over_floor), "+0.100 [-0.100, +0.300]");
    }

    #[test]
    fn too_few_videos_decide_nothing() {
        let of = |units: usize| {
            let row = row("sca", 0.1);
            Row { units, difference: row.over_floor, ..row }
        };
        assert_eq!(few(&[of(6)]), "");
        assert!(below_floor(&[of(6)]).starts_with("All are above"));
        assert!(few(&[of(5)]).starts_with("Only 5 images or videos"));
        assert!(below_floor(&[of(5)]).starts_with("NOT shown"));
        assert_eq!(gain(&of(5), of(5).difference), "+0.200 [+0.100, +0.300]");
    }

    #[test]
    fn rows_that_lack_the_parts_of_the_protocol_are_named() {
        let parts = mimus_core::metrics::Protocol::named("mnad").unwrap().parts;
        assert_eq!(ranked_by(&[], &[row("baseline", 0.1)]), "");
        let found = ranked_by(&parts, &[row("baseline", 0.1), row("sca", 0.2), row("motion floor", 0.1)]);
        let expected = "(`psnr`, `compactness`; boosted, by the mimicking score too): `baseline`, `sca`; by `score` alone, lacking them: `motion floor`.";
        assert!(found.contains(expected), "{found}");
        assert!(ranked_by(&parts, &[row("motion floor", 0.1)]).contains("too): none; by"));
    }

    #[test]
    fn what_is_not_above_the_motion_floor_is_named() {
        assert_eq!(below_floor(&[Row { over_floor: None, ..row("baseline", 0.1) }]), "");
        let all = below_floor(&[row("baseline", 0.1), row("sca", 0.2)]);
        assert!(
            all.starts_with("All are above the motion floor") && all.contains("`sca` +0.300 [+0.200, +0.400], better"),
            "{all}"
        );
        let some = below_floor(&[row("baseline", 0.1), row("sca", -0.05)]);
        assert!(
            some.starts_with("NOT shown to be above") && some.contains("`sca` +0.050") && !some.contains("`baseline`"),
            "{some}"
        );
    }
}
