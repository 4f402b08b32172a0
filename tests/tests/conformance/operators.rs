//! Every operator against the reference interpreter over random shapes and attributes.

use crate::support::{Draft, EXACT, OPERATOR, Program, Target, extents, floats, ints, pick};
use mimus_core::ops::Mode;
use mimus_core::random::Stream;
use mimus_core::{Dtype, HostTensor, Op, ValueId, ValueType};

/// A random application of an operator: the operator and its operands.
type Case = (Op, Vec<HostTensor>);

/// Random cases of each operator; the larger ones cross the borders of blocks and tasks.
fn cases(stream: &mut Stream, name: &str) -> Vec<Case> {
    let n = match name {
        "conv" | "conv_transpose" | "conv_weight_grad" => 60,
        _ => 12,
    };
    (0..n).map(|i| case(stream, name, i)).collect()
}

fn case(stream: &mut Stream, name: &str, i: usize) -> Case {
    match name {
        "constant" => (Op::Constant { value: floats(stream, &[2, 3], [-1.0, 1.0]) }, vec![]),
        "fill" => (Op::Fill { dtype: pick(stream, &[Dtype::F32, Dtype::I64]), shape: vec![3, 2], value: 2.5 }, vec![]),
        "add" | "sub" | "mul" | "equal" | "less" | "less_equal" if i.is_multiple_of(3) => integers(stream, name),
        "neg" | "abs" | "sign" | "exp" | "sigmoid" | "tanh" | "relu" | "stop_gradient" | "leaky_relu" | "elu"
        | "clamp" => unary(stream, name, [-3.0, 3.0]),
        "log" | "sqrt" | "pow" => unary(stream, name, [0.1, 3.0]),
        "add" | "sub" | "mul" | "div" | "maximum" | "minimum" | "equal" | "less" | "less_equal" | "select" => {
            broadcasting(stream, name)
        }
        "cast" if i.is_multiple_of(2) => (Op::Cast { dtype: Dtype::F32 }, vec![ints(stream, &[5, 3], -9, 9)]),
        "cast" => {
            (Op::Cast { dtype: pick(stream, &[Dtype::F32, Dtype::I64]) }, vec![floats(stream, &[7], [-9.0, 9.0])])
        }
        "sum" | "mean" | "max" | "max_grad" => reduction(stream, name, i),
        "reshape" | "permute" | "slice" | "concat" | "pad" | "broadcast" => layout(stream, name),
        "matmul" => matmul(stream, i),
        "conv" | "conv_transpose" | "conv_weight_grad" => convolution(stream, name, i),
        "max_pool" | "max_pool_grad" | "avg_pool" | "avg_pool_grad" => pooling(stream, name, i),
        "resize" | "resize_grad" => resampling(stream, name, i),
        "softmax" | "log_softmax" | "batch_norm" | "batch_norm_train" | "batch_norm_train_grad" => {
            normalisation(stream, name, i)
        }
        "argmax" | "one_hot" | "gather" | "gather_grad" => indexing(stream, name),
        "sgd" | "adam" => optimizer(stream, name, i),
        _ => panic!("no case for operator `{name}`"),
    }
}

fn named(name: &str) -> Op {
    Op::from_attributes(name, Vec::new()).unwrap()
}

fn unary(stream: &mut Stream, name: &str, range: [f64; 2]) -> Case {
    let op = match name {
        "leaky_relu" => Op::LeakyRelu { slope: 0.2 },
        "elu" => Op::Elu { alpha: 0.7 },
        "clamp" => Op::Clamp { min: -0.5, max: 1.25 },
        "pow" => Op::Pow { exponent: pick(stream, &[2.0, 0.5, -0.5, 1.0, -1.0, 3.0, 1.7]) },
        _ => named(name),
    };
    let shape = pick(stream, &[vec![], vec![7], vec![3, 5, 2], vec![40, 900]]);
    (op, vec![floats(stream, &shape, range)])
}

/// Operands with extents of 1 and missing leading axes.
fn broadcasting(stream: &mut Stream, name: &str) -> Case {
    let count = if name == "select" { 3 } else { 2 };
    let full = pick(stream, &[vec![2, 3, 4, 5], vec![3, 70, 300], vec![6], vec![]]);
    let operand = |stream: &mut Stream| {
        let lead = stream.below(full.len() as u64 + 1) as usize;
        let keep = |n: &usize, stream: &mut Stream| if stream.below(3) == 0 { 1 } else { *n };
        let shape: Vec<usize> = full[lead..].iter().map(|n| keep(n, stream)).collect();
        // Few different values, so that comparisons meet equals.
        let coarse = floats(stream, &shape, [-4.0, 4.0]);
        HostTensor::f32(shape, coarse.as_f32().unwrap().iter().map(|x| x.round() + 0.5).collect()).unwrap()
    };
    (named(name), (0..count).map(|_| operand(stream)).collect())
}

