//! How near computed flow comes to exact flow, and what holds for any two frames.

use mimus_core::plugin::Split;
use mimus_core::random::Stream;
use mimus_dataset_synthetic_video::Flow as Exact;
use rayon::ThreadPoolBuilder;

use super::{Flow, UNIT, between};
use crate::Gray;
use crate::scenes::{gray, videos};

/// Sums over pixels that both frames show and that move by up to 8 pixels.
#[derive(Default, Debug)]
struct Tally {
    pixels: f64,
    error: f64,
    /// Of errors beyond 3 pixels.
    outliers: f64,
    /// What standing still everywhere would be off by.
    still: f64,
}

impl Tally {
    /// Means for each pixel.
    fn means(&self) -> [f64; 3] {
        [self.error, self.outliers, self.still].map(|sum| sum / self.pixels)
    }
}

/// Of all pixels, and of those alone that show a moving body.
fn tally(exact: &Exact, flow: &Flow, tallies: &mut [Tally; 2]) {
    for (i, ([x, y], seen)) in exact.vectors.iter().zip(&exact.seen).enumerate() {
        let (length, [u, v]) = (f64::from(x.hypot(*y)), flow.at(i).unwrap());
        if *seen && length <= 8.0 {
            let error = f64::from((u - x).hypot(v - y));
            for tally in &mut tallies[..if length > 0.0 { 2 } else { 1 }] {
                tally.pixels += 1.0;
                tally.error += error;
                tally.outliers += f64::from(u8::from(error > 3.0));
                tally.still += length;
            }
        }
    }
}

#[test]
fn computed_flow_is_near_exact_flow() {
    for ([height, width], group) in [([240, 360], 0), ([240, 360], 1), ([128, 128], 0), ([128, 128], 1)] {
        let mut tallies = [Tally::default(), Tally::default()];
        for seed in 0..3 {
            let videos = videos(height, width, seed);
            let clip = videos.clip(group, Split::Train, 0).unwrap();
            for (frame, other) in [(5, 6), (17, 16), (30, 31)] {
                let flow = between(&gray(&clip, frame), &gray(&clip, other)).unwrap();
                tally(&clip.flow(frame, other), &flow, &mut tallies);
            }
        }
        let what = format!("{height} x {width}, group {group}: {:.3?}", tallies.each_ref().map(Tally::means));
        let [[all, far, _], [moving, far_moving, still]] = tallies.each_ref().map(Tally::means);
        assert!(all < 0.3 && far < 0.03, "{what}");
        assert!(still > 2.5 && moving < 0.3 * still && far_moving < 0.12, "{what}");
    }
}

/// Smooth noise, as a function of any position, in levels.
fn texture([x, y]: [f64; 2]) -> f32 {
    let waves = [(0.21, 0.05, 0.3), (0.07, 0.26, 1.1), (-0.15, 0.19, 2.0), (0.31, -0.22, 4.0), (0.45, 0.38, 5.0)];
    waves.iter().fold(128.0, |sum, (a, b, c)| sum + 22.0 * (a * x + b * y + c).sin()) as f32
}

fn textured(height: usize, width: usize, [dx, dy]: [f64; 2]) -> Gray {
    let level = |i: usize| texture([(i % width) as f64 - dx, (i / width) as f64 - dy]);
    Gray::new(height, width, (0..height * width).map(level).collect()).unwrap()
}

#[test]
fn a_camera_that_pans_is_followed() {
    for by in [[1.0, 0.0], [3.25, -2.5], [-7.0, 4.0], [12.5, 9.0]] {
        let flow = between(&textured(120, 160, [0.0, 0.0]), &textured(120, 160, by)).unwrap();
        let inside = (0..120 * 160).filter(|i| (20..140).contains(&(i % 160)) && (20..100).contains(&(i / 160)));
        let off = |i: usize| flow.at(i).map_or(f64::NAN, |[x, y]| (f64::from(x) - by[0]).hypot(f64::from(y) - by[1]));
        let mean = inside.clone().map(off).sum::<f64>() / inside.count() as f64;
        assert!(mean < 0.1, "{by:?}: {mean}");
    }
}

