//! `mimus predict`: scores of any pictures by a variant that a run has trained.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use mimus_core::{Error, Result};

use super::Source;
use crate::cell::Workshop;
use crate::folder::{Folder, plain};
use crate::images::resize_map;
use crate::maps::{Range, write_overlay, write_tiff};
use crate::plan::{BASELINE, position};
use crate::plugins::Places;
use crate::print;
use crate::table::Table;

#[derive(Debug, Args)]
pub(crate) struct Predict {
    #[command(flatten)]
    source: Source,
    /// Pictures, or folders of pictures
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
    /// Which variant: baseline, or the name of a boosted one
    #[arg(long, default_value = BASELINE)]
    variant: String,
    /// Which of the run's seeds; the first if none is given
    #[arg(long)]
    seed: Option<u64>,
    /// Which group's detector; the first if none is given
    #[arg(long)]
    group: Option<String>,
    /// Which model; the first if none is given
    #[arg(long)]
    model: Option<String>,
    /// Write maps (TIFF) and overlays (PNG) into this folder
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl Predict {
    pub(crate) fn run(&self, places: &Places) -> Result<ExitCode> {
        let plan = self.source.plan(places)?;
        let files = pictures(&self.images)?;
        let group = position("group", self.group.as_deref(), plan.data.index().groups.iter().map(|g| g.name.as_str()))?;
        let model = position("model", self.model.as_deref(), plan.models.iter().map(|model| model.label.as_str()))?;
        let variant = position("variant", Some(&self.variant), plan.variants.iter().map(|v| v.name.as_str()))?;
        let seeds: Vec<String> = plan.config.run.seeds.iter().map(u64::to_string).collect();
        let seed = position("seed", self.seed.map(|s| s.to_string()).as_deref(), seeds.iter().map(String::as_str))?;
        let folder = Folder::existing(&plan.config)?;
        let shop = Workshop::new(&plan, &folder, model, group)?;
        let (variant, seed) = (&plan.variants[variant], plan.config.run.seeds[seed]);
        let mut session = plan.session(&plan.stages(model, &variant.recipe).eval)?;
        let (mut scorer, known) = shop.scorer(session.as_mut(), variant, seed)?;
        let range = known.maps.as_ref().map(|maps| maps.as_f32().map(Range::of)).transpose()?;
        let mut table = Table::new(&["image", "score", "share_of_normal_below"]);
        for file in &files {
            let pixels = mimus_decode::read(file)?;
            let picture = [shop.prepare(&pixels)?];
            let name = [file.display().to_string()];
            scorer.scores(&picture, &name, |_, scored| {
                let below = known.normal.iter().filter(|normal| **normal < scored.score).count();
                let share = match known.normal.len() {
                    0 => String::new(),
                    n => (below as f64 / n as f64).to_string(),
                };
                table.row(vec![name[0].clone(), scored.score.to_string(), share]);
                let (Some(out), Some(map), Some(range)) = (&self.out, scored.map, range) else { return Ok(()) };
                let map = resize_map(&map, shop.size(), picture[0].size);
                let stem = plain(&file.with_extension("").to_string_lossy());
                write_tiff(&out.join(format!("{stem}.tiff")), &map, picture[0].size)?;
                write_overlay(&out.join(format!("{stem}.png")), &pixels, &map, None, range)
            })?;
        }
        print(&table.csv())?;
        Ok(ExitCode::SUCCESS)
    }
}

/// The files that were named, and those in folders that were named, in order.
fn pictures(places: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for place in places {
        if !place.is_dir() {
            files.push(place.clone());
            continue;
        }
        let failed = |error: std::io::Error| Error::io("the folder cannot be read", place, &error);
        let mut inside = Vec::new();
        for entry in std::fs::read_dir(place).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.is_file() && is_picture(&path) {
                inside.push(path);
            }
        }
        if inside.is_empty() {
            return Err(Error::data("the folder holds no PNG, JPEG or BMP").with("folder", place.display()));
        }
        inside.sort();
        files.extend(inside);
    }
    Ok(files)
}

fn is_picture(path: &Path) -> bool {
    let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
    extension.is_some_and(|extension| ["png", "jpg", "jpeg", "bmp"].contains(&extension.as_str()))
}
