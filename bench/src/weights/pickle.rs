//! Reads the pickle of a PyTorch checkpoint as data. No code runs, whatever the file says: a few names stand for tensors and
//! dictionaries, any other is refused.

use std::collections::HashMap;

use mimus_core::{Error, Result};

use super::element::Element;

/// A tensor, as its pickle describes it; the elements lie elsewhere.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tensor {
    pub(super) element: Element,
    /// Name of the storage.
    pub(super) key: String,
    /// Elements in the storage.
    pub(super) stored: usize,
    /// First element.
    pub(super) offset: usize,
    pub(super) shape: Vec<usize>,
    /// In elements.
    pub(super) strides: Vec<usize>,
}

/// All tensors in the pickle, each with the keys that lead to it.
pub(super) fn tensors(bytes: &[u8]) -> Result<Vec<(Vec<String>, Tensor)>> {
    let mut machine =
        Machine { bytes, at: 0, stack: Vec::new(), marks: Vec::new(), memo: HashMap::new(), nodes: Vec::new() };
    let root = machine.run().map_err(|error| error.with("byte of the pickle", machine.at))?;
    machine.flatten(root)
}

/// The names that are understood.
const GLOBALS: [(&str, Global); 4] = [
    ("collections OrderedDict", Global::OrderedDict),
    ("torch Size", Global::Size),
    ("torch._utils _rebuild_tensor_v2", Global::RebuildTensor),
    ("torch._utils _rebuild_parameter", Global::RebuildParameter),
];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Global {
    OrderedDict,
    Size,
    RebuildTensor,
    RebuildParameter,
    Storage(Element),
}

/// Small, so that nothing nested is ever dropped or copied deeply: what has parts is a node.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Value {
    /// Nothing that a tensor depends on: `None`, floating point, bytes, long integers.
    Other,
    Int(i64),
    Global(Global),
    Node(usize),
}

#[derive(Debug)]
enum Node {
    Text(String),
    /// List or tuple.
    Items(Vec<Value>),
    Dict(Vec<(Value, Value)>),
    Storage {
        element: Element,
        key: String,
        stored: usize,
    },
    Tensor(Tensor),
}

/// Nesting, number of values that are looked through for tensors, and bytes of a key: a pickle may hold itself, or one part a million
/// times.
const DEEPEST: usize = 8;
const MOST: usize = 200_000;
const LONGEST: usize = 1000;

/// The stack machine that a pickle is a program for.
struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    stack: Vec<Value>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: HashMap<u32, Value>,
    nodes: Vec<Node>,
}

fn damaged(what: &str) -> Error {
    Error::data(format!("its pickle is damaged: {what}")).hint("download or copy the file again")
}

