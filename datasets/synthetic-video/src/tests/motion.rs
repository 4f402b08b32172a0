//! What the generator promises of motion and boxes, and how anomalies differ from what is normal.

use std::collections::BTreeMap;

use mimus_core::plugin::{OpenDataset, OptionValue, Pixels, Split};

use super::{ints, open};
use crate::design::{DESIGNS, Design, Lane};
use crate::{AgentBox, AgentKind, Anomaly, Clip, Flow, Videos};

/// The test clips of all groups with an anomaly, in a data set with `rounds` of each kind.
fn clips(videos: &Videos, anomaly: Option<Anomaly>, rounds: usize) -> Vec<Clip<'_>> {
    let numbers = |group| (0..5 * rounds).map(move |clip| (group, clip));
    let all = (0..videos.index().groups.len()).flat_map(numbers);
    let all = all.map(|(group, clip)| videos.clip(group, Split::Test, clip).unwrap());
    all.filter(|clip| clip.anomaly() == anomaly).collect()
}

/// One clip of each kind in each group.
fn everything(videos: &Videos) -> Vec<Clip<'_>> {
    let kinds = Anomaly::ALL.into_iter().map(|(_, anomaly)| Some(anomaly)).chain([None]);
    kinds.flat_map(|anomaly| clips(videos, anomaly, 1)).collect()
}

fn square(side: i64) -> Videos {
    ints(&[("height", side), ("width", side)])
}

/// A channel's value between the middles of pixels.
fn between(pixels: &Pixels, [x, y]: [f64; 2], channel: usize) -> f64 {
    let (left, top) = (x.floor(), y.floor());
    let at = |column: f64, row: f64| {
        let column = column.clamp(0.0, pixels.width as f64 - 1.0) as usize;
        let row = row.clamp(0.0, pixels.height as f64 - 1.0) as usize;
        f64::from(pixels.bytes[(row * pixels.width + column) * 3 + channel])
    };
    let (u, v) = (x - left, y - top);
    let above = at(left, top) * (1.0 - u) + at(left + 1.0, top) * u;
    let below = at(left, top + 1.0) * (1.0 - u) + at(left + 1.0, top + 1.0) * u;
    above * (1.0 - v) + below * v
}

/// Whether all eight around a pixel move nearly as it does and are seen: no border of a part is near.
fn inside(flow: &Flow, width: usize, i: usize) -> bool {
    let [x, y] = flow.vectors[i];
    let like = |j: usize| {
        let [u, v] = flow.vectors.get(j).copied().unwrap_or_default();
        (u - x).hypot(v - y) < 0.4 && flow.seen[j]
    };
    let rows = [i.wrapping_sub(width), i, i + width];
    rows.into_iter().flat_map(|row| [row.wrapping_sub(1), row, row + 1]).all(|j| j < flow.seen.len() && like(j))
}

#[test]
fn the_flow_carries_another_frame_onto_this_one() {
    const SIDE: usize = 128;
    let videos = square(SIDE as i64);
    for clip in everything(&videos) {
        // Sums of differences of pixels that move: carried by the flow, not carried, and carried far from the borders of parts.
        let (mut carried, mut still, mut clear) = ([0.0; 2], [0.0; 2], [0.0; 2]);
        for (now, other) in [(9, 8), (17, 16), (21, 22), (25, 24), (28, 30), (33, 32), (40, 41)] {
            let (flow, here, there) = (clip.flow(now, other), clip.clean(now), clip.clean(other));
            let moving = (0..SIDE * SIDE).filter(|i| flow.seen[*i] && flow.vectors[*i] != [0.0, 0.0]);
            for (i, channel) in moving.flat_map(|i| [0, 1, 2].map(|channel| (i, channel))) {
                let at = [(i % SIDE) as f64, (i / SIDE) as f64];
                let from = [0, 1].map(|axis| at[axis] + f64::from(flow.vectors[i][axis]));
                let off = |place| (f64::from(here.bytes[3 * i + channel]) - between(&there, place, channel)).abs();
                let count = |sums: &mut [f64; 2], off: f64| {
                    sums[0] += off;
                    sums[1] += 1.0;
                };
                count(&mut carried, off(from));
                count(&mut still, off(at));
                if inside(&flow, SIDE, i) {
                    count(&mut clear, off(from));
                }
            }
        }
        let what = format!("{:?} carried {carried:?} still {still:?} clear {clear:?}", clip.anomaly());
        assert!(carried[1] > 3000.0 && clear[1] > 0.2 * carried[1], "{what}");
        let [carried, still, clear] = [carried, still, clear].map(|[sum, count]| sum / count);
        assert!(6.0 * carried < still && clear < 3.0, "{what}");
    }
}

