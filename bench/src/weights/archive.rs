//! The zip archive that `torch.save` writes: a pickle that names tensors, and a file for each storage.

use std::io::{Cursor, Read};

use mimus_core::{Error, Result};
use zip::ZipArchive;

use super::pickle::{self, Tensor};

type Archive = ZipArchive<Cursor<Vec<u8>>>;

/// The archive, the folder in it, and all tensors with the keys that lead to them.
type Opened = (Archive, String, Vec<(Vec<String>, Tensor)>);

const PICKLE: &str = "data.pkl";

/// Most bytes of a pickle: names and shapes, not elements.
const LONGEST: u64 = 256 << 20;

fn damaged(error: impl std::fmt::Display) -> Error {
    Error::data(format!("its zip archive is damaged: {error}")).hint("download or copy the file again")
}

/// Reads the pickle.
pub(super) fn open(bytes: Vec<u8>) -> Result<Opened> {
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(damaged)?;
    let root = root(&archive).ok_or_else(|| {
        Error::data(format!("is a zip archive without {PICKLE}: no file of torch.save")).hint("give a .pth or .pt file")
    })?;
    if archive.index_for_name(&format!("{root}byteorder")).is_some()
        && file(&mut archive, &format!("{root}byteorder"), 16)? != b"little"
    {
        return Err(Error::data("was written on a machine with big-endian numbers")
            .hint("write it anew with PyTorch on a little-endian machine"));
    }
    let pickle = file(&mut archive, &format!("{root}{PICKLE}"), LONGEST)?;
    Ok((archive, root, pickle::tensors(&pickle)?))
}

/// The folder that holds the pickle, with a slash at its end.
fn root(archive: &Archive) -> Option<String> {
    let mut names = archive.file_names().filter_map(std::result::Result::ok);
    let root = names.find_map(|name| Some(name.strip_suffix(PICKLE)?.to_owned()));
    root.filter(|root| root.is_empty() || root.ends_with('/'))
}

/// At most `longest` bytes of a file in the archive.
fn file(archive: &mut Archive, name: &str, longest: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let entry = archive.by_name(name).map_err(|error| damaged(format!("{name}: {error}")))?;
    entry.take(longest).read_to_end(&mut bytes).map_err(|error| damaged(format!("{name}: {error}")))?;
    Ok(bytes)
}

/// The elements of a tensor, little-endian and in the order of its shape. The shape is trusted: it is the model's.
pub(super) fn elements(archive: &mut Archive, root: &str, tensor: &Tensor) -> Result<Vec<u8>> {
    let Tensor { element, key, stored, offset, shape, strides } = tensor;
    let too_large = || Error::data("reaches beyond its storage").hint("download or copy the file again");
    let extents = || shape.iter().zip(strides);
    let last = extents().try_fold(*offset, |at, (n, stride)| at.checked_add(n.saturating_sub(1).checked_mul(*stride)?));
    let empty = shape.contains(&0);
    if !empty && last.is_none_or(|last| last >= *stored) {
        return Err(too_large());
    }
    let length = stored.checked_mul(element.size()).ok_or_else(too_large)?;
    let storage = file(archive, &format!("{root}data/{key}"), length as u64)?;
    if storage.len() < length {
        let message = format!("its storage has {} bytes, expects {length}", storage.len());
        return Err(Error::data(message).hint("download or copy the file again"));
    }
    let mut out = Vec::new();
    let mut index = vec![0_usize; shape.len()];
    for _ in 0..shape.iter().product() {
        let at = index.iter().zip(strides).map(|(i, stride)| i * stride).sum::<usize>() + offset;
        out.extend_from_slice(&storage[at * element.size()..][..element.size()]);
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            if index[axis] < shape[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
    Ok(out)
}
