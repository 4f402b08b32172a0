//! Resampling as one product with a constant matrix along every spatial axis: exactly our taps, and its gradient the transpose.

use mimus_core::ops::{Mode, resize::taps};

use super::Operands;
use super::emit::{Emitter, Name};

/// A constant matrix that maps one axis to another: `[to, from]`.
pub(super) struct Matrix {
    to: usize,
    from: usize,
    /// Row-major.
    values: Vec<f64>,
}

impl Matrix {
    pub(super) fn zeros(to: usize, from: usize) -> Self {
        Self { to, from, values: vec![0.0; to * from] }
    }

    pub(super) fn add(&mut self, row: usize, column: usize, value: f64) {
        self.values[row * self.from + column] += value;
    }

    fn transposed(&self) -> Self {
        let mut result = Self::zeros(self.from, self.to);
        for row in 0..self.to {
            for column in 0..self.from {
                result.add(column, row, self.values[row * self.from + column]);
            }
        }
        result
    }
}

/// Applies a matrix to each spatial axis of `x [N, C, ..]`.
pub(super) fn along_axes(e: &mut Emitter, x: &str, shape: &[usize], matrices: &[Matrix]) -> Name {
    let (mut x, mut shape) = (x.to_owned(), shape.to_vec());
    for (axis, matrix) in (2..).zip(matrices) {
        let inner: usize = shape[axis + 1..].iter().product();
        let outer: usize = shape[..axis].iter().product();
        let (from, to) = (matrix.from, matrix.to);
        if inner == 1 {
            let rows = e.reshape(&x, &shape, &[outer, from]);
            let right = matrix.transposed();
            let right = e.floats(&[from, to], &right.values);
            x = e.binary("MatMul", &rows, &right);
            shape[axis] = to;
            x = e.reshape(&x, &[outer, to], &shape);
        } else {
            let planes = e.reshape(&x, &shape, &[outer, from, inner]);
            let left = e.floats(&[to, from], &matrix.values);
            x = e.binary("MatMul", &left, &planes);
            shape[axis] = to;
            x = e.reshape(&x, &[outer, to, inner], &shape);
        }
    }
    x
}

/// How `from` elements become `to`.
fn matrix(from: usize, to: usize, mode: Mode, align_corners: bool) -> Matrix {
    let mut matrix = Matrix::zeros(to, from);
    for (row, (first, second, weight)) in taps(from, to, mode, align_corners).into_iter().enumerate() {
        matrix.add(row, first, 1.0 - weight);
        matrix.add(row, second, weight);
    }
    matrix
}

pub(super) fn resize(e: &mut Emitter, x: &Operands<'_>, mode: Mode, align_corners: bool) -> Name {
    let (from, to) = (&x.ty(0).shape, &x.output(0).shape);
    let matrices: Vec<Matrix> = (2..from.len()).map(|axis| matrix(from[axis], to[axis], mode, align_corners)).collect();
    along_axes(e, x.name(0), from, &matrices)
}

pub(super) fn resize_grad(e: &mut Emitter, x: &Operands<'_>, mode: Mode, align_corners: bool) -> Name {
    let (from, to) = (&x.ty(0).shape, &x.output(0).shape);
    let matrices: Vec<Matrix> =
        (2..from.len()).map(|axis| matrix(to[axis], from[axis], mode, align_corners).transposed()).collect();
    along_axes(e, x.name(0), from, &matrices)
}
