//! How fast a convolution and its two gradients are at the layers of MemAE, on one thread.
//!
//! A transposed layer is made of the same three operators: its forward pass is the `conv_transpose` of the mirrored layer, and
//! MemAE's decoder mirrors its encoder. Elements a second are floating-point operations.

use std::collections::BTreeMap;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use mimus_candle::Candle;
use mimus_core::passes::optimise;
use mimus_core::plugin::{Backend, BackendRequest, Options, ProgramId, Session};
use mimus_core::random::Stream;
use mimus_core::{Builder, HostTensor, Init, Op, Result, ValueType};

/// A layer with kernel 3 and padding 1: `x [N, C, ..]`, output channels, stride.
struct Layer {
    name: &'static str,
    x: &'static [usize],
    out: usize,
    stride: &'static [usize],
}

const LAYERS: &[Layer] = &[
    Layer { name: "image encoder.0", x: &[8, 3, 256, 256], out: 64, stride: &[2, 2] },
    Layer { name: "image encoder.3", x: &[8, 64, 128, 128], out: 128, stride: &[2, 2] },
    Layer { name: "image encoder.6", x: &[8, 128, 64, 64], out: 128, stride: &[2, 2] },
    Layer { name: "image encoder.9", x: &[8, 128, 32, 32], out: 256, stride: &[2, 2] },
    Layer { name: "video encoder.0", x: &[1, 1, 16, 256, 256], out: 96, stride: &[1, 2, 2] },
    Layer { name: "video encoder.3", x: &[1, 96, 16, 128, 128], out: 128, stride: &[2, 2, 2] },
    Layer { name: "video encoder.6", x: &[1, 128, 8, 64, 64], out: 256, stride: &[2, 2, 2] },
    Layer { name: "video encoder.9", x: &[1, 256, 4, 32, 32], out: 256, stride: &[2, 2, 2] },
];

impl Layer {
    /// The operator called `name`, and the shapes of its operands.
    fn operator(&self, name: &str) -> Result<(Op, [Vec<usize>; 2])> {
        let rank = self.stride.len();
        let (kernel, stride, padding) = (vec![3; rank], self.stride.to_vec(), vec![1; rank]);
        let (x, w) = (self.x.to_vec(), [&[self.out, self.x[1]], kernel.as_slice()].concat());
        let conv = Op::Conv { stride: stride.clone(), padding: padding.clone(), dilation: vec![1; rank], groups: 1 };
        let y = conv.infer(&[&ValueType::f32(x.clone()), &ValueType::f32(w.clone())])?.remove(0).shape;
        let dilation = vec![1; rank];
        Ok(match name {
            "conv" => (conv, [x, w]),
            "conv_transpose" => {
                let output_padding = (0..rank).map(|a| (x[a + 2] - 1) % stride[a]).collect();
                (Op::ConvTranspose { stride, padding, output_padding, dilation, groups: 1 }, [y, w])
            }
            _ => (Op::ConvWeightGrad { kernel, stride, padding, dilation, groups: 1 }, [x, y]),
        })
    }

    /// Floating-point operations, the same for all three.
    fn work(&self) -> u64 {
        let positions: usize = self.x[2..].iter().zip(self.stride).map(|(x, stride)| x.div_ceil(*stride)).product();
        let taps = 3_usize.pow(self.stride.len() as u32);
        2 * (self.x[0] * positions * self.out * self.x[1] * taps) as u64
    }
}

/// A session with a program that applies `op` to variables and assigns the result: nothing crosses to the host.
fn program(op: Op, operands: &[Vec<usize>]) -> Result<(Box<dyn Session>, ProgramId)> {
    let mut b = Builder::new(op.name());
    let mut inputs = Vec::new();
    for (i, shape) in operands.iter().enumerate() {
        inputs.push(b.buffer(&format!("x{i}"), shape.clone(), Init::ZEROS)?);
    }
    let y = b.node(op, &inputs)?;
    b.buffer("y", b.shape(y).to_vec(), Init::ZEROS)?;
    b.assign("y", y)?;
    let request = BackendRequest { device: "cpu".to_owned(), threads: 1, options: Options::default() };
    let mut session = Candle.open(&request)?;
    let id = session.load(&optimise(&b.finish())?)?;
    for (i, shape) in operands.iter().enumerate() {
        let mut stream = Stream::keyed(&format!("x{i}"));
        let values = (0..shape.iter().product()).map(|_| stream.uniform() as f32).collect();
        session.write(&format!("x{i}"), &HostTensor::f32(shape.clone(), values)?)?;
    }
    Ok((session, id))
}

fn convolution(criterion: &mut Criterion) {
    for name in ["conv", "conv_transpose", "conv_weight_grad"] {
        let mut group = criterion.benchmark_group(name);
        group.sample_size(10);
        for layer in LAYERS {
            let made = layer.operator(name).and_then(|(op, operands)| program(op, &operands));
            assert!(made.is_ok(), "{:?}", made.err());
            let Ok((mut session, id)) = made else { return };
            group.throughput(Throughput::Elements(layer.work()));
            group.bench_function(layer.name, |bencher| {
                bencher.iter(|| {
                    let done = session.run(id, &BTreeMap::new());
                    assert!(done.is_ok(), "{done:?}");
                });
            });
        }
    }
}

criterion_group!(benches, convolution);
criterion_main!(benches);
