//! The host's side: the traits again, each method a request to a library, each graph verified before anyone uses it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use abi_stable::std_types::RSlice;
use serde::de::DeserializeOwned;
use serde_bytes::{ByteBuf, Bytes};

use super::export::Component;
use super::manifest::ManifestInfo;
use super::message::{Request, decode, encode};
use super::types::ModuleRef;
use crate::error::{Context, Error, Result};
use crate::graph::Graph;
use crate::plugin::{
    AttentionModule, Backend, BackendRequest, Batch, ComponentInfo, Dataset, DeviceInfo, ExportRequest, FeatureRequest,
    Index, Kind, LoadedFile, MimickingHead, Model, ModelRequest, ModelSpec, OpenDataset, Options, ProgramId, Sample,
    Session, Split,
};
use crate::tensor::HostTensor;

/// Context of what the two sides understand differently: the plugin's version of this crate.
const BUILT_WITH: &str = "built with mimus-core";

/// A component behind the boundary.
#[derive(Clone)]
pub(super) struct Remote {
    module: ModuleRef,
    manifest: Arc<ManifestInfo>,
    component: u32,
    info: Arc<ComponentInfo>,
}

impl Remote {
    /// All components of a library, each asked to describe itself.
    pub(super) fn all(module: ModuleRef, manifest: &Arc<ManifestInfo>) -> Result<Vec<Self>> {
        let count: u32 = raw_call(module, 0, 0, &Request::Count).flatten()?;
        if count == 0 {
            return Err(Error::plugin("it exports no component"));
        }
        let one = |component| {
            let info =
                raw_call(module, component, 0, &Request::Info).flatten().context("component number", component)?;
            Ok(Self { module, manifest: Arc::clone(manifest), component, info: Arc::new(info) })
        };
        (0..count).map(one).collect()
    }

    /// What the component says about itself.
    pub(super) fn info(&self) -> &ComponentInfo {
        &self.info
    }

    /// The component as what it says that it is. Lives on, as its library does.
    pub(super) fn leak(self) -> Component {
        let kind = self.info.kind;
        let remote: &'static Self = Box::leak(Box::new(self));
        match kind {
            Kind::Model => Component::Model(remote),
            Kind::Attention => Component::Attention(remote),
            Kind::Head => Component::Head(remote),
            Kind::Dataset => Component::Dataset(remote),
            Kind::Backend => Component::Backend(remote),
        }
    }

    fn call<T: DeserializeOwned>(&self, handle: u64, request: &Request<'_>) -> Result<T> {
        raw_call(self.module, self.component, handle, request)
            .context(BUILT_WITH, &self.manifest.core)
            .flatten()
            .context("method", request.method())
            .context(self.info.kind.name(), &self.info.name)
            .context("plugin", &self.manifest.name)
    }

    fn verified(&self, what: &str, graph: &Graph) -> Result<()> {
        graph.verify().map_err(|error| self.blame(what, error))
    }

    /// Adds where something that breaks the contract came from.
    fn blame(&self, what: &str, error: Error) -> Error {
        error
            .into_kind(crate::ErrorKind::Plugin)
            .with(BUILT_WITH, &self.manifest.core)
            .with("described", what)
            .with(self.info.kind.name(), &self.info.name)
            .with("plugin", &self.manifest.name)
            .hint("this is a bug of the plugin: what it describes is not well formed")
    }

    fn fragment(&self, request: &FeatureRequest) -> Result<Graph> {
        let graph = self.call(0, &Request::DescribeFragment(Cow::Borrowed(request)))?;
        self.verified("fragment", &graph)?;
        Ok(graph)
    }
}

/// The method's own result, or why its bytes cannot be understood.
fn raw_call<T: DeserializeOwned>(
    module: ModuleRef,
    component: u32,
    handle: u64,
    request: &Request<'_>,
) -> Result<Result<T>> {
    let bytes = encode(request)?;
    let reply = module.call()(component, handle, RSlice::from_slice(&bytes));
    let bytes = reply.bytes.as_slice();
    if reply.ok { decode(bytes).map(Ok) } else { decode(bytes).map(Err) }
}

impl Model for Remote {
    fn info(&self) -> ComponentInfo {
        (*self.info).clone()
    }

