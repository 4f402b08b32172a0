//! Boxes around what moves, without a detector of objects.
//!
//! After the motion boxes of VEC (Yu et al., "Cloze Test Helps", ACM MM 2020) and HF2-VAD (Liu et al., ICCV 2021): frames are blurred, a
//! frame's absolute differences to the one before and the one after are added, and where the sum is above a threshold something moves. There
//! these boxes fill the gaps that a detector leaves; here they may stand alone, so pieces of one body are joined before they are boxed.
//! Who stands still has no box: for that give what a detector found, or read a file of boxes ([`crate::BoxFile`]).

mod options;
#[cfg(test)]
mod tests;

use mimus_core::Result;
use mimus_core::metrics::{PixelBox, Regions};

pub use options::{Difference, Proposals};

use crate::plane::{Gray, Plane, same_size};

/// The boxes that a detector found in `frame` and after them those of what moves beside them; both from the largest to the smallest,
/// without those that larger ones of their kind cover.
///
/// As published, a detected box must have [`Proposals::least_detected`] pixels, and nothing moves in one or within
/// [`Proposals::enlarge`] pixels of it. Without a detector `detected` is empty. Corners of what moves are pixels within the picture. `before` and `after` are its neighbours in the video; at an end give the frame itself for the one that is missing.
///
/// # Errors
/// If the frames differ in size, or an option is out of its bounds.
pub fn boxes(
    detected: &[PixelBox],
    before: &Gray,
    frame: &Gray,
    after: &Gray,
    options: &Proposals,
) -> Result<Vec<PixelBox>> {
    options.check()?;
    same_size(before, frame)?;
    same_size(frame, after)?;
    let detected = detected.iter().filter(|one| area(one) >= options.least_detected).copied().collect();
    let mut found = uncovered(detected, options.cover);
    let mut moving = moving(&[before, frame, after].map(|gray| blurred(&gray.0, options.blur)), options);
    found.iter().for_each(|one| clear(&mut moving, one, options.enlarge, frame.width()));
    let rectangles = rectangles(&moving, [frame.height(), frame.width()], options.join)?;
    let boxes = rectangles.into_iter().filter(|one| one.fits(options));
    found.extend(uncovered(boxes.map(|one| one.enlarged(options.enlarge, frame)).collect(), options.cover));
    Ok(found)
}

/// Sets the mask to 0 in a box and up to `by` pixels around it.
fn clear(mask: &mut [u8], place: &PixelBox, by: usize, width: usize) {
    let [left, top, right, bottom] = [place.x1, place.y1, place.x2, place.y2].map(|corner| corner.max(0.0) as usize);
    let rows = mask.chunks_exact_mut(width).take(bottom + by + 1).skip(top.saturating_sub(by));
    rows.for_each(|row| row.iter_mut().take(right + by + 1).skip(left.saturating_sub(by)).for_each(|pixel| *pixel = 0));
}

/// Pixels of a box, whose corners belong to it.
fn area(place: &PixelBox) -> f64 {
    (place.x2 - place.x1 + 1.0).max(0.0) * (place.y2 - place.y1 + 1.0).max(0.0)
}

/// 1 where something moves, 0 elsewhere.
fn moving([before, frame, after]: &[Plane; 3], options: &Proposals) -> Vec<u8> {
    let values = frame.values.iter().zip(before.values.iter().zip(&after.values));
    let moves = values.map(|(now, (before, after))| {
        let [a, b] = [now - before, after - now].map(|difference| f64::from(difference.abs()));
        match options.difference {
            Difference::Both => 2.0 * a.min(b) > options.threshold,
            Difference::Sum => a + b > options.threshold,
            // As sums of 8-bit numbers are: 255 and 1 make 0.
            Difference::WrappedSum => (a.round() + b.round()) % 256.0 > options.threshold,
        }
    });
    moves.map(u8::from).collect()
}

