//! Copying graphs with changes: node by node, with old values mapped to new ones.

use std::collections::BTreeMap;

use super::{Builder, Graph, Named, Node, ValueId, Variable};
use crate::error::{Error, Result};
use crate::ops::Op;

/// Appends a copy of `node`, under the current scope and its own label, that reads `inputs`.
fn copy(b: &mut Builder, node: &Node, inputs: &[ValueId]) -> Result<Vec<ValueId>> {
    if node.label.is_empty() {
        return b.nodes(node.op.clone(), inputs);
    }
    b.scope(&node.label, |b| b.nodes(node.op.clone(), inputs))
}

/// A copy of `graph` in which `change` may give other outputs for a node (`Some`) or let it be copied (`None`).
///
/// `change` sees the node and its already mapped inputs. Variables, outputs, assignments and taps are kept.
///
/// # Errors
/// Whatever `change` reports, or an ill-formed node that it made.
pub(crate) fn rewrite(
    graph: &Graph,
    mut change: impl FnMut(&mut Builder, &Node, &[ValueId]) -> Result<Option<Vec<ValueId>>>,
) -> Result<Graph> {
    let mut b =
        Builder::extend(Graph { name: graph.name.clone(), variables: graph.variables.clone(), ..Graph::default() });
    let mut map: Vec<Option<ValueId>> = vec![None; graph.values.len()];
    for node in &graph.nodes {
        let inputs = node.inputs.iter().map(|v| mapped(&map, *v)).collect::<Result<Vec<_>>>()?;
        let outputs = match change(&mut b, node, &inputs)? {
            Some(outputs) => outputs,
            None => copy(&mut b, node, &inputs)?,
        };
        node.outputs.iter().zip(outputs).for_each(|(old, new)| map[old.index()] = Some(new));
    }
    let move_all = |list: &[Named]| -> Result<Vec<Named>> {
        list.iter().map(|n| Ok(Named { name: n.name.clone(), value: mapped(&map, n.value)? })).collect()
    };
    let (outputs, assignments, taps) =
        (move_all(&graph.outputs)?, move_all(&graph.assignments)?, move_all(&graph.taps)?);
    Ok(Graph { outputs, assignments, taps, ..b.finish() })
}

fn mapped(map: &[Option<ValueId>], value: ValueId) -> Result<ValueId> {
    map.get(value.index())
        .copied()
        .flatten()
        .ok_or_else(|| Error::graph(format!("value {value} is used before it is made")))
}

/// What an inlined graph offers to its surroundings: names of the inlined graph, values of the target.
#[derive(Clone, Debug, Default)]
pub struct Inlined {
    /// The inlined graph's outputs.
    pub outputs: BTreeMap<String, ValueId>,
    /// Its taps, before redirection.
    pub taps: BTreeMap<String, ValueId>,
    /// Its assignments under their prefixed names; they are not part of the target yet.
    pub assignments: Vec<Named>,
}

impl Inlined {
    /// The output called `name`.
    ///
    /// # Errors
    /// If the inlined graph has none.
    pub fn output(&self, name: &str) -> Result<ValueId> {
        self.outputs.get(name).copied().ok_or_else(|| {
            let known: Vec<&str> = self.outputs.keys().map(String::as_str).collect();
            Error::graph(format!("there is no output `{name}`; there are: {}", known.join(", ")))
        })
    }

    /// Makes the inlined graph's assignments part of the target.
    ///
    /// # Errors
    /// If a variable has an assignment already.
    pub fn assign(&self, b: &mut Builder) -> Result<()> {
        self.assignments.iter().try_for_each(|named| b.assign(&named.name, named.value))
    }
}

/// How a graph is inlined.
pub struct Inlining<'a> {
    /// Put in front of the names of variables and layers, with a dot; empty for none.
    pub prefix: &'a str,
    /// Changes a variable's declaration after its name was prefixed.
    pub variable: &'a dyn Fn(Variable) -> Variable,
    /// Values for the graph's inputs; an input without one becomes, or shares, the target's input of that name.
    pub bindings: &'a BTreeMap<String, ValueId>,
    /// Called at every tap: what everything downstream reads instead.
    pub redirect: &'a mut dyn FnMut(&mut Builder, &str, ValueId) -> Result<ValueId>,
}

/// Appends a copy of `graph` to `b`.
///
/// # Errors
/// If a binding's type is not the input's, or a variable contradicts one of the target's.
pub fn inline(b: &mut Builder, graph: &Graph, how: Inlining<'_>) -> Result<Inlined> {
    let mut map: Vec<Option<ValueId>> = vec![None; graph.values.len()];
    let mut taps = BTreeMap::new();
    for node in &graph.nodes {
        let outputs = match &node.op {
            Op::Input { name, .. } => vec![bind(b, graph, node, name, how.bindings)?],
            Op::Variable { name, .. } => vec![declare(b, graph, name, &how)?],
            _ => {
                let inputs = node.inputs.iter().map(|v| mapped(&map, *v)).collect::<Result<Vec<_>>>()?;
                if how.prefix.is_empty() {
                    copy(b, node, &inputs)?
                } else {
                    b.scope(how.prefix, |b| copy(b, node, &inputs))?
                }
            }
        };
        for (old, mut new) in node.outputs.iter().zip(outputs) {
            for tap in graph.taps.iter().filter(|tap| tap.value == *old) {
                taps.insert(tap.name.clone(), new);
                new = (how.redirect)(b, &tap.name, new)?;
            }
            map[old.index()] = Some(new);
        }
    }
    let outputs = graph.outputs.iter().map(|n| Ok((n.name.clone(), mapped(&map, n.value)?))).collect::<Result<_>>()?;
    let assignments = graph.assignments.iter();
    let assignments = assignments
        .map(|n| Ok(Named { name: prefixed(how.prefix, &n.name), value: mapped(&map, n.value)? }))
        .collect::<Result<_>>()?;
    Ok(Inlined { outputs, taps, assignments })
}

fn prefixed(prefix: &str, name: &str) -> String {
    if prefix.is_empty() { name.to_owned() } else { format!("{prefix}.{name}") }
}

fn bind(
    b: &mut Builder,
    graph: &Graph,
    node: &Node,
    name: &str,
    bindings: &BTreeMap<String, ValueId>,
) -> Result<ValueId> {
    let ty = graph.ty(node.outputs[0]);
    let shared = b.graph().inputs().find(|(known, _)| *known == name).map(|(_, value)| value);
    let Some(value) = bindings.get(name).copied().or(shared) else { return b.input(name, ty.clone()) };
    let found = b.graph().ty(value);
    if found != ty {
        return Err(Error::graph(format!("input `{name}` is {ty}, it is given {found}")).with("graph", &graph.name));
    }
    Ok(value)
}

fn declare(b: &mut Builder, graph: &Graph, name: &str, how: &Inlining<'_>) -> Result<ValueId> {
    let variable = graph.variable(name).ok_or_else(|| Error::graph(format!("variable `{name}` is not declared")))?;
    let renamed = Variable { name: prefixed(how.prefix, name), ..variable.clone() };
    let Variable { name, ty, role, init } = (how.variable)(renamed);
    b.variable(&name, ty, role, init)
}
