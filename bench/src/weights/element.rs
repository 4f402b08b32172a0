//! Element types of tensors in files of others, and how they become ours.

use half::{bf16, f16};
use mimus_core::{Dtype, Error, HostTensor, Result, ValueType};

/// An element type of PyTorch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Element {
    F64,
    F32,
    F16,
    Bf16,
    I64,
    I32,
    I16,
    I8,
    U8,
    Bool,
}

/// Each with PyTorch's name of its storage, its name, and its length in bytes.
const ELEMENTS: [(Element, &str, &str, usize); 10] = [
    (Element::F64, "DoubleStorage", "float64", 8),
    (Element::F32, "FloatStorage", "float32", 4),
    (Element::F16, "HalfStorage", "float16", 2),
    (Element::Bf16, "BFloat16Storage", "bfloat16", 2),
    (Element::I64, "LongStorage", "int64", 8),
    (Element::I32, "IntStorage", "int32", 4),
    (Element::I16, "ShortStorage", "int16", 2),
    (Element::I8, "CharStorage", "int8", 1),
    (Element::U8, "ByteStorage", "uint8", 1),
    (Element::Bool, "BoolStorage", "bool", 1),
];

impl Element {
    fn row(self) -> (Self, &'static str, &'static str, usize) {
        // Every element has a row; the first stands for a row that was forgotten, which a test would find.
        ELEMENTS.into_iter().find(|row| row.0 == self).unwrap_or(ELEMENTS[0])
    }

    /// The element of `torch.<storage>`.
    pub(super) fn of_storage(storage: &str) -> Option<Self> {
        ELEMENTS.into_iter().find(|row| row.1 == storage).map(|row| row.0)
    }

    /// As PyTorch calls it.
    pub(super) fn name(self) -> &'static str {
        self.row().2
    }

    /// Length in bytes.
    pub(super) fn size(self) -> usize {
        self.row().3
    }

    /// Whether a value of ours can be made of it: floating point of floating point, integers of integers.
    pub(super) fn fits(self, dtype: Dtype) -> bool {
        let is_float = matches!(self, Self::F64 | Self::F32 | Self::F16 | Self::Bf16);
        is_float == (dtype == Dtype::F32)
    }

    /// A tensor of type `ty` from the elements in `data`, little-endian, one after the other.
    pub(super) fn tensor(self, ty: &ValueType, data: &[u8]) -> Result<HostTensor> {
        let chunks = data.chunks_exact(self.size());
        match ty.dtype {
            Dtype::F32 => HostTensor::f32(ty.shape.clone(), chunks.map(|c| self.float(c)).collect::<Result<_>>()?),
            Dtype::I64 => HostTensor::i64(ty.shape.clone(), chunks.map(|c| self.integer(c)).collect::<Result<_>>()?),
        }
    }

    fn float(self, bytes: &[u8]) -> Result<f32> {
        Ok(match self {
            Self::F64 => f64::from_le_bytes(array(bytes)?) as f32,
            Self::F32 => f32::from_le_bytes(array(bytes)?),
            Self::F16 => f16::from_le_bytes(array(bytes)?).to_f32(),
            Self::Bf16 => bf16::from_le_bytes(array(bytes)?).to_f32(),
            _ => return Err(Error::data(format!("{} is no floating point", self.name()))),
        })
    }

    fn integer(self, bytes: &[u8]) -> Result<i64> {
        Ok(match self {
            Self::I64 => i64::from_le_bytes(array(bytes)?),
            Self::I32 => i32::from_le_bytes(array(bytes)?).into(),
            Self::I16 => i16::from_le_bytes(array(bytes)?).into(),
            Self::I8 => i8::from_le_bytes(array(bytes)?).into(),
            Self::U8 => u8::from_le_bytes(array(bytes)?).into(),
            Self::Bool => (u8::from_le_bytes(array(bytes)?) != 0).into(),
            _ => return Err(Error::data(format!("{} is no integer", self.name()))),
        })
    }
}

fn array<const N: usize>(bytes: &[u8]) -> Result<[u8; N]> {
    bytes.try_into().map_err(|_| Error::data(format!("an element has {} bytes, expects {N}", bytes.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_element_has_a_row_and_becomes_the_value_that_it_is() {
        for (element, ..) in ELEMENTS {
            assert_eq!(element.row().0, element);
        }
        let float = |element: Element, bytes: &[u8]| element.float(bytes).unwrap();
        assert_eq!(float(Element::F16, &[0x00, 0x3e]), 1.5);
        assert_eq!(float(Element::Bf16, &[0xc0, 0x3f]), 1.5);
        assert_eq!(float(Element::F64, &1.5_f64.to_le_bytes()), 1.5);
        assert_eq!(Element::I8.integer(&[0xff]).unwrap(), -1);
        assert_eq!(Element::Bool.integer(&[1]).unwrap(), 1);
        assert!(Element::F32.integer(&[0; 4]).is_err() && Element::I64.float(&[0; 8]).is_err());
    }
}
