//! A file with weights: which tensors it holds, and the elements of one.

use std::io::Cursor;
use std::path::{Path, PathBuf};

use mimus_core::{Context, Error, HostTensor, Result, ValueType};
use safetensors::SafeTensors;
use zip::ZipArchive;

use super::archive;
use super::element::Element;
use super::pickle::Tensor;
use crate::files;

/// A tensor in the file.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// Keys of the dictionaries around it, with dots between; empty for the outermost.
    pub(crate) section: String,
    pub(crate) name: String,
    pub(super) element: Element,
    pub(crate) shape: Vec<usize>,
    place: Place,
}

#[derive(Clone, Debug)]
enum Place {
    /// In a storage of a PyTorch file.
    Storage(Tensor),
    /// In a safetensors file, by its name.
    Named,
}

enum Store {
    Torch { archive: ZipArchive<Cursor<Vec<u8>>>, root: String },
    Safetensors(Vec<u8>),
}

/// A file with weights, in memory.
pub(crate) struct Source {
    pub(crate) path: PathBuf,
    /// SHA-256 in hexadecimal.
    pub(crate) sha256: String,
    pub(crate) entries: Vec<Entry>,
    store: Store,
}

/// What a PyTorch file of before version 1.6 begins with: a pickled number.
const LEGACY: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";

const SAVE_AGAIN: &str =
    "write it anew with PyTorch: torch.save(torch.load(\"old.pth\", map_location=\"cpu\"), \"new.pth\")";

impl Source {
    /// Reads the names, types and shapes of all tensors.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(|error| {
            Error::io("the weights cannot be read", path, &error).into_kind(mimus_core::ErrorKind::Data)
        })?;
        let sha256 = files::digest(&bytes);
        let (store, entries) = read(bytes).context("file", path.display())?;
        Ok(Self { path: path.to_owned(), sha256, entries, store })
    }

    /// The elements of a tensor as one of type `ty`, whose shape is that of the entry.
    pub(super) fn tensor(&mut self, entry: &Entry, ty: &ValueType) -> Result<HostTensor> {
        let data = match (&mut self.store, &entry.place) {
            (Store::Torch { archive, root }, Place::Storage(tensor)) => archive::elements(archive, root, tensor),
            (Store::Safetensors(bytes), _) => SafeTensors::deserialize(bytes)
                .and_then(|all| all.tensor(&entry.name).map(|view| view.data().to_vec()))
                .map_err(|error| Error::data(format!("cannot be read: {error}"))),
            (Store::Torch { .. }, Place::Named) => Err(Error::data("is in no storage")),
        };
        data.and_then(|data| entry.element.tensor(ty, &data))
            .context("tensor", &entry.name)
            .context("file", self.path.display())
    }
}

/// By what the file begins with, whatever its name.
fn read(bytes: Vec<u8>) -> Result<(Store, Vec<Entry>)> {
    if bytes.starts_with(b"PK") {
        let (archive, root, tensors) = archive::open(bytes)?;
        let entry = |(mut path, tensor): (Vec<String>, Tensor)| {
            let name = path.pop().unwrap_or_default();
            let (element, shape) = (tensor.element, tensor.shape.clone());
            Entry { section: path.join("."), name, element, shape, place: Place::Storage(tensor) }
        };
        return Ok((Store::Torch { archive, root }, tensors.into_iter().map(entry).collect()));
    }
    if bytes.starts_with(LEGACY) {
        return Err(Error::data("is in PyTorch's format of before version 1.6").hint(SAVE_AGAIN));
    }
    if bytes.first() == Some(&0x80) || bytes.first() == Some(&b'(') {
        return Err(Error::data("is a bare pickle and no file of torch.save").hint(SAVE_AGAIN));
    }
    let entries = safetensors(&bytes)?;
    Ok((Store::Safetensors(bytes), entries))
}

fn safetensors(bytes: &[u8]) -> Result<Vec<Entry>> {
    let all = SafeTensors::deserialize(bytes).map_err(|error| {
        Error::data(format!("is neither a file of torch.save nor safetensors: {error}"))
            .hint("give a .pth, .pt or .safetensors file; if it is one, it was cut off or damaged")
    })?;
    let entry = |(name, view): (String, safetensors::tensor::TensorView<'_>)| {
        let element = match view.dtype() {
            safetensors::Dtype::F64 => Element::F64,
            safetensors::Dtype::F32 => Element::F32,
            safetensors::Dtype::F16 => Element::F16,
            safetensors::Dtype::BF16 => Element::Bf16,
            safetensors::Dtype::I64 => Element::I64,
            safetensors::Dtype::I32 => Element::I32,
            safetensors::Dtype::I16 => Element::I16,
            safetensors::Dtype::I8 => Element::I8,
            safetensors::Dtype::U8 => Element::U8,
            safetensors::Dtype::BOOL => Element::Bool,
            other => {
                return Err(Error::data(format!("elements of type {other:?} are not understood")).with("tensor", name));
            }
        };
        Ok(Entry { section: String::new(), name, element, shape: view.shape().to_vec(), place: Place::Named })
    };
    all.tensors().into_iter().map(entry).collect()
}
