//! The text form, which prints and parses: what tests, errors, documentation and `mimus graph` show.
//!
//! ```text
//! graph "small"
//! variable "w": f32[3] parameter constant(1.0)
//! %0: f32[2, 3] = input "" name="x" dtype="f32" shape=[2, 3] ()
//! %1: f32[3] = variable "" name="w" dtype="f32" shape=[3] ()
//! %2: f32[2, 3] = mul "layer" (%0, %1)
//! output "y" %2
//! assign "w" %1
//! tap "bottleneck" %2
//! ```
//!
//! Floats print so that they parse to the same bits; a NaN prints as its bits.

use std::fmt;

use super::{Graph, Init, Named, Node, Role, Value, ValueId, Variable};
use crate::error::{Error, Result};
use crate::ops::{Attribute, Op};
use crate::tensor::{Dtype, HostData, HostTensor, ValueType};

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "graph {:?}", self.name)?;
        for Variable { name, ty, role, init } in &self.variables {
            write!(f, "variable {name:?}: {ty} {} ", role_name(*role))?;
            match init {
                Init::Constant(value) => writeln!(f, "constant({})", float(*value))?,
                Init::Uniform { lo, hi } => writeln!(f, "uniform({}, {})", float(*lo), float(*hi))?,
                Init::Normal { mean, std } => writeln!(f, "normal({}, {})", float(*mean), float(*std))?,
            }
        }
        for node in &self.nodes {
            let outputs = node.outputs.iter().map(|v| format!("{v}: {}", self.ty(*v)));
            write!(f, "{} = {} {:?} ", outputs.collect::<Vec<_>>().join(", "), node.op.name(), node.label)?;
            for (name, value) in node.op.attributes() {
                write!(f, "{name}={} ", attribute(&value))?;
            }
            let inputs: Vec<String> = node.inputs.iter().map(ValueId::to_string).collect();
            writeln!(f, "({})", inputs.join(", "))?;
        }
        for (what, list) in [("output", &self.outputs), ("assign", &self.assignments), ("tap", &self.taps)] {
            for Named { name, value } in list {
                writeln!(f, "{what} {name:?} {value}")?;
            }
        }
        Ok(())
    }
}

fn role_name(role: Role) -> &'static str {
    match role {
        Role::Parameter => "parameter",
        Role::Buffer => "buffer",
        Role::OptimizerState => "optimizer_state",
    }
}

fn float(x: f64) -> String {
    if x.is_nan() { format!("nan:{:016x}", x.to_bits()) } else { format!("{x:?}") }
}

fn attribute(value: &Attribute) -> String {
    match value {
        Attribute::Int(n) => n.to_string(),
        Attribute::Float(x) => float(*x),
        Attribute::Bool(b) => b.to_string(),
        Attribute::Text(s) => format!("{s:?}"),
        Attribute::Ints(v) => format!("{v:?}"),
        Attribute::Tensor(t) => tensor(t),
    }
}

/// f32 elements print as their bits in hexadecimal: exact, and of one width.
fn tensor(t: &HostTensor) -> String {
    let elements: Vec<String> = match t.data() {
        HostData::F32(v) => v.iter().map(|x| format!("{:08x}", x.to_bits())).collect(),
        HostData::I64(v) => v.iter().map(i64::to_string).collect(),
    };
    format!("tensor {}{{{}}}", t.ty(), elements.join(" "))
}

impl std::str::FromStr for Graph {
    type Err = Error;

    /// The graph that the text describes, verified.
    fn from_str(text: &str) -> Result<Self> {
        let mut graph = Graph::default();
        for (number, line) in text.lines().enumerate() {
            let mut cursor = Cursor { line, at: 0 };
            cursor
                .statement(&mut graph)
                .map_err(|message| Error::graph(format!("line {}, column {}: {message}", number + 1, cursor.at + 1)))?;
        }
        graph.verify()?;
        Ok(graph)
    }
}

/// A position in a line.
struct Cursor<'a> {
    line: &'a str,
    at: usize,
}

type Parsed<T> = std::result::Result<T, String>;