impl Machine<'_> {
    fn run(&mut self) -> Result<Value> {
        loop {
            let op = self.take(1)?[0];
            if op == b'.' {
                return self.pop();
            }
            self.step(op)?;
        }
    }

    fn step(&mut self, op: u8) -> Result<()> {
        match op {
            0x80 => self.take(1).map(|_| ()),
            0x95 => self.take(8).map(|_| ()),
            b'(' => {
                self.marks.push(self.stack.len());
                Ok(())
            }
            b'0' => self.pop().map(|_| ()),
            b'1' => self.above_mark().map(|_| ()),
            b'N' => self.push(Value::Other),
            0x88 => self.push(Value::Int(1)),
            0x89 => self.push(Value::Int(0)),
            b'G' => self.take(8).map(|_| ()).and_then(|()| self.push(Value::Other)),
            b'K' | b'M' | b'J' | 0x8a => self.integer(op),
            b'X' | 0x8c | 0x8d | b'U' | b'T' => self.text(op),
            b'C' | b'B' | 0x8e => {
                self.length(op).and_then(|n| self.take(n).map(|_| ())).and_then(|()| self.push(Value::Other))
            }
            b'}' => self.node(Node::Dict(Vec::new())),
            b']' | b')' => self.node(Node::Items(Vec::new())),
            0x85..=0x87 => self.last(usize::from(op) - 0x84).and_then(|items| self.node(Node::Items(items))),
            b't' | b'l' => self.above_mark().and_then(|items| self.node(Node::Items(items))),
            b'd' => self.above_mark().and_then(|items| self.node(Node::Dict(pairs(&items)?))),
            b'a' => self.last(1).and_then(|items| self.append(items)),
            b'e' => self.above_mark().and_then(|items| self.append(items)),
            b's' => self.last(2).and_then(|items| self.set(&items)),
            b'u' => self.above_mark().and_then(|items| self.set(&items)),
            b'q' | b'r' | 0x94 => self.remember(op),
            b'h' | b'j' => self.recall(op),
            b'c' | 0x93 => self.global(op),
            b'Q' => self.storage(),
            b'R' => self.reduce(),
            b'b' => self.build(),
            _ => Err(not_weights(&format!("operation 0x{op:02x}"))),
        }
    }

    fn take(&mut self, n: usize) -> Result<&[u8]> {
        let end = self.at.checked_add(n).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or_else(|| damaged("it ends too early"))?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    /// An unsigned number of `n` bytes, at most 8.
    fn number(&mut self, n: usize) -> Result<u64> {
        Ok(self.take(n)?.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    }

    /// The length that precedes the bytes of a text or of bytes.
    fn length(&mut self, op: u8) -> Result<usize> {
        let width = match op {
            0x8c | b'U' | b'C' => 1,
            0x8d | 0x8e => 8,
            _ => 4,
        };
        usize::try_from(self.number(width)?).map_err(|_| damaged("a length is too large"))
    }

    fn line(&mut self) -> Result<String> {
        let n =
            self.bytes[self.at..].iter().position(|byte| *byte == b'\n').ok_or_else(|| damaged("it ends too early"))?;
        let line = String::from_utf8_lossy(self.take(n)?).into_owned();
        self.at += 1;
        Ok(line)
    }

    fn push(&mut self, value: Value) -> Result<()> {
        self.stack.push(value);
        Ok(())
    }

    fn node(&mut self, node: Node) -> Result<()> {
        self.nodes.push(node);
        self.push(Value::Node(self.nodes.len() - 1))
    }

    /// Takes `n` values above the last mark.
    fn last(&mut self, n: usize) -> Result<Vec<Value>> {
        let floor = self.marks.last().copied().unwrap_or(0);
        let from = self.stack.len().checked_sub(n).filter(|from| *from >= floor);
        Ok(self.stack.split_off(from.ok_or_else(|| damaged("its stack is empty"))?))
    }

    fn pop(&mut self) -> Result<Value> {
        Ok(self.last(1)?[0])
    }

    fn top(&self) -> Result<Value> {
        self.stack.last().copied().ok_or_else(|| damaged("its stack is empty"))
    }

    fn above_mark(&mut self) -> Result<Vec<Value>> {
        let mark = self.marks.pop().filter(|mark| *mark <= self.stack.len());
        Ok(self.stack.split_off(mark.ok_or_else(|| damaged("it has no mark"))?))
    }

    fn integer(&mut self, op: u8) -> Result<()> {
        let width = match op {
            b'K' => 1,
            b'M' => 2,
            b'J' => 4,
            _ => usize::from(self.take(1)?[0]),
        };
        let value = match width {
            0 => Value::Int(0),
            1..=8 => {
                let (bits, shift) = (self.number(width)?, 64 - 8 * width as u32);
                // Only these two are signed.
                let signed = matches!(op, b'J' | 0x8a);
                Value::Int(if signed { (bits << shift) as i64 >> shift } else { bits as i64 })
            }
            _ => self.take(width).map(|_| Value::Other)?,
        };
        self.push(value)
    }

    fn text(&mut self, op: u8) -> Result<()> {
        let n = self.length(op)?;
        let text = String::from_utf8_lossy(self.take(n)?).into_owned();
        self.node(Node::Text(text))
    }

    fn append(&mut self, items: Vec<Value>) -> Result<()> {
        match self.top()? {
            Value::Node(at) => match &mut self.nodes[at] {
                Node::Items(list) => list.extend(items),
                _ => return Err(damaged("something is appended to what is no list")),
            },
            _ => return Err(damaged("something is appended to what is no list")),
        }
        Ok(())
    }

    fn set(&mut self, items: &[Value]) -> Result<()> {
        match self.top()? {
            Value::Node(at) => match &mut self.nodes[at] {
                Node::Dict(dict) => dict.extend(pairs(items)?),
                _ => return Err(damaged("a key is set in what is no dictionary")),
            },
            _ => return Err(damaged("a key is set in what is no dictionary")),
        }
        Ok(())
    }

    fn remember(&mut self, op: u8) -> Result<()> {
        let at = match op {
            b'q' => self.number(1)? as u32,
            b'r' => self.number(4)? as u32,
            _ => self.memo.len() as u32,
        };
        let value = self.top()?;
        self.memo.insert(at, value);
        Ok(())
    }

    fn recall(&mut self, op: u8) -> Result<()> {
        let at = self.number(if op == b'h' { 1 } else { 4 })? as u32;
        let value = self.memo.get(&at).copied().ok_or_else(|| damaged("it recalls what it has not remembered"))?;
        self.push(value)
    }

    fn global(&mut self, op: u8) -> Result<()> {
        let name = match op {
            b'c' => format!("{} {}", self.line()?, self.line()?),
            _ => {
                let parts = self.last(2)?;
                format!("{} {}", self.text_of(parts[0])?, self.text_of(parts[1])?)
            }
        };
        let known = GLOBALS.iter().find(|(known, _)| *known == name).map(|(_, global)| *global);
        let storage = || name.strip_prefix("torch ").and_then(Element::of_storage).map(Global::Storage);
        let global = known.or_else(storage).ok_or_else(|| not_weights(&format!("`{}`", name.replace(' ', "."))))?;
        self.push(Value::Global(global))
    }

    /// `("storage", type, key, device, elements)`.
    fn storage(&mut self) -> Result<()> {
        let id = self.pop()?;
        let (element, key, stored) = match *self.items_of(id)? {
            [_, Value::Global(Global::Storage(element)), key, _, stored] => (element, key, stored),
            _ => return Err(damaged("a storage is described in an unknown way")),
        };
        let (key, stored) = (self.text_of(key)?.to_owned(), size(stored)?);
        self.node(Node::Storage { element, key, stored })
    }

    fn reduce(&mut self) -> Result<()> {
        let [function, arguments] = self.last(2)?[..] else { return Err(damaged("a call lacks its arguments")) };
        let arguments = self.items_of(arguments)?.to_vec();
        match (function, &arguments[..]) {
            (Value::Global(Global::OrderedDict), []) => self.node(Node::Dict(Vec::new())),
            (Value::Global(Global::OrderedDict), [list]) => {
                let entries = self.items_of(*list)?.iter().map(|entry| match *self.items_of(*entry)? {
                    [key, value] => Ok((key, value)),
                    _ => Err(damaged("an entry of a dictionary is no pair")),
                });
                let entries = entries.collect::<Result<_>>()?;
                self.node(Node::Dict(entries))
            }
            (Value::Global(Global::Size | Global::RebuildParameter), [value, ..]) => self.push(*value),
            (Value::Global(Global::RebuildTensor), [storage, offset, shape, strides, ..]) => {
                let tensor = self.tensor(*storage, *offset, *shape, *strides)?;
                self.node(Node::Tensor(tensor))
            }
            _ => Err(damaged("it calls what cannot be called so")),
        }
    }

    fn tensor(&self, storage: Value, offset: Value, shape: Value, strides: Value) -> Result<Tensor> {
        let Value::Node(at) = storage else { return Err(damaged("a tensor has no storage")) };
        let Node::Storage { element, key, stored } = &self.nodes[at] else {
            return Err(damaged("a tensor has no storage"));
        };
        let sizes = |value| self.items_of(value)?.iter().map(|n| size(*n)).collect::<Result<Vec<usize>>>();
        let (shape, strides) = (sizes(shape)?, sizes(strides)?);
        if shape.len() != strides.len() {
            return Err(damaged("a tensor has not as many strides as extents"));
        }
        Ok(Tensor { element: *element, key: key.clone(), stored: *stored, offset: size(offset)?, shape, strides })
    }

    /// Attributes of a dictionary: a `state_dict` keeps the versions of its layers in one.
    fn build(&mut self) -> Result<()> {
        self.pop()?;
        match self.top()? {
            Value::Node(at) if matches!(self.nodes[at], Node::Dict(_)) => Ok(()),
            _ => Err(damaged("it gives attributes to what is no dictionary")),
        }
    }

    fn text_of(&self, value: Value) -> Result<&str> {
        match value {
            Value::Node(at) => match &self.nodes[at] {
                Node::Text(text) => Ok(text),
                _ => Err(damaged("a name is no text")),
            },
            _ => Err(damaged("a name is no text")),
        }
    }

    fn items_of(&self, value: Value) -> Result<&[Value]> {
        match value {
            Value::Node(at) => match &self.nodes[at] {
                Node::Items(items) => Ok(items),
                _ => Err(damaged("a list is none")),
            },
            _ => Err(damaged("a list is none")),
        }
    }

    /// A dictionary's key as text.
    fn key(&self, key: Value) -> Result<String> {
        match key {
            Value::Int(n) => Ok(n.to_string()),
            key => match self.text_of(key) {
                Ok(text) if text.len() > LONGEST => Err(damaged("a key is too long")),
                text => text.map(str::to_owned),
            },
        }
    }

    /// All tensors below `root`, in the order of the file.
    fn flatten(&self, root: Value) -> Result<Vec<(Vec<String>, Tensor)>> {
        let mut found = Vec::new();
        let mut rest = vec![(root, Vec::<String>::new())];
        for _ in 0..MOST {
            let Some((value, path)) = rest.pop() else { return Ok(found) };
            let Value::Node(at) = value else { continue };
            if path.len() > DEEPEST {
                return Err(damaged("its dictionaries are nested too deeply"));
            }
            let parts: Vec<(String, Value)> = match &self.nodes[at] {
                Node::Tensor(tensor) => {
                    found.push((path, tensor.clone()));
                    continue;
                }
                Node::Items(items) => items.iter().enumerate().map(|(i, item)| (i.to_string(), *item)).collect(),
                Node::Dict(entries) => {
                    let entry = |(key, value): &(Value, Value)| Ok((self.key(*key)?, *value));
                    entries.iter().filter(|(_, value)| is_node(value)).map(entry).collect::<Result<_>>()?
                }
                Node::Text(_) | Node::Storage { .. } => continue,
            };
            let below = |key: String| path.iter().cloned().chain([key]).collect::<Vec<_>>();
            let parts = parts.into_iter().rev().filter(|(_, value)| is_node(value));
            rest.extend(parts.map(|(key, value)| (value, below(key))));
            if rest.len() > MOST {
                break;
            }
        }
        Err(damaged("it holds too many values"))
    }
}

fn is_node(value: &Value) -> bool {
    matches!(value, Value::Node(_))
}

/// Keys and values in turns.
fn pairs(items: &[Value]) -> Result<Vec<(Value, Value)>> {
    match items.chunks_exact(2).remainder() {
        [] => Ok(items.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect()),
        _ => Err(damaged("a key has no value")),
    }
}

fn size(value: Value) -> Result<usize> {
    match value {
        Value::Int(n) => usize::try_from(n).map_err(|_| damaged("an extent, offset or stride is negative")),
        _ => Err(damaged("an extent, offset or stride is no integer")),
    }
}

/// What has to do with code is not run.
fn not_weights(what: &str) -> Error {
    Error::data(format!("holds {what}, which is no tensor, dictionary or number: code in a file is not run"))
        .hint("save the weights alone: torch.save(model.state_dict(), \"weights.pth\")")
}
