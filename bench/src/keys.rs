//! Keys that are not the run's own: those that `--set` gives, and those of plugins, as the options that they describe.

use std::collections::BTreeMap;

use mimus_core::plugin::{OptionSpec, OptionValue, Options};
use mimus_core::{Context, Error, Result};

/// Keys of a plugin's own.
pub(crate) type Table = BTreeMap<String, toml::Value>;

/// A plugin's keys from `--set` arguments alone.
pub(crate) fn table(sets: &[String]) -> Result<Table> {
    let mut table = toml::Table::new();
    for set in sets {
        apply(&mut table, set).context("--set", set)?;
    }
    Ok(table.into_iter().collect())
}

/// `a.b=value`; the value is TOML, or a text where it is not.
pub(crate) fn apply(table: &mut toml::Table, set: &str) -> Result<()> {
    let (key, value) =
        set.split_once('=').ok_or_else(|| Error::config("has no `=`").hint("write it as train.epochs=10"))?;
    let parsed = toml::from_str::<toml::Table>(&format!("value = {value}")).ok();
    let value =
        parsed.and_then(|mut table| table.remove("value")).unwrap_or_else(|| toml::Value::String(value.to_owned()));
    let mut path: Vec<&str> = key.trim().split('.').collect();
    let last = path.pop().unwrap_or_default();
    let mut place = table;
    for part in path {
        let entry = place.entry(part).or_insert_with(|| toml::Value::Table(toml::Table::new()));
        place = entry.as_table_mut().ok_or_else(|| Error::config(format!("`{part}` is no table")))?;
    }
    place.insert(last.to_owned(), value);
    Ok(())
}

/// A plugin's keys, checked against what it describes.
pub(crate) fn options(specs: &[OptionSpec], table: &Table) -> Result<Options> {
    let given = table.iter().map(|(key, value)| Ok((key.clone(), option(value).context("key", key)?)));
    Options::resolve(specs, given.collect::<Result<_>>()?)
}

fn option(value: &toml::Value) -> Result<OptionValue> {
    let wrong = || Error::config(format!("a plugin's option cannot be {value}"));
    Ok(match value {
        toml::Value::Boolean(b) => OptionValue::Bool(*b),
        toml::Value::Integer(n) => OptionValue::Int(*n),
        toml::Value::Float(x) => OptionValue::Float(*x),
        toml::Value::String(s) => OptionValue::Text(s.clone()),
        toml::Value::Array(list) if list.iter().all(toml::Value::is_integer) => {
            OptionValue::Ints(list.iter().filter_map(toml::Value::as_integer).collect())
        }
        toml::Value::Array(list) => {
            let texts = list.iter().map(|item| item.as_str().map(str::to_owned).ok_or_else(wrong));
            OptionValue::Texts(texts.collect::<Result<_>>()?)
        }
        _ => return Err(wrong()),
    })
}
