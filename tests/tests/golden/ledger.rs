//! The books of one case on one engine: which stored arrays were compared, how far off each was, and what is left over.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use mimus_core::{Error, Result};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use crate::engine::Arithmetic;
use crate::set::Case;

/// Suffix of the arrays that hold the noise of another array's elements.
const NOISE: &str = "@noise";

/// Relative rounding of an array that is stored in single precision.
const STORED_SINGLE: f64 = 6e-8;

/// A double-precision program, before the first optimiser step.
const DOUBLE_BEFORE: f64 = 1e-9;

/// A double-precision program, after an optimiser step.
const DOUBLE_AFTER: f64 = 1e-7;

/// A single-precision program: this part of the largest value, and a multiple of the official code's own noise.
const SINGLE: f64 = 1e-6;
const SINGLE_NOISE: f64 = 5.0;

/// How many of the elements, counted from the first, do not depend on an optimiser step.
#[derive(Clone, Copy)]
pub(crate) enum Before {
    /// All of them.
    All,
    /// The first.
    First,
    /// None.
    None,
}

impl Before {
    fn holds(self, index: usize) -> bool {
        match self {
            Self::All => true,
            Self::First => index == 0,
            Self::None => false,
        }
    }
}

/// The largest error of the arrays of a family, relative to its tolerance.
#[derive(Default)]
struct Worst {
    of_tolerance: f64,
    error: f64,
    place: String,
}

/// The stored arrays of a case, and what became of them.
pub(crate) struct Ledger<'a> {
    case: &'a Case,
    arithmetic: Arithmetic,
    stored: SafeTensors<'a>,
    compared: BTreeSet<String>,
    worst: BTreeMap<String, Worst>,
}

impl<'a> Ledger<'a> {
    /// The books of a case's file.
    ///
    /// # Errors
    /// If the bytes are no safetensors.
    pub(crate) fn open(case: &'a Case, bytes: &'a [u8], arithmetic: Arithmetic) -> Result<Self> {
        let stored = SafeTensors::deserialize(bytes).map_err(|error| Error::data(error.to_string()))?;
        Ok(Self { case, arithmetic, stored, compared: BTreeSet::new(), worst: BTreeMap::new() })
    }

    /// The names of stored arrays that begin with `prefix`, without it.
    pub(crate) fn names(&self, prefix: &str) -> Vec<String> {
        let names = self.stored.names().into_iter().filter(|name| !name.ends_with(NOISE));
        names.filter_map(|name| Some(name.strip_prefix(prefix)?.to_owned())).collect()
    }

    /// Compares all elements of a stored array.
    ///
    /// # Errors
    /// If there is no such array or its length differs: differences of values are kept for [`Ledger::close`].
    pub(crate) fn compare(&mut self, name: &str, found: &[f64], before: Before) -> Result<()> {
        self.compare_some(name, found, before, |_| true)
    }

    /// Compares an array that holds a number for each parameter, those without a gradient excepted.
    ///
    /// # Errors
    /// As [`Ledger::compare`].
    pub(crate) fn compare_by_parameter(
        &mut self,
        mode: &str,
        array: &str,
        found: &[f64],
        before: Before,
    ) -> Result<()> {
        let case = self.case;
        let has_gradient = |i: usize| case.params.get(i).is_some_and(|(name, _)| !case.has_zero_gradient(mode, name));
        self.compare_some(&format!("{mode}.{array}"), found, before, has_gradient)
    }

