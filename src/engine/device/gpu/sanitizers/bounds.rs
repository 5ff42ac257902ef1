//! The bounds sanitizer: reports an index beyond the end of an array, of a binding, of workgroup memory or of a
//! thread's own. Drivers clamp such an access or leave it out.

use naga::{
    Arena, ArraySize, BinaryOperator, Expression, Function, GlobalVariable, Handle, Module, ScalarKind,
    Statement, Type, TypeInner, UniqueArena,
};

use crate::engine::device::gpu::rewrite::{Code, Visitor, visit};

/// Makes every access of `module` to an array compare its index with the length. `number` gives what to report for a
/// variable.
pub(super) fn instrument(module: &mut Module, report: Handle<GlobalVariable>, number: impl Fn(&str) -> u32) {
    let Module { types, global_variables, functions, entry_points, .. } = module;
    let mut bounds = Bounds { types, global_variables, report, number: &number };
    let entries = entry_points.iter_mut().map(|entry| &mut entry.function);
    functions.iter_mut().map(|(_, function)| function).chain(entries).for_each(|f| visit(f, &mut bounds));
}

struct Bounds<'a> {
    types: &'a UniqueArena<Type>,
    global_variables: &'a Arena<GlobalVariable>,
    report: Handle<GlobalVariable>,
    number: &'a dyn Fn(&str) -> u32,
}

impl Visitor for Bounds<'_> {
    fn after(&mut self, statement: &Statement, code: &mut Code) {
        let Statement::Emit(range) = statement else { return };
        for expression in range.clone() {
            let Expression::Access { base, index } = code.function.expressions[expression] else { continue };
            let Some(ty) = self.pointed_to(code.function, base) else { continue };
            if let TypeInner::Array { size, .. } = self.types[ty].inner {
                self.compare(code, base, index, size);
            }
        }
    }
}

impl Bounds<'_> {
    /// The type that a pointer to a variable, or into one, points to.
    fn pointed_to(&self, function: &Function, pointer: Handle<Expression>) -> Option<Handle<Type>> {
        let part = |whole, index: usize| match &self.types[self.pointed_to(function, whole)?].inner {
            TypeInner::Array { base, .. } => Some(*base),
            TypeInner::Struct { members, .. } => members.get(index).map(|member| member.ty),
            _ => None,
        };
        match function.expressions[pointer] {
            Expression::GlobalVariable(variable) => Some(self.global_variables[variable].ty),
            Expression::LocalVariable(variable) => Some(function.local_variables[variable].ty),
            Expression::Access { base, .. } => part(base, 0),
            Expression::AccessIndex { base, index } => part(base, index as usize),
            _ => None,
        }
    }

    /// The name of the variable that a pointer leads into.
    fn variable<'f>(&'f self, function: &'f Function, pointer: Handle<Expression>) -> Option<&'f str> {
        match function.expressions[pointer] {
            Expression::GlobalVariable(variable) => self.global_variables[variable].name.as_deref(),
            Expression::LocalVariable(variable) => function.local_variables[variable].name.as_deref(),
            Expression::Access { base, .. } | Expression::AccessIndex { base, .. } => {
                self.variable(function, base)
            }
            _ => None,
        }
    }

    /// `if index >= length { report = array; }`
    fn compare(&self, code: &mut Code, base: Handle<Expression>, expr: Handle<Expression>, size: ArraySize) {
        let length = match size {
            ArraySize::Constant(length) => code.word(length.get()),
            ArraySize::Dynamic => code.add(Expression::ArrayLength(base)),
            ArraySize::Pending(_) => return,
        };
        let array = (self.number)(self.variable(code.function, base).unwrap_or("an array"));
        // A negative index becomes a large one.
        let left = code.add(Expression::As { expr, kind: ScalarKind::Uint, convert: Some(4) });
        let op = BinaryOperator::GreaterEqual;
        let beyond = code.add(Expression::Binary { op, left, right: length });
        code.store_if(beyond, self.report, array);
    }
}
