//! Elementwise operators: programs of several operators that run in one pass over blocks that stay in the first cache, and the
//! few operators on integers.

use mimus_core::{Dtype, Error, Op, Result};
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::layout::Walk;
use super::{CHUNK, Kernel, Operands, Types, math, scratch};
use crate::buffer::{View, ViewMut};

/// Elements of a block: a handful of them stays in the first cache.
const BLOCK: usize = 1024;

/// What an instruction reads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Source {
    /// The loaded value of that number.
    Load(usize),
    /// The result of an earlier instruction.
    Result(usize),
    /// The same number everywhere.
    Scalar(f32),
}

/// One operator of a program.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Instruction {
    /// An elementwise operator on f32.
    pub(crate) op: Op,
    /// Its operands.
    pub(crate) sources: Vec<Source>,
}

/// How a loaded value meets the output.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Load {
    /// Element by element.
    Same,
    /// One element for all.
    Uniform,
    /// Broadcast.
    Walk(Walk),
    /// It is the memory of the output, element by element; it is no operand of its own.
    InPlace,
}

impl Load {
    pub(crate) fn new(from: &[usize], to: &[usize]) -> Self {
        let walk = Walk::broadcast(from, to);
        match () {
            _ if walk.is_identity() => Self::Same,
            _ if walk.is_uniform() => Self::Uniform,
            _ => Self::Walk(walk),
        }
    }
}

/// Several elementwise operators in one pass: the last instruction makes the output.
pub(crate) struct Program {
    loads: Vec<Load>,
    instructions: Vec<Instruction>,
    /// The block of working memory in which each instruction leaves its result; the last writes the output.
    registers: Vec<usize>,
    n_registers: usize,
}

impl Program {
    /// A program of at least one instruction.
    pub(crate) fn new(loads: Vec<Load>, instructions: Vec<Instruction>) -> Self {
        let (registers, n_registers) = allocate(&instructions);
        Self { loads, instructions, registers, n_registers }
    }
}

/// Assigns blocks to results; a block is free again after the last read of its result.
fn allocate(instructions: &[Instruction]) -> (Vec<usize>, usize) {
    let mut last_use = vec![0; instructions.len()];
    for (i, instruction) in instructions.iter().enumerate() {
        for source in &instruction.sources {
            if let Source::Result(of) = source {
                last_use[*of] = i;
            }
        }
    }
    let (mut busy, mut registers): (Vec<Option<usize>>, Vec<usize>) = (Vec::new(), Vec::new());
    for (i, until) in last_use.iter().enumerate().take(instructions.len().saturating_sub(1)) {
        // Freed only after the read: an instruction never writes the block that it reads.
        let free = busy.iter().position(|until| until.is_none_or(|until| until < i));
        let register = free.unwrap_or(busy.len());
        if free.is_none() {
            busy.push(None);
        }
        busy[register] = Some(*until);
        registers.push(register);
    }
    registers.push(usize::MAX);
    (registers, busy.len())
}

impl Kernel for Program {
    fn run(&self, mut operands: Operands<'_, '_>) -> Result<()> {
        let inputs = operands.inputs.iter().map(|input| input.f32()).collect::<Result<Vec<_>>>()?;
        let y = operands.output()?;
        y.par_chunks_mut(CHUNK).enumerate().for_each(|(i, y)| {
            scratch::with((self.loads.len() + self.n_registers) * BLOCK, |memory| {
                let task = Task { program: self, inputs: &inputs, start: i * CHUNK, y, memory };
                super::product::arch().dispatch(task);
            });
        });
        Ok(())
    }
}

/// A chunk of the output.
struct Task<'a> {
    program: &'a Program,
    inputs: &'a [&'a [f32]],
    start: usize,
    y: &'a mut [f32],
    memory: &'a mut [f32],
}

/// An operand of an instruction within a block.
#[derive(Clone, Copy)]
enum Operand<'a> {
    Block(&'a [f32]),
    Scalar(f32),
}

