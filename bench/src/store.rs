//! Tensors on disk as safetensors, replaced as a whole: checkpoints and scores.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use mimus_core::{Dtype, Error, ErrorKind, HostTensor, Result, ValueType};
use safetensors::SafeTensors;
use safetensors::tensor::View;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::files;

/// What a training had reached.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Checkpoint {
    /// Finished epochs.
    pub(crate) epochs: usize,
    /// Mean loss of every epoch.
    pub(crate) losses: Vec<f64>,
    /// Variables by name.
    pub(crate) variables: BTreeMap<String, HostTensor>,
}

struct Stored(HostTensor);

impl View for Stored {
    fn dtype(&self) -> safetensors::Dtype {
        match self.0.dtype() {
            Dtype::F32 => safetensors::Dtype::F32,
            Dtype::I64 => safetensors::Dtype::I64,
        }
    }

    fn shape(&self) -> &[usize] {
        self.0.shape()
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Owned(self.0.to_le_bytes())
    }

    fn data_len(&self) -> usize {
        self.0.len() * if self.0.dtype() == Dtype::F32 { 4 } else { 8 }
    }
}

/// The one entry of the header: a second would be written in an order that changes from run to run.
const STATE: &str = "mimus";

/// Tensors by name, and one line about them.
pub(crate) type Tensors = BTreeMap<String, HostTensor>;

/// Writes tensors as safetensors; the same content makes the same bytes.
pub(crate) fn save(path: &Path, tensors: &Tensors, state: &impl Serialize) -> Result<()> {
    let failed = |error: String| Error::new(ErrorKind::Io, error).with("file", path.display());
    let state = serde_json::to_string(state).map_err(|error| failed(error.to_string()))?;
    let metadata = HashMap::from([(STATE.to_owned(), state)]);
    let views = tensors.iter().map(|(name, value)| (name, Stored(value.clone())));
    let bytes = safetensors::serialize(views, Some(metadata)).map_err(|error| failed(error.to_string()))?;
    files::write(path, &bytes)
}

/// Reads what [`save`] wrote; `None` if there is no file.
pub(crate) fn load<S: DeserializeOwned>(path: &Path) -> Result<Option<(Tensors, S)>> {
    let Some(bytes) = files::read(path)? else { return Ok(None) };
    let failed = |error: String| {
        Error::new(ErrorKind::Io, format!("is no file of Mimus: {error}"))
            .with("file", path.display())
            .hint("remove the file to compute it anew")
    };
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|error| failed(error.to_string()))?;
    let state = header.metadata().as_ref().and_then(|metadata| metadata.get(STATE));
    let state = state.ok_or_else(|| failed("it has no state".to_owned()))?;
    let state = serde_json::from_str(state).map_err(|error| failed(error.to_string()))?;
    let tensors = SafeTensors::deserialize(&bytes).map_err(|error| failed(error.to_string()))?;
    let tensor = |(name, view): (String, safetensors::tensor::TensorView<'_>)| {
        let dtype = match view.dtype() {
            safetensors::Dtype::F32 => Dtype::F32,
            safetensors::Dtype::I64 => Dtype::I64,
            other => return Err(failed(format!("`{name}` is {other:?}"))),
        };
        Ok((name, HostTensor::from_le_bytes(&ValueType::new(dtype, view.shape()), view.data())?))
    };
    Ok(Some((tensors.tensors().into_iter().map(tensor).collect::<Result<_>>()?, state)))
}

impl Checkpoint {
    pub(crate) fn save(&self, path: &Path) -> Result<()> {
        save(path, &self.variables, &(self.epochs, &self.losses))
    }

    /// `None` if there is no file.
    pub(crate) fn load(path: &Path) -> Result<Option<Self>> {
        let stored = load::<(usize, Vec<f64>)>(path)?;
        Ok(stored.map(|(variables, (epochs, losses))| Self { epochs, losses, variables }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_comes_back_bit_for_bit_and_half_a_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/checkpoint.safetensors");
        let variables = BTreeMap::from([
            ("w".to_owned(), HostTensor::f32([2], vec![1.5, -0.0]).unwrap()),
            ("n".to_owned(), HostTensor::i64([], vec![7]).unwrap()),
        ]);
        let checkpoint = Checkpoint { epochs: 3, losses: vec![0.1, 0.2, 1.0 / 3.0], variables };
        assert_eq!(Checkpoint::load(&path).unwrap(), None);
        checkpoint.save(&path).unwrap();
        assert_eq!(Checkpoint::load(&path).unwrap(), Some(checkpoint));
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        assert!(Checkpoint::load(&path).unwrap_err().message().starts_with("is no file of Mimus"));
    }
}