/// Blurred by the binomial weights of `side` pixels in both directions, mirrored at the border: for 3 and 5 the Gaussian of OpenCV.
fn blurred(plane: &Plane, side: usize) -> Plane {
    let mut weights = vec![1.0_f32];
    for _ in 1..side {
        let next = (0..=weights.len()).map(|i| {
            let at = |i: Option<usize>| i.and_then(|i| weights.get(i)).copied().unwrap_or_default();
            0.5 * (at(i.checked_sub(1)) + at(Some(i)))
        });
        weights = next.collect();
    }
    let reach = (side / 2) as isize;
    // The border itself is not repeated; a picture narrower than the blur bounces to and fro.
    let mirrored = |at: usize, by: isize, side: usize| {
        let period = (2 * side as isize - 2).max(1);
        let at = (at as isize + by).rem_euclid(period) as usize;
        at.min(period as usize - at).min(side - 1)
    };
    let (height, width) = (plane.height, plane.width);
    let rows = Plane::by_rows(height, width, |y, row| {
        for (weight, by) in weights.iter().zip(-reach..) {
            let from = plane.row(mirrored(y, by, height));
            row.iter_mut().zip(from).for_each(|(value, from)| *value += weight * from);
        }
    });
    Plane::by_rows(height, width, |y, row| {
        let from = rows.row(y);
        for (x, value) in row.iter_mut().enumerate() {
            *value = weights.iter().zip(-reach..).map(|(weight, by)| weight * from[mirrored(x, by, width)]).sum();
        }
    })
}

/// Left, top, right, bottom of pixels, the last two exclusive.
#[derive(Clone, Copy)]
struct Rectangle([usize; 4]);

impl Rectangle {
    /// Whether it is large enough and not too long in one direction. The published code adds 1 to each side for its area.
    fn fits(&self, options: &Proposals) -> bool {
        let [left, top, right, bottom] = self.0;
        let (width, height) = ((right - left) as f64, (bottom - top) as f64);
        let aspect = (width / height).max(height / width);
        (width + 1.0) * (height + 1.0) > options.least_area && aspect < options.most_aspect
    }

    fn enlarged(&self, by: usize, frame: &Gray) -> PixelBox {
        let [left, top, right, bottom] = self.0;
        PixelBox {
            x1: left.saturating_sub(by) as f64,
            y1: top.saturating_sub(by) as f64,
            x2: ((right + by).min(frame.width()) - 1) as f64,
            y2: ((bottom + by).min(frame.height()) - 1) as f64,
        }
    }
}

/// Rectangles around connected pixels of the mask, where pixels connect that lie up to `[rows, columns]` of other pixels apart.
fn rectangles(mask: &[u8], [height, width]: [usize; 2], [rows, columns]: [usize; 2]) -> Result<Vec<Rectangle>> {
    // Each pixel grows to the right and down alone: then two touch if the gap between them is no wider than that.
    let grown = grown(&grown(mask, width, 1, columns), width, width, rows);
    let labels = Regions::label([height, width], &grown)?;
    let mut rectangles = vec![None; labels.sizes.len()];
    for (i, (_, label)) in mask.iter().zip(&labels.labels).enumerate().filter(|(_, (inside, _))| **inside != 0) {
        let (x, y) = (i % width, i / width);
        if let Some(own) = label.checked_sub(1).and_then(|label| rectangles.get_mut(label)) {
            let [left, top, right, bottom] = own.unwrap_or([x, y, x, y]);
            *own = Some([left.min(x), top.min(y), right.max(x + 1), bottom.max(y + 1)]);
        }
    }
    Ok(rectangles.into_iter().flatten().map(Rectangle).collect())
}

/// Drops boxes of which larger ones hide more than the share `cover`; gives the rest from the largest to the smallest.
fn uncovered(mut boxes: Vec<PixelBox>, cover: f64) -> Vec<PixelBox> {
    boxes.sort_by(|a, b| area(b).total_cmp(&area(a)));
    let common = |a: &PixelBox, b: &PixelBox| {
        area(&PixelBox { x1: a.x1.max(b.x1), y1: a.y1.max(b.y1), x2: a.x2.min(b.x2), y2: a.y2.min(b.y2) })
    };
    let hidden = |i: usize, one: &PixelBox| boxes.iter().take(i).any(|larger| common(one, larger) > cover * area(one));
    boxes.iter().enumerate().filter(|(i, one)| !hidden(*i, one)).map(|(_, one)| *one).collect()
}

/// The mask, with each of its pixels repeated `times` at the given distance: 1 to the right (within its row), the width downwards.
fn grown(mask: &[u8], width: usize, distance: usize, times: usize) -> Vec<u8> {
    let repeated = |i: usize| {
        let near = (0..=times).map_while(|k| i.checked_sub(k * distance));
        let mut within = near.take_while(|j| distance == width || j / width == i / width);
        within.any(|j| mask[j] != 0)
    };
    (0..mask.len()).map(|i| u8::from(repeated(i))).collect()
}
