//! Memory of either element type, and the views of it that kernels get.

use mimus_core::{Dtype, Error, HostData, HostTensor, Result, ValueType};

/// Owned elements.
#[derive(Clone, Debug)]
pub(crate) enum Buffer {
    F32(Vec<f32>),
    I64(Vec<i64>),
}

/// Elements that a kernel reads.
#[derive(Clone, Copy, Debug)]
pub(crate) enum View<'a> {
    F32(&'a [f32]),
    I64(&'a [i64]),
}

/// Elements that a kernel writes, all of them.
#[derive(Debug)]
pub(crate) enum ViewMut<'a> {
    F32(&'a mut [f32]),
    I64(&'a mut [i64]),
}

/// That a kernel met the other element type: the graph was not verified.
fn mismatch<T>(expected: Dtype) -> Result<T> {
    Err(Error::graph(format!("an operand is not {expected}")).hint("verify the graph before loading it"))
}

impl Default for Buffer {
    fn default() -> Self {
        Self::F32(Vec::new())
    }
}

impl Buffer {
    /// Zeros.
    pub(crate) fn zeros(dtype: Dtype, elements: usize) -> Self {
        match dtype {
            Dtype::F32 => Self::F32(vec![0.0; elements]),
            Dtype::I64 => Self::I64(vec![0; elements]),
        }
    }

    /// Number of elements.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::F32(v) => v.len(),
            Self::I64(v) => v.len(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The first `elements`.
    pub(crate) fn view(&self, elements: usize) -> Result<View<'_>> {
        match self {
            Self::F32(v) => v.get(..elements).map(View::F32),
            Self::I64(v) => v.get(..elements).map(View::I64),
        }
        .ok_or_else(short)
    }

    /// The first `elements`, to be written.
    pub(crate) fn view_mut(&mut self, elements: usize) -> Result<ViewMut<'_>> {
        match self {
            Self::F32(v) => v.get_mut(..elements).map(ViewMut::F32),
            Self::I64(v) => v.get_mut(..elements).map(ViewMut::I64),
        }
        .ok_or_else(short)
    }
}

fn short() -> Error {
    Error::backend("a buffer is shorter than its value: this is a bug of the buffer plan")
}

impl<'a> View<'a> {
    pub(crate) fn f32(self) -> Result<&'a [f32]> {
        match self {
            Self::F32(v) => Ok(v),
            Self::I64(_) => mismatch(Dtype::F32),
        }
    }

    pub(crate) fn i64(self) -> Result<&'a [i64]> {
        match self {
            Self::I64(v) => Ok(v),
            Self::F32(_) => mismatch(Dtype::I64),
        }
    }

    /// Number of elements.
    pub(crate) fn len(self) -> usize {
        match self {
            Self::F32(v) => v.len(),
            Self::I64(v) => v.len(),
        }
    }

    /// A host tensor with a copy of the elements.
    pub(crate) fn to_host(self, ty: &ValueType) -> Result<HostTensor> {
        match self {
            Self::F32(v) => HostTensor::f32(ty.shape.clone(), v.to_vec()),
            Self::I64(v) => HostTensor::i64(ty.shape.clone(), v.to_vec()),
        }
    }
}

impl<'a> From<&'a HostTensor> for View<'a> {
    fn from(tensor: &'a HostTensor) -> Self {
        match tensor.data() {
            HostData::F32(v) => Self::F32(v),
            HostData::I64(v) => Self::I64(v),
        }
    }
}

impl ViewMut<'_> {
    pub(crate) fn f32(&mut self) -> Result<&mut [f32]> {
        match self {
            Self::F32(v) => Ok(v),
            Self::I64(_) => mismatch(Dtype::F32),
        }
    }

    /// Copies all elements.
    pub(crate) fn copy_from(&mut self, source: View<'_>) -> Result<()> {
        match (self, source) {
            (Self::F32(to), View::F32(from)) if to.len() == from.len() => to.copy_from_slice(from),
            (Self::I64(to), View::I64(from)) if to.len() == from.len() => to.copy_from_slice(from),
            _ => return Err(Error::graph("a value is copied to a place of another type")),
        }
        Ok(())
    }
}
