//! The two forms of a graph outside of memory: text and bytes give the same graph back, and nothing that they are given makes them panic.
#![allow(clippy::unwrap_used, reason = "a panic in a test is a failed test with its place")]

use std::collections::BTreeSet;

use mimus_core::ops::Mode;
use mimus_core::train::{OptimizerSpec, Turn};
use mimus_core::{Builder, Dtype, Graph, HostTensor, Init, Op, Result, Role, ValueId, ValueType};
use proptest::prelude::*;

/// A well-formed graph with names, numbers and tensors as odd as they come.
#[derive(Clone, Debug)]
struct Odd {
    names: [String; 4],
    floats: [f64; 3],
    elements: [u32; 3],
    integers: [i64; 2],
    init: (u8, f64, f64),
    steps: Vec<(u8, u8)>,
}

fn any_odd() -> impl Strategy<Value = Odd> {
    let names = any::<[String; 4]>();
    // Not-a-number is compared by its bits in the text form alone: see `a_nan_keeps_its_bits_in_text`.
    let float = || any::<f64>().prop_filter("a number", |x| !x.is_nan());
    let init = (0u8..3, float(), float());
    let steps = proptest::collection::vec(any::<(u8, u8)>(), 0..20);
    (names, [float(), float(), float()], any::<[u32; 3]>(), any::<[i64; 2]>(), init, steps).prop_map(
        |(names, floats, elements, integers, init, steps)| Odd { names, floats, elements, integers, init, steps },
    )
}

impl Odd {
    fn graph(&self) -> Result<Graph> {
        let [name, input, layer, variable] = &self.names;
        let mut b = Builder::new(name);
        let mut values = vec![b.input(input, ValueType::f32([2, 3]))?];
        values.push(b.constant(HostTensor::f32([3], self.elements.map(f32::from_bits).to_vec())?)?);
        let init = match self.init {
            (0, value, _) => Init::Constant(value),
            (1, lo, hi) => Init::Uniform { lo, hi },
            (_, mean, std) => Init::Normal { mean, std },
        };
        let role = [Role::Parameter, Role::Buffer, Role::OptimizerState][usize::from(self.init.0)];
        b.scope(layer, |b| {
            values.push(b.variable(variable, ValueType::f32([2, 3]), role, init)?);
            for &(op, operand) in &self.steps {
                let x = values[usize::from(operand) % values.len()];
                values.push(self.step(b, op, x, values[values.len() - 1])?);
            }
            Ok(())
        })?;
        let last = values[values.len() - 1];
        let scalar = b.sum(last, &(0..b.shape(last).len()).collect::<Vec<_>>())?;
        let zeros = b.fill([2, 3], self.floats[2])?;
        let next = b.add(zeros, scalar)?;
        b.scope(layer, |b| b.assign(variable, next))?;
        b.output(variable, last)?;
        b.tap(layer, scalar)?;
        let indices = b.constant(HostTensor::i64([2], self.integers.to_vec())?)?;
        b.output(&format!("{variable}'"), indices)?;
        Ok(b.finish())
    }

    fn step(&self, b: &mut Builder, op: u8, x: ValueId, y: ValueId) -> Result<ValueId> {
        let [lo, hi, _] = self.floats;
        match op % 8 {
            0 => b.neg(x),
            1 => b.leaky_relu(x, lo),
            2 => b.clamp(x, lo, hi),
            3 => b.pow(x, hi),
            4 => b.mul(x, y),
            5 => b.less_equal(x, y),
            6 => {
                let shape = b.shape(x).to_vec();
                b.reshape(x, shape)
            }
            _ => b.sum_keep(x, &[0]),
        }
    }
}

/// Both forms of `graph` lead back to it.
fn round_trips(graph: &Graph) {
    let text = graph.to_string();
    let parsed: Graph = text.parse().unwrap();
    assert_eq!(parsed, *graph, "parsed from\n{text}");
    assert_eq!(parsed.to_string(), text);
    let decoded = Graph::decode(&graph.encode().unwrap()).unwrap();
    assert_eq!(decoded, *graph);
}

proptest! {
    #[test]
    fn both_forms_give_an_odd_graph_back(odd in any_odd()) {
        round_trips(&odd.graph().unwrap());
    }

    #[test]
    fn arbitrary_bytes_are_refused_without_a_panic(bytes in any::<Vec<u8>>()) {
        prop_assert!(Graph::decode(&bytes).is_err());
        let with_header = [b"mimus-g\0".as_slice(), &bytes].concat();
        prop_assert!(Graph::decode(&with_header).is_err());
    }

    #[test]
    fn changed_bytes_give_a_well_formed_graph_or_an_error(odd in any_odd(), place in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = odd.graph().unwrap().encode().unwrap();
        *place.get_mut(&mut bytes) = byte;
        if let Ok(graph) = Graph::decode(&bytes) {
            graph.verify().unwrap();
        }
        prop_assert!(Graph::decode(&bytes[..place.index(bytes.len())]).is_err());
    }

    #[test]
    fn arbitrary_text_gives_a_well_formed_graph_or_an_error(text in any::<String>()) {
        if let Ok(graph) = text.parse::<Graph>() {
            graph.verify().unwrap();
        }
    }

    #[test]
    fn changed_text_gives_a_well_formed_graph_or_an_error(odd in any_odd(), place in any::<prop::sample::Index>(), letter in any::<char>()) {
        let mut letters: Vec<char> = odd.graph().unwrap().to_string().chars().collect();
        *place.get_mut(&mut letters) = letter;
        if let Ok(graph) = String::from_iter(letters).parse::<Graph>() {
            graph.verify().unwrap();
        }
    }
}