#[test]
fn the_flow_of_the_backdrop_and_of_a_frame_to_itself_is_zero() {
    let videos = square(48);
    for clip in everything(&videos) {
        let (same, next, boxes) = (clip.flow(20, 20), clip.flow(20, 21), clip.boxes(20));
        assert!(same.vectors.iter().flatten().all(|value| value.abs() < 1e-4) && same.seen.iter().all(|seen| *seen));
        let moving = next.vectors.iter().filter(|vector| **vector != [0.0, 0.0]).count();
        let visible: usize = boxes.iter().map(|one| one.visible).sum();
        // Who stands does not move.
        assert!(moving <= visible && (2 * moving > visible || clip.anomaly() == Some(Anomaly::Loitering)));
        for (i, vector) in next.vectors.iter().enumerate() {
            let (column, row) = (i % 48, i / 48);
            assert!(*vector == [0.0, 0.0] || boxes.iter().any(|one| holds(one, column, row, 0)));
        }
    }
}

/// Whether a pixel lies within the box enlarged by `more`.
fn holds(one: &AgentBox, column: usize, row: usize, more: usize) -> bool {
    let [left, top, right, bottom] = one.bounds;
    (left..right + more).contains(&(column + if column < left { more } else { 0 }))
        && (top..bottom + more).contains(&(row + if row < top { more } else { 0 }))
}

#[test]
fn boxes_hold_all_that_differs_from_the_backdrop_and_are_no_larger() {
    const SIDE: usize = 64;
    let videos = square(SIDE as i64);
    for (clip, frame) in everything(&videos).iter().flat_map(|clip| (0..48).step_by(5).map(move |frame| (clip, frame)))
    {
        let (picture, empty, boxes) = (clip.clean(frame), clip.backdrop(), clip.boxes(frame));
        let differs = |i: usize| picture.bytes[3 * i..3 * i + 3] != empty.bytes[3 * i..3 * i + 3];
        for i in (0..SIDE * SIDE).filter(|i| differs(*i)) {
            // A soft edge reaches less than a pixel beyond what is taken by half; that of somebody outside, into the picture.
            if i % SIDE == 0 || i % SIDE == SIDE - 1 {
                continue;
            }
            assert!(boxes.iter().any(|one| holds(one, i % SIDE, i / SIDE, 1)), "frame {frame}: pixel {i} has no box");
        }
        for one in &boxes {
            let [left, top, right, bottom] = one.bounds;
            assert!(left < right && right <= SIDE && top < bottom && bottom <= SIDE);
            // One alone is hidden by nobody.
            assert!(one.visible > 0 || boxes.len() > 1);
            let column = |x: usize| (top..bottom).any(|y| differs(y * SIDE + x));
            let row = |y: usize| (left..right).any(|x| differs(y * SIDE + x));
            assert!(column(left) && column(right - 1) && row(top) && row(bottom - 1), "frame {frame}: {one:?}");
        }
    }
}

#[test]
fn the_mask_shows_what_the_boxes_call_anomalous() {
    let videos = square(48);
    for (clip, frame) in everything(&videos).iter().flat_map(|clip| (0..48).map(move |frame| (clip, frame))) {
        let boxes: Vec<AgentBox> = clip.boxes(frame).into_iter().filter(|one| one.anomalous).collect();
        let mask = clip.sample(frame).mask.unwrap_or_default();
        let marked: Vec<usize> = (0..mask.len()).filter(|i| mask[*i] == 1).collect();
        assert_eq!(marked.len(), boxes.iter().map(|one| one.visible).sum::<usize>());
        assert!(marked.iter().all(|i| boxes.iter().any(|one| holds(one, i % 48, i / 48, 0))));
        let objects = boxes.iter().filter(|one| one.kind != AgentKind::Pedestrian).count();
        assert_eq!(objects > 0, !boxes.is_empty() && clip.anomaly() == Some(Anomaly::Object));
    }
}

/// Height and width of the pictures in which steps are measured.
const SIDE: usize = 96;

/// What an agent does from one frame to the next, for those of which box and picture are whole.
struct Step {
    /// Heights of its box to the right.
    pace: f64,
    /// Width of the box by its height.
    width: f64,
    /// Where it stands, in heights of the picture: the lowest that its feet come.
    feet: f64,
    anomalous: bool,
}

impl Step {
    /// That of an agent whose box is not cut and not in the way of another's, with the flow to the frame before.
    fn new(one: &AgentBox, boxes: &[AgentBox], flow: &Flow) -> Option<Self> {
        let [left, top, right, bottom] = one.bounds;
        let apart = |other: &AgentBox| other == one || other.bounds[0] >= right || other.bounds[2] <= left;
        if left == 0 || right == SIDE || bottom == SIDE || !boxes.iter().all(apart) {
            return None;
        }
        // The trunk moves as the agent does: the median of what moves.
        let places = (top..bottom).flat_map(|y| (left..right).map(move |x| y * SIDE + x));
        let mut speeds: Vec<f32> = places.map(|i| -flow.vectors[i][0]).filter(|speed| *speed != 0.0).collect();
        speeds.sort_by(f32::total_cmp);
        let (height, median) = ((bottom - top) as f64, speeds.get(speeds.len() / 2).copied().unwrap_or(0.0));
        let (pace, width, feet) =
            (f64::from(median) / height, (right - left) as f64 / height, bottom as f64 / SIDE as f64);
        Some(Self { pace, width, feet, anomalous: one.anomalous })
    }
}

