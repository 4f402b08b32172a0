//! A folder of golden data: its index, and the parameters and inputs that its generator gives.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{env, fs};

use mimus_core::random::Stream;
use mimus_core::train::OptimizerSpec;
use mimus_core::{Context, Error, HostTensor, Result, ValueType};
use serde::Deserialize;

/// A name and its extents.
pub(crate) type Shaped = (String, Vec<usize>);

/// The case that holds values of the generator alone.
const GENERATOR: &str = "generator";

/// Tensors by name.
pub(crate) type Tensors = BTreeMap<String, HostTensor>;

/// A set of golden data.
pub(crate) struct Set {
    folder: PathBuf,
    seed: String,
    generator: Generator,
    /// Cases of the classes that the tests know, by name.
    pub(crate) cases: BTreeMap<String, Case>,
}

/// What the index says of one case.
#[derive(Deserialize)]
pub(crate) struct Case {
    file: String,
    constructor: String,
    inputs: Vec<Input>,
    #[serde(default)]
    loss: String,
    optimizer: Option<Optimizer>,
    /// Learned tensors, in the order of the arrays that hold a number for each.
    #[serde(default)]
    pub(crate) params: Vec<Shaped>,
    /// Running statistics, in the order of the arrays that hold a number for each.
    #[serde(default)]
    pub(crate) bn_buffers: Vec<String>,
    pub(crate) state_dict: Vec<Shaped>,
    /// Learned tensors that the loss does not reach; their gradients are stored as 0.
    #[serde(default)]
    pub(crate) params_without_gradient: Vec<String>,
    #[serde(default)]
    params_with_zero_gradient: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    param_overrides: Vec<Override>,
    /// What is known of each stored array.
    pub(crate) tensors: BTreeMap<String, Array>,
}

/// A rule that goes before the generator's own.
#[derive(Deserialize)]
struct Override {
    name_ends_with: String,
    rule: String,
}

#[derive(Deserialize)]
struct Input {
    name: String,
    shape: Vec<usize>,
    lo: f64,
    hi: f64,
}

#[derive(Deserialize)]
struct Optimizer {
    kind: String,
    lr: f64,
    betas: [f64; 2],
    eps: f64,
    weight_decay: f64,
}

/// What the index says of one stored array.
#[derive(Deserialize)]
pub(crate) struct Array {
    /// Extents.
    pub(crate) shape: Vec<usize>,
    /// Largest deviation of the official code's own runs in single precision.
    #[serde(default)]
    pub(crate) f32_noise: f64,
}

/// The entry of the generator's own file.
#[derive(Deserialize)]
struct Generator {
    file: String,
    inputs: Vec<Input>,
}

#[derive(Deserialize)]
struct Index {
    format: u64,
    seed: String,
    models: BTreeMap<String, serde_json::Value>,
}

impl Set {
    /// The set in the folder that `MIMUS_GOLDEN` names, else `tests/golden`; of its cases those whose class `knows` accepts.
    ///
    /// # Errors
    /// If the index cannot be read, or there is no such case.
    pub(crate) fn open(knows: impl Fn(&str) -> bool) -> Result<Self> {
        let default = concat!(env!("CARGO_MANIFEST_DIR"), "/golden");
        let folder = env::var_os("MIMUS_GOLDEN").map_or_else(|| PathBuf::from(default), PathBuf::from);
        let path = folder.join("index.json");
        let index: Index = parse(&read(&path)?).context("file", path.display())?;
        if index.format != 1 {
            return Err(Error::data(format!("format is {}, expects 1", index.format)).with("file", path.display()));
        }
        let entry = index.models.get(GENERATOR).map(|value| value.to_string()).unwrap_or_default();
        let generator = parse(entry.as_bytes()).context("case", GENERATOR)?;
        let mut cases = BTreeMap::new();
        for (name, value) in index.models {
            let constructor = value.get("constructor").and_then(serde_json::Value::as_str).unwrap_or_default();
            if knows(class(constructor)) {
                let case: Case = parse(value.to_string().as_bytes()).context("case", &name)?;
                cases.insert(name, case);
            }
        }
        if cases.is_empty() {
            return Err(Error::data("no case is of a known class").with("file", path.display()));
        }
        Ok(Self { folder, seed: index.seed, generator, cases })
    }

