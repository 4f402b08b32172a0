//! What an exported file says about itself: texts by key, so that it can be used without the run that made it.

use std::collections::BTreeMap;

use mimus_core::{Error, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Version of Mimus that wrote the file; its presence says that Mimus did.
pub(crate) const VERSION: &str = "mimus.version";
/// A picture with a higher score is called anomalous.
pub(crate) const THRESHOLD: &str = "mimus.threshold";
/// Scores of the held-out normal images, as a JSON list.
pub(crate) const NORMAL: &str = "mimus.normal_scores";
/// Scores of a map that are drawn as nothing and as the full colour, as a JSON list.
pub(crate) const RANGE: &str = "mimus.map_range";
/// Whether the file resizes pictures itself: `inside` or `outside`.
pub(crate) const RESIZE: &str = "mimus.resize";

/// Texts by key.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Facts(pub(crate) BTreeMap<String, String>);

impl Facts {
    /// Adds a text.
    pub(crate) fn say(&mut self, key: &str, value: impl ToString) {
        self.0.insert(key.to_owned(), value.to_string());
    }

    /// Adds numbers, so that they come back bit for bit.
    pub(crate) fn write(&mut self, key: &str, value: &impl Serialize) -> Result<()> {
        let text = serde_json::to_string(value).map_err(|error| Error::config(error.to_string()).with("key", key))?;
        self.say(key, text);
        Ok(())
    }

    /// What [`Facts::write`] wrote; `None` if the file does not say it.
    pub(crate) fn read<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        let Some(text) = self.0.get(key) else { return Ok(None) };
        let value = serde_json::from_str(text)
            .map_err(|error| Error::config(format!("holds something else than expected: {error}")).with("key", key));
        value.map(Some)
    }
}
