//! Residual networks with torchvision's parameter names, and the residual blocks that detectors build on them (He et al., "Deep
//! Residual Learning", CVPR 2016; Zagoruyko and Komodakis, "Wide Residual Networks", BMVC 2016).

use super::convolution::Conv;
use super::norm::batch_norm;
use crate::error::{Error, Result};
use crate::graph::{Builder, Init, Phase, ValueId};

/// How a block changes the resolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Not at all.
    Keep,
    /// Half, by a stride.
    Down,
    /// Twice, by a transposed convolution of kernel 2.
    Up,
}

/// The inner shape of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Two convolutions of kernel 3.
    Basic,
    /// Kernels 1, 3 and 1 with `inner` channels between them.
    Bottleneck {
        /// Channels of the first two convolutions.
        inner: usize,
    },
}

/// A residual block: bias-free convolutions with batch norm, the skip projected (`downsample` or `upsample`) where resolution or
/// channels change, a ReLU at the end.
#[derive(Clone, Copy, Debug)]
pub struct Block {
    /// The inner shape.
    pub shape: Shape,
    /// Channels after the block.
    pub channels: usize,
    /// Training or evaluation.
    pub phase: Phase,
}

impl Block {
    /// `x [N, C, H, W]` to `[N, channels, H', W']` by the layers `conv1`, `bn1`, `conv2`, ... of block `label`. The step is taken by
    /// the first convolution of kernel 3.
    ///
    /// # Errors
    /// If `x` is no picture.
    pub fn forward(&self, b: &mut Builder, label: &str, x: ValueId, step: Step) -> Result<ValueId> {
        let layer = |channels, kernel, step| Layer { channels, kernel, step };
        let layers = match self.shape {
            Shape::Basic => vec![layer(self.channels, 3, step), layer(self.channels, 3, Step::Keep)],
            Shape::Bottleneck { inner } => {
                vec![layer(inner, 1, Step::Keep), layer(inner, 3, step), layer(self.channels, 1, Step::Keep)]
            }
        };
        b.scope(label, |b| {
            let mut y = x;
            for (i, layer) in (1..).zip(layers) {
                if i > 1 {
                    y = b.relu(y)?;
                }
                y = layer.normalised(b, [&format!("conv{i}"), &format!("bn{i}")], y, self.phase)?;
            }
            let skip = self.skip(b, x, step)?;
            let sum = b.add(y, skip)?;
            b.relu(sum)
        })
    }

    /// Several blocks `label.0`, `label.1`, ..., the first of which takes the step.
    ///
    /// # Errors
    /// As [`Block::forward`].
    pub fn stage(&self, b: &mut Builder, label: &str, x: ValueId, step: Step, blocks: usize) -> Result<ValueId> {
        b.scope(label, |b| {
            (0..blocks).try_fold(x, |x, i| self.forward(b, &i.to_string(), x, if i == 0 { step } else { Step::Keep }))
        })
    }

    fn skip(&self, b: &mut Builder, x: ValueId, step: Step) -> Result<ValueId> {
        if step == Step::Keep && b.shape(x).get(1) == Some(&self.channels) {
            return Ok(x);
        }
        let layer = Layer { channels: self.channels, kernel: 1, step };
        let label = if step == Step::Up { "upsample" } else { "downsample" };
        b.scope(label, |b| layer.normalised(b, ["0", "1"], x, self.phase))
    }
}

/// A bias-free convolution with torchvision's first values, Kaiming's by the outputs; one that doubles the resolution has kernel 2 and
/// PyTorch's default.
#[derive(Clone, Copy, Debug)]
pub struct Layer {
    /// Channels after the layer.
    pub channels: usize,
    /// Kernel, odd.
    pub kernel: usize,
    /// Change of resolution.
    pub step: Step,
}

impl Layer {
    /// The convolution as layer `label`, then batch norm as layer `norm`.
    ///
    /// # Errors
    /// If `x` is no picture.
    pub fn normalised(&self, b: &mut Builder, [label, norm]: [&str; 2], x: ValueId, phase: Phase) -> Result<ValueId> {
        let y = self.forward(b, label, x)?;
        batch_norm(b, norm, y, phase, 0.1, Init::ONES)
    }

    fn forward(&self, b: &mut Builder, label: &str, x: ValueId) -> Result<ValueId> {
        let Self { channels, kernel, step } = *self;
        if step == Step::Up {
            return Conv::new(channels, &[2, 2]).stride(&[2, 2]).without_bias().transposed(b, label, x);
        }
        let stride = if step == Step::Down { 2 } else { 1 };
        let std = (2.0 / (kernel * kernel * channels) as f64).sqrt();
        let conv = Conv::new(channels, &[kernel; 2]).stride(&[stride; 2]).padding(&[kernel / 2; 2]).without_bias();
        conv.init(Init::Normal { mean: 0.0, std }).forward(b, label, x)
    }
}

