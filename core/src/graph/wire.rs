//! The byte form that crosses the plugin boundary: a header, then CBOR with operators and attributes by name.

use serde::{Deserialize, Serialize};

use super::Graph;
use crate::error::{Error, Result};

/// First bytes of every encoded graph.
const MAGIC: &[u8; 8] = b"mimus-g\0";

/// Raised when a reader of the old form can no longer read the new one. Operators and attributes may be added without.
pub const WIRE_VERSION: u32 = 1;

#[derive(Serialize)]
struct Outgoing<'a> {
    version: u32,
    made_by: &'a str,
    graph: &'a Graph,
}

#[derive(Deserialize)]
struct Header {
    version: u32,
    made_by: String,
}

#[derive(Deserialize)]
struct Body {
    graph: Graph,
}

impl Graph {
    /// The graph as bytes.
    ///
    /// # Errors
    /// If the encoder fails, which needs an operating system out of memory.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let mut bytes = MAGIC.to_vec();
        let message = Outgoing { version: WIRE_VERSION, made_by: env!("CARGO_PKG_VERSION"), graph: self };
        ciborium::into_writer(&message, &mut bytes)
            .map_err(|error| Error::graph(format!("cannot be encoded: {error}")))?;
        Ok(bytes)
    }

    /// The graph that `bytes` hold, verified.
    ///
    /// # Errors
    /// If the bytes are no encoded graph, of another wire version, hold an unknown operator, or a graph that is not well formed.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let body = bytes.strip_prefix(MAGIC).ok_or_else(|| Error::graph("the bytes are no encoded graph"))?;
        let header: Header = read(body)?;
        if header.version != WIRE_VERSION {
            let message = format!("wire version is {}, this Mimus reads {WIRE_VERSION}", header.version);
            return Err(Error::graph(message).hint("rebuild the plugin with the mimus-core of this Mimus"));
        }
        let graph = read::<Body>(body).map_err(|error| error.with("graph made by mimus-core", header.made_by))?.graph;
        graph.verify()?;
        Ok(graph)
    }
}

fn read<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> Result<T> {
    ciborium::from_reader(bytes).map_err(|error| Error::graph(format!("cannot be decoded: {error}")))
}
