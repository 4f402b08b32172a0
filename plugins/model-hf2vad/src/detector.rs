//! The two networks together: graphs of the three training stages and of evaluation.

use mimus_core::blocks::dropout::Dropout;
use mimus_core::blocks::{loss, score};
use mimus_core::plugin::EMPTY_SCORE;
use mimus_core::{Builder, Graph, Phase, Result, ValueId, ValueType};

use super::flow::{Autoencoder, FLOW};
use super::frame::{Noise, Prediction, Predictor};

/// Frames before the predicted one, and flows that guide the prediction.
pub(super) const HISTORY: usize = 4;

/// The errors that the score joins.
pub(super) const ERRORS: [&str; 2] = ["flow", "frame"];

/// Which networks there are.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Parts {
    Both,
    Flow,
    Frame,
}

pub(super) struct Detector {
    pub(super) parts: Parts,
    pub(super) autoencoder: Autoencoder,
    pub(super) predictor: Predictor,
    /// N, H, W.
    pub(super) extents: [usize; 3],
    /// Probability with which the predictor drops features in training.
    pub(super) dropout: f64,
    pub(super) entropy_weight: f64,
    /// Weights of the standardised flow and frame errors in the score.
    pub(super) score_weights: [f64; 2],
}

/// Of all flows of a sample.
struct Flows {
    /// As the autoencoder saw them.
    given: ValueId,
    /// `[N, flows * 2, H, W]`.
    output: ValueId,
    /// Sum over the memories of the addressing's entropy, a scalar.
    entropy: ValueId,
    /// Level and addressing weights of every memory, a row for each flow.
    weights: Vec<(usize, ValueId)>,
}

struct Frames {
    target: ValueId,
    prediction: Prediction,
}

impl Detector {
    /// The autoencoder alone, on the flow of the target frame: mean squared error and entropy.
    pub(super) fn flow_stage(&self) -> Result<Graph> {
        let mut b = Builder::new("hf2vad-flow");
        let flow = self.flow(&mut b)?;
        let shape = b.shape(flow).to_vec();
        let last = b.slice(flow, &[0, shape[1] - FLOW, 0, 0], &shape)?;
        let flows = self.reconstruct(&mut b, last, Phase::Train)?;
        let terms = self.flow_terms(&mut b, &flows)?;
        b.output("flow_recon", flows.output)?;
        output_weights(&mut b, &flows)?;
        total(b, &terms)
    }

    /// The predictor: divergence of the two distributions, squared error, gradient loss. The autoencoder, if there is one, is in
    /// evaluation mode, and no gradient reaches it.
    pub(super) fn frame_stage(&self) -> Result<Graph> {
        let mut b = Builder::new("hf2vad-frame");
        let mut flow = self.flow(&mut b)?;
        if self.parts == Parts::Both {
            let flows = self.reconstruct(&mut b, flow, Phase::Eval)?;
            flow = b.stop_gradient(flows.output)?;
        }
        let frames = self.predict(&mut b, flow, Phase::Train)?;
        let terms = frame_terms(&mut b, &frames)?;
        b.output("frame_pred", frames.prediction.frame)?;
        total(b, &terms)
    }

    /// Both networks with all losses.
    pub(super) fn joint_stage(&self) -> Result<Graph> {
        let mut b = Builder::new("hf2vad");
        let flow = self.flow(&mut b)?;
        let flows = self.reconstruct(&mut b, flow, Phase::Train)?;
        let frames = self.predict(&mut b, flows.output, Phase::Train)?;
        let terms = [frame_terms(&mut b, &frames)?, self.flow_terms(&mut b, &flows)?].concat();
        total(b, &terms)
    }

