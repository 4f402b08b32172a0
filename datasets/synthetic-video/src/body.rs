//! Bodies: rigid parts, each turning about its joint, in metres from the point on the ground below the middle.

use std::f64::consts::TAU;

use mimus_core::random::Stream;
use mimus_drawing::geometry::{Point, Rgb, length, mix, shade, sub, to_box, to_segment};

/// The outline of a part.
pub(crate) enum Shape {
    /// What lies within `radius` of a segment.
    Bar { ends: [Point; 2], radius: f64 },
    /// A box with rounded corners.
    Slab { center: Point, half: Point, round: f64 },
    /// A circle's line of some width.
    Ring { center: Point, radius: f64, half_width: f64 },
}

impl Shape {
    /// Signed distance, negative inside.
    pub(crate) fn distance(&self, q: Point) -> f64 {
        match self {
            Self::Bar { ends, radius } => to_segment(q, ends[0], ends[1]).0 - radius,
            Self::Slab { center, half, round } => to_box(sub(q, *center), half.map(|side| side - round)) - round,
            Self::Ring { center, radius, half_width } => (length(sub(q, *center)) - radius).abs() - half_width,
        }
    }

    /// Middle and half extents of a box around it.
    pub(crate) fn bounds(&self) -> (Point, Point) {
        match self {
            Self::Bar { ends: [a, b], radius } => {
                ([0, 1].map(|i| 0.5 * (a[i] + b[i])), [0, 1].map(|i| 0.5 * (a[i] - b[i]).abs() + radius))
            }
            Self::Slab { center, half, .. } => (*center, *half),
            Self::Ring { center, radius, half_width } => (*center, [radius + half_width; 2]),
        }
    }
}

/// How a part is painted: fixed to it, so that it moves as the part does.
pub(crate) enum Paint {
    /// One colour.
    Plain(Rgb),
    /// Soft bands of two colours, one above the other.
    Bands(Rgb, Rgb),
    /// The first colour above a height, the second below.
    Split(Rgb, Rgb, f64),
}

impl Paint {
    /// The colour at a point of the part, lit from the left.
    pub(crate) fn color(&self, q: Point) -> Rgb {
        const BAND: f64 = 0.36;
        let color = match self {
            Self::Plain(color) => *color,
            Self::Bands(one, other) => mix(*one, *other, 0.5 + 0.5 * (TAU * q[1] / BAND).cos()),
            Self::Split(above, below, height) => {
                if q[1] < *height {
                    *above
                } else {
                    *below
                }
            }
        };
        shade(color, 1.0 - 0.6 * q[0].clamp(-0.4, 0.4))
    }
}

/// A rigid part.
pub(crate) struct Part {
    /// Its outline, at rest.
    pub(crate) shape: Shape,
    /// Its paint.
    pub(crate) paint: Paint,
    /// The point about which it turns.
    pub(crate) joint: Point,
    /// Which way it turns with the step, and how far: 1 and -1 for legs, 0 for what does not turn.
    pub(crate) swing: f64,
}

/// What is rigid against the ground point.
fn fixed(shape: Shape, paint: Paint) -> Part {
    Part { shape, paint, joint: [0.0, 0.0], swing: 0.0 }
}

fn bar(a: Point, b: Point, radius: f64) -> Shape {
    Shape::Bar { ends: [a, b], radius }
}

/// Clothes, skin and hair of one person.
struct Look {
    shirt: [Rgb; 2],
    trousers: Rgb,
    skin: Rgb,
    hair: Rgb,
    girth: f64,
}

impl Look {
    fn new(stream: &mut Stream) -> Self {
        const SHIRTS: [Rgb; 8] = [
            [0.78, 0.16, 0.15],
            [0.14, 0.27, 0.62],
            [0.93, 0.92, 0.88],
            [0.10, 0.10, 0.12],
            [0.90, 0.66, 0.14],
            [0.16, 0.48, 0.32],
            [0.47, 0.20, 0.48],
            [0.25, 0.62, 0.72],
        ];
        const TROUSERS: [Rgb; 4] = [[0.13, 0.15, 0.24], [0.20, 0.17, 0.14], [0.09, 0.09, 0.10], [0.33, 0.34, 0.38]];
        const SKIN: [Rgb; 4] = [[0.92, 0.74, 0.62], [0.80, 0.60, 0.45], [0.58, 0.39, 0.27], [0.38, 0.25, 0.18]];
        const HAIR: [Rgb; 4] = [[0.10, 0.08, 0.07], [0.33, 0.21, 0.12], [0.72, 0.56, 0.32], [0.55, 0.54, 0.53]];
        let shirt = pick(&SHIRTS, stream);
        let other = if stream.uniform() < 0.4 { pick(&SHIRTS, stream) } else { shade(shirt, 0.72) };
        Self {
            shirt: [shirt, other],
            trousers: pick(&TROUSERS, stream),
            skin: pick(&SKIN, stream),
            hair: pick(&HAIR, stream),
            girth: stream.range(0.88, 1.18),
        }
    }

    fn sleeve(&self) -> Rgb {
        shade(self.shirt[0], 0.85)
    }
}

