//! One sample before the camera: how it lies, how it is lit, and the picture taken of it.

use mimus_core::plugin::{Pixels, Sample};
use mimus_core::random::Stream;
use serde_bytes::ByteBuf;

use crate::design::{Design, Detail, Surface};
use crate::flaw::{Flaw, FlawKind};
use mimus_drawing::geometry::{Point, Rgb, add, mix, scale, sub, turn};
use mimus_drawing::noise::Noise;

/// A change of a channel by this much before exposure is to be seen: three times the sensor's noise.
const VISIBLE: f64 = 0.06;
/// Standard deviation of the sensor's noise.
const SENSOR: f64 = 0.02;
/// What part of the picture, and of its own area, a flaw must visibly change; one that does less is drawn again, this often at most.
const LEAST_OF_PICTURE: f64 = 0.002;
const LEAST_OF_FLAW: f64 = 0.3;
const ATTEMPTS: u64 = 20;

/// One sample: pose and irregularities.
pub(crate) struct Scene {
    design: &'static Design,
    noise: Noise,
    whim: [f64; 3],
    angle: f64,
    shift: Point,
    zoom: f64,
    size: usize,
}

impl Scene {
    fn new(design: &'static Design, size: usize, stream: &mut Stream) -> Self {
        let mut signed = |most: f64| stream.range(-most, most);
        let shift = [signed(design.shift), signed(design.shift)];
        let (angle, zoom) = (signed(design.turn), 1.0 + signed(0.015));
        let whim = [signed(1.0), signed(1.0), signed(1.0)];
        Self { design, noise: Noise::new(stream), whim, angle, shift, zoom, size }
    }

    /// Side of a pixel.
    pub(crate) fn pixel(&self) -> f64 {
        2.0 / self.size as f64
    }

    /// Irregularities of this sample.
    pub(crate) fn noise(&self) -> &Noise {
        &self.noise
    }

    fn surface(&self, p: Point) -> Surface {
        let detail = Detail { noise: &self.noise, pixel: self.pixel(), whim: self.whim };
        (self.design.surface)(&detail, scale(turn(sub(p, self.shift), -self.angle), self.zoom))
    }

    /// How much of the object is at a point, from 0 to 1; 1 everywhere on a texture.
    pub(crate) fn cover(&self, p: Point) -> f64 {
        self.surface(p).cover
    }

    /// What is behind the sample: a sheet, or the dark.
    pub(crate) fn behind(&self, p: Point) -> Rgb {
        let cloud = 1.0 + 0.04 * self.noise.octaves(add(scale(p, 2.0), [40.0, 40.0]), 3);
        self.design.background.unwrap_or([0.10, 0.09, 0.09]).map(|channel| channel * cloud)
    }

    /// The colour at a point of the flawless sample.
    pub(crate) fn color(&self, p: Point) -> Rgb {
        let Surface { color, cover } = self.surface(p);
        if cover >= 1.0 { color } else { mix(self.behind(p), color, cover) }
    }

    /// Middles of all pixels, row by row.
    fn points(&self) -> impl Iterator<Item = Point> {
        let at = |index: usize| self.pixel() * (index as f64 + 0.5) - 1.0;
        (0..self.size * self.size).map(move |i| [at(i % self.size), at(i / self.size)])
    }
}

/// The sample that `stream` stands for, with a flaw of a kind at a strength from 0 (easy) to 1 (hard), or without.
pub(crate) fn sample(
    design: &'static Design,
    size: usize,
    flaw: Option<FlawKind>,
    difficulty: f64,
    key: &Key<'_>,
) -> Sample {
    let scene = Scene::new(design, size, &mut key.stream("pose"));
    let clean = scene.points().map(|p| scene.color(p)).collect::<Vec<_>>();
    let (canvas, mask) = match flaw {
        None => (clean, None),
        Some(kind) => {
            let (canvas, mask) = flawed(&scene, &clean, kind, difficulty, key);
            (canvas, Some(ByteBuf::from(mask)))
        }
    };
    Sample { pixels: expose(&canvas, size, &mut key.stream("camera")), mask }
}

/// Names a sample: its streams depend on nothing else.
pub(crate) struct Key<'a> {
    /// The data set's seed.
    pub(crate) seed: u64,
    /// The group's name.
    pub(crate) group: &'a str,
    /// The sample's id.
    pub(crate) id: &'a str,
}

impl Key<'_> {
    fn stream(&self, purpose: &str) -> Stream {
        Stream::new(self.seed, &format!("{}/{}/{purpose}", self.group, self.id))
    }
}

/// The picture with a flaw, and its mask: the pixels of which the flaw replaces half at least, or that it visibly changes.
///
/// Takes the first flaw that is to be seen well, else the one that is to be seen best: a displaced piece of an even surface
/// changes next to nothing.
fn flawed(scene: &Scene, clean: &[Rgb], kind: FlawKind, difficulty: f64, key: &Key<'_>) -> (Vec<Rgb>, Vec<u8>) {
    let enough = (LEAST_OF_PICTURE * clean.len() as f64).max(3.0);
    let mut best = (0, Vec::new(), Vec::new());
    for attempt in 0..ATTEMPTS {
        let flaw = Flaw::new(kind, difficulty, scene, &mut key.stream(&format!("flaw {attempt}")));
        let drawn = scene.points().zip(clean).map(|(p, sound)| flaw.color(scene, p, *sound));
        let (canvas, replaced): (Vec<Rgb>, Vec<f64>) = drawn.unzip();
        let visible: Vec<bool> = clean.iter().zip(&canvas).map(|(sound, color)| differ(sound, color)).collect();
        let mask: Vec<u8> = replaced.iter().zip(&visible).map(|(part, seen)| u8::from(*part >= 0.5 || *seen)).collect();
        let area = mask.iter().filter(|pixel| **pixel == 1).count() as f64;
        let seen = visible.iter().filter(|seen| **seen).count();
        if seen as f64 >= enough.max(LEAST_OF_FLAW * area) {
            return (canvas, mask);
        }
        if seen > best.0 || attempt == 0 {
            best = (seen, canvas, mask);
        }
    }
    (best.1, best.2)
}

fn differ(a: &Rgb, b: &Rgb) -> bool {
    a.iter().zip(b).any(|(a, b)| (a - b).abs() >= VISIBLE)
}

/// Uneven light, white balance, gain and sensor noise, then 8 bits.
fn expose(canvas: &[Rgb], size: usize, stream: &mut Stream) -> Pixels {
    let mut around = |spread: f64| stream.range(-spread, spread);
    let (gain, slope) = (1.0 + around(0.10), [around(0.12), around(0.12)]);
    let balance = [around(0.025), around(0.025), around(0.025)];
    let mut bytes = Vec::with_capacity(3 * canvas.len());
    for (i, color) in canvas.iter().enumerate() {
        let at = |index: usize| (2 * index + 1) as f64 / size as f64 - 1.0;
        let light = gain * (1.0 + slope[0] * at(i % size) + slope[1] * at(i / size));
        for (channel, balance) in color.iter().zip(balance) {
            let value = channel * light * (1.0 + balance) + SENSOR * stream.normal();
            bytes.push((255.0 * value).round().clamp(0.0, 255.0) as u8);
        }
    }
    Pixels { height: size, width: size, channels: 3, bytes: ByteBuf::from(bytes) }
}