    /// Errors summed over each sample; with both networks, each error standardised by the training samples' and weighted.
    pub(super) fn eval(&self) -> Result<Graph> {
        let mut b = Builder::new("hf2vad");
        let mut flow = self.flow(&mut b)?;
        let mut scores = Vec::new();
        if self.parts != Parts::Frame {
            let flows = self.reconstruct(&mut b, flow, Phase::Eval)?;
            flow = flows.output;
            b.output("flow_recon", flows.output)?;
            b.output("entropy", flows.entropy)?;
            output_weights(&mut b, &flows)?;
            scores.push(squared_error(&mut b, flows.output, flows.given)?);
        }
        if self.parts != Parts::Flow {
            let frames = self.predict(&mut b, flow, Phase::Eval)?;
            inspect(&mut b, &frames)?;
            scores.push(squared_error(&mut b, frames.prediction.frame, frames.target)?);
        }
        let [score, empty] = match scores[..] {
            [score] => [score, b.scalar(0.0)?],
            _ => {
                let named = ERRORS.into_iter().zip(scores).zip(self.score_weights);
                let named: Vec<_> = named.map(|((name, error), weight)| (name, error, weight)).collect();
                score::standardised_sum(&mut b, &named)?
            }
        };
        b.output("score", score)?;
        b.output(EMPTY_SCORE, empty)?;
        Ok(b.finish())
    }

    /// `[N, flows * 2, H, W]`, the flow of the last frame last.
    fn flow(&self, b: &mut Builder) -> Result<ValueId> {
        let [n, height, width] = self.extents;
        let flows = if self.parts == Parts::Flow { 1 } else { HISTORY };
        b.input("flow", ValueType::f32([n, flows * FLOW, height, width]))
    }

    /// The reconstruction of every flow in `given [N, flows * 2, H, W]`. In training the flows pass one by one, each a batch of its
    /// own for batch norm; the tap is the code of the last.
    fn reconstruct(&self, b: &mut Builder, given: ValueId, phase: Phase) -> Result<Flows> {
        let shape = b.shape(given).to_vec();
        let flows = shape[1] / FLOW;
        let together = phase == Phase::Eval;
        let parts = match together {
            true => vec![b.reshape(given, [shape[0] * flows, FLOW, shape[2], shape[3]])?],
            false => (0..flows).map(|i| channels(b, given, i * FLOW..(i + 1) * FLOW)).collect::<Result<_>>()?,
        };
        let mut read = Vec::new();
        for part in parts {
            read.push(self.within(b, "memAE", |b| self.autoencoder.forward(b, part, phase))?);
        }
        let outputs: Vec<ValueId> = read.iter().map(|one| one.output).collect();
        let joined = b.concat(&outputs, 1)?;
        let output = b.reshape(joined, shape)?;
        let Some(last) = read.last() else { return Err(mimus_core::Error::graph("there is no flow")) };
        let code = if together { of_last(b, last.code, flows)? } else { last.code };
        b.tap("memAE.down_3", code)?;
        let mut entropy = b.scalar(0.0)?;
        for (_, weights) in read.iter().flat_map(|one| &one.weights) {
            let own = loss::entropy(b, *weights)?;
            let share = b.affine(own, 1.0 / read.len() as f64, 0.0)?;
            entropy = b.add(entropy, share)?;
        }
        Ok(Flows { given, output, entropy, weights: last.weights.clone() })
    }

    /// The last frame of the input `frames [N, 5 colors, H, W]` as the others and `flow [N, 4 * 2, H, W]` predict it.
    fn predict(&self, b: &mut Builder, flow: ValueId, phase: Phase) -> Result<Frames> {
        let ([n, height, width], colors, max) = (self.extents, self.predictor.colors, self.predictor.max);
        let frames = b.input("frames", ValueType::f32([n, (HISTORY + 1) * colors, height, width]))?;
        let past = channels(b, frames, 0..HISTORY * colors)?;
        let target = channels(b, frames, HISTORY * colors..(HISTORY + 1) * colors)?;
        let coarse = b.input("eps0", ValueType::f32([n, max, height / 8, width / 8]))?;
        let (mut noise, mut dropout) = (Noise { coarse, fine: None }, Dropout::new(0.0));
        if phase == Phase::Train {
            noise.fine = Some(b.input("eps1", ValueType::f32([n, max, height / 4, width / 4]))?);
            dropout = Dropout::new(self.dropout);
        }
        let prediction = self.within(b, "vunet", |b| self.predictor.forward(b, [past, flow], noise, dropout))?;
        b.tap("vunet.f_phi.s4_2", prediction.code)?;
        b.tap("vunet.bottleneck", prediction.bottleneck)?;
        Ok(Frames { target, prediction })
    }

