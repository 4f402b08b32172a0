//! Objects: shapes by signed distance, shaded as if lit from the upper left.

use std::f64::consts::TAU;

use crate::design::{Detail, Surface};
use mimus_drawing::geometry::{Point, coverage, length, mix, polar, shade, sub, to_box};

/// Direction towards the light.
const LIGHT: Point = [-0.6, -0.8];

/// A toothed wheel of brushed steel with a bore and five round windows.
pub(crate) fn gear(detail: &Detail<'_>, p: Point) -> Surface {
    const TEETH: f64 = 12.0;
    const WINDOWS: f64 = 5.0;
    let (radius, angle) = (length(p), p[1].atan2(p[0]));
    let rim = 0.69 + 0.07 * (3.0 * (TEETH * angle).cos()).clamp(-1.0, 1.0);
    let fold = TAU / WINDOWS;
    let folded = polar(radius, (angle + 0.5 * fold).rem_euclid(fold) - 0.5 * fold);
    let window = 0.1 - length(sub(folded, [0.4, 0.0]));
    let distance = (radius - rim).max(0.17 - radius).max(window);
    let outward = if radius > 0.0 { [p[0] / radius, p[1] / radius] } else { [0.0, 0.0] };
    let lit = outward[0] * LIGHT[0] + outward[1] * LIGHT[1];
    let bevel = coverage(-distance - 0.03, 0.05) * if radius < 0.3 { -lit } else { lit };
    let brushed = 0.04 * detail.noise.at([radius * 30.0, 0.5]) + 0.05 * detail.noise.at([p[0] * 3.0, p[1] * 3.0]);
    let hub = if (0.23..0.27).contains(&radius) { -0.09 } else { 0.0 };
    let tone = 0.62 + 0.04 * detail.whim[0] + 0.13 * bevel + brushed + hub;
    Surface { color: shade([0.98, 1.0, 1.04], tone), cover: coverage(distance, detail.pixel) }
}

/// A hexagon bolt from the side: head, flange and threaded shaft.
pub(crate) fn bolt(detail: &Detail<'_>, p: Point) -> Surface {
    const PITCH: f64 = 0.07;
    let threaded = p[0] > -0.12;
    let ridge = if threaded { (TAU * (p[0] + 0.12 * p[1]) / PITCH).sin() } else { 0.0 };
    let shaft = to_box(sub(p, [0.2, 0.0]), [0.5, 0.135]) - 0.012 * ridge;
    let head = to_box(sub(p, [-0.5, 0.0]), [0.14, 0.29]) - 0.02;
    let flange = to_box(sub(p, [-0.325, 0.0]), [0.03, 0.34]);
    let distance = shaft.min(head).min(flange);
    let tone = if head.min(flange) < 0.0 {
        let facet = if p[1] < -0.15 {
            0.62
        } else if p[1] < 0.15 {
            0.78
        } else {
            0.46
        };
        if flange < 0.0 { 0.58 - 0.5 * p[1] } else { facet }
    } else {
        let round = (p[1] / 0.15 + 0.35).clamp(-1.0, 1.0);
        0.75 * (1.0 - round * round).sqrt() + 0.12 + 0.13 * ridge
    };
    let wear = 0.06 * detail.noise.octaves([p[0] * 6.0, p[1] * 6.0], 2);
    let brass = mix([0.80, 0.70, 0.46], [0.74, 0.72, 0.66], 0.5 + 0.5 * detail.whim[0]);
    Surface { color: shade(brass, tone + wear + 0.1), cover: coverage(distance, detail.pixel) }
}

/// A glossy capsule of two halves, the left one pushed over the right.
pub(crate) fn capsule(detail: &Detail<'_>, p: Point) -> Surface {
    let seam = 0.04 + 0.03 * detail.whim[1];
    let cap = p[0] < seam;
    let half_width = if cap { 0.27 } else { 0.25 };
    let axis = p[0].clamp(-0.42, 0.42);
    let across = length(sub(p, [axis, 0.0]));
    let color = if cap { [0.72, 0.16, 0.14] } else { [0.90, 0.84, 0.66] };
    let round = (1.0 - (across / half_width).powi(2)).max(0.0).sqrt();
    let gloss = coverage((p[1] + 0.12).abs() - 0.02, 0.06) * coverage(p[0].abs() - 0.40, 0.1);
    let lip = if cap && p[0] > seam - 0.025 { 0.85 } else { 1.0 };
    let grain = 1.0 + 0.04 * detail.noise.octaves([p[0] * 5.0, p[1] * 5.0], 2) + 0.05 * detail.whim[0];
    let lit = shade(color, (0.45 + 0.55 * round) * lip * grain);
    Surface { color: mix(lit, [1.0, 1.0, 0.98], 0.55 * gloss), cover: coverage(across - half_width, detail.pixel) }
}
