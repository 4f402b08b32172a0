//! The one error type of the contract: what failed, where, and what to do about it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What sort of thing went wrong. The command maps each kind to an exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A key, value or command line that the user wrote.
    Config,
    /// A plugin that cannot be found, loaded or trusted, or that broke its contract.
    Plugin,
    /// A plugin's code panicked; the panic was contained.
    Panicked,
    /// A data set, image, mask or label file.
    Data,
    /// A compute backend, its device or its native library.
    Backend,
    /// A graph that is not well formed: shapes, types, names.
    Graph,
    /// Not-a-number or infinity where a finite number is needed.
    Numeric,
    /// Reading or writing our own files.
    Io,
    /// The user asked to stop.
    Interrupted,
}

/// An error for people: one sentence, its place as ordered context, and the next step.
///
/// Displayed as `context: message`, followed by a line `hint: ...` when there is one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    context: Vec<(String, String)>,
    hint: Option<String>,
}

impl Error {
    /// An error of `kind` that says `message` (lower case, no full stop: what was found, what was expected).
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), context: Vec::new(), hint: None }
    }

    /// Shorthand for a [`ErrorKind::Config`] error.
    pub fn config(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Config, message)
    }

    /// Shorthand for a [`ErrorKind::Plugin`] error.
    pub fn plugin(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Plugin, message)
    }

    /// Shorthand for a [`ErrorKind::Data`] error.
    pub fn data(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Data, message)
    }

    /// Shorthand for a [`ErrorKind::Backend`] error.
    pub fn backend(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Backend, message)
    }

    /// Shorthand for a [`ErrorKind::Graph`] error.
    pub fn graph(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Graph, message)
    }

    /// Shorthand for a [`ErrorKind::Io`] error about `path`.
    pub fn io(what: &str, path: &std::path::Path, source: &std::io::Error) -> Self {
        Self::new(ErrorKind::Io, format!("{what}: {source}")).with("file", path.display())
    }

    /// Adds where it happened (`plugin`, `component`, `layer`, `op`, `file`, `key`, ...); outermost last.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl fmt::Display) -> Self {
        self.context.push((name.to_owned(), value.to_string()));
        self
    }

    /// Sets what the user can do next, unless a hint nearer to the cause is there already.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint.get_or_insert_with(|| hint.into());
        self
    }

    /// Changes the kind, for a caller that knows better what the failure means.
    #[must_use]
    pub fn into_kind(mut self, kind: ErrorKind) -> Self {
        self.kind = kind;
        self
    }

    /// What sort of thing went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The sentence alone, without context and hint.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The place, innermost first.
    pub fn context(&self) -> &[(String, String)] {
        &self.context
    }

    /// The value of one piece of context.
    pub fn context_value(&self, name: &str) -> Option<&str> {
        self.context.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The next step, if one is known.
    pub fn next_step(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// The error on one line, without the hint.
    pub fn one_line(&self) -> String {
        let mut text = String::new();
        for (name, value) in self.context.iter().rev() {
            text.push_str(&format!("{name} `{value}`: "));
        }
        text + &self.message
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.one_line())?;
        match &self.hint {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

/// Adds context to the error of a [`Result`].
pub trait Context<T> {
    /// See [`Error::with`].
    fn context(self, name: &str, value: impl fmt::Display) -> Result<T>;
}

impl<T> Context<T> for Result<T> {
    fn context(self, name: &str, value: impl fmt::Display) -> Result<T> {
        self.map_err(|error| error.with(name, value))
    }
}

/// The known name nearest to `name`, if one is near enough to be a likely misspelling.
pub fn did_you_mean<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len().max(name.len()) / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// The innermost reason of an error: where an outer one says no more than that something failed, as for a library that the system
/// cannot open.
pub fn innermost(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), innermost)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn displays_place_sentence_and_next_step() {
        let error = Error::data("2 images share the name 000.png")
            .with("file", "a/000.png")
            .with("dataset", "mvtec")
            .hint("rename one")
            .hint("ignored: farther from the cause");
        assert_eq!(
            error.to_string(),
            "dataset `mvtec`: file `a/000.png`: 2 images share the name 000.png\n  hint: rename one"
        );
    }

    #[test]
    fn suggests_only_near_names() {
        assert_eq!(did_you_mean("epohcs", ["epochs", "batch"]), Some("epochs"));
        assert_eq!(did_you_mean("colour", ["epochs", "batch"]), None);
    }
}
