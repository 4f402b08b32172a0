//! `mimus export`: the deployed detector of a trained cell as one ONNX file, and its weights as safetensors.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use mimus_core::abi::Registry;
use mimus_core::plugin::{ExportRequest, Kind};
use mimus_core::train::STATE_PREFIX;
use mimus_core::{Context, Error, Result, passes};

use super::{Choice, Source};
use crate::cell::{Scores, Workshop};
use crate::deploy::deployed;
use crate::facts::{self, Facts};
use crate::folder::Folder;
use crate::maps::{DRAWN_BY, Range};
use crate::network::ONNX;
use crate::plan::{Lineup, Plan, Recipe};
use crate::plugins::Places;
use crate::store::Tensors;
use crate::{files, print, store};

#[derive(Debug, Args)]
pub(crate) struct Export {
    #[command(flatten)]
    source: Source,
    /// The ONNX file to write: pixels `image [N, H, W, 3]` from 0 to 255, to `score [N]` and `score_map [N, 1, H, W]`
    #[arg(value_name = "MODEL.ONNX")]
    file: PathBuf,
    #[command(flatten)]
    choice: Choice,
    /// Images that the file takes at once
    #[arg(long, default_value_t = 1, value_name = "N")]
    batch: usize,
    /// Height and width of the pictures, which the file then resizes itself, for example 700x700
    #[arg(long, value_name = "HxW", value_parser = extents)]
    input_size: Option<[usize; 2]>,
    /// Share of the held-out normal images whose scores the threshold is not below; 1 takes the highest
    #[arg(long, default_value_t = 1.0, value_name = "SHARE")]
    quantile: f64,
    /// Write the weights too, by their published names
    #[arg(long, value_name = "FILE")]
    safetensors: Option<PathBuf>,
}

impl Export {
    pub(crate) fn run(&self, places: &Places) -> Result<ExitCode> {
        if self.batch == 0 {
            return Err(Error::config("is 0, expects 1 or more").with("key", "--batch"));
        }
        if !(0.0..=1.0).contains(&self.quantile) {
            let error = Error::config(format!("is {}, expects a share from 0 to 1", self.quantile));
            return Err(error.with("key", "--quantile"));
        }
        let registry = crate::plugins::discover(places)?;
        let plan = Plan::new(Lineup::new(self.source.config()?, &registry)?)?;
        let cell = self.choice.cell(&plan)?;
        let folder = Folder::existing(&plan.config)?;
        let shop = Workshop::new(&plan, &folder, cell.model, cell.group)?;
        let variant = &plan.variants[cell.variant];
        let (weights, scores) = shop.weights(variant, cell.seed)?;

        let specs = plan.specs(cell.model, self.batch)?;
        let eval = variant.recipe.programs(&specs, &plan.config.boost)?.eval;
        let program = passes::optimise(&deployed(&eval, specs.of(&variant.recipe), self.input_size)?)?;
        let mut values = weights.clone();
        for variable in &program.variables {
            if !values.contains_key(&variable.name) {
                values.insert(variable.name.clone(), variable.first_value(0)?);
            }
        }
        let (program, variables) = passes::freeze(&program, &values)?;
        let facts = self.facts(&registry, &plan, &shop, &cell, &scores)?;
        let export = ExportRequest { program, variables, metadata: facts.0.clone() };
        let bytes = registry.backend(ONNX)?.export(&export).context("backend", ONNX)?;
        files::write(&self.file, &bytes)?;
        let mut said = format!("{}: {} bytes\n", self.file.display(), bytes.len());
        if let Some(path) = &self.safetensors {
            let published: Tensors = weights.into_iter().filter(|(name, _)| !name.starts_with(STATE_PREFIX)).collect();
            store::save(path, &published, &facts.0)?;
            said += &format!("{}: {} tensors\n", path.display(), published.len());
        }
        print(&said)?;
        Ok(ExitCode::SUCCESS)
    }

    /// What the file says about itself.
    fn facts(
        &self,
        registry: &Registry,
        plan: &Plan,
        shop: &Workshop<'_>,
        cell: &super::Cell,
        scores: &Scores,
    ) -> Result<Facts> {
        let mut facts = Facts::default();
        let version = |kind: Kind, name: &str| -> Result<String> {
            let library = registry.find(kind, name)?.library.as_ref();
            Ok(format!("{name} {}", library.map_or(env!("CARGO_PKG_VERSION"), |library| &library.manifest.version)))
        };
        let variant = &plan.variants[cell.variant];
        facts.say(facts::VERSION, env!("CARGO_PKG_VERSION"));
        facts.say("mimus.run", &plan.config.run.name);
        facts.say("mimus.group", &shop.data().name);
        facts.say("mimus.seed", cell.seed);
        facts.say("mimus.variant", &variant.name);
        facts.say("mimus.model", version(Kind::Model, &plan.models[cell.model].part.name)?);
        if let Recipe::Boosted(boosted) = &variant.recipe {
            facts.say("mimus.attention", version(Kind::Attention, &boosted.attention.name)?);
            if let Some(head) = &boosted.head {
                facts.say("mimus.head", version(Kind::Head, &head.name)?);
            }
            facts.write("mimus.lambda", &boosted.lambda)?;
        }
        let [height, width] = self.input_size.unwrap_or(shop.size());
        facts.say("mimus.input", format!("image [{}, {height}, {width}, 3], RGB from 0 to 255", self.batch));
        facts.say(facts::RESIZE, if self.input_size.is_some() { "inside" } else { "outside" });
        let how = &shop.spec().preprocessing;
        facts.say("mimus.color", format!("{:?}", how.color).to_lowercase());
        facts.write("mimus.mean", &how.mean)?;
        facts.write("mimus.std", &how.std)?;
        if let Some(threshold) = quantile(&scores.normal, self.quantile) {
            facts.write(facts::THRESHOLD, &threshold)?;
            let rule =
                format!("quantile {} of the scores of {} held-out normal images", self.quantile, scores.normal.len());
            facts.say("mimus.threshold_rule", rule);
        }
        facts.write(facts::NORMAL, &scores.normal)?;
        if let Some(maps) = &scores.maps {
            facts.write(facts::RANGE, &Range::of(&maps.sample(DRAWN_BY)?))?;
        }
        Ok(facts)
    }
}

/// The smallest score that at least `share` of all scores do not exceed; `None` if there are none.
fn quantile(scores: &[f32], share: f64) -> Option<f32> {
    let mut sorted = scores.to_vec();
    sorted.sort_by(f32::total_cmp);
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

/// `700x500` as height and width.
fn extents(text: &str) -> std::result::Result<[usize; 2], String> {
    let parsed = text.split_once('x').and_then(|(height, width)| Some([height.parse().ok()?, width.parse().ok()?]));
    parsed.filter(|[height, width]| *height > 0 && *width > 0).ok_or_else(|| "expects HEIGHTxWIDTH".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threshold_is_one_of_the_scores() {
        let scores = [0.3, 0.1, 0.2, 0.4];
        assert_eq!(quantile(&scores, 1.0), Some(0.4));
        assert_eq!(quantile(&scores, 0.5), Some(0.2));
        assert_eq!(quantile(&scores, 0.0), Some(0.1));
        assert_eq!(quantile(&[], 1.0), None);
    }

    #[test]
    fn extents_are_two_positive_numbers() {
        assert_eq!(extents("700x500"), Ok([700, 500]));
        assert!(extents("700").is_err() && extents("0x5").is_err());
    }
}
