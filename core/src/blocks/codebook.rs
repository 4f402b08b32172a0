//! Vector quantisation: features take the nearest of a number of learned codes (van den Oord et al., "Neural Discrete Representation
//! Learning", NeurIPS 2017).

use super::convolution::channels_of;
use super::memory::{restore, rows};
use crate::error::{Error, Result};
use crate::graph::{Builder, Init, ValueId};
use crate::ops::Op;

/// The codes.
#[derive(Clone, Copy, Debug)]
pub struct Codebook {
    /// `[K, C]`.
    pub codes: ValueId,
    /// Squared lengths, `[K, 1]`.
    pub squares: ValueId,
}

/// Features and their nearest codes.
#[derive(Clone, Copy, Debug)]
pub struct Quantized {
    /// The features, `[N, C, ..]`.
    pub features: ValueId,
    /// The nearest codes, `[N, C, ..]`; a gradient flows to the codebook and none to the features.
    pub codes: ValueId,
    /// The features as rows, `[Q, C]`, one for every position of every sample.
    pub rows: ValueId,
    /// How near every code is to every row, `[Q, K]`: `2 z e - |e|^2`, the larger the nearer.
    pub nearness: ValueId,
}

impl Codebook {
    /// The codebook `weight [K, C]` of layer `label`, which begins uniformly within `1 / K`.
    ///
    /// # Errors
    /// If the name is taken by another variable.
    pub fn new(b: &mut Builder, label: &str, [count, channels]: [usize; 2]) -> Result<Self> {
        let bound = 1.0 / count.max(1) as f64;
        let init = Init::Uniform { lo: -bound, hi: bound };
        let codes = b.scope(label, |b| b.parameter("weight", [count, channels], init))?;
        let square = b.mul(codes, codes)?;
        Ok(Self { codes, squares: b.sum_keep(square, &[1])? })
    }

    /// The nearest code of every position of `z [N, C, ..]` by Euclidean distance, the first of equally near ones.
    ///
    /// # Errors
    /// If `z` has no positions or the channels differ.
    pub fn quantize(&self, b: &mut Builder, z: ValueId) -> Result<Quantized> {
        let shape = b.shape(z).to_vec();
        if shape.len() < 3 {
            return Err(Error::graph(format!("codes are for features [N, C, ..], found shape {shape:?}")));
        }
        let rows = rows(b, z)?;
        let product = b.node(Op::MatMul { transpose_a: false, transpose_b: true }, &[rows, self.codes])?;
        let twice = b.affine(product, 2.0, 0.0)?;
        let count = channels_of(b, product);
        let squares = b.reshape(self.squares, [1, count])?;
        let nearness = b.sub(twice, squares)?;
        let index = b.argmax(nearness, 1)?;
        let codes = b.gather(self.codes, index)?;
        Ok(Quantized { features: z, codes: restore(b, codes, &shape)?, rows, nearness })
    }
}

impl Quantized {
    /// The codes, through which the gradient flows to the features as if nothing had been quantised.
    ///
    /// # Errors
    /// None for what [`Codebook::quantize`] returned.
    pub fn straight_through(&self, b: &mut Builder) -> Result<ValueId> {
        let change = b.sub(self.codes, self.features)?;
        let change = b.stop_gradient(change)?;
        b.add(self.features, change)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::autodiff::pull_back;
    use crate::reference::{Array, Interpreter, Precision};
    use crate::tensor::ValueType;

    #[test]
    fn features_take_the_nearest_code_and_keep_the_gradient() {
        let mut b = Builder::new("test");
        let z = b.input("z", ValueType::f32([1, 2, 3])).unwrap();
        let g = b.input("g", ValueType::f32([1, 2, 3])).unwrap();
        let quantized = Codebook::new(&mut b, "book", [2, 2]).unwrap().quantize(&mut b, z).unwrap();
        let through = quantized.straight_through(&mut b).unwrap();
        let gradient = pull_back(&mut b, &[(through, g)], &[z]).unwrap()[0].unwrap();
        b.output("codes", through).unwrap();
        b.output("gradient", gradient).unwrap();
        let mut interpreter = Interpreter::new(Precision::F64);
        interpreter.variables.insert("book.weight".to_owned(), Array::float([2, 2], vec![1.0, 0.0, 0.0, 4.0]));
        // Positions (0, 1), (0, 3) and (9, 9): distances 2 and 9, 10 and 1, 145 and 106. By length alone the last would differ.
        let z = Array::float([1, 2, 3], vec![0.0, 0.0, 9.0, 1.0, 3.0, 9.0]);
        let g = Array::float([1, 2, 3], (1..7).map(f64::from).collect());
        let inputs = BTreeMap::from([("z".to_owned(), z), ("g".to_owned(), g.clone())]);
        let results = interpreter.run(&b.finish(), &inputs).unwrap();
        assert_eq!(results[0].floats().unwrap(), [1.0, 0.0, 0.0, 0.0, 4.0, 4.0]);
        assert_eq!(results[1], g);
    }
}
