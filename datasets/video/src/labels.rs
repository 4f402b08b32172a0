//! Labels of frames, from the forms in which data sets publish them.

use std::path::Path;

use mimus_core::{Context, Error, Result};

use crate::clip::Clip;
use crate::{mat, npy};

/// Which of `frames` frames lie in one of the intervals of numbers from 1 on, both ends included: the convention of MATLAB's files.
///
/// # Errors
/// If an interval is none or leads out of the clip.
pub fn from_intervals(frames: usize, intervals: &[[u64; 2]]) -> Result<Vec<bool>> {
    let mut labels = vec![false; frames];
    for [first, last] in intervals {
        let range = (first.wrapping_sub(1) as usize)..(*last as usize);
        let part = if *first == 0 || last < first { None } else { labels.get_mut(range) };
        let part = part.ok_or_else(|| {
            Error::data(format!("has the interval {first} to {last}, which does not lie within frames 1 to {frames}"))
                .hint("check that labels and frames are of the same release, and that no frame is missing at the end")
        })?;
        part.fill(true);
    }
    Ok(labels)
}

/// Labels from numbers: 1 for an anomalous frame, 0 for a normal one.
///
/// # Errors
/// If there is another number.
pub fn from_numbers(numbers: &[f64]) -> Result<Vec<bool>> {
    match numbers.iter().position(|x| *x != 0.0 && *x != 1.0) {
        None => Ok(numbers.iter().map(|x| *x == 1.0).collect()),
        Some(i) => Err(Error::data(format!("has {} for frame {}, expects 0 or 1", numbers[i], i + 1))
            .hint("1 stands for an anomalous frame, 0 for a normal one")),
    }
}

/// The labels of every clip from the intervals of all clips of the data set in the file `path`: those at the number in a clip's name,
/// from 1 on. Clips may be missing.
///
/// # Errors
/// If a clip has no number or no intervals, or as [`from_intervals`]; names clip and file.
pub fn labels_by_number(path: &Path, clips: &[Clip], intervals: &[Vec<[u64; 2]>]) -> Result<Vec<Vec<bool>>> {
    let one = |clip: &Clip| {
        let number = clip.number()?;
        let of_clip = usize::try_from(number).ok().and_then(|number| intervals.get(number.checked_sub(1)?));
        let of_clip = of_clip.ok_or_else(|| {
            Error::data(format!("has labels of {} clips, and none of number {number}", intervals.len())).hint(
                "check that the labels are of this data set, and that the clip has the name that it was published with",
            )
        });
        from_intervals(clip.frames.len(), of_clip?)
    };
    let all = clips.iter().map(|clip| one(clip).context("video", &clip.name));
    all.collect::<Result<_>>().context("file", path.display())
}

/// The labels of every clip from a `.npy` file that holds one number for each frame of all `clips`, in their order.
///
/// # Errors
/// If it cannot be read, holds more or fewer numbers than there are frames, or another number than 0 and 1.
pub fn labels_of_all(path: &Path, clips: &[Clip]) -> Result<Vec<Vec<bool>>> {
    let numbers = npy::numbers(path)?;
    let frames: usize = clips.iter().map(|clip| clip.frames.len()).sum();
    if numbers.len() != frames {
        let message = format!("has {} labels, but the {} clips have {frames} frames", numbers.len(), clips.len());
        return Err(Error::data(message).with("file", path.display()).hint(
            "labels of all frames in one row need every clip of the data set, complete: add what is missing, or take other labels",
        ));
    }
    let mut rest = from_numbers(&numbers).context("file", path.display())?;
    let mut labels = Vec::new();
    for clip in clips {
        let after = rest.split_off(clip.frames.len());
        labels.push(std::mem::replace(&mut rest, after));
    }
    Ok(labels)
}

/// Labels of a clip from one truth value for each frame.
///
/// # Errors
/// If there are more or fewer of them than frames.
pub fn from_masks(clip: &Clip, anomalous: Vec<bool>) -> Result<Vec<bool>> {
    match (anomalous.len(), clip.frames.len()) {
        (found, expected) if found == expected => Ok(anomalous),
        (found, expected) => Err(Error::data(format!("has {found} labels, but the clip has {expected} frames"))
            .with("video", &clip.name)
            .hint(format!(
                "check that the labels belong to the frames in {}, and that none is missing",
                clip.source.display()
            ))),
    }
}

/// The intervals of each clip in a MATLAB file: a cell array of matrices of 2 rows, the first and the last frame of each interval.
///
/// # Errors
/// As [`mat::matrices`], and if a matrix is of another form.
pub fn intervals(path: &Path, variable: &str) -> Result<Vec<Vec<[u64; 2]>>> {
    let mut clips = Vec::new();
    mat::matrices(path, variable, &mut |position, _, matrix| {
        let whole = |x: &f64| x.fract() == 0.0 && (0.0..1e9).contains(x);
        let fits = matrix.values.is_empty() || (matrix.rows == 2 && matrix.values.iter().all(whole));
        if !fits {
            let message = format!(
                "has a matrix of {}x{} for clip {}, expects 2 rows of frame numbers",
                matrix.rows,
                matrix.columns,
                position + 1
            );
            return Err(
                Error::data(message).hint("the first row holds the first frame of each interval, the second the last")
            );
        }
        clips.push(matrix.values.as_chunks().0.iter().map(|[first, last]| [*first as u64, *last as u64]).collect());
        Ok(())
    })?;
    Ok(clips)
}
