//! Shapes, element types and the host tensor that crosses every boundary.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Extents of a tensor, outermost first. A scalar has no extents.
pub type Shape = Vec<usize>;

/// Element type of a value. Precision below f32 is a run option of a backend, never part of a graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// 32-bit float: every value that is not an index. Comparisons yield 0 and 1 of this type.
    F32,
    /// 64-bit integer: indices and counters.
    I64,
}

impl Dtype {
    /// The name in the text form: `f32` or `i64`.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::I64 => "i64",
        }
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Element type and extents of a value.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ValueType {
    /// Element type.
    pub dtype: Dtype,
    /// Extents, outermost first.
    pub shape: Shape,
}

impl ValueType {
    /// A type of the given element type and extents.
    pub fn new(dtype: Dtype, shape: impl Into<Shape>) -> Self {
        Self { dtype, shape: shape.into() }
    }

    /// An f32 type of the given extents.
    pub fn f32(shape: impl Into<Shape>) -> Self {
        Self::new(Dtype::F32, shape)
    }

    /// An i64 type of the given extents.
    pub fn i64(shape: impl Into<Shape>) -> Self {
        Self::new(Dtype::I64, shape)
    }

    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }
}

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:?}", self.dtype, self.shape)
    }
}

/// Elements of a [`HostTensor`], row-major.
#[derive(Clone, Debug)]
pub enum HostData {
    /// f32 elements.
    F32(Vec<f32>),
    /// i64 elements.
    I64(Vec<i64>),
}

/// A dense row-major tensor in host memory.
///
/// Equality is bitwise, so that NaN equals itself and `0.0` differs from `-0.0`: a graph that holds constants can be
/// compared and hashed.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(into = "TensorBytes", try_from = "TensorBytes")]
pub struct HostTensor {
    shape: Shape,
    data: HostData,
}

impl HostTensor {
    /// An f32 tensor.
    ///
    /// # Errors
    /// If the number of elements is not the product of the extents.
    pub fn f32(shape: impl Into<Shape>, data: Vec<f32>) -> Result<Self> {
        Self::checked(shape.into(), HostData::F32(data))
    }

    /// An i64 tensor.
    ///
    /// # Errors
    /// If the number of elements is not the product of the extents.
    pub fn i64(shape: impl Into<Shape>, data: Vec<i64>) -> Result<Self> {
        Self::checked(shape.into(), HostData::I64(data))
    }

    /// An f32 scalar.
    pub fn scalar(value: f32) -> Self {
        Self { shape: Shape::new(), data: HostData::F32(vec![value]) }
    }

    /// A tensor of `ty` filled with `value`.
    pub fn full(ty: &ValueType, value: f64) -> Self {
        let n = ty.elements();
        let data = match ty.dtype {
            Dtype::F32 => HostData::F32(vec![value as f32; n]),
            Dtype::I64 => HostData::I64(vec![value as i64; n]),
        };
        Self { shape: ty.shape.clone(), data }
    }

    fn checked(shape: Shape, data: HostData) -> Result<Self> {
        let n = match &data {
            HostData::F32(v) => v.len(),
            HostData::I64(v) => v.len(),
        };
        let expected = shape.iter().try_fold(1usize, |product, extent| product.checked_mul(*extent));
        if expected != Some(n) {
            return Err(Error::graph(format!("a tensor of shape {shape:?} cannot hold {n} elements")));
        }
        Ok(Self { shape, data })
    }

    /// Extents, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Element type.
    pub fn dtype(&self) -> Dtype {
        match self.data {
            HostData::F32(_) => Dtype::F32,
            HostData::I64(_) => Dtype::I64,
        }
    }

    /// Element type and extents.
    pub fn ty(&self) -> ValueType {
        ValueType::new(self.dtype(), self.shape.clone())
    }

    /// The elements.
    pub fn data(&self) -> &HostData {
        &self.data
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        match &self.data {
            HostData::F32(v) => v.len(),
            HostData::I64(v) => v.len(),
        }
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements as f32.
    ///
    /// # Errors
    /// If the tensor holds i64.
    pub fn as_f32(&self) -> Result<&[f32]> {
        match &self.data {
            HostData::F32(v) => Ok(v),
            HostData::I64(_) => Err(Error::graph("expected an f32 tensor, found i64")),
        }
    }

    /// The elements as i64.
    ///
    /// # Errors
    /// If the tensor holds f32.
    pub fn as_i64(&self) -> Result<&[i64]> {
        match &self.data {
            HostData::I64(v) => Ok(v),
            HostData::F32(_) => Err(Error::graph("expected an i64 tensor, found f32")),
        }
    }

    /// The elements, given away.
    pub fn into_data(self) -> HostData {
        self.data
    }

    /// The elements as little-endian bytes, as safetensors and the plugin boundary hold them.
    pub fn to_le_bytes(&self) -> Vec<u8> {
        match &self.data {
            HostData::F32(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
            HostData::I64(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
        }
    }

    /// The inverse of [`HostTensor::to_le_bytes`].
    ///
    /// # Errors
    /// If the number of bytes does not fit the type.
    pub fn from_le_bytes(ty: &ValueType, bytes: &[u8]) -> Result<Self> {
        let width = match ty.dtype {
            Dtype::F32 => 4,
            Dtype::I64 => 8,
        };
        if !bytes.len().is_multiple_of(width) {
            return Err(Error::graph(format!("{} bytes are no whole number of {} elements", bytes.len(), ty.dtype)));
        }
        let data = match ty.dtype {
            Dtype::F32 => HostData::F32(bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()),
            Dtype::I64 => HostData::I64(bytes.as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b)).collect()),
        };
        Self::checked(ty.shape.clone(), data)
    }
}

/// The serialised form: one block of little-endian bytes instead of an item for each element.
#[derive(Serialize, Deserialize)]
struct TensorBytes {
    ty: ValueType,
    bytes: serde_bytes::ByteBuf,
}

impl From<HostTensor> for TensorBytes {
    fn from(tensor: HostTensor) -> Self {
        Self { ty: tensor.ty(), bytes: serde_bytes::ByteBuf::from(tensor.to_le_bytes()) }
    }
}

impl TryFrom<TensorBytes> for HostTensor {
    type Error = Error;

    fn try_from(tensor: TensorBytes) -> Result<Self> {
        Self::from_le_bytes(&tensor.ty, &tensor.bytes)
    }
}

impl PartialEq for HostTensor {
    fn eq(&self, other: &Self) -> bool {
        self.shape == other.shape
            && match (&self.data, &other.data) {
                (HostData::F32(a), HostData::F32(b)) => {
                    a.len() == b.len() && a.iter().zip(b).all(|(x, y)| x.to_bits() == y.to_bits())
                }
                (HostData::I64(a), HostData::I64(b)) => a == b,
                _ => false,
            }
    }
}

/// Row-major strides of `shape`, in elements.
pub fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    strides
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_a_wrong_number_of_elements() {
        let error = HostTensor::f32([2, 3], vec![0.0; 5]).unwrap_err();
        assert_eq!(error.message(), "a tensor of shape [2, 3] cannot hold 5 elements");
    }

    #[test]
    fn bytes_round_trip_bit_for_bit() {
        let tensor = HostTensor::f32([3], vec![f32::NAN, -0.0, 1.5]).unwrap();
        assert_eq!(HostTensor::from_le_bytes(&tensor.ty(), &tensor.to_le_bytes()).unwrap(), tensor);
    }
}
