//! Networks that the user names as ONNX files, which find what models see besides the frames: objects, and optical flow.
//!
//! A file is opened when it is first run: what is in the cache needs no engine.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use mimus_core::metrics::PixelBox;
use mimus_core::plugin::{Color, FileOutput, LoadedFile, Pixels, Preprocessing, Session};
use mimus_core::{Context, Dtype, Error, ErrorKind, HostTensor, Result, ValueType};
use mimus_motion::flow::Flow;

use crate::files;
use crate::images::{region, stretch};
use crate::regions::Region;

/// The backend that runs such files.
pub(crate) const ONNX: &str = "onnx";

/// Opens a session of that backend.
pub(crate) type Open<'a> = &'a dyn Fn() -> Result<Box<dyn Session>>;

/// What a network takes and gives.
struct Contract {
    /// For people.
    text: &'static str,
    /// Number of inputs, each RGB `[1, 3, H, W]` of the same size.
    pictures: usize,
    /// The value of white.
    white: f64,
    /// Whether outputs are as expected, where pictures have `[H, W]` pixels.
    gives: fn(&[FileOutput], [usize; 2]) -> bool,
}

/// A file and, once it is opened, its program.
struct Network<'a> {
    path: PathBuf,
    sha256: String,
    contract: Contract,
    open: Open<'a>,
    loaded: Option<Loaded>,
}

struct Loaded {
    session: Box<dyn Session>,
    file: LoadedFile,
    /// Height and width of the inputs.
    size: [usize; 2],
}

impl<'a> Network<'a> {
    fn new(path: &Path, contract: Contract, open: Open<'a>) -> Result<Self> {
        Ok(Self { path: path.to_owned(), sha256: files::sha256(path)?, contract, open, loaded: None })
    }

    /// The outputs for some pictures, by name, and the size to which these were brought.
    fn run(&mut self, pictures: &[&Pixels]) -> Result<(BTreeMap<String, HostTensor>, [usize; 2])> {
        let loaded = match self.loaded.take() {
            Some(loaded) => loaded,
            None => Loaded::new(&self.path, &self.contract, (self.open)()?).context("file", self.path.display())?,
        };
        let Loaded { session, file, size } = self.loaded.insert(loaded);
        let std = vec![self.contract.white.recip(); 3];
        let scale = Preprocessing { color: Color::Rgb, mean: vec![0.0; 3], std };
        let mut inputs = BTreeMap::new();
        for ((name, ty), pixels) in file.inputs.iter().zip(pictures) {
            let whole = Region { x1: 0, y1: 0, x2: pixels.width, y2: pixels.height };
            let values = region(pixels, &whole, &scale, *size)?;
            inputs.insert(name.clone(), HostTensor::f32(ty.shape.clone(), values)?);
        }
        let outputs = session.run(file.program, &inputs).context("file", self.path.display())?;
        let names = file.outputs.iter().map(|output| output.name.clone());
        Ok((names.zip(outputs).collect(), *size))
    }
}

impl Loaded {
    fn new(path: &Path, contract: &Contract, mut session: Box<dyn Session>) -> Result<Self> {
        let bytes = files::read(path)?.ok_or_else(|| Error::config("there is no such file"))?;
        let file = session.load_file(&bytes)?;
        let refused = || {
            let inputs: Vec<String> = file.inputs.iter().map(|(name, ty)| format!("`{name}` {ty}")).collect();
            let outputs: Vec<String> = file.outputs.iter().map(described).collect();
            let message = format!("takes {} and gives {}", inputs.join(", "), outputs.join(", "));
            Error::config(message).hint(format!("export it with {}", contract.text))
        };
        let size = match file.inputs.first().map(|(_, ty)| &ty.shape[..]) {
            Some(&[1, 3, height, width]) if height > 0 && width > 0 => [height, width],
            _ => return Err(refused()),
        };
        let expected = ValueType::f32([1, 3, size[0], size[1]]);
        let takes = file.inputs.len() == contract.pictures && file.inputs.iter().all(|(_, ty)| *ty == expected);
        if !takes || !(contract.gives)(&file.outputs, size) {
            return Err(refused());
        }
        Ok(Self { session, file, size })
    }
}

fn described(output: &FileOutput) -> String {
    let extent = |extent: &Option<usize>| extent.map_or("?".to_owned(), |extent| extent.to_string());
    let extents: Vec<String> = output.shape.iter().map(extent).collect();
    format!("`{}` {}[{}]", output.name, output.dtype.name(), extents.join(", "))
}

/// Whether an output is f32 and may have these extents.
fn may_have(output: &FileOutput, expected: &[Option<usize>]) -> bool {
    let fits = |(found, expected): (&Option<usize>, &Option<usize>)| found.zip(*expected).is_none_or(|(a, b)| a == b);
    output.dtype == Dtype::F32 && output.shape.len() == expected.len() && output.shape.iter().zip(expected).all(fits)
}

const BOXES: &str = "boxes";
const SCORES: &str = "scores";

/// A detector of objects.
pub(crate) struct Detector<'a> {
    network: Network<'a>,
    /// Boxes with a score up to this are dropped.
    confidence: f64,
}

