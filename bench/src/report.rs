//! What a run leaves for people and programs: `results.{json,csv,md}` and `predictions.csv`.

use mimus_core::metrics::Metric;
use mimus_core::{Error, ErrorKind, Result};
use serde::Serialize;
use std::collections::BTreeMap;

use crate::comparison::Row;
use crate::config::Config;
use crate::cost::Cost;
use crate::files;
use crate::folder::Folder;
use crate::plan::Plan;
use crate::progress::duration;
use crate::stages::Stages;
use crate::sweep::{Cell, Judged, Outcome};
use crate::table::Table;

/// `results.json`. Everything but the costs is the same in every repetition of the run.
#[derive(Serialize)]
struct Results<'a> {
    format: u32,
    mimus: &'static str,
    config: &'a Config,
    rows: &'a [Row],
    cells: Vec<CellRecord<'a>>,
    failures: &'a [Failure],
}

/// One finished cell.
#[derive(Serialize)]
struct CellRecord<'a> {
    model: &'a str,
    group: &'a str,
    variant: &'a str,
    #[serde(flatten)]
    backends: Stages,
    seed: u64,
    metrics: BTreeMap<&'static str, Metric>,
    /// Score at or above which an image or frame is called anomalous for its best F1: chosen on the test labels, so never for use.
    image_f1max_threshold: Metric,
    pixel_f1max_threshold: Option<Metric>,
    /// 8-connected anomalous regions in the masks.
    regions: Option<usize>,
    cost: Cost,
}

/// A cell that failed.
#[derive(Serialize)]
pub(crate) struct Failure {
    model: String,
    group: String,
    variant: String,
    seed: u64,
    error: String,
    hint: Option<String>,
    #[serde(skip)]
    kind: ErrorKind,
}

/// Names of a cell's model, group and variant.
fn names<'a>(plan: &'a Plan, cell: &Cell) -> [&'a str; 3] {
    [&plan.models[cell.model].label, &plan.data.index().groups[cell.group].name, &plan.variants[cell.variant].name]
}

fn judged(cells: &[Cell]) -> impl Iterator<Item = (&Cell, &Judged)> {
    cells.iter().filter_map(|cell| match &cell.outcome {
        Ok(Outcome::Judged(judged)) => Some((cell, judged.as_ref())),
        _ => None,
    })
}

/// The cells that failed.
pub(crate) fn failures(plan: &Plan, cells: &[Cell]) -> Vec<Failure> {
    let failure = |cell: &Cell| {
        let error = cell.outcome.as_ref().err()?;
        let [model, group, variant] = names(plan, cell).map(str::to_owned);
        let hint = error.next_step().map(str::to_owned);
        Some(Failure { model, group, variant, seed: cell.seed, error: error.one_line(), hint, kind: error.kind() })
    };
    cells.iter().filter_map(failure).collect()
}

impl Failure {
    pub(crate) fn kind(&self) -> ErrorKind {
        self.kind
    }
}

/// Writes all four files; returns the summary for the terminal.
pub(crate) fn write(
    plan: &Plan,
    folder: &Folder,
    cells: &[Cell],
    rows: &[Row],
    failures: &[Failure],
) -> Result<String> {
    let record = |(cell, judged): (&'_ Cell, &'_ Judged)| {
        let [model, group, variant] = names(plan, cell);
        let evaluation = &judged.evaluation;
        let (image_f1max_threshold, pixel_f1max_threshold) = evaluation.f1max_thresholds();
        CellRecord {
            model,
            group,
            variant,
            backends: plan.stages(cell.model, &plan.variants[cell.variant].recipe),
            seed: cell.seed,
            metrics: evaluation.metrics().collect(),
            image_f1max_threshold,
            pixel_f1max_threshold,
            regions: evaluation.regions(),
            cost: judged.cost,
        }
    };
    let results = Results {
        format: 1,
        mimus: env!("CARGO_PKG_VERSION"),
        config: &plan.config,
        rows,
        cells: judged(cells).map(record).collect(),
        failures,
    };
    let json = serde_json::to_string_pretty(&results).map_err(|error| Error::new(ErrorKind::Io, error.to_string()))?;
    files::write(&folder.path("results.json"), (json + "\n").as_bytes())?;
    files::write(&folder.path("results.csv"), table(rows).csv().as_bytes())?;
    files::write(&folder.path("predictions.csv"), predictions(plan, cells).csv().as_bytes())?;
    let summary = summary(plan, rows, failures);
    let page = format!("# {}\n\n{summary}\n## Every metric\n\n{}", plan.config.run.name, long(plan, rows).markdown());
    files::write(&folder.path("results.md"), page.as_bytes())?;
    Ok(summary)
}