    /// The bytes of a case's stored arrays.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub(crate) fn stored(&self, case: &Case) -> Result<Vec<u8>> {
        read(&self.folder.join(&case.file))
    }

    /// The bytes of the file with values of the generator alone.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub(crate) fn generator(&self) -> Result<Vec<u8>> {
        read(&self.folder.join(&self.generator.file))
    }

    /// Parameters and buffers of a case.
    ///
    /// # Errors
    /// If the case changes the generator's rules in an unknown way.
    pub(crate) fn state(&self, case: &Case) -> Result<Tensors> {
        let value = |(name, shape): &Shaped| {
            let special = case.param_overrides.iter().find(|special| name.ends_with(&special.name_ends_with));
            let value = match special {
                Some(special) => self.overridden(&special.rule, name, shape)?,
                None => self.parameter(name, shape)?,
            };
            Ok((name.clone(), value))
        };
        case.state_dict.iter().map(value).collect()
    }

    /// The inputs of a case.
    ///
    /// # Errors
    /// None for a shape that fits into memory.
    pub(crate) fn inputs(&self, case: &Case) -> Result<Tensors> {
        case.inputs.iter().map(|input| Ok((input.name.clone(), self.input(input)?))).collect()
    }

    /// What the generator makes of an entry `param/<name>` or `input/<name>` of its own file.
    ///
    /// # Errors
    /// If the name is of neither form, or the index does not list the input.
    pub(crate) fn generated(&self, name: &str, shape: &[usize]) -> Result<HostTensor> {
        match name.split_once('/') {
            Some(("param", name)) => self.parameter(name, shape),
            Some(("input", name)) => {
                let input = self.generator.inputs.iter().find(|input| input.name == name);
                self.input(input.ok_or_else(|| Error::data(format!("the index has no input `{name}`")))?)
            }
            _ => Err(Error::data(format!("`{name}` is neither a parameter nor an input"))),
        }
    }

    fn overridden(&self, rule: &str, name: &str, shape: &[usize]) -> Result<HostTensor> {
        let mut stream = Stream::keyed(&format!("{}/{name}", self.seed));
        match rule {
            "0.5 + u" => filled(shape, || 0.5 + stream.uniform()),
            "(2u - 1) * 0.1" => filled(shape, || (2.0 * stream.uniform() - 1.0) * 0.1),
            _ => Err(Error::data(format!("the rule `{rule}` for `{name}` is not understood"))),
        }
    }

    /// The generator's rules for an entry of a `state_dict`; the first that fits applies.
    fn parameter(&self, name: &str, shape: &[usize]) -> Result<HostTensor> {
        if name.ends_with("num_batches_tracked") {
            return Ok(HostTensor::full(&ValueType::i64(shape), 0.0));
        }
        let mut stream = Stream::keyed(&format!("{}/{name}", self.seed));
        let mut u = move || stream.uniform();
        if name.ends_with("running_var") {
            return filled(shape, || 0.5 + u());
        }
        if name.ends_with("running_mean") {
            return filled(shape, || (2.0 * u() - 1.0) * 0.1);
        }
        match shape {
            [_] if name.ends_with("weight") => filled(shape, || 0.5 + u()),
            [_] => filled(shape, || (2.0 * u() - 1.0) * 0.1),
            _ => {
                let bound = (3.0 / shape.iter().skip(1).product::<usize>() as f64).sqrt();
                filled(shape, || (2.0 * u() - 1.0) * bound)
            }
        }
    }

    fn input(&self, input: &Input) -> Result<HostTensor> {
        let mut stream = Stream::keyed(&format!("{}/input:{}", self.seed, input.name));
        let mut draw = || stream.range(input.lo, input.hi);
        match input.name.as_str() {
            "mask" => filled(&input.shape, || f64::from(u8::from(draw() > 0.7))),
            _ => filled(&input.shape, draw),
        }
    }
}

impl Case {
    /// The class that was constructed.
    pub(crate) fn class(&self) -> &str {
        class(&self.constructor)
    }

    /// The keyword argument `name` of the constructor.
    pub(crate) fn argument(&self, name: &str) -> Option<&str> {
        let (_, rest) = self.constructor.split_once('(')?;
        let (arguments, _) = rest.rsplit_once(')')?;
        let mut pairs = arguments.split(", ").filter_map(|argument| argument.split_once('='));
        pairs.find(|(key, _)| *key == name).map(|(_, value)| value.trim_matches('\''))
    }

    /// The number before `* term` in the description of the loss.
    ///
    /// # Errors
    /// If there is none.
    pub(crate) fn weight_of(&self, term: &str) -> Result<f64> {
        let before = self.loss.split(&format!(" * {term}")).next().unwrap_or_default();
        let number = before.rsplit(' ').next().unwrap_or_default();
        number.parse().map_err(|_| Error::data(format!("no weight of {term} in `{}`", self.loss)))
    }

    /// Whether the interpreter takes minutes for it: it has more than 8 million parameters.
    pub(crate) fn is_wide(&self) -> bool {
        let elements = |(_, shape): &Shaped| shape.iter().product::<usize>();
        self.state_dict.iter().map(elements).sum::<usize>() > 8_000_000
    }

    /// The extents of an entry of the `state_dict`.
    ///
    /// # Errors
    /// If there is none of that name.
    pub(crate) fn shape_of(&self, name: &str) -> Result<&[usize]> {
        find(&self.state_dict, name).ok_or_else(|| Error::data(format!("the `state_dict` has no `{name}`")))
    }

    /// Optimiser and learning rate.
    ///
    /// # Errors
    /// If the case has none, or one of another kind.
    pub(crate) fn optimizer(&self) -> Result<(OptimizerSpec, f64)> {
        match &self.optimizer {
            Some(Optimizer { kind, lr, betas, eps, weight_decay }) if kind == "Adam" => {
                Ok((OptimizerSpec::Adam { betas: *betas, eps: *eps, weight_decay: *weight_decay }, *lr))
            }
            Some(other) => Err(Error::data(format!("optimiser `{}` is not understood", other.kind))),
            None => Err(Error::data("there is no optimiser")),
        }
    }

    /// Whether the exact gradient of a parameter is 0 in `mode`, so that what a program computes there is rounding noise.
    pub(crate) fn has_zero_gradient(&self, mode: &str, name: &str) -> bool {
        self.params_with_zero_gradient.get(mode).is_some_and(|names| names.iter().any(|known| known == name))
    }
}

/// What stands before the arguments.
fn class(constructor: &str) -> &str {
    constructor.split('(').next().unwrap_or_default()
}

fn find<'a>(list: &'a [Shaped], name: &str) -> Option<&'a [usize]> {
    list.iter().find(|(known, _)| known == name).map(|(_, shape)| shape.as_slice())
}

/// Values are drawn in double precision and rounded once.
fn filled(shape: &[usize], mut draw: impl FnMut() -> f64) -> Result<HostTensor> {
    HostTensor::f32(shape, (0..shape.iter().product()).map(|_| draw() as f32).collect())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|error| Error::io("cannot be read", path, &error))
}

fn parse<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T> {
    serde_json::from_slice(json).map_err(|error| Error::data(error.to_string()))
}
