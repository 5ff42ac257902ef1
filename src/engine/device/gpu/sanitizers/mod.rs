//! Shaders rewritten to report what drivers hide: an index beyond the end of an array (see [`bounds`]), and a race in
//! workgroup memory (see [`races`]).

mod bounds;
mod races;

use std::sync::{Mutex, MutexGuard, PoisonError};

use naga::{
    AddressSpace, GlobalVariable, Module, ResourceBinding, Scalar, Span, StorageAccess, Type, TypeInner,
};

use super::rewrite::variable;

/// The binding of group 1 that a report is written to: 0, or one more than the number of a message.
pub(super) const BINDING: u32 = 1;

/// What all shaders may report, by number.
#[derive(Default)]
pub(super) struct Reports(Mutex<Vec<String>>);

impl Reports {
    /// What a report says.
    pub fn message(&self, report: u32) -> Option<String> {
        self.messages().get((report as usize).checked_sub(1)?).cloned()
    }

    /// The report that says this.
    fn number(&self, message: String) -> u32 {
        let mut messages = self.messages();
        messages.push(message);
        messages.len() as u32
    }

    fn messages(&self) -> MutexGuard<'_, Vec<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes every access of `module` to an array compare its index with the length, and those to workgroup
    /// memory look for others at the same element, as far as `room` bytes of it suffice.
    pub fn instrument(&self, shader: &str, module: &mut Module, room: u32) {
        let inner = TypeInner::Scalar(Scalar::U32);
        let word = module.types.insert(Type { name: None, inner }, Span::UNDEFINED);
        let access = StorageAccess::LOAD | StorageAccess::STORE;
        let report = GlobalVariable {
            binding: Some(ResourceBinding { group: 1, binding: BINDING }),
            ..variable("report", AddressSpace::Storage { access }, word)
        };
        let report = module.global_variables.append(report, Span::UNDEFINED);
        bounds::instrument(module, report, |array| {
            self.number(format!("an index is beyond the end of `{array}` of shaders/{shader}.wgsl"))
        });
        races::instrument(module, word, report, room, |array| {
            self.number(format!(
                "two invocations meet at an element of `{array}` of shaders/{shader}.wgsl, one of them writing, \
                 without a barrier between them"
            ))
        });
    }
}
