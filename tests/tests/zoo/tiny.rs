//! The smallest sizes that plugins work with, from the `tiny.toml` in their folders.

use std::collections::BTreeMap;
use std::path::Path;

use mimus_core::abi::Registry;
use mimus_core::plugin::{Kind, ModelRequest, OptionValue, Options};
use mimus_core::{Context, Error, Result};
use mimus_tests::repository;
use serde::Deserialize;

/// Samples of a batch: batch norm needs two.
const BATCH: usize = 2;

/// Options as a file gives them.
type Given = BTreeMap<String, toml::Value>;

/// A component's sizes: a file's top level is that of the folder's own, a section that of a further component.
#[derive(Clone, Default, Deserialize)]
struct Tiny {
    height: Option<usize>,
    width: Option<usize>,
    #[serde(default)]
    options: Given,
    /// Options of a student of other widths, for a test of its own.
    #[serde(default)]
    student: Given,
    /// Largest relative differences of the first and of later losses between backends, where rounding decides more than usual.
    tolerances: Option<[f64; 2]>,
    #[serde(flatten)]
    others: BTreeMap<String, Tiny>,
}

/// What a detector is asked for.
pub(crate) struct Detector {
    pub(crate) request: ModelRequest,
    /// As a student of other widths, if the file gives any.
    pub(crate) student: Option<ModelRequest>,
    pub(crate) tolerances: Option<[f64; 2]>,
}

/// All detectors that the registry has, by name.
///
/// # Errors
/// If a file cannot be read or says something that the component does not understand, or a detector has none.
pub(crate) fn models(plugins: &Registry) -> Result<BTreeMap<String, Detector>> {
    let mut sizes = BTreeMap::new();
    let place = repository().join("plugins");
    let unread = |error: std::io::Error| Error::io("cannot be read", &place, &error);
    for entry in std::fs::read_dir(&place).map_err(unread)? {
        let folder = entry.map_err(unread)?.file_name().to_string_lossy().into_owned();
        if let Some(name) = folder.strip_prefix("model-") {
            let tiny = read(&place.join(&folder).join("tiny.toml"))?;
            sizes.extend(tiny.others.clone());
            sizes.insert(name.to_owned(), tiny);
        }
    }
    let listed = plugins.list().into_iter().filter(|line| line.winner.info.kind == Kind::Model);
    let names = listed.map(|line| line.winner.info.name.clone());
    names
        .map(|name| request(plugins, &sizes, &name).map(|request| (name.clone(), request)).context("model", &name))
        .collect()
}

fn request(plugins: &Registry, sizes: &BTreeMap<String, Tiny>, name: &str) -> Result<Detector> {
    let none = || Error::config("no tiny.toml says how small it can be").hint("see plugins/model-memae/tiny.toml");
    let tiny = sizes.get(name).ok_or_else(none)?;
    let (Some(height), Some(width)) = (tiny.height, tiny.width) else { return Err(none()) };
    let request = |given| {
        let options = resolve(plugins, Kind::Model, name, given)?;
        Ok(ModelRequest { options, batch: BATCH, height, width })
    };
    let own = tiny.options.iter().chain(&tiny.student).map(|(key, value)| (key.clone(), value.clone())).collect();
    let student = (!tiny.student.is_empty()).then(|| request(&own)).transpose()?;
    Ok(Detector { request: request(&tiny.options)?, student, tolerances: tiny.tolerances })
}

/// The options of all attention modules or heads that the registry has, by name: their defaults where they have no file.
///
/// # Errors
/// If a file cannot be read or says something that the component does not understand.
pub(crate) fn fragments(plugins: &Registry, kind: Kind) -> Result<BTreeMap<String, Options>> {
    let listed = plugins.list().into_iter().filter(|line| line.winner.info.kind == kind);
    let names: Vec<String> = listed.map(|line| line.winner.info.name.clone()).collect();
    let options = |name: String| {
        let path = repository().join(format!("plugins/{}-{name}/tiny.toml", kind.name()));
        let tiny = if path.exists() { read(&path)? } else { Tiny::default() };
        let options = resolve(plugins, kind, &name, &tiny.options).context(kind.name(), &name)?;
        Ok((name, options))
    };
    names.into_iter().map(options).collect()
}

fn read(path: &Path) -> Result<Tiny> {
    let text = std::fs::read_to_string(path).map_err(|error| Error::io("cannot be read", path, &error))?;
    toml::from_str(&text).map_err(|error| Error::config(error.message()).with("file", path.display()))
}

fn resolve(plugins: &Registry, kind: Kind, name: &str, given: &Given) -> Result<Options> {
    let given = given.iter().map(|(key, value)| Ok((key.clone(), option(value).context("key", key)?)));
    Options::resolve(&plugins.find(kind, name)?.info.options, given.collect::<Result<_>>()?)
}

fn option(value: &toml::Value) -> Result<OptionValue> {
    let list = |list: &Vec<toml::Value>| list.iter().map(toml::Value::as_integer).collect::<Option<Vec<_>>>();
    Ok(match value {
        toml::Value::Boolean(value) => OptionValue::Bool(*value),
        toml::Value::Integer(value) => OptionValue::Int(*value),
        toml::Value::Float(value) => OptionValue::Float(*value),
        toml::Value::String(value) => OptionValue::Text(value.clone()),
        toml::Value::Array(values) => {
            OptionValue::Ints(list(values).ok_or_else(|| Error::config("is no list of whole numbers"))?)
        }
        _ => return Err(Error::config("is no value of an option")),
    })
}
