//! Who is there at a time: passers-by in all lanes, and in some clips one agent after the other that does not behave.

use mimus_core::random::Stream;

use crate::agent::{Agent, AgentKind, Deviation};
use crate::body;
use crate::design::{Design, Lane};

/// Every so many frames an anomaly comes and goes: the first and last ten of them are normal.
pub(crate) const SPAN: i64 = 48;
/// How far from the middle of their lane people walk, in metres.
const ASIDE: f64 = 0.3;
/// Metres a frame of those who walk, at ten frames a second.
const WALK: [f64; 2] = [0.10, 0.16];

/// A kind of anomaly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anomaly {
    /// Somebody runs.
    Running,
    /// Somebody turns round and goes against the direction of the lane.
    WrongWay,
    /// A bicycle or a cart.
    Object,
    /// Somebody stands or walks in circles.
    Loitering,
}

impl Anomaly {
    /// All kinds with their names, in the order of the clips.
    pub const ALL: [(&'static str, Self); 4] = [
        ("running", Self::Running),
        ("wrong_way", Self::WrongWay),
        ("object", Self::Object),
        ("loitering", Self::Loitering),
    ];
}

/// What decides who passes in one clip.
#[derive(Clone)]
pub(crate) struct Traffic {
    pub(crate) design: &'static Design,
    pub(crate) seed: u64,
    /// Names the clip: its streams depend on nothing else.
    pub(crate) key: String,
    /// Width of the picture in its heights.
    pub(crate) aspect: f64,
    /// How many are to be seen on average.
    pub(crate) agents: f64,
    pub(crate) difficulty: f64,
    pub(crate) anomaly: Option<Anomaly>,
}

impl Traffic {
    /// All agents of a frame, from far to near; those far outside of the picture may be among them.
    pub(crate) fn at(&self, frame: i64) -> Vec<Agent> {
        let mut agents = Vec::new();
        for (number, lane) in self.design.lanes.iter().enumerate() {
            self.passers(number, lane, frame as f64, &mut agents);
        }
        if let Some(anomaly) = self.anomaly {
            // One that walks through the picture is there before and after its span, but never for longer than four.
            let now = frame / SPAN;
            agents.extend(((now - 4).max(0)..=now + 4).map(|span| self.deviant(anomaly, span)));
        }
        let depth = |agent: &Agent| agent.ground(frame as f64)[1];
        agents.sort_by(|a, b| depth(b).total_cmp(&depth(a)).then(a.id.cmp(&b.id)));
        agents
    }

    fn stream(&self, what: &str) -> Stream {
        Stream::new(self.seed, &format!("{}/{what}", self.key))
    }

    /// From the middle of the view to where something that reaches `margin` metres beyond its middle is out of it, along a lane.
    fn reach(&self, lane: &Lane, margin: f64) -> f64 {
        let half = 0.5 * self.aspect / self.design.camera.focal;
        (half * (lane.depth + ASIDE) + margin) / (1.0 - half * lane.slope.abs())
    }

    /// Those of a lane who are on their way: number `n` enters at some moment of the `n`th interval, so that any frame can be asked for.
    fn passers(&self, number: usize, lane: &'static Lane, now: f64, agents: &mut Vec<Agent>) {
        let reach = self.reach(lane, 0.8);
        let lanes = self.design.lanes.len() as f64;
        let interval = 2.0 * reach / (0.5 * (WALK[0] + WALK[1])) * lanes / self.agents;
        let longest = 2.0 * reach / WALK[0];
        let first = ((now - longest) / interval).floor() as i64 - 1;
        for n in first..=(now / interval).floor() as i64 {
            let mut stream = self.stream(&format!("passer/{number}/{n}"));
            let since = (n as f64 + stream.uniform()) * interval;
            let speed = stream.range(WALK[0], WALK[1]);
            if (since..since + 2.0 * reach / speed).contains(&now) {
                let aside = stream.range(-ASIDE, ASIDE);
                let id = ((number as u64 + 1) << 32) | u64::from(n as u32);
                let (kind, size, deviation) = (AgentKind::Pedestrian, stream.range(0.92, 1.08), None);
                let (parts, start) = (body::walker(&mut stream), -lane.way * reach);
                agents.push(Agent { id, kind, parts, size, lane, aside, start, since, speed, deviation });
            }
        }
    }

    /// The one of a span that does not behave. It is in the middle of the view in the middle of its time.
    fn deviant(&self, anomaly: Anomaly, span: i64) -> Agent {
        let mut stream = self.stream(&format!("deviant/{span}"));
        let lanes = self.design.lanes;
        let lane = &lanes[stream.below(lanes.len() as u64) as usize % lanes.len()];
        let from = span * SPAN + 10 + stream.below(5) as i64;
        let to = from + 18 + stream.below(7) as i64;
        let (aside, start) = (stream.range(-ASIDE, ASIDE), stream.range(-0.3, 0.3));
        let (mut speed, mut size) = (stream.range(WALK[0], WALK[1]), stream.range(0.92, 1.08));
        let strength = 1.0 - self.difficulty;
        let pace = |pace: f64| Deviation { from, to, pace, circle: 0.0, rounds: 0.0 };
        let mut kind = AgentKind::Pedestrian;
        let deviation = match anomaly {
            Anomaly::Running => Some(pace(1.8 + 1.4 * strength)),
            Anomaly::WrongWay => Some(pace(-0.7 - 0.5 * strength)),
            Anomaly::Loitering if stream.uniform() < 0.5 => Some(pace(0.3 * self.difficulty)),
            Anomaly::Loitering => Some(Deviation { circle: 0.25, rounds: 1.0, ..pace(0.3 * self.difficulty) }),
            Anomaly::Object => {
                kind = if stream.uniform() < 0.5 { AgentKind::Bicycle } else { AgentKind::Cart };
                size = 1.15 - 0.45 * self.difficulty;
                speed = 2.0 * self.reach(lane, 1.2) / (to - from) as f64;
                None
            }
        };
        let parts = match kind {
            AgentKind::Pedestrian => body::walker(&mut stream),
            AgentKind::Bicycle => body::bicycle(&mut stream),
            AgentKind::Cart => body::cart(&mut stream),
        };
        let since = 0.5 * (from + to) as f64;
        let start = if anomaly == Anomaly::Object { 0.0 } else { start };
        Agent { id: span as u64, kind, parts, size, lane, aside, start, since, speed, deviation }
    }
}
