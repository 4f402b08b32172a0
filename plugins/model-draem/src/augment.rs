//! The ten augmenters of DRAEM's published code, of which every texture passes three in random order.

use mimus_core::random::Stream;

use super::picture::{Picture, apply, byte};

/// Changes a picture at random.
type Augmenter = fn(&mut Picture, &mut Stream);

const AUGMENTERS: [Augmenter; 10] =
    [gamma, brightness, sharpness, hue_and_saturation, solarize, posterize, invert, autocontrast, equalize, rotate];

/// How many of them a texture passes.
const PASSED: usize = 3;

/// Three different augmenters, one after another.
pub(super) fn augment(picture: &mut Picture, stream: &mut Stream) {
    let order = stream.permutation(AUGMENTERS.len());
    order.into_iter().take(PASSED).for_each(|i| AUGMENTERS[i](picture, stream));
}

/// Exponent 0.5 to 2, another for each channel.
fn gamma(picture: &mut Picture, stream: &mut Stream) {
    for plane in &mut picture.planes {
        let exponent = stream.range(0.5, 2.0) as f32;
        let table: Vec<u8> = (0..=255).map(|x: u8| byte((f32::from(x) / 255.0).powf(exponent) * 255.0)).collect();
        apply(plane, &table);
    }
}

/// Luminance times 0.8 to 1.2, plus -30 to 30; the colours stay.
fn brightness(picture: &mut Picture, stream: &mut Stream) {
    let (factor, term) = (stream.range(0.8, 1.2) as f32, stream.range(-30.0, 30.0) as f32);
    picture.map_colors(|color| {
        let [a, b, c] = color;
        let luminance = 0.299 * a + 0.587 * b + 0.114 * c;
        let change = luminance * (factor - 1.0) + term;
        color.map(|x| x + change)
    });
}

/// From a blurred picture (0) through the picture (1) to a sharpened one (2).
fn sharpness(picture: &mut Picture, stream: &mut Stream) {
    let factor = stream.range(0.0, 2.0) as f32;
    let (height, width) = (picture.height, picture.width);
    for plane in &mut picture.planes {
        let before = plane.clone();
        let at = |i: usize| f32::from(before[i]);
        for y in 1..height.saturating_sub(1) {
            for x in 1..width.saturating_sub(1) {
                let i = y * width + x;
                let row = |i: usize| at(i - 1) + at(i) + at(i + 1);
                let smooth = (row(i - width) + row(i) + row(i + width) + 4.0 * at(i)) / 13.0;
                plane[i] = byte(smooth + factor * (at(i) - smooth));
            }
        }
    }
}

/// Hue turned by up to 50/255 of the circle, saturation plus -50 to 50.
fn hue_and_saturation(picture: &mut Picture, stream: &mut Stream) {
    let turn = stream.range(-50.0, 50.0) as f32 / 255.0;
    let more = stream.range(-50.0, 50.0) as f32 / 255.0;
    picture.map_colors(|color| {
        let [hue, saturation, value] = to_hsv(color);
        from_hsv([hue + turn, (saturation + more).clamp(0.0, 1.0), value])
    });
}

/// Hue and saturation in [0, 1], value in [0, 255].
fn to_hsv([a, b, c]: [f32; 3]) -> [f32; 3] {
    let (most, least) = (a.max(b).max(c), a.min(b).min(c));
    let chroma = most - least;
    if chroma == 0.0 {
        return [0.0, 0.0, most];
    }
    let sixths = if most == a {
        (b - c) / chroma
    } else if most == b {
        2.0 + (c - a) / chroma
    } else {
        4.0 + (a - b) / chroma
    };
    [sixths / 6.0, chroma / most, most]
}

/// The inverse; the hue may be any number of turns.
fn from_hsv([hue, saturation, value]: [f32; 3]) -> [f32; 3] {
    let sixths = (hue - hue.floor()) * 6.0;
    // How far the channel whose peak is at `peak` sixths is from it, around the circle.
    [0.0, 2.0, 4.0].map(|peak: f32| {
        let distance = (sixths - peak).abs();
        let fall = (distance.min(6.0 - distance) - 1.0).clamp(0.0, 1.0);
        value * (1.0 - saturation * fall)
    })
}

