//! The border to the library: it may panic at what a hostile file says, and that is an error here.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread is in a call whose panics are caught and become errors: a program that prints panics may leave
/// them out.
pub fn catches_panics() -> bool {
    INSIDE.get()
}

/// What `call` gives, or what is wrong, a panic too.
pub fn caught<T>(call: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, String> {
    let before = INSIDE.replace(true);
    // Nothing that was under way is used after a panic.
    let result = catch_unwind(AssertUnwindSafe(call));
    INSIDE.set(before);
    match result {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
            Err(format!("the tokenizers library gave up: {}", text.unwrap_or_default()))
        }
    }
}