fn integers(stream: &mut Stream, name: &str) -> Case {
    (named(name), vec![ints(stream, &[4, 1, 3], -3, 3), ints(stream, &[2, 1], -3, 3)])
}

fn reduction(stream: &mut Stream, name: &str, i: usize) -> Case {
    let shape = pick(
        stream,
        &[vec![2, 3, 4, 5], vec![7, 1, 3], vec![3, 5, 40, 41], vec![70_000], vec![3, 40_000], vec![40_000, 3]],
    );
    let mut axes: Vec<usize> = (0..shape.len()).filter(|_| stream.below(2) == 0).collect();
    if i == 0 {
        axes = (0..shape.len()).collect();
    }
    let keep = stream.below(2) == 0;
    let x = floats(stream, &shape, [-1.0, 1.0]);
    let op = |name| match name {
        "sum" => Op::Sum { axes: axes.clone(), keep },
        "mean" => Op::Mean { axes: axes.clone(), keep },
        "max" => Op::Max { axes: axes.clone(), keep },
        _ => Op::MaxGrad { axes: axes.clone(), keep },
    };
    if name != "max_grad" {
        return (op(name), vec![x]);
    }
    // Coarse values, so that there are ties.
    let x = HostTensor::f32(shape, x.as_f32().unwrap().iter().map(|x| (x * 8.0).round()).collect()).unwrap();
    let reduced = op("max").infer(&[&x.ty()]).unwrap().remove(0).shape;
    (op(name), vec![x, floats(stream, &reduced, [-1.0, 1.0])])
}

fn layout(stream: &mut Stream, name: &str) -> Case {
    let shape = extents(stream, 4, 2..7);
    let x = floats(stream, &shape, [-1.0, 1.0]);
    let op = match name {
        "reshape" => Op::Reshape { shape: vec![shape.iter().product()] },
        "permute" => Op::Permute { order: stream.permutation(4) },
        "slice" => {
            let starts: Vec<usize> = shape.iter().map(|n| stream.below(*n as u64) as usize).collect();
            let end = |(start, n): (&usize, &usize)| start + 1 + stream.below((n - start) as u64) as usize;
            let ends = starts.iter().zip(&shape).map(end).collect();
            Op::Slice { starts, ends }
        }
        "pad" => Op::Pad { before: extents(stream, 4, 0..3), after: extents(stream, 4, 0..3), value: 0.5 },
        "broadcast" => Op::Broadcast { shape: [&[3], shape.as_slice()].concat() },
        _ => {
            let axis = stream.below(4) as usize;
            let mut other = shape.clone();
            other[axis] = 3;
            return (Op::Concat { axis }, vec![x.clone(), floats(stream, &other, [-1.0, 1.0]), x]);
        }
    };
    let integers = matches!(op, Op::Permute { .. } | Op::Slice { .. } | Op::Broadcast { .. }) && stream.below(3) == 0;
    (op, vec![if integers { ints(stream, &shape, -9, 9) } else { x }])
}

fn matmul(stream: &mut Stream, i: usize) -> Case {
    let [m, k, n] = pick(stream, &[[3, 4, 5], [1, 300, 1], [130, 17, 600], [50, 520, 33], [260, 260, 7]]);
    let (transpose_a, transpose_b) = (i % 2 == 1, i % 4 > 1);
    let lead = pick(stream, &[vec![], vec![2], vec![2, 3]]);
    let shape = |rows: usize, columns: usize, transposed: bool| {
        let matrix = if transposed { [columns, rows] } else { [rows, columns] };
        [lead.as_slice(), &matrix].concat()
    };
    let a = floats(stream, &shape(m, k, transpose_a), [-1.0, 1.0]);
    let b = floats(stream, &shape(k, n, transpose_b), [-1.0, 1.0]);
    (Op::MatMul { transpose_a, transpose_b }, vec![a, b])
}