#[test]
fn equal_frames_give_zeros() {
    let videos = videos(240, 360, 0);
    let frame = gray(&videos.clip(0, Split::Train, 0).unwrap(), 20);
    for frame in [frame, textured(64, 65, [0.0, 0.0])] {
        let flow = between(&frame, &frame).unwrap();
        assert!(flow.values().iter().all(|value| *value == 0.0));
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let videos = videos(97, 131, 4);
    let clip = videos.clip(1, Split::Train, 0).unwrap();
    let frames = [gray(&clip, 20), gray(&clip, 21)];
    let with = |threads: usize| {
        let pool = ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| between(&frames[0], &frames[1]).unwrap().units().unwrap())
    };
    let one = with(1);
    assert!(one.iter().any(|unit| *unit != 0));
    for threads in [2, 3, 8] {
        assert_eq!(with(threads), one, "{threads} threads");
    }
}

#[test]
fn odd_and_small_frames_work_and_smaller_ones_are_refused() {
    for [height, width] in [[8, 8], [8, 9], [9, 8], [13, 8], [8, 301], [23, 24], [25, 47]] {
        let flow = between(&textured(height, width, [0.0, 0.0]), &textured(height, width, [0.5, 0.0])).unwrap();
        assert_eq!([flow.height(), flow.width(), flow.values().len()], [height, width, 2 * height * width]);
        let (x, y) = flow.values().split_at(height * width);
        let mean = |values: &[f32]| f64::from(values.iter().sum::<f32>()) / values.len() as f64;
        assert!((mean(x) - 0.5).abs() < 0.2 && mean(y).abs() < 0.2, "{height} x {width}: {} {}", mean(x), mean(y));
    }
    for [height, width] in [[7, 8], [8, 7], [1, 1], [7, 400]] {
        let frame = textured(height, width, [0.0, 0.0]);
        let error = between(&frame, &frame).unwrap_err().to_string();
        assert!(error.contains("too small") && error.contains("8 x 8"), "{error}");
    }
    let error = between(&textured(16, 17, [0.0, 0.0]), &textured(17, 16, [0.0, 0.0])).unwrap_err().to_string();
    assert!(error.contains("16 x 17") && error.contains("17 x 16"), "{error}");
}

#[test]
fn frames_without_anything_in_common_give_a_flow_too() {
    let noise = |name: &str| {
        let mut stream = Stream::keyed(name);
        let level = |_| if stream.uniform() < 0.5 { 0.0 } else { 255.0 };
        Gray::new(61, 200, (0..61 * 200).map(level).collect()).unwrap()
    };
    let flow = between(&noise("a"), &noise("b")).unwrap();
    assert!(flow.values().iter().all(|value| value.abs() < 200.0));
}

#[test]
fn computed_flow_is_held_exactly_in_16_bits() {
    let flow = between(&textured(40, 50, [0.0, 0.0]), &textured(40, 50, [2.3, -1.7])).unwrap();
    assert_eq!(Flow::from_units(40, 50, &flow.units().unwrap()).unwrap(), flow);
    let edge = Flow::new(1, 1, vec![-512.0, 512.0 - UNIT]).unwrap();
    assert_eq!(edge.units().unwrap(), [i16::MIN, i16::MAX]);
    for value in [0.01, 512.0, -512.5, 1e30] {
        assert!(Flow::new(1, 1, vec![value, 0.0]).unwrap().units().is_err(), "{value}");
    }
}

#[test]
fn values_that_are_no_flow_and_no_picture_are_refused() {
    assert!(Flow::new(2, 2, vec![0.0; 7]).is_err());
    assert!(Flow::new(0, 2, vec![]).is_err());
    assert!(Flow::new(usize::MAX, 2, vec![]).is_err());
    assert!(Flow::from_units(1, 2, &[0; 3]).is_err());
    let error = Flow::new(2, 2, vec![0.0, 0.0, 0.0, 0.0, 0.0, 0.0, f32::NAN, 0.0]).unwrap_err();
    assert_eq!(error.context_value("pixel"), Some("1 0"));
    for value in [f32::NAN, -0.5, 255.5, f32::INFINITY] {
        let error = Gray::new(1, 2, vec![0.0, value]).unwrap_err();
        assert_eq!(error.context_value("pixel"), Some("0 1"));
    }
    assert!(Gray::new(2, 2, vec![0.0; 3]).is_err() && Gray::new(0, 0, vec![]).is_err());
}