impl WithSimd for Task<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let program = self.program;
        let (loaded, registers) = self.memory.split_at_mut(program.loads.len() * BLOCK);
        let last = program.instructions.len() - 1;
        for (b, y) in self.y.chunks_mut(BLOCK).enumerate() {
            let start = self.start + b * BLOCK;
            let range = start..start + y.len();
            let mut inputs = self.inputs.iter();
            for (load, to) in program.loads.iter().zip(loaded.chunks_exact_mut(BLOCK)) {
                match load {
                    Load::InPlace => to[..y.len()].copy_from_slice(y),
                    Load::Walk(walk) => {
                        let from = inputs.next().copied().unwrap_or(&[]);
                        walk.gather(from, range.clone(), &mut to[..y.len()]);
                    }
                    Load::Same | Load::Uniform => _ = inputs.next(),
                }
            }
            let fetch = Fetch { program, inputs: self.inputs, loaded, start, len: y.len() };
            for (i, instruction) in program.instructions.iter().enumerate() {
                if i == last {
                    fetch.apply(instruction, y, registers, &[]);
                } else {
                    let (before, rest) = registers.split_at_mut(program.registers[i] * BLOCK);
                    let (target, after) = rest.split_at_mut(BLOCK);
                    fetch.apply(instruction, &mut target[..y.len()], before, after);
                }
            }
        }
    }
}

/// Finds the operands of a block.
struct Fetch<'a> {
    program: &'a Program,
    inputs: &'a [&'a [f32]],
    loaded: &'a [f32],
    start: usize,
    len: usize,
}

impl<'a> Fetch<'a> {
    /// `before` and `after` are the registers on both sides of the target.
    #[inline(always)]
    fn apply(&self, instruction: &Instruction, target: &mut [f32], before: &'a [f32], after: &'a [f32]) {
        let operand = |i: usize| match instruction.sources.get(i) {
            Some(Source::Scalar(x)) => Operand::Scalar(*x),
            Some(Source::Load(load)) => self.load(*load),
            Some(Source::Result(of)) => {
                let at = self.program.registers[*of] * BLOCK;
                let block = if at < before.len() { &before[at..] } else { &after[at - before.len() - BLOCK..] };
                Operand::Block(&block[..self.len])
            }
            None => Operand::Scalar(0.0),
        };
        apply(&instruction.op, target, operand(0), operand(1), operand(2));
    }

    #[inline(always)]
    fn load(&self, load: usize) -> Operand<'a> {
        let input = || {
            let in_place = self.program.loads[..load].iter().filter(|load| **load == Load::InPlace).count();
            self.inputs[load - in_place]
        };
        match self.program.loads[load] {
            Load::Same => Operand::Block(&input()[self.start..][..self.len]),
            Load::Uniform => Operand::Scalar(input()[0]),
            Load::Walk(_) | Load::InPlace => Operand::Block(&self.loaded[load * BLOCK..][..self.len]),
        }
    }
}

#[inline(always)]
fn map(y: &mut [f32], a: Operand<'_>, f: impl Fn(f32) -> f32) {
    match a {
        Operand::Block(a) => y.iter_mut().zip(a).for_each(|(y, a)| *y = f(*a)),
        Operand::Scalar(a) => y.fill(f(a)),
    }
}

#[inline(always)]
fn zip(y: &mut [f32], a: Operand<'_>, b: Operand<'_>, f: impl Fn(f32, f32) -> f32) {
    match (a, b) {
        (Operand::Block(a), Operand::Block(b)) => {
            y.iter_mut().zip(a).zip(b).for_each(|((y, a), b)| *y = f(*a, *b));
        }
        (Operand::Block(a), Operand::Scalar(b)) => y.iter_mut().zip(a).for_each(|(y, a)| *y = f(*a, b)),
        (Operand::Scalar(a), Operand::Block(b)) => y.iter_mut().zip(b).for_each(|(y, b)| *y = f(a, *b)),
        (Operand::Scalar(a), Operand::Scalar(b)) => y.fill(f(a, b)),
    }
}