/// A residual network without its classifier.
#[derive(Clone, Debug)]
pub struct Resnet {
    /// Channels of the stem; 64 in all published networks.
    width: usize,
    /// Blocks of each stage.
    blocks: [usize; 4],
    /// Inner channels of a bottleneck in those of a basic block; `None` for basic blocks.
    factor: Option<usize>,
}

impl Resnet {
    /// The networks that [`Resnet::named`] knows.
    pub const NAMES: &'static [&'static str] = &["resnet18", "wide_resnet50_2"];

    /// The published network of that name with `width` channels in its stem instead of 64, and all others in proportion.
    ///
    /// # Errors
    /// If there is none.
    pub fn named(name: &str, width: usize) -> Result<Self> {
        let (blocks, factor) = match name {
            "resnet18" => ([2, 2, 2, 2], None),
            "wide_resnet50_2" => ([3, 4, 6, 3], Some(2)),
            _ => {
                let message = format!("there is no network `{name}`; there are: {}", Self::NAMES.join(", "));
                return Err(Error::config(message));
            }
        };
        Ok(Self { width, blocks, factor })
    }

    /// The number of blocks in stage 1 to 4.
    pub fn blocks(&self, stage: usize) -> usize {
        self.blocks[stage - 1]
    }

    /// A block of stage 1 to 4.
    pub fn block(&self, stage: usize, phase: Phase) -> Block {
        let planes = self.width << (stage - 1);
        match self.factor {
            None => Block { shape: Shape::Basic, channels: planes, phase },
            Some(factor) => Block { shape: Shape::Bottleneck { inner: factor * planes }, channels: 4 * planes, phase },
        }
    }

    /// What the first `stages` stages, `layer1` to at most `layer4`, make of pictures `x [N, 3, H, W]`: a quarter of their height and
    /// width, then half as much at each.
    ///
    /// # Errors
    /// If `x` is no picture.
    pub fn features(&self, b: &mut Builder, x: ValueId, stages: usize, phase: Phase) -> Result<Vec<ValueId>> {
        let stem = Layer { channels: self.width, kernel: 7, step: Step::Down };
        let x = stem.normalised(b, ["conv1", "bn1"], x, phase)?;
        let x = b.relu(x)?;
        let mut x = b.max_pool(x, &[3, 3], &[2, 2], &[1, 1])?;
        let mut features = Vec::new();
        for stage in 1..=stages.min(self.blocks.len()) {
            let step = if stage == 1 { Step::Keep } else { Step::Down };
            let block = self.block(stage, phase);
            x = block.stage(b, &format!("layer{stage}"), x, step, self.blocks(stage))?;
            features.push(x);
        }
        Ok(features)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Graph, Role};
    use crate::tensor::ValueType;

    fn network(name: &str, stages: usize) -> (Graph, Vec<Vec<usize>>) {
        let mut b = Builder::new(name);
        let x = b.input("x", ValueType::f32([1, 3, 256, 256])).unwrap();
        let features = Resnet::named(name, 64).unwrap().features(&mut b, x, stages, Phase::Eval).unwrap();
        let shapes = features.iter().map(|value| b.shape(*value).to_vec()).collect();
        (b.finish(), shapes)
    }

    #[test]
    fn published_networks_have_their_published_sizes() {
        // Without the classifier, which has 1000 rows of the last width and a bias.
        let cases = [
            ("resnet18", 3, 2_782_784),
            ("resnet18", 4, 11_689_512 - 513 * 1000),
            ("wide_resnet50_2", 3, 24_862_528),
            ("wide_resnet50_2", 4, 68_883_240 - 2049 * 1000),
        ];
        for (name, stages, expected) in cases {
            let (graph, _) = network(name, stages);
            let count: usize = graph.variables_of(Role::Parameter).map(|variable| variable.ty.elements()).sum();
            assert_eq!(count, expected, "{name} to stage {stages}");
        }
    }

    #[test]
    fn features_and_names_are_those_of_torchvision() {
        let (graph, shapes) = network("wide_resnet50_2", 4);
        assert_eq!(shapes, [[1, 256, 64, 64], [1, 512, 32, 32], [1, 1024, 16, 16], [1, 2048, 8, 8]]);
        assert_eq!(graph.variables.len(), 320 - 2);
        let shape = |name: &str| graph.variable(name).map(|variable| variable.ty.shape.clone());
        assert_eq!(shape("conv1.weight"), Some(vec![64, 3, 7, 7]));
        assert_eq!(shape("layer1.0.downsample.0.weight"), Some(vec![256, 64, 1, 1]));
        assert_eq!(shape("layer2.0.conv2.weight"), Some(vec![256, 256, 3, 3]));
        assert_eq!(shape("layer4.2.bn3.running_var"), Some(vec![2048]));
        let (graph, shapes) = network("resnet18", 3);
        assert_eq!(shapes, [[1, 64, 64, 64], [1, 128, 32, 32], [1, 256, 16, 16]]);
        assert_eq!(graph.variables.len(), 90);
        assert!(graph.variable("layer1.0.downsample.0.weight").is_none());
        assert!(graph.variable("layer2.0.downsample.1.num_batches_tracked").is_some());
    }
}
