//! The calls that `tch` has no function for: operators by name, process-wide switches, libtorch's CUDA half.
//!
//! # Safety
//! Operators are called through `torch_call_dispatcher`, the part of libtorch's C interface that is kept stable between versions. Each
//! argument becomes one 64-bit word as its header describes: numbers by their bits, tensors and lists as handles that the callee
//! takes over, an absent optional as 0. A handle of a tensor is a pointer to `at::Tensor` made by C++'s `new`, which is what `tch` holds.
//! The operator is found by name, and the words are checked against its schema only in number: callers give arguments in its order and types.
#![allow(
    unsafe_code,
    reason = "libtorch's C interface, the C library's allocator, and opening a library are foreign functions"
)]

use std::ffi::{CStr, c_char, c_int, c_void};
use std::path::Path;

use tch::{TchError, Tensor};

/// One argument of an operator, of the type that its schema names.
pub(crate) enum Argument<'a> {
    /// `Tensor`.
    Tensor(&'a Tensor),
    /// `Tensor?` that is there.
    OptionalTensor(&'a Tensor),
    /// `Tensor[]`.
    Tensors(&'a [Tensor]),
    /// `int`.
    Int(i64),
    /// `float`. The interface has no way for a `Scalar`.
    Float(f64),
    /// `bool`.
    Bool(bool),
    /// `int[]`.
    Ints(&'a [i64]),
    /// `bool[]`.
    Bools(&'a [bool]),
    /// An optional of any type that is absent.
    Absent,
}

/// A list under construction on libtorch's side.
type List = *mut c_void;

unsafe extern "C" {
    fn torch_call_dispatcher(name: *const c_char, overload: *const c_char, stack: *mut u64, version: u64) -> i32;
    fn torch_new_list_reserve_size(size: usize, list: *mut List) -> i32;
    fn torch_list_push_back(list: List, element: u64) -> i32;
    fn aoti_torch_cpu_mkldnn__convolution_pointwise(
        x: *const c_void,
        weight: *const c_void,
        bias: *const *const c_void,
        padding: *const i64,
        padding_len: i64,
        stride: *const i64,
        stride_len: i64,
        dilation: *const i64,
        dilation_len: i64,
        groups: i64,
        function: *const c_char,
        numbers: *const *const f64,
        numbers_len: i64,
        algorithm: *const *const c_char,
        result: *mut *mut c_void,
    ) -> i32;
    fn aoti_torch_cpu_mkldnn__convolution_transpose_pointwise(
        x: *const c_void,
        weight: *const c_void,
        bias: *const *const c_void,
        padding: *const i64,
        padding_len: i64,
        output_padding: *const i64,
        output_padding_len: i64,
        stride: *const i64,
        stride_len: i64,
        dilation: *const i64,
        dilation_len: i64,
        groups: i64,
        function: *const c_char,
        numbers: *const *const f64,
        numbers_len: i64,
        algorithm: *const *const c_char,
        result: *mut *mut c_void,
    ) -> i32;
    #[link_name = "_ZN2at13globalContextEv"]
    fn global_context() -> *mut c_void;
    #[link_name = "_ZN2at7Context17setAllowTF32CuDNNEb"]
    fn set_allow_tf32_in_convolutions(context: *mut c_void, allow: bool);
    #[link_name = "_ZN2at7Context18setAllowTF32CuBLASEb"]
    fn set_allow_tf32_in_products(context: *mut c_void, allow: bool);
    #[link_name = "_ZN2at7Context21setDeterministicCuDNNEb"]
    fn set_deterministic_convolutions(context: *mut c_void, deterministic: bool);
}

/// The version of the interface that the words are written for: 2.11.0.
const VERSION: u64 = 2 << 56 | 11 << 48;

/// Most words that an operator takes or gives.
const STACK: usize = 24;

/// That one of the calls failed. The engine writes the reason to standard error and does not return it.
fn failed(what: &str) -> TchError {
    TchError::Torch(format!("{what} failed; the engine's reason stands on standard error"))
}

/// Calls the operator `name`, which gives back `results` tensors.
///
/// # Errors
/// If the operator does not exist or refuses its arguments.
pub(crate) fn call(
    name: &CStr,
    overload: &CStr,
    arguments: &[Argument<'_>],
    results: usize,
) -> Result<Vec<Tensor>, TchError> {
    let mut stack = [0_u64; STACK];
    if arguments.len().max(results) > STACK {
        return Err(failed(&format!("a call with {} arguments", arguments.len())));
    }
    for (word, argument) in stack.iter_mut().zip(arguments) {
        *word = argument.word()?;
    }
    // SAFETY: names end with 0; the stack has room for arguments and results; see the file's head for the words.
    let status = unsafe { torch_call_dispatcher(name.as_ptr(), overload.as_ptr(), stack.as_mut_ptr(), VERSION) };
    if status != 0 {
        return Err(failed(&name.to_string_lossy()));
    }
    // SAFETY: the call left `results` handles that are ours now.
    Ok(stack[..results].iter().map(|word| unsafe { Tensor::from_ptr(*word as *mut _) }).collect())
}

impl Argument<'_> {
    /// The word, which owns what it points to.
    fn word(&self) -> Result<u64, TchError> {
        match *self {
            Self::Tensor(tensor) => Ok(handle(tensor)),
            Self::OptionalTensor(tensor) => optional(handle(tensor)),
            Self::Tensors(tensors) => list(tensors.iter().map(handle)),
            Self::Int(n) => Ok(n as u64),
            Self::Float(x) => Ok(x.to_bits()),
            Self::Bool(b) => Ok(u64::from(b)),
            Self::Ints(list_of) => list(list_of.iter().map(|n| *n as u64)),
            Self::Bools(list_of) => list(list_of.iter().map(|b| u64::from(*b))),
            Self::Absent => Ok(0),
        }
    }
}

/// A new reference to a tensor, for the callee to take over.
fn handle(tensor: &Tensor) -> u64 {
    let mut reference = std::mem::ManuallyDrop::new(tensor.shallow_clone());
    reference.as_mut_ptr() as u64
}

fn list(words: impl ExactSizeIterator<Item = u64>) -> Result<u64, TchError> {
    let mut list = std::ptr::null_mut();
    // SAFETY: the list is made here and given to the callee.
    let mut status = unsafe { torch_new_list_reserve_size(words.len(), &raw mut list) };
    for word in words {
        // SAFETY: as above; a list takes over its elements.
        status |= if status == 0 { unsafe { torch_list_push_back(list, word) } } else { 0 };
    }
    if status == 0 { Ok(list as u64) } else { Err(failed("a list")) }
}

/// An optional that is there: a pointer to its word, which the callee frees with `delete`, which is `free` in GNU's library.
fn optional(word: u64) -> Result<u64, TchError> {
    // SAFETY: memory for one word, written before anyone reads it.
    let place = unsafe { libc::malloc(size_of::<u64>()) }.cast::<u64>();
    if place.is_null() {
        return Err(failed("memory for an argument"));
    }
    // SAFETY: `place` points to memory of that size and alignment.
    unsafe { place.write(word) };
    Ok(place as u64)
}

/// Attributes of a convolution, or, with output padding, of a transposed one.
pub(crate) struct Convolution<'a> {
    pub(crate) stride: &'a [i64],
    pub(crate) padding: &'a [i64],
    pub(crate) dilation: &'a [i64],
    pub(crate) output_padding: Option<&'a [i64]>,
    pub(crate) groups: i64,
}

impl Convolution<'_> {
    /// The convolution on the CPU, through a function that the engine knows by name, with its numbers.
    ///
    /// # Errors
    /// If the engine refuses.
    pub(crate) fn activated(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: Option<&Tensor>,
        function: &CStr,
        numbers: &[f64],
    ) -> Result<Tensor, TchError> {
        let length = |list: &[i64]| list.len() as i64;
        let (x, weight) = (x.as_ptr().cast::<c_void>(), weight.as_ptr().cast::<c_void>());
        let bias = bias.map(|bias| bias.as_ptr().cast::<c_void>());
        let bias = bias.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        let numbers: Vec<*const f64> = numbers.iter().map(std::ptr::from_ref).collect();
        let (numbers, count) = (numbers.as_ptr(), numbers.len() as i64);
        let no_algorithm = c"".as_ptr();
        let algorithm = &raw const no_algorithm;
        let mut result = std::ptr::null_mut();
        let Self { stride, padding, dilation, output_padding, groups } = self;
        // SAFETY: handles and lists live until the call returns and are only read; an optional is a pointer that may be null; the
        // result is a new tensor of ours.
        let status = unsafe {
            match output_padding {
                None => aoti_torch_cpu_mkldnn__convolution_pointwise(
                    x,
                    weight,
                    bias,
                    padding.as_ptr(),
                    length(padding),
                    stride.as_ptr(),
                    length(stride),
                    dilation.as_ptr(),
                    length(dilation),
                    *groups,
                    function.as_ptr(),
                    numbers,
                    count,
                    algorithm,
                    &raw mut result,
                ),
                Some(output_padding) => aoti_torch_cpu_mkldnn__convolution_transpose_pointwise(
                    x,
                    weight,
                    bias,
                    padding.as_ptr(),
                    length(padding),
                    output_padding.as_ptr(),
                    length(output_padding),
                    stride.as_ptr(),
                    length(stride),
                    dilation.as_ptr(),
                    length(dilation),
                    *groups,
                    function.as_ptr(),
                    numbers,
                    count,
                    algorithm,
                    &raw mut result,
                ),
            }
        };
        // SAFETY: as above.
        if status == 0 { Ok(unsafe { Tensor::from_ptr(result.cast()) }) } else { Err(failed("the convolution")) }
    }
}

/// The elements of a tensor, if they are f32 on the CPU and row-major.
pub(crate) fn elements(x: &Tensor) -> Option<&[f32]> {
    let is_plain = x.device() == tch::Device::Cpu && x.kind() == tch::Kind::Float && x.is_contiguous();
    // SAFETY: row-major memory holds exactly the elements, and the tensor keeps it as long as the slice lives; nobody writes a tensor
    // while a kernel reads its operands.
    is_plain.then(|| unsafe { std::slice::from_raw_parts(x.data_ptr().cast::<f32>(), x.numel()) })
}

/// The same, to be written: of a new tensor, or of a variable between two kernels, whose memory is that variable's alone.
pub(crate) fn elements_mut(x: &mut Tensor) -> Option<&mut [f32]> {
    elements(x)?;
    // SAFETY: as above; other handles to the memory rest, since a session runs on one thread and no kernel is at work.
    Some(unsafe { std::slice::from_raw_parts_mut(x.data_ptr().cast::<f32>(), x.numel()) })
}

/// Chooses, for the whole process, whether a GPU may round factors to TF32; its convolutions always take deterministic algorithms.
pub(crate) fn configure(tf32: bool) {
    // SAFETY: the context is one object that lives as long as the process; the functions are its methods, `this` first.
    unsafe {
        let context = global_context();
        set_allow_tf32_in_convolutions(context, tf32);
        set_allow_tf32_in_products(context, tf32);
        set_deterministic_convolutions(context, true);
    }
}

/// Keeps memory that the process has freed, for the whole process.
///
/// Large tensors otherwise come from fresh pages each time, and the first touch of a page costs more than the arithmetic on it.
///
/// # Errors
/// If the C library refuses.
pub(crate) fn keep_freed_memory() -> mimus_core::Result<()> {
    const NEVER: c_int = -1;
    // SAFETY: documented options of the C library's allocator.
    let accepted: [c_int; 2] =
        unsafe { [libc::mallopt(libc::M_MMAP_MAX, 0), libc::mallopt(libc::M_TRIM_THRESHOLD, NEVER)] };
    if accepted == [1, 1] {
        return Ok(());
    }
    Err(mimus_core::Error::backend("the C library refuses to keep freed memory"))
}

/// Opens libtorch's CUDA half for as long as the process lives; its initialisers register the device.
///
/// # Errors
/// If the file or a library that it needs cannot be opened.
pub(crate) fn open_cuda(library: &Path) -> Result<(), libloading::Error> {
    use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
    // SAFETY: the library belongs to the libtorch that is loaded already, and is never closed.
    let library = unsafe { Library::open(Some(library), RTLD_NOW | RTLD_GLOBAL) }?;
    std::mem::forget(library);
    Ok(())
}
