//! Agents: who is where at which time, as closed formulas, so that any frame can be drawn and compared with any other.

use std::f64::consts::TAU;

use mimus_drawing::geometry::{Point, add, sub};

use crate::body::{Part, Shape};
use crate::design::{Camera, Lane};

/// What an agent is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgentKind {
    /// Somebody on foot.
    Pedestrian,
    /// A bicycle with its rider: always an anomaly.
    Bicycle,
    /// A loaded cart: always an anomaly.
    Cart,
}

/// One agent on its way along a lane.
pub(crate) struct Agent {
    /// Unique within the clip.
    pub(crate) id: u64,
    pub(crate) kind: AgentKind,
    pub(crate) parts: Vec<Part>,
    /// Its size against that of its parts.
    pub(crate) size: f64,
    /// What it walks along: the lane, shifted in depth.
    pub(crate) lane: &'static Lane,
    pub(crate) aside: f64,
    /// Metres to the right of the middle at the time `since`.
    pub(crate) start: f64,
    pub(crate) since: f64,
    /// Metres a frame.
    pub(crate) speed: f64,
    /// What it does that others do not.
    pub(crate) deviation: Option<Deviation>,
}

/// Other motion for a time.
pub(crate) struct Deviation {
    /// The last frame before, and the last frame of it.
    pub(crate) from: i64,
    pub(crate) to: i64,
    /// Factor on the speed: -1 goes back, 0 stands.
    pub(crate) pace: f64,
    /// Radius of the circles that it walks, and how many.
    pub(crate) circle: f64,
    pub(crate) rounds: f64,
}

impl Deviation {
    /// Frames of it until `time`.
    fn spent(&self, time: f64) -> f64 {
        time.clamp(self.from as f64, self.to as f64) - self.from as f64
    }

    /// How far round the circle, in radians, at `time`.
    fn angle(&self, time: f64) -> f64 {
        TAU * self.rounds * self.spent(time) / (self.to - self.from) as f64
    }
}

/// Where an agent is and how it steps, at one time.
pub(crate) struct Pose {
    /// The point on the ground below it, on the picture.
    foot: Point,
    /// Heights of the picture for each metre.
    scale: f64,
    /// 1 if it faces to the right, -1 to the left.
    facing: f64,
    /// Angle of a part of swing 1.
    step: f64,
}

impl Pose {
    /// Where one of its parts is.
    pub(crate) fn place(&self, part: &Part) -> Placed {
        let (sin, cos) = (self.step * part.swing).sin_cos();
        Placed { foot: self.foot, scale: [self.facing * self.scale, self.scale], joint: part.joint, sin, cos }
    }
}

/// Where a part is on the picture: mirrored or not, turned about its joint, scaled, shifted.
pub(crate) struct Placed {
    foot: Point,
    scale: Point,
    joint: Point,
    sin: f64,
    cos: f64,
}

impl Placed {
    /// The point of the part that is seen at a place of the picture.
    pub(crate) fn to_part(&self, p: Point) -> Point {
        let [x, y] = [0, 1].map(|i| (p[i] - self.foot[i]) / self.scale[i] - self.joint[i]);
        add([x * self.cos + y * self.sin, y * self.cos - x * self.sin], self.joint)
    }

    /// The place on the picture of a point of the part.
    pub(crate) fn to_picture(&self, q: Point) -> Point {
        let [x, y] = sub(q, self.joint);
        let turned = add([x * self.cos - y * self.sin, x * self.sin + y * self.cos], self.joint);
        [0, 1].map(|i| self.foot[i] + turned[i] * self.scale[i])
    }

    /// Middle and half extents, on the picture, of a box around a shape of the part.
    pub(crate) fn bounds(&self, shape: &Shape) -> (Point, Point) {
        let (center, half) = shape.bounds();
        let (sin, cos) = (self.sin.abs(), self.cos.abs());
        let turned = [half[0] * cos + half[1] * sin, half[0] * sin + half[1] * cos];
        (self.to_picture(center), [0, 1].map(|i| turned[i] * self.scale[i].abs()))
    }

    /// The length in metres of a length on the picture.
    pub(crate) fn metres(&self, length: f64) -> f64 {
        length / self.scale[1]
    }
}

impl Agent {
    /// Whether what it does in the frame, or what it is, is an anomaly: its motion since the frame before counts.
    pub(crate) fn anomalous(&self, frame: i64) -> bool {
        let deviates = self.deviation.as_ref().is_some_and(|d| d.from < frame && frame <= d.to);
        deviates || self.kind != AgentKind::Pedestrian
    }

    /// Where on the ground it is, in metres.
    pub(crate) fn ground(&self, time: f64) -> Point {
        let (spent, pace, aside) = match &self.deviation {
            None => (0.0, 1.0, [0.0, 0.0]),
            Some(d) => {
                let (sin, cos) = d.angle(time).sin_cos();
                (d.spent(time) - d.spent(self.since), d.pace, [d.circle * sin, d.circle * (1.0 - cos)])
            }
        };
        let frames = (time - self.since) + (pace - 1.0) * spent;
        let x = self.start + self.lane.way * self.speed * frames + aside[0];
        [x, self.lane.depth + self.aside + self.lane.slope * x + aside[1]]
    }

    pub(crate) fn pose(&self, time: f64, camera: &Camera) -> Pose {
        /// Metres that two steps cover.
        const STRIDE: f64 = 1.5;
        let (walked, wide) = match &self.deviation {
            None => (time - self.since, 0.45),
            Some(d) => {
                let round = d.circle * d.angle(time) / self.speed;
                let runs = d.pace > 1.0 && self.anomalous(time.ceil() as i64);
                let walked = time - self.since + (d.pace.abs() - 1.0) * d.spent(time) + round;
                // Who runs makes longer steps.
                if runs { (walked, 0.75) } else { (walked, 0.45) }
            }
        };
        let (foot, scale) = camera.project(self.ground(time));
        let step = wide * (TAU * walked * self.speed / (STRIDE * self.size)).sin();
        Pose { foot, scale: scale * self.size, facing: self.lane.way, step }
    }
}