    fn compare_some(
        &mut self,
        name: &str,
        found: &[f64],
        before: Before,
        counts: impl Fn(usize) -> bool,
    ) -> Result<()> {
        let (golden, dtype) = self.array(name)?;
        if golden.len() != found.len() {
            return Err(Error::data(format!("`{name}` has {} elements, computed {}", golden.len(), found.len())));
        }
        let noise = self.noise(name, golden.len())?;
        let largest = golden.iter().fold(0.0, |largest: f64, x| largest.max(x.abs()));
        let rounding = if dtype == Dtype::F32 { STORED_SINGLE } else { 0.0 };
        let family = name.split('/').next().unwrap_or(name).to_owned();
        let worst = self.worst.entry(family).or_default();
        for (i, (found, golden)) in found.iter().zip(&golden).enumerate().filter(|(i, _)| counts(*i)) {
            let tolerance = match (self.arithmetic, before.holds(i)) {
                (Arithmetic::Double, true) => (DOUBLE_BEFORE + rounding) * largest,
                (Arithmetic::Double, false) => (DOUBLE_AFTER + rounding) * largest,
                (Arithmetic::Single, _) => SINGLE_NOISE * noise[i] + SINGLE * largest,
            };
            let error = (found - golden).abs();
            let of_tolerance = match error / tolerance {
                _ if error == 0.0 => 0.0,
                ratio if ratio.is_nan() => f64::INFINITY,
                ratio => ratio,
            };
            if of_tolerance > worst.of_tolerance {
                let place = format!("{name}[{i}] is {found:e}, expects {golden:e}");
                *worst = Worst { of_tolerance, error: error / largest, place };
            }
        }
        self.compared.insert(name.to_owned());
        Ok(())
    }

    /// Leaves arrays that begin with `prefix`, for which there is nothing to compare.
    ///
    /// # Errors
    /// If there is none, or one was compared: then the prefix says too much.
    pub(crate) fn leave(&mut self, prefix: &str) -> Result<()> {
        let names = self.stored.names().into_iter().filter(|name| name.starts_with(prefix));
        let names: Vec<String> = names.filter(|name| !name.ends_with(NOISE)).map(str::to_owned).collect();
        if names.is_empty() || names.iter().any(|name| self.compared.contains(name)) {
            return Err(Error::data(format!("`{prefix}` begins no stored array, or one that is compared")));
        }
        self.compared.extend(names);
        Ok(())
    }

    /// The largest errors of all families if one is too large, or the arrays that nobody compared.
    ///
    /// # Errors
    /// If there is either.
    pub(crate) fn close(self) -> Result<()> {
        let compared = |name: &str| self.compared.contains(name.strip_suffix(NOISE).unwrap_or(name));
        let mut left: Vec<&str> = self.stored.names().into_iter().filter(|name| !compared(name)).collect();
        left.sort_unstable();
        if !left.is_empty() {
            return Err(Error::data(format!("stored arrays that no test compares: {}", left.join(", "))));
        }
        if self.worst.values().all(|worst| worst.of_tolerance <= 1.0) {
            return Ok(());
        }
        let mut report = "largest errors (of the tolerance; of the largest value; where):".to_owned();
        for (family, Worst { of_tolerance, error, place }) in &self.worst {
            write!(report, "\n  {family}: {of_tolerance:.2e}; {error:.2e}; {place}").unwrap_or_default();
        }
        Err(Error::data(report))
    }

    /// Values and element type of a stored array whose extents are those in the index.
    fn array(&self, name: &str) -> Result<(Vec<f64>, Dtype)> {
        let view = self.stored.tensor(name).map_err(|error| Error::data(format!("`{name}`: {error}")))?;
        let expected = self.case.tensors.get(name).map(|array| array.shape.as_slice());
        if expected.is_some_and(|shape| shape != view.shape()) {
            let shapes = (view.shape(), expected.unwrap_or_default());
            return Err(Error::data(format!("`{name}` has shape {:?}, the index says {:?}", shapes.0, shapes.1)));
        }
        Ok((doubles(&view)?, view.dtype()))
    }

    /// By element where that is stored, else the whole array's.
    fn noise(&self, name: &str, n: usize) -> Result<Vec<f64>> {
        match self.stored.tensor(&format!("{name}{NOISE}")) {
            Ok(view) => doubles(&view),
            Err(_) => {
                let array = self.case.tensors.get(name);
                let array = array.ok_or_else(|| Error::data(format!("the index does not describe `{name}`")))?;
                Ok(vec![array.f32_noise; n])
            }
        }
    }
}

fn doubles(view: &TensorView<'_>) -> Result<Vec<f64>> {
    let data = view.data();
    match view.dtype() {
        Dtype::F64 => Ok(data.as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect()),
        Dtype::F32 => Ok(data.as_chunks().0.iter().map(|bytes| f64::from(f32::from_le_bytes(*bytes))).collect()),
        Dtype::I64 => Ok(data.as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes) as f64).collect()),
        other => Err(Error::data(format!("element type {other:?} is not understood"))),
    }
}
