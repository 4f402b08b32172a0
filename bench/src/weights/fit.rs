//! Compares the tensors of a file with a model's variables, name by name.

use std::collections::{BTreeMap, BTreeSet};

use mimus_core::plugin::ModelSpec;
use mimus_core::{Error, Result, ValueType};

use super::Origin;
use super::source::{Entry, Source};
use crate::store::Tensors;
use crate::table::Table;

/// What wrappers of PyTorch put before every name: `DataParallel`, `torch.compile`.
const WRAPPERS: [&str; 2] = ["module.", "_orig_mod."];

/// What the user says of the file; nothing for what is the only possibility.
#[derive(Clone, Debug, Default)]
pub(crate) struct Choice {
    /// The dictionary that holds the weights.
    pub(crate) section: Option<String>,
    /// What to take off the front of every name.
    pub(crate) strip: Option<String>,
}

/// A model's variables.
pub(crate) type Wanted = BTreeMap<String, ValueType>;

/// The variables of both phases of a model.
pub(crate) fn wanted(spec: &ModelSpec) -> Wanted {
    spec.variables().into_iter().map(|variable| (variable.name.clone(), variable.ty.clone())).collect()
}

/// The values with which all variables of a model begin.
pub(crate) fn first_values(spec: &ModelSpec) -> Result<Tensors> {
    spec.variables().into_iter().map(|variable| Ok((variable.name.clone(), variable.first_value(0)?))).collect()
}

/// How one section of a file, or what several files hold together, fits a model.
#[derive(Clone)]
pub(crate) struct Fit {
    section: String,
    stripped: String,
    wanted: Wanted,
    /// The section's tensors, by their names without what was stripped.
    found: BTreeMap<String, Entry>,
}

impl Fit {
    /// Chooses section and prefix: those with which the most names are the model's.
    ///
    /// # Errors
    /// If two sections do equally well, if the section that was asked for is not there, or if not all names begin so.
    pub(crate) fn new(source: &Source, wanted: &Wanted, choice: &Choice) -> Result<Self> {
        let sections: BTreeSet<&str> = source.entries.iter().map(|entry| entry.section.as_str()).collect();
        let sections: Vec<&str> = match &choice.section {
            Some(section) if sections.contains(section.as_str()) => vec![section],
            Some(section) => {
                let names: Vec<String> = sections.iter().map(|name| format!("`{name}`")).collect();
                return Err(Error::config(format!("has no section `{section}`"))
                    .hint(format!("there are: {}", names.join(", "))));
            }
            None => sections.into_iter().collect(),
        };
        if sections.is_empty() {
            return Err(Error::data("holds no tensor"));
        }
        let fits = sections.iter().map(|section| Self::of_section(source, section, wanted, choice.strip.as_deref()));
        let mut fits = fits.collect::<Result<Vec<_>>>()?;
        fits.sort_by_key(|fit| std::cmp::Reverse((fit.matches(), fit.found.len())));
        if let [first, second, ..] = &fits[..]
            && first.matches() > 0
            && first.matches() == second.matches()
        {
            let message =
                format!("two sections hold weights of this model: `{}` and `{}`", first.section, second.section);
            return Err(
                Error::config(message).hint("choose one: `mimus import ... --section NAME --out FILE.safetensors`")
            );
        }
        Ok(fits.swap_remove(0))
    }

    fn of_section(source: &Source, section: &str, wanted: &Wanted, strip: Option<&str>) -> Result<Self> {
        let entries: Vec<&Entry> = source.entries.iter().filter(|entry| entry.section == section).collect();
        let all_begin = |prefix: &str| entries.iter().all(|entry| entry.name.starts_with(prefix));
        let stripped = match strip {
            Some(prefix) if all_begin(prefix) => prefix,
            Some(prefix) => {
                return Err(Error::config(format!("not all names in the section `{section}` begin with `{prefix}`")));
            }
            None if entries.iter().any(|entry| wanted.contains_key(&entry.name)) => "",
            None => WRAPPERS.into_iter().find(|prefix| all_begin(prefix)).unwrap_or_default(),
        };
        let found = entries.into_iter().map(|entry| (entry.name[stripped.len()..].to_owned(), entry.clone()));
        let (section, stripped) = (section.to_owned(), stripped.to_owned());
        Ok(Self { section, stripped, wanted: wanted.clone(), found: found.collect() })
    }

