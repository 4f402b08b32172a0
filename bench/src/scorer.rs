//! Runs an evaluation program over pictures: calibration on held-out normal ones, then scores and maps.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use mimus_core::boost::{CALIBRATION, STUDENT};
use mimus_core::plugin::{Batch, EMPTY_SCORE, InputSpec, ModelSpec, ProgramId, STATISTICS, Session};
use mimus_core::{Error, ErrorKind, Graph, HostTensor, Result, ValueId, passes};

use crate::fault;
use crate::regions::Region;
use crate::samples::Samples;
use crate::store::Tensors;

/// A loaded evaluation program.
pub(crate) struct Scorer<'a> {
    session: &'a mut dyn Session,
    inputs: Vec<InputSpec>,
    id: ProgramId,
    program: Graph,
    /// Outputs `[N]` that are kept of every sample beside its score.
    parts: Vec<String>,
    /// Variables that the program changes, as training left them: every pass over samples begins there.
    state: Tensors,
    /// Time spent so far on decoding, resizing and arranging inputs.
    pub(crate) input: Duration,
}

/// What the program says of one picture.
pub(crate) struct Scored {
    pub(crate) score: f32,
    /// If the model has a map.
    pub(crate) map: Option<Map>,
    /// What the scorer was asked to keep beside the score, in this order.
    pub(crate) parts: Vec<f32>,
}

/// A score map.
pub(crate) struct Map {
    /// Height and width.
    pub(crate) extents: [usize; 2],
    /// `[H, W]`.
    pub(crate) values: Vec<f32>,
}

impl<'a> Scorer<'a> {
    /// Loads `eval` with the trained `variables`; what these lack (calibration) begins as declared. `parts` are outputs of `eval`.
    pub(crate) fn new(
        session: &'a mut dyn Session,
        spec: &ModelSpec,
        eval: &Graph,
        variables: &BTreeMap<String, HostTensor>,
        parts: Vec<String>,
    ) -> Result<Self> {
        let program = program(eval, &parts)?;
        let id = session.load(&program)?;
        let mut state = Tensors::new();
        for variable in &program.variables {
            let value = match variables.get(&variable.name) {
                Some(value) => value.clone(),
                None => variable.first_value(0)?,
            };
            session.write(&variable.name, &value)?;
            if program.assignments.iter().any(|named| named.name == variable.name) {
                state.insert(variable.name.clone(), value);
            }
        }
        Ok(Self { session, inputs: spec.inputs.clone(), id, program, parts, state, input: Duration::ZERO })
    }

    /// Measures mean and deviation of the model's own statistics over the pictures that it learned from, and writes them to its
    /// buffers; returns these.
    pub(crate) fn measure(&mut self, samples: &Samples<'_>) -> Result<Tensors> {
        let prefix = format!("{STATISTICS}.");
        let outputs: Vec<(usize, String)> = (self.program.outputs.iter().enumerate())
            .filter(|(_, named)| named.name.starts_with(&prefix))
            .map(|(i, named)| (i, named.name.clone()))
            .collect();
        let mut written = Tensors::new();
        for (name, [mean, std]) in self.moments(samples, &outputs)? {
            if !std.is_finite() || std == 0.0 {
                let message = format!("`{name}` has deviation {std} over the training images");
                return Err(Error::new(ErrorKind::Numeric, message));
            }
            for (part, value) in [("mean", mean), ("std", std)] {
                // In a boosted system these are the student's.
                for front in [String::new(), format!("{STUDENT}.")] {
                    let buffer = format!("{front}{name}.{part}");
                    if self.program.variable(&buffer).is_some() {
                        self.session.write(&buffer, &HostTensor::scalar(value as f32))?;
                        written.insert(buffer, HostTensor::scalar(value as f32));
                    }
                }
            }
        }
        Ok(written)
    }