#[test]
fn a_nan_keeps_its_bits_in_text() {
    let mut b = Builder::new("nan");
    let bits = f64::from_bits(0x7ff8_0000_0000_1234);
    let value = b.fill([1], bits).unwrap();
    b.output("y", value).unwrap();
    let text = b.finish().to_string();
    assert!(text.contains("value=nan:7ff8000000001234"), "{text}");
    assert_eq!(text.parse::<Graph>().unwrap().to_string(), text);
}

/// One network with every operator that a description can use.
fn network() -> Result<Graph> {
    let mut b = Builder::new("every operator");
    let image = b.input("image", ValueType::f32([2, 4, 8, 8]))?;
    let (pair, one, none) = ([2, 2], vec![1, 1], vec![0, 0]);
    let weight = b.parameter("conv.weight", [4, 4, 3, 3], Init::fan_in(36))?;
    let conv = Op::Conv { stride: one.clone(), padding: one.clone(), dilation: one.clone(), groups: 1 };
    let x = b.node(conv, &[image, weight])?;
    let parameter = |b: &mut Builder, name: &str| b.parameter(name, [4], Init::ONES);
    let (scale, shift) = (parameter(&mut b, "norm.weight")?, parameter(&mut b, "norm.bias")?);
    let x = b.nodes(Op::BatchNormTrain { eps: 1e-5 }, &[x, scale, shift])?[0];
    let x = b.node(Op::BatchNorm { eps: 1e-5 }, &[x, scale, shift, shift, scale])?;
    let (most, mean) = (b.max_pool(x, &pair, &pair, &none)?, b.avg_pool(x, &pair, &pair, &none)?);
    let x = b.add(most, mean)?;
    let stride = vec![2, 2];
    let up = Op::ConvTranspose { stride, padding: none.clone(), output_padding: none, dilation: one, groups: 1 };
    let weight = b.parameter("up.weight", [4, 4, 2, 2], Init::fan_in(16))?;
    let x = b.node(up, &[x, weight])?;
    let shift = b.constant(HostTensor::f32([1, 1, 1, 8], vec![f32::NAN; 8])?)?;
    let x = b.add(x, shift)?;
    let x = b.resize(x, &[8, 8], Mode::Linear, true)?;
    let x = elementwise(&mut b, x)?;
    let x = rows(&mut b, x)?;
    let loss = b.mean(x, &[0, 1])?;
    b.output("loss", loss)?;
    Ok(b.finish())
}

fn elementwise(b: &mut Builder, x: ValueId) -> Result<ValueId> {
    let unary = [
        Op::Neg {},
        Op::Abs {},
        Op::Sign {},
        Op::Exp {},
        Op::Log {},
        Op::Sqrt {},
        Op::Sigmoid {},
        Op::Tanh {},
        Op::Relu {},
        Op::LeakyRelu { slope: 0.2 },
        Op::Elu { alpha: 1.0 },
        Op::Clamp { min: -1.0, max: f64::INFINITY },
        Op::Pow { exponent: -0.0 },
        Op::StopGradient {},
    ];
    let parts = unary.into_iter().map(|op| b.node(op, &[x])).collect::<Result<Vec<_>>>()?;
    let mut sum = b.concat(&parts, 1)?;
    sum = b.slice(sum, &[0, 0, 0, 0], &[2, 4, 8, 8])?;
    let binary = [
        Op::Add {},
        Op::Sub {},
        Op::Mul {},
        Op::Div {},
        Op::Maximum {},
        Op::Minimum {},
        Op::Equal {},
        Op::Less {},
        Op::LessEqual {},
    ];
    for op in binary {
        sum = b.node(op, &[sum, x])?;
    }
    b.select(x, sum, x)
}

/// From `[2, 4, 8, 8]` to a matrix, through indices, softmax and products.
fn rows(b: &mut Builder, x: ValueId) -> Result<ValueId> {
    let x = b.permute(x, &[0, 2, 3, 1])?;
    let x = b.reshape(x, [128, 4])?;
    let (soft, logarithm) = (b.softmax(x, 1)?, b.log_softmax(x, 1)?);
    let index = b.argmax(x, 1)?;
    let hot = b.one_hot(index, 4)?;
    let table = b.parameter("table", [4, 4], Init::Normal { mean: 0.0, std: 1.0 })?;
    let gathered = b.gather(table, index)?;
    let product = b.matmul(gathered, table)?;
    let counted = b.cast(index, Dtype::F32)?;
    let counted = b.reshape(counted, [128, 1])?;
    let counted = b.broadcast(counted, [128, 4])?;
    let greatest = b.max_keep(x, &[1])?;
    let padded = b.pad(greatest, &[0, 1], &[0, 2], 0.5)?;
    [soft, logarithm, hot, counted, padded].into_iter().try_fold(product, |sum, part| b.add(sum, part))
}

#[test]
fn both_forms_give_a_training_step_with_every_operator_back() {
    let mut seen = BTreeSet::new();
    let sgd = OptimizerSpec::Sgd { momentum: 0.9, weight_decay: 1e-4, nesterov: true };
    for optimizer in [sgd, OptimizerSpec::adam()] {
        let step = Turn::new(network().unwrap(), optimizer, 1e-3).step().unwrap().program;
        round_trips(&step);
        seen.extend(step.nodes.iter().map(|node| node.op.name()));
    }
    let missing: Vec<_> = Op::NAMES.iter().filter(|name| !seen.contains(*name)).collect();
    assert!(missing.is_empty(), "not tested: {missing:?}");
}