#[inline(always)]
fn select(y: &mut [f32], c: Operand<'_>, a: Operand<'_>, b: Operand<'_>) {
    match c {
        Operand::Scalar(c) => map(y, if c != 0.0 { a } else { b }, |x| x),
        Operand::Block(c) => {
            map(y, b, |b| b);
            match a {
                Operand::Block(a) => {
                    y.iter_mut().zip(c).zip(a).for_each(|((y, c), a)| *y = if *c != 0.0 { *a } else { *y });
                }
                Operand::Scalar(a) => y.iter_mut().zip(c).for_each(|(y, c)| *y = if *c != 0.0 { a } else { *y }),
            }
        }
    }
}

#[inline(always)]
fn truth(holds: bool) -> f32 {
    if holds { 1.0 } else { 0.0 }
}

/// The semantics of [`mimus_core::ops::elementwise`], NaN included.
#[inline(always)]
fn apply(op: &Op, y: &mut [f32], a: Operand<'_>, b: Operand<'_>, c: Operand<'_>) {
    match *op {
        Op::Neg {} => map(y, a, |x| -x),
        Op::Abs {} => map(y, a, f32::abs),
        Op::Sign {} => map(y, a, |x| if x == 0.0 { 0.0 } else { x.signum() }),
        Op::Exp {} => map(y, a, math::exp),
        Op::Log {} => map(y, a, math::ln),
        Op::Sqrt {} => map(y, a, f32::sqrt),
        Op::Sigmoid {} => map(y, a, math::sigmoid),
        Op::Tanh {} => map(y, a, math::tanh),
        Op::Relu {} => map(y, a, |x| if x < 0.0 { 0.0 } else { x }),
        Op::LeakyRelu { slope } => {
            let slope = slope as f32;
            map(y, a, |x| if x > 0.0 { x } else { slope * x });
        }
        Op::Elu { alpha } => {
            let alpha = alpha as f32;
            map(y, a, |x| if x > 0.0 { x } else { alpha * math::exp_m1(x) });
        }
        Op::Clamp { min, max } => {
            let (min, max) = (min as f32, max as f32);
            map(y, a, |x| {
                if x < min {
                    min
                } else if x > max {
                    max
                } else {
                    x
                }
            });
        }
        Op::Pow { exponent } => pow(y, a, exponent),
        Op::Add {} => zip(y, a, b, |a, b| a + b),
        Op::Sub {} => zip(y, a, b, |a, b| a - b),
        Op::Mul {} => zip(y, a, b, |a, b| a * b),
        Op::Div {} => zip(y, a, b, |a, b| a / b),
        Op::Maximum {} => zip(y, a, b, |a, b| if a.is_nan() || a > b { a } else { b }),
        Op::Minimum {} => zip(y, a, b, |a, b| if a.is_nan() || a < b { a } else { b }),
        Op::Equal {} => zip(y, a, b, |a, b| truth(a == b)),
        Op::Less {} => zip(y, a, b, |a, b| truth(a < b)),
        Op::LessEqual {} => zip(y, a, b, |a, b| truth(a <= b)),
        Op::Select {} => select(y, a, b, c),
        // Broadcasting happened when the operand was loaded.
        _ => map(y, a, |x| x),
    }
}

#[inline(always)]
fn pow(y: &mut [f32], a: Operand<'_>, exponent: f64) {
    if exponent == 2.0 {
        map(y, a, |x| x * x);
    } else if exponent == 1.0 {
        map(y, a, |x| x);
    } else if exponent == 0.5 {
        map(y, a, f32::sqrt);
    } else if exponent == -0.5 {
        map(y, a, |x| 1.0 / x.sqrt());
    } else if exponent == -1.0 {
        map(y, a, |x| 1.0 / x);
    } else {
        map(y, a, |x| f64::from(x).powf(exponent) as f32);
    }
}

