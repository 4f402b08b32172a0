//! A training batch: half of the pictures as they are, the others with a defect painted in (section 3.3).

use mimus_core::plugin::Batch;
use mimus_core::random::Stream;
use mimus_core::{Error, HostTensor, Result, synthesis};

use super::augment::augment;
use super::picture::Picture;
use super::texture::texture;
use super::{MASK, TARGET, TEXTURE, X};

/// How often things happen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Odds {
    /// A picture has no defect.
    pub(super) clean: f64,
    /// A picture is rotated.
    pub(super) rotated: f64,
}

/// A picture is rotated by at most so many degrees either way.
const ROTATION: f64 = 90.0;

/// At most this share of the picture shows through the defect's texture.
const TRANSPARENCY: f64 = 0.8;

/// Paints defects into `x [N, 3, H, W]` and adds what it was before as `target`, and where they are as `mask [N, 1, H, W]`. What is
/// painted with comes from `texture [N, 3, H, W]`, if that is there.
///
/// # Errors
/// If an input is missing or no batch of pictures.
pub(super) fn prepare(mut batch: Batch, odds: Odds, seed: u64) -> Result<Batch> {
    let pictures = batch.remove(X).ok_or_else(|| Error::data(format!("the batch has no input `{X}`")))?;
    let textures = batch.remove(TEXTURE);
    let shape = pictures.shape().to_vec();
    let [samples, 3, height, width] = shape[..] else {
        return Err(Error::data(format!("input `{X}` has shape {shape:?}, expects [N, 3, H, W]")));
    };
    if let Some(found) = textures.as_ref().map(HostTensor::shape).filter(|found| *found != shape) {
        return Err(Error::data(format!("input `{TEXTURE}` has shape {found:?}, expects {shape:?}")));
    }
    let size = [height, width];
    let mut made = Made::default();
    let values = 3 * height * width;
    for i in 0..samples {
        let of_sample = |all: &[f32]| all[i * values..][..values].to_vec();
        let texture = textures.as_ref().map(|all| Ok(of_sample(all.as_f32()?))).transpose()?;
        let mut stream = Stream::new(seed, &format!("defect/{i}"));
        made.add(of_sample(pictures.as_f32()?), texture, size, odds, &mut stream);
    }
    batch.insert(X.to_owned(), HostTensor::f32(shape.clone(), made.pictures)?);
    batch.insert(TARGET.to_owned(), HostTensor::f32(shape, made.targets)?);
    batch.insert(MASK.to_owned(), HostTensor::f32([samples, 1, height, width], made.masks)?);
    Ok(batch)
}

/// The samples so far, one after another.
#[derive(Default)]
struct Made {
    pictures: Vec<f32>,
    targets: Vec<f32>,
    masks: Vec<f32>,
}

impl Made {
    fn add(&mut self, picture: Vec<f32>, texture: Option<Vec<f32>>, size: [usize; 2], odds: Odds, stream: &mut Stream) {
        let plane = size[0] * size[1];
        let target = if stream.uniform() < odds.rotated {
            let degrees = stream.range(-ROTATION, ROTATION);
            picture.chunks_exact(plane).flat_map(|plane| synthesis::rotate(plane, size, degrees)).collect()
        } else {
            picture
        };
        if stream.uniform() < odds.clean {
            self.pictures.extend(&target);
            self.masks.resize(self.masks.len() + plane, 0.0);
        } else {
            let mask = synthesis::defect_mask(stream, size[0], size[1]);
            let paint = paint(texture, size, stream);
            let through = stream.range(0.0, TRANSPARENCY) as f32;
            let blended =
                target.iter().zip(paint).enumerate().map(|(i, (x, paint))| {
                    if mask[i % plane] == 0.0 { *x } else { (1.0 - through) * paint + through * x }
                });
            self.pictures.extend(blended);
            self.masks.extend(mask);
        }
        self.targets.extend(target);
    }
}

/// The texture, augmented, as values in [0, 1].
fn paint(given: Option<Vec<f32>>, [height, width]: [usize; 2], stream: &mut Stream) -> Vec<f32> {
    let mut picture = match given {
        Some(values) => Picture::of_values(&values, height, width),
        None => texture(stream, height, width),
    };
    augment(&mut picture, stream);
    picture.planes.iter().flatten().map(|x| f32::from(*x) / 255.0).collect()
}
