//! What a run leaves for people and programs: `results.{json,csv,md}` and `predictions.csv`.

use mimus_core::metrics::Metric;
use mimus_core::{Error, ErrorKind, Result};
use serde::Serialize;
use std::collections::BTreeMap;

use crate::comparison::Row;
use crate::config::Config;
use crate::cost::Cost;
use crate::curves;
use crate::files;
use crate::folder::Folder;
use crate::page::{long, summary};
use crate::plan::Plan;
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
    pub(crate) model: String,
    pub(crate) group: String,
    pub(crate) variant: String,
    pub(crate) seed: u64,
    pub(crate) error: String,
    pub(crate) hint: Option<String>,
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

/// Writes all four files and the score curves of videos; returns the summary for the terminal.
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
            metrics: evaluation.metrics().map(|(column, metric)| (column.name, metric)).collect(),
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
    let curves = curves::links(&curves::write(plan, folder, cells)?);
    let table = long(plan, rows).markdown();
    let page = format!("# {}\n\n{summary}\n{curves}## Every metric\n\n{table}", plan.config.run.name);
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
        "over_floor",
        "over_floor_low",
        "over_floor_high",
        "undefined",
        "train_seconds",
        "score_ms_per_image",
        "input_ms_per_image",
        "peak_mib",
    ]);
    let number = |value: Option<f64>| value.map(|value| value.to_string()).unwrap_or_default();
    for row in rows {
        let (difference, floor) = (row.difference, row.over_floor);
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
            number(floor.map(|d| d.mean)),
            number(floor.map(|d| d.low)),
            number(floor.map(|d| d.high)),
            row.undefined.clone().unwrap_or_default(),
            row.train_seconds.to_string(),
            row.score_ms.to_string(),
            row.input_ms.to_string(),
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
