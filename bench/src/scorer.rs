//! Runs an evaluation program over pictures: calibration on held-out normal ones, then scores and maps.

use std::collections::BTreeMap;

use mimus_core::boost::CALIBRATION;
use mimus_core::plugin::{Batch, Fill, ModelSpec, ProgramId, Session};
use mimus_core::{Error, ErrorKind, Graph, HostTensor, Result, ValueId, passes};

use crate::fault;
use crate::images::{Picture, batch};
use crate::store::Tensors;

/// A loaded evaluation program.
pub(crate) struct Scorer<'a> {
    session: &'a mut dyn Session,
    spec: &'a ModelSpec,
    id: ProgramId,
    program: Graph,
}

/// What the program says of one picture.
pub(crate) struct Scored {
    pub(crate) score: f32,
    /// `[H, W]` of the model's input, if the model has a map.
    pub(crate) map: Option<Vec<f32>>,
}

impl<'a> Scorer<'a> {
    /// Loads `eval` with the trained `variables`; what these lack (calibration) begins as declared.
    pub(crate) fn new(
        session: &'a mut dyn Session,
        spec: &'a ModelSpec,
        eval: &Graph,
        variables: &BTreeMap<String, HostTensor>,
    ) -> Result<Self> {
        let program = program(eval)?;
        let id = session.load(&program)?;
        for variable in &program.variables {
            match variables.get(&variable.name) {
                Some(value) => session.write(&variable.name, value)?,
                None => session.write(&variable.name, &variable.first_value(0)?)?,
            }
        }
        Ok(Self { session, spec, id, program })
    }

    /// Measures mean and deviation of the task's and the mimicking score on normal pictures and writes them to the
    /// calibration's buffers; returns these.
    pub(crate) fn calibrate(&mut self, pictures: &[Picture]) -> Result<Tensors> {
        let mut moments: BTreeMap<&'static str, (f64, f64, f64)> = BTreeMap::new();
        let wanted = |program: &Graph, part: &str| program.variable(&format!("{CALIBRATION}.{part}.mean")).is_some();
        let has_map = self.program.output("score_map").is_some();
        let outputs: Vec<(usize, &'static str)> = (self.program.outputs.iter().enumerate())
            .filter_map(|(i, named)| calibrated(&named.name).map(|(part, map)| (i, part, map)))
            .filter(|(_, part, map)| *map == has_map && wanted(&self.program, part))
            .map(|(i, part, _)| (i, part))
            .collect();
        let mut written = Tensors::new();
        if outputs.is_empty() {
            return Ok(written);
        }
        self.each(pictures, |_, position, n, values| {
            for (output, part) in &outputs {
                let values = values[*output].as_f32()?;
                let length = values.len() / n;
                let entry = moments.entry(part).or_default();
                for value in &values[position * length..][..length] {
                    let value = f64::from(*value);
                    *entry = (entry.0 + 1.0, entry.1 + value, entry.2 + value * value);
                }
            }
            Ok(())
        })?;
        for (part, (n, sum, squares)) in moments {
            let mean = sum / n;
            let std = (squares / n - mean * mean).max(0.0).sqrt();
            if !std.is_finite() || std == 0.0 {
                return Err(Error::new(
                    ErrorKind::Numeric,
                    format!("the {part} score has deviation {std} over the held-out normal images"),
                )
                .hint("set boost.normalize = \"none\", or hold out more images with train.holdout"));
            }
            for (name, value) in [("mean", mean), ("std", std)] {
                let (name, value) = (format!("{CALIBRATION}.{part}.{name}"), HostTensor::scalar(value as f32));
                self.session.write(&name, &value)?;
                written.insert(name, value);
            }
        }
        Ok(written)
    }

    /// Scores every picture, in order.
    pub(crate) fn scores(
        &mut self,
        pictures: &[Picture],
        names: &[String],
        mut take: impl FnMut(usize, Scored) -> Result<()>,
    ) -> Result<()> {
        let position = |name: &str| self.program.outputs.iter().position(|named| named.name == name);
        let (score, map) = (position("score"), position("score_map"));
        let score = score.ok_or_else(|| Error::plugin("the evaluation program has no output `score`"))?;
        self.each(pictures, |picture, position, n, values| {
            let value = values[score].as_f32()?[position];
            let map = match map {
                Some(map) => {
                    let values = values[map].as_f32()?;
                    let length = values.len() / n;
                    Some(values[position * length..][..length].to_vec())
                }
                None => None,
            };
            let bad = !value.is_finite() || map.iter().flatten().any(|x| !x.is_finite());
            if bad {
                return Err(
                    Error::new(ErrorKind::Numeric, "the score is not a finite number").with("file", &names[picture])
                );
            }
            take(picture, Scored { score: value, map })
        })
    }

    /// Calls `take(picture, position in the batch, batch size, outputs)`; the last batch is filled up by repeating its last picture.
    fn each(
        &mut self,
        pictures: &[Picture],
        mut take: impl FnMut(usize, usize, usize, &[HostTensor]) -> Result<()>,
    ) -> Result<()> {
        let first = self.program.inputs().next().and_then(|(_, value)| self.program.ty(value).shape.first().copied());
        let n = first.unwrap_or(1);
        for start in (0..pictures.len()).step_by(n) {
            let taken: Vec<usize> = (start..start + n).map(|i| i.min(pictures.len() - 1)).collect();
            let values = inputs(&self.program, self.spec, pictures, &taken)?;
            let outputs = self.session.run(self.id, &values)?;
            for (position, picture) in (start..pictures.len().min(start + n)).enumerate() {
                take(picture, position, n, &outputs).map_err(|error| match error.kind() {
                    ErrorKind::Numeric => fault::locate(self.session, &self.program, &values, error),
                    _ => error,
                })?;
            }
        }
        Ok(())
    }
}

/// The evaluation program as it is run: scores, maps, and what calibration measures.
pub(crate) fn program(eval: &Graph) -> Result<Graph> {
    let wanted = |name: &str| matches!(name, "score" | "score_map") || calibrated(name).is_some();
    passes::optimise(&passes::keep_outputs(eval, wanted)?)
}

/// What an evaluation program is fed: the pictures at the positions `taken`, and zeros where training has noise.
pub(crate) fn inputs(program: &Graph, spec: &ModelSpec, pictures: &[Picture], taken: &[usize]) -> Result<Batch> {
    let input = |(name, value): (&str, ValueId)| {
        let ty = program.ty(value);
        let image = spec.inputs.iter().any(|input| input.name == name && input.fill == Fill::Image);
        let value = if image { batch(pictures, taken, &ty.shape)? } else { HostTensor::full(ty, 0.0) };
        Ok((name.to_owned(), value))
    };
    program.inputs().map(input).collect()
}

/// Which part of the fused score an output is, and whether it is a map.
fn calibrated(output: &str) -> Option<(&'static str, bool)> {
    match output {
        "task.score_map" => Some(("task", true)),
        "task.score" => Some(("task", false)),
        "mimicking.score_map" => Some(("mimicking", true)),
        "mimicking.score" => Some(("mimicking", false)),
        _ => None,
    }
}
