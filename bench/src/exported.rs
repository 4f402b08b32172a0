//! An exported file at work: pictures in, scores out.

use std::collections::BTreeMap;
use std::path::Path;

use mimus_core::plugin::{LoadedFile, Pixels, Session};
use mimus_core::{Context, Error, ErrorKind, HostTensor, Result};

use crate::deploy::{CHANNELS, IMAGE};
use crate::facts::{Facts, RESIZE, VERSION};
use crate::files;
use crate::images::shrink;
use crate::scorer::Scored;

/// A loaded file.
pub(crate) struct Exported {
    session: Box<dyn Session>,
    file: LoadedFile,
    pub(crate) facts: Facts,
    /// Images at once.
    batch: usize,
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
        let [batch, height, width, CHANNELS] = ty.shape[..] else { return Err(refused("takes no pictures")) };
        if name != IMAGE || !file.outputs.iter().any(|(name, _)| name == "score") {
            return Err(refused("has not the input `image` and the output `score`"));
        }
        Ok(Self { session, facts, batch, size: [height, width], file })
    }

    /// Height and width of the file's score map, if it has one.
    pub(crate) fn map_size(&self) -> Option<[usize; 2]> {
        let (_, ty) = self.file.outputs.iter().find(|(name, _)| name == "score_map")?;
        if let [_, _, height, width] = ty.shape[..] { Some([height, width]) } else { None }
    }

    /// The score of a picture, and its map.
    pub(crate) fn score(&mut self, pixels: &Pixels) -> Result<Scored> {
        let one = self.input(pixels)?;
        let shape = [self.batch, self.size[0], self.size[1], CHANNELS];
        let image = HostTensor::f32(shape, one.repeat(self.batch))?;
        let outputs = self.session.run(self.file.program, &BTreeMap::from([(IMAGE.to_owned(), image)]))?;
        let first = |wanted: &str| -> Result<Option<Vec<f32>>> {
            let found = self.file.outputs.iter().position(|(name, _)| name == wanted);
            let values = found.map(|i| outputs[i].as_f32()).transpose()?;
            Ok(values.map(|values| values[..values.len() / self.batch].to_vec()))
        };
        let (score, map) = (first("score")?, first("score_map")?);
        let score = score.and_then(|score| score.first().copied()).unwrap_or(f32::NAN);
        if !score.is_finite() || map.iter().flatten().any(|x| !x.is_finite()) {
            return Err(Error::new(ErrorKind::Numeric, "the score is not a finite number"));
        }
        Ok(Scored { score, map })
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
