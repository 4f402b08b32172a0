//! The program that leaves Mimus: from the pixels of a picture to its score, with everything in between inside.

use std::collections::BTreeMap;

use mimus_core::graph::{Graph, Inlining, ValueId, inline};
use mimus_core::plugin::{Color, Fill, ModelSpec, Preprocessing};
use mimus_core::{Builder, Error, HostTensor, Result, ValueType};

use crate::images::weights;

/// The input of a deployed program: `[N, H, W, 3]`, red, green and blue from 0 to 255.
pub(crate) const IMAGE: &str = "image";

/// Channels of [`IMAGE`]; a gray picture repeats its one.
pub(crate) const CHANNELS: usize = 3;

/// `eval` behind its preprocessing, with the outputs `score` and, where the model has one, `score_map`.
///
/// `source` is the height and width of the pictures; where it is not the model's size they are resized inside, as the bench does it.
pub(crate) fn deployed(eval: &Graph, spec: &ModelSpec, source: Option<[usize; 2]>) -> Result<Graph> {
    if spec.clip.frames > 1 {
        return Err(Error::config(format!("the model scores clips of {} frames", spec.clip.frames))
            .hint("only a model of single images can be exported"));
    }
    let filled = |name: &str, fill| spec.inputs.iter().any(|input| input.name == name && input.fill == fill);
    let image =
        eval.inputs().find(|(name, _)| filled(name, Fill::Image)).map(|(_, value)| eval.ty(value).shape.clone());
    let [n, _, height, width] = image.as_deref().unwrap_or_default() else {
        return Err(Error::config("the model has no input of single images").hint("only such a model can be exported"));
    };
    let (n, size) = (*n, [*height, *width]);
    let source = source.unwrap_or(size);
    let mut b = Builder::new(&eval.name);
    let raw = b.input(IMAGE, ValueType::f32([n, source[0], source[1], CHANNELS]))?;
    let planes = b.scope("preprocessing", |b| preprocessed(b, raw, &spec.preprocessing, source, size))?;
    let mut bindings = BTreeMap::new();
    for (name, value) in eval.inputs() {
        let bound = if filled(name, Fill::Image) { planes } else { b.fill(eval.ty(value).shape.clone(), 0.0)? };
        bindings.insert(name.to_owned(), bound);
    }
    let how = Inlining { prefix: "", variable: &|v| v, bindings: &bindings, redirect: &mut |_, _, value| Ok(value) };
    let inlined = inline(&mut b, eval, how)?;
    b.output("score", inlined.output("score")?)?;
    if let Some(map) = inlined.outputs.get("score_map") {
        b.output("score_map", *map)?;
    }
    Ok(b.finish())
}

/// `[N, H, W, 3]` as stored to `[N, C, H, W]` as the model sees it: channels, size, value range.
fn preprocessed(
    b: &mut Builder,
    raw: ValueId,
    how: &Preprocessing,
    source: [usize; 2],
    size: [usize; 2],
) -> Result<ValueId> {
    let planes = b.permute(raw, &[0, 3, 1, 2])?;
    let colored = match how.color {
        Color::Rgb => planes,
        Color::Bgr => {
            let mut parts = Vec::new();
            for channel in (0..CHANNELS).rev() {
                parts.push(channel_of(b, planes, channel)?);
            }
            b.concat(&parts, 1)?
        }
        Color::Gray => {
            // ITU-R 601, as the bench reduces colour.
            let shares = b.constant(HostTensor::f32([1, CHANNELS, 1, 1], vec![0.299, 0.587, 0.114])?)?;
            let weighted = b.mul(planes, shares)?;
            b.sum_keep(weighted, &[1])?
        }
    };
    let resized = if source == size { colored } else { resized(b, colored, size)? };
    let channels = how.color.channels();
    let constant = |b: &mut Builder, of: &dyn Fn(usize) -> f64| {
        b.constant(HostTensor::f32([1, channels, 1, 1], (0..channels).map(|c| of(c) as f32).collect())?)
    };
    let factor = constant(b, &|c| 1.0 / (255.0 * how.std[c]))?;
    let term = constant(b, &|c| -how.mean[c] / how.std[c])?;
    let scaled = b.mul(resized, factor)?;
    b.add(scaled, term)
}

fn channel_of(b: &mut Builder, planes: ValueId, channel: usize) -> Result<ValueId> {
    let [n, _, height, width] = *b.shape(planes) else { return Err(Error::graph("planes have four axes")) };
    b.slice(planes, &[0, channel, 0, 0], &[n, channel + 1, height, width])
}

/// Bilinear with antialiasing: a product with a constant matrix for the rows, and one for the columns.
fn resized(b: &mut Builder, planes: ValueId, [height, width]: [usize; 2]) -> Result<ValueId> {
    let turned = b.permute(planes, &[0, 1, 3, 2])?;
    let rows = last_axis(b, turned, height)?;
    let back = b.permute(rows, &[0, 1, 3, 2])?;
    last_axis(b, back, width)
}

fn last_axis(b: &mut Builder, x: ValueId, to: usize) -> Result<ValueId> {
    let mut shape = b.shape(x).to_vec();
    let from = shape.pop().unwrap_or(1);
    let outer = shape.iter().product();
    let mut matrix = vec![0.0; from * to];
    for target in 0..to {
        let (first, weights) = weights(from, to, target);
        weights.iter().enumerate().for_each(|(i, weight)| matrix[(first + i) * to + target] = *weight);
    }
    let matrix = b.constant(HostTensor::f32([from, to], matrix)?)?;
    let lines = b.reshape(x, vec![outer, from])?;
    let product = b.matmul(lines, matrix)?;
    shape.push(to);
    b.reshape(product, shape)
}
