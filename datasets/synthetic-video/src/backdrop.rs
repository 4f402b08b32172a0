//! The empty scenes: surfaces without anybody on them.

use mimus_drawing::geometry::{Point, Rgb, coverage, mix, shade, to_box};
use mimus_drawing::noise::Noise;

use crate::design::Camera;

/// A paved square before a hedge and a house.
pub(crate) fn plaza(camera: &Camera, noise: &Noise, p: Point, pixel: f64) -> Rgb {
    const HEDGE: f64 = 0.24;
    const KERB: f64 = 0.40;
    if p[1] < HEDGE {
        let plaster = shade([0.74, 0.66, 0.55], 1.0 + 0.05 * noise.octaves([p[0] * 9.0, p[1] * 9.0], 3));
        let window = to_box([repeated(p[0], 0.26), p[1] - 0.09], [0.055, 0.062]);
        let pane = shade([0.30, 0.36, 0.43], 1.0 + 0.25 * noise.at([p[0] * 7.0 + 30.0, p[1] * 7.0]));
        let framed = mix(plaster, [0.90, 0.88, 0.83], coverage(window - 0.014, pixel));
        return mix(framed, pane, coverage(window, pixel));
    }
    if p[1] < KERB {
        let leaves = 1.0 + 0.35 * noise.octaves([p[0] * 22.0, p[1] * 22.0], 3);
        let hedge = shade([0.24, 0.38, 0.20], leaves);
        return mix(hedge, [0.66, 0.65, 0.62], coverage(KERB - 0.02 - p[1], pixel));
    }
    let ground = camera.ground(p);
    let worn = 1.0 + 0.07 * noise.octaves([ground[0] * 0.9, ground[1] * 0.9], 4);
    let slab = 1.0 + 0.06 * noise.at([ground[0].floor() * 0.37 + 0.2, ground[1].floor() * 0.53 + 60.0]);
    let joint = joints(camera, ground, 1.0, pixel);
    mix(shade([0.70, 0.68, 0.64], worn * slab), [0.50, 0.48, 0.46], joint)
}

/// A hall before a wall with doors.
pub(crate) fn corridor(camera: &Camera, noise: &Noise, p: Point, pixel: f64) -> Rgb {
    const SKIRTING: f64 = 0.54;
    if p[1] < SKIRTING {
        let rough = 1.0 + 0.03 * noise.octaves([p[0] * 6.0, p[1] * 6.0], 3);
        let lower = coverage(0.30 - p[1], pixel);
        let wall = shade(mix([0.82, 0.84, 0.80], [0.55, 0.66, 0.66], lower), rough);
        let door = to_box([repeated(p[0] - 0.25, 0.8), p[1] - 0.36], [0.12, 0.22]);
        let grain = 1.0 + 0.10 * noise.octaves([p[0] * 30.0, p[1] * 3.0 + 50.0], 2);
        let leaf = mix(wall, [0.38, 0.30, 0.24], coverage(door - 0.018, pixel));
        let board = mix(leaf, shade([0.60, 0.43, 0.27], grain), coverage(door, pixel));
        return mix(board, [0.30, 0.30, 0.30], coverage(SKIRTING - 0.025 - p[1], pixel));
    }
    let ground = camera.ground(p);
    let [column, row] = [0, 1].map(|i| (ground[i] / 0.8).floor());
    let dark = if (column + row).rem_euclid(2.0) < 0.5 { 0.84 } else { 1.0 };
    let worn = dark * (1.0 + 0.05 * noise.octaves([ground[0] * 1.3, ground[1] * 1.3], 3));
    mix(shade([0.72, 0.70, 0.62], worn), [0.42, 0.41, 0.38], 0.6 * joints(camera, ground, 0.8, pixel))
}

/// `x` within the nearest of the repetitions of something, from its middle.
fn repeated(x: f64, period: f64) -> f64 {
    x - period * (x / period).round()
}

/// How much of a pixel a joint between square slabs takes; far joints fade instead of flickering.
fn joints(camera: &Camera, ground: Point, slab: f64, pixel: f64) -> f64 {
    const HALF: f64 = 0.025;
    let scale = camera.focal / ground[1];
    let footprint = [pixel / scale, pixel * ground[1] / (camera.height * scale)];
    let across = |i: usize| {
        let width = footprint[i].max(HALF);
        coverage(repeated(ground[i], slab).abs() - HALF, width) * (2.0 * HALF / footprint[i]).min(1.0)
    };
    across(0).max(across(1))
}