fn pick(colors: &[Rgb], stream: &mut Stream) -> Rgb {
    let position = stream.below(colors.len() as u64) as usize;
    colors.get(position).copied().unwrap_or([0.5, 0.5, 0.5])
}

/// Somebody on foot, 1.7 metres tall, from behind to before.
pub(crate) fn walker(stream: &mut Stream) -> Vec<Part> {
    const HIP: Point = [0.0, -0.86];
    const SHOULDER: Point = [0.0, -1.36];
    let look = Look::new(stream);
    let leg = |swing: f64, tone: f64| Part {
        shape: bar(HIP, [0.0, -0.08], 0.085 * look.girth),
        paint: Paint::Split(shade(look.trousers, tone), [0.08, 0.07, 0.06], -0.13),
        joint: HIP,
        swing,
    };
    let arm = |swing: f64| Part {
        shape: bar(SHOULDER, [0.0, -0.82], 0.055),
        paint: Paint::Split(look.sleeve(), look.skin, -0.90),
        joint: SHOULDER,
        swing,
    };
    let torso = Shape::Slab { center: [0.0, -1.12], half: [0.165 * look.girth, 0.33], round: 0.12 };
    vec![
        arm(0.9),
        leg(-1.0, 0.8),
        leg(1.0, 1.0),
        fixed(torso, Paint::Bands(look.shirt[0], look.shirt[1])),
        fixed(bar([0.0, -1.57], [0.0, -1.60], 0.125), Paint::Split(look.hair, look.skin, -1.61)),
        arm(-0.9),
    ]
}

/// A bicycle with its rider.
pub(crate) fn bicycle(stream: &mut Stream) -> Vec<Part> {
    const AXLES: [Point; 2] = [[-0.55, -0.35], [0.55, -0.35]];
    const SADDLE: Point = [-0.22, -0.98];
    const PEDALS: Point = [-0.05, -0.38];
    const BAR: Point = [0.42, -1.02];
    let look = Look::new(stream);
    let frame = pick(&[[0.75, 0.12, 0.10], [0.12, 0.35, 0.60], [0.15, 0.16, 0.17]], stream);
    let tube = |a: Point, b: Point| fixed(bar(a, b, 0.035), Paint::Plain(frame));
    let wheel = |center: Point| {
        let ring = Shape::Ring { center, radius: 0.31, half_width: 0.04 };
        fixed(ring, Paint::Plain([0.08, 0.08, 0.09]))
    };
    let thigh = |knee: Point, foot: Point, tone: f64| {
        [(SADDLE, knee), (knee, foot)].map(|(a, b)| fixed(bar(a, b, 0.075), Paint::Plain(shade(look.trousers, tone))))
    };
    let mut parts = vec![wheel(AXLES[0]), wheel(AXLES[1])];
    parts.extend(thigh([0.16, -0.80], [0.02, -0.24], 0.75));
    parts.extend([tube(AXLES[0], SADDLE), tube(AXLES[0], PEDALS), tube(SADDLE, PEDALS)]);
    parts.extend([tube(PEDALS, BAR), tube(SADDLE, BAR), tube(AXLES[1], BAR)]);
    parts.extend(thigh([0.14, -0.62], [-0.08, -0.30], 1.0));
    parts.push(fixed(bar(SADDLE, [0.08, -1.42], 0.15 * look.girth), Paint::Bands(look.shirt[0], look.shirt[1])));
    parts.push(fixed(bar([0.08, -1.42], BAR, 0.055), Paint::Plain(look.sleeve())));
    parts.push(fixed(bar([0.17, -1.66], [0.17, -1.69], 0.125), Paint::Split(look.hair, look.skin, -1.69)));
    parts
}

/// A loaded cart on two wheels.
pub(crate) fn cart(stream: &mut Stream) -> Vec<Part> {
    let load = pick(&[[0.72, 0.54, 0.33], [0.25, 0.45, 0.70], [0.80, 0.30, 0.16]], stream);
    let tray = Shape::Slab { center: [0.0, -0.42], half: [0.68, 0.10], round: 0.03 };
    let below = Shape::Slab { center: [-0.20, -0.76], half: [0.40, 0.26], round: 0.04 };
    let above = Shape::Slab { center: [-0.12, -1.22], half: [0.32, 0.22], round: 0.04 };
    let side = Shape::Slab { center: [0.42, -0.68], half: [0.20, 0.18], round: 0.04 };
    let wheel = |x: f64| fixed(bar([x, -0.18], [x, -0.18], 0.18), Paint::Plain([0.08, 0.08, 0.09]));
    vec![
        fixed(bar([-0.66, -0.45], [-0.84, -1.10], 0.035), Paint::Plain([0.30, 0.31, 0.33])),
        wheel(-0.42),
        wheel(0.42),
        fixed(tray, Paint::Plain([0.42, 0.43, 0.46])),
        fixed(below, Paint::Bands(load, shade(load, 0.6))),
        fixed(above, Paint::Plain(shade(load, 1.15))),
        fixed(side, Paint::Plain(shade(load, 0.75))),
    ]
}
