//! `mimus predict`: scores of any pictures by a variant that a run has trained, or by an exported file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use mimus_core::plugin::{BackendRequest, Options, Pixels};
use mimus_core::{Context, Error, Result};

use super::{Choice, Source};
use crate::cell::Workshop;
use crate::exported::Exported;
use crate::facts;
use crate::folder::{Folder, plain};
use crate::images::resize_map;
use crate::maps::{DRAWN_BY, Range, write_overlay, write_tiff};
use crate::network::ONNX;
use crate::plugins::{self, Places};
use crate::print;
use crate::samples::Samples;
use crate::scorer::Scored;
use crate::table::Table;

#[derive(Debug, Args)]
pub(crate) struct Predict {
    /// The run's TOML file (none with --onnx), then pictures or folders of pictures
    #[arg(required = true, value_name = "RUN.TOML | IMAGE")]
    arguments: Vec<PathBuf>,
    /// Score with an exported file, without the run that it comes from
    #[arg(long, value_name = "MODEL.ONNX", conflicts_with_all = ["sets", "variant", "seed", "group", "model"])]
    onnx: Option<PathBuf>,
    /// Change a value of the configuration, for example --set run.threads=1
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    #[command(flatten)]
    choice: Choice,
    /// Write maps (TIFF) and overlays (PNG) into this folder
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// What pictures are compared with.
struct Known {
    /// Scores of the held-out normal images.
    normal: Vec<f32>,
    /// How maps are drawn, if there are any.
    range: Option<Range>,
    /// Pictures that are scored at once.
    batch: usize,
}

impl Predict {
    pub(crate) fn run(&self, places: &Places) -> Result<ExitCode> {
        match &self.onnx {
            Some(file) => self.by_file(file, places),
            None => self.by_run(places),
        }
    }

    fn by_run(&self, places: &Places) -> Result<ExitCode> {
        let [config, images @ ..] = &self.arguments[..] else { return Err(Error::config("names no run")) };
        if images.is_empty() {
            return Err(Error::config("names no pictures").hint("give the run's TOML file first, then pictures"));
        }
        let plan = Source { config: config.clone(), sets: self.sets.clone() }.plan(places)?;
        let cell = self.choice.cell(&plan)?;
        let folder = Folder::existing(&plan.config)?;
        let shop = Workshop::new(&plan, &folder, cell.model, cell.group)?;
        if shop.spec().clip.frames > 1 {
            let message = format!("the model sees clips of {} frames, not single pictures", shop.spec().clip.frames);
            return Err(Error::config(message).hint("judge videos with `mimus bench` or `mimus eval`"));
        }
        let variant = &plan.variants[cell.variant];
        let mut session = plan.session(&plan.stages(cell.model, &variant.recipe).eval)?;
        let (mut scorer, scores) = shop.scorer(session.as_mut(), variant, cell.seed)?;
        let drawn_by = scores.maps.as_ref().map(|maps| maps.sample(DRAWN_BY)).transpose()?;
        let range = drawn_by.map(|values| Range::of(&values));
        let known = Known { normal: scores.normal, range, batch: plan.config.train.batch };
        self.score_all(images, &known, |pictures| {
            let mut scored = Vec::new();
            let prepared = pictures
                .iter()
                .map(|(name, pixels)| Ok((shop.prepare(pixels).context("file", name)?, name.clone())))
                .collect::<Result<Vec<_>>>()?;
            scorer.scores(&Samples::of_length(1, prepared), |_, one| {
                scored.push(one);
                Ok(())
            })?;
            Ok(scored)
        })
    }

    fn by_file(&self, file: &Path, places: &Places) -> Result<ExitCode> {
        let backend = plugins::discover(places)?.backend(ONNX)?;
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let options = Options::resolve(&backend.info().options, BTreeMap::new())?;
        let session = backend.open(&BackendRequest { device: "auto".to_owned(), threads, options })?;
        let mut exported = Exported::open(file, session)?;
        let known = Known {
            normal: exported.facts.read(facts::NORMAL)?.unwrap_or_default(),
            range: exported.facts.read(facts::RANGE)?,
            batch: exported.batch,
        };
        self.score_all(&self.arguments, &known, |pictures| exported.scores(pictures))
    }

    /// Scores every picture, a batch at a time, and prints the table.
    fn score_all(
        &self,
        images: &[PathBuf],
        known: &Known,
        mut score: impl FnMut(&[(String, Pixels)]) -> Result<Vec<Scored>>,
    ) -> Result<ExitCode> {
        let mut table = Table::new(&["image", "score", "share_of_normal_below"]);
        for files in pictures(images)?.chunks(known.batch) {
            let read = |file: &PathBuf| Ok((file.display().to_string(), mimus_decode::read(file)?));
            let decoded = files.iter().map(read).collect::<Result<Vec<_>>>()?;
            let scored = score(&decoded)?;
            for ((file, (name, pixels)), scored) in files.iter().zip(decoded).zip(scored) {
                let below = known.normal.iter().filter(|normal| **normal < scored.score).count();
                let share = match known.normal.len() {
                    0 => String::new(),
                    n => (below as f64 / n as f64).to_string(),
                };
                table.row(vec![name, scored.score.to_string(), share]);
                self.draw(file, &pixels, scored, known)?;
            }
        }
        print(&table.csv())?;
        Ok(ExitCode::SUCCESS)
    }

    /// Writes the map and draws it over the picture, where that is asked for and there is one.
    fn draw(&self, file: &Path, pixels: &Pixels, scored: Scored, known: &Known) -> Result<()> {
        let (Some(out), Some(map), Some(range)) = (&self.out, scored.map, known.range) else { return Ok(()) };
        let size = [pixels.height, pixels.width];
        let map = resize_map(&map.values, map.extents, size);
        let stem = plain(&file.with_extension("").to_string_lossy());
        write_tiff(&out.join(format!("{stem}.tiff")), &map, size)?;
        write_overlay(&out.join(format!("{stem}.png")), pixels, &map, None, range)
    }
}

/// The files that were named, and those below folders that were named, in order.
fn pictures(places: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for place in places {
        match place.is_dir() {
            true => files.extend(mimus_decode::pictures(place)?),
            false => files.push(place.clone()),
        }
    }
    Ok(files)
}