fn convolution(stream: &mut Stream, name: &str, i: usize) -> Case {
    let rank = 1 + i % 3;
    let (stride, padding) = (extents(stream, rank, 1..4), extents(stream, rank, 0..3));
    let (dilation, kernel) = (extents(stream, rank, 1..3), extents(stream, rank, 1..4));
    let large = i.is_multiple_of(5);
    let spatial = extents(stream, rank, if large && rank < 3 { 16..24 } else { 5..10 });
    let groups = pick(stream, &[1, 1, 2, 3]);
    let width = |stream: &mut Stream| groups * (1 + stream.below(if large { 40 } else { 4 }) as usize);
    let (inner, outer, images) = (width(stream), width(stream), 1 + stream.below(3) as usize);
    let x = floats(stream, &[&[images, inner], spatial.as_slice()].concat(), [-1.0, 1.0]);
    let bias = |stream: &mut Stream| (stream.below(2) == 0).then(|| floats(stream, &[outer], [-1.0, 1.0]));
    if name == "conv_transpose" {
        let output_padding = stride.iter().map(|s| stream.below(*s as u64) as usize).collect();
        let full = |a: usize| (spatial[a] - 1) * stride[a] + dilation[a] * (kernel[a] - 1) + 1;
        let padding = (0..rank).map(|a| padding[a].min((full(a) - 1) / 2)).collect();
        let op = Op::ConvTranspose { stride, padding, output_padding, dilation, groups };
        let weight = floats(stream, &[&[inner, outer / groups], kernel.as_slice()].concat(), [-1.0, 1.0]);
        return (op, [x, weight].into_iter().chain(bias(stream)).collect());
    }
    let weight = floats(stream, &[&[outer, inner / groups], kernel.as_slice()].concat(), [-1.0, 1.0]);
    let conv = Op::Conv { stride: stride.clone(), padding: padding.clone(), dilation: dilation.clone(), groups };
    if name == "conv" {
        return (conv, [x, weight].into_iter().chain(bias(stream)).collect());
    }
    let y = conv.infer(&[&x.ty(), &weight.ty()]).unwrap().remove(0).shape;
    let op = Op::ConvWeightGrad { kernel, stride, padding, dilation, groups };
    (op, vec![x, floats(stream, &y, [-1.0, 1.0])])
}

fn pooling(stream: &mut Stream, name: &str, i: usize) -> Case {
    let rank = 1 + i % 3;
    let (kernel, stride) = (extents(stream, rank, 1..4), extents(stream, rank, 1..4));
    let padding: Vec<usize> = kernel.iter().map(|k| stream.below(*k as u64 / 2 + 1) as usize).collect();
    let size = extents(stream, rank, 4..9);
    let x = floats(stream, &[&[2, 3], size.as_slice()].concat(), [-4.0, 4.0]);
    // Coarse values, so that windows have ties.
    let x = HostTensor::f32(x.shape(), x.as_f32().unwrap().iter().map(|x| x.round()).collect()).unwrap();
    let count_include_pad = i.is_multiple_of(2);
    let max = Op::MaxPool { kernel: kernel.clone(), stride: stride.clone(), padding: padding.clone() };
    let y = max.infer(&[&x.ty()]).unwrap().remove(0).shape;
    let dy = floats(stream, &y, [-1.0, 1.0]);
    match name {
        "max_pool" => (max, vec![x]),
        "max_pool_grad" => (Op::MaxPoolGrad { kernel, stride, padding }, vec![x, dy]),
        "avg_pool" => (Op::AvgPool { kernel, stride, padding, count_include_pad }, vec![x]),
        _ => (Op::AvgPoolGrad { size, kernel, stride, padding, count_include_pad }, vec![dy]),
    }
}

fn resampling(stream: &mut Stream, name: &str, i: usize) -> Case {
    let rank = 1 + i % 3;
    let (from, size) = (extents(stream, rank, 1..8), extents(stream, rank, 1..8));
    let (mode, align_corners) = pick(stream, &[(Mode::Nearest, false), (Mode::Linear, false), (Mode::Linear, true)]);
    let x = floats(stream, &[&[2, 3], from.as_slice()].concat(), [-1.0, 1.0]);
    match name {
        "resize" => (Op::Resize { size, mode, align_corners }, vec![x]),
        _ => (Op::ResizeGrad { size, mode, align_corners }, vec![x]),
    }
}

fn normalisation(stream: &mut Stream, name: &str, i: usize) -> Case {
    let shape =
        pick(stream, &[vec![4, 3], vec![2, 3, 5], vec![3, 5, 9, 33], vec![8, 40, 1, 7], vec![2, 3, 2, 40, 300]]);
    let x = floats(stream, &shape, [-2.0, 3.0]);
    let mut channel = |lo, hi| floats(stream, &shape[1..2], [lo, hi]);
    let axis = i % shape.len();
    match name {
        "softmax" => (Op::Softmax { axis }, vec![x]),
        "log_softmax" => (Op::LogSoftmax { axis }, vec![x]),
        "batch_norm" => {
            let vectors = [channel(0.5, 1.5), channel(-1.0, 1.0), channel(-1.0, 1.0), channel(0.1, 2.0)];
            (Op::BatchNorm { eps: 1e-5 }, std::iter::once(x).chain(vectors).collect())
        }
        "batch_norm_train" => (Op::BatchNormTrain { eps: 1e-5 }, vec![x, channel(0.5, 1.5), channel(-1.0, 1.0)]),
        _ => {
            let vectors = [channel(0.5, 1.5), channel(0.3, 0.7), channel(1.0, 2.5)];
            let dy = floats(stream, &shape, [-1.0, 1.0]);
            (Op::BatchNormTrainGrad { eps: 1e-5 }, std::iter::once(x).chain(vectors).chain([dy]).collect())
        }
    }
}