    /// Below the prefix of the complete model, or without it if the part is the model.
    fn within<T>(&self, b: &mut Builder, prefix: &str, body: impl FnOnce(&mut Builder) -> Result<T>) -> Result<T> {
        if self.parts == Parts::Both { b.scope(prefix, body) } else { body(b) }
    }

    /// Name, value and weight of each loss.
    fn flow_terms(&self, b: &mut Builder, flows: &Flows) -> Result<Vec<Term>> {
        let error = loss::mse(b, flows.output, flows.given)?;
        Ok(vec![("flow", error, 1.0), ("entropy", flows.entropy, self.entropy_weight)])
    }
}

type Term = (&'static str, ValueId, f64);

/// The training graph that ends with the weighted sum of `terms`.
fn total(mut b: Builder, terms: &[Term]) -> Result<Graph> {
    loss::output_sum(&mut b, terms)?;
    Ok(b.finish())
}

fn output_weights(b: &mut Builder, flows: &Flows) -> Result<()> {
    flows.weights.iter().try_for_each(|(level, weights)| b.output(&format!("att{level}"), *weights))
}

fn frame_terms(b: &mut Builder, frames: &Frames) -> Result<Vec<Term>> {
    let Frames { target, prediction } = frames;
    let mut divergence = b.scalar(0.0)?;
    for (posterior, prior) in prediction.posterior.iter().zip(&prediction.prior) {
        // Of two normal distributions of variance 1: half the squared distance of their means.
        let distance = squared_error(b, *posterior, *prior)?;
        let mean = loss::mean_all(b, distance)?;
        let half = b.affine(mean, 0.5, 0.0)?;
        divergence = b.add(divergence, half)?;
    }
    let frame = loss::mse(b, prediction.frame, *target)?;
    let gradient = loss::gradient_of_channel_sum(b, prediction.frame, *target)?;
    Ok(vec![("kl", divergence, 1.0), ("frame", frame, 1.0), ("gradient", gradient, 1.0)])
}

/// The prediction, the means of both distributions and the losses as outputs.
fn inspect(b: &mut Builder, frames: &Frames) -> Result<()> {
    let prediction = &frames.prediction;
    b.output("frame_pred", prediction.frame)?;
    for (i, (posterior, prior)) in prediction.posterior.iter().zip(&prediction.prior).enumerate() {
        b.output(&format!("posterior{i}"), *posterior)?;
        b.output(&format!("prior{i}"), *prior)?;
    }
    let terms = frame_terms(b, frames)?;
    terms.iter().try_for_each(|(name, value, _)| b.output(name, *value))?;
    let total = loss::weighted_sum(b, &terms)?;
    b.output("total", total)
}

/// Summed over each sample.
fn squared_error(b: &mut Builder, x: ValueId, y: ValueId) -> Result<ValueId> {
    let square = loss::squared_difference(b, x, y)?;
    loss::sum_by_sample(b, square)
}

/// Channels `range` of `x [N, C, H, W]`.
fn channels(b: &mut Builder, x: ValueId, range: std::ops::Range<usize>) -> Result<ValueId> {
    let mut ends = b.shape(x).to_vec();
    ends[1] = range.end;
    b.slice(x, &[0, range.start, 0, 0], &ends)
}

/// The features `[N, C, H, W]` of the last of `flows` flows from those of all, `[N * flows, C, H, W]`.
fn of_last(b: &mut Builder, x: ValueId, flows: usize) -> Result<ValueId> {
    let [n, c, h, w] = [0, 1, 2, 3].map(|axis| b.shape(x)[axis]);
    let joined = b.reshape(x, [n / flows, flows * c, h, w])?;
    channels(b, joined, (flows - 1) * c..flows * c)
}
