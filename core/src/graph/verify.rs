//! What makes a graph well formed. A backend validates nothing: whoever makes a graph with something other than the
//! [`Builder`](super::Builder), or receives one, verifies it once.
//!
//! Constraints, cited in the reports:
//! - V1 every value is made by exactly one node, in order: outputs are numbered consecutively;
//! - V2 a node reads only values of earlier nodes;
//! - V3 the types of a node's outputs are those that its operator infers from its inputs;
//! - V4 a `variable` node reads a declared variable with its declared type;
//! - V5 names of inputs, variables, outputs, taps and assignments are unique among themselves;
//! - V6 outputs, taps and assignments name values of the graph;
//! - V7 an assignment's target is declared and has the type of its value;
//! - V8 a variable's extents are at least 1 and its elements countable; random beginnings are for f32.

use std::collections::BTreeSet;

use super::{Graph, Init, Named, Node, ValueId};
use crate::error::{Error, Result};
use crate::ops::Op;
use crate::tensor::{Dtype, ValueType};

impl Graph {
    /// Every violated constraint, in the order of the nodes; empty if the graph is well formed.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut types: Vec<ValueType> = Vec::new();
        for (index, node) in self.nodes.iter().enumerate() {
            if let Err(message) = self.check_node(index, node, &mut types) {
                problems.push(format!("node {index} ({} {:?}): {message}", node.op.name(), node.label));
                // Later nodes are judged by the types that the graph claims, as long as those make sense.
                let claimed =
                    self.values.iter().skip(types.len()).take(node.outputs.len()).map(|value| value.ty.clone());
                let claimed: Vec<ValueType> = claimed.collect();
                if claimed.len() != node.outputs.len() || !claimed.iter().all(|ty| countable(ty).is_ok()) {
                    return problems;
                }
                types.extend(claimed);
            }
        }
        if types.len() != self.values.len() {
            problems.push(format!("V1: {} values are declared, nodes make {}", self.values.len(), types.len()));
        }
        self.check_names(&mut problems);
        self.check_variables(&mut problems);
        problems
    }

    /// Succeeds if the graph is well formed.
    ///
    /// # Errors
    /// Lists every problem, each with its constraint's label.
    pub fn verify(&self) -> Result<()> {
        let problems = self.problems();
        match problems.len() {
            0 => Ok(()),
            1 => Err(Error::graph(&problems[0]).with("graph", &self.name)),
            n => Err(Error::graph(format!("has {n} problems:\n  {}", problems.join("\n  "))).with("graph", &self.name)),
        }
    }

    fn check_node(&self, index: usize, node: &Node, types: &mut Vec<ValueType>) -> Result<(), String> {
        for (i, output) in node.outputs.iter().enumerate() {
            let known = self.values.get(output.index());
            if output.index() != types.len() + i || known.is_none_or(|value| value.node != index) {
                return Err(format!("V1: output {output} is out of order or not declared"));
            }
        }
        let inputs: Option<Vec<&ValueType>> = node.inputs.iter().map(|v| types.get(v.index())).collect();
        let Some(inputs) = inputs else { return Err("V2: reads a value that no earlier node makes".to_owned()) };
        let inferred = node.op.infer(&inputs).map_err(|error| format!("V3: {}", error.message()))?;
        let declared: Vec<&ValueType> = node.outputs.iter().map(|v| &self.values[v.index()].ty).collect();
        if inferred.iter().ne(declared.iter().copied()) {
            return Err(format!(
                "V3: declares {}, infers {}",
                list(&declared),
                list(&inferred.iter().collect::<Vec<_>>())
            ));
        }
        if let Op::Variable { name, .. } = &node.op {
            match self.variable(name) {
                None => return Err(format!("V4: variable `{name}` is not declared")),
                Some(variable) if variable.ty != inferred[0] => {
                    return Err(format!("V4: variable `{name}` is {}, read as {}", variable.ty, inferred[0]));
                }
                Some(_) => {}
            }
        }
        types.extend(inferred);
        Ok(())
    }

    fn check_names(&self, problems: &mut Vec<String>) {
        let of = |list: &[Named]| list.iter().map(|named| named.name.clone()).collect::<Vec<_>>();
        let groups = [
            ("input", self.inputs().map(|(name, _)| name.to_owned()).collect()),
            ("variable", self.variables.iter().map(|variable| variable.name.clone()).collect()),
            ("output", of(&self.outputs)),
            ("tap", of(&self.taps)),
            ("assignment", of(&self.assignments)),
        ];
        for (what, names) in groups {
            let mut seen = BTreeSet::new();
            problems.extend(
                names.iter().filter(|name| !seen.insert(*name)).map(|name| format!("V5: two {what}s `{name}`")),
            );
        }
        for (what, list) in [("output", &self.outputs), ("tap", &self.taps), ("assignment", &self.assignments)] {
            for Named { name, value: ValueId(id) } in list {
                if *id as usize >= self.values.len() {
                    problems.push(format!("V6: {what} `{name}` is %{id}, which is no value of the graph"));
                }
            }
        }
    }

    fn check_variables(&self, problems: &mut Vec<String>) {
        for variable in &self.variables {
            if let Err(error) = countable(&variable.ty) {
                problems.push(format!("V8: variable `{}`: {}", variable.name, error.message()));
            }
            if variable.ty.dtype == Dtype::I64 && !matches!(variable.init, Init::Constant(_)) {
                problems.push(format!("V8: variable `{}` is i64 and begins at random", variable.name));
            }
        }
        for Named { name, value } in &self.assignments {
            match (self.variable(name), self.values.get(value.index())) {
                (None, _) => problems.push(format!("V7: assignment to `{name}`, which is no variable")),
                (Some(variable), Some(found)) if variable.ty != found.ty => {
                    problems.push(format!("V7: variable `{name}` is {}, its assignment is {}", variable.ty, found.ty));
                }
                _ => {}
            }
        }
    }
}

/// That extents are at least 1 and elements countable.
fn countable(ty: &ValueType) -> Result<()> {
    Op::Fill { dtype: ty.dtype, shape: ty.shape.clone(), value: 0.0 }.infer(&[]).map(|_| ())
}

fn list(types: &[&ValueType]) -> String {
    types.iter().map(|ty| ty.to_string()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::super::Builder;
    use super::*;

    fn small() -> Graph {
        let mut b = Builder::new("small");
        let x = b.input("x", ValueType::f32([2, 3])).unwrap();
        let w = b.parameter("w", [3], Init::ONES).unwrap();
        let y = b.mul(x, w).unwrap();
        b.output("y", y).unwrap();
        b.finish()
    }

    #[test]
    fn what_the_builder_makes_is_well_formed() {
        assert_eq!(small().problems(), Vec::<String>::new());
    }

    #[test]
    fn all_problems_are_reported_at_once() {
        let mut graph = small();
        graph.values[2].ty = ValueType::f32([2, 4]);
        graph.variables[0].ty = ValueType::f32([4]);
        graph.outputs.push(Named { name: "y".into(), value: ValueId(9) });
        assert_eq!(
            graph.problems(),
            [
                "node 1 (variable \"\"): V4: variable `w` is f32[4], read as f32[3]",
                "node 2 (mul \"\"): V3: declares f32[2, 4], infers f32[2, 3]",
                "V5: two outputs `y`",
                "V6: output `y` is %9, which is no value of the graph",
            ]
        );
    }

    #[test]
    fn v2_a_value_must_be_made_before_it_is_read() {
        let mut graph = small();
        graph.nodes[2].inputs[0] = ValueId(2);
        assert!(graph.problems()[0].contains("V2"));
    }
}