fn indexing(stream: &mut Stream, name: &str) -> Case {
    let indices = ints(stream, &[3, 4], 0, 5);
    match name {
        "argmax" => {
            let x = floats(stream, &[4, 5, 6], [-3.0, 3.0]);
            let coarse = x.as_f32().unwrap().iter().map(|x| x.round()).collect();
            (Op::ArgMax { axis: stream.below(3) as usize }, vec![HostTensor::f32([4, 5, 6], coarse).unwrap()])
        }
        "one_hot" => (Op::OneHot { depth: 6 }, vec![indices]),
        "gather" => (Op::Gather {}, vec![floats(stream, &[6, 2, 3], [-1.0, 1.0]), indices]),
        _ => (Op::GatherGrad { rows: 6 }, vec![indices, floats(stream, &[3, 4, 7], [-1.0, 1.0])]),
    }
}

fn optimizer(stream: &mut Stream, name: &str, i: usize) -> Case {
    let shape = pick(stream, &[vec![5, 3], vec![40_000]]);
    let mut like = |lo, hi| floats(stream, &shape, [lo, hi]);
    let (p, g, m, v) = (like(-1.0, 1.0), like(-1.0, 1.0), like(-0.1, 0.1), like(0.0, 0.1));
    let (lr, step) = (HostTensor::scalar(0.01), HostTensor::scalar(3.0));
    let weight_decay = if i.is_multiple_of(2) { 0.0 } else { 0.1 };
    if name == "adam" {
        let op = Op::Adam { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay, decoupled: i % 4 > 1 };
        return (op, vec![p, g, m, v, lr, step]);
    }
    match i % 3 {
        0 => (Op::Sgd { momentum: 0.0, weight_decay, nesterov: false }, vec![p, g, lr]),
        kind => (Op::Sgd { momentum: 0.9, weight_decay, nesterov: kind == 1 }, vec![p, g, lr, m]),
    }
}

/// The same value, made by a step of its own.
fn copy(draft: &mut Draft, x: ValueId) -> ValueId {
    let ends = draft.builder.shape(x).to_vec();
    draft.builder.node(Op::Slice { starts: vec![0; ends.len()], ends }, &[x]).unwrap()
}

/// The random cases of an operator, each as a program.
pub(crate) fn programs(name: &str) -> Vec<Program> {
    let mut stream = Stream::keyed(&format!("conformance/{name}"));
    let program = |(number, (op, operands)): (usize, Case)| {
        assert_eq!(op.name(), name, "the case is of another operator");
        let mut draft = Draft::new();
        let mut inputs: Vec<_> = operands.iter().enumerate().map(|(i, x)| draft.input(&format!("x{i}"), x)).collect();
        if number.is_multiple_of(2) {
            // Values of the program itself, whose memory the operator may take.
            inputs = inputs.into_iter().map(|x| copy(&mut draft, x)).collect();
        }
        let outputs = draft.builder.nodes(op, &inputs).unwrap();
        for (i, output) in outputs.into_iter().enumerate() {
            draft.builder.output(&format!("y{i}"), output).unwrap();
        }
        draft.finish(OPERATOR)
    };
    cases(&mut stream, name).into_iter().enumerate().map(program).collect()
}

pub(crate) fn every_case_agrees_with_the_interpreter(target: &Target, programs: &[Program]) {
    for program in programs {
        program.check(target);
    }
}

pub(crate) fn variables_are_read_and_assignments_take_effect_together(target: &Target) {
    let mut draft = Draft::new();
    let ty = ValueType::f32([3]);
    let (a, b) = (draft.variable("a", &ty, 1.0), draft.variable("b", &ty, 2.0));
    let sum = draft.builder.add(a, b).unwrap();
    // `b` takes the old `a`, `a` the sum.
    draft.builder.assign("a", sum).unwrap();
    draft.builder.assign("b", a).unwrap();
    draft.builder.output("sum", sum).unwrap();
    let results = draft.finish(EXACT).check(target);
    assert_eq!(results["sum"], HostTensor::f32([3], vec![3.0; 3]).unwrap());
    assert_eq!(results["a"], HostTensor::f32([3], vec![4.0; 3]).unwrap(), "after two runs");
    assert_eq!(results["b"], HostTensor::f32([3], vec![3.0; 3]).unwrap());
}
