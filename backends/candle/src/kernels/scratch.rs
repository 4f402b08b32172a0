//! Working memory of a thread, kept from task to task.

use std::cell::RefCell;

thread_local! {
    static SPARE: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
}

/// Gives `body` a slice of `len` elements with arbitrary content.
pub(crate) fn with<T>(len: usize, body: impl FnOnce(&mut [f32]) -> T) -> T {
    let mut memory = SPARE.with(|spare| spare.borrow_mut().pop()).unwrap_or_default();
    if memory.len() < len {
        memory.resize(len, 0.0);
    }
    let result = body(&mut memory[..len]);
    SPARE.with(|spare| spare.borrow_mut().push(memory));
    result
}