    /// What several files hold together, each a part of one model.
    ///
    /// # Errors
    /// If two of them hold a tensor of one name.
    pub(crate) fn joined(fits: &[Self]) -> Result<Self> {
        let [first, rest @ ..] = fits else { return Err(Error::config("no file of weights is given")) };
        let mut joined = first.clone();
        for fit in rest {
            if let Some(name) = fit.found.keys().find(|name| joined.found.contains_key(*name)) {
                return Err(Error::data(format!("`{name}` is in two of the files"))
                    .hint("give files of different parts of the model"));
            }
            joined.found.extend(fit.found.clone());
            joined.section.clear();
            joined.stripped.clear();
        }
        Ok(joined)
    }

    fn matches(&self) -> usize {
        self.found.keys().filter(|name| self.wanted.contains_key(*name)).count()
    }

    /// The variables that the file has in this type and shape.
    fn fitting(&self) -> impl Iterator<Item = (&String, &ValueType, &Entry)> {
        let pairs = self.wanted.iter().filter_map(|(name, ty)| Some((name, ty, self.found.get(name)?)));
        pairs.filter(|(_, ty, entry)| entry.shape == ty.shape && entry.element.fits(ty.dtype))
    }

    /// A sentence if not all variables of the model are in the file.
    pub(crate) fn problem(&self) -> Option<String> {
        let missing = self.wanted.keys().filter(|name| !self.found.contains_key(*name)).count();
        let other = self.wanted.len() - missing - self.fitting().count();
        let count = |n: usize, what: &str| {
            (n > 0).then(|| format!("{n} of {} variables of the model {what}", self.wanted.len()))
        };
        let parts = [count(missing, "are missing in it"), count(other, "have another shape or type in it")];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        (!parts.is_empty()).then(|| parts.join(", "))
    }

    /// What fits, what was stripped, and how many of the file's tensors the model has no use for.
    pub(crate) fn summary(&self) -> String {
        let place =
            if self.section.is_empty() { String::new() } else { format!(", in the section `{}`", self.section) };
        let stripped = match self.stripped.as_str() {
            "" => String::new(),
            prefix => format!(", without `{prefix}` before every name"),
        };
        let extra = self.found.len() - self.matches();
        format!(
            "{} of {} variables of the model fit{place}{stripped}; tensors that are not used: {extra}",
            self.fitting().count(),
            self.wanted.len()
        )
    }

    /// Every name that does not fit: missing, extra, or of another type or shape.
    pub(crate) fn table(&self) -> Option<Table> {
        let mut table = Table::new(&["name", "model", "file", "verdict"]);
        let fitting: BTreeSet<&String> = self.fitting().map(|(name, ..)| name).collect();
        let names: BTreeSet<&String> = self.wanted.keys().chain(self.found.keys()).collect();
        let mut rows = 0;
        for name in names.into_iter().filter(|name| !fitting.contains(name)) {
            let model = self.wanted.get(name).map(ToString::to_string);
            let file = self.found.get(name).map(|entry| format!("{}{:?}", entry.element.name(), entry.shape));
            let verdict = match (&model, &file) {
                (Some(_), None) => "missing",
                (None, _) => "not used",
                _ => "another type or shape",
            };
            table.row(vec![name.clone(), model.unwrap_or_default(), file.unwrap_or_default(), verdict.to_owned()]);
            rows += 1;
        }
        (rows > 0).then_some(table)
    }

    /// The values of the variables that fit.
    pub(crate) fn read(&self, source: &mut Source) -> Result<Tensors> {
        self.fitting().map(|(name, ty, entry)| Ok((name.clone(), source.tensor(entry, ty)?))).collect()
    }

    /// Where the values come from.
    pub(crate) fn origin(&self, source: &Source) -> Origin {
        Origin {
            file: source.path.clone(),
            sha256: source.sha256.clone(),
            section: self.section.clone(),
            stripped: self.stripped.clone(),
        }
    }
}
