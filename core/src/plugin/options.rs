//! Options as data: a component says what it understands, so that a bad key is refused before anything runs.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, did_you_mean};

/// The value of an option.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OptionValue {
    /// Yes or no.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number.
    Float(f64),
    /// Text.
    Text(String),
    /// Whole numbers.
    Ints(Vec<i64>),
    /// Texts.
    Texts(Vec<String>),
}

impl fmt::Display for OptionValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Float(value) => write!(f, "{value}"),
            Self::Text(value) => write!(f, "\"{value}\""),
            Self::Ints(value) => write!(f, "{value:?}"),
            Self::Texts(value) => write!(f, "{value:?}"),
        }
    }
}

/// Which values an option takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum OptionKind {
    /// `true` or `false`.
    Bool,
    /// A whole number within bounds, both included.
    Int {
        /// Least value.
        min: i64,
        /// Greatest value.
        max: i64,
    },
    /// A finite number within bounds, both included.
    Float {
        /// Least value.
        min: f64,
        /// Greatest value.
        max: f64,
    },
    /// Any text.
    Text,
    /// One of several words.
    Choice(Vec<String>),
    /// A list of whole numbers, each within bounds, both included.
    Ints {
        /// Least value.
        min: i64,
        /// Greatest value.
        max: i64,
    },
    /// A list of texts.
    Texts,
}

impl fmt::Display for OptionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool => write!(f, "true or false"),
            Self::Int { min, max } => write!(f, "a whole number from {min} to {max}"),
            Self::Float { min, max } => write!(f, "a number from {min} to {max}"),
            Self::Text => write!(f, "a text"),
            Self::Choice(words) => write!(f, "one of \"{}\"", words.join("\", \"")),
            Self::Ints { min, max } => write!(f, "a list of whole numbers from {min} to {max}"),
            Self::Texts => write!(f, "a list of texts"),
        }
    }
}

/// One option that a component understands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OptionSpec {
    /// The key in the TOML.
    pub name: String,
    /// Which values it takes.
    pub kind: OptionKind,
    /// The value where the user gives none; `None` makes the option required.
    pub default: Option<OptionValue>,
    /// One line on what it does.
    pub help: String,
}

impl OptionSpec {
    fn new(name: &str, kind: OptionKind, default: OptionValue, help: &str) -> Self {
        Self { name: name.to_owned(), kind, default: Some(default), help: help.to_owned() }
    }

    /// A yes-or-no option.
    pub fn bool(name: &str, default: bool, help: &str) -> Self {
        Self::new(name, OptionKind::Bool, OptionValue::Bool(default), help)
    }

    /// A whole number from `min` to `max`.
    pub fn int(name: &str, default: i64, [min, max]: [i64; 2], help: &str) -> Self {
        Self::new(name, OptionKind::Int { min, max }, OptionValue::Int(default), help)
    }

    /// A number from `min` to `max`.
    pub fn float(name: &str, default: f64, [min, max]: [f64; 2], help: &str) -> Self {
        Self::new(name, OptionKind::Float { min, max }, OptionValue::Float(default), help)
    }

    /// A text.
    pub fn text(name: &str, default: &str, help: &str) -> Self {
        Self::new(name, OptionKind::Text, OptionValue::Text(default.to_owned()), help)
    }

    /// One of `words`.
    pub fn choice(name: &str, default: &str, words: &[&str], help: &str) -> Self {
        let kind = OptionKind::Choice(words.iter().map(|word| (*word).to_owned()).collect());
        Self::new(name, kind, OptionValue::Text(default.to_owned()), help)
    }

    /// A list of whole numbers from `min` to `max`.
    pub fn ints(name: &str, default: &[i64], [min, max]: [i64; 2], help: &str) -> Self {
        Self::new(name, OptionKind::Ints { min, max }, OptionValue::Ints(default.to_vec()), help)
    }

