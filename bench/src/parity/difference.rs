//! How far a value is from what the reference computed.

use mimus_core::{HostData, HostTensor, Op};
use serde::Serialize;

/// The element of a tensor that is furthest off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Difference {
    /// `|found - expected|`; infinite where one of them alone is no number.
    pub(crate) absolute: f64,
    /// `absolute` as a part of the tensor's [`scale`].
    pub(crate) relative: f64,
    pub(crate) found: f64,
    pub(crate) expected: f64,
    /// Position of the element, rows first.
    pub(crate) index: usize,
}

impl Difference {
    /// The largest difference between two tensors of one type.
    pub(crate) fn of(found: &HostTensor, expected: &HostTensor, scale: f64) -> Self {
        let pairs: Box<dyn Iterator<Item = (f64, f64)>> = match (found.data(), expected.data()) {
            (HostData::F32(a), HostData::F32(b)) => {
                Box::new(a.iter().zip(b).map(|(a, b)| (f64::from(*a), f64::from(*b))))
            }
            (HostData::I64(a), HostData::I64(b)) => Box::new(a.iter().zip(b).map(|(a, b)| (*a as f64, *b as f64))),
            _ => Box::new(std::iter::once((f64::NAN, 0.0))),
        };
        let mut worst = Self::default();
        for (index, (found, expected)) in pairs.enumerate() {
            let absolute = match (found - expected).abs() {
                _ if found == expected || found.is_nan() && expected.is_nan() => 0.0,
                distance if distance.is_nan() => f64::INFINITY,
                distance => distance,
            };
            if absolute > worst.absolute || index == 0 {
                let relative = if absolute == 0.0 { 0.0 } else { absolute / scale };
                worst = Self { absolute, relative, found, expected, index };
            }
        }
        worst
    }

    /// The larger of two, by what counts.
    pub(crate) fn worse(self, other: Self) -> Self {
        if other.relative > self.relative { other } else { self }
    }
}

/// What a difference in the value of an operator is measured by: the largest element, and for sums, which may cancel, the largest
/// summand.
pub(crate) fn scale(op: &Op, operands: &[&HostTensor], expected: &HostTensor) -> f64 {
    let summand = match op {
        Op::Sum { .. } | Op::Mean { .. } | Op::BatchNormTrainGrad { .. } => operands.last().map_or(0.0, |x| largest(x)),
        Op::MatMul { .. } | Op::Conv { .. } | Op::ConvTranspose { .. } | Op::ConvWeightGrad { .. } => {
            operands.iter().take(2).map(|x| largest(x)).product()
        }
        _ => 0.0,
    };
    largest(expected).max(summand)
}

/// The largest finite absolute value.
pub(crate) fn largest(tensor: &HostTensor) -> f64 {
    let of = |values: &mut dyn Iterator<Item = f64>| values.filter(|x| x.is_finite()).fold(0.0, f64::max);
    match tensor.data() {
        HostData::F32(values) => of(&mut values.iter().map(|x| f64::from(x.abs()))),
        HostData::I64(values) => of(&mut values.iter().map(|x| x.unsigned_abs() as f64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(values: [f32; 3]) -> HostTensor {
        HostTensor::f32([3], values.into()).unwrap()
    }

    #[test]
    fn the_element_furthest_off_is_found_and_one_that_is_no_number_is_infinitely_far() {
        let expected = tensor([1.0, -4.0, 2.0]);
        let found = Difference::of(&tensor([1.5, -3.0, 2.0]), &expected, largest(&expected));
        assert_eq!(found, Difference { absolute: 1.0, relative: 0.25, found: -3.0, expected: -4.0, index: 1 });
        let found = Difference::of(&tensor([1.0, f32::NAN, 2.0]), &expected, 4.0);
        assert_eq!((found.index, found.relative), (1, f64::INFINITY));
        let both = tensor([f32::NAN, f32::INFINITY, 0.0]);
        assert_eq!(Difference::of(&both, &both, 0.0).relative, 0.0);
    }

    #[test]
    fn a_sum_that_cancels_is_measured_by_its_summands() {
        let zero = HostTensor::scalar(0.0);
        let sum = Op::Sum { axes: vec![0], keep: false };
        assert_eq!(scale(&sum, &[&tensor([1.0, -4.0, 3.0])], &zero), 4.0);
        assert_eq!(scale(&Op::Relu {}, &[&tensor([1.0, -4.0, 3.0])], &zero), 0.0);
    }
}
