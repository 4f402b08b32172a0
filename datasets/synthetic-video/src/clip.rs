//! One clip: its frames as pictures, and what is exactly true of them.

use mimus_core::plugin::{Pixels, Sample};
use mimus_core::random::Stream;
use mimus_drawing::geometry::{Point, Rgb};
use mimus_drawing::noise::Noise;
use serde_bytes::ByteBuf;

use crate::agent::AgentKind;
use crate::design::Design;
use crate::shot::Shot;
use crate::traffic::{Anomaly, Traffic};

/// Standard deviation of the sensor's noise.
const SENSOR: f64 = 0.012;
/// Brings the difference of two whole numbers below 2^32 to a standard deviation of 1, which is sqrt(6) over the range.
const TRIANGLE: f64 = 2.449_489_742_783_178 / (1u64 << 32) as f64;

/// The empty scene of a group, at the size of the pictures.
pub(crate) struct Scene {
    pub(crate) design: &'static Design,
    pub(crate) size: Size,
    backdrop: Vec<Rgb>,
}

/// Height and width of the pictures in pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Size {
    pub(crate) height: usize,
    pub(crate) width: usize,
}

impl Size {
    /// Width in heights.
    pub(crate) fn aspect(self) -> f64 {
        self.width as f64 / self.height as f64
    }

    /// The place on the picture of a position in pixels, where the first pixel's middle is at one half.
    pub(crate) fn place(self, [column, row]: Point) -> Point {
        [(column - 0.5 * self.width as f64) / self.height as f64, row / self.height as f64]
    }

    /// The position in pixels of a place on the picture.
    pub(crate) fn position(self, [x, y]: Point) -> Point {
        [x * self.height as f64 + 0.5 * self.width as f64, y * self.height as f64]
    }

    /// The middle of pixel `i`, row by row.
    pub(crate) fn middle(self, i: usize) -> Point {
        self.place([(i % self.width) as f64 + 0.5, (i / self.width) as f64 + 0.5])
    }
}

impl Scene {
    /// The scene of a group under a seed: all its clips have it.
    pub(crate) fn new(design: &'static Design, size: Size, seed: u64) -> Self {
        let noise = Noise::new(&mut Stream::new(seed, &format!("{}/backdrop", design.name)));
        let color = |i| (design.backdrop)(&design.camera, &noise, size.middle(i), 1.0 / size.height as f64);
        Self { design, size, backdrop: (0..size.height * size.width).map(color).collect() }
    }
}

/// One clip. Every frame is computed alone: frames beyond those of the index continue it.
#[derive(Clone)]
pub struct Clip<'a> {
    scene: &'a Scene,
    traffic: Traffic,
}

/// Where an agent is in a frame.
#[derive(Clone, Debug, PartialEq)]
pub struct AgentBox {
    /// The same in all frames of the clip.
    pub agent: u64,
    /// What it is.
    pub kind: AgentKind,
    /// Whether it is anomalous in this frame.
    pub anomalous: bool,
    /// Left, top, right and bottom, the last two exclusive: the least box around all pixels of the picture of which the agent takes half
    /// at least, hidden ones included.
    pub bounds: [usize; 4],
    /// How many pixels show it.
    pub visible: usize,
}

/// Where what is seen in one frame lies in another.
#[derive(Clone, Debug, PartialEq)]
pub struct Flow {
    /// For every pixel, row by row, how far to the right and down, in pixels, what it shows lies in the other frame. Exact: 0 for the
    /// backdrop, and for agents the rigid motion of the part (trunk, leg, arm) that the pixel's middle shows.
    pub vectors: Vec<[f32; 2]>,
    /// Whether the other frame shows it too: it is inside of the picture and nothing is before it.
    pub seen: Vec<bool>,
}

impl<'a> Clip<'a> {
    pub(crate) fn new(scene: &'a Scene, traffic: Traffic) -> Self {
        Self { scene, traffic }
    }

    /// The anomaly that happens in it, for a time, every 48 frames.
    pub fn anomaly(&self) -> Option<Anomaly> {
        self.traffic.anomaly
    }

    /// The frame as the data set gives it, with its mask if it is anomalous.
    pub fn sample(&self, frame: u32) -> Sample {
        let mut canvas = self.scene.backdrop.clone();
        let mask = self.draw(frame, Some(&mut canvas)).mask().map(ByteBuf::from);
        let mut stream = Stream::new(self.traffic.seed, &format!("{}/camera/{frame}", self.traffic.key));
        // The difference of two uniform numbers: near enough to normal, and cheap.
        let noise = || {
            let bits = stream.next_u64();
            SENSOR * TRIANGLE * (((bits >> 32) as u32 as f64) - (bits as u32 as f64))
        };
        let pixels = self.pixels(&canvas, noise);
        Sample { pixels, mask }
    }

    /// The frame without the sensor's noise.
    pub fn clean(&self, frame: u32) -> Pixels {
        let mut canvas = self.scene.backdrop.clone();
        self.draw(frame, Some(&mut canvas));
        self.pixels(&canvas, || 0.0)
    }

    /// The scene without agents and noise: the same in all clips of the group.
    pub fn backdrop(&self) -> Pixels {
        self.pixels(&self.scene.backdrop, || 0.0)
    }

    /// All agents of which the picture shows a pixel at least, or would if others were not before them; from far to near.
    pub fn boxes(&self, frame: u32) -> Vec<AgentBox> {
        self.shot(frame).boxes()
    }

    /// Where what `frame` shows lies in the frame `other` of the same clip.
    ///
    /// With the frame before as `other`, what is at `p` was at `p + flow(p)`; with the next one, it will be there.
    pub fn flow(&self, frame: u32, other: u32) -> Flow {
        self.shot(frame).flow(&self.shot(other))
    }

    /// Whether the frame shows an anomaly: a pixel at least.
    pub(crate) fn anomalous(&self, frame: u32) -> bool {
        // Most frames have nobody to look for: then nothing need be placed.
        let time = i64::from(frame);
        let deviates = self.traffic.anomaly.is_some() && self.traffic.at(time).iter().any(|one| one.anomalous(time));
        deviates && self.shot(frame).mask().is_some()
    }

    fn shot(&self, frame: u32) -> Shot<'a> {
        self.draw(frame, None)
    }

    fn draw(&self, frame: u32, canvas: Option<&mut [Rgb]>) -> Shot<'a> {
        let time = i64::from(frame);
        Shot::new(self.scene, self.traffic.at(time), time, canvas)
    }

    fn pixels(&self, canvas: &[Rgb], mut noise: impl FnMut() -> f64) -> Pixels {
        // The nearest level: the cast cuts off what is behind the point, and ends at 0 and 255.
        let level = |value: &f64| (255.0 * (value + noise()) + 0.5) as u8;
        let bytes: Vec<u8> = canvas.iter().flatten().map(level).collect();
        let Size { height, width } = self.scene.size;
        Pixels { height, width, channels: 3, bytes: ByteBuf::from(bytes) }
    }
}