    /// A list of texts.
    pub fn texts(name: &str, default: &[&str], help: &str) -> Self {
        let default = default.iter().map(|text| (*text).to_owned()).collect();
        Self::new(name, OptionKind::Texts, OptionValue::Texts(default), help)
    }

    /// `value` in the option's own type (a whole number where a number is asked becomes one), or why it does not fit.
    fn accept(&self, value: OptionValue) -> Result<OptionValue> {
        let value = match (&self.kind, value) {
            (OptionKind::Float { .. }, OptionValue::Int(n)) => OptionValue::Float(n as f64),
            (OptionKind::Texts, OptionValue::Ints(list)) if list.is_empty() => OptionValue::Texts(Vec::new()),
            (_, value) => value,
        };
        let fits = match (&self.kind, &value) {
            (OptionKind::Bool, OptionValue::Bool(_))
            | (OptionKind::Text, OptionValue::Text(_))
            | (OptionKind::Texts, OptionValue::Texts(_)) => true,
            (OptionKind::Int { min, max }, OptionValue::Int(n)) => (min..=max).contains(&n),
            (OptionKind::Float { min, max }, OptionValue::Float(x)) => (min..=max).contains(&x),
            (OptionKind::Choice(words), OptionValue::Text(word)) => words.contains(word),
            (OptionKind::Ints { min, max }, OptionValue::Ints(list)) => list.iter().all(|n| (min..=max).contains(&n)),
            _ => false,
        };
        if fits {
            return Ok(value);
        }
        let mut error = Error::config(format!("is {value}, expects {}", self.kind)).with("key", &self.name);
        if let (OptionKind::Choice(words), OptionValue::Text(word)) = (&self.kind, &value)
            && let Some(near) = did_you_mean(word, words.iter().map(String::as_str))
        {
            error = error.hint(format!("did you mean \"{near}\"?"));
        }
        Err(error)
    }
}

/// Resolved options: every option that the component described has a value of the right type.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Options(BTreeMap<String, OptionValue>);

impl Options {
    /// Checks what the user gave against what the component understands and fills in the defaults.
    ///
    /// # Errors
    /// An unknown key (with a suggestion), a value of another type or outside its range, a required key that is missing.
    pub fn resolve(specs: &[OptionSpec], mut given: BTreeMap<String, OptionValue>) -> Result<Self> {
        let mut resolved = BTreeMap::new();
        for spec in specs {
            let value = match given.remove(&spec.name) {
                Some(value) => spec.accept(value)?,
                None => spec.default.clone().ok_or_else(|| {
                    Error::config(format!("is missing, expects {}", spec.kind)).with("key", &spec.name).hint(&spec.help)
                })?,
            };
            resolved.insert(spec.name.clone(), value);
        }
        match given.into_iter().next() {
            None => Ok(Self(resolved)),
            Some((key, _)) => Err(unknown_key(&key, specs)),
        }
    }

    /// All options by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &OptionValue)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// A yes-or-no option.
    ///
    /// # Errors
    /// If the component did not describe such an option.
    pub fn bool(&self, name: &str) -> Result<bool> {
        match self.0.get(name) {
            Some(OptionValue::Bool(value)) => Ok(*value),
            _ => Err(undescribed(name, "yes-or-no")),
        }
    }

    /// A whole number that is not negative.
    ///
    /// # Errors
    /// If the component did not describe such an option.
    pub fn usize(&self, name: &str) -> Result<usize> {
        match self.0.get(name) {
            Some(OptionValue::Int(value)) => {
                usize::try_from(*value).map_err(|_| undescribed(name, "non-negative integer"))
            }
            _ => Err(undescribed(name, "integer")),
        }
    }

    /// A number.
    ///
    /// # Errors
    /// If the component did not describe such an option.
    pub fn float(&self, name: &str) -> Result<f64> {
        match self.0.get(name) {
            Some(OptionValue::Float(value)) => Ok(*value),
            _ => Err(undescribed(name, "number")),
        }
    }

