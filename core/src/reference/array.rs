//! The interpreter's value: a dense row-major array in f64 or i64.

use crate::error::{Error, Result};
use crate::tensor::{Dtype, HostData, HostTensor, Shape, ValueType};

/// Elements of an [`Array`].
#[derive(Clone, Debug, PartialEq)]
pub enum Elements {
    /// Floats. They hold f32 values exactly; the interpreter decides whether results are rounded back to f32.
    Float(Vec<f64>),
    /// Integers.
    Int(Vec<i64>),
}

/// A dense row-major array of the reference interpreter.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Extents, outermost first.
    pub shape: Shape,
    /// Elements; as many as the product of the extents.
    pub elements: Elements,
}

impl Array {
    /// A float array. The caller gives as many elements as the extents say.
    pub fn float(shape: impl Into<Shape>, elements: Vec<f64>) -> Self {
        Self { shape: shape.into(), elements: Elements::Float(elements) }
    }

    /// An integer array. The caller gives as many elements as the extents say.
    pub fn int(shape: impl Into<Shape>, elements: Vec<i64>) -> Self {
        Self { shape: shape.into(), elements: Elements::Int(elements) }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        match &self.elements {
            Elements::Float(v) => v.len(),
            Elements::Int(v) => v.len(),
        }
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The floats.
    ///
    /// # Errors
    /// If the array holds integers.
    pub fn floats(&self) -> Result<&[f64]> {
        match &self.elements {
            Elements::Float(v) => Ok(v),
            Elements::Int(_) => Err(Error::graph("expected f32, found i64")),
        }
    }

    /// The integers.
    ///
    /// # Errors
    /// If the array holds floats.
    pub fn ints(&self) -> Result<&[i64]> {
        match &self.elements {
            Elements::Int(v) => Ok(v),
            Elements::Float(_) => Err(Error::graph("expected i64, found f32")),
        }
    }

    /// Element type and extents.
    pub fn ty(&self) -> ValueType {
        let dtype = match self.elements {
            Elements::Float(_) => Dtype::F32,
            Elements::Int(_) => Dtype::I64,
        };
        ValueType::new(dtype, self.shape.clone())
    }

    /// Rounds every float to the nearest f32.
    pub fn round_to_f32(&mut self) {
        if let Elements::Float(v) = &mut self.elements {
            v.iter_mut().for_each(|x| *x = f64::from(*x as f32));
        }
    }

    /// The array as a host tensor, rounded to f32.
    ///
    /// # Errors
    /// If the elements do not match the extents.
    pub fn to_host(&self) -> Result<HostTensor> {
        match &self.elements {
            Elements::Float(v) => HostTensor::f32(self.shape.clone(), v.iter().map(|x| *x as f32).collect()),
            Elements::Int(v) => HostTensor::i64(self.shape.clone(), v.clone()),
        }
    }
}

impl From<&HostTensor> for Array {
    fn from(tensor: &HostTensor) -> Self {
        let elements = match tensor.data() {
            HostData::F32(v) => Elements::Float(v.iter().map(|x| f64::from(*x)).collect()),
            HostData::I64(v) => Elements::Int(v.clone()),
        };
        Self { shape: tensor.shape().to_vec(), elements }
    }
}