/// `results.csv`: numbers as they are, nothing rounded.
fn table(rows: &[Row]) -> Table {
    let mut table = Table::new(&[
        "model",
        "group",
        "variant",
        "train_backend",
        "eval_backend",
        "metric",
        "mean",
        "std",
        "seeds",
        "difference",
        "low",
        "high",
        "undefined",
        "train_seconds",
        "score_ms_per_image",
        "peak_mib",
    ]);
    let number = |value: Option<f64>| value.map(|value| value.to_string()).unwrap_or_default();
    for row in rows {
        let difference = row.difference;
        table.row(vec![
            row.model.clone(),
            row.group.clone(),
            row.variant.clone(),
            row.backends.train.clone(),
            row.backends.eval.clone(),
            row.metric.to_owned(),
            number(row.mean),
            number(row.std),
            row.seeds.to_string(),
            number(difference.map(|d| d.mean)),
            number(difference.map(|d| d.low)),
            number(difference.map(|d| d.high)),
            row.undefined.clone().unwrap_or_default(),
            row.train_seconds.to_string(),
            row.score_ms.to_string(),
            number(row.peak_mib),
        ]);
    }
    table
}

fn predictions(plan: &Plan, cells: &[Cell]) -> Table {
    let mut table = Table::new(&["model", "group", "variant", "seed", "image", "defect", "anomalous", "score"]);
    for (cell, judged) in judged(cells) {
        let [model, group, variant] = names(plan, cell).map(str::to_owned);
        let test = &plan.data.index().groups[cell.group].test;
        for (info, score) in judged.positions.iter().map(|position| &test[*position]).zip(&judged.scores) {
            let seed = cell.seed.to_string();
            let (image, defect) = (info.id.clone(), info.defect.clone());
            let anomalous = u8::from(info.anomalous).to_string();
            let score = score.to_string();
            table.row(vec![model.clone(), group.clone(), variant.clone(), seed, image, defect, anomalous, score]);
        }
    }
    table
}

fn value(row: &Row) -> String {
    match (row.mean, row.std, &row.undefined) {
        (Some(mean), Some(std), _) => format!("{mean:.3} ± {std:.3}"),
        (Some(mean), None, _) => format!("{mean:.3}"),
        (None, _, reason) => format!("undefined: {}", reason.as_deref().unwrap_or("no value")),
    }
}

/// A difference, its interval, and whether zero lies outside of it.
fn gain(row: &Row) -> String {
    let Some(d) = row.difference else { return String::new() };
    let verdict = match (d.low > 0.0, d.high < 0.0) {
        (true, _) => ", better",
        (_, true) => ", worse",
        _ => "",
    };
    format!("{:+.3} [{:+.3}, {:+.3}]{verdict}", d.mean, d.low, d.high)
}

fn cost(row: &Row) -> [String; 3] {
    let peak = row.peak_mib.map_or_else(|| "unknown".to_owned(), |mib| format!("{mib:.0} MiB"));
    [duration(row.train_seconds), format!("{:.1} ms", row.score_ms), peak]
}

/// The main metrics of every variant, differences beside them.
fn summary(plan: &Plan, rows: &[Row], failures: &[Failure]) -> String {
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
                        .map(|row| [value(row), gain(row)])
                        .into_iter()
                        .flatten(),
                );
            }
            cells.extend(cost(row));
            table.row(cells);
        }
        text += &format!("## {} on {}\n\n{}\n", first.model, first.group, table.markdown());
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
    if plan.variants.len() == 1 {
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

/// A row for each variant, group and metric.
fn long(plan: &Plan, rows: &[Row]) -> Table {
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
            gain(row),
            train,
            score,
            peak,
        ]);
    }
    table
}
