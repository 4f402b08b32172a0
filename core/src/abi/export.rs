//! The plugin's side: finds the component, calls its method, contains panics.

use std::any::Any;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use serde_bytes::ByteBuf;

use super::message::{Request, decode, encode};
use super::types::{Call, Reply};
use crate::error::{Error, ErrorKind, Result};
use crate::plugin::{
    AttentionModule, Backend, ComponentInfo, Dataset, Kind, MimickingHead, Model, OpenDataset, Session,
};

/// A component: linked into this binary, or behind the boundary of a library that is never closed.
#[derive(Clone, Copy)]
pub enum Component {
    /// A detector.
    Model(&'static dyn Model),
    /// An attention module.
    Attention(&'static dyn AttentionModule),
    /// A mimicking head.
    Head(&'static dyn MimickingHead),
    /// A data set.
    Dataset(&'static dyn Dataset),
    /// A compute backend.
    Backend(&'static dyn Backend),
}

impl Component {
    /// Which trait it implements.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Model(_) => Kind::Model,
            Self::Attention(_) => Kind::Attention,
            Self::Head(_) => Kind::Head,
            Self::Dataset(_) => Kind::Dataset,
            Self::Backend(_) => Kind::Backend,
        }
    }

    /// What it says about itself.
    pub fn info(&self) -> ComponentInfo {
        match self {
            Self::Model(model) => model.info(),
            Self::Attention(module) => module.info(),
            Self::Head(head) => head.info(),
            Self::Dataset(dataset) => dataset.info(),
            Self::Backend(backend) => backend.info(),
        }
    }
}

impl std::fmt::Debug for Component {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Component::{:?}", self.kind())
    }
}

/// Something that a component opened and the host refers to by a number.
enum Object {
    Dataset(Box<dyn OpenDataset>),
    Session(Mutex<Box<dyn Session>>),
}

static OBJECTS: Mutex<BTreeMap<u64, Arc<Object>>> = Mutex::new(BTreeMap::new());
static NEXT_HANDLE: AtomicU64 = AtomicU64::new(1);

fn keep(object: Object) -> u64 {
    let handle = NEXT_HANDLE.fetch_add(1, Ordering::Relaxed);
    OBJECTS.lock().unwrap_or_else(PoisonError::into_inner).insert(handle, Arc::new(object));
    handle
}

fn object(handle: u64) -> Result<Arc<Object>> {
    let objects = OBJECTS.lock().unwrap_or_else(PoisonError::into_inner);
    objects.get(&handle).cloned().ok_or_else(|| Error::plugin(format!("handle {handle} is closed")))
}

/// Answers one request: the library's only entry after loading.
pub fn dispatch(components: &'static [Component], component: u32, handle: u64, request: Call<'_>) -> Reply {
    let result = catch_unwind(AssertUnwindSafe(|| {
        let request: Request<'_> = decode(request.as_slice())?;
        if let Request::Count = request {
            return encode(&components.len());
        }
        let component = components
            .get(component as usize)
            .ok_or_else(|| Error::plugin(format!("there is no component number {component}")))?;
        answer(component, handle, request)
    }));
    let result = result.unwrap_or_else(|payload| Err(panicked(payload.as_ref())));
    match result {
        Ok(bytes) => Reply { ok: true, bytes: bytes.into() },
        Err(error) => Reply { ok: false, bytes: encode(&error).unwrap_or_default().into() },
    }
}

fn answer(component: &Component, handle: u64, request: Request<'_>) -> Result<Vec<u8>> {
    match (component, request) {
        (component, Request::Info) => encode(&component.info()),
        (_, Request::Close) => {
            let object = OBJECTS.lock().unwrap_or_else(PoisonError::into_inner).remove(&handle);
            drop(object);
            encode(&())
        }
        (Component::Model(model), Request::DescribeModel(request)) => reply(model.describe(&request)),
        (Component::Model(model), Request::Prepare { request, batch, seed }) => {
            reply(model.prepare(&request, batch, seed))
        }
        (Component::Attention(module), Request::DescribeFragment(request)) => reply(module.describe(&request)),
        (Component::Head(head), Request::DescribeFragment(request)) => reply(head.describe(&request)),
        (Component::Dataset(dataset), Request::OpenDataset { root, options }) => {
            let open = dataset.open(root.as_deref(), &options)?;
            let index = open.index().clone();
            encode(&(keep(Object::Dataset(open)), index))
        }
        (Component::Backend(backend), Request::Devices) => reply(backend.devices()),
        (Component::Backend(backend), Request::OpenSession(request)) => {
            let session = backend.open(&request)?;
            encode(&keep(Object::Session(Mutex::new(session))))
        }
        (Component::Backend(backend), Request::Export(request)) => reply(backend.export(&request).map(ByteBuf::from)),
        (component, request) => match (&*object(handle)?, request) {
            (Object::Dataset(open), Request::ReadSample { group, split, sample }) => {
                reply(open.read(group, split, sample))
            }
            (Object::Session(session), request) => {
                let mut session = session.lock().map_err(|_| {
                    Error::new(ErrorKind::Panicked, "the session panicked before and cannot be used any more")
                })?;
                answer_session(session.as_mut(), request)
            }
            (_, request) => Err(Error::plugin(format!("a {} has no method `{}`", component.kind(), request.method()))),
        },
    }
}

fn answer_session(session: &mut dyn Session, request: Request<'_>) -> Result<Vec<u8>> {
    match request {
        Request::Load(graph) => reply(session.load(&graph)),
        Request::Write { variable, value } => reply(session.write(&variable, &value)),
        Request::Read { variable } => reply(session.read(&variable)),
        Request::Run { program, inputs } => reply(session.run(program, &inputs)),
        Request::LoadFile { bytes } => reply(session.load_file(&bytes)),
        request => Err(Error::plugin(format!("a session has no method `{}`", request.method()))),
    }
}

fn reply<T: Serialize>(result: Result<T>) -> Result<Vec<u8>> {
    encode(&result?)
}

thread_local! {
    /// Where the last panic of this thread happened.
    static PANICKED_AT: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Lets a panic in this library be reported by the host alone, with its place, instead of on the terminal too.
///
/// A `cdylib` has a standard library of its own, so that the hook of the host stays as it is.
pub(super) fn keep_panics_quiet() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(|location| format!("{}:{}", location.file(), location.line()));
        PANICKED_AT.with(|cell| *cell.borrow_mut() = place);
    }));
}

fn panicked(payload: &(dyn Any + Send)) -> Error {
    let message = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "without a message".to_owned());
    let place = PANICKED_AT.with(|cell| cell.borrow_mut().take());
    let place = place.map(|place| format!(" at {place}")).unwrap_or_default();
    Error::new(ErrorKind::Panicked, format!("panicked{place}: {message}"))
        .hint("this is a bug of the plugin; its panic was contained")
}