impl<'a> Detector<'a> {
    /// A detector from a file.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub(crate) fn new(path: &Path, confidence: f64, open: Open<'a>) -> Result<Self> {
        let gives = |outputs: &[FileOutput], _| {
            let find = |name| outputs.iter().find(|output| output.name == name);
            find(BOXES).is_some_and(|boxes| may_have(boxes, &[None, Some(4)]))
                && find(SCORES).is_none_or(|scores| may_have(scores, &[None]))
        };
        let text = "one input, f32[1, 3, H, W] with fixed H and W, and the outputs `boxes`, f32[M, 4], and, if there are any, `scores`, f32[M]";
        let network = Network::new(path, Contract { text, pictures: 1, white: 1.0, gives }, open)?;
        Ok(Self { network, confidence })
    }

    /// What its boxes depend on.
    pub(crate) fn key(&self) -> (&str, f64) {
        (&self.network.sha256, self.confidence)
    }

    /// Its boxes in pixels of the frame, cut at the border.
    ///
    /// # Errors
    /// If it cannot be run, does not take and give what it must, or a box makes no sense.
    pub(crate) fn boxes(&mut self, frame: &Pixels) -> Result<Vec<PixelBox>> {
        let (outputs, size) = self.network.run(&[frame])?;
        let boxes = outputs.get(BOXES).ok_or_else(|| Error::backend("the run gave no `boxes`"))?;
        let (rows, rest) = boxes.as_f32()?.as_chunks::<4>();
        let scores = outputs.get(SCORES).map(HostTensor::as_f32).transpose()?;
        if boxes.shape() != [rows.len(), 4] || !rest.is_empty() || scores.is_some_and(|all| all.len() != rows.len()) {
            let found = format!("gave boxes {:?} and {:?} scores", boxes.shape(), scores.map(<[f32]>::len));
            return Err(self.refused(&found).hint("there must be four numbers and one score for each box"));
        }
        let scale = [frame.width as f64 / size[1] as f64, frame.height as f64 / size[0] as f64];
        let border = [frame.width as f64, frame.height as f64];
        let mut found = Vec::new();
        for (i, row) in rows.iter().enumerate() {
            let score = scores.and_then(|scores| scores.get(i)).copied().map(f64::from);
            if score.is_some_and(f64::is_nan) {
                return Err(self.refused(&format!("gave the score {} of a box", f64::NAN)));
            }
            if score.is_some_and(|score| score <= self.confidence) {
                continue;
            }
            let [x1, y1, x2, y2] = row.map(f64::from);
            let inside = x1 <= x2 && y1 <= y2 && x2 > 0.0 && y2 > 0.0 && x1 < size[1] as f64 && y1 < size[0] as f64;
            if !inside || row.iter().any(|corner| !corner.is_finite()) {
                let [h, w] = size;
                let message = format!("gave the box {x1}, {y1}, {x2}, {y2} in a picture of {h} x {w} pixels");
                return Err(self.refused(&message).hint("boxes must be x1, y1, x2, y2 in pixels of the input"));
            }
            let cut = |corner: f64, axis: usize| (corner * scale[axis]).clamp(0.0, border[axis]);
            found.push(PixelBox { x1: cut(x1, 0), y1: cut(y1, 1), x2: cut(x2, 0), y2: cut(y2, 1) });
        }
        Ok(found)
    }

    fn refused(&self, message: &str) -> Error {
        Error::new(ErrorKind::Numeric, message.to_owned()).with("file", self.network.path.display())
    }
}

/// A network that computes optical flow.
pub(crate) struct FlowNetwork<'a> {
    network: Network<'a>,
}

impl<'a> FlowNetwork<'a> {
    /// A network from a file.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub(crate) fn new(path: &Path, open: Open<'a>) -> Result<Self> {
        let gives = |outputs: &[FileOutput], [height, width]: [usize; 2]| {
            let expected = [1, 2, height, width].map(Some);
            matches!(outputs, [flow] if may_have(flow, &expected))
        };
        let text = "two inputs, f32[1, 3, H, W] with the same fixed H and W, and one output, f32[1, 2, H, W]";
        Ok(Self { network: Network::new(path, Contract { text, pictures: 2, white: 255.0, gives }, open)? })
    }

    /// SHA-256 of the file.
    pub(crate) fn key(&self) -> &str {
        &self.network.sha256
    }

    /// The flow from one frame to another of the same size, in pixels of the frames, rounded to 1/64 pixel.
    ///
    /// # Errors
    /// If the network cannot be run, does not take and give what it must, or gives what is no flow below 512 pixels.
    pub(crate) fn between(&mut self, first: &Pixels, second: &Pixels) -> Result<Flow> {
        let (outputs, [height, width]) = self.network.run(&[first, second])?;
        let to = [first.height, first.width];
        let resized = || {
            let flow = outputs.values().next().ok_or_else(|| Error::backend("the run gave no flow"))?;
            if flow.shape() != [1, 2, height, width] {
                let message = format!("gave flow {:?}, expects [1, 2, {height}, {width}]", flow.shape());
                return Err(Error::new(ErrorKind::Numeric, message));
            }
            let scale = [to[1] as f32 / width as f32, to[0] as f32 / height as f32];
            let planes = flow.as_f32()?.chunks_exact(height * width).zip(scale);
            let values = planes.flat_map(|(plane, scale)| {
                stretch(plane, [height, width], to).into_iter().map(move |value| value * scale)
            });
            Flow::new(to[0], to[1], values.collect())?.rounded()
        };
        resized().context("file", self.network.path.display())
    }
}

#[cfg(test)]
pub(crate) mod tests;
