//! Shaders that report what drivers hide: an index beyond the end of an array: of a binding, of workgroup memory or of a thread's
//! own, which they clamp or leave out; and [races](super::races).

use std::sync::Mutex;

use naga::{
    AddressSpace, Arena, ArraySize, BinaryOperator, Block, Expression, Function, GlobalVariable, Handle,
    Literal, MemoryDecorations, Module, ResourceBinding, Scalar, ScalarKind, Span, Statement, StorageAccess,
    Type, TypeInner,
};

/// The binding of group 1 that a report is written to: 0, or one more than the number of an array.
pub(super) const BINDING: u32 = 1;

/// What all shaders may report, by number.
#[derive(Default)]
pub(super) struct Arrays(Mutex<Vec<String>>);

impl Arrays {
    /// What a report says.
    pub fn message(&self, report: u32) -> Option<String> {
        let names = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        names.get((report as usize).checked_sub(1)?).cloned()
    }

    fn report(&self, message: String) -> u32 {
        let mut names = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        names.push(message);
        names.len() as u32
    }

    /// Makes every access of `module` to an array compare its index with the length, and those to workgroup
    /// memory look for others in the same place, as far as `room` bytes of it suffice.
    pub fn watch(&self, shader: &str, module: &mut Module, room: u32) {
        let scalar = TypeInner::Scalar(Scalar::U32);
        let word = module.types.insert(Type { name: None, inner: scalar }, Span::UNDEFINED);
        let access = StorageAccess::LOAD | StorageAccess::STORE;
        let report = module.global_variables.append(
            GlobalVariable {
                name: Some("stray".into()),
                space: AddressSpace::Storage { access },
                binding: Some(ResourceBinding { group: 1, binding: BINDING }),
                ty: word,
                init: None,
                memory_decorations: MemoryDecorations::empty(),
            },
            Span::UNDEFINED,
        );
        let Module { types, global_variables, functions, entry_points, .. } = module;
        let watch = |function: &mut Function| {
            let mut body = std::mem::take(&mut function.body);
            let name = |array: &str| {
                self.report(format!("an index is beyond the end of `{array}` of shaders/{shader}.wgsl"))
            };
            Watch { types, global_variables, function, report, name: &name }.block(&mut body);
            function.body = body;
        };
        functions.iter_mut().for_each(|(_, function)| watch(function));
        entry_points.iter_mut().for_each(|entry| watch(&mut entry.function));
        super::races::watch(module, word, report, room, |array| {
            self.report(format!(
                "two invocations meet at an element of `{array}` of shaders/{shader}.wgsl, one of them writing, \
                 without a barrier between them"
            ))
        });
    }
}

/// One function in the making.
struct Watch<'a> {
    types: &'a naga::UniqueArena<Type>,
    global_variables: &'a Arena<GlobalVariable>,
    function: &'a mut Function,
    report: Handle<GlobalVariable>,
    name: &'a dyn Fn(&str) -> u32,
}

impl Watch<'_> {
    fn block(&mut self, block: &mut Block) {
        let mut watched = Block::new();
        for (mut statement, span) in std::mem::take(block).span_into_iter() {
            match &mut statement {
                Statement::Emit(range) => {
                    let accesses: Vec<_> = range.clone().filter_map(|e| self.access(e)).collect();
                    watched.push(statement, span);
                    for (base, index, array) in accesses {
                        self.compare(&mut watched, base, index, array);
                    }
                    continue;
                }
                Statement::Block(inner) => self.block(inner),
                Statement::If { accept, reject, .. } => {
                    self.block(accept);
                    self.block(reject);
                }
                Statement::Switch { cases, .. } => {
                    cases.iter_mut().for_each(|case| self.block(&mut case.body))
                }
                Statement::Loop { body, continuing, .. } => {
                    self.block(body);
                    self.block(continuing);
                }
                _ => {}
            }
            watched.push(statement, span);
        }
        *block = watched;
    }

    /// The base, the index and the type of the array, if that is what the expression indexes.
    fn access(
        &self,
        expression: Handle<Expression>,
    ) -> Option<(Handle<Expression>, Handle<Expression>, ArraySize)> {
        let Expression::Access { base, index } = self.function.expressions[expression] else { return None };
        match self.types[self.type_behind(base)?].inner {
            TypeInner::Array { size, .. } => Some((base, index, size)),
            _ => None,
        }
    }

    /// The type that a pointer to a variable, or into one, points to.
    fn type_behind(&self, pointer: Handle<Expression>) -> Option<Handle<Type>> {
        match self.function.expressions[pointer] {
            Expression::GlobalVariable(variable) => Some(self.global_variables[variable].ty),
            Expression::LocalVariable(variable) => Some(self.function.local_variables[variable].ty),
            Expression::Access { base, .. } => self.part(base, 0),
            Expression::AccessIndex { base, index } => self.part(base, index as usize),
            _ => None,
        }
    }

    fn part(&self, whole: Handle<Expression>, index: usize) -> Option<Handle<Type>> {
        match &self.types[self.type_behind(whole)?].inner {
            TypeInner::Array { base, .. } => Some(*base),
            TypeInner::Struct { members, .. } => members.get(index).map(|member| member.ty),
            _ => None,
        }
    }

    /// The name of the variable that a pointer leads into.
    fn variable(&self, pointer: Handle<Expression>) -> Option<&str> {
        match self.function.expressions[pointer] {
            Expression::GlobalVariable(variable) => self.global_variables[variable].name.as_deref(),
            Expression::LocalVariable(variable) => self.function.local_variables[variable].name.as_deref(),
            Expression::Access { base, .. } | Expression::AccessIndex { base, .. } => self.variable(base),
            _ => None,
        }
    }

    /// `if index >= length { stray = array; }`
    fn compare(
        &mut self,
        to: &mut Block,
        base: Handle<Expression>,
        index: Handle<Expression>,
        size: ArraySize,
    ) {
        let array = (self.name)(self.variable(base).unwrap_or("an array"));
        let mut add = |e| self.function.expressions.append(e, Span::UNDEFINED);
        let value = add(Expression::Literal(Literal::U32(array)));
        let pointer = add(Expression::GlobalVariable(self.report));
        let known = match size {
            ArraySize::Constant(length) => Some(add(Expression::Literal(Literal::U32(length.get())))),
            ArraySize::Dynamic => None,
            ArraySize::Pending(_) => return,
        };
        // A negative index becomes a large one.
        let first = add(Expression::As { expr: index, kind: ScalarKind::Uint, convert: Some(4) });
        let length = known.unwrap_or_else(|| add(Expression::ArrayLength(base)));
        let op = BinaryOperator::GreaterEqual;
        let beyond = add(Expression::Binary { op, left: first, right: length });
        let mut accept = Block::new();
        accept.push(Statement::Store { pointer, value }, Span::UNDEFINED);
        let range = naga::Range::new_from_bounds(first, beyond);
        to.push(Statement::Emit(range), Span::UNDEFINED);
        to.push(Statement::If { condition: beyond, accept, reject: Block::new() }, Span::UNDEFINED);
    }
}