/// With probability 0.5 inverts what is as bright as a threshold from 32 to 128, or brighter.
fn solarize(picture: &mut Picture, stream: &mut Stream) {
    let (applied, threshold) = (stream.uniform() < 0.5, stream.range(32.0, 128.0));
    if applied {
        picture.map(|x| if f64::from(x) >= threshold { 255 - x } else { x });
    }
}

/// Keeps the upper 1 to 8 bits.
fn posterize(picture: &mut Picture, stream: &mut Stream) {
    let removed = stream.below(8) as u32;
    picture.map(|x| x >> removed << removed);
}

fn invert(picture: &mut Picture, _: &mut Stream) {
    picture.map(|x| 255 - x);
}

/// Cuts off up to 20 % of the pixels at both ends of every channel and stretches the rest.
fn autocontrast(picture: &mut Picture, stream: &mut Stream) {
    let share = stream.below(21) as f64 / 100.0;
    for plane in &mut picture.planes {
        let counts = histogram(plane);
        let cut = (plane.len() as f64 * share) as usize;
        let (low, high) = (first_beyond(&counts, 0..256, cut), first_beyond(&counts, (0..256).rev(), cut));
        let (Some(low), Some(high)) = (low, high) else { continue };
        if low < high {
            let stretch = |x: u8| (f32::from(x) - low as f32) * 255.0 / (high - low) as f32;
            apply(plane, &(0..=255).map(|x| byte(stretch(x))).collect::<Vec<_>>());
        }
    }
}

/// The first value, in the given order, at which more than `cut` pixels are passed.
fn first_beyond(counts: &[usize; 256], mut order: impl Iterator<Item = usize>, cut: usize) -> Option<usize> {
    let mut passed = 0;
    order.find(|x| {
        passed += counts[*x];
        passed > cut
    })
}

/// Makes all values of a channel about equally frequent.
fn equalize(picture: &mut Picture, _: &mut Stream) {
    for plane in &mut picture.planes {
        let counts = histogram(plane);
        let last = counts.iter().rev().find(|count| **count > 0).copied().unwrap_or(0);
        let step = (plane.len() - last) / 255;
        if step > 0 {
            let mut below = step / 2;
            let table = counts.iter().map(|count| {
                let value = (below / step).min(255) as u8;
                below += count;
                value
            });
            apply(plane, &table.collect::<Vec<_>>());
        }
    }
}

/// By up to 45 degrees either way.
fn rotate(picture: &mut Picture, stream: &mut Stream) {
    picture.rotate(stream.range(-45.0, 45.0));
}

fn histogram(plane: &[u8]) -> [usize; 256] {
    let mut counts = [0; 256];
    plane.iter().for_each(|x| counts[usize::from(*x)] += 1);
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture() -> Picture {
        let mut stream = Stream::keyed("picture");
        let values: Vec<f32> = (0..3 * 24 * 20).map(|_| stream.range(0.2, 0.7) as f32).collect();
        Picture::of_values(&values, 24, 20)
    }

    #[test]
    fn every_augmenter_keeps_the_size_and_changes_something() {
        let before = picture();
        for (i, augmenter) in AUGMENTERS.iter().enumerate() {
            // Some leave a picture alone at some draws: one of eight does not.
            let changed = (0..8).any(|seed| {
                let mut after = before.clone();
                augmenter(&mut after, &mut Stream::new(seed, "augment"));
                assert!(after.planes.iter().all(|plane| plane.len() == 24 * 20));
                after != before
            });
            assert!(changed, "augmenter {i}");
        }
    }

    #[test]
    fn hues_go_there_and_back() {
        for color in [[10.0, 200.0, 30.0], [255.0, 0.0, 128.0], [7.0, 7.0, 7.0], [0.0, 0.0, 0.0], [90.0, 20.0, 220.0]] {
            let back = from_hsv(to_hsv(color));
            assert!(back.iter().zip(color).all(|(a, b)| (a - b).abs() < 1e-3), "{color:?} {back:?}");
        }
    }

    #[test]
    fn equalize_and_autocontrast_use_the_whole_range() {
        for augmenter in [equalize, autocontrast] {
            let mut after = picture();
            augmenter(&mut after, &mut Stream::keyed("range"));
            for plane in &after.planes {
                assert!(plane.iter().min() < Some(&10) && plane.iter().max() > Some(&245));
            }
        }
    }
}
