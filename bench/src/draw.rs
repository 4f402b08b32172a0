//! Graphs as pictures: one box for each layer, or for each part of the model, in Graphviz or Mermaid, the parts of a boost apart from each other.

use std::collections::{BTreeMap, BTreeSet};

use mimus_core::Graph;
use mimus_core::boost::{ATTENTION, HEAD, STUDENT, TEACHER};
use mimus_core::graph::Node;

/// Parts of a boosted system and the colour of their boxes.
const PARTS: [(&str, &str); 4] =
    [(TEACHER, "#d0d7e5"), (STUDENT, "#dcefd8"), (ATTENTION, "#fbe3c5"), (HEAD, "#f3d3df")];

/// Boxes and arrows.
struct Drawing {
    boxes: Vec<Box>,
    /// From, to, what flows.
    arrows: BTreeSet<(usize, usize, String)>,
}

struct Box {
    title: String,
    /// Operators inside, in the order of their first, with their numbers.
    ops: Vec<(String, usize)>,
    /// Position in [`PARTS`].
    part: Option<usize>,
}

impl Drawing {
    /// With a box for every layer, or, of names with more than `depth` parts, one for all that begin alike.
    fn new(graph: &Graph, depth: Option<usize>) -> Self {
        let mut drawing = Self { boxes: Vec::new(), arrows: BTreeSet::new() };
        // Constants and variables belong to the layers that read them: drawn as sources they would hide the flow.
        let mut of_value: BTreeMap<usize, usize> = BTreeMap::new();
        let mut of_label: BTreeMap<&str, usize> = BTreeMap::new();
        for node in graph.nodes.iter().filter(|node| !is_source(node) || node.op.name() == "input") {
            let sources: Vec<usize> =
                node.inputs.iter().filter_map(|input| of_value.get(&input.index()).copied()).collect();
            // What flows out of a layer and back into it passes two boxes: arrows only lead onwards.
            let joins = |known: &usize| sources.iter().all(|from| from == known || !drawing.leads(*known, *from));
            let label = shortened(&node.label, depth);
            let known = of_label.get(label).copied().filter(|_| !label.is_empty()).filter(joins);
            let place = known.unwrap_or_else(|| drawing.add(label));
            if !label.is_empty() {
                of_label.insert(label, place);
            }
            drawing.count(place, node.op.name());
            for input in &node.inputs {
                let from = of_value.get(&input.index()).copied().filter(|from| *from != place);
                let ty = graph.ty(*input).to_string();
                drawing.arrows.extend(from.map(|from| (from, place, ty)));
            }
            of_value.extend(node.outputs.iter().map(|output| (output.index(), place)));
        }
        let ends = graph.outputs.iter().map(|named| (format!("output {}", named.name), named.value));
        for (title, value) in ends {
            drawing.boxes.push(Box { title, ops: Vec::new(), part: None });
            let (place, ty) = (drawing.boxes.len() - 1, graph.ty(value).to_string());
            drawing.arrows.extend(of_value.get(&value.index()).map(|from| (*from, place, ty)));
        }
        drawing
    }

    /// Whether arrows lead from one box to another.
    fn leads(&self, from: usize, to: usize) -> bool {
        let mut open = vec![from];
        let mut seen = BTreeSet::new();
        while let Some(place) = open.pop() {
            if place == to {
                return true;
            }
            if seen.insert(place) {
                let outgoing = self.arrows.range((place, 0, String::new())..(place + 1, 0, String::new()));
                open.extend(outgoing.map(|(_, target, _)| *target));
            }
        }
        false
    }

    fn add(&mut self, label: &str) -> usize {
        let belongs = |name: &str| label == name || label.strip_prefix(name).is_some_and(|r| r.starts_with('.'));
        let part = PARTS.iter().position(|(name, _)| belongs(name));
        self.boxes.push(Box { title: label.to_owned(), ops: Vec::new(), part });
        self.boxes.len() - 1
    }

    fn count(&mut self, place: usize, op: &str) {
        let ops = &mut self.boxes[place].ops;
        match ops.iter_mut().find(|(known, _)| known == op) {
            Some((_, times)) => *times += 1,
            None => ops.push((op.to_owned(), 1)),
        }
    }
}

