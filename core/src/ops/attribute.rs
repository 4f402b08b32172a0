//! Attributes as data: what the text form, the wire and the operator table share.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Op;
use crate::error::{Error, Result, did_you_mean};
use crate::tensor::{Dtype, HostTensor};

/// The value of an attribute in a form that prints, parses and crosses the boundary.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Attribute {
    /// A whole number that is not negative.
    Int(u64),
    /// A number.
    Float(f64),
    /// Yes or no.
    Bool(bool),
    /// Text.
    Text(String),
    /// Whole numbers that are not negative.
    Ints(Vec<u64>),
    /// A tensor.
    Tensor(HostTensor),
}

/// Attributes by name, in the operator's order.
pub type Attributes = Vec<(String, Attribute)>;

/// Resampling rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// The source element whose cell holds the target's corner, as PyTorch's `nearest`.
    Nearest,
    /// Linear in every spatial axis.
    Linear,
}

/// A Rust type that can be an operator's attribute.
pub(super) trait Field: Sized {
    const EXPECTED: &'static str;
    fn to_attribute(&self) -> Attribute;
    fn from_attribute(attribute: Attribute) -> Option<Self>;
}

macro_rules! field {
    ($ty:ty, $expected:literal, |$this:ident| $to:expr, $($pattern:pat => $from:expr),+) => {
        impl Field for $ty {
            const EXPECTED: &'static str = $expected;
            fn to_attribute(&self) -> Attribute {
                let $this = self;
                $to
            }
            fn from_attribute(attribute: Attribute) -> Option<Self> {
                match attribute {
                    $($pattern => $from,)+
                    _ => None,
                }
            }
        }
    };
}

field!(usize, "a whole number", |n| Attribute::Int(*n as u64), Attribute::Int(n) => usize::try_from(n).ok());
field!(f64, "a number", |x| Attribute::Float(*x), Attribute::Float(x) => Some(x));
field!(bool, "true or false", |b| Attribute::Bool(*b), Attribute::Bool(b) => Some(b));
field!(String, "a text", |s| Attribute::Text(s.clone()), Attribute::Text(s) => Some(s));
field!(HostTensor, "a tensor", |t| Attribute::Tensor(t.clone()), Attribute::Tensor(t) => Some(t));
field!(Vec<usize>, "a list of whole numbers", |v| Attribute::Ints(v.iter().map(|n| *n as u64).collect()),
    Attribute::Ints(v) => v.into_iter().map(|n| usize::try_from(n).ok()).collect());
field!(Dtype, "f32 or i64", |d| Attribute::Text(d.name().to_owned()), Attribute::Text(s) => match s.as_str() {
    "f32" => Some(Dtype::F32),
    "i64" => Some(Dtype::I64),
    _ => None,
});
field!(Mode, "nearest or linear", |m| Attribute::Text(match m { Mode::Nearest => "nearest", Mode::Linear => "linear" }.to_owned()),
Attribute::Text(s) => match s.as_str() {
    "nearest" => Some(Mode::Nearest),
    "linear" => Some(Mode::Linear),
    _ => None,
});

/// Attributes on their way into an operator: each is taken once, and none may be left.
pub(super) struct Fields<'a> {
    op: &'a str,
    left: Attributes,
}

impl<'a> Fields<'a> {
    pub(super) fn new(op: &'a str, attributes: Attributes) -> Result<Self> {
        for (i, (name, _)) in attributes.iter().enumerate() {
            if attributes[..i].iter().any(|(earlier, _)| earlier == name) {
                return Err(Error::graph(format!("attribute `{name}` is given twice")).with("op", op));
            }
        }
        Ok(Self { op, left: attributes })
    }

    pub(super) fn take<F: Field>(&mut self, name: &str) -> Result<F> {
        let position = self.left.iter().position(|(key, _)| key == name);
        let position = position.ok_or_else(|| self.error(format!("attribute `{name}` is missing")))?;
        let (_, value) = self.left.remove(position);
        F::from_attribute(value).ok_or_else(|| self.error(format!("attribute `{name}` must be {}", F::EXPECTED)))
    }

    pub(super) fn finish(self) -> Result<()> {
        match self.left.first() {
            None => Ok(()),
            Some((name, _)) => Err(self.error(format!("attribute `{name}` is unknown"))),
        }
    }

    fn error(&self, message: String) -> Error {
        Error::graph(message).with("op", self.op)
    }
}

pub(super) fn unknown_operator(name: &str, known: &[&str]) -> Error {
    let error = Error::graph(format!("there is no operator `{name}` in mimus-core {}", env!("CARGO_PKG_VERSION")));
    match did_you_mean(name, known.iter().copied()) {
        Some(near) => {
            error.hint(format!("did you mean `{near}`? If not, the graph was made by another version of Mimus"))
        }
        None => error.hint("the graph was probably made by a newer version of Mimus: rebuild it, or update"),
    }
}

/// On the wire an operator is its name and its attributes by name, so that an unknown one can be named in the error.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireOp {
    op: String,
    attributes: Attributes,
}

impl Serialize for Op {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        WireOp { op: self.name().to_owned(), attributes: self.attributes() }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Op {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wire = WireOp::deserialize(deserializer)?;
        Self::from_attributes(&wire.op, wire.attributes).map_err(|error| serde::de::Error::custom(error.one_line()))
    }
}
