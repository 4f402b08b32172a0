//! Shapes of synthetic defects: thresholded Perlin noise, as DRAEM introduced it, and the rotation of a plane of pixels.
//!
//! Planes are row-major, `height * width` numbers.

use crate::random::Stream;

/// Exponents of the numbers of lattice cells along each side: 2^0 to 2^5.
const EXPONENTS: u64 = 6;

/// Where the noise is larger than this is a defect.
const THRESHOLD: f32 = 0.5;

/// A random mask of 0 and 1: Perlin noise on 2^0 to 2^5 cells along each side, rotated by up to 90 degrees either way, thresholded
/// at 0.5 (DRAEM, section 3.3). It may be empty.
pub fn defect_mask(stream: &mut Stream, height: usize, width: usize) -> Vec<f32> {
    let cells = [1 << stream.below(EXPONENTS), 1 << stream.below(EXPONENTS)];
    let noise = perlin(stream, [height, width], cells);
    let mut mask = rotate(&noise, [height, width], stream.range(-90.0, 90.0));
    mask.iter_mut().for_each(|x| *x = f32::from(u8::from(*x > THRESHOLD)));
    mask
}

/// Perlin noise of `[height, width]` pixels on a lattice of `[rows, columns]` cells: random unit gradients at the lattice's
/// points, faded by `6t^5 - 15t^4 + 10t^3`, times the square root of 2, so that it is within [-1, 1].
pub fn perlin(stream: &mut Stream, [height, width]: [usize; 2], [rows, columns]: [usize; 2]) -> Vec<f32> {
    let (rows, columns) = (rows.max(1), columns.max(1));
    let angles = (0..(rows + 1) * (columns + 1)).map(|_| stream.range(0.0, std::f64::consts::TAU));
    let gradients: Vec<[f32; 2]> = angles.map(|angle| [angle.sin() as f32, angle.cos() as f32]).collect();
    let across: Vec<Position> = (0..width).map(|x| Position::new(x, width, columns)).collect();
    let mut noise = Vec::with_capacity(height * width);
    for y in 0..height {
        let down = Position::new(y, height, rows);
        let upper = &gradients[down.cell * (columns + 1)..][..columns + 1];
        let lower = &gradients[(down.cell + 1) * (columns + 1)..][..columns + 1];
        noise.extend(across.iter().map(|across| {
            // The ramp that a gradient makes of the way from its lattice point.
            let ramp = |[down, across]: [f32; 2], y: f32, x: f32| down * y + across * x;
            let (y, x, i) = (down.part, across.part, across.cell);
            let top = mix(ramp(upper[i], y, x), ramp(upper[i + 1], y, x - 1.0), across.fade);
            let bottom = mix(ramp(lower[i], y - 1.0, x), ramp(lower[i + 1], y - 1.0, x - 1.0), across.fade);
            std::f32::consts::SQRT_2 * mix(top, bottom, down.fade)
        }));
    }
    noise
}

/// Where a pixel is among the cells along an axis.
struct Position {
    cell: usize,
    /// From 0 at the cell's beginning to 1 at its end.
    part: f32,
    fade: f32,
}

impl Position {
    fn new(pixel: usize, extent: usize, cells: usize) -> Self {
        let place = pixel * cells;
        let part = (place % extent) as f32 / extent as f32;
        Self { cell: place / extent, part, fade: part * part * part * (part * (part * 6.0 - 15.0) + 10.0) }
    }
}

fn mix(a: f32, b: f32, t: f32) -> f32 {
    a + (b - a) * t
}

/// The plane rotated about its centre, bilinearly; 0 comes in from outside.
pub fn rotate(plane: &[f32], [height, width]: [usize; 2], degrees: f64) -> Vec<f32> {
    let (sin, cos) = (degrees.to_radians().sin() as f32, degrees.to_radians().cos() as f32);
    let centre = [(height.saturating_sub(1)) as f32 / 2.0, (width.saturating_sub(1)) as f32 / 2.0];
    let at = |y: isize, x: isize| match (usize::try_from(y), usize::try_from(x)) {
        (Ok(y), Ok(x)) if y < height && x < width => plane[y * width + x],
        _ => 0.0,
    };
    let mut rotated = Vec::with_capacity(height * width);
    for row in 0..height {
        let down = row as f32 - centre[0];
        rotated.extend((0..width).map(|column| {
            let across = column as f32 - centre[1];
            let (y, x) = (centre[0] + cos * down - sin * across, centre[1] + sin * down + cos * across);
            let (top, left) = (y.floor(), x.floor());
            let (part_y, part_x) = (y - top, x - left);
            let (top, left) = (top as isize, left as isize);
            let inside = top >= 0 && left >= 0 && top + 1 < height as isize && left + 1 < width as isize;
            let [upper, lower] = if inside {
                let i = top as usize * width + left as usize;
                [[plane[i], plane[i + 1]], [plane[i + width], plane[i + width + 1]]]
            } else {
                [top, top + 1].map(|y| [at(y, left), at(y, left + 1)])
            };
            mix(mix(upper[0], upper[1], part_x), mix(lower[0], lower[1], part_x), part_y)
        }));
    }
    rotated
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_vanishes_at_the_lattice_and_stays_within_1() {
        let noise = perlin(&mut Stream::keyed("perlin"), [32, 64], [4, 8]);
        assert!(noise.iter().all(|x| x.abs() <= 1.0));
        assert!(noise.iter().any(|x| x.abs() > 0.3));
        for y in (0..32).step_by(8) {
            assert!((0..64).step_by(8).all(|x| noise[y * 64 + x] == 0.0));
        }
    }

    #[test]
    fn masks_are_binary_and_the_same_for_the_same_stream() {
        let stream = Stream::keyed("mask");
        let masks = |mut stream: Stream| (0..40).map(|_| defect_mask(&mut stream, 64, 48)).collect::<Vec<_>>();
        let all = masks(stream.clone());
        assert_eq!(all, masks(stream));
        assert!(all.iter().flatten().all(|x| *x == 0.0 || *x == 1.0));
        let filled = all.iter().filter(|mask| mask.contains(&1.0)).count();
        assert!((20..40).contains(&filled), "{filled} of 40 masks are not empty");
    }

    #[test]
    fn a_quarter_turn_moves_every_pixel_and_half_a_turn_mirrors_them() {
        let plane: Vec<f32> = (0..9).map(|i| i as f32).collect();
        let close = |found: &[f32], expected: &[f32]| found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5);
        assert!(close(&rotate(&plane, [3, 3], 180.0), &plane.iter().rev().copied().collect::<Vec<_>>()));
        assert!(close(&rotate(&plane, [3, 3], 90.0), &[6.0, 3.0, 0.0, 7.0, 4.0, 1.0, 8.0, 5.0, 2.0]));
        assert_eq!(rotate(&plane, [3, 3], 0.0), plane);
    }
}
