//! Losses on their own: values, and gradients with respect to their inputs.

use mimus_core::autodiff::differentiate;
use mimus_core::blocks::loss::focal;
use mimus_core::blocks::ssim::{self, Range};
use mimus_core::{Builder, Error, Graph, Result, ValueId};

use crate::Subject;
use crate::engine::{Engine, run_once};
use crate::ledger::{Before, Ledger};
use crate::training::value;

/// A loss of the named inputs; behind them stands `mask`.
struct Loss {
    /// Prefix of the stored arrays.
    name: &'static str,
    /// With gradients for each of them.
    inputs: &'static [&'static str],
    loss: fn(&mut Builder, &[ValueId]) -> Result<ValueId>,
}

const LOSSES: [Loss; 9] = [
    Loss { name: "ssim.unit", inputs: &["a", "b"], loss: |b, x| ssim::loss(b, x[0], x[1], Range::Guessed) },
    Loss { name: "ssim.signed", inputs: &["a", "b"], loss: |b, x| scaled(b, x, 2.0, -1.0) },
    Loss { name: "ssim.bytes", inputs: &["a", "b"], loss: |b, x| scaled(b, x, 255.0, 0.0) },
    Loss { name: "ssim.gray", inputs: &["a", "b"], loss: |b, x| cut(b, x, [2, 1, 20, 17]) },
    Loss { name: "ssim.small", inputs: &["a", "b"], loss: |b, x| cut(b, x, [2, 3, 6, 7]) },
    Loss { name: "ssim.close", inputs: &["a", "b"], loss: close },
    Loss { name: "focal", inputs: &["logits"], loss: |b, x| of_logits(b, x, 2.0, None) },
    Loss { name: "focal.gamma0", inputs: &["logits"], loss: |b, x| of_logits(b, x, 0.0, None) },
    Loss { name: "focal.alpha", inputs: &["logits"], loss: |b, x| of_logits(b, x, 2.0, Some([0.25, 0.75])) },
];

/// Stored losses that no block computes.
const OTHERS: [&str; 9] = [
    "gradient.",
    "intensity",
    "entropy",
    "shrink",
    "kl",
    "mnad.separateness",
    "mnad.compactness",
    "mnad.update",
    "mnad.read",
];

/// Whether the class is that of the losses.
pub(crate) fn knows(class: &str) -> bool {
    class == "see the entries"
}

/// Compares values and gradients.
///
/// # Errors
/// If a program or a stored array does not fit.
pub(crate) fn check(subject: &Subject<'_>, engine: &mut dyn Engine, ledger: &mut Ledger<'_>) -> Result<()> {
    for loss in &LOSSES {
        let results = run_once(engine, &loss.program(subject)?, &subject.state, &subject.inputs)?;
        ledger.compare(loss.name, value(&results, "loss")?, Before::All)?;
        for input in loss.inputs {
            ledger.compare(&format!("{}.grad/{input}", loss.name), value(&results, input)?, Before::All)?;
        }
    }
    let results = run_once(engine, &similarity(subject)?, &subject.state, &subject.inputs)?;
    ["map", "window"]
        .into_iter()
        .try_for_each(|array| ledger.compare(&format!("ssim.{array}"), value(&results, array)?, Before::All))?;
    OTHERS.into_iter().try_for_each(|prefix| ledger.leave(prefix))
}

fn input(b: &mut Builder, subject: &Subject<'_>, name: &str) -> Result<ValueId> {
    let ty = subject.inputs.get(name).map(|x| x.ty());
    b.input(name, ty.ok_or_else(|| Error::data(format!("there is no input `{name}`")))?)
}

impl Loss {
    /// The loss and, under the inputs' names, its gradients.
    fn program(&self, subject: &Subject<'_>) -> Result<Graph> {
        let mut b = Builder::new("loss");
        let inputs = self.inputs.iter().map(|name| input(&mut b, subject, name)).collect::<Result<Vec<_>>>()?;
        let mask = input(&mut b, subject, "mask")?;
        let loss = (self.loss)(&mut b, &[inputs.as_slice(), &[mask]].concat())?;
        b.output("loss", loss)?;
        for (name, gradient) in self.inputs.iter().zip(differentiate(&mut b, loss, &inputs)?) {
            b.output(name, gradient.ok_or_else(|| Error::data(format!("no gradient reaches `{name}`")))?)?;
        }
        Ok(b.finish())
    }
}

/// Inputs of another range.
fn scaled(b: &mut Builder, x: &[ValueId], factor: f64, term: f64) -> Result<ValueId> {
    let [x, y] = [b.affine(x[0], factor, term)?, b.affine(x[1], factor, term)?];
    ssim::loss(b, x, y, Range::Guessed)
}

/// The first corner of both inputs.
fn cut(b: &mut Builder, x: &[ValueId], ends: [usize; 4]) -> Result<ValueId> {
    let [x, y] = [b.slice(x[0], &[0; 4], &ends)?, b.slice(x[1], &[0; 4], &ends)?];
    ssim::loss(b, x, y, Range::Guessed)
}

/// An input and nearly the same.
fn close(b: &mut Builder, x: &[ValueId]) -> Result<ValueId> {
    let [most, rest] = [b.affine(x[0], 0.95, 0.0)?, b.affine(x[1], 0.05, 0.0)?];
    let near = b.add(most, rest)?;
    ssim::loss(b, x[0], near, Range::Guessed)
}

fn of_logits(b: &mut Builder, x: &[ValueId], gamma: f64, weights: Option<[f64; 2]>) -> Result<ValueId> {
    let probabilities = b.softmax(x[0], 1)?;
    focal(b, probabilities, x[1], gamma, weights)
}

fn similarity(subject: &Subject<'_>) -> Result<Graph> {
    let mut b = Builder::new("ssim");
    let (x, y) = (input(&mut b, subject, "a")?, input(&mut b, subject, "b")?);
    let map = ssim::map(&mut b, x, y, Range::Fixed(1.0))?;
    let window = b.constant(ssim::window()?)?;
    b.output("map", map)?;
    b.output("window", window)?;
    Ok(b.finish())
}