    /// A text, or one of several words.
    ///
    /// # Errors
    /// If the component did not describe such an option.
    pub fn text(&self, name: &str) -> Result<&str> {
        match self.0.get(name) {
            Some(OptionValue::Text(value)) => Ok(value),
            _ => Err(undescribed(name, "text")),
        }
    }

    /// A list of whole numbers that are not negative.
    ///
    /// # Errors
    /// If the component did not describe such an option.
    pub fn usizes(&self, name: &str) -> Result<Vec<usize>> {
        let Some(OptionValue::Ints(values)) = self.0.get(name) else {
            return Err(undescribed(name, "list of integers"));
        };
        let convert = |n: &i64| usize::try_from(*n).map_err(|_| undescribed(name, "list of non-negative integers"));
        values.iter().map(convert).collect()
    }

    /// A list of at least one whole number that is not negative: the channels of a network's levels.
    ///
    /// # Errors
    /// If the list is empty, or the component did not describe such an option.
    pub fn levels(&self, name: &str) -> Result<Vec<usize>> {
        let values = self.usizes(name)?;
        if values.is_empty() {
            return Err(Error::config("is empty, expects at least one number").with("key", name));
        }
        Ok(values)
    }

    /// A list of texts.
    ///
    /// # Errors
    /// If the component did not describe such an option.
    pub fn texts(&self, name: &str) -> Result<&[String]> {
        match self.0.get(name) {
            Some(OptionValue::Texts(values)) => Ok(values),
            _ => Err(undescribed(name, "list of texts")),
        }
    }
}

fn unknown_key(key: &str, specs: &[OptionSpec]) -> Error {
    let names = || specs.iter().map(|spec| spec.name.as_str());
    let error = Error::config("is unknown").with("key", key);
    match did_you_mean(key, names()) {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None if specs.is_empty() => error.hint("this component has no options: remove the key"),
        None => error.hint(format!("known keys: {}", names().collect::<Vec<_>>().join(", "))),
    }
}

fn undescribed(name: &str, what: &str) -> Error {
    Error::plugin(format!("reads {what} option `{name}`, which it does not describe"))
        .hint("this is a bug of the plugin: its `info` must list every option that it reads")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn specs() -> Vec<OptionSpec> {
        vec![
            OptionSpec::int("depth", 4, [1, 8], "number of stages"),
            OptionSpec::float("threshold", 0.0025, [0.0, 1.0], "shrinkage"),
            OptionSpec::choice("addressing", "dot", &["dot", "cosine"], "similarity"),
        ]
    }

    fn resolve(key: &str, value: OptionValue) -> Result<Options> {
        Options::resolve(&specs(), BTreeMap::from([(key.to_owned(), value)]))
    }

    #[test]
    fn defaults_fill_what_is_not_given_and_whole_numbers_become_numbers() {
        let options = resolve("threshold", OptionValue::Int(1)).unwrap();
        assert_eq!(options.usize("depth").unwrap(), 4);
        assert_eq!(options.float("threshold").unwrap(), 1.0);
    }

    #[test]
    fn a_misspelt_key_or_word_is_refused_with_a_suggestion() {
        let error = resolve("treshold", OptionValue::Float(0.1)).unwrap_err();
        assert_eq!(error.to_string(), "key `treshold`: is unknown\n  hint: did you mean `threshold`?");
        let error = resolve("addressing", OptionValue::Text("cosin".into())).unwrap_err();
        assert_eq!(error.next_step(), Some("did you mean \"cosine\"?"));
    }

    #[test]
    fn a_value_outside_its_range_is_refused_with_the_range() {
        let empty = Options(BTreeMap::from([("widths".to_owned(), OptionValue::Ints(Vec::new()))]));
        let error = empty.levels("widths").unwrap_err();
        assert_eq!(error.one_line(), "key `widths`: is empty, expects at least one number");
        let error = resolve("depth", OptionValue::Int(9)).unwrap_err();
        assert_eq!(error.one_line(), "key `depth`: is 9, expects a whole number from 1 to 8");
        assert!(resolve("threshold", OptionValue::Float(f64::NAN)).is_err());
    }
}
