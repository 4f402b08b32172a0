//! Losses and memory operations of several detectors on their own, with their gradients: one row of [`ENTRIES`] for each.

use mimus_core::autodiff::differentiate;
use mimus_core::blocks::items::{self, Rules};
use mimus_core::blocks::ssim::{self, Range};
use mimus_core::blocks::{loss, memory};
use mimus_core::{Builder, Error, Graph, Result, ValueId};

use crate::Subject;
use crate::engine::{Engine, load};
use crate::ledger::{Before, Ledger};
use crate::training::value;

/// What the index says in place of a constructor.
const CLASS: &str = "see the entries";

/// The input that weights a result which is no scalar, where its gradient is stored.
const WEIGHTS: &str = "G";

/// Whether the case is the one of losses.
pub(crate) fn knows(class: &str) -> bool {
    class == CLASS
}

/// A stored array; the gradient with respect to an input is `<name>.grad/<input>`.
struct Entry {
    name: &'static str,
    inputs: &'static [&'static str],
    build: fn(&mut Builder, &[ValueId]) -> Result<ValueId>,
}

const ENTRIES: &[Entry] = &[
    Entry { name: "ssim.unit", inputs: &["a", "b"], build: |b, x| ssim::loss(b, x[0], x[1], Range::Guessed) },
    Entry { name: "ssim.signed", inputs: &["a", "b"], build: |b, x| scaled(b, x, 2.0, -1.0) },
    Entry { name: "ssim.bytes", inputs: &["a", "b"], build: |b, x| scaled(b, x, 255.0, 0.0) },
    Entry { name: "ssim.gray", inputs: &["a", "b"], build: |b, x| cut(b, x, [2, 1, 20, 17]) },
    Entry { name: "ssim.small", inputs: &["a", "b"], build: |b, x| cut(b, x, [2, 3, 6, 7]) },
    Entry { name: "ssim.close", inputs: &["a", "b"], build: close },
    Entry { name: "ssim.map", inputs: &["a", "b"], build: |b, x| ssim::map(b, x[0], x[1], Range::Fixed(1.0)) },
    Entry { name: "ssim.window", inputs: &[], build: |b, _| b.constant(ssim::window()?) },
    Entry { name: "focal", inputs: &["logits", "mask"], build: |b, x| of_logits(b, x, 2.0, None) },
    Entry { name: "focal.gamma0", inputs: &["logits", "mask"], build: |b, x| of_logits(b, x, 0.0, None) },
    Entry { name: "focal.alpha", inputs: &["logits", "mask"], build: |b, x| of_logits(b, x, 2.0, Some([0.25, 0.75])) },
    Entry {
        name: "gradient.future_frame",
        inputs: &["a", "b"],
        build: |b, x| loss::gradient_of_magnitudes(b, x[0], x[1]),
    },
    Entry {
        name: "gradient.hf2vad_a1",
        inputs: &["a", "b"],
        build: |b, x| loss::gradient_of_channel_sum(b, x[0], x[1]),
    },
    Entry { name: "intensity", inputs: &["a", "b"], build: |b, x| loss::mse(b, x[0], x[1]) },
    Entry { name: "entropy", inputs: &["att"], build: |b, x| loss::entropy(b, x[0]) },
    Entry { name: "entropy.sparse", inputs: &["att"], build: sparse_entropy },
    Entry { name: "shrink", inputs: &["att"], build: shrunk_softmax },
    Entry { name: "mnad.separateness", inputs: &["query", "keys"], build: |b, x| met(b, x)?.separateness(b) },
    Entry {
        name: "mnad.compactness",
        inputs: &["query", "keys"],
        build: |b, x| {
            let by_sample = met(b, x)?.compactness(b, Rules::Code)?;
            loss::mean_all(b, by_sample)
        },
    },
    Entry { name: "mnad.update", inputs: &["query", "keys"], build: |b, x| met(b, x)?.update(b, Rules::Code) },
    Entry { name: "mnad.read", inputs: &["query", "keys"], build: |b, x| met(b, x)?.read(b) },
];

