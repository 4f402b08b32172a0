//! What every session checks about names: the host's inputs, the variables of all programs.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::graph::{Graph, Node};
use crate::tensor::{HostTensor, ValueType};

/// A name that a program reads, and the layer that reads it.
#[derive(Clone, Debug)]
pub struct Read {
    /// Name of the input or variable.
    pub name: String,
    /// Its type.
    pub ty: ValueType,
    /// The layer; may be empty.
    pub label: String,
}

impl Read {
    /// The read of `name` by a source node.
    pub fn new(graph: &Graph, node: &Node, name: &str) -> Self {
        Self { name: name.to_owned(), ty: graph.ty(node.outputs[0]).clone(), label: node.label.clone() }
    }
}

/// Adds operator and, if it has a name, layer.
pub fn located(error: Error, op: &str, label: &str) -> Error {
    let error = error.with("op", op);
    if label.is_empty() { error } else { error.with("layer", label) }
}

/// The host's tensors in the order of the program's inputs.
///
/// # Errors
/// If one is missing, unknown or of another type.
pub fn bind<'a>(reads: &[Read], given: &'a BTreeMap<String, HostTensor>) -> Result<Vec<&'a HostTensor>> {
    if let Some(name) = given.keys().find(|name| reads.iter().all(|read| read.name != **name)) {
        let known: Vec<&str> = reads.iter().map(|read| read.name.as_str()).collect();
        let error = Error::backend(format!("the program has no input `{name}`; it has: {}", known.join(", ")));
        return Err(error.with("op", "input"));
    }
    let find = |read: &Read| {
        let error = |message: String| Err(located(Error::backend(message), "input", &read.label));
        match given.get(&read.name) {
            None => error(format!("input `{}` has no value", read.name)),
            Some(tensor) if tensor.ty() != read.ty => {
                error(format!("input `{}` is {}, expects {}", read.name, tensor.ty(), read.ty))
            }
            Some(tensor) => Ok(tensor),
        }
    };
    reads.iter().map(find).collect()
}

/// That a variable was neither written nor assigned.
pub fn no_value(variable: &str) -> Error {
    Error::backend(format!("variable `{variable}` has no value"))
        .hint("write it before running a program that reads it")
}

/// A variable of a session and what the session keeps for it.
#[derive(Clone, Debug)]
pub struct Variable<S> {
    /// Its type, the same in all programs.
    pub ty: ValueType,
    /// What the session keeps.
    pub state: S,
}

/// The variables of all programs of a session, by name and by number.
#[derive(Clone, Debug)]
pub struct Variables<S> {
    /// Positions in `list` by name.
    pub numbers: BTreeMap<String, usize>,
    /// The variables in order of declaration.
    pub list: Vec<Variable<S>>,
}

impl<S> Default for Variables<S> {
    fn default() -> Self {
        Self { numbers: BTreeMap::new(), list: Vec::new() }
    }
}

impl<S: Default> Variables<S> {
    /// Adds those of a program that are not there yet.
    ///
    /// # Errors
    /// If another program declares one with another type; then none is added.
    pub fn declare(&mut self, program: &Graph) -> Result<()> {
        for variable in &program.variables {
            if let Some(known) = self.numbers.get(&variable.name).map(|i| &self.list[*i].ty)
                && *known != variable.ty
            {
                let message = format!("variable `{}` is {known}, the program declares {}", variable.name, variable.ty);
                return Err(Error::backend(message).with("graph", &program.name));
            }
        }
        for variable in &program.variables {
            if !self.numbers.contains_key(&variable.name) {
                self.numbers.insert(variable.name.clone(), self.list.len());
                self.list.push(Variable { ty: variable.ty.clone(), state: S::default() });
            }
        }
        Ok(())
    }

    /// The variable called `name`.
    ///
    /// # Errors
    /// If no program declares it.
    pub fn find(&mut self, name: &str) -> Result<&mut Variable<S>> {
        let number = self.numbers.get(name).copied();
        number.map(|number| &mut self.list[number]).ok_or_else(|| {
            Error::backend(format!("no loaded program has a variable `{name}`"))
                .hint("load the program that declares it first")
        })
    }

    /// The variable called `name`, to be given `value`.
    ///
    /// # Errors
    /// If no program declares it, or with another type.
    pub fn accept(&mut self, name: &str, value: &HostTensor) -> Result<&mut S> {
        let variable = self.find(name)?;
        if value.ty() != variable.ty {
            return Err(Error::backend(format!("variable `{name}` is {}, given {}", variable.ty, value.ty())));
        }
        Ok(&mut variable.state)
    }
}