    fn describe(&self, request: &ModelRequest) -> Result<ModelSpec> {
        let spec: ModelSpec = self.call(0, &Request::DescribeModel(Cow::Borrowed(request)))?;
        spec.training().try_for_each(|(name, graph)| self.verified(&format!("training graph `{name}`"), graph))?;
        self.verified("evaluation graph", &spec.eval)?;
        if let Some(graph) = &spec.image_score {
            self.verified("image score", graph)?;
        }
        spec.verify().map_err(|error| self.blame("specification", error))?;
        Ok(spec)
    }

    fn prepare(&self, request: &ModelRequest, batch: Batch, seed: u64) -> Result<Batch> {
        self.call(0, &Request::Prepare { request: Cow::Borrowed(request), batch, seed })
    }
}

impl AttentionModule for Remote {
    fn info(&self) -> ComponentInfo {
        (*self.info).clone()
    }

    fn describe(&self, request: &FeatureRequest) -> Result<Graph> {
        self.fragment(request)
    }
}

impl MimickingHead for Remote {
    fn info(&self) -> ComponentInfo {
        (*self.info).clone()
    }

    fn describe(&self, request: &FeatureRequest) -> Result<Graph> {
        self.fragment(request)
    }
}

impl Dataset for Remote {
    fn info(&self) -> ComponentInfo {
        (*self.info).clone()
    }

    fn open(&self, root: Option<&Path>, options: &Options) -> Result<Box<dyn OpenDataset>> {
        let request = Request::OpenDataset { root: root.map(Path::to_owned), options: Cow::Borrowed(options) };
        let (handle, index) = self.call(0, &request)?;
        Ok(Box::new(RemoteDataset { handle: Handle { remote: self.clone(), number: handle }, index }))
    }
}

impl Backend for Remote {
    fn info(&self) -> ComponentInfo {
        (*self.info).clone()
    }

    fn devices(&self) -> Result<Vec<DeviceInfo>> {
        self.call(0, &Request::Devices)
    }

    fn open(&self, request: &BackendRequest) -> Result<Box<dyn Session>> {
        let number = self.call(0, &Request::OpenSession(Cow::Borrowed(request)))?;
        Ok(Box::new(RemoteSession(Handle { remote: self.clone(), number })))
    }

    fn export(&self, request: &ExportRequest) -> Result<Vec<u8>> {
        let bytes: ByteBuf = self.call(0, &Request::Export(Cow::Borrowed(request)))?;
        Ok(bytes.into_vec())
    }
}

/// An object on the plugin's side, closed when this is dropped.
struct Handle {
    remote: Remote,
    number: u64,
}

impl Handle {
    fn call<T: DeserializeOwned>(&self, request: &Request<'_>) -> Result<T> {
        self.remote.call(self.number, request)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // Nothing is left to do for an object that does not even close; its library stays loaded anyway.
        let _ = self.call::<()>(&Request::Close);
    }
}

struct RemoteDataset {
    handle: Handle,
    index: Index,
}

impl OpenDataset for RemoteDataset {
    fn index(&self) -> &Index {
        &self.index
    }

    fn read(&self, group: usize, split: Split, sample: usize) -> Result<Sample> {
        self.handle.call(&Request::ReadSample { group, split, sample })
    }
}

struct RemoteSession(Handle);

impl Session for RemoteSession {
    fn load(&mut self, program: &Graph) -> Result<ProgramId> {
        self.0.call(&Request::Load(Cow::Borrowed(program)))
    }

    fn write(&mut self, variable: &str, value: &HostTensor) -> Result<()> {
        self.0.call(&Request::Write { variable: Cow::Borrowed(variable), value: Cow::Borrowed(value) })
    }

    fn read(&mut self, variable: &str) -> Result<HostTensor> {
        self.0.call(&Request::Read { variable: Cow::Borrowed(variable) })
    }

    fn run(&mut self, program: ProgramId, inputs: &BTreeMap<String, HostTensor>) -> Result<Vec<HostTensor>> {
        self.0.call(&Request::Run { program, inputs: Cow::Borrowed(inputs) })
    }

    fn load_file(&mut self, bytes: &[u8]) -> Result<LoadedFile> {
        self.0.call(&Request::LoadFile { bytes: Cow::Borrowed(Bytes::new(bytes)) })
    }
}