/// Stored losses that no block computes: HF2-VAD's gradient loss with an exponent that it does not use, and its divergence, which the
/// cases of its networks compare.
const OTHERS: [&str; 2] = ["gradient.hf2vad_a2", "kl"];

fn met(b: &mut Builder, x: &[ValueId]) -> Result<items::Addressed> {
    let query = memory::unit(b, x[0])?;
    items::address(b, x[1], query)
}

/// The entropy of `relu(att - 0.5)`, of sum 1 over the slots.
fn sparse_entropy(b: &mut Builder, x: &[ValueId]) -> Result<ValueId> {
    let over = b.affine(x[0], 1.0, -0.5)?;
    let kept = b.relu(over)?;
    let sum = b.sum_keep(kept, &[1])?;
    let weights = b.div(kept, sum)?;
    loss::entropy(b, weights)
}

fn shrunk_softmax(b: &mut Builder, x: &[ValueId]) -> Result<ValueId> {
    let scaled = b.affine(x[0], 3.0, 0.0)?;
    let softmax = b.softmax(scaled, 1)?;
    memory::shrink(b, softmax, 0.02, false)
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
    loss::focal(b, probabilities, x[1], gamma, weights)
}

/// Compares every entry and its gradients.
///
/// # Errors
/// If a program or a stored array does not fit.
pub(crate) fn check(subject: &Subject<'_>, engine: &mut dyn Engine, ledger: &mut Ledger<'_>) -> Result<()> {
    for entry in ENTRIES {
        let gradients = ledger.names(&format!("{}.grad/", entry.name));
        let program = program(subject, entry, &gradients).map_err(|error| error.with("entry", entry.name))?;
        let inputs =
            program.inputs().filter_map(|(name, _)| Some((name.to_owned(), subject.inputs.get(name)?.clone())));
        let inputs = inputs.collect();
        let number = load(engine, &program, &subject.state)?;
        let results = engine.run(number, &inputs)?;
        ledger.compare(entry.name, value(&results, "value")?, Before::All)?;
        for input in gradients {
            ledger.compare(&format!("{}.grad/{input}", entry.name), value(&results, &input)?, Before::All)?;
        }
    }
    OTHERS.into_iter().try_for_each(|prefix| ledger.leave(prefix))
}

/// Output `value`, and the gradient of `value`, or of `sum(value * G)`, under the names of the inputs.
fn program(subject: &Subject<'_>, entry: &Entry, gradients: &[String]) -> Result<Graph> {
    let mut b = Builder::new("loss");
    let input = |b: &mut Builder, name: &str| {
        let given = subject.inputs.get(name).ok_or_else(|| Error::data(format!("there is no input `{name}`")))?;
        b.input(name, given.ty())
    };
    let inputs = entry.inputs.iter().map(|name| input(&mut b, name)).collect::<Result<Vec<_>>>()?;
    let result = (entry.build)(&mut b, &inputs)?;
    b.output("value", result)?;
    if gradients.is_empty() {
        return Ok(b.finish());
    }
    let loss = if b.shape(result).is_empty() {
        result
    } else {
        let weights = input(&mut b, WEIGHTS)?;
        let product = b.mul(result, weights)?;
        let axes: Vec<usize> = (0..b.shape(product).len()).collect();
        b.sum(product, &axes)?
    };
    for name in gradients {
        let input = entry.inputs.iter().zip(&inputs).find(|(known, _)| *known == name).map(|(_, input)| *input);
        let input = input.ok_or_else(|| Error::data(format!("`{name}` is no input of it")))?;
        let gradient = differentiate(&mut b, loss, &[input])?[0];
        b.output(name, gradient.ok_or_else(|| Error::data(format!("no gradient reaches `{name}`")))?)?;
    }
    Ok(b.finish())
}
