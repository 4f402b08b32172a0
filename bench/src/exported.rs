//! An exported file at work: pictures in, scores out.

use std::collections::BTreeMap;
use std::path::Path;

use mimus_core::plugin::{LoadedFile, Pixels, Session};
use mimus_core::{Context, Error, ErrorKind, HostTensor, Result};

use crate::deploy::{CHANNELS, IMAGE};
use crate::facts::{Facts, RESIZE, VERSION};
use crate::files;
use crate::images::shrink;
use crate::scorer::{Map, Scored};

/// A loaded file.
pub(crate) struct Exported {
    session: Box<dyn Session>,
    file: LoadedFile,
    pub(crate) facts: Facts,
    /// Images at once.
    pub(crate) batch: usize,
    /// Height and width of the input.
    size: [usize; 2],
}

impl Exported {
    /// Reads a file that `mimus export` wrote.
    pub(crate) fn open(path: &Path, mut session: Box<dyn Session>) -> Result<Self> {
        let bytes =
            files::read(path)?.ok_or_else(|| Error::config("there is no such file").with("file", path.display()))?;
        let file = session.load_file(&bytes).context("file", path.display())?;
        let refused = |message: &str| {
            Error::config(message.to_owned()).with("file", path.display()).hint("`mimus export` writes such a file")
        };
        let facts = Facts(file.metadata.clone());
        if !facts.0.contains_key(VERSION) {
            return Err(refused("was not exported by Mimus"));
        }
        let [(name, ty)] = &file.inputs[..] else { return Err(refused("has not one input")) };
        let [batch @ 1..=usize::MAX, height, width, CHANNELS] = ty.shape[..] else {
            return Err(refused("takes no pictures"));
        };
        if name != IMAGE || !file.outputs.iter().any(|output| output.name == "score") {
            return Err(refused("has not the input `image` and the output `score`"));
        }
        Ok(Self { session, facts, batch, size: [height, width], file })
    }

    /// Scores and maps of at most [`Exported::batch`] pictures; what is missing to a batch is filled with the last of them.
    pub(crate) fn scores(&mut self, pictures: &[(String, Pixels)]) -> Result<Vec<Scored>> {
        let mut values = Vec::new();
        for (name, pixels) in pictures {
            values.push(self.input(pixels).context("file", name)?);
        }
        let last = values.len().saturating_sub(1);
        let filled = (0..self.batch).flat_map(|i| &values[i.min(last)]).copied().collect();
        let image = HostTensor::f32([self.batch, self.size[0], self.size[1], CHANNELS], filled)?;
        let outputs = self.session.run(self.file.program, &BTreeMap::from([(IMAGE.to_owned(), image)]))?;
        let output = |wanted: &str| {
            let found = self.file.outputs.iter().position(|output| output.name == wanted);
            found.map(|i| outputs[i].as_f32()).transpose()
        };
        let extents = self.file.outputs.iter().find_map(|output| match output.shape[..] {
            [_, _, Some(height), Some(width)] if output.name == "score_map" => Some([height, width]),
            _ => None,
        });
        let (scores, maps) = (output("score")?.unwrap_or_default(), output("score_map")?);
        let scored = |(i, (name, _)): (usize, &(String, Pixels))| {
            let score = scores.get(i).copied().unwrap_or(f32::NAN);
            let map = maps.zip(extents).and_then(|(maps, extents)| {
                let values = maps.chunks_exact(extents[0] * extents[1]).nth(i)?.to_vec();
                Some(Map { extents, values })
            });
            if !score.is_finite() || map.iter().flat_map(|map| &map.values).any(|x| !x.is_finite()) {
                return Err(Error::new(ErrorKind::Numeric, "the score is not a finite number").with("file", name));
            }
            Ok(Scored { score, map, parts: Vec::new() })
        };
        pictures.iter().enumerate().map(scored).collect()
    }

    /// `[H, W, 3]` of the file's size.
    fn input(&self, pixels: &Pixels) -> Result<Vec<f32>> {
        let size = [pixels.height, pixels.width];
        if size != self.size && self.facts.0.get(RESIZE).is_some_and(|resize| resize == "inside") {
            let message = format!(
                "the picture has {}x{} pixels, the file takes {}x{}",
                size[0], size[1], self.size[0], self.size[1]
            );
            return Err(Error::data(message).hint("export without --input-size to have pictures of any size resized"));
        }
        let mut values = vec![0.0; self.size[0] * self.size[1] * CHANNELS];
        for channel in 0..CHANNELS {
            let stored = channel.min(pixels.channels - 1);
            let plane: Vec<f32> = pixels.bytes.chunks_exact(pixels.channels).map(|p| f32::from(p[stored])).collect();
            let plane = if size == self.size { plane } else { shrink(&plane, size, self.size) };
            values.iter_mut().skip(channel).step_by(CHANNELS).zip(plane).for_each(|(to, x)| *to = x);
        }
        Ok(values)
    }
}
