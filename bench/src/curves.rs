//! Score curves of every video: `curves/<model>/<group>/<video>.svg` and `.png`, the baseline and all variants in one picture.

use std::collections::BTreeSet;
use std::ops::Range;

use mimus_core::Result;
use mimus_core::metrics::Ranking;
use mimus_core::plugin::SampleInfo;
use rayon::prelude::*;

use crate::chart::{Chart, Line};
use crate::files;
use crate::folder::{Folder, plain};
use crate::plan::Plan;
use crate::samples::videos;
use crate::sweep::{Cell, Judged, Outcome};

/// The pictures of one model on one group: where they are below the run's folder, without extension, by video.
pub(crate) struct Album {
    pub(crate) model: String,
    pub(crate) group: String,
    pub(crate) pictures: Vec<(String, String)>,
}

/// Draws every video of every group; nothing where the data are single pictures. Of several seeds the first is drawn.
pub(crate) fn write(plan: &Plan, folder: &Folder, cells: &[Cell]) -> Result<Vec<Album>> {
    let mut albums = Vec::new();
    for (model, planned) in plan.models.iter().enumerate() {
        for (group, data) in plan.data.index().groups.iter().enumerate() {
            let infos: Vec<&SampleInfo> = data.test.iter().collect();
            let Some(videos) = videos(&infos)? else { continue };
            let Some((seed, curves)) = curves(plan, cells, model, group, &infos) else { continue };
            let mut taken = BTreeSet::new();
            let below = format!("curves/{}/{}", plain(&planned.label), plain(&data.name));
            let named: Vec<(&str, Range<usize>, String)> = videos
                .into_iter()
                .map(|(video, range)| (video, range, format!("{below}/{}", free(plain(video), &mut taken))))
                .collect();
            let protocol = plan.config.eval.protocol.resolve()?.name;
            named.par_iter().try_for_each(|(video, range, path)| {
                let title = format!("{}, {video}: {}, protocol {protocol}, seed {seed}", data.name, planned.label);
                let chart = chart(title, &infos, range, &curves)?;
                files::write(&folder.path(format!("{path}.svg")), chart.svg()?.as_bytes())?;
                files::write_png(&folder.path(format!("{path}.png")), &chart.pixels()?)
            })?;
            let pictures = named.into_iter().map(|(video, _, path)| (video.to_owned(), path)).collect();
            albums.push(Album { model: planned.label.clone(), group: data.name.clone(), pictures });
        }
    }
    Ok(albums)
}

/// A part of the report: where the pictures are, for every model and group.
pub(crate) fn links(albums: &[Album]) -> String {
    let mut text = String::new();
    for Album { model, group, pictures } in albums {
        let link = |(video, path): &(String, String)| format!("[{}]({path}.svg)", video.replace(['[', ']'], "|"));
        let links: Vec<String> = pictures.iter().map(link).collect();
        text += &format!("- {model} on {group}: {}\n", links.join(", "));
    }
    if text.is_empty() { text } else { format!("## Score curves\n\n{text}\n") }
}

/// A file's name that is not `taken`: two videos may have names that differ in a space alone.
fn free(name: String, taken: &mut BTreeSet<String>) -> String {
    let mut name = name;
    while !taken.insert(name.clone()) {
        name.push('_');
    }
    name
}

/// The scores of one variant.
struct Curve<'a> {
    name: &'a str,
    /// For each frame of the group that is ranked its position and its score.
    frames: Vec<(usize, f64)>,
}

/// Those of the first seed that any variant finished.
fn curves<'a>(
    plan: &'a Plan,
    cells: &[Cell],
    model: usize,
    group: usize,
    infos: &[&SampleInfo],
) -> Option<(u64, Vec<Curve<'a>>)> {
    let own: Vec<(&Cell, &Judged)> = cells
        .iter()
        .filter(|cell| (cell.model, cell.group) == (model, group))
        .filter_map(|cell| match &cell.outcome {
            Ok(Outcome::Judged(judged)) => Some((cell, judged.as_ref())),
            _ => None,
        })
        .collect();
    let finished = |seed: &u64| own.iter().any(|(cell, _)| cell.seed == *seed);
    let seed = plan.config.run.seeds.iter().copied().find(finished)?;
    let curve = |(cell, judged): &(&Cell, &Judged)| {
        let position = |(sample, score)| judged.positions.get(sample).map(|position: &usize| (*position, score));
        let frames = judged.evaluation.ranked().filter_map(position).filter(|(i, _)| *i < infos.len()).collect();
        Curve { name: &plan.variants[cell.variant].name, frames }
    };
    Some((seed, own.iter().filter(|(cell, _)| cell.seed == seed).map(curve).collect()))
}