impl<'a> Cursor<'a> {
    fn rest(&self) -> &'a str {
        &self.line[self.at..]
    }

    fn skip_spaces(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start_matches([' ', '\t']).len();
    }

    fn eat(&mut self, token: &str) -> bool {
        self.skip_spaces();
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    fn expect(&mut self, token: &str) -> Parsed<()> {
        if self.eat(token) { Ok(()) } else { Err(format!("expects `{token}`")) }
    }

    /// The longest run of characters that may stand in a word or number.
    fn word(&mut self) -> Parsed<&'a str> {
        self.skip_spaces();
        let allowed = |c: char| c.is_ascii_alphanumeric() || "_.+-".contains(c);
        let end = self.rest().find(|c| !allowed(c)).unwrap_or(self.rest().len());
        if end == 0 {
            return Err("expects a word or a number".to_owned());
        }
        let word = &self.rest()[..end];
        self.at += end;
        Ok(word)
    }

    fn number<T: std::str::FromStr>(&mut self, what: &str) -> Parsed<T> {
        let start = self.at;
        let word = self.word()?;
        word.parse().map_err(|_| {
            self.at = start;
            format!("`{word}` is no {what}")
        })
    }

    fn float(&mut self) -> Parsed<f64> {
        let start = self.at;
        if self.eat("nan:") {
            let word = self.word()?;
            return u64::from_str_radix(word, 16)
                .map(f64::from_bits)
                .map_err(|_| format!("`{word}` are no bits of a NaN"));
        }
        self.at = start;
        self.number("number")
    }

    /// A quoted text with Rust's escapes.
    fn quoted(&mut self) -> Parsed<String> {
        self.expect("\"")?;
        let mut text = String::new();
        let mut characters = self.rest().char_indices();
        while let Some((i, c)) = characters.next() {
            match c {
                '"' => {
                    self.at += i + 1;
                    return Ok(text);
                }
                '\\' => text.push(unescape(&mut characters)?),
                c => text.push(c),
            }
        }
        Err("the text is not closed".to_owned())
    }

    /// `open item, item close`.
    fn list<T>(&mut self, [open, close]: [&str; 2], mut item: impl FnMut(&mut Self) -> Parsed<T>) -> Parsed<Vec<T>> {
        self.expect(open)?;
        let mut items = Vec::new();
        if self.eat(close) {
            return Ok(items);
        }
        loop {
            items.push(item(self)?);
            if self.eat(close) {
                return Ok(items);
            }
            self.expect(",")?;
        }
    }

    fn value(&mut self) -> Parsed<ValueId> {
        self.expect("%")?;
        self.number("value").map(ValueId)
    }

    fn ty(&mut self) -> Parsed<ValueType> {
        let dtype = match self.word()? {
            "f32" => Dtype::F32,
            "i64" => Dtype::I64,
            other => return Err(format!("`{other}` is no element type")),
        };
        Ok(ValueType::new(dtype, self.list(["[", "]"], |c| c.number("extent"))?))
    }

    fn tensor(&mut self) -> Parsed<HostTensor> {
        let ty = self.ty()?;
        self.expect("{")?;
        let mut words = Vec::new();
        while !self.eat("}") {
            words.push(self.word()?);
        }
        let tensor = match ty.dtype {
            Dtype::F32 => {
                let bits = words.iter().map(|word| u32::from_str_radix(word, 16).map(f32::from_bits));
                let data = bits.collect::<Result<_, _>>().map_err(|_| "elements are no bits of f32".to_owned())?;
                HostTensor::f32(ty.shape, data)
            }
            Dtype::I64 => {
                let data = words.iter().map(|word| word.parse()).collect::<Result<_, _>>();
                HostTensor::i64(ty.shape, data.map_err(|_| "elements are no i64".to_owned())?)
            }
        };
        tensor.map_err(|error| error.message().to_owned())
    }

    fn attribute(&mut self) -> Parsed<Attribute> {
        self.skip_spaces();
        let next = self.rest().chars().next().ok_or("expects a value")?;
        match next {
            '"' => self.quoted().map(Attribute::Text),
            '[' => self.list(["[", "]"], |c| c.number("whole number")).map(Attribute::Ints),
            _ if self.eat("tensor") => self.tensor().map(Attribute::Tensor),
            _ if self.eat("true") => Ok(Attribute::Bool(true)),
            _ if self.eat("false") => Ok(Attribute::Bool(false)),
            _ if self.rest().starts_with("nan:") => self.float().map(Attribute::Float),
            _ => {
                let start = self.at;
                let word = self.word()?;
                match word.parse::<u64>() {
                    Ok(n) => Ok(Attribute::Int(n)),
                    Err(_) => {
                        self.at = start;
                        self.float().map(Attribute::Float)
                    }
                }
            }
        }
    }

    fn statement(&mut self, graph: &mut Graph) -> Parsed<()> {
        self.skip_spaces();
        if self.rest().is_empty() {
            return Ok(());
        }
        if self.rest().starts_with('%') {
            self.node(graph)?;
        } else {
            match self.word()? {
                "graph" => graph.name = self.quoted()?,
                "variable" => graph.variables.push(self.variable()?),
                "output" => graph.outputs.push(self.named()?),
                "assign" => graph.assignments.push(self.named()?),
                "tap" => graph.taps.push(self.named()?),
                other => return Err(format!("`{other}` begins no statement")),
            }
        }
        self.skip_spaces();
        if self.rest().is_empty() { Ok(()) } else { Err("expects the end of the line".to_owned()) }
    }

    fn named(&mut self) -> Parsed<Named> {
        Ok(Named { name: self.quoted()?, value: self.value()? })
    }

    fn variable(&mut self) -> Parsed<Variable> {
        let name = self.quoted()?;
        self.expect(":")?;
        let ty = self.ty()?;
        let role = match self.word()? {
            "parameter" => Role::Parameter,
            "buffer" => Role::Buffer,
            "optimizer_state" => Role::OptimizerState,
            other => return Err(format!("`{other}` is no role")),
        };
        let kind = self.word()?;
        let numbers = self.list(["(", ")"], Self::float)?;
        let init = match (kind, numbers.as_slice()) {
            ("constant", [value]) => Init::Constant(*value),
            ("uniform", [lo, hi]) => Init::Uniform { lo: *lo, hi: *hi },
            ("normal", [mean, std]) => Init::Normal { mean: *mean, std: *std },
            _ => return Err(format!("`{kind}` with {} numbers is no beginning", numbers.len())),
        };
        Ok(Variable { name, ty, role, init })
    }

    fn node(&mut self, graph: &mut Graph) -> Parsed<()> {
        let mut outputs = Vec::new();
        loop {
            let value = self.value()?;
            self.expect(":")?;
            outputs.push((value, self.ty()?));
            if !self.eat(",") {
                break;
            }
        }
        self.expect("=")?;
        let name = self.word()?;
        let label = self.quoted()?;
        let mut attributes = Vec::new();
        while !{
            self.skip_spaces();
            self.rest().starts_with('(')
        } {
            let key = self.word()?.to_owned();
            self.expect("=")?;
            attributes.push((key, self.attribute()?));
        }
        let inputs = self.list(["(", ")"], Self::value)?;
        let op = Op::from_attributes(name, attributes).map_err(|error| error.message().to_owned())?;
        let node = graph.nodes.len();
        let ids = outputs.iter().map(|(value, _)| *value).collect();
        graph.values.extend(outputs.into_iter().map(|(_, ty)| Value { ty, node }));
        graph.nodes.push(Node { op, label, inputs, outputs: ids });
        Ok(())
    }
}

/// The character that an escape after a backslash stands for: those that Rust's `{:?}` writes.
fn unescape(characters: &mut std::str::CharIndices<'_>) -> Parsed<char> {
    let simple = match characters.next().map(|(_, c)| c) {
        Some('n') => '\n',
        Some('t') => '\t',
        Some('r') => '\r',
        Some('0') => '\0',
        Some(c @ ('\\' | '"' | '\'')) => c,
        Some('u') => return unicode(characters),
        _ => return Err("unknown escape in a text".to_owned()),
    };
    Ok(simple)
}

fn unicode(characters: &mut std::str::CharIndices<'_>) -> Parsed<char> {
    let mut digits = characters.map(|(_, c)| c).take_while(|c| *c != '}');
    let opened = digits.next() == Some('{');
    let code = u32::from_str_radix(&digits.collect::<String>(), 16).ok().and_then(char::from_u32);
    code.filter(|_| opened).ok_or_else(|| "unknown escape in a text".to_owned())
}