    /// Mean and population deviation of all elements of outputs, over all pictures.
    fn moments<K: Ord + Clone>(
        &mut self,
        samples: &Samples<'_>,
        outputs: &[(usize, K)],
    ) -> Result<BTreeMap<K, [f64; 2]>> {
        let mut sums: BTreeMap<K, (f64, f64, f64)> = BTreeMap::new();
        if outputs.is_empty() {
            return Ok(BTreeMap::new());
        }
        self.each(samples, |_, position, n, values| {
            for (output, key) in outputs {
                let values = values[*output].as_f32()?;
                let length = values.len() / n;
                let entry = sums.entry(key.clone()).or_default();
                for value in &values[position * length..][..length] {
                    let value = f64::from(*value);
                    *entry = (entry.0 + 1.0, entry.1 + value, entry.2 + value * value);
                }
            }
            Ok(())
        })?;
        let moments = |(n, sum, squares): (f64, f64, f64)| {
            let mean = sum / n;
            [mean, (squares / n - mean * mean).max(0.0).sqrt()]
        };
        Ok(sums.into_iter().map(|(key, sums)| (key, moments(sums))).collect())
    }

    /// Measures mean and deviation of the task's and the mimicking score on normal pictures and writes them to the
    /// calibration's buffers; returns these.
    pub(crate) fn calibrate(&mut self, samples: &Samples<'_>) -> Result<Tensors> {
        let wanted = |program: &Graph, part: &str| program.variable(&format!("{CALIBRATION}.{part}.mean")).is_some();
        let has_map = self.program.output("score_map").is_some();
        let outputs: Vec<(usize, &'static str)> = (self.program.outputs.iter().enumerate())
            .filter_map(|(i, named)| calibrated(&named.name).map(|(part, map)| (i, part, map)))
            .filter(|(_, part, map)| *map == has_map && wanted(&self.program, part))
            .map(|(i, part, _)| (i, part))
            .collect();
        let mut written = Tensors::new();
        for (part, [mean, std]) in self.moments(samples, &outputs)? {
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

    /// Scores every frame, in order. Of a model of regions a frame has the highest score of its regions, and so has every pixel.
    ///
    /// # Errors
    /// If a score is no finite number, or a frame cannot be read.
    pub(crate) fn scores(
        &mut self,
        samples: &Samples<'_>,
        mut take: impl FnMut(usize, Scored) -> Result<()>,
    ) -> Result<()> {
        let position = |name: &str| self.program.outputs.iter().position(|named| named.name == name);
        let (score, map, empty) = (position("score"), position("score_map"), position(EMPTY_SCORE));
        let score = score.ok_or_else(|| Error::plugin("the evaluation program has no output `score`"))?;
        let parts = self.parts.iter().map(|name| {
            position(name).ok_or_else(|| Error::plugin(format!("the evaluation program has no output `{name}`")))
        });
        let parts = parts.collect::<Result<Vec<_>>>()?;
        let mut frame = Gathered::default();
        self.each(samples, |sample, position, n, values| {
            let value = values[score].as_f32()?[position];
            let (judged, region) = samples.place(sample);
            let map = match map {
                Some(map) => {
                    let ([.., height, width], all) = (values[map].shape(), values[map].as_f32()?) else {
                        return Err(Error::plugin("the score map is not [N, 1, H, W]"));
                    };
                    let length = all.len() / n;
                    Some(Map { extents: [*height, *width], values: all[position * length..][..length].to_vec() })
                }
                None => None,
            };
            let own = |part: &usize| Ok(values[*part].as_f32()?[position]);
            let parts = parts.iter().map(own).collect::<Result<Vec<f32>>>()?;
            let bad = !value.is_finite()
                || parts.iter().any(|part| !part.is_finite())
                || map.iter().flat_map(|map| &map.values).any(|x| !x.is_finite());
            if bad {
                return Err(Error::new(ErrorKind::Numeric, "the score is not a finite number")
                    .with("file", samples.name(judged)));
            }
            let Some(region) = region else { return take(judged, Scored { score: value, map, parts }) };
            let empty = empty.ok_or_else(|| Error::plugin("a model of regions has no output `empty_score`"))?;
            frame.empty = Some(values[empty].as_f32()?[0]);
            frame.give(samples, judged, &mut take)?;
            frame.own.push((region, value));
            Ok(())
        })?;
        if samples.takes_regions() { frame.give(samples, samples.judged(), &mut take) } else { Ok(()) }
    }

    /// Calls `take(sample, position in the batch, batch size, outputs)`; the last batch is filled up by repeating its last sample.
    fn each(
        &mut self,
        samples: &Samples<'_>,
        mut take: impl FnMut(usize, usize, usize, &[HostTensor]) -> Result<()>,
    ) -> Result<()> {
        let first = self.program.inputs().next().and_then(|(_, value)| self.program.ty(value).shape.first().copied());
        let n = first.unwrap_or(1);
        self.state.iter().try_for_each(|(name, value)| self.session.write(name, value))?;
        for start in (0..samples.len()).step_by(n) {
            let taken: Vec<usize> = (start..start + n).map(|i| i.min(samples.len() - 1)).collect();
            let begin = Instant::now();
            let values = inputs(&self.program, &self.inputs, samples, &taken)?;
            self.input += begin.elapsed();
            let outputs = self.session.run(self.id, &values)?;
            for (position, sample) in (start..samples.len().min(start + n)).enumerate() {
                take(sample, position, n, &outputs).map_err(|error| match error.kind() {
                    ErrorKind::Numeric => fault::locate(self.session, &self.program, &values, error),
                    _ => error,
                })?;
            }
        }
        Ok(())
    }
}

/// The scores of one frame's regions, until all are there.
#[derive(Default)]
struct Gathered {
    /// The next frame that gets a score.
    frame: usize,
    own: Vec<(Region, f32)>,
    /// The score where there is no region.
    empty: Option<f32>,
}

impl Gathered {
    /// Gives the frames before `end` their scores.
    fn give(
        &mut self,
        samples: &Samples<'_>,
        end: usize,
        take: &mut impl FnMut(usize, Scored) -> Result<()>,
    ) -> Result<()> {
        while self.frame < end {
            let empty = self.empty.ok_or_else(|| {
                Error::data("no region was found in any frame").hint("give regions of a detector with input.regions")
            })?;
            let [height, width] = samples.truth(self.frame)?.size;
            let mut values = vec![empty; height * width];
            let mut score = empty;
            for (region, own) in self.own.drain(..) {
                score = score.max(own);
                for y in region.y1..region.y2 {
                    let row = &mut values[y * width..][region.x1..region.x2];
                    row.iter_mut().for_each(|value| *value = value.max(own));
                }
            }
            let map = Some(Map { extents: [height, width], values });
            // What regions have beside their scores does not add up to something of the frame.
            take(self.frame, Scored { score, map, parts: Vec::new() })?;
            self.frame += 1;
        }
        Ok(())
    }
}

/// The evaluation program as it is run: scores, maps, what calibration measures, and the outputs `parts`.
pub(crate) fn program(eval: &Graph, parts: &[String]) -> Result<Graph> {
    let wanted = |name: &str| {
        matches!(name, "score" | "score_map" | EMPTY_SCORE)
            || calibrated(name).is_some()
            || name.starts_with(STATISTICS)
            || parts.iter().any(|part| part == name)
    };
    passes::optimise(&passes::keep_outputs(eval, wanted)?)
}

/// What an evaluation program is fed: the pictures at the positions `taken`, and zeros where training has noise.
pub(crate) fn inputs(program: &Graph, known: &[InputSpec], samples: &Samples<'_>, taken: &[usize]) -> Result<Batch> {
    let input = |(name, value): (&str, ValueId)| {
        let ty = program.ty(value);
        let fill = known.iter().find(|input| input.name == name).map(|input| input.fill);
        let value = fill.map(|fill| samples.input(fill, taken, &ty.shape)).transpose()?.flatten();
        Ok((name.to_owned(), value.unwrap_or_else(|| HostTensor::full(ty, 0.0))))
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
