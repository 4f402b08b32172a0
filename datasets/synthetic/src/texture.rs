//! Textures: surfaces that fill the picture.

use std::f64::consts::{PI, TAU};

use crate::design::{Detail, Surface};
use mimus_drawing::geometry::{Point, Rgb, mix, shade};

/// A plain weave of two yarns, each thread of a slightly different tone.
pub(crate) fn weave(detail: &Detail<'_>, p: Point) -> Surface {
    const THREADS: f64 = 6.5;
    let sway = 0.05 * detail.noise.at([p[0] * 1.5, p[1] * 1.5]);
    let density = THREADS * (1.0 + 0.03 * detail.whim[0]);
    let [u, v] = [p[0] * density + sway, p[1] * density - sway];
    let (column, row) = (u.floor(), v.floor());
    let (du, dv) = (u - column - 0.5, v - row - 0.5);
    let warp_on_top = (column + row).rem_euclid(2.0) < 0.5;
    let (across, along, thread, yarn): (f64, f64, f64, Rgb) = match warp_on_top {
        true => (du, dv, column, [0.74, 0.66, 0.52]),
        false => (dv, du, row + 101.0, [0.42, 0.47, 0.56]),
    };
    let tone = 1.0 + 0.12 * detail.noise.at([thread * 0.37, 0.5]);
    let roundness = (1.0 - 2.6 * across * across) * (0.72 + 0.28 * (PI * along).cos());
    let fibre = 1.0 + 0.06 * (TAU * (3.0 * across + along)).sin();
    Surface { color: shade(yarn, tone * roundness * fibre), cover: 1.0 }
}

/// Clouds with dark veins.
pub(crate) fn marble(detail: &Detail<'_>, p: Point) -> Surface {
    let clouds = detail.noise.octaves([p[0] * 1.3, p[1] * 1.3], 4);
    let fold = (3.0 * (p[0] + 0.6 * p[1]) + 2.2 * clouds).sin().abs();
    let vein = (1.0 - fold).powi(5) * (0.6 + 0.3 * detail.whim[0]);
    let stone = mix([0.86, 0.83, 0.78], [0.58, 0.58, 0.62], (0.5 + 0.7 * clouds).clamp(0.0, 1.0));
    Surface { color: mix(stone, [0.38, 0.37, 0.40], vein.clamp(0.0, 1.0)), cover: 1.0 }
}

/// Long grain with early and late wood and fine pores.
pub(crate) fn wood(detail: &Detail<'_>, p: Point) -> Surface {
    let drift = detail.noise.octaves([p[0] * 1.1, p[1] * 0.25], 2);
    let rings = (5.0 + detail.whim[0]) * p[0] + 2.0 * drift;
    let late = (rings - rings.floor()).powi(3);
    let pores = detail.noise.at([p[0] * 45.0, p[1] * 3.0]).max(0.0);
    let color = mix([0.76, 0.58, 0.38], [0.52, 0.34, 0.19], 0.75 * late * (1.0 - late.powi(8)));
    Surface { color: shade(color, 1.0 - 0.22 * pores + 0.04 * drift), cover: 1.0 }
}