/// Whether the operator can be part of a [`Program`]: elementwise on f32 alone.
pub(crate) fn is_fusible(op: &Op, types: Types<'_>) -> bool {
    let floats = types.inputs.iter().chain(types.outputs).all(|ty| ty.dtype == Dtype::F32);
    let elementwise = matches!(
        op,
        Op::Neg {}
            | Op::Abs {}
            | Op::Sign {}
            | Op::Exp {}
            | Op::Log {}
            | Op::Sqrt {}
            | Op::Sigmoid {}
            | Op::Tanh {}
            | Op::Relu {}
            | Op::LeakyRelu { .. }
            | Op::Elu { .. }
            | Op::Clamp { .. }
            | Op::Pow { .. }
            | Op::Add {}
            | Op::Sub {}
            | Op::Mul {}
            | Op::Div {}
            | Op::Maximum {}
            | Op::Minimum {}
            | Op::Equal {}
            | Op::Less {}
            | Op::LessEqual {}
            | Op::Select {}
            | Op::Broadcast { .. }
    );
    floats && elementwise
}

/// The kernel for an elementwise operator on integers, or from one type to the other.
pub(super) fn prepare(op: &Op, types: Types<'_>) -> Result<Box<dyn Kernel>> {
    if let Op::Cast { .. } = op {
        return Ok(Box::new(Cast));
    }
    let y = types.output(0)?;
    let walks = [Walk::broadcast(types.input(0)?, y), Walk::broadcast(types.input(1)?, y)];
    Ok(Box::new(Integers { op: op.clone(), walks }))
}

/// Between f32 and i64; f32 to i64 truncates, as PyTorch does.
struct Cast;

impl Kernel for Cast {
    fn run(&self, operands: Operands<'_, '_>) -> Result<()> {
        match (operands.inputs, operands.outputs) {
            ([View::F32(x)], [ViewMut::I64(y)]) => y.iter_mut().zip(*x).for_each(|(y, x)| *y = *x as i64),
            ([View::I64(x)], [ViewMut::F32(y)]) => y.iter_mut().zip(*x).for_each(|(y, x)| *y = *x as f32),
            ([x], [y]) => y.copy_from(*x)?,
            _ => return Err(Error::graph("has one input")),
        }
        Ok(())
    }
}

/// Arithmetic and comparison of i64; counters and labels, never many.
struct Integers {
    op: Op,
    walks: [Walk; 2],
}

impl Integers {
    fn pairs<'a>(&'a self, a: &'a [i64], b: &'a [i64]) -> impl Fn(usize) -> (i64, i64) + 'a {
        move |i| (a[self.walks[0].position(i)], b[self.walks[1].position(i)])
    }
}

impl Kernel for Integers {
    fn run(&self, operands: Operands<'_, '_>) -> Result<()> {
        let pair = self.pairs(operands.indices(0)?, operands.indices(1)?);
        match operands.outputs {
            [ViewMut::I64(y)] => {
                let f = match self.op {
                    Op::Add {} => i64::wrapping_add,
                    Op::Sub {} => i64::wrapping_sub,
                    _ => i64::wrapping_mul,
                };
                y.iter_mut().enumerate().for_each(|(i, y)| *y = f(pair(i).0, pair(i).1));
            }
            [ViewMut::F32(y)] => {
                let f: fn(&i64, &i64) -> bool = match self.op {
                    Op::Equal {} => i64::eq,
                    Op::Less {} => i64::lt,
                    _ => i64::le,
                };
                y.iter_mut().enumerate().for_each(|(i, y)| *y = truth(f(&pair(i).0, &pair(i).1)));
            }
            _ => return Err(Error::graph("has one output")),
        }
        Ok(())
    }
}
