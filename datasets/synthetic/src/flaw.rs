//! Kinds of defects, each drawn on any texture or object.

use std::f64::consts::TAU;

use mimus_core::random::Stream;

use crate::region::Region;
use crate::scene::Scene;
use mimus_drawing::geometry::{Point, Rgb, add, mix, polar, sub, turn};

/// A kind of defect.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum FlawKind {
    /// A region of another tint.
    Color,
    /// A jagged dark line with a branch.
    Crack,
    /// Material that is missing: the background shows, or the dark below a texture.
    Hole,
    /// A piece that was cut out and put back shifted and turned.
    Misplaced,
    /// A thin bright or dark line, slightly curved.
    Scratch,
    /// A blotch of foreign matter.
    Stain,
}

impl FlawKind {
    /// All kinds with their names, in the order of the index.
    pub(crate) const ALL: [(&'static str, Self); 6] = [
        ("color", Self::Color),
        ("crack", Self::Crack),
        ("hole", Self::Hole),
        ("misplaced", Self::Misplaced),
        ("scratch", Self::Scratch),
        ("stain", Self::Stain),
    ];
}

/// One defect at its place.
pub(crate) struct Flaw {
    region: Region,
    change: Change,
}

/// What a defect does to the colours of its region.
enum Change {
    /// Covers them with a colour, at an opacity.
    Cover(Rgb, f64),
    /// Multiplies them.
    Tint(Rgb),
    /// Shows what is behind.
    Reveal,
    /// Shows what belongs elsewhere: turned about a centre, then shifted.
    Move { center: Point, shift: Point, angle: f64 },
}

impl Flaw {
    /// A defect of a kind, somewhere on the sample. `difficulty` from 0 to 1 makes it smaller and fainter.
    pub(crate) fn new(kind: FlawKind, difficulty: f64, scene: &Scene, stream: &mut Stream) -> Self {
        let center = anchor(scene, stream);
        let size = 1.3 - 0.6 * difficulty;
        let strength = 1.0 - 0.65 * difficulty;
        let blob = |radius: f64, roughness: f64| Region::Blob { center, radius: size * radius, roughness };
        let (region, change) = match kind {
            FlawKind::Color => (blob(stream.range(0.20, 0.34), 0.15), tint(strength, stream)),
            FlawKind::Crack => (Region::crack(center, size, stream), Change::Cover([0.06, 0.05, 0.05], strength)),
            FlawKind::Hole => (blob(stream.range(0.06, 0.12), 0.25), Change::Reveal),
            FlawKind::Misplaced => misplaced(center, size, stream),
            FlawKind::Scratch => {
                let tone = if stream.uniform() < 0.5 { [0.97, 0.97, 0.95] } else { [0.12, 0.11, 0.10] };
                (Region::scratch(center, size, stream), Change::Cover(tone, strength))
            }
            FlawKind::Stain => (blob(stream.range(0.10, 0.20), 0.35), stain(strength, stream)),
        };
        Self { region, change }
    }

    /// The colour at a point of the sample with this defect, where `sound` is the colour without, and how much of what is at
    /// that point the defect replaces, from 0 to 1.
    pub(crate) fn color(&self, scene: &Scene, p: Point, sound: Rgb) -> (Rgb, f64) {
        let amount = self.region.inside(scene.noise(), scene.pixel(), p);
        if amount == 0.0 {
            return (sound, 0.0);
        }
        let cover = scene.cover(p);
        let replaced = amount.min(cover);
        match &self.change {
            Change::Cover(color, opacity) => (mix(sound, *color, opacity * amount * cover), replaced),
            Change::Tint(factors) => (mix(sound, [0, 1, 2].map(|i| sound[i] * factors[i]), amount * cover), replaced),
            Change::Reveal => (mix(sound, scene.behind(p), amount), replaced),
            Change::Move { center, shift, angle } => {
                let from = add(add(*center, *shift), turn(sub(p, *center), *angle));
                (mix(sound, scene.color(from), amount), amount.min(cover.max(scene.cover(from))))
            }
        }
    }
}

/// A point on the sample, not at the picture's border.
fn anchor(scene: &Scene, stream: &mut Stream) -> Point {
    const TRIES: usize = 200;
    let mut points = (0..TRIES).map(|_| [stream.range(-0.85, 0.85), stream.range(-0.85, 0.85)]);
    points.find(|p| scene.cover(*p) > 0.9).unwrap_or([0.0, 0.0])
}

fn misplaced(center: Point, size: f64, stream: &mut Stream) -> (Region, Change) {
    let half = [size * stream.range(0.14, 0.24), size * stream.range(0.10, 0.18)];
    let region = Region::Piece { center, half, angle: stream.range(0.0, TAU) };
    let shift = polar(size * stream.range(0.12, 0.30), stream.range(0.0, TAU));
    (region, Change::Move { center, shift, angle: stream.range(-0.6, 0.6) })
}

/// Warm, cold or green: two channels move apart.
fn tint(strength: f64, stream: &mut Stream) -> Change {
    const TINTS: [Rgb; 4] = [[1.25, 0.95, 0.55], [0.60, 0.92, 1.20], [0.70, 1.10, 0.65], [1.15, 0.70, 1.05]];
    let tint = TINTS[stream.below(TINTS.len() as u64) as usize % TINTS.len()];
    Change::Tint(tint.map(|factor| 1.0 + strength * (factor - 1.0)))
}

/// Oil, rust, chalk or mould.
fn stain(strength: f64, stream: &mut Stream) -> Change {
    const MATTER: [Rgb; 4] = [[0.16, 0.12, 0.07], [0.50, 0.24, 0.10], [0.93, 0.93, 0.88], [0.25, 0.36, 0.22]];
    let matter = MATTER[stream.below(MATTER.len() as u64) as usize % MATTER.len()];
    Change::Cover(matter, 0.85 * strength)
}
