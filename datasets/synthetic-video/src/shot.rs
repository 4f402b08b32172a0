//! One moment before the camera: which pixel shows which part of whom, and with that masks, boxes and motion.

use mimus_drawing::geometry::{Rgb, coverage, mix};

use crate::agent::{Agent, Pose};
use crate::body::Part;
use crate::clip::{AgentBox, Flow, Scene, Size};

/// What a pixel shows: positions of an agent and of its part, or the backdrop.
type Owner = Option<[u16; 2]>;

/// The agents of a frame, drawn from far to near.
pub(crate) struct Shot<'a> {
    scene: &'a Scene,
    time: f64,
    pub(crate) agents: Vec<Agent>,
    anomalous: Vec<bool>,
    poses: Vec<Pose>,
    extents: Vec<Extent>,
    owners: Vec<Owner>,
}

/// Left, top, right, bottom of pixels.
#[derive(Clone, Copy)]
struct Extent([usize; 4]);

impl Extent {
    const NONE: Self = Self([usize::MAX, usize::MAX, 0, 0]);

    fn take(&mut self, column: usize, row: usize) {
        let [left, top, right, bottom] = self.0;
        self.0 = [left.min(column), top.min(row), right.max(column + 1), bottom.max(row + 1)];
    }
}

impl<'a> Shot<'a> {
    /// Places the agents, and paints them if there is a canvas.
    pub(crate) fn new(scene: &'a Scene, agents: Vec<Agent>, frame: i64, mut canvas: Option<&mut [Rgb]>) -> Self {
        let time = frame as f64;
        let poses: Vec<Pose> = agents.iter().map(|agent| agent.pose(time, &scene.design.camera)).collect();
        let anomalous = agents.iter().map(|agent| agent.anomalous(frame)).collect();
        let mut owners = vec![None; scene.size.height * scene.size.width];
        let mut extents = vec![Extent::NONE; agents.len()];
        for (a, (agent, pose)) in agents.iter().zip(&poses).enumerate() {
            for (p, part) in agent.parts.iter().enumerate() {
                let owner = Some([a as u16, p as u16]);
                place(scene.size, pose, part, |column, row, q, cover| {
                    let i = row * scene.size.width + column;
                    if cover >= 0.5 {
                        owners[i] = owner;
                        extents[a].take(column, row);
                    }
                    if let Some(canvas) = canvas.as_deref_mut() {
                        canvas[i] = mix(canvas[i], part.paint.color(q), cover);
                    }
                });
            }
        }
        Self { scene, time, agents, anomalous, poses, extents, owners }
    }

    /// 1 where a pixel shows an anomalous agent, 0 elsewhere; `None` if there is no such pixel.
    pub(crate) fn mask(&self) -> Option<Vec<u8>> {
        let marked = |owner: &Owner| owner.is_some_and(|[agent, _]| self.anomalous[usize::from(agent)]);
        let mask: Vec<u8> = self.owners.iter().map(|owner| u8::from(marked(owner))).collect();
        mask.contains(&1).then_some(mask)
    }

    /// The boxes of all agents that are on the picture.
    pub(crate) fn boxes(&self) -> Vec<AgentBox> {
        let mut visible = vec![0; self.agents.len()];
        self.owners.iter().flatten().for_each(|[agent, _]| visible[usize::from(*agent)] += 1);
        let boxes = self.agents.iter().zip(&self.anomalous).zip(&self.extents).zip(visible);
        let boxes = boxes.filter(|((_, extent), _)| extent.0[0] < extent.0[2]);
        let boxes = boxes.map(|(((agent, anomalous), extent), visible)| AgentBox {
            agent: agent.id,
            kind: agent.kind,
            anomalous: *anomalous,
            bounds: extent.0,
            visible,
        });
        boxes.collect()
    }

    /// Where what this shot shows lies in another of the same clip.
    pub(crate) fn flow(&self, other: &Self) -> Flow {
        let size = self.scene.size;
        let there: Vec<Pose> = self.agents.iter().map(|a| a.pose(other.time, &self.scene.design.camera)).collect();
        let moved = |i: usize, owner: &Owner| {
            let Some([a, p]) = *owner else { return ([0.0, 0.0], other.owners[i].is_none()) };
            let agent = &self.agents[usize::from(a)];
            let part = &agent.parts[usize::from(p)];
            let from = size.middle(i);
            let q = self.poses[usize::from(a)].place(part).to_part(from);
            let [x, y] = size.position(there[usize::from(a)].place(part).to_picture(q));
            let [column, row] = size.position(from);
            let inside = (0.0..size.width as f64).contains(&x) && (0.0..size.height as f64).contains(&y);
            let seen = inside && {
                let owner = other.owners[y as usize * size.width + x as usize];
                owner.is_some_and(|[b, part]| part == p && other.agents[usize::from(b)].id == agent.id)
            };
            ([(x - column) as f32, (y - row) as f32], seen)
        };
        let (vectors, seen) = self.owners.iter().enumerate().map(|(i, owner)| moved(i, owner)).unzip();
        Flow { vectors, seen }
    }
}

/// Calls `pixel` with column, row, point of the part and how much of the pixel the part takes, for all pixels that it touches.
fn place(size: Size, pose: &Pose, part: &Part, mut pixel: impl FnMut(usize, usize, [f64; 2], f64)) {
    let placed = pose.place(part);
    let (center, half) = placed.bounds(&part.shape);
    let [column, row] = size.position(center);
    let half = half.map(|side| side * size.height as f64 + 1.0);
    let range = |middle: f64, half: f64, end: usize| {
        let bound = |value: f64| value.clamp(0.0, end as f64) as usize;
        bound((middle - half).floor())..bound((middle + half).ceil())
    };
    // The side of a pixel in metres, where the part is.
    let side = placed.metres(1.0 / size.height as f64);
    let columns = range(column, half[0], size.width);
    for row in range(row, half[1], size.height) {
        for column in columns.clone() {
            let q = placed.to_part(size.place([column as f64 + 0.5, row as f64 + 0.5]));
            let cover = coverage(part.shape.distance(q), side);
            if cover > 0.0 {
                pixel(column, row, q, cover);
            }
        }
    }
}