/// Scores are brought to the variant's range over all videos, so that a quiet video looks quiet.
fn chart(title: String, infos: &[&SampleInfo], range: &Range<usize>, curves: &[Curve<'_>]) -> Result<Chart> {
    let number = |position: usize| infos.get(position).and_then(|info| info.frame.as_ref()).map_or(0, |frame| frame.1);
    let line = |curve: &Curve<'_>| {
        let own: Vec<(usize, f64)> = curve.frames.iter().copied().filter(|(i, _)| range.contains(i)).collect();
        let scores: Vec<f64> = own.iter().map(|(_, score)| *score).collect();
        let labels: Vec<bool> = own.iter().map(|(i, _)| infos[*i].anomalous).collect();
        let auroc = Ranking::of("frame", &scores, &labels)?.auroc;
        let all = curve.frames.iter().map(|(_, score)| *score);
        let (low, high) = (all.clone().fold(f64::INFINITY, f64::min), all.fold(f64::NEG_INFINITY, f64::max));
        let share = |score: f64| if high > low { (score - low) / (high - low) } else { 0.0 };
        let points = own.iter().map(|(i, score)| (number(*i), share(*score))).collect();
        Ok(Line { name: format!("{}: frame AUROC {auroc:.3}", curve.name), points })
    };
    let anomalous: Vec<usize> = range.clone().filter(|i| infos[*i].anomalous).collect();
    let stretches = anomalous.chunk_by(|a, b| *b == *a + 1);
    Ok(Chart {
        title,
        frames: [number(range.start), number(range.end.saturating_sub(1))],
        anomalous: stretches.filter_map(|s| Some([number(*s.first()?), number(*s.last()?)])).collect(),
        lines: curves.iter().map(line).collect::<Result<_>>()?,
    })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn infos(labels: &[bool]) -> Vec<SampleInfo> {
        let info = |(i, anomalous): (usize, &bool)| SampleInfo {
            id: i.to_string(),
            path: PathBuf::new(),
            defect: String::new(),
            anomalous: *anomalous,
            mask: None,
            frame: Some(("a".to_owned(), 10 + i as u64)),
        };
        labels.iter().enumerate().map(info).collect()
    }

    #[test]
    fn a_video_has_its_own_auroc_and_the_range_of_all() {
        let infos = infos(&[false, true, true, false, true, false, false]);
        let infos: Vec<&SampleInfo> = infos.iter().collect();
        let curve = Curve { name: "x", frames: vec![(1, 3.0), (2, 2.0), (3, 1.0), (5, 5.0), (6, 0.0)] };
        let flat = Curve { name: "flat", frames: vec![(5, 2.0), (6, 2.0)] };
        let first = chart(String::new(), &infos, &(0..5), &[curve]).unwrap();
        assert_eq!((first.frames, first.anomalous.as_slice()), ([10, 14], &[[11, 12], [14, 14]][..]));
        assert_eq!(first.lines[0].name, "x: frame AUROC 1.000");
        assert_eq!(first.lines[0].points, [(11, 0.6), (12, 0.4), (13, 0.2)]);
        let second = chart(String::new(), &infos, &(5..7), &[flat]).unwrap();
        assert_eq!(second.lines[0].name, "flat: frame AUROC undefined: no anomalous frame");
        assert_eq!(second.lines[0].points, [(15, 0.0), (16, 0.0)]);
    }

    #[test]
    fn no_two_videos_have_one_file() {
        let mut taken = BTreeSet::new();
        let names = ["a b", "a_b", "a/b", ".."].map(|name| free(plain(name), &mut taken));
        assert_eq!(names, ["a_b", "a_b_", "a_b__", ".."]);
    }
}