/// The steps of all agents in the middle of a clip.
fn steps(clip: &Clip<'_>) -> BTreeMap<u64, Vec<Step>> {
    let mut all: BTreeMap<u64, Vec<Step>> = BTreeMap::new();
    for frame in 6..42 {
        let (boxes, flow) = (clip.boxes(frame), clip.flow(frame, frame - 1));
        for one in &boxes {
            all.entry(one.agent).or_default().extend(Step::new(one, &boxes, &flow));
        }
    }
    for steps in all.values_mut() {
        let feet = steps.iter().fold(0.0, |lowest: f64, step| lowest.max(step.feet));
        steps.iter_mut().for_each(|step| step.feet = feet);
    }
    all
}

/// All normal steps, and all anomalous ones, in clips with an anomaly.
fn sorted(videos: &Videos, anomaly: Anomaly) -> [Vec<Step>; 2] {
    let all = clips(videos, Some(anomaly), 4).into_iter().flat_map(|clip| steps(&clip).into_values()).flatten();
    let (anomalous, normal): (Vec<Step>, Vec<Step>) = all.partition(|step| step.anomalous);
    assert!(normal.len() > 50 && anomalous.len() > 8, "{anomaly:?}: {} and {}", normal.len(), anomalous.len());
    [normal, anomalous]
}

/// Whether a step goes against the direction of the lane that its feet are in.
fn against(step: &Step, design: &Design) -> bool {
    let away = |lane: &Lane| (design.camera.project([0.0, lane.depth]).0[1] - step.feet).abs();
    let lane = design.lanes.iter().min_by(|a, b| away(a).total_cmp(&away(b))).unwrap();
    lane.way * step.pace < 0.0
}

#[test]
fn anomalies_differ_from_normal_motion_however_weak_they_are() {
    for (difficulty, design) in [0.0, 1.0].into_iter().flat_map(|weak| DESIGNS.iter().map(move |one| (weak, one))) {
        let group = design.name;
        // So few that their boxes are seldom in each other's way.
        let ints = [("height", SIDE as i64), ("width", SIDE as i64), ("agents", 2)];
        let mut given = ints.map(|(key, value)| (key, OptionValue::Int(value))).to_vec();
        given.push(("difficulty", OptionValue::Float(difficulty)));
        given.push(("groups", OptionValue::Texts(vec![group.to_owned()])));
        let videos = open(&given).unwrap();
        for (name, anomaly) in Anomaly::ALL {
            let [normal, anomalous] = sorted(&videos, anomaly);
            let fastest = normal.iter().fold(0.0, |most: f64, step| most.max(step.pace.abs()));
            let widest = normal.iter().fold(0.0, |most: f64, step| most.max(step.width));
            let mean = |steps: &[Step]| steps.iter().map(|step| step.pace.abs()).sum::<f64>() / steps.len() as f64;
            let differ = match anomaly {
                Anomaly::Running => anomalous.iter().all(|step| step.pace.abs() > 1.1 * fastest),
                Anomaly::WrongWay => anomalous.iter().all(|step| against(step, design)),
                Anomaly::Object => anomalous.iter().all(|step| step.width > 1.5 * widest),
                Anomaly::Loitering => mean(&anomalous) < 0.5 * mean(&normal),
            };
            assert!(differ, "{group} {name} at difficulty {difficulty}");
            assert!(!normal.iter().any(|step| against(step, design)), "{group} {name}: somebody goes the wrong way");
        }
    }
}

#[test]
fn difficulty_makes_anomalies_weaker() {
    let with = |difficulty| {
        let given = [("height", OptionValue::Int(SIDE as i64)), ("width", OptionValue::Int(SIDE as i64))];
        open(&[&given[..], &[("agents", OptionValue::Int(2)), ("difficulty", OptionValue::Float(difficulty))]].concat())
    };
    let [easy, hard] = [0.0, 1.0].map(|difficulty| with(difficulty).unwrap());
    let pace = |videos: &Videos, anomaly: Anomaly| {
        let [_, anomalous] = sorted(videos, anomaly);
        anomalous.iter().map(|step| step.pace.abs()).sum::<f64>() / anomalous.len() as f64
    };
    assert!(pace(&easy, Anomaly::Running) > 1.5 * pace(&hard, Anomaly::Running));
    assert!(pace(&easy, Anomaly::WrongWay) > 1.5 * pace(&hard, Anomaly::WrongWay));
    assert!(2.0 * pace(&easy, Anomaly::Loitering) < 1.5 * pace(&hard, Anomaly::Loitering));
    let area = |videos: &Videos| -> usize {
        let boxes = clips(videos, Some(Anomaly::Object), 2).into_iter().flat_map(|clip| clip.boxes(23));
        boxes.filter(|one| one.anomalous).map(|one| one.visible).sum()
    };
    assert!(area(&easy) > 2 * area(&hard) && area(&hard) > 0);
}