/// The first `depth` parts of a layer's name.
fn shortened(label: &str, depth: Option<usize>) -> &str {
    let end = depth.and_then(|depth| label.match_indices('.').nth(depth.saturating_sub(1)));
    end.map_or(label, |(end, _)| &label[..end])
}

fn is_source(node: &Node) -> bool {
    node.inputs.is_empty()
}

impl Box {
    fn text(&self, newline: &str) -> String {
        let one = |(op, times): &(String, usize)| if *times > 1 { format!("{op} x{times}") } else { op.clone() };
        let ops = self.ops.iter().map(one).collect::<Vec<_>>().join(", ");
        [self.title.as_str(), &ops].into_iter().filter(|line| !line.is_empty()).collect::<Vec<_>>().join(newline)
    }
}

/// The graph for Graphviz.
pub(crate) fn dot(graph: &Graph, depth: Option<usize>) -> String {
    let drawing = Drawing::new(graph, depth);
    let mut text = format!("digraph \"{}\" {{\n  node [shape=box, style=filled, fontname=sans]\n", graph.name);
    for (i, b) in drawing.boxes.iter().enumerate() {
        let color = b.part.map_or("#ffffff", |part| PARTS[part].1);
        text += &format!("  n{i} [label=\"{}\", fillcolor=\"{color}\"]\n", b.text("\\n").replace('"', "'"));
    }
    for (from, to, ty) in &drawing.arrows {
        text += &format!("  n{from} -> n{to} [label=\"{ty}\", fontsize=9]\n");
    }
    text + "}\n"
}

/// The graph for Mermaid.
pub(crate) fn mermaid(graph: &Graph, depth: Option<usize>) -> String {
    let drawing = Drawing::new(graph, depth);
    let mut text = "flowchart TB\n".to_owned();
    for (i, b) in drawing.boxes.iter().enumerate() {
        text += &format!("  n{i}[\"{}\"]\n", b.text("<br>").replace('"', "'"));
    }
    for (from, to, ty) in &drawing.arrows {
        text += &format!("  n{from} -->|\"{ty}\"| n{to}\n");
    }
    for (part, (name, color)) in PARTS.iter().enumerate() {
        let members = drawing.boxes.iter().enumerate().filter(|(_, b)| b.part == Some(part));
        let members: Vec<String> = members.map(|(i, _)| format!("n{i}")).collect();
        if !members.is_empty() {
            text += &format!(
                "  classDef {name} fill:{color},stroke:#555,color:#000\n  class {} {name}\n",
                members.join(",")
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use mimus_core::{Builder, ValueType};

    use super::*;

    #[test]
    fn a_layer_that_is_left_and_entered_again_becomes_two_boxes() {
        let mut b = Builder::new("test");
        let x = b.input("x", ValueType::f32([2])).unwrap();
        let y = b.scope("a", |b| b.relu(x).and_then(|x| b.neg(x))).unwrap();
        let y = b.scope("b", |b| b.exp(y)).unwrap();
        let y = b.scope("a", |b| b.abs(y)).unwrap();
        b.output("y", y).unwrap();
        let drawing = Drawing::new(b.graph(), None);
        let texts: Vec<String> = drawing.boxes.iter().map(|b| b.text(" ")).collect();
        assert_eq!(texts, ["input", "a relu, neg", "b exp", "a abs", "output y"]);
        assert!(
            (0..texts.len()).all(|i| !drawing.arrows.iter().any(|(from, to, _)| *to == i && drawing.leads(i, *from)))
        );
    }
    #[test]
    fn what_begins_alike_is_one_box() {
        let mut b = Builder::new("test");
        let x = b.input("x", ValueType::f32([2])).unwrap();
        let block = |b: &mut Builder, name: &str, x| b.scope(name, |b| b.relu(x).and_then(|x| b.neg(x)));
        let y = b.scope("net", |b| block(b, "a", x).and_then(|y| block(b, "b", y))).unwrap();
        b.output("y", y).unwrap();
        let texts = |depth| Drawing::new(b.graph(), depth).boxes.iter().map(|b| b.text(" ")).collect::<Vec<_>>();
        assert_eq!(texts(None), ["input", "net.a relu, neg", "net.b relu, neg", "output y"]);
        assert_eq!(texts(Some(1)), ["input", "net relu x2, neg x2", "output y"]);
    }
}
