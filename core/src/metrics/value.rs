//! The value of a metric, which may not exist: a detector cannot be judged on a class that the data lack.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A metric's value, or why there is none. Never not-a-number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Metric {
    /// The value.
    Value(f64),
    /// Why it does not exist: `no anomalous image`.
    Undefined(String),
}

impl Metric {
    /// The value, if there is one.
    pub fn value(&self) -> Option<f64> {
        match self {
            Self::Value(value) => Some(*value),
            Self::Undefined(_) => None,
        }
    }

    /// Why there is no value, if there is none.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Value(_) => None,
            Self::Undefined(reason) => Some(reason),
        }
    }
}

impl fmt::Display for Metric {
    /// The number, as `f64` would print it with the same precision, or `undefined: reason`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(value) => value.fmt(f),
            Self::Undefined(reason) => write!(f, "undefined: {reason}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn displays_the_number_or_the_reason() {
        assert_eq!(format!("{:.2}", Metric::Value(0.987)), "0.99");
        assert_eq!(Metric::Undefined("no anomalous image".into()).to_string(), "undefined: no anomalous image");
    }

    #[test]
    fn survives_json() {
        for metric in [Metric::Value(0.1 + 0.2), Metric::Undefined("no normal frame".into())] {
            let text = serde_json::to_string(&metric).unwrap();
            assert_eq!(serde_json::from_str::<Metric>(&text).unwrap(), metric, "{text}");
        }
    }
}
