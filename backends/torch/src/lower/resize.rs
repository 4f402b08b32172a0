//! Resampling of the spatial axes and its gradient.

use mimus_core::ops::Mode;
use mimus_core::ops::resize::taps;
use tch::{TchError, Tensor};

use super::{Kernel, Site, extents, one};

/// How the engine resamples, or that it would not take the sources that the contract names.
enum Way {
    /// The engine's own, in two dimensions; a single axis is two with an extent of 1.
    Plane { linear: bool, align_corners: bool },
    /// The engine's own, in three dimensions.
    Volume { linear: bool, align_corners: bool },
    /// Axis by axis, from these positions: the engine computes positions in single precision, and some would differ.
    Picked(Vec<(i64, Tensor)>),
}

fn way(mode: Mode, align_corners: bool, from: &[usize], to: &[usize], site: Site<'_>) -> Way {
    let axes = || (2..from.len()).map(|axis| (axis, from[axis], to[axis]));
    let linear = mode == Mode::Linear;
    let sources = |n, m| taps(n, m, mode, align_corners).into_iter().map(|(first, ..)| first as i64);
    let engines = |n: usize, m: usize| {
        let scale = n as f32 / m as f32;
        (0..m).map(move |i| ((i as f32 * scale).floor() as i64).min(n as i64 - 1))
    };
    if !linear && axes().any(|(_, n, m)| sources(n, m).ne(engines(n, m))) {
        let picked = |(axis, n, m): (usize, usize, usize)| {
            let positions: Vec<i64> = sources(n, m).collect();
            (axis as i64, Tensor::from_slice(&positions).to_device(site.settings.device))
        };
        return Way::Picked(axes().filter(|(_, n, m)| n != m).map(picked).collect());
    }
    if from.len() == 5 { Way::Volume { linear, align_corners } } else { Way::Plane { linear, align_corners } }
}

/// The last two or three extents, with an extent of 1 in front of a single one.
fn spatial(shape: &[usize]) -> Vec<i64> {
    if shape.len() == 3 { vec![1, shape[2] as i64] } else { extents(&shape[2..]) }
}

fn raised(x: &Tensor) -> Result<Tensor, TchError> {
    if x.dim() == 3 { x.f_unsqueeze(2) } else { Ok(x.shallow_clone()) }
}

pub(super) fn resample(mode: Mode, align_corners: bool, site: Site<'_>) -> Kernel {
    let (from, to) = (&site.inputs[0].shape, &site.outputs[0].shape);
    let (size, output) = (spatial(to), extents(to));
    let way = way(mode, align_corners, from, to, site);
    one(move |x| {
        let x = &x[0];
        let y = match &way {
            Way::Plane { linear: true, align_corners } => {
                raised(x)?.f_upsample_bilinear2d(&size, *align_corners, None, None)?
            }
            Way::Plane { .. } => raised(x)?.f_upsample_nearest2d(&size, None, None)?,
            Way::Volume { linear: true, align_corners } => {
                x.f_upsample_trilinear3d(&size, *align_corners, None, None, None)?
            }
            Way::Volume { .. } => x.f_upsample_nearest3d(&size, None, None, None)?,
            Way::Picked(axes) => {
                axes.iter().try_fold(x.shallow_clone(), |x, (axis, positions)| x.f_index_select(*axis, positions))?
            }
        };
        y.f_reshape(&output)
    })
}

pub(super) fn gradient(mode: Mode, align_corners: bool, site: Site<'_>) -> Kernel {
    let (from, to) = (&site.outputs[0].shape, &site.inputs[0].shape);
    let (size, before, output) = (spatial(to), extents(from), extents(from));
    let mut full = before[..2].to_vec();
    full.extend(spatial(from));
    let way = way(mode, align_corners, from, to, site);
    one(move |dy| {
        let dy = &dy[0];
        let dx = match &way {
            Way::Plane { linear: true, align_corners } => {
                Tensor::f_upsample_bilinear2d_backward(&raised(dy)?, &size, &full, *align_corners, None, None)?
            }
            Way::Plane { .. } => Tensor::f_upsample_nearest2d_backward(&raised(dy)?, &size, &full, None, None)?,
            Way::Volume { linear: true, align_corners } => {
                Tensor::f_upsample_trilinear3d_backward(dy, &size, &full, *align_corners, None, None, None)?
            }
            Way::Volume { .. } => Tensor::f_upsample_nearest3d_backward(dy, &size, &full, None, None, None)?,
            Way::Picked(axes) => axes.iter().try_fold(dy.shallow_clone(), |dy, (axis, positions)| {
                let mut shape = dy.size();
                shape[*axis as usize] = before[*axis as usize];
                dy.f_new_zeros(&shape, (tch::Kind::Float, dy.device()))?.f_index_add(*axis, positions, &dy)
            })?,
        };
        dx.f_reshape(&output)
    })
}
